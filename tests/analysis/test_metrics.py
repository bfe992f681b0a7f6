from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from reference import DATA

from napari_medsamq.analysis.metrics import dsc, nsd, surface_distances

CORNER = math.sqrt(0.5)


def square(shape: tuple[int, ...], *corners: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[tuple(slice(low, high) for low, high in corners)] = True
    return mask


def ball(shape: tuple[int, int, int], radius: float, spacing: tuple[float, ...]) -> np.ndarray:
    centre = (np.array(shape) - 1) / 2
    offsets = (np.indices(shape).T - centre).T * np.reshape(spacing, (3, 1, 1, 1))
    return np.linalg.norm(offsets, axis=0) <= radius


def pairs(dimensions: int, least: int = 1) -> st.SearchStrategy[np.ndarray]:
    return st.tuples(*[st.integers(least, 6)] * dimensions).flatmap(
        lambda shape: arrays(bool, (2, *shape))
    )


@pytest.mark.parametrize("shift", [0, 1, 7, 20, 30])
def test_dsc_of_shifted_squares(shift: int) -> None:
    reference = square((64, 64), (10, 30), (5, 25))
    mask = square((64, 64), (10, 30), (5 + shift, 25 + shift))
    assert dsc(reference, mask) == pytest.approx(max(20 - shift, 0) / 20)


@pytest.mark.parametrize("shape", [(7, 9), (4, 7, 9)])
def test_empty_masks(shape: tuple[int, ...]) -> None:
    empty, full = np.zeros(shape, bool), np.ones(shape, bool)
    spacing = [1.0] * len(shape)
    assert dsc(empty, empty) == nsd(empty, empty, spacing, 2) == 1
    for reference, mask in ((full, empty), (empty, full)):
        assert dsc(reference, mask) == nsd(reference, mask, spacing, 2) == 0


@pytest.mark.parametrize(("shift", "tolerance"), [(3, 2), (4, 1), (5, 3)])
def test_nsd_of_shifted_squares(shift: int, tolerance: int) -> None:
    """Of one square, that is near: three sides' parts next to the other one, and a corner pair."""
    side = 20
    reference = square((64, 64), (10, 30), (5, 25))
    mask = square((64, 64), (10, 30), (5 + shift, 25 + shift))
    # Top and bottom, from `tolerance` before the other square's own corner on; the side that lies
    # within the other square, next to its top and bottom.
    near = 2 * (side - 1 - (shift - tolerance - 1)) + 2 * tolerance + 2 * CORNER
    whole = 4 * (side - 1) + 4 * CORNER
    assert nsd(reference, mask, (1, 1), tolerance) == pytest.approx(near / whole)


@pytest.mark.parametrize("tolerance", [2.5, 2.0, 1.9])
def test_a_surface_at_exactly_the_tolerance_agrees(tolerance: float) -> None:
    inner, outer = square((40, 40), (10, 30), (10, 30)), square((40, 40), (8, 32), (8, 32))
    # Outwards two pixels: only the outer corners are farther away, by the diagonal.
    corner = 4 * CORNER
    far = corner + 8 if tolerance < 2.236 else corner
    whole = 4 * 19 + corner + 4 * 23 + corner
    expected = (whole - far) / whole if tolerance >= 2 else 0.0
    assert nsd(inner, outer, (1, 1), tolerance) == pytest.approx(expected)


def test_the_sides_of_pixels_weigh_the_surface() -> None:
    """Top and bottom lie on each other, left and right 10 mm apart: the ratio follows the sizes."""
    reference = square((80, 200), (30, 50), (50, 150))
    mask = square((80, 200), (30, 50), (30, 170))
    rows, columns = 4.0, 0.5
    corner = math.hypot(rows, columns) / 2
    # The tolerance is 4 columns along top and bottom, beyond the narrow one's corners; on its sides
    # the next point is already a row of 4 mm away.
    near = 2 * (99 * columns + 2 * corner) + 2 * (101 + 2 * 4) * columns
    whole = 2 * 19 * rows * 2 + (2 * 99 + 2 * 139) * columns + 8 * corner
    assert nsd(reference, mask, (rows, columns), 2.0) == pytest.approx(near / whole)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.0, 1.0, 0.5)])
def test_concentric_balls_agree_within_their_distance(spacing: tuple[float, ...]) -> None:
    shape = (31, 61, 121)
    small, large = ball(shape, 10, spacing), ball(shape, 13, spacing)
    assert nsd(small, large, spacing, 4) == 1
    assert nsd(small, large, spacing, 1.5) < 0.01
    assert nsd(small, small, spacing, 0) == 1


def test_surfaces_are_weighed_by_area() -> None:
    """A ball that both have, and one of twice its radius that only the mask has."""
    reference = np.zeros((71, 71, 141), bool)
    reference[:, :, :71] = ball((71, 71, 71), 15, (1, 1, 1))
    mask = reference.copy()
    mask[:, :, 71:] = ball((71, 71, 70), 30, (1, 1, 1))
    # The small ball counts on both sides, the large one, four times as much, on one.
    assert nsd(reference, mask, (1, 1, 1), 1) == pytest.approx(2 / 6, rel=0.015)


def test_a_volume_is_measured_in_millimetres() -> None:
    reference = square((20, 20, 20), (5, 15), (5, 15), (5, 15))
    mask = square((20, 20, 20), (6, 16), (5, 15), (5, 15))
    assert nsd(reference, mask, (1.9, 1, 1), 2) == 1
    assert nsd(reference, mask, (2.1, 1, 1), 2) < 1
    assert nsd(reference, mask, (1, 2.1, 2.1), 2) == 1


def test_the_border_of_the_image_is_a_surface() -> None:
    whole = np.ones((20, 20), bool)
    half = square((20, 20), (0, 20), (0, 10))
    assert nsd(whole, whole, (1, 1), 0) == 1
    assert 0 < nsd(whole, half, (1, 1), 2) < 1


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 3).flatmap(pairs), st.floats(0, 4))
def test_nsd_is_a_symmetric_part_that_grows_with_the_tolerance(
    pair: np.ndarray, tolerance: float
) -> None:
    first, second = pair
    spacing = [0.7, 1.0, 1.9][: first.ndim]
    value = nsd(first, second, spacing, tolerance)
    assert 0 <= value <= 1
    assert nsd(second, first, spacing, tolerance) == pytest.approx(value)
    assert nsd(first, second, spacing, tolerance + 1) >= value
    assert nsd(first, first, spacing, 0) == dsc(first, first) == 1
    assert dsc(first, second) == dsc(second, first)
    flipped = nsd(first[::-1], second[::-1], spacing, tolerance)
    turned = nsd(first.T, second.T, spacing[::-1], tolerance)
    assert flipped == pytest.approx(value)
    assert turned == pytest.approx(value)


@settings(max_examples=30, deadline=None)
@given(pairs(3, least=2), st.integers(0, 5))
def test_what_lies_around_makes_no_difference(pair: np.ndarray, margin: int) -> None:
    first, second = (np.pad(mask, margin) for mask in pair)
    assert nsd(first, second, (1, 2, 3), 2) == nsd(*pair, (1, 2, 3), 2)


@pytest.mark.parametrize(
    ("reference", "mask", "spacing"),
    [
        (np.ones((3, 3), np.uint8), np.ones((3, 3), bool), (1, 1)),
        (np.ones((3, 3), bool), np.ones((3, 4), bool), (1, 1)),
        (np.ones((3, 3), bool), np.ones((3, 3), bool), (1, 1, 1)),
        (np.ones((3, 3), bool), np.ones((3, 3), bool), (1, 0)),
        (np.ones(3, bool), np.ones(3, bool), (1,)),
    ],
)
def test_misuse_is_refused(reference: np.ndarray, mask: np.ndarray, spacing: tuple) -> None:
    with pytest.raises(ValueError, match="shape"):
        nsd(reference, mask, spacing, 2)


@pytest.mark.parametrize("shift", [0, 1, 4])
def test_hausdorff_of_shifted_balls_is_their_shift(shift: int) -> None:
    spacing = (2.0, 1.0, 1.0)
    small = np.pad(ball((31, 41, 41), 15, spacing), 6)
    moved = np.roll(small, shift, 2)
    found = surface_distances(small, moved, spacing)
    assert found.hausdorff(100) == pytest.approx(shift, abs=0.5)
    assert found.hausdorff(95) <= found.hausdorff(100)
    assert found.within(shift) == 1


def test_hausdorff_leaves_out_the_farthest_part() -> None:
    reference = square((40, 40, 40), (5, 35), (5, 35), (5, 35))
    mask = reference.copy()
    # A spike of 4 mm2 on 5400.
    mask[35:39, 20, 20] = True
    found = surface_distances(reference, mask, (1, 1, 1))
    assert found.hausdorff(95) == 0
    assert found.hausdorff(100) == pytest.approx(4, abs=0.5)


def test_hausdorff_of_empty_masks() -> None:
    empty, full = np.zeros((4, 5, 6), bool), np.ones((4, 5, 6), bool)
    assert surface_distances(empty, empty, (1, 1, 1)).hausdorff() == 0
    assert surface_distances(empty, full, (1, 1, 1)).hausdorff() == math.inf
    assert surface_distances(full, empty, (1, 1, 1)).hausdorff() == math.inf


def test_the_numbers_are_those_of_the_published_code() -> None:
    """Of masks that are thin, empty, of one voxel, or touch the border; on uneven grids; in 2D."""
    with np.load(DATA / "surface_distance.npz") as stored:
        kept = dict(stored)
    bits, start = np.unpackbits(kept["masks"]).astype(bool), 0
    found = []
    for axes, whole, sizes, tolerance in zip(
        *(kept[name] for name in ("axes", "shapes", "spacings", "tolerances")), strict=True
    ):
        shape, stop = whole[:axes], start + 2 * int(np.prod(whole, dtype=int))
        one, other = bits[start:stop].reshape(2, *shape)
        start = stop
        apart = surface_distances(one, other, sizes[:axes])
        numbers = [dsc(one, other), apart.within(tolerance)]
        found.append([*numbers, *(apart.hausdorff(share) for share in (50, 80, 95, 100))])
    assert len(found) == 154
    np.testing.assert_allclose(found, kept["values"], rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("rows", "columns", "shift", "expected"),
    [(2, 2, 1, 0), (3, 1, 1, 0), (1, 3, 2, 0), (3, 1, 2, 1)],
)
def test_a_share_that_is_met_exactly_is_that_of_the_published_code(
    rows: int, columns: int, shift: int, expected: float
) -> None:
    """Exactly half of the contour is that near, and the order of its sums decides."""
    one = square((9, 9), (2, 2 + rows), (2, 2 + columns))
    found = surface_distances(one, np.roll(one, shift, 1), (1, 1))
    assert found.hausdorff(50) == expected


@pytest.mark.parametrize(("rows", "columns", "shift", "expected"), [(2, 3, 2, 0.7), (4, 1, 1, 0)])
def test_elements_of_one_distance_are_summed_as_in_the_published_code(
    rows: int, columns: int, shift: int, expected: float
) -> None:
    """In the order of their areas, on which the last digit of a sum depends."""
    one = square((14, 14, 14), (2, 2 + rows), (2, 2 + columns), (2, 4))
    found = surface_distances(one, np.roll(one, shift, 1), (0.1, 0.7, 3))
    assert found.hausdorff(50) == pytest.approx(expected)


@pytest.mark.parametrize("axis", [0, 1, 2])
@given(pair=pairs(2, least=2))
@settings(max_examples=20, deadline=None)
def test_a_volume_of_one_slice_is_measured_as_an_image(axis: int, pair: np.ndarray) -> None:
    """Plates have faces that lie on each other; images have contours only."""
    flat = surface_distances(*pair, (1.5, 0.7))
    deep = surface_distances(*np.expand_dims(pair, axis + 1), np.insert([1.5, 0.7], axis, 5.0))
    for share in (50, 95, 100):
        assert deep.hausdorff(share) == flat.hausdorff(share)
    for tolerance in (0, 1, 2):
        assert deep.within(tolerance) == flat.within(tolerance)


def test_a_label_on_one_slice_of_a_volume_has_faces() -> None:
    small, large = square((12, 12), (4, 8), (4, 8)), square((12, 12), (2, 10), (2, 10))
    flat = nsd(small, large, (1, 1), 0.5)
    volume = np.zeros((2, 3, 12, 12), bool)
    volume[:, 1] = small, large
    assert flat == 0
    assert nsd(*volume, (5, 1, 1), 0.5) > 0.3


@pytest.mark.parametrize("shape", [(1, 9), (1, 1, 9), (9, 1, 1), (1, 1, 1)])
def test_rows_and_single_voxels_end_at_their_ends(shape: tuple[int, ...]) -> None:
    full, empty = np.ones(shape, bool), np.zeros(shape, bool)
    short = full.copy()
    short.reshape(-1)[-2:] = False
    spacing = [0.5] * len(shape)
    assert nsd(full, full, spacing, 0) == 1
    assert nsd(full, empty, spacing, 9) == 0
    if full.size > 1:
        assert nsd(full, short, spacing, 0.9) == 0.5
        assert surface_distances(full, short, spacing).hausdorff(100) == 1
