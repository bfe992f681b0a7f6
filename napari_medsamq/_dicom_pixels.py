"""Pixels of DICOM that are compressed or coloured, decoded by GDCM.

Runs in the process that `_decoder` starts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import UID, ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from napari_medsamq._dicom_header import COUNTS, NATIVE, PIXEL_TAGS, transfer_syntax
from napari_medsamq._dicom_numbers import restate

_PALETTE = tuple(
    f"{color}PaletteColorLookupTable{part}"
    for color in ("Red", "Green", "Blue")
    for part in ("Descriptor", "Data")
)


class Pixels:
    """Decodes frames one at a time: each is given to GDCM as a file of its own.

    That has nothing in it but what the codec needs, so that neither rescaling nor any other tag
    of the file is taken in different ways by different readers.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / "frame.dcm"
        self._path: Path | None = None
        self._parts: list[bytes] = []
        self._plain = Dataset()

    def frame(self, path: Path, number: int) -> np.ndarray[Any, Any]:
        """Return a frame of a file."""
        if path != self._path:
            self._open(path)
        plain = self._plain
        part = self._parts[number]
        native = plain.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        plain.PixelData = part + bytes(len(part) % 2) if native else encapsulate([part])
        plain["PixelData"].VR = "OW" if native and plain.BitsAllocated > 8 else "OB"
        plain["PixelData"].is_undefined_length = not native
        plain.save_as(self._file, enforce_file_format=True)
        reader = sitk.ImageFileReader()
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileName(str(self._file))
        array = sitk.GetArrayFromImage(reader.Execute())
        colors = plain.SamplesPerPixel > 1 or plain.PhotometricInterpretation == "PALETTE COLOR"
        shape = (plain.Rows, plain.Columns)
        if array.size not in (int(np.prod(shape)), 3 * int(np.prod(shape))):
            raise ValueError(f"pixels of shape {array.shape} instead of {shape}")
        return array.reshape(*shape, *((-1,) if colors and array.shape[-1] == 3 else ()))

    def _open(self, path: Path) -> None:
        dataset = dcmread(path, force=True)
        restate(dataset, COUNTS)
        syntax = transfer_syntax(dataset)
        count = int(dataset.get("NumberOfFrames") or 1)
        plain = Dataset()
        for name in (*PIXEL_TAGS, *_PALETTE):
            if name in dataset:
                plain[name] = dataset[name]
        plain.SamplesPerPixel = int(plain.get("SamplesPerPixel") or 1)
        if plain.get("PhotometricInterpretation") in (None, "", "MONOCHROME1"):
            plain.PhotometricInterpretation = "MONOCHROME2"
        plain.SOPClassUID = SecondaryCaptureImageStorage
        plain.SOPInstanceUID = "1.2.3"
        plain.file_meta = FileMetaDataset()
        native = syntax in NATIVE
        plain.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian if native else UID(syntax)
        if native:
            size = plain.Rows * plain.Columns * plain.SamplesPerPixel * plain.BitsAllocated // 8
            self._parts = [dataset.PixelData[n * size : (n + 1) * size] for n in range(count)]
        else:
            self._parts = list(generate_frames(dataset.PixelData, number_of_frames=count))
        self._plain, self._path = plain, path
