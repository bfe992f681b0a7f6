"""DICOM segmentations by highdicom."""

from __future__ import annotations

import re
import sqlite3
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from napari_medsamq import __version__
from napari_medsamq.array_types import Float64
from napari_medsamq.errors import VolumeError
from napari_medsamq.io.dicom.references import (
    MAKER,
    SEGMENTATIONS,
    DicomLabel,
    SourceFrame,
    functional_group,
    long_string,
    pixel_steps,
    quietly,
    read_frames,
)
from napari_medsamq.io.label_format import (
    MAX_LABEL_ID,
    DecodedLabel,
    Mismatch,
    Segment,
    Segments,
    Unwritable,
    one_line,
)
from napari_medsamq.io.source import Array, Source
from napari_medsamq.io.terminology import concept

# highdicom takes a second to import, which a start without DICOM need not: hence in functions.
if TYPE_CHECKING:
    from highdicom.seg import Segmentation, SegmentDescription
    from pydicom import Dataset

SUFFIX = ".dcm"
# The program that draws is not a device.
SERIAL_NUMBER = "0"

_MAX_DEVIATION = 1e-3  # mm

# How far slices may stray from even distances, as `series` allows; in mm, as positions are rounded.
_UNEVEN, _ROUNDED = 0.05, 0.11
# Voxels that frames may have or be spread over: or eight times those they have, and pixels a byte.
_MOST_VOXELS, _MOST_PACKED = 1 << 28, 64
# highdicom packs as many pixels into a byte, and makes mistakes with slices of fewer.
_LEAST_PIXELS = 8
_TRACKING = re.compile(r"Label (\d{1,5})")
# What highdicom raises where a series is not as it should be.
_REFUSED = (
    *(ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError),
    *(EOFError, sqlite3.Error),
)


class DicomSeg(DicomLabel):
    """A label as a binary DICOM segmentation that refers to its series."""

    def __init__(
        self, array: npt.NDArray[np.unsignedinteger], source: Source, segments: Segments
    ) -> None:
        super().__init__(array, source, segments)
        if np.prod(source.grid[:2]) < _LEAST_PIXELS:
            raise Unwritable(
                f"its slices have fewer than {_LEAST_PIXELS} pixels, too few for a DICOM "
                "segmentation. Save as NIfTI (.nii.gz) or .seg.nrrd"
            )

    def _write(self, file: BinaryIO) -> None:
        from highdicom.seg import Segmentation
        from pydicom.uid import ExplicitVRLittleEndian, generate_uid

        # highdicom takes frames in the order of their file.
        frames = sorted(read_frames(self._source), key=lambda frame: frame.number or 0)
        # Segments are counted from 1 without gaps.
        number = np.zeros(int(self._array.max()) + 1, np.uint16)
        number[list(self._segments)] = np.arange(1, len(self._segments) + 1)
        planes = number[np.stack([self._array[..., frame.k].T for frame in frames])]
        try:
            written = Segmentation(
                source_images=_images(frames),
                pixel_array=planes.astype(np.uint8) if len(self._segments) < 256 else planes,
                segmentation_type="BINARY",
                segment_descriptions=[
                    _description(n, label_id, segment)
                    for n, (label_id, segment) in enumerate(self._segments.items(), start=1)
                ],
                series_instance_uid=generate_uid(),
                series_number=100,
                sop_instance_uid=generate_uid(),
                instance_number=1,
                manufacturer=MAKER,
                manufacturer_model_name=MAKER,
                software_versions=__version__,
                device_serial_number=SERIAL_NUMBER,
                content_label="SEGMENTATION",
                series_description="Segmentation",
                transfer_syntax_uid=ExplicitVRLittleEndian,
            )
        except _REFUSED as error:
            raise Unwritable(
                f"the series it was drawn on lacks what a DICOM segmentation needs ({error}). "
                "Save as NIfTI (.nii.gz) or .seg.nrrd"
            ) from error
        _refer(written, frames)
        written.SpecificCharacterSet = "ISO_IR 192"
        written.save_as(file, enforce_file_format=True)

    def _verify(self, path: Path) -> None:
        from highdicom.color import CIELabColor
        from highdicom.seg import segread

        frames = read_frames(self._source)
        try:
            back = segread(path)
            label = self._united(back, frames)
            told = [
                (str(own.SegmentLabel), str(own.TrackingID), [*own.RecommendedDisplayCIELabValue])
                for own in back.SegmentSequence
            ]
        except _REFUSED as error:
            raise Mismatch(f"cannot be read back ({error})") from error
        if not np.array_equal(label, self._array):
            raise Mismatch("has other voxels than the label")
        if told != [
            (long_string(own.name), _tracking(n), [*CIELabColor.from_rgb(*own.rgb).value])
            for n, own in self._segments.items()
        ]:
            raise Mismatch("has other names, numbers or colours than the label")

    def _united(self, back: Segmentation, frames: list[SourceFrame]) -> Array:
        """Bring the frames of a file together, each on the slice whose place it has."""
        ids = list(self._segments)
        places = {frame.k: frame.position for frame in frames}
        label = np.zeros_like(self._array)
        masks = _stored(back).astype(bool)
        if masks.shape[1:] != self._array.shape[1::-1]:
            raise Mismatch("has another size than the image")
        for mask, groups in zip(masks, back.PerFrameFunctionalGroupsSequence, strict=True):
            where = functional_group(back, groups, "PlanePositionSequence")
            position = np.array(where.ImagePositionPatient, float)
            k = min(places, key=lambda k: float(np.linalg.norm(places[k] - position)))
            steps = pixel_steps(
                functional_group(back, groups, "PlaneOrientationSequence"),
                functional_group(back, groups, "PixelMeasuresSequence"),
            )
            # At the far end of the slice.
            off = np.abs((steps - frames[0].steps) * self._source.grid[:2]).max()
            if max(off, np.linalg.norm(places[k] - position)) > _MAX_DEVIATION:
                raise Mismatch("lies elsewhere in the patient than the image")
            segment = functional_group(back, groups, "SegmentIdentificationSequence")
            place = label[..., k]
            if place[mask.T].any():
                raise Mismatch("has voxels of several structures")
            place[mask.T] = ids[int(segment.ReferencedSegmentNumber) - 1]
        return label


def _tracking(label_id: int) -> str:
    """Return what keeps a label's own number, for which segments have no other place."""
    return f"Label {label_id}"


def _images(frames: list[SourceFrame]) -> list[Dataset]:
    """Return the images of frames; of a multi-frame one, as if it had no others than these."""
    headers = list({id(frame.header): frame.header for frame in frames}.values())
    if frames[0].number is None:
        return headers
    if len(headers) > 1:
        raise Unwritable(
            "the series it was drawn on lies in several multi-frame files, which one DICOM "
            "segmentation cannot refer to. Save as NIfTI (.nii.gz) or .seg.nrrd"
        )
    image, each = copy(headers[0]), headers[0].PerFrameFunctionalGroupsSequence
    image.PerFrameFunctionalGroupsSequence = [each[(frame.number or 1) - 1] for frame in frames]
    image.NumberOfFrames = len(frames)
    return [image]


def _refer(written: Segmentation, frames: list[SourceFrame]) -> None:
    """Let frames refer to those of the source as its file counts them."""
    sources = (
        source
        for groups in written.PerFrameFunctionalGroupsSequence
        for derivation in groups.get("DerivationImageSequence", ())
        for source in derivation.get("SourceImageSequence", ())
        if "ReferencedFrameNumber" in source
    )
    # Frames of one place share theirs.
    for source in {id(source): source for source in sources}.values():
        source.ReferencedFrameNumber = frames[int(source.ReferencedFrameNumber) - 1].number


def _stored(seg: Segmentation) -> Array:
    """Return the values of all frames (n, rows, columns) as they are stored."""
    return np.reshape(seg.pixel_array, (-1, int(seg.Rows), int(seg.Columns)))


def read_dicom_seg(path: Path) -> DecodedLabel:
    """Read a DICOM segmentation.

    Raises
    ------
    VolumeError
        If it is none, its image has no place in the patient, or its segments overlap.
    """
    import pydicom
    from highdicom.seg import Segmentation
    from pydicom.errors import InvalidDicomError

    with quietly():
        try:
            header = pydicom.dcmread(path, force=True)
            kind = str(header.get("SOPClassUID", ""))
            if kind not in SEGMENTATIONS:
                raise VolumeError(
                    f"{path}: is a DICOM {header.get('Modality') or 'object'}, no segmentation. "
                    "Choose a file of modality SEG or RTSTRUCT."
                )
            if not _has_place(header):
                raise VolumeError(
                    f"{path}: belongs to an image without a place in the patient (an X-ray or "
                    "another picture), so it cannot be laid over anything. Export it as a picture "
                    "or NIfTI of the image's size."
                )
            claimed = int(header.Rows) * int(header.Columns) * int(header.NumberOfFrames)
            if claimed > max(_MOST_VOXELS, _MOST_PACKED * path.stat().st_size):
                raise VolumeError(
                    f"{path}: announces {claimed:,} pixels, more than a file of its size holds. "
                    "Copy or export it again."
                )
            return _decode(path, Segmentation.from_dataset(header, copy=False))
        except (*_REFUSED, InvalidDicomError) as error:
            raise VolumeError(
                f"{path}: cannot be read as one label per voxel ({error}). Export it again, as "
                "binary segments on evenly spaced slices."
            ) from error


def _decode(path: Path, seg: Segmentation) -> DecodedLabel:
    segments: dict[int, Segment] = {}
    ids = np.zeros(int(max(seg.segment_numbers)) + 1, np.uint16)
    for number in filter(None, seg.segment_numbers):  # 0 is the background of some
        about: Any = seg.get_segment_description(number)
        kept = _TRACKING.fullmatch(str(about.tracking_id))
        label_id = int(kept[1]) if kept else int(number)
        # Someone else's label of the same number must not be taken for ours.
        if label_id in segments or not 0 < label_id <= MAX_LABEL_ID:
            label_id = next(n for n in range(1, len(ids) + 1) if n not in segments)
        ids[number] = label_id
        segments[label_id] = _segment(label_id, about)
    affine, size = _geometry(seg)
    if np.prod(size, dtype=object) > max(_MOST_VOXELS, 8 * np.prod(_stored(seg).shape)):
        raise VolumeError(
            f"{path}: its {seg.NumberOfFrames} frames are spread over {' x '.join(map(str, size))} "
            "voxels, far more than a scan has. Export it again."
        )
    data = np.zeros(size, np.uint16)
    if seg.segmentation_type.value == "LABELMAP":
        notes = _lay_maps(path, seg, affine, ids, data)
    else:
        notes = _lay_masks(path, seg, affine, ids, data, segments)
    # highdicom counts slices, rows, columns.
    return DecodedLabel(
        data.transpose(2, 1, 0),
        affine[:, [2, 1, 0, 3]],
        segments,
        frame_of_reference=str(seg.get("FrameOfReferenceUID", "")),
        notes=notes,
    )


def _has_place(seg: Dataset) -> bool:
    """Tell whether all frames say where they lie in the patient."""
    wanted = {
        "PlanePositionSequence": "ImagePositionPatient",
        "PlaneOrientationSequence": "ImageOrientationPatient",
        "PixelMeasuresSequence": "PixelSpacing",
    }
    return bool(seg.get("FrameOfReferenceUID")) and all(
        functional_group(seg, groups, sequence).get(keyword)
        for groups in seg.get("PerFrameFunctionalGroupsSequence", ())
        for sequence, keyword in wanted.items()
    )


def _geometry(seg: Segmentation) -> tuple[Float64, tuple[int, ...]]:
    """Return affine (4, 4), from (slice, row, column) to LPS mm, and size of an even stack."""
    found = seg.get_volume_geometry(rtol=_UNEVEN) or seg.get_volume_geometry(atol=_ROUNDED)
    if found is None:
        raise ValueError("its frames make no even stack of slices")
    return np.asarray(found.affine, float), tuple(map(int, found.spatial_shape))


def _places(seg: Segmentation, affine: Float64) -> list[tuple[int, int]]:
    """Return the slice that each frame lies on, and its number of segment; 0 if it has none."""
    places = []
    for groups in seg.PerFrameFunctionalGroupsSequence:
        where = functional_group(seg, groups, "PlanePositionSequence")
        position = np.array(where.ImagePositionPatient, float)
        segment = functional_group(seg, groups, "SegmentIdentificationSequence")
        k = int(np.rint(np.linalg.solve(affine, [*position, 1.0])[0]))
        places.append((k, int(segment.get("ReferencedSegmentNumber", 0))))
    return places


def _lay_maps(
    path: Path, seg: Segmentation, affine: Float64, ids: Array, data: Array
) -> tuple[str, ...]:
    """Lay frames whose values are numbers of segments into a label (slice, row, column)."""
    for plane, (k, _) in zip(_stored(seg), _places(seg, affine), strict=True):
        if plane.max() >= len(ids) or (ids[plane[plane > 0]] == 0).any():
            raise VolumeError(f"{path}: has voxels of a segment that it does not describe.")
        data[k] = ids[plane]
    return ()


def _lay_masks(
    path: Path,
    seg: Segmentation,
    affine: Float64,
    ids: Array,
    data: Array,
    segments: Segments,
) -> tuple[str, ...]:
    """Lay frames of one segment each into a label (slice, row, column)."""
    most, cut = int(seg.get("MaximumFractionalValue") or 1), False
    for plane, (k, number) in zip(_stored(seg), _places(seg, affine), strict=True):
        label_id = ids[number] if 0 < number < len(ids) else 0
        if not label_id:
            raise VolumeError(f"{path}: has a frame of a segment that it does not describe.")
        cut |= bool(((plane > 0) & (plane < most)).any())
        mask = 2 * plane.astype(int) >= most
        taken = data[k][mask]
        others = taken[(taken > 0) & (taken != label_id)]
        if others.size:
            one, other = segments[int(label_id)].name, segments[int(others[0])].name
            raise VolumeError(
                f"{path}: its segments overlap{', their fractions cut at one half' * cut}, and "
                f"here a voxel has one label: {others.size:,} voxels of a slice are both {one} and "
                f"{other}. Export them to files of their own."
            )
        data[k][mask] = label_id
    said = "It holds fractions: a voxel has a label where its share is at least one half."
    return (said,) if cut else ()


def _segment(label_id: int, about: Any) -> Segment:
    from highdicom.color import CIELabColor

    name = one_line(str(about.segment_label)) or f"Label {label_id}"
    try:
        lab = CIELabColor.from_dicom_value(about.RecommendedDisplayCIELabValue)
        # Not all that can be written in CIELab can be shown.
        return Segment.of_rgb(name, lab.to_rgb(clip=True))
    except _REFUSED:
        # None, or none that can be read; the label is good without it.
        return Segment(name, Segment.default(label_id).color)


def _description(number: int, label_id: int, segment: Segment) -> SegmentDescription:
    from highdicom.color import CIELabColor
    from highdicom.content import AlgorithmIdentificationSequence
    from highdicom.seg import SegmentDescription
    from highdicom.sr import CodedConcept
    from pydicom.sr.codedict import codes
    from pydicom.uid import generate_uid

    def coded(value: tuple[str, str]) -> CodedConcept:
        return CodedConcept(value[0], "SCT", value[1])

    found = concept(segment.name)
    described = SegmentDescription(
        segment_number=number,
        segment_label=long_string(segment.name),
        segmented_property_category=coded(found.category),
        segmented_property_type=coded(found.kind),
        algorithm_type="SEMIAUTOMATIC",
        algorithm_identification=AlgorithmIdentificationSequence(
            name=MAKER, family=codes.DCM.ArtificialIntelligence, version=__version__
        ),
        tracking_uid=generate_uid(),
        tracking_id=_tracking(label_id),
        display_color=CIELabColor.from_rgb(*segment.rgb),
    )
    if found.side is not None:
        kind = described.SegmentedPropertyTypeCodeSequence[0]
        kind.SegmentedPropertyTypeModifierCodeSequence = [coded(found.side)]
    return described
