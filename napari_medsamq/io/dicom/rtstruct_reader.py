"""Structure sets (RTSTRUCT) by pydicom, our own or others', drawn on slices as a label."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from napari_medsamq.array_types import Float64
from napari_medsamq.errors import VolumeError
from napari_medsamq.io.dicom.contours import fill
from napari_medsamq.io.dicom.references import NO_VALUE, quietly
from napari_medsamq.io.grid import HALF_WAY, MOST_VOXELS, Grid, extended
from napari_medsamq.io.label_format import MAX_LABEL_ID, DecodedLabel, Segment, one_line

# pydicom takes most of a second to import, which a start without DICOM need not: in functions.
if TYPE_CHECKING:
    from pydicom import Dataset

# Types of contours that enclose something; a voxel is inside if an odd number of them do.
_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
# How far the points of a contour may lie off its plane: in mm, as they are rounded; of its size.
_ROUNDED, _BENT = 0.05, 0.01
# How far contours may lie off a slice's plane, in slices, to be drawn on slices at all.
_TILTED = 0.25
# How near contours are those of one plane, in slices.
_ONE_PLANE = 0.05
_NO_AREA = 1e-9  # mm2
# Planes that tell how far those of a structure are apart; of fewer all structures' are asked.
_TELLING = 4
# The grid of contours that no image is known of: in mm, and pixels across the widest one.
_PIXEL, _ACROSS = 1.0, 256


@dataclass(frozen=True, eq=False)
class _Region:
    """The closed contours of a structure.

    Attributes
    ----------
    segment : Segment
    contours : list of (n, 3) float64
        LPS mm.
    """

    segment: Segment
    contours: list[Float64]


def read_rtstruct(path: Path, like: Grid | None = None) -> DecodedLabel:
    """Read a structure set as a label: the voxels whose middles its contours enclose.

    Contours of others need not lie on slices of the image: each slice takes the contours nearest to
    it, up to half way to where the next ones would be; none but its own if the file was made on as
    many slices as there are. Where they lie in planes of other directions or elsewhere, or no image
    is given, they are drawn on a grid of their own.

    Parameters
    ----------
    path : Path
    like : Grid, optional
        On whose slices they are drawn; the label's grid is extended to hold all of them.

    Raises
    ------
    VolumeError
        If it cannot be read, its structures overlap, or lie too far apart.
    """
    import pydicom

    with quietly():
        try:
            header = pydicom.dcmread(path, force=True)
            regions, left_out = _regions(path, header)
            frame, images = _frame_of_reference(path, header), _count_images(header)
        except (*NO_VALUE, EOFError) as error:
            raise VolumeError(
                f"{path}: cannot be read as a structure set ({error}). Export it again."
            ) from error
    notes: tuple[str, ...] = ()
    if left_out:
        notes = (f"{left_out} of its contours are points or open lines and enclose nothing.",)
    segments = {label_id: region.segment for label_id, region in regions.items()}
    contours = [contour for region in regions.values() for contour in region.contours]
    if not contours:
        # Empty, and no place to be empty at.
        nothing = np.zeros((1, 1, 1), np.uint16)
        return DecodedLabel(nothing, np.eye(4), segments, frame_of_reference=frame, notes=notes)
    normal, drawn = _normal(path, contours), None
    if like is not None and _shares_space(like, frame):
        drawn = _draw(path, regions, like, _sliced(like, contours), images)
    if drawn is None:
        own = _own_grid(str(path), regions.values(), normal)
        drawn = _draw(path, regions, own, _sliced(own, contours))
    if drawn is None:
        raise VolumeError(
            f"{path}: its contours lie too far apart to be drawn on slices. Export it again."
        )
    data, grid = drawn
    return DecodedLabel(data, grid.affine, segments, frame_of_reference=frame, notes=notes)


def _shares_space(like: Grid, frame: str) -> bool:
    """Tell whether contours of a frame of reference may be drawn on a grid."""
    one_frame = like.frame_of_reference == frame or not (like.frame_of_reference and frame)
    return like.known and not like.template and one_frame


def _regions(path: Path, header: Dataset) -> tuple[dict[int, _Region], int]:
    """Return structures by label id, and the number of contours that enclose nothing."""
    rois = {int(roi.ROINumber): roi for roi in header.get("StructureSetROISequence") or ()}
    found: dict[int, _Region] = {}
    left_out = 0
    ids: dict[int, int] = {}
    for drawn in header.get("ROIContourSequence") or ():
        number = int(drawn.ReferencedROINumber)
        label_id = ids.get(number, number)
        if number not in ids and (label_id in found or not 0 < label_id <= MAX_LABEL_ID):
            taken = {*found, *rois}
            label_id = next(n for n in range(1, MAX_LABEL_ID + 1) if n not in taken)
        ids[number] = label_id
        default = Segment.default(label_id)
        if label_id not in found:
            name = one_line(str(rois[number].get("ROIName") or "")) if number in rois else ""
            color = drawn.get("ROIDisplayColor")
            rgb = default.rgb if color is None or len(color) != 3 else [int(c) for c in color]
            found[label_id] = _Region(Segment.of_rgb(name or default.name, rgb), [])
        for contour in drawn.get("ContourSequence") or ():
            points = _points(contour)
            if points is None:
                left_out += 1
            else:
                found[label_id].contours.append(points)
    return found, left_out


def _points(contour: Dataset) -> Float64 | None:
    """Return the points (n, 3) of a closed contour; None for others."""
    if contour.get("ContourGeometricType") not in _CLOSED:
        return None
    points: Float64 = np.array(contour.ContourData, float).reshape(-1, 3)
    if not np.isfinite(points).all():
        raise ValueError("a contour has points without a place")
    turns = np.cross(points - points[0], np.roll(points, -1, 0) - points[0])
    return points if np.abs(turns).sum() > _NO_AREA else None


def _frame_of_reference(path: Path, header: Dataset) -> str:
    places = [
        *(header.get("StructureSetROISequence") or ()),
        *(header.get("ReferencedFrameOfReferenceSequence") or ()),
        header,
    ]
    for keyword in ("ReferencedFrameOfReferenceUID", "FrameOfReferenceUID"):
        uids = {str(place.get(keyword)) for place in places if place.get(keyword)}
        if len(uids) > 1:
            raise VolumeError(
                f"{path}: has structures in {len(uids)} frames of reference. Export those of one "
                "scan alone."
            )
        if uids:
            return uids.pop()
    return ""


def _count_images(header: Dataset) -> int:
    """Return how many images the structures were drawn on, as far as the file says so."""
    return sum(
        len(series.get("ContourImageSequence") or ())
        for frame in header.get("ReferencedFrameOfReferenceSequence") or ()
        for study in frame.get("RTReferencedStudySequence") or ()
        for series in study.get("RTReferencedSeriesSequence") or ()
    )


def _normal(path: Path, contours: Sequence[Float64]) -> Float64:
    """Return the normal (3,) of the planes that all contours lie in."""
    # Twice the area, along the normal.
    areas = np.array(
        [np.cross(c - c[0], np.roll(c, -1, 0) - c[0]).sum(0) for c in contours], np.float64
    )
    largest = areas[np.linalg.norm(areas, axis=1).argmax()]
    normal: Float64 = largest / max(float(np.linalg.norm(largest)), 1e-30)
    normal *= np.sign(normal[np.abs(normal).argmax()]) or 1
    for contour in contours:
        size = float(np.ptp(contour, axis=0).max())
        if float(np.ptp(contour @ normal)) > max(_ROUNDED, _BENT * size):
            raise VolumeError(
                f"{path}: its contours do not lie in parallel planes, so that they are on no "
                "slices. Export it as a DICOM segmentation or NIfTI."
            )
    return normal


def _sliced(like: Grid, contours: Sequence[Float64]) -> int | None:
    """Return the axis across whose slices contours lie; None if they lie across none."""
    inverse = np.linalg.inv(like.affine)[:3, :3]
    spreads = np.max([np.ptp(contour @ inverse.T, axis=0) for contour in contours], axis=0)
    axis = int(spreads.argmin())
    return axis if spreads[axis] < _TILTED else None


def _own_grid(name: str, regions: Iterable[_Region], normal: Float64) -> Grid:
    """Return a voxel of a grid that is fine enough for contours of which no image is known."""
    across = np.eye(3)[np.abs(normal).argmin()]
    across -= normal * (normal @ across)
    across /= np.linalg.norm(across)
    turn = np.column_stack([across, np.cross(normal, across), normal])
    places = [[contour @ turn for contour in region.contours] for region in regions]
    points = np.concatenate([contour for region in places for contour in region])
    pixel = min(_PIXEL, float(np.ptp(points[:, :2], axis=0).max()) / _ACROSS) or _PIXEL
    heights = [np.array([float(c[:, 2].mean()) for c in region]) for region in places if region]
    step = _usual_gap([_planes(own, _ONE_PLANE * pixel) for own in heights]) or _PIXEL
    affine = np.eye(4)
    affine[:3, :3] = turn * [pixel, pixel, step]
    affine[:3, 3] = turn @ points.min(0)
    return Grid(name, (1, 1, 1), affine)


def _planes(heights: Float64, apart: float) -> Float64:
    """Return the different heights of contours, ascending."""
    ordered = np.sort(heights)
    different: Float64 = ordered[np.diff(ordered, prepend=-np.inf) > apart]
    return different


def _usual_gap(planes: Iterable[Float64]) -> float:
    """Return how far planes of a structure usually are apart; 0 if none has two."""
    gaps = np.concatenate([np.diff(own) for own in planes])
    return float(np.median(gaps)) if gaps.size else 0.0


def _draw(
    path: Path, regions: dict[int, _Region], like: Grid, axis: int | None, images: int = 0
) -> tuple[npt.NDArray[np.uint16], Grid] | None:
    """Draw structures on the slices across an axis of a grid, extended to hold them all.

    None if they lie across none, or too far away.
    """
    if axis is None:
        return None
    inverse = np.linalg.inv(like.affine)
    places = {
        label_id: [contour @ inverse[:3, :3].T + inverse[:3, 3] for contour in own.contours]
        for label_id, own in regions.items()
        if own.contours
    }
    heights = {n: np.array([float(c[:, axis].mean()) for c in own]) for n, own in places.items()}
    planes = {n: _planes(own, _ONE_PLANE) for n, own in heights.items()}
    usual = _usual_gap(planes.values())
    reach = dict.fromkeys(planes, 0.5)
    if images != like.shape[axis]:
        for label_id, levels in planes.items():
            gap = _usual_gap([levels]) if levels.size >= _TELLING else usual
            reach[label_id] = max(gap, 1.0) / 2
    ends = np.concatenate([contour for own in places.values() for contour in own])
    beyond = np.eye(3)[axis] * max(reach.values())
    ends = np.concatenate([ends - beyond, ends + beyond]) @ like.affine[:3, :3].T
    grid = extended(like, (ends + like.affine[:3, 3]).T)
    if grid is None or grid.size > max(2 * like.size, MOST_VOXELS):
        return None
    moved = np.rint(np.linalg.inv(grid.affine) @ like.affine[:, 3])[:3]
    data = np.zeros(grid.shape, np.uint16)
    slices = np.moveaxis(data, axis, 0)
    x_y = [other for other in range(3) if other != axis][::-1]
    for label_id, own in places.items():
        for k, plane in enumerate(slices):
            height = _nearest(planes[label_id], k - moved[axis], reach[label_id])
            if height is not None:
                here = np.flatnonzero(np.abs(heights[label_id] - height) <= _ONE_PLANE)
                other = _lay(plane, [(own[n] + moved)[:, x_y] for n in here], label_id)
                if other:
                    one, two = regions[label_id].segment.name, regions[other].segment.name
                    raise VolumeError(
                        f"{path}: its structures overlap, {two} and {one} first; here a voxel has "
                        "one label. Export them to files of their own."
                    )
    return data, grid


def _nearest(planes: Float64, at: float, reach: float) -> float | None:
    """Return the plane of contours that a slice takes; None if there is none within reach."""
    # Half open, so that a gap of whole slices makes just as many.
    near = planes[(at - planes >= -reach - _ONE_PLANE) & (at - planes < reach - _ONE_PLANE)]
    return float(near[np.abs(near - at).argmin()]) if near.size else None


def _lay(plane: npt.NDArray[np.uint16], polygons: list[Float64], label_id: int) -> int:
    """Fill polygons (n, 2), x and y, on a slice; return the id of a label that is there already."""
    # What stands there twice would take itself away.
    different = list({polygon.tobytes(): polygon for polygon in polygons}.values())
    points = np.concatenate(different)
    low = np.maximum(np.floor(points.min(0)), 0).astype(int)
    high = np.ceil(points.max(0)).astype(int) + 1
    part = plane[low[1] : high[1], low[0] : high[0]]
    # Through the middles of pixels, rounding must not take now this side's, now the other's.
    mask = fill([polygon - low - HALF_WAY for polygon in different], part.shape)
    others = part[mask & (part != 0)]
    if others.size:
        return int(others[0])
    part[mask] = label_id
    return 0
