"""DICOM segmentations by highdicom."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from napari_medsamq import __version__
from napari_medsamq._dicom_source import (
    RT_STRUCTURE_SET,
    SEGMENTATIONS,
    functional_group,
    pixel_steps,
    read_frames,
)
from napari_medsamq._label import (
    DecodedLabel,
    Mismatch,
    Segment,
    Segments,
    Unwritable,
    drawn_segments,
)
from napari_medsamq._source import Array, Source
from napari_medsamq.errors import VolumeError
from napari_medsamq.geometry import Float64
from napari_medsamq.organs import concept

# highdicom takes a second to import, which a start without DICOM need not: hence in functions.
if TYPE_CHECKING:
    from highdicom.seg import Segmentation, SegmentDescription

SUFFIX = ".dcm"
MAKER = "napari-medsamq"
# The program that draws is not a device.
SERIAL_NUMBER = "0"

_MAX_DEVIATION = 1e-3  # mm

# How far slices may stray from even distances, as `_dicom` allows.
_UNEVEN = 0.05
_TRACKING = re.compile(r"Label (\d{1,5})")
# What highdicom raises where a series is not as it should be.
_REFUSED = (AttributeError, KeyError, IndexError, TypeError, ValueError, RuntimeError)


class DicomSeg:
    """A label as a binary DICOM segmentation that refers to its series.

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
        from highdicom.seg import Segmentation
        from pydicom.uid import ExplicitVRLittleEndian, generate_uid

        frames = read_frames(self._source)
        # Segments are counted from 1 without gaps.
        number = np.zeros(int(self._array.max()) + 1, np.uint16)
        number[list(self._segments)] = np.arange(1, len(self._segments) + 1)
        planes = number[np.stack([self._array[..., frame.k].T for frame in frames])]
        headers = list({id(frame.header): frame.header for frame in frames}.values())
        try:
            written = Segmentation(
                source_images=headers,
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
        written.SpecificCharacterSet = "ISO_IR 192"
        written.save_as(file, enforce_file_format=True)

    def verify(self, path: Path) -> None:
        """Read a file back by highdicom, and compare it with what was to be written."""
        from highdicom.seg import segread

        frames = read_frames(self._source)
        places = {frame.k: frame.position for frame in frames}
        try:
            back = segread(path)
            first = back.PerFrameFunctionalGroupsSequence[0]
            steps = pixel_steps(
                functional_group(back, first, "PlaneOrientationSequence"),
                functional_group(back, first, "PixelMeasuresSequence"),
            )
            label = self._united(back, places)
            names = [str(item.SegmentLabel) for item in back.SegmentSequence]
        except _REFUSED as error:
            raise Mismatch(f"cannot be read back ({error})") from error
        # At the far end of the slice.
        off = np.abs((steps - frames[0].steps) * self._source.grid[:2]).max()
        if off > _MAX_DEVIATION:
            raise Mismatch("lies elsewhere in the patient than the image")
        if not np.array_equal(label, self._array):
            raise Mismatch("has other voxels than the label")
        if names != [long_string(segment.name) for segment in self._segments.values()]:
            raise Mismatch("has other names than the label")

    def _united(self, back: Segmentation, places: dict[int, Float64]) -> Array:
        """Bring the frames of a file together, each on the slice whose place it has."""
        ids = list(self._segments)
        label = np.zeros_like(self._array)
        masks = np.reshape(back.pixel_array, (-1, *self._array.shape[1::-1])).astype(bool)
        for mask, groups in zip(masks, back.PerFrameFunctionalGroupsSequence, strict=True):
            where = functional_group(back, groups, "PlanePositionSequence")
            position = np.array(where.ImagePositionPatient, float)
            k = min(places, key=lambda k: float(np.linalg.norm(places[k] - position)))
            if np.linalg.norm(places[k] - position) > _MAX_DEVIATION:
                raise Mismatch("lies elsewhere in the patient than the image")
            segment = functional_group(back, groups, "SegmentIdentificationSequence")
            number = int(segment.ReferencedSegmentNumber)
            label[..., k][mask.T] = ids[number - 1]
        return label


def read_dicom_seg(path: Path, frame_of_reference: str = "") -> DecodedLabel:
    """Read a DICOM segmentation.

    Parameters
    ----------
    path : Path
    frame_of_reference : str
        UID of the image's, where it has one; the segmentation has to have the same.

    Raises
    ------
    VolumeError
        If it is none, belongs to another image, or its segments overlap.
    """
    import pydicom
    from highdicom.seg import segread
    from pydicom.errors import InvalidDicomError

    try:
        header = pydicom.dcmread(path, stop_before_pixels=True)
    except InvalidDicomError as error:
        raise VolumeError(f"{path}: cannot be read as DICOM ({error}). Copy it again.") from error
    kind = str(header.get("SOPClassUID", ""))
    if kind == RT_STRUCTURE_SET:
        raise VolumeError(
            f"{path}: is a structure set of contours (RTSTRUCT), which can be written but not "
            "loaded. Convert it to a DICOM segmentation, .seg.nrrd or NIfTI."
        )
    if kind not in SEGMENTATIONS:
        raise VolumeError(
            f"{path}: is a DICOM {header.get('Modality', 'object')}, no segmentation. Choose a "
            "file of modality SEG."
        )
    other = str(header.get("FrameOfReferenceUID", ""))
    if frame_of_reference and other != frame_of_reference:
        raise VolumeError(
            f"{path}: belongs to another frame of reference ({other or 'none'}) than the image "
            f"({frame_of_reference}), so its place in it is unknown. Choose the segmentation of "
            "this series."
        )
    try:
        return _decode(path, segread(path))
    except _REFUSED as error:
        raise VolumeError(
            f"{path}: cannot be read as one label per voxel ({error}). Export it again, as binary "
            "segments on evenly spaced slices."
        ) from error


def _decode(path: Path, seg: Segmentation) -> DecodedLabel:
    if seg.segmentation_type.value == "FRACTIONAL":
        raise VolumeError(
            f"{path}: holds fractions, not labels. Export it as binary segments, cut at one half."
        )
    segments, ids = {}, np.zeros(int(max(seg.segment_numbers)) + 1, np.uint16)
    for number in seg.segment_numbers:
        about: Any = seg.get_segment_description(number)
        kept = _TRACKING.fullmatch(str(about.tracking_id))
        label_id = int(kept[1]) if kept else int(number)
        # Someone else's label of the same number must not be taken for ours.
        if label_id in segments or not 0 < label_id <= np.iinfo(np.uint16).max:
            label_id = next(n for n in range(1, len(ids) + 1) if n not in segments)
        ids[number] = label_id
        segments[label_id] = _segment(label_id, about)
    try:
        volume = seg.get_volume(combine_segments=True, dtype=np.uint16, rtol=_UNEVEN)
    except RuntimeError as error:
        raise VolumeError(
            f"{path}: its segments overlap, and here a voxel has one label. Export them to files "
            f"of their own ({error})."
        ) from error
    # highdicom counts slices, rows, columns.
    affine = np.asarray(volume.affine, float)[:, [2, 1, 0, 3]]
    return DecodedLabel(
        ids[volume.array.transpose(2, 1, 0)],
        affine,
        segments,
        frame_of_reference=str(seg.get("FrameOfReferenceUID", "")),
    )


def _segment(label_id: int, about: Any) -> Segment:
    from highdicom.color import CIELabColor

    name = str(about.segment_label).strip() or f"Label {label_id}"
    lab = about.get("RecommendedDisplayCIELabValue")
    if lab is None:
        return Segment(name, Segment.default(label_id).color)
    return Segment.of_rgb(name, CIELabColor.from_dicom_value(lab).to_rgb())


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
        # The label's own number, which segments have no place for.
        tracking_id=f"Label {label_id}",
        display_color=CIELabColor.from_rgb(*segment.rgb),
    )
    if found.side is not None:
        kind = described.SegmentedPropertyTypeCodeSequence[0]
        kind.SegmentedPropertyTypeModifierCodeSequence = [coded(found.side)]
    return described


def long_string(text: str) -> str:
    """Return a text as DICOM's LO can hold it: 64 characters of one line, without backslash."""
    return " ".join(text.replace("\\", "/").split())[:64].strip() or "Label"
