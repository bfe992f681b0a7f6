"""Pixels of DICOM that are compressed, coloured or deflated, decoded by pydicom or GDCM.

Runs in the process that `process` starts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut
from pydicom.pixels.utils import get_expected_length
from pydicom.uid import JPEG2000Lossless, SecondaryCaptureImageStorage

from napari_medsamq.io.dicom.header import (
    COUNTS,
    DEFLATED,
    HIGH_THROUGHPUT,
    NATIVE,
    NEEDED,
    PIXEL_TAGS,
    transfer_syntax,
)
from napari_medsamq.io.dicom.header_numbers import restate

_PALETTE = tuple(
    f"{kind}{color}PaletteColorLookupTable{part}"
    for color in ("Red", "Green", "Blue")
    for kind, part in (("", "Descriptor"), ("", "Data"), ("Segmented", "Data"))
)


class Pixels:
    """Decodes frames one at a time, by whichever decoder can.

    Each is given to it as a file of its own, that has nothing in it but what the codec needs, so
    that neither rescaling nor any other tag of the file is taken in different ways by different
    readers.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / "frame.dcm"
        self._path: Path | None = None
        self._parts: list[bytes] = []
        self._plain = Dataset()

    def frame(self, path: Path, number: int) -> np.ndarray[Any, Any]:
        """Return a frame of a file, (rows, columns) or (rows, columns, 3)."""
        if path != self._path:
            self._open(path)
        plain = self._plain
        part = self._parts[number]
        compressed = plain.file_meta.TransferSyntaxUID.is_encapsulated
        plain.PixelData = encapsulate([part]) if compressed else part
        # Tells colours from what stands for them, and signs, where GDCM goes by the header.
        decoder = get_decoder(plain.file_meta.TransferSyntaxUID)
        if not compressed:
            array = decoder.as_array(plain, index=0)[0]
        else:
            plain["PixelData"].is_undefined_length = True
            try:
                array = decoder.as_array(plain, index=0)[0]
            except RuntimeError as error:
                # JPEG lossless, say, or of 12 bits: pydicom alone has no decoder for them.
                array = self._by_gdcm(str(error))
        if plain.PhotometricInterpretation == "PALETTE COLOR" and array.ndim == 2:
            array = apply_color_lut(array, plain)
            if array.dtype != np.uint8:
                array = (array >> 8 if array.max() > 255 else array).astype(np.uint8)
        shape = (plain.Rows, plain.Columns)
        if array.shape not in (shape, (*shape, 3)):
            raise ValueError(f"pixels of shape {array.shape} instead of {shape}")
        return np.ascontiguousarray(array)

    def _by_gdcm(self, failed: str) -> np.ndarray[Any, Any]:
        self._plain.save_as(self._file, enforce_file_format=True)
        reader = sitk.ImageFileReader()
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileName(str(self._file))
        try:
            array = sitk.GetArrayFromImage(reader.Execute())
        except RuntimeError as error:
            raise ValueError(f"{failed.strip()}; {str(error).strip()}") from error
        array = array.reshape(self._plain.Rows, self._plain.Columns, -1)
        return array[..., 0] if array.shape[-1] == 1 else array

    def _open(self, path: Path) -> None:
        dataset = dcmread(path, force=True)
        restate(dataset, COUNTS)
        syntax = transfer_syntax(dataset)
        plain = Dataset()
        for name in (*PIXEL_TAGS, *_PALETTE):
            if name in dataset:
                plain[name] = dataset[name]
        if any(plain.get(name) is None for name in NEEDED):
            # They were found alone; read with all the rest, something damaged swallows them.
            raise ValueError("what its header says of its pixels cannot be read as a whole")
        plain.SamplesPerPixel = int(plain.get("SamplesPerPixel") or 1)
        if plain.get("PhotometricInterpretation") in (None, "", "MONOCHROME1"):
            plain.PhotometricInterpretation = "MONOCHROME2"
        plain.PixelRepresentation = int(plain.get("PixelRepresentation") or 0)
        plain.BitsStored = int(plain.get("BitsStored") or plain.BitsAllocated)
        if plain.get("HighBit") is None:
            plain.HighBit = plain.BitsStored - 1
        if plain.SamplesPerPixel > 1:
            plain.PlanarConfiguration = int(plain.get("PlanarConfiguration") or 0)
        plain.SOPClassUID = SecondaryCaptureImageStorage
        plain.SOPInstanceUID = "1.2.3"
        plain.file_meta = FileMetaDataset()
        # The codecs of JPEG 2000 take its high-throughput variant too, which pydicom has none for.
        known = JPEG2000Lossless if syntax in HIGH_THROUGHPUT else syntax
        plain.file_meta.TransferSyntaxUID = known
        if syntax in NATIVE or syntax == DEFLATED:
            plain["PixelData"] = dataset["PixelData"]
            size = get_expected_length(plain, unit="bytes")
            count = len(dataset.PixelData) // size
            self._parts = [dataset.PixelData[n * size : (n + 1) * size] for n in range(count)]
        else:
            count = int(dataset.get("NumberOfFrames") or 1)
            self._parts = list(generate_frames(dataset.PixelData, number_of_frames=count))
        self._plain, self._path = plain, path
