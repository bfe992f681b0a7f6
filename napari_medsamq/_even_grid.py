"""Uneven or tilted slices brought to an even grid by linear interpolation."""

from __future__ import annotations

import numpy as np

from napari_medsamq._source import Array
from napari_medsamq.errors import VolumeError
from napari_medsamq.geometry import Float64

# More slices than that would be made up rather than interpolated.
_MOST_NEW = 4


def resample_evenly(
    where: str, slices: Array, places: Float64, affine: Float64
) -> tuple[Array, Float64]:
    """Interpolate slices to a grid at right angles, as fine as they usually are.

    Parameters
    ----------
    where : str
        Beginning of the text of errors.
    slices : (n, rows, columns) array
        In ascending order along their normal.
    places : (n, 3) float64
        Centres of their first pixels, LPS mm.
    affine : (4, 4) float64
        Of the first slice alone, (i, j, k) to LPS mm.

    Returns
    -------
    slices : (m, rows, columns) array of the same dtype
        Wide enough to hold all slices; what none of them covers has the lowest value.
    affine : (4, 4) float64

    Raises
    ------
    VolumeError
        If there is too much between slices to be interpolated.
    """
    sizes = np.linalg.norm(affine[:3, :2], axis=0)
    across, down = (affine[:3, :2] / sizes).T
    normal = np.cross(across, down)
    offsets = places - places[0]
    heights = offsets @ normal
    # Shift of each slice in pixels, down and across.
    shifts = np.stack([offsets @ down / sizes[1], offsets @ across / sizes[0]], axis=1)
    extent = float(heights[-1])
    count = round(extent / float(np.median(np.diff(heights)))) + 1
    lowest, highest = np.floor(shifts.min(axis=0) + 1e-6), np.ceil(shifts.max(axis=0) - 1e-6)
    shape = np.array(slices.shape[1:]) + (highest - lowest).astype(int)
    if count > _MOST_NEW * len(slices) or (shape > _MOST_NEW * np.array(slices.shape[1:])).any():
        raise VolumeError(
            f"{where}: its slices lie too far apart to be resampled: {count} slices of "
            f"{shape[0]} x {shape[1]} would be made of {len(slices)}. Export the series again."
        )
    fill = slices.min()
    even = np.empty((count, *shape), slices.dtype)
    for n, height in enumerate(np.linspace(0, extent, count)):
        after = int(np.clip(np.searchsorted(heights, height), 1, len(heights) - 1))
        before = after - 1
        part = round(float((height - heights[before]) / (heights[after] - heights[before])), 6)
        mixed = np.zeros(tuple(shape), np.float32)
        for index, weight in ((before, 1 - part), (after, part)):
            if weight > 0:
                mixed += weight * _moved(slices[index], shifts[index] - lowest, tuple(shape), fill)
        even[n] = np.rint(mixed) if even.dtype.kind in "iu" else mixed
    moved = affine.copy()
    moved[:3, 3] += lowest[1] * affine[:3, 0] + lowest[0] * affine[:3, 1]
    moved[:3, 2] = normal * (extent / (count - 1))
    return even, moved


def _moved(plane: Array, shift: Float64, shape: tuple[int, ...], fill: float) -> Array:
    """Return a slice moved by a fraction of pixels into a larger one."""
    result = np.zeros(shape, np.float32)
    start = np.floor(shift + 1e-6).astype(int)
    # A shift of whole pixels, but for rounding, mixes nothing in.
    rest = np.where(shift - start < 1e-4, 0, shift - start)
    covered = np.zeros(shape, np.float32)
    for row, row_weight in ((0, 1 - rest[0]), (1, rest[0])):
        for column, column_weight in ((0, 1 - rest[1]), (1, rest[1])):
            weight = row_weight * column_weight
            if weight > 0:
                top, left = start[0] + row, start[1] + column
                region = np.s_[top : top + plane.shape[0], left : left + plane.shape[1]]
                result[region] += weight * plane
                covered[region] += weight
    return result + (1 - covered) * fill
