"""Values as DICOM files hold them: bits, signs, scales, and compressed ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    RLELossless,
)

from tests.stress.dicom.image_comparison import ROUNDING, Image
from tests.stress.samples import compress, save, slice_of

SYNTAXES = {
    "explicit": ExplicitVRLittleEndian,
    "implicit": ImplicitVRLittleEndian,
    "big endian": ExplicitVRBigEndian,
    "RLE": RLELossless,
    "JPEG 2000": JPEG2000Lossless,
    "JPEG lossless": JPEGLosslessSV1,
}
# By what GDCM calls them.
_COMPRESSORS = {"JPEG 2000": "JPEG2000", "JPEG lossless": "JPEG"}
# Slope and intercept, as they are written.
Scale = tuple[str, str] | None


@dataclass(frozen=True)
class Packing:
    """How values are packed.

    Attributes
    ----------
    allocated, bits : int
        Bits of each value's place, and of the value.
    signed : bool
    syntax : str
        See `SYNTAXES`.
    junk : bool
        Whether something else lies in the bits above the value's: an overlay, in old files.
    inverted : bool
        Whether low values are shown bright.
    """

    allocated: int
    bits: int
    signed: bool
    syntax: str
    junk: bool = False
    inverted: bool = False

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Return random values int64 that the bits hold."""
        low = -(1 << self.bits - 1) if self.signed else 0
        values = rng.integers(low, low + (1 << self.bits), shape)
        if self.syntax in _COMPRESSORS:
            # GDCM crashes where a picture does not get smaller.
            values = values[..., np.arange(shape[-1]) // 4]
        return values

    def pack(self, dataset: Dataset, stored: np.ndarray) -> None:
        """Put values (rows, columns) or (n, rows, columns) into a dataset."""
        dataset.file_meta.TransferSyntaxUID = SYNTAXES[self.syntax]
        dataset.Rows, dataset.Columns = stored.shape[-2:]
        dataset.BitsAllocated, dataset.BitsStored = self.allocated, self.bits
        dataset.HighBit, dataset.PixelRepresentation = self.bits - 1, int(self.signed)
        dataset.PhotometricInterpretation = f"MONOCHROME{1 if self.inverted else 2}"
        array = stored | (-1 << self.bits) if self.junk else stored
        kind = f"{'i' if self.signed else 'u'}{self.allocated // 8}"
        array = array.astype(f"{'>' if self.syntax == 'big endian' else '<'}{kind}")
        pages = array.reshape(-1, *stored.shape[-2:])
        dataset.PixelData = array.tobytes()
        dataset["PixelData"].VR = "OB" if self.allocated == 8 else "OW"
        if SYNTAXES[self.syntax].is_encapsulated:
            dataset.PixelData = encapsulate([self._codestream(page) for page in pages])
            dataset["PixelData"].VR = "OB"
            dataset["PixelData"].is_undefined_length = True

    def _codestream(self, page: np.ndarray) -> bytes:
        """Return values (rows, columns) as pydicom or GDCM packs them."""
        dataset = slice_of(np.zeros((1, 1, 1), np.int16), 0)
        Packing(self.allocated, self.allocated, self.signed, "explicit").pack(dataset, page)
        dataset.RescaleIntercept = 0
        if self.syntax == "RLE":
            dataset.compress(RLELossless)
        else:
            with TemporaryDirectory() as folder:
                path = save(dataset, Path(folder) / "a.dcm")
                dataset = dcmread(compress(path, _COMPRESSORS[self.syntax]))
        return next(generate_frames(dataset.PixelData, number_of_frames=1))

    def means(self, stored: np.ndarray, scale: Scale) -> np.ndarray:
        """Return what values stand for, float64."""
        slope, intercept = (1.0, 0.0) if scale is None else map(float, scale)
        shown = -1 - stored if self.signed else (1 << self.bits) - 1 - stored
        return (shown if self.inverted else stored) * slope + intercept


def image_of(pages: np.ndarray, affine: np.ndarray) -> Image:
    """Return slices (n, rows, columns) as a volume."""
    values = pages.astype(np.float64).transpose(2, 1, 0)
    return Image(values, affine, ROUNDING * np.abs(values))
