"""What can be done to a mask without a network: fill, clean, smooth, interpolate, grow, combine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import scipy

from napari_medsamq.array_types import Bool, Float64
from napari_medsamq.errors import PromptError

# Turns a mask (z, y, x) bool into another one.
Operation = Callable[[Bool], Bool]

Combination = Literal["union", "intersection", "difference"]

# Voxels that touch by a corner belong together, as in SimpleITK's fully connected components.
_TOUCHING = np.ones((3, 3, 3), bool)


def check_change(gained: int, lost: int, total: int, name: str, called: str) -> None:
    """Refuse an operation that does nothing, or leaves nothing of a label.

    Parameters
    ----------
    gained, lost, total : int
        Voxels of the label: what it would gain and lose, and what it has.
    name, called : str
        How errors name the operation and the label.

    Raises
    ------
    PromptError
    """
    if gained == lost == 0:
        raise PromptError(f"'{name}' changes nothing in {called}; it stays as it is.")
    if lost == total and gained == 0:
        raise PromptError(
            f"'{name}' would leave nothing of {called}; it stays as it is. Use other numbers."
        )


def fill_holes(mask: Bool, axis: int | None = None) -> Bool:
    """Fill what is enclosed by a mask (z, y, x) bool.

    Parameters
    ----------
    mask : (z, y, x) bool
    axis : int, optional
        Array axis normal to the slices on which holes are looked for one by one; without it, only
        what is enclosed from all sides is filled.
    """
    if axis is None:
        return _within(mask, scipy.ndimage.binary_fill_holes)
    filled = mask.copy()
    planes, source = np.moveaxis(filled, axis, 0), np.moveaxis(mask, axis, 0)
    for index in np.flatnonzero(source.any((1, 2))):
        planes[index] = _within(source[index], scipy.ndimage.binary_fill_holes)
    return filled


def keep_largest(mask: Bool) -> Bool:
    """Keep the largest connected part of a mask (z, y, x) bool, the first one of equals."""
    parts, sizes = _parts(mask)
    if sizes.size == 0:
        return mask.copy()
    largest: Bool = parts == sizes.argmax() + 1
    return largest


def remove_islands(mask: Bool, spacing: npt.ArrayLike, least_mm3: float) -> Bool:
    """Remove the connected parts of a mask (z, y, x) bool that are smaller than `least_mm3`.

    Parameters
    ----------
    mask : (z, y, x) bool
    spacing : (3,) float
        In mm, along the array axes.
    least_mm3 : float
    """
    parts, sizes = _parts(mask)
    kept = np.concatenate([[False], sizes * float(np.prod(np.asarray(spacing))) >= least_mm3])
    found: Bool = kept[parts]
    return found


def smooth_between(mask: Bool, axis: int, spacing: npt.ArrayLike, slices: float = 1.0) -> Bool:
    """Smooth a mask (z, y, x) bool from slice to slice, on the slices where it has anything.

    The signed distances to its outlines, and its areas, are averaged with Gaussian weights across
    the slices that it is on; empty ones stay empty.

    Parameters
    ----------
    mask : (z, y, x) bool
    axis : int
        Array axis normal to the slices.
    spacing : (3,) float
        In mm, along the array axes.
    slices : float
        Standard deviation of the weights, in slices.
    """

    def smooth(part: Bool) -> Bool:
        planes = np.moveaxis(part, axis, 0)
        pixel = np.delete(np.asarray(spacing, float), axis)
        distances = np.stack([_signed_distance(plane, pixel) for plane in planes])
        mixed = scipy.ndimage.gaussian_filter1d(distances, slices, axis=0, mode="nearest")
        # Averaged outlines enclose less than those they came from: areas are averaged themselves.
        areas = planes.sum((1, 2))
        total, weight = (
            scipy.ndimage.gaussian_filter1d(each.astype(float), slices, mode="nearest")
            for each in (areas, areas > 0)
        )
        smoothed = np.zeros_like(planes)
        for index in np.flatnonzero(areas):
            count = max(1, round(total[index] / weight[index]))
            smoothed[index] = mixed[index] >= np.sort(mixed[index], axis=None)[-count]
        return np.moveaxis(smoothed, 0, axis)

    # Across slices the mask ends where it ends; within them it may grow a little.
    return _within(mask, smooth, margin=np.where(np.arange(3) == axis, 0, 3))


def interpolate_slices(mask: Bool, axis: int, spacing: npt.ArrayLike) -> Bool:
    """Fill the empty slices between those of a mask (z, y, x) bool.

    Between two slices the signed distances to both outlines are mixed, about a centre that moves
    evenly from one to the other (Raya and Udupa, "Shape-based interpolation", IEEE TMI 1990).

    Parameters
    ----------
    mask : (z, y, x) bool
    axis : int
        Array axis normal to the slices.
    spacing : (3,) float
        In mm, along the array axes.
    """
    pixel = np.delete(np.asarray(spacing, float), axis)

    def fill(part: Bool) -> Bool:
        filled = part.copy()
        planes = np.moveaxis(filled, axis, 0)
        for low, high in pairwise(np.flatnonzero(planes.any((1, 2))).tolist()):
            if high - low > 1:
                ends = planes[low].copy(), planes[high].copy()
                for index in range(low + 1, high):
                    planes[index] = _between(*ends, (index - low) / (high - low), pixel)
        return filled

    return _within(mask, fill)


def within_range(mask: Bool, values: npt.NDArray[Any], low: float, high: float) -> Bool:
    """Keep where a mask (z, y, x) bool has values (z, y, x) from `low` to `high`, included.

    Colours (z, y, x, 3) have to lie there in all of their channels.
    """
    found: Bool = mask.copy()
    own = values[mask]
    inside = (own >= low) & (own <= high)
    found[mask] = inside if inside.ndim == 1 else inside.all(-1)
    return found


def grow(mask: Bool, spacing: npt.ArrayLike, mm: float) -> Bool:
    """Grow a mask (z, y, x) bool by so many mm in all directions, or shrink it where negative.

    What lies beyond the volume's edge takes nothing from a mask that touches it.
    """
    sampling = np.asarray(spacing, float)
    # Files have spacings in single precision: one of 0.8 mm is not exactly so many voxels of 0.8.
    tolerance = 1e-4 * float(sampling.min())

    def change(part: Bool) -> Bool:
        if mm < 0:
            if part.all():
                # There is no outline to measure from.
                return part
            # Voxels beyond the part are none of the mask, those beyond the volume unknown.
            inside: Bool = scipy.ndimage.distance_transform_edt(part, sampling) > tolerance - mm
            return inside
        found: Bool = scipy.ndimage.distance_transform_edt(~part, sampling) <= mm + tolerance
        return found

    return _within(mask, change, margin=np.ceil(abs(mm) / sampling).astype(int) + 1)


def combine(mask: Bool, other: Bool, how: Combination) -> Bool:
    """Return what is in either of two masks (z, y, x) bool, in both, or in the first one alone."""
    if how == "union":
        return mask | other
    return mask & other if how == "intersection" else mask & ~other


def _parts(mask: Bool) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    parts, count = scipy.ndimage.label(mask, _TOUCHING)
    return parts, np.bincount(parts.reshape(-1), minlength=count + 1)[1:]


def _within(
    mask: Bool, change: Operation, margin: int | Sequence[int] | npt.NDArray[np.int64] = 1
) -> Bool:
    """Change the part of a mask that has anything, with a margin: the rest costs no time."""
    found = scipy.ndimage.find_objects(mask.astype(np.uint8))
    if not found:
        return mask.copy()
    margins = np.broadcast_to(np.asarray(margin), mask.ndim)
    place = tuple(
        slice(max(0, own.start - around), own.stop + around)
        for own, around in zip(found[0], margins.tolist(), strict=True)
    )
    changed = mask.copy()
    changed[place] = change(mask[place])
    return changed


def _signed_distance(mask: Bool, pixel: Float64) -> Float64:
    """Return how far inside (positive) or outside of a mask (H, W) bool each pixel lies, in mm."""
    if not mask.any():
        # As far outside as nothing on this slice can be.
        return np.full(mask.shape, -float(np.hypot(*(np.array(mask.shape) * pixel))))
    # Along an axis of length 1, that of a 2D image seen edge-on, there are no outlines.
    wide = np.array(mask.shape) > 1
    padded = np.pad(mask, [(int(own), int(own)) for own in wide])
    place = tuple(slice(1, -1) if own else slice(None) for own in wide)
    inside = scipy.ndimage.distance_transform_edt(padded, pixel)[place]
    outside = scipy.ndimage.distance_transform_edt(~mask, pixel)
    # Outlines lie between pixels, half a pixel from the middle of either.
    half = float(pixel.min(where=wide, initial=np.inf if wide.any() else pixel.min())) / 2
    signed: Float64 = np.where(mask, inside - half, half - outside)
    return signed


def _between(low: Bool, high: Bool, share: float, pixel: Float64) -> Bool:
    centres = [np.argwhere(mask).mean(0) for mask in (low, high)]
    centre = (1 - share) * centres[0] + share * centres[1]
    mixed = np.zeros(low.shape)
    for mask, own, weight in ((low, centres[0], 1 - share), (high, centres[1], share)):
        distance = _signed_distance(mask, pixel)
        moved = scipy.ndimage.shift(distance, centre - own, order=1, mode="nearest")
        mixed += weight * moved
    return mixed > 0
