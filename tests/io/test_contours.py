"""Outlines enclose what they are of, and what is enclosed is what another program says."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy import ndimage

from napari_medsamq.io.dicom.contours import fill, outlines


def area(polygon: np.ndarray) -> float:
    x, y = polygon.T
    return abs(float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())) / 2


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (6, 1), (9, 11)])
def test_outlines_enclose_their_mask_part_by_part(shape: tuple[int, int], share: float) -> None:
    draw = np.random.default_rng(0)
    for _ in range(20):
        mask = draw.random(shape) < share
        polygons = outlines(mask)
        assert len(polygons) == ndimage.label(mask)[1]
        np.testing.assert_array_equal(fill(polygons, shape), mask)
        parts = [fill([polygon], shape) for polygon in polygons]
        assert all(ndimage.label(part)[1] == 1 for part in parts)
        np.testing.assert_array_equal(np.sum(parts, 0, int) if parts else mask * 0, mask)
        for polygon in polygons:
            # Half way between a pixel of the mask and one that is not; channels lead to holes.
            assert (np.abs(polygon * 2 % 2).sum(1) == 1).all()


def test_an_outline_goes_through_the_middles_of_pixels_sides() -> None:
    mask = np.zeros((6, 8), bool)
    mask[1:4, 2:7] = True
    (polygon,) = outlines(mask)
    corners = {(1.5, 1), (2, 0.5), (6, 0.5), (6.5, 1), (6.5, 3), (6, 3.5), (2, 3.5), (1.5, 3)}
    assert sorted(map(tuple, polygon.tolist())) == sorted(corners)
    assert area(polygon) == 3 * 5 - 0.5
    mask[2, 4] = False
    (polygon,) = outlines(mask)
    assert area(polygon) == 3 * 5 - 1
    np.testing.assert_array_equal(fill([polygon], mask.shape), mask)


@pytest.mark.parametrize("seed", range(8))
def test_what_polygons_enclose_is_opencvs(seed: int) -> None:
    """Of any sides, over each other and beyond the picture; what an even number has is outside."""
    draw = np.random.default_rng(seed)
    shape = (12, 17)
    polygons = [draw.uniform(-4, 20, (draw.integers(3, 9), 2)) for _ in range(seed % 3 + 1)]
    expected = np.zeros(shape, bool)
    for polygon in polygons:
        for row, column in np.ndindex(shape):
            expected[row, column] ^= _triangles(polygon, (float(column), float(row))) % 2 == 1
    np.testing.assert_array_equal(fill(polygons, shape), expected)


def test_what_lies_beyond_the_picture_is_left_out() -> None:
    sides = np.array([[-3.5, -3.5], [5.5, -3.5], [5.5, 4.5], [-3.5, 4.5]])
    expected = np.zeros((9, 7), bool)
    expected[:5, :6] = True
    np.testing.assert_array_equal(fill([sides], (9, 7)), expected)
    # From row 3 and column 0 on, beyond the last ones.
    found = fill([sides + np.array([3, 6])], (9, 7))
    assert (np.argwhere(found).min(0).tolist(), found.sum()) == ([3, 0], 6 * 7)


def _triangles(corners: np.ndarray, at: tuple[float, float]) -> int:
    """Count the triangles of a fan that have a place in them: odd where it is enclosed."""
    return sum(
        cv2.pointPolygonTest(corners[[0, n, n + 1]].astype(np.float32), at, False) > 0
        for n in range(1, len(corners) - 1)
    )
