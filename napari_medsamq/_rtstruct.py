"""DICOM RT structure sets by pydicom: outlines on the slices of a series, and back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import numpy.typing as npt

from napari_medsamq import __version__
from napari_medsamq._dicom_seg import MAKER, long_string
from napari_medsamq._dicom_source import NO_VALUE, RT_STRUCTURE_SET, Frame, quietly, read_frames
from napari_medsamq._label import (
    DecodedLabel,
    Mismatch,
    Segment,
    Segments,
    drawn_segments,
    one_line,
)
from napari_medsamq._lattice import MOST_VOXELS, Grid, extended
from napari_medsamq._outlines import fill, outlines
from napari_medsamq._source import Source
from napari_medsamq.errors import VolumeError
from napari_medsamq.geometry import Float64

# pydicom takes most of a second to import, which a start without DICOM need not: in functions.
if TYPE_CHECKING:
    from pydicom import Dataset

SUFFIX = ".rtstruct.dcm"

_MAX_DEVIATION = 1e-3  # mm

# Types of contours that enclose something; a voxel is inside if an odd number of them do.
_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
# How far the points of a contour may lie off its plane: in mm, as they are rounded; of its size.
_ROUNDED, _BENT = 0.05, 0.01
# How far contours may lie off a slice's plane, in slices, to be drawn on slices at all.
_TILTED = 0.25
# How near contours are those of one plane, in slices.
_ONE_PLANE = 0.02
_NO_AREA = 1e-9  # mm2
_MOST_ID = int(np.iinfo(np.uint16).max)
# Planes that tell how far those of a structure are apart; of fewer all structures' are asked.
_TELLING = 4
# The grid of contours that no image is known of: in mm, and pixels across the widest one.
_PIXEL, _ACROSS = 1.0, 256

# Retired, but what readers of structure sets expect here.
_STUDY = "1.2.840.10008.3.1.2.3.1"
_COPIED = (
    *("StudyInstanceUID", "StudyID", "StudyDate", "StudyTime", "AccessionNumber"),
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "ReferringPhysicianName"),
    "FrameOfReferenceUID",
)


class RTStruct:
    """A label as the outlines of its structures.

    They run at level 0.5 between the middles of the pixels; holes are joined to the outline around
    them, so that each outline is one CLOSED_PLANAR contour.

    Parameters
    ----------
    array : array of uint8 or uint16
        Of the source's shape.
    source : Source
    segments : Segments

    Raises
    ------
    Unwritable
    """

    def __init__(
        self, array: npt.NDArray[np.unsignedinteger], source: Source, segments: Segments
    ) -> None:
        self._array = array.reshape(source.grid)
        self._source = source
        self._segments = drawn_segments(array, segments)

    def write(self, file: BinaryIO) -> None:
        """Write it."""
        with quietly():
            self._write(file)

    def _write(self, file: BinaryIO) -> None:
        from pydicom import FileDataset
        from pydicom.dataset import FileMetaDataset
        from pydicom.uid import UID, ImplicitVRLittleEndian, generate_uid

        frames = read_frames(self._source)
        first, now = frames[0].header, datetime.now()
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = UID(RT_STRUCTURE_SET)
        meta.MediaStorageSOPInstanceUID = generate_uid()
        # Explicit types allow a contour 64 KB.
        meta.TransferSyntaxUID = ImplicitVRLittleEndian
        written = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
        for keyword in _COPIED:
            setattr(written, keyword, first.get(keyword))
        _set(
            written,
            SpecificCharacterSet="ISO_IR 192",
            SOPClassUID=RT_STRUCTURE_SET,
            SOPInstanceUID=meta.MediaStorageSOPInstanceUID,
            Modality="RTSTRUCT",
            SeriesInstanceUID=generate_uid(),
            SeriesNumber=101,
            SeriesDescription="Structure set",
            InstanceNumber=1,
            OperatorsName="",
            PositionReferenceIndicator=first.get("PositionReferenceIndicator", ""),
            Manufacturer=MAKER,
            ManufacturerModelName=MAKER,
            SoftwareVersions=__version__,
            StructureSetLabel="Segmentation",
            StructureSetDate=f"{now:%Y%m%d}",
            StructureSetTime=f"{now:%H%M%S}",
            ApprovalStatus="UNAPPROVED",
            ReferencedFrameOfReferenceSequence=[_referenced(frames)],
            StructureSetROISequence=[self._roi(n, first) for n in self._segments],
            ROIContourSequence=[self._contours(n, frames) for n in self._segments],
            RTROIObservationsSequence=[
                _dataset(
                    ObservationNumber=n,
                    ReferencedROINumber=n,
                    RTROIInterpretedType="",
                    ROIInterpreter="",
                )
                for n in self._segments
            ],
        )
        written.save_as(file, enforce_file_format=True)

    def verify(self, path: Path) -> None:
        """Read a file back by pydicom, fill its contours, and compare."""
        with quietly():
            self._verify(path)

    def _verify(self, path: Path) -> None:
        import pydicom

        back = pydicom.dcmread(path)
        names = {int(roi.ROINumber): str(roi.ROIName) for roi in back.StructureSetROISequence}
        if names != {n: long_string(segment.name) for n, segment in self._segments.items()}:
            raise Mismatch("has other names than the label")
        frames = {frame.k: frame for frame in read_frames(self._source)}
        for roi in back.ROIContourSequence:
            polygons = self._polygons(roi, frames)
            for k in frames:
                plane = self._plane(k, int(roi.ReferencedROINumber))
                if not np.array_equal(fill(polygons.get(k, []), plane.shape), plane):
                    raise Mismatch("encloses other voxels than the label")

    def _polygons(self, roi: Dataset, frames: dict[int, Frame]) -> dict[int, list[Float64]]:
        """Return the contours of a structure by slice, x and y in pixels."""
        found: dict[int, list[Float64]] = {}
        for contour in roi.ContourSequence:
            points = np.reshape(np.array(contour.ContourData, float), (-1, 3))
            k = int(np.rint(np.linalg.solve(self._source.affine, [*points[0], 1])[2]))
            if k not in frames:
                raise Mismatch("lies elsewhere in the patient than the image")
            from_first = points - frames[k].position
            x_y: Float64 = from_first @ np.linalg.pinv(frames[k].steps).T
            if np.abs(x_y @ frames[k].steps.T - from_first).max() > _MAX_DEVIATION:
                raise Mismatch("lies elsewhere in the patient than the image")
            found.setdefault(k, []).append(x_y)
        return found

    def _plane(self, k: int, label_id: int) -> npt.NDArray[np.bool_]:
        plane: npt.NDArray[np.bool_] = np.equal(self._array[..., k].T, label_id)
        return plane

    def _roi(self, label_id: int, first: Dataset) -> Dataset:
        return _dataset(
            ROINumber=label_id,
            ReferencedFrameOfReferenceUID=first.FrameOfReferenceUID,
            ROIName=long_string(self._segments[label_id].name),
            ROIGenerationAlgorithm="SEMIAUTOMATIC",
        )

    def _contours(self, label_id: int, frames: list[Frame]) -> Dataset:
        segment: Segment = self._segments[label_id]
        contours = []
        for frame in frames:
            for polygon in outlines(self._plane(frame.k, label_id)):
                points = polygon @ frame.steps.T + frame.position
                contours.append(
                    _dataset(
                        ContourImageSequence=[_image(frame)],
                        ContourGeometricType="CLOSED_PLANAR",
                        NumberOfContourPoints=len(points),
                        ContourData=[f"{value:.5f}" for value in points.ravel()],
                    )
                )
        return _dataset(
            ROIDisplayColor=list(segment.rgb),
            ContourSequence=contours,
            ReferencedROINumber=label_id,
        )


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
    it, up to half way to where the next ones would be; none other than its own if the file was made
    on as many slices as there are. Where they lie in planes of other
    directions or elsewhere, or no image is given, they are drawn on a grid of their own.

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
    return like.known and not like.template and like.frame_of_reference in (frame, "")


def _regions(path: Path, header: Dataset) -> tuple[dict[int, _Region], int]:
    """Return structures by label id, and the number of contours that enclose nothing."""
    rois = {int(roi.ROINumber): roi for roi in header.get("StructureSetROISequence") or ()}
    found: dict[int, _Region] = {}
    left_out = 0
    ids: dict[int, int] = {}
    for drawn in header.get("ROIContourSequence") or ():
        number = int(drawn.ReferencedROINumber)
        label_id = ids.get(number, number)
        if number not in ids and (label_id in found or not 0 < label_id <= _MOST_ID):
            taken = {*found, *rois}
            label_id = next(n for n in range(1, _MOST_ID + 1) if n not in taken)
        ids[number] = label_id
        default = Segment.default(label_id)
        if label_id not in found:
            name = one_line(str(rois[number].get("ROIName") or "")) if number in rois else ""
            color = drawn.get("ROIDisplayColor")
            rgb = default.rgb if color is None or len(color) != 3 else [int(c) for c in color]
            found[label_id] = _Region(Segment.of_rgb(name or default.name, rgb), [])
        for contour in drawn.get("ContourSequence") or ():
            points = _points(path, contour)
            if points is None:
                left_out += 1
            else:
                found[label_id].contours.append(points)
    return found, left_out


def _points(path: Path, contour: Dataset) -> Float64 | None:
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
    mask = fill([polygon - low for polygon in different], part.shape)
    others = part[mask & (part != 0)]
    if others.size:
        return int(others[0])
    part[mask] = label_id
    return 0


def _referenced(frames: list[Frame]) -> Dataset:
    first = frames[0].header
    # All frames of a file are meant where none is named.
    images = {id(frame.header): replace(frame, number=None) for frame in frames}
    return _dataset(
        FrameOfReferenceUID=first.FrameOfReferenceUID,
        RTReferencedStudySequence=[
            _dataset(
                ReferencedSOPClassUID=_STUDY,
                ReferencedSOPInstanceUID=first.StudyInstanceUID,
                RTReferencedSeriesSequence=[
                    _dataset(
                        SeriesInstanceUID=first.SeriesInstanceUID,
                        ContourImageSequence=[_image(image) for image in images.values()],
                    )
                ],
            )
        ],
    )


def _image(frame: Frame) -> Dataset:
    image = _dataset(
        ReferencedSOPClassUID=frame.header.SOPClassUID,
        ReferencedSOPInstanceUID=frame.header.SOPInstanceUID,
    )
    if frame.number is not None:
        image.ReferencedFrameNumber = frame.number
    return image


def _dataset(**values: object) -> Dataset:
    from pydicom import Dataset

    return _set(Dataset(), **values)


def _set(dataset: Dataset, **values: object) -> Dataset:
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset
