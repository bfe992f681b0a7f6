"""DICOM RT structure sets by pydicom: outlines on the slices of a series."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import numpy.typing as npt

from napari_medsamq import __version__
from napari_medsamq.array_types import Float64
from napari_medsamq.io.dicom.contours import fill, outlines
from napari_medsamq.io.dicom.references import (
    MAKER,
    NO_VALUE,
    RT_STRUCTURE_SET,
    DicomLabel,
    SourceFrame,
    long_string,
    read_frames,
)
from napari_medsamq.io.label_format import Mismatch

# pydicom takes most of a second to import, which a start without DICOM need not: in functions.
if TYPE_CHECKING:
    from pydicom import Dataset

SUFFIX = ".rtstruct.dcm"

_MAX_DEVIATION = 1e-3  # mm

# Retired, but what readers of structure sets expect here.
_STUDY = "1.2.840.10008.3.1.2.3.1"
_COPIED = (
    *("StudyInstanceUID", "StudyID", "StudyDate", "StudyTime", "AccessionNumber"),
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "ReferringPhysicianName"),
    "FrameOfReferenceUID",
)


class RTStruct(DicomLabel):
    """A label as the outlines of its structures.

    They run at level 0.5 between the middles of the pixels; holes are joined to the outline around
    them, so that each outline is one CLOSED_PLANAR contour.
    """

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

    def _verify(self, path: Path) -> None:
        import pydicom
        from pydicom.errors import InvalidDicomError

        try:
            back = pydicom.dcmread(path)
            names = {int(roi.ROINumber): str(roi.ROIName) for roi in back.StructureSetROISequence}
            colors = {
                int(roi.ReferencedROINumber): tuple(map(int, roi.ROIDisplayColor))
                for roi in back.ROIContourSequence
            }
            contours = [
                (
                    int(roi.ReferencedROINumber),
                    np.reshape(np.array(own.ContourData, float), (-1, 3)),
                )
                for roi in back.ROIContourSequence
                for own in roi.ContourSequence
            ]
        except (*NO_VALUE, EOFError, InvalidDicomError) as error:
            raise Mismatch(f"cannot be read back ({error})") from error
        if names != {n: long_string(segment.name) for n, segment in self._segments.items()}:
            raise Mismatch("has other names than the label")
        if colors != {n: segment.rgb for n, segment in self._segments.items()}:
            raise Mismatch("has other colours than the label")
        frames = read_frames(self._source)
        wanted = [(n, *own) for n in self._segments for own in self._outlined(n, frames)]
        if [(n, own.shape) for n, own in contours] != [(n, own.shape) for n, _, own in wanted]:
            raise Mismatch("has other contours than the label")
        polygons = defaultdict[tuple[int, int], list[Float64]](list)
        for (n, frame, place), (_, own) in zip(wanted, contours, strict=True):
            if np.abs(own - place).max() > _MAX_DEVIATION:
                raise Mismatch("lies elsewhere in the patient than the image")
            polygons[n, frame.k].append((own - frame.position) @ np.linalg.pinv(frame.steps).T)
        for n, k in product(self._segments, range(len(frames))):
            plane = self._plane(k, n)
            if not np.array_equal(fill(polygons[n, k], plane.shape), plane):
                raise Mismatch("encloses other voxels than the label")

    def _outlined(
        self, label_id: int, frames: list[SourceFrame]
    ) -> list[tuple[SourceFrame, Float64]]:
        """Return the outlines of a structure (n, 3), in LPS mm, each with the slice it lies on."""
        return [
            (frame, polygon @ frame.steps.T + frame.position)
            for frame in frames
            for polygon in self._outlines[label_id][frame.k]
        ]

    @cached_property
    def _outlines(self) -> dict[int, list[list[Float64]]]:
        """Those of each label id by slice, x and y in pixels."""
        slices = range(self._array.shape[2])
        return {n: [outlines(self._plane(k, n)) for k in slices] for n in self._segments}

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

    def _contours(self, label_id: int, frames: list[SourceFrame]) -> Dataset:
        return _dataset(
            ROIDisplayColor=list(self._segments[label_id].rgb),
            ContourSequence=[
                _dataset(
                    ContourImageSequence=[_image(frame)],
                    ContourGeometricType="CLOSED_PLANAR",
                    NumberOfContourPoints=len(points),
                    ContourData=[f"{value:.5f}" for value in points.ravel()],
                )
                for frame, points in self._outlined(label_id, frames)
            ],
            ReferencedROINumber=label_id,
        )


def _referenced(frames: list[SourceFrame]) -> Dataset:
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


def _image(frame: SourceFrame) -> Dataset:
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
