"""What a label measures: size, intensities, diameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from napari_medsamq.array_types import Bool, Float64
from napari_medsamq.geometry import voxel_ml
from napari_medsamq.io.label_format import used_ids
from napari_medsamq.io.volume import Volume

PERCENTILES = (5, 25, 50, 75, 95)


# Integers that differ by less are counted one by one, so many at a time as the cache takes;
# everything else is sorted.
_MOST_COUNTED, _CHUNK = 1 << 20, 1 << 18
# Distances between all pairs of more points take too long.
_FEW = 500


@dataclass(frozen=True)
class LabelStatistics:
    """Size and intensities of one label id.

    Attributes
    ----------
    voxels : int
    millilitres : float
        Of a 2D image its area by the thickness that the file tells, 1 mm where it tells none.
    mean, sd : float
        Of the source intensities; `sd` divides by n - 1, and is 0 for one voxel.
    percentiles : dict of int to float
        Of the intensities, those of `PERCENTILES`, interpolated linearly.
    slices : int
        How many slices across the plane have any of the label.
    plane_mm : float
        Its longest diameter within one of these slices, between the middles of voxels.
    longest_mm : float
        Its longest diameter in any direction (Feret's).
    """

    voxels: int
    millilitres: float
    mean: float
    sd: float
    percentiles: dict[int, float]
    slices: int
    plane_mm: float
    longest_mm: float

    @classmethod
    def columns(cls) -> list[str]:
        """Return the names that `as_dict` gives its values, in their order."""
        names = [field.name for field in fields(cls) if field.name != "percentiles"]
        return [*names, *(f"p{share}" for share in PERCENTILES)]

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as JSON can hold it, percentiles as `p5`, `p25` ..."""
        found = asdict(self)
        percentiles = found.pop("percentiles")
        return {**found, **{f"p{share}": value for share, value in percentiles.items()}}


@dataclass(frozen=True)
class Intensities:
    """The intensities within a label, counted.

    Attributes
    ----------
    values : (m,) array
        Those that occur, ascending.
    counts : (m,) int64
        How often.
    """

    values: npt.NDArray[Any]
    counts: npt.NDArray[np.int64]

    @property
    def total(self) -> int:
        """How many there are."""
        return int(self.counts.sum())

    @property
    def mean(self) -> float:
        """Their mean."""
        return float(np.dot(self.values.astype(np.float64), self.counts)) / self.total

    @property
    def sd(self) -> float:
        """Their standard deviation, divided by n - 1; 0 for a single one."""
        if self.total < 2:
            return 0.0
        apart = self.values.astype(np.float64) - self.mean
        # Squares of the largest numbers there are would be infinite.
        scale = float(np.abs(apart).max()) or 1.0
        return scale * float(
            np.sqrt(np.dot(np.square(apart / scale), self.counts) / (self.total - 1))
        )

    def percentiles(self, shares: Sequence[float]) -> list[float]:
        """Return percentiles, interpolated linearly, as `numpy.percentile` does."""
        places = (self.total - 1) * np.asarray(shares, np.float64) / 100
        below = np.floor(places)
        ends = np.cumsum(self.counts)
        values = self.values.astype(np.float64)
        low, high = (
            values[np.searchsorted(ends, place, "right")] for place in (below, np.ceil(places))
        )
        found: list[float] = (low + (high - low) * (places - below)).tolist()
        return found

    def histogram(self, bins: int) -> tuple[npt.NDArray[np.int64], float, float]:
        """Return how many fall into each of so many bins, and the lowest and the highest value."""
        # From the lowest, so that bins are found between large values that hardly differ.
        low = float(self.values[0])
        apart = self.values.astype(np.float64) - low
        ends = (0.0, float(apart[-1])) if apart[-1] > 0 else (-0.5, 0.5)
        counts, _ = np.histogram(apart, bins, ends, weights=self.counts)
        return counts.astype(np.int64), low + ends[0], low + ends[1]


def label_statistics(
    volume: Volume, label: npt.NDArray[np.unsignedinteger], axis: int = 0
) -> dict[int, LabelStatistics]:
    """Measure every label id of a volume.

    Parameters
    ----------
    volume : Volume
    label : (z, y, x) unsigned integers
    axis : int
        Array axis normal to the slices.

    Returns
    -------
    statistics : dict of int to LabelStatistics
        By label id, in ascending order.
    """
    measured = {used: measure_label(volume, label, used, axis) for used in used_ids(label)}
    return {used: found[0] for used, found in measured.items() if found is not None}


def measure(volume: Volume, mask: Bool, axis: int = 0) -> LabelStatistics:
    """Measure a mask (z, y, x) bool that is not empty; the rest is as in `label_statistics`."""
    found = measure_label(volume, mask, 1, axis)
    if found is None:
        raise ValueError("an empty mask measures nothing")
    return found[0]


def measure_label(
    volume: Volume, label: npt.NDArray[Any], label_id: int, axis: int = 0
) -> tuple[LabelStatistics, Intensities] | None:
    """Measure one label id, and count the intensities within it; None where it has no voxels.

    Quick enough to follow edits: only what lies around the label is looked at more than once.

    Parameters
    ----------
    volume : Volume
    label : (z, y, x) integers, or bool for label id 1
    label_id : int
    axis : int
        Array axis normal to the slices. A volume of one slice has that one, whatever this is.
    """
    place = _place(label, label_id)
    return None if place is None else measure_part(volume, place, label[place] == label_id, axis)


def measure_part(
    volume: Volume, place: tuple[slice, ...], part: Bool, axis: int = 0
) -> tuple[LabelStatistics, Intensities] | None:
    """Measure a mask that lies in a part of a volume; None where it is empty.

    Parameters
    ----------
    volume : Volume
    place : (3,) slice
    part : bool
        The mask in that part.
    axis : int
        Array axis normal to the slices. A volume of one slice has that one, whatever this is.
    """
    if not part.any():
        return None
    flat = [n for n, size in enumerate(volume.data.shape[:3]) if size == 1]
    axis = flat[0] if flat and axis not in flat else axis
    intensities = _count(volume.data[place][part])
    pixel = np.delete(volume.spacing, axis)
    planes = np.ascontiguousarray(np.moveaxis(part, axis, 0))
    corners = {
        int(index): _corners(planes[index]) * pixel for index in np.flatnonzero(planes.any((1, 2)))
    }
    # The corners of a label in space are among those of its slices.
    ends = np.concatenate(
        [np.insert(own, axis, index * volume.spacing[axis], 1) for index, own in corners.items()]
    )
    voxels = int(np.count_nonzero(part))
    statistics = LabelStatistics(
        voxels=voxels,
        millilitres=voxels * voxel_ml(volume.spacing),
        mean=intensities.mean,
        sd=intensities.sd,
        percentiles=dict(zip(PERCENTILES, intensities.percentiles(PERCENTILES), strict=True)),
        slices=len(corners),
        plane_mm=max(_longest(own) for own in corners.values()),
        longest_mm=_longest(ends),
    )
    return statistics, intensities


def _place(label: npt.NDArray[Any], label_id: int) -> tuple[slice, ...] | None:
    """Return the part of a volume that a label id lies in; None if there is none."""
    rows, columns = (np.zeros(size, bool) for size in label.shape[1:])
    planes = []
    # One by one, so that each stays in the processor's cache.
    for index, plane in enumerate(label):
        own = plane == label_id
        lines = own.any(1)
        if lines.any():
            planes.append(index)
            rows |= lines
            columns |= own.any(0)
    if not planes:
        return None
    used = (np.array(planes), np.flatnonzero(rows), np.flatnonzero(columns))
    return tuple(slice(int(own[0]), int(own[-1]) + 1) for own in used)


def _count(found: npt.NDArray[Any]) -> Intensities:
    """Count intensities (n,) or (n, 3)."""
    flat = found.reshape(-1)
    if np.issubdtype(flat.dtype, np.integer):
        low, high = int(flat.min()), int(flat.max())
        if high - low < _MOST_COUNTED:
            counts = np.zeros(high - low + 1, np.int64)
            # No one type holds all integers of 64 bits, signed or not.
            wide = np.uint64 if flat.dtype.kind == "u" else np.int64
            for start in range(0, flat.size, _CHUNK):
                own = flat[start : start + _CHUNK].astype(wide) - wide(low)
                counts += np.bincount(own.astype(np.int64), minlength=counts.size)
            there = np.flatnonzero(counts)
            return Intensities(there.astype(wide) + wide(low), counts[there])
    return Intensities(*np.unique(flat, return_counts=True))


def row_ends(mask: Bool) -> Float64:
    """Return the first and last voxel of each row along the last axis: (n, 3) indices."""
    used = mask.any(-1)
    rows = np.argwhere(used)
    first = mask.argmax(-1)[used]
    last = mask.shape[-1] - 1 - mask[..., ::-1].argmax(-1)[used]
    ends = [np.column_stack([rows, end]) for end in (first, last)]
    return np.concatenate(ends).astype(np.float64)


def _corners(mask: Bool) -> Float64:
    """Return the corners of the convex hull of a mask (H, W) bool: (n, 2) row, column."""
    points = row_ends(mask).astype(np.int32)
    return cv2.convexHull(points).reshape(-1, 2).astype(np.float64)


def _longest(points: Float64) -> float:
    """Return the longest distance between any two of points (n, 2 or 3)."""
    axes = np.ascontiguousarray(points.T)
    if len(points) <= _FEW:
        return float(_distances(axes[:, None], axes[:, :, None]).max())
    # No distance is longer than that of both to the middle: of nearly all points that shows that
    # they are no ends.
    radii = _distances(axes, axes.mean(1, keepdims=True))
    order = radii.argsort()[::-1]
    axes, inward = axes.take(order, 1), -radii[order]
    longest = 0.0
    for number in range(len(points)):
        # Those before it have been compared with all that matter.
        last = np.searchsorted(inward, -inward[number] - longest, "right")
        if last <= number:
            break
        found = _distances(axes[:, number:last], axes[:, number, None])
        longest = max(longest, float(found.max()))
    return longest


def _distances(axes: Float64, place: Float64) -> Float64:
    """Return distances of coordinates, which the first axis counts."""
    found: Float64 = np.sqrt(np.square(axes - place).sum(0))
    return found
