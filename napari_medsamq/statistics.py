"""What a label measures: size, intensities, diameters."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist

from napari_medsamq.volume_io import Volume

PERCENTILES = (5, 25, 50, 75, 95)

Bool = npt.NDArray[np.bool_]
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LabelStatistics:
    """Size and intensities of one label id.

    Attributes
    ----------
    voxels : int
    millilitres : float
    mean, sd : float
        Of the source intensities (HU for CT); `sd` divides by n - 1, and is 0 for one voxel.
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


def label_statistics(
    volume: Volume, label: npt.NDArray[np.unsignedinteger], axis: int = 0
) -> dict[int, LabelStatistics]:
    """Measure every non-zero id of a label (z, y, x) on its volume.

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
    ids = np.flatnonzero(np.bincount(label.reshape(-1)))
    return {
        int(label_id): measure(volume, label == label_id, axis) for label_id in ids if label_id != 0
    }


def measure(volume: Volume, mask: Bool, axis: int = 0) -> LabelStatistics:
    """Measure a mask (z, y, x) bool that is not empty; the rest is as in `label_statistics`."""
    place = _place(mask)
    part = mask[place]
    values = volume.data[place][part].astype(np.float64)
    # All corners of the mask are ends of its rows, of which there are fewest along its length.
    order = np.argsort(part.shape, kind="stable")
    ends = _row_ends(part.transpose(order)) * volume.spacing[order]
    planes = np.moveaxis(part, axis, 0)
    pixel = np.delete(volume.spacing, axis)
    return LabelStatistics(
        voxels=values.shape[0],
        millilitres=values.shape[0] * float(np.prod(volume.spacing)) / 1000,
        mean=float(values.mean()),
        sd=float(values.std(ddof=1)) if values.size > 1 else 0.0,
        percentiles=dict(
            zip(PERCENTILES, np.percentile(values, PERCENTILES).tolist(), strict=True)
        ),
        slices=int(np.count_nonzero(planes.any((1, 2)))),
        plane_mm=max(_longest(_corners(plane) * pixel) for plane in planes if plane.any()),
        longest_mm=_longest(_hull(ends)),
    )


def intensities(volume: Volume, mask: Bool) -> npt.NDArray[Any]:
    """Return the source intensities (n,) within a mask (z, y, x) bool, for a histogram."""
    place = _place(mask)
    found: npt.NDArray[Any] = volume.data[place][mask[place]]
    return found


def _place(mask: Bool) -> tuple[slice, ...]:
    """Return the part of a volume that a mask lies in."""
    ends = []
    for axis in range(mask.ndim):
        used = np.flatnonzero(mask.any(tuple(n for n in range(mask.ndim) if n != axis)))
        ends.append(slice(int(used[0]), int(used[-1]) + 1))
    return tuple(ends)


def _row_ends(mask: Bool) -> Float64:
    """Return the first and last voxel of each row along the last axis: (n, 3) indices."""
    used = mask.any(-1)
    rows = np.argwhere(used)
    first = mask.argmax(-1)[used]
    last = mask.shape[-1] - 1 - mask[..., ::-1].argmax(-1)[used]
    ends = [np.column_stack([rows, end]) for end in (first, last)]
    return np.concatenate(ends).astype(np.float64)


def _corners(mask: Bool) -> Float64:
    """Return the corners of the convex hull of a mask (H, W) bool: (n, 2) row, column."""
    points = _row_ends(mask).astype(np.int32)
    return cv2.convexHull(points).reshape(-1, 2).astype(np.float64)


def _hull(points: Float64) -> Float64:
    """Return those of points (n, 3) that are corners of their convex hull."""
    centred = points - points.mean(0)
    _, sizes, ways = np.linalg.svd(centred, full_matrices=False)
    # Points in a plane or on a line have no hull in space.
    within = centred @ ways[sizes > 1e-9 * max(sizes[0], 1.0)].T
    if within.shape[1] < 2:
        line = within.sum(1)
        return points[[line.argmin(), line.argmax()]]
    corners: Float64 = points[ConvexHull(within).vertices]
    return corners


def _longest(points: Float64) -> float:
    return float(pdist(points).max()) if len(points) > 1 else 0.0
