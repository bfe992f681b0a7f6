"""Outlines around a structure, and what is none."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medsamq.errors import PromptError
from napari_medsamq.inference.lasso import lasso_area, lasso_prompt

SHAPE = (60, 80)
SQUARE = [(5, 5), (20, 5), (20, 15), (5, 15)]


def test_a_lasso_is_a_box_and_what_its_outline_encloses() -> None:
    found = lasso_prompt(1, 3, SQUARE, SHAPE)
    assert (found.axis, found.index, *found.xyxy) == (1, 3, 5, 5, 20, 15)
    wanted = np.zeros(SHAPE, bool)
    wanted[5:16, 5:21] = True
    np.testing.assert_array_equal(lasso_area(found.lasso, SHAPE), wanted)


def test_a_hand_that_goes_on_a_little_where_it_began_has_drawn_one_outline() -> None:
    angle = np.linspace(0, 2.1 * np.pi, 500)
    way = np.stack([40 + (20 - angle / 8) * np.cos(angle), 30 + 20 * np.sin(angle)], 1)
    found = lasso_prompt(0, 0, way.round().astype(int).tolist(), SHAPE)
    assert len(found.lasso) <= 128
    assert lasso_area(found.lasso, SHAPE).sum() == pytest.approx(400 * np.pi, rel=0.06)


def test_what_is_drawn_beside_the_slice_ends_at_its_edge() -> None:
    found = lasso_prompt(0, 0, [(-9, -9), (30, -9), (30, 30), (-9, 30)], SHAPE)
    assert found.xyxy.tolist() == [0, 0, 30, 30]


@pytest.mark.parametrize(
    ("outline", "words"),
    [
        ([], "three different corners"),
        ([(5, 5), (20, 20), (5, 5)], "not 2"),
        ([(200, 5), (220, 5), (220, 5)], "not 1"),
        ([(5, 5), (10, 10), (20, 20)], "encloses nothing"),
        ([SQUARE[0], SQUARE[2], SQUARE[1], SQUARE[3]], "crosses itself"),
        ([*SQUARE, *SQUARE], "crosses itself"),
    ],
)
def test_what_is_no_outline_is_refused(outline: list[tuple[int, int]], words: str) -> None:
    with pytest.raises(PromptError, match=words):
        lasso_prompt(0, 0, outline, SHAPE)
