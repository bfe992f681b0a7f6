"""Simulated scribbles and outlines: where they lie, and how a network learns from them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_run import small_net

from napari_medsamq.analysis.metrics import dsc
from napari_medsamq.inference.lasso import lasso_area, lasso_prompt
from training.data.simulated_strokes import drawn_around, next_scribble, outline
from training.learning.click_rounds import correct

WANTED = np.zeros((80, 100), bool)
WANTED[20:60, 10:90] = True
MISSING = np.zeros_like(WANTED)
MISSING[30:50, 40:90] = True


@pytest.mark.parametrize("missing", [True, False])
def test_a_scribble_lies_along_the_middle_of_the_largest_error(missing: bool) -> None:
    masks = (WANTED & ~MISSING, WANTED) if missing else (WANTED, WANTED & ~MISSING)
    path, positive = next_scribble(*masks)
    assert positive == missing
    assert (path, positive) == next_scribble(*masks)
    x, y = np.array(path).T
    assert MISSING[y, x].all()
    assert np.hypot(*np.diff([x, y])).sum() <= np.hypot(50, 20)
    assert np.abs(y - 39.5).mean() < 4
    assert np.ptp(x) > 25
    assert next_scribble(WANTED, WANTED) is None


def test_scribbles_of_the_training_are_of_three_kinds_and_within_the_part() -> None:
    rng = np.random.default_rng(0)
    ring = MISSING.copy()
    ring[35:45, 50:80] = False
    for _ in range(60):
        path, positive = next_scribble(WANTED & ~ring, WANTED, rng)
        x, y = np.array(path).T
        assert ring[y, x].all()
        assert positive
    nothing, speck = np.zeros_like(WANTED), np.zeros_like(WANTED)
    speck[3, 4] = True
    assert all(next_scribble(speck, nothing, rng) == ([(4, 3)], False) for _ in range(9))


def test_an_outline_is_a_tenth_larger_and_uneven() -> None:
    area = drawn_around(WANTED, np.random.default_rng(1))
    np.testing.assert_array_equal(area, drawn_around(WANTED, np.random.default_rng(1)))
    assert 1.05 < area.sum() / WANTED.sum() < 1.35
    assert 0.85 < dsc(WANTED, area) < 0.97
    drawn = lasso_prompt(0, 0, outline(area), WANTED.shape)
    assert dsc(lasso_area(drawn.lasso, WANTED.shape), area) > 0.97
    two = WANTED.copy()
    two[:, 45:60] = False
    around = lasso_prompt(0, 0, outline(drawn_around(two, np.random.default_rng(1))), two.shape)
    assert not (two & ~lasso_area(around.lasso, two.shape)).any(), "all parts are within it"


@pytest.mark.parametrize("starts", [0.0, 1.0])
def test_a_network_learns_from_strokes_and_clicks_in_one_batch(starts: float) -> None:
    net = small_net()
    embedding = torch.randn(2, 256, 64, 64)
    boxes = torch.tensor([[20.0, 20, 90, 90], [40, 40, 200, 200]])
    wanted = torch.zeros(2, 256, 256)
    wanted[0, 30:80, 30:80] = wanted[1, 60:180, 60:180] = 1
    answers = [
        correct(
            net,
            embedding,
            boxes,
            wanted,
            2,
            np.random.default_rng(seed),
            starts=starts,
            strokes=strokes,
        )
        for seed, strokes in ((0, 0.5), (0, 0.5), (0, 0.0))
    ]
    sum(logits.mean() for logits, _ in answers[0]).backward()
    assert all(logits.shape == (2, 256, 256) for logits, _ in answers[0])
    for one, other in zip(*answers[:2], strict=True):
        torch.testing.assert_close(one[0], other[0])
    assert not torch.equal(answers[0][-1][0], answers[2][-1][0])
