"""A 3D box: each slice is asked with the box of the one before, within what was given."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest

from napari_medsamq.inference.crop import CropTransform
from napari_medsamq.inference.propagation import segment_box_3d
from napari_medsamq.inference.slice_predictor import SliceMask
from napari_medsamq.prompts import BoxPrompt3D, CarryPrompt

MARGIN = 3  # frame pixels, as in the reference inference
SHAPE = (20, 24, 32)
NEAR, FAR = (3, 4, 6), (12, 15, 21)


class Scripted:
    """Answers each slice with the mask of a function, and notes the boxes it is asked about."""

    def __init__(
        self,
        size: tuple[int, ...],
        found: Callable[[int], np.ndarray],
        carry_prompt: CarryPrompt = CarryPrompt.box_and_mask,
    ) -> None:
        self.transform = CropTransform(size, (1.0, 1.0))
        self.network_state = SimpleNamespace(carry_prompt=carry_prompt)
        self.shown: dict[int, np.ndarray] = {}
        self.found = found
        self.asked: dict[int, list[float]] = {}

    def transform_around(self, xyxy: np.ndarray) -> CropTransform:
        return self.transform

    def segment(self, index: int, xyxy: np.ndarray) -> SliceMask:
        self.asked[index] = self.transform.apply_box(xyxy).tolist()
        return SliceMask(0, index, self.found(index), 1, 0, 0)

    def segment_and_observe(
        self, index: int, xyxy: np.ndarray, before: np.ndarray
    ) -> tuple[SliceMask, None]:
        self.shown[index] = before
        return self.segment(index, xyxy), None


def walk(axis: int, moving: float = 0, empty: tuple[int, ...] = ()) -> tuple[list[int], dict]:
    """Carry a box along an axis; masks are a square that moves by `moving` columns per slice."""
    size = tuple(np.delete(SHAPE, axis).tolist())
    box = BoxPrompt3D(NEAR, FAR, axis)

    def found(index: int) -> np.ndarray:
        mask = np.zeros(size, bool)
        if index not in empty:
            left = 8 + round(moving * (index - box.middle_slice))
            mask[6:10, left : left + 4] = True
        return mask

    predictor = Scripted(size, found)
    steps = list(segment_box_3d(predictor, box))
    for step in steps:
        assert step.mask.shape == size
        assert step.mask.any() == (step.index not in empty)
    return [step.index for step in steps], predictor.asked


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_every_slice_is_visited_from_the_middle_up_then_down(axis: int) -> None:
    order, asked = walk(axis)
    first, last = NEAR[axis], FAR[axis]
    middle = (first + last) // 2
    assert order == [*range(middle, last + 1), *range(middle - 1, first - 1, -1)]
    assert sorted(asked) == list(range(first, last + 1))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_only_the_middle_slice_gets_the_sides_of_the_box(axis: int) -> None:
    rows, columns = (other for other in (0, 1, 2) if other != axis)
    scale = 256 / max(SHAPE[rows], SHAPE[columns])
    sides = [NEAR[columns], NEAR[rows], FAR[columns], FAR[rows]]
    _, asked = walk(axis)
    middle = (NEAR[axis] + FAR[axis]) // 2
    # The last pixel with all of its frame pixels.
    edges = np.multiply(sides, scale) + np.multiply([0, 0, 1, 1], scale - 1)
    assert asked.pop(middle) == np.trunc(edges).tolist()
    left, top, right, bottom = 8 * scale, 6 * scale, 12 * scale, 10 * scale
    expected = [left - MARGIN, top - MARGIN, right - 1 + MARGIN, bottom - 1 + MARGIN]
    for box in asked.values():
        np.testing.assert_allclose(box, expected, atol=1)


def test_the_box_follows_what_was_found_on_either_side() -> None:
    _, asked = walk(0, moving=1)
    middle, scale = 7, 8
    for index in (9, 12):  # the neighbour below found it index - middle - 1 columns further right
        assert asked[index][0] == (8 + index - middle - 1) * scale - MARGIN
    for index in (5, 3):
        assert asked[index][0] == (8 + index - middle + 1) * scale - MARGIN


def test_after_an_empty_mask_the_sides_of_the_box_are_asked_again() -> None:
    _, asked = walk(0, empty=(9, 4))
    first = asked[7]
    assert asked[10] == first
    assert asked[3] == first
    assert asked[9] == asked[11] == asked[5] != first


def test_an_empty_middle_asks_with_the_sides_both_ways() -> None:
    _, asked = walk(0, empty=(7,))
    assert asked[6] == asked[8] == asked[7]


def test_the_box_stays_within_the_frame() -> None:
    predictor = Scripted((24, 32), lambda _: np.ones((24, 32), bool))
    list(segment_box_3d(predictor, BoxPrompt3D((0, 0, 0), (2, 23, 31))))
    assert predictor.asked[0] == predictor.asked[2] == [0, 0, 256, 191 + MARGIN]


def test_one_slice_is_one_step() -> None:
    box = BoxPrompt3D((5, 1, 1), (5, 8, 9))
    steps = segment_box_3d(Scripted((24, 32), lambda _: np.ones((24, 32), bool)), box)
    assert [step.index for step in steps] == [5]


def test_a_network_that_has_learnt_to_carry_is_shown_masks_and_boxes_within_the_given_one() -> None:
    masks = {index: np.zeros((24, 32), bool) for index in range(3, 13)}
    for index, mask in masks.items():
        # It grows, up to the sides of the box; on one slice nothing is found.
        mask[5:15, 8 : 8 + 1 + 2 * abs(index - 7)] = index != 10
    predictor = Scripted((24, 32), masks.__getitem__, CarryPrompt.carried)
    list(segment_box_3d(predictor, BoxPrompt3D(NEAR, FAR)))
    assert sorted(predictor.shown) == [3, 4, 5, 6, 8, 9, 10, 12]
    for index, before in predictor.shown.items():
        neighbour = index - 1 if index > 7 else index + 1
        np.testing.assert_array_equal(before, masks[neighbour])
    first = predictor.asked[7]
    assert predictor.asked[11] == first, "after an empty mask the sides are asked again"
    for left, top, right, bottom in predictor.asked.values():
        assert left >= first[0]
        assert top >= first[1]
        assert right <= first[2]
        assert bottom <= first[3]
