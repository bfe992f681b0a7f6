"""RT structure sets as other programs write them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pydicom
from dicom_series import FRAME_OF_REFERENCE
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ImplicitVRLittleEndian, generate_uid

STORAGE = "1.2.840.10008.5.1.4.1.1.481.3"
Contours = Iterable[np.ndarray | tuple[np.ndarray, str]]


def write_structures(
    path: Path,
    structures: Sequence[tuple[str, Contours]],
    *,
    frame_of_reference: str = FRAME_OF_REFERENCE,
    digits: int = 2,
    numbers: Sequence[int] | None = None,
) -> Path:
    """Write structures by name, with contours (n, 3) in LPS mm that may have types of their own."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ImplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = STORAGE, generate_uid()
    found = Dataset()
    found.file_meta = meta
    found.SOPClassUID, found.SOPInstanceUID = STORAGE, meta.MediaStorageSOPInstanceUID
    found.Modality, found.StructureSetLabel = "RTSTRUCT", "made"
    found.PatientName, found.PatientID = "Test^Case", "17"
    found.StudyInstanceUID, found.SeriesInstanceUID = generate_uid(), generate_uid()
    rois, drawn = [], []
    for number, (name, contours) in zip(
        numbers or range(1, len(structures) + 1), structures, strict=True
    ):
        roi, own = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName, roi.ROIGenerationAlgorithm = number, name, "MANUAL"
        roi.ReferencedFrameOfReferenceUID = frame_of_reference
        own.ReferencedROINumber, own.ROIDisplayColor = number, [10, 200, 30]
        items = []
        for contour in contours:
            points, kind = contour if isinstance(contour, tuple) else (contour, "CLOSED_PLANAR")
            item = Dataset()
            item.ContourGeometricType, item.NumberOfContourPoints = kind, len(points)
            item.ContourData = [f"{value:.{digits}f}" for value in np.ravel(points)]
            items.append(item)
        if items:
            own.ContourSequence = items
        rois.append(roi)
        drawn.append(own)
    found.StructureSetROISequence, found.ROIContourSequence = rois, drawn
    pydicom.dcmwrite(path, found, enforce_file_format=True)
    return path


def rectangle(
    affine: np.ndarray, low: tuple[float, float], high: tuple[float, float], k: float
) -> np.ndarray:
    """Outline (4, 3) LPS mm around whole pixels (i, j) from `low` to `high`, on slice k."""
    (i0, j0), (i1, j1) = low, high
    i0, j0, i1, j1 = i0 - 0.5, j0 - 0.5, i1 + 0.5, j1 + 0.5
    corners = np.array([[i0, j0, k], [i1, j0, k], [i1, j1, k], [i0, j1, k]])
    return corners @ affine[:3, :3].T + affine[:3, 3]
