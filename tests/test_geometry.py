from __future__ import annotations

import doctest

import numpy as np
import pytest
from grids import ALL_48, grid_affine
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medsamq import geometry, prompts
from napari_medsamq.errors import PromptError
from napari_medsamq.geometry import (
    axis_codes,
    has_shear,
    is_oblique,
    lps_orientation,
    obliquity,
    reorient_affine,
    voxel_sizes,
)
from napari_medsamq.prompts import BoxPrompt, BoxPrompt3D

SHAPE = (7, 40, 50)


def test_the_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(geometry, extraglobs={"np": np}).failed == 0
    assert doctest.testmod(geometry, extraglobs={"np": np}).attempted > 0


@pytest.mark.parametrize("degrees", [(0, 0, 0), (20, -15, 25), (-30, 10, 5)])
@pytest.mark.parametrize(("axes", "signs"), ALL_48)
def test_any_grid_is_brought_to_superior_posterior_left(
    axes: tuple[int, ...], signs: tuple[int, ...], degrees: tuple[float, float, float]
) -> None:
    affine = grid_affine(axes, signs, degrees)
    order, flips = lps_orientation(affine)
    shape = (5, 6, 7)
    array_affine = reorient_affine(affine, shape, order, flips)
    assert axis_codes(array_affine) == ("S", "P", "L")
    np.testing.assert_allclose(voxel_sizes(array_affine), voxel_sizes(affine)[list(order)])
    # One corner voxel, by both ways.
    corner = [shape[axis] - 1 if flip else 0 for axis, flip in zip(order, flips, strict=True)]
    ijk = np.zeros(3)
    ijk[list(order)] = corner
    np.testing.assert_allclose(array_affine[:3, 3], (affine @ [*ijk, 1])[:3])


def test_letters_name_the_way_each_axis_goes() -> None:
    assert axis_codes(grid_affine((1, 2, 0), (-1, 1, -1))) == ("A", "S", "R")


@pytest.mark.parametrize("angle", [0.0, 0.01, 5.0, 30.0, 44.0])
def test_obliquity_is_the_angle_to_the_nearest_patient_axes(angle: float) -> None:
    affine = grid_affine((2, 0, 1), (1, -1, 1), (angle, 0, 0))
    assert obliquity(affine) == pytest.approx(angle, abs=1e-9)
    assert is_oblique(affine, tolerance_deg=2) is (angle > 2)


def test_a_grid_halfway_between_two_axes_is_not_decided_by_rounding() -> None:
    exact = grid_affine((0, 1, 2), (1, 1, 1), (45, 0, 0))
    for noise in (-1e-9, 1e-9):
        nudged = exact.copy()
        nudged[1, 1] += noise
        assert lps_orientation(nudged) == lps_orientation(exact)


def test_shear_is_told_from_rotation() -> None:
    affine = grid_affine((0, 1, 2), (1, -1, 1), (20, 30, 40))
    assert not has_shear(affine)
    affine[:3, 2] += affine[:3, 0] * 0.2
    assert has_shear(affine)


def test_an_axis_without_length_is_refused() -> None:
    with pytest.raises(ValueError, match="positive length"):
        lps_orientation(np.diag([1.0, 0.0, 1.0, 1.0]))


numbers = st.floats(-100, 200, allow_nan=False)


@settings(deadline=None)
@given(st.integers(0, 2), st.tuples(numbers, numbers), st.tuples(numbers, numbers))
def test_corners_in_any_order_give_one_box_inside_the_slice(
    axis: int, a: tuple[float, float], b: tuple[float, float]
) -> None:
    def box(first: tuple[float, float], second: tuple[float, float]) -> BoxPrompt | None:
        try:
            return BoxPrompt.from_corners(axis, 3, first, second, SHAPE)
        except PromptError:
            return None

    made = box(a, b)
    assert made == box(b, a) == box((a[0], b[1]), (b[0], a[1]))
    rows, columns = (size for n, size in enumerate(SHAPE) if n != axis)
    inside = np.zeros((rows, columns), bool)
    low, high = np.floor(np.minimum(a, b) + 0.5), np.floor(np.maximum(a, b) + 0.5)
    r, c = np.indices((rows, columns))
    inside[(r >= low[0]) & (r <= high[0]) & (c >= low[1]) & (c <= high[1])] = True
    drawn = np.nonzero(inside)
    if made is None:
        assert drawn[0].size == 0 or np.ptp(drawn[0]) == 0 or np.ptp(drawn[1]) == 0
    else:
        expected = [drawn[1].min(), drawn[0].min(), drawn[1].max(), drawn[0].max()]
        assert made.xyxy.tolist() == expected
        assert made.xyxy.dtype == np.float64


def test_a_drag_from_lower_right_to_upper_left() -> None:
    box = BoxPrompt.from_corners(0, 2, (30.4, 44.6), (9.5, 4.49), (*SHAPE, 3))
    assert box == BoxPrompt(axis=0, index=2, x0=4, y0=10, x1=45, y1=30)


@pytest.mark.parametrize(
    ("corners", "index", "message"),
    [
        (((10, 10), (10.2, 10.3)), 3, "covers 1 x 1 pixels"),
        (((10, 10), (10, 30)), 3, "covers 1 x 21 pixels"),
        (((10, 49), (20, 90)), 3, "covers 11 x 1 pixels"),
        (((-30, 10), (-2, 30)), 3, "outside the image, which has 40 rows and 50 columns"),
        (((5, 51), (9, 60)), 3, "outside the image"),
        (((5, 5), (9, 9)), 7, "axial slices 0 to 6, not 7"),
        (((5, 5), (9, 9)), -1, "axial slices 0 to 6, not -1"),
    ],
)
def test_boxes_that_enclose_nothing_say_what_to_draw(
    corners: tuple[tuple[float, float], tuple[float, float]], index: int, message: str
) -> None:
    with pytest.raises(PromptError, match=message):
        BoxPrompt.from_corners(0, index, *corners, SHAPE)


@pytest.mark.parametrize(
    "fields", [(3, 0, 0, 0, 1, 1), (0, -1, 0, 0, 1, 1), (0, 0, 2, 0, 1, 1), (0, 0, 0, -1, 1, 1)]
)
def test_a_box_cannot_be_made_inside_out(fields: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="box prompt"):
        BoxPrompt(*fields)


def test_corners_that_are_no_numbers_are_misuse() -> None:
    with pytest.raises(ValueError, match="numbers"):
        BoxPrompt.from_corners(0, 0, (float("nan"), 1), (5, 5), SHAPE)


@pytest.mark.parametrize(
    ("axis", "expected"),
    [(0, (4, 2, 8, 6)), (1, (4, 1, 8, 9)), (2, (2, 1, 6, 9))],
)
def test_the_sides_of_a_3d_box_on_each_plane(axis: int, expected: tuple[int, ...]) -> None:
    box = BoxPrompt3D((1, 2, 4), (9, 6, 8), axis)
    prompt = box.slice_prompt(5)
    assert (prompt.axis, prompt.index) == (axis, 5)
    assert tuple(prompt.xyxy) == expected
    assert list(box.slices) == list(range(box.lower[axis], box.upper[axis] + 1))


@settings(deadline=None)
@given(st.integers(0, 200), st.integers(0, 200))
def test_the_middle_slice_is_that_of_the_reference_inference(low: int, extent: int) -> None:
    high = low + extent
    assert BoxPrompt3D((low, 0, 0), (high, 1, 1)).middle_slice == int((high - low) / 2 + low)


def test_a_3d_box_cannot_be_made_inside_out() -> None:
    with pytest.raises(ValueError, match="3D box prompt"):
        BoxPrompt3D((5, 0, 0), (4, 9, 9))
    with pytest.raises(ValueError, match="axis"):
        BoxPrompt3D((0, 0, 0), (4, 9, 9), 3)


def test_boxes_on_two_planes_enclose_a_3d_box() -> None:
    axial = BoxPrompt(0, 10, x0=20, y0=30, x1=40, y1=60)
    coronal = BoxPrompt(1, 45, x0=15, y0=5, x1=38, y1=25)
    sagittal = BoxPrompt(2, 22, x0=28, y0=8, x1=70, y1=12)
    box = BoxPrompt3D.of_two_planes(axial, coronal)
    assert box == BoxPrompt3D((5, 30, 15), (25, 60, 40), 0)
    assert BoxPrompt3D.of_two_planes(coronal, axial) == BoxPrompt3D((5, 30, 15), (25, 60, 40), 1)
    assert BoxPrompt3D.of_two_planes(axial, sagittal) == BoxPrompt3D((8, 28, 20), (12, 70, 40), 0)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (BoxPrompt(0, 12, 20, 30, 40, 60), "on axial slices"),
        (BoxPrompt(1, 61, 15, 5, 38, 25), "do not cross"),  # behind the rows of the axial box
        (BoxPrompt(1, 45, 15, 11, 38, 25), "do not cross"),  # above its slice
        (BoxPrompt(1, 45, 41, 5, 60, 25), "do not cross"),  # beside its columns
    ],
)
def test_boxes_that_enclose_nothing_common_are_refused(other: BoxPrompt, words: str) -> None:
    with pytest.raises(PromptError, match=words):
        BoxPrompt3D.of_two_planes(BoxPrompt(0, 10, x0=20, y0=30, x1=40, y1=60), other)


def test_two_voxels_span_a_box_on_a_slice_or_through_slices() -> None:
    box_between = prompts.box_between
    assert box_between((1, 2, 3), (4, 5, 6), 1) == BoxPrompt3D((1, 2, 3), (4, 5, 6), 1)
    assert box_between((1, 2, 3), (4, 2, 6)) == BoxPrompt(1, 2, x0=3, y0=1, x1=6, y1=4)
    with pytest.raises(PromptError, match="more than one axis"):
        box_between((1, 2, 3), (4, 2, 3))
