"""DICOM series as scanners write them, with all that a label has to refer to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

FRAME_OF_REFERENCE = "1.2.826.0.1.3680043.2.1125.5"


def write_series(
    folder: Path, voxels: np.ndarray, affine: np.ndarray, *, frame_of_reference: str | None = None
) -> Path:
    """Write a CT of voxels (i, j, k) int16; the affine (4, 4) to LPS mm has to be right-handed.

    Files are named against the order of the slices, as on many exports.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    cosines = affine[:3, :3] / sizes
    assert np.linalg.det(cosines) > 0, "rows, columns and slices of a series are right-handed"
    study, series = generate_uid(), generate_uid()
    for k in range(voxels.shape[2]):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        ds = pydicom.Dataset()
        ds.file_meta = meta
        ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        ds.StudyInstanceUID, ds.SeriesInstanceUID = study, series
        ds.FrameOfReferenceUID = frame_of_reference or FRAME_OF_REFERENCE
        ds.Modality, ds.PatientName, ds.PatientID = "CT", "Müller^Jörg", "17"
        ds.SpecificCharacterSet = "ISO_IR 100"
        ds.PatientBirthDate, ds.PatientSex = "19500101", "M"
        ds.StudyDate, ds.StudyTime, ds.StudyID = "20260102", "101112", "1"
        ds.AccessionNumber, ds.InstanceNumber = "", k + 1
        ds.Rows, ds.Columns = voxels.shape[1], voxels.shape[0]
        ds.PixelSpacing = [f"{sizes[1]:.10g}", f"{sizes[0]:.10g}"]
        ds.SliceThickness = f"{sizes[2]:.10g}"
        ds.ImageOrientationPatient = [f"{c:.13f}" for c in cosines[:, :2].T.ravel()]
        ds.ImagePositionPatient = [f"{x:.9f}" for x in (affine @ [0, 0, k, 1])[:3]]
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated = ds.BitsStored = 16
        ds.HighBit, ds.PixelRepresentation = 15, 1
        ds.RescaleIntercept, ds.RescaleSlope = 0, 1
        ds.PixelData = np.ascontiguousarray(voxels[..., k].T, "<i2").tobytes()
        ds.save_as(folder / f"{999 - k}.dcm", enforce_file_format=True)
    return folder
