"""Outlines of masks as closed polygons, and back."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from napari_medsamq.array_types import Bool, Float64

# Corners of a cell of four pixels, clockwise, and the middles of the sides that lead to each: in
# half pixels (x, y) from the upper left corner.
_CORNERS = ((0, 0), (2, 0), (2, 2), (0, 2))
_SIDES = ((0, 1), (1, 0), (2, 1), (1, 2))


def outlines(mask: Bool) -> list[Float64]:
    """Return the outlines of a mask (H, W) bool at level 0.5 between its pixels' middles.

    Pixels that touch by a corner alone are parts of their own. A hole is joined to what lies left
    of it in its part by a channel without width, the keyhole of DICOM PS3.3 C.8.8.6.3.

    Returns
    -------
    polygons : list of (n, 2) float64
        Closed, x and y in pixels, the first pixel's middle being (0, 0); without points on
        straight lines.
    """
    padded = np.pad(mask, 1)
    # Places are counted in half pixels of the padded mask, row by row, from 1.
    stride = 2 * padded.shape[1]
    following = _following(padded, stride)
    for ring in _rings(following):
        rows, columns = np.divmod(np.array(ring) - 1, stride)
        if _area(columns, rows) < 0:
            continue
        row, column = int(rows[columns.argmin()]), int(columns.min())
        own = row * stride + column + 1
        gap = np.flatnonzero(~padded[row // 2, : column // 2 + 1])[-1]
        left = int(row * stride + 2 * gap + 2)
        # There, round the hole, and back: the negative places are the second visits.
        following[-own], following[-left] = following[own], following[left]
        following[left], following[own] = -own, -left
    polygons = []
    for ring in _rings(following):
        rows, columns = np.divmod(np.abs(ring) - 1, stride)
        polygons.append(_without_straight(np.column_stack([columns, rows]) / 2.0 - 1))
    return polygons


def fill(polygons: Iterable[Float64], shape: tuple[int, ...]) -> Bool:
    """Return which pixels' middles (H, W) bool an odd number of polygons encloses.

    Parameters
    ----------
    polygons : iterable of (n, 2) float64
        As `outlines` gives them; may reach beyond the picture.
    shape : (2,) int
    """
    height, width = shape
    crossings = np.zeros((height, width + 1), np.int64)
    for polygon in polygons:
        x, y = polygon.T
        next_x, next_y = np.roll(x, -1), np.roll(y, -1)
        low = np.clip(np.ceil(np.minimum(y, next_y)), 0, height).astype(int)
        # A row that just touches the upper end belongs to the next side.
        high = np.clip(np.ceil(np.maximum(y, next_y)), 0, height).astype(int)
        count = high - low
        side = np.repeat(np.arange(x.size), count)
        row = np.arange(side.size) - np.repeat(np.cumsum(count) - count, count) + low[side]
        share = (row - y[side]) / (next_y - y)[side]
        at = x[side] + share * (next_x - x)[side]
        np.add.at(crossings, (row, np.clip(np.ceil(at), 0, width).astype(int)), 1)
    inside: Bool = np.cumsum(crossings, 1)[:, :-1] % 2 == 1
    return inside


def _following(padded: Bool, stride: int) -> dict[int, int]:
    """Return the place that follows each one on a border, with the mask on one side of all."""
    height, width = padded.shape
    following: dict[int, int] = {}
    cells = np.zeros((height - 1, width - 1), int)
    for n, (x, y) in enumerate(_CORNERS):
        cells |= padded[y // 2 :, x // 2 :][: height - 1, : width - 1].astype(int) << n
    for pattern, steps in enumerate(_STEPS):
        rows, columns = np.nonzero(cells == pattern) if steps else ((), ())
        corner = np.asarray(rows, int) * 2 * stride + np.asarray(columns, int) * 2 + 1
        for (x0, y0), (x1, y1) in steps:
            begin, end = corner + y0 * stride + x0, corner + y1 * stride + x1
            following.update(zip(begin.tolist(), end.tolist(), strict=True))
    return following


def _rings(following: dict[int, int]) -> list[list[int]]:
    left = dict(following)
    rings = []
    while left:
        first, place = left.popitem()
        ring = [first]
        while place != first:
            ring.append(place)
            place = left.pop(place)
        rings.append(ring)
    return rings


def _area(x: npt.NDArray[np.int64], y: npt.NDArray[np.int64]) -> int:
    """Return twice the area of a ring, positive for a hole."""
    return int((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())


def _steps(pattern: int) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Return from which side to which an outline goes through a cell with some corners inside."""
    inside = [bool(pattern >> n & 1) for n in range(4)]
    steps = []
    for n in range(4):
        if inside[n] and not inside[n - 1]:
            last = n
            while inside[(last + 1) % 4]:
                last += 1
            steps.append((_SIDES[n], _SIDES[(last + 1) % 4]))
    return steps


_STEPS = [[] if pattern == 15 else _steps(pattern) for pattern in range(16)]


def _without_straight(ring: Float64) -> Float64:
    before, after = ring - np.roll(ring, 1, 0), np.roll(ring, -1, 0) - ring
    kept: Float64 = ring[before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]]
    return kept
