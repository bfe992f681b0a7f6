"""The even grid of slices: found from their places, or made by linear interpolation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_medsamq.array_types import Float64
from napari_medsamq.errors import VolumeError
from napari_medsamq.io.source import Array

# How far a slice may lie off the grid: so many mm beside what the places' text cannot hold, or so
# much of the distance between slices.
_OFF_MM, _OFF_SHARE = 0.05, 0.05
# How much a step may be turned against the normal of slices.
TILT_DEG = 0.5
# More decimals of a mm than that are no rounding.
_DECIMALS = 6
# Shifts that are tried of the first place within its rounding.
_SHIFTS = 21
# Of a unit of the last decimal: what is no whole number of them.
_NOT_WHOLE = 1e-3
# More slices than that would be made up rather than interpolated.
_MOST_NEW = 4


@dataclass(frozen=True, eq=False)
class EvenGrid:
    """The even grid that comes nearest to the places of slices.

    Attributes
    ----------
    numbers : (n,) int
        Of its planes that the slices lie on, ascending from 0; where slices are missing, planes in
        between are left out.
    origin, step : (3,) float64
        Place of the first plane, and the way from each to the next, LPS mm.
    usual : float
        Distance of most slices to the next, mm.
    off : float
        How far the slice lies off that is farthest from its plane, mm.
    allowed : float
        How far it may lie off.
    said : bool
        Whether the step is the distance that the files give.
    """

    numbers: npt.NDArray[np.int64]
    origin: Float64
    step: Float64
    usual: float
    off: float
    allowed: float
    said: bool

    @property
    def places(self) -> Float64:
        """Places (n, 3) float64 of the planes that slices lie on, LPS mm."""
        places: Float64 = self.origin + self.numbers[:, None] * self.step
        return places

    @property
    def fits(self) -> bool:
        """Whether each slice lies on its plane."""
        return self.off <= self.allowed

    @property
    def complete(self) -> bool:
        """Whether there is a slice for each plane."""
        return int(self.numbers[-1]) == len(self.numbers) - 1

    @property
    def count(self) -> int:
        """Planes from the first slice to the last."""
        if self.fits:
            return int(self.numbers[-1]) + 1
        extent = np.linalg.norm(self.step) * self.numbers[-1]
        return round(float(extent / self.usual)) + 1


def find_grid(places: Float64, normal: Float64, said: Sequence[float]) -> EvenGrid:
    """Find the even grid of slices whose places may be rounded.

    Parameters
    ----------
    places : (n, 3) float64
        In ascending order along the normal, two or more; LPS mm.
    normal : (3,) float64
        Of length 1.
    said : sequence of float
        Distances between slices that the files give, mm, the likeliest first. One is believed where
        it explains the places.
    """
    heights = places @ normal
    gaps = np.diff(heights)
    # The lower middle: of two gaps the larger one may be where slices are missing.
    middle = float(np.sort(gaps)[(len(gaps) - 1) // 2]) or float(gaps.mean())
    alike = gaps[(gaps >= 0.5 * middle) & (gaps <= 1.5 * middle)]
    usual = float(alike.mean()) if alike.size else middle
    for distance in said:
        for numbers in _numbers(heights, distance, float(_units(places) @ np.abs(normal)) / 2):
            grid = _fit(numbers, usual, places, normal, distance)
            if grid.said:
                return grid
    whole = _fit(np.arange(len(places)), usual, places, normal)
    apart = np.maximum(np.rint(gaps / usual), 1).astype(np.int64)
    holed = _fit(np.concatenate([[0], np.cumsum(apart)]), usual, places, normal)
    # Rounding may look like missing slices, but these explain the places better where they are.
    missing = not holed.complete and holed.fits and holed.off < whole.off
    return whole if whole.fits and not missing else holed


def _numbers(heights: Float64, distance: float, lost: float) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the planes that slices at rounded heights may lie on: without gaps, and with some."""
    yield np.arange(len(heights))
    # The first one is rounded, too; shifts nearest to 0 come first.
    for shift in sorted(np.linspace(-lost, lost, _SHIFTS), key=abs):
        numbers = np.rint((heights - heights[0] - shift) / distance).astype(np.int64)
        apart = np.diff(numbers)
        # Slices may be twice as far apart as they are thick, and none missing.
        if apart.min() > 0 and np.median(apart) == 1:
            yield numbers - numbers[0]


def _fit(
    numbers: npt.NDArray[np.int64],
    usual: float,
    places: Float64,
    normal: Float64,
    distance: float | None = None,
) -> EvenGrid:
    """Fit a grid on whose planes of these numbers slices lie.

    Its planes are so far apart as is said if that explains the places.
    """
    middle = places.mean(axis=0)
    along = (numbers - numbers.mean())[:, None]
    step: Float64 = (along * (places - middle)).sum(axis=0) / float((along**2).sum())
    units = _units(places)
    # Whole mm may be exact or rounded: but for a distance nothing says so.
    fine = np.where(units < 1, units, 0)
    length = float(step @ normal)
    sideways = np.linalg.norm(step - length * normal) * numbers[-1]
    # Of few thin slices no tilt, if places vary a bit.
    slight = sideways <= _OFF_MM and tilt_deg(step, normal) > TILT_DEG
    if slight or sideways <= 2 * np.linalg.norm(_rounding(fine, length * normal)):
        step = length * normal
    length = float(np.linalg.norm(step))
    rounding = _rounding(fine, length * normal)
    said = False
    if distance is not None and length > 0:
        exact, its_rounding = step * (distance / length), _rounding(units, distance * normal)
        rest = places - numbers[:, None] * exact
        # A bit more, as the direction is fitted.
        said = bool((np.ptp(rest, axis=0) / 2 <= 1.2 * its_rounding + 1e-6).all())
        if said:
            step, length, rounding = exact, distance, its_rounding
            middle = (rest.max(axis=0) + rest.min(axis=0)) / 2 + numbers.mean() * exact
    origin = middle - numbers.mean() * step
    off = np.linalg.norm(places - origin - numbers[:, None] * step, axis=1).max()
    allowed = max(_OFF_MM + float(np.linalg.norm(rounding)), _OFF_SHARE * length)
    return EvenGrid(numbers, origin, step, usual, float(off), allowed, said)


def tilt_deg(step: Float64, normal: Float64) -> float:
    """Return by how many degrees a step is turned against the normal of slices."""
    sideways = np.linalg.norm(np.cross(step, normal))
    return float(np.degrees(np.arctan2(sideways, abs(step @ normal))))


def _units(values: Float64) -> Float64:
    """Return, for each column, the unit of the last decimal that its numbers have."""
    units = np.zeros(values.shape[1])
    for decimals in reversed(range(_DECIMALS + 1)):
        whole = np.abs(values - np.round(values, decimals)).max(axis=0) < 1e-9
        units[whole] = 10.0**-decimals
    return units


def _rounding(units: Float64, step: Float64) -> Float64:
    """Return, for each axis, by how much numbers of such units miss places so far apart."""
    steps = step / np.where(units > 0, units, 1)
    return np.where(np.abs(steps - np.rint(steps)) > _NOT_WHOLE, units / 2, 0)


def resample_evenly(
    where: str, slices: Array, places: Float64, affine: Float64, count: int
) -> tuple[Array, Float64]:
    """Interpolate slices to a grid at right angles.

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
    count : int
        Of slices to be made.

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
