"""Pictures by SimpleITK."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lazy_loader
import numpy as np

from napari_medsamq.errors import VolumeError
from napari_medsamq.io.source import Decoded, Selection, check_size
from napari_medsamq.io.text_header import chosen_volume

if TYPE_CHECKING:
    import SimpleITK as sitk
else:  # most files need none of it
    sitk = lazy_loader.load("SimpleITK")

FORMATS = (
    "NIfTI (.nii, .nii.gz), NRRD, MetaImage (.mha, .mhd), Analyze, FreeSurfer (.mgz, .mgh), DICOM "
    "(a folder or a file), PNG, JPEG, TIFF or a MedSAM case (.npz)"
)

_PICTURES = ("PNGImageIO", "JPEGImageIO", "TIFFImageIO")
# What makes one of them of the files of other programs.
_CURES = {
    (".mnc", ".mnc.gz"): "MINC's mnc2nii makes NIfTI of it.",
    (".par", ".rec"): "dcm2niix makes NIfTI of Philips PAR/REC, or of the DICOM images.",
    (".head", ".brik", ".brik.gz"): "AFNI's 3dAFNItoNIFTI makes NIfTI of it.",
    (".mif", ".mif.gz", ".mih"): "MRtrix's mrconvert makes NIfTI of it.",
    (".bfloat", ".bshort", ".cor"): "FreeSurfer's mri_convert makes NIfTI of it.",
    (".v", ".ecat"): "FreeSurfer's mri_convert makes NIfTI of ECAT.",
    (".nii.zst", ".nii.bz2", ".nii.xz"): "Unpack it first, or pack it as .nii.gz.",
    (".zip", ".tar", ".tar.gz", ".tgz", ".7z", ".rar"): "Unpack it, and open what is inside.",
}

NO_SCALE = (
    "A picture does not say how large its pixels are: 1 mm is assumed, so sizes and volumes are "
    "not real."
)


@contextmanager
def _itk_errors(path: Path) -> Iterator[None]:
    """Turn SimpleITK's exceptions into VolumeError and keep its C++ warnings off the terminal."""
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    except RuntimeError as error:
        # The last line says what happened, but for errno; a C++ class may be named before it.
        lines = [line for line in str(error).splitlines() if not line.startswith("Reason:")]
        reason = re.sub(r"^.*ERROR: (\w+\(0x\w+\): )?", "", lines[-1])
        raise VolumeError(
            f"{path}: cannot be read as an image ({reason}). The file is damaged, lacks the data "
            f"file that belongs to it, or is not one of {FORMATS}."
        ) from error
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)


def read_picture(path: Path, selection: Selection) -> Decoded:
    """Read a picture, which SimpleITK recognises by its content.

    Raises
    ------
    ChoiceError
        If it holds several pictures and none was chosen.
    VolumeError
        If the file cannot be read or is no picture.
    """
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    with _itk_errors(path):
        io = sitk.ImageFileReader.GetImageIOFromFileName(str(path))
        if io not in _PICTURES:
            raise VolumeError(f"{path}: is not one of {FORMATS}. {_cure(path)}")
        if (io == "JPEGImageIO" and not _jpeg_ends(path)) or (
            io == "TIFFImageIO" and not _tiff_pages_end(path)
        ):
            raise VolumeError(f"{path}: the picture is cut off. Copy or export it again.")
        reader.ReadImageInformation()
        check_size(path, _claimed(reader), compressed=True)
        image = reader.Execute()
    data, parts = chosen_volume(path, _pixels(path, image), selection)
    shape = data.shape[:3]
    return Decoded(data, np.eye(4), "picture", shape, warnings=(NO_SCALE,), parts=parts)


def _pixels(path: Path, image: Any) -> np.ndarray[Any, Any]:
    """Return a SimpleITK image's values as array (i, j, k, n, channel)."""
    size = (*(int(n) for n in image.GetSize()), 1, 1)[:3]
    array = sitk.GetArrayFromImage(image)
    if array.size == 0:
        raise VolumeError(f"{path}: has no voxels (size {image.GetSize()}). Export it again.")
    if array.dtype.kind not in "iuf":
        raise VolumeError(
            f"{path}: has {array.dtype.name} values; grey values or 8-bit RGB colours are needed. "
            "Export it as grey values."
        )
    channels = int(image.GetNumberOfComponentsPerPixel())
    return array.reshape((-1, *size[::-1], channels)).transpose(3, 2, 1, 0, 4)


def _cure(path: Path) -> str:
    name = path.name.lower()
    found = (cure for suffixes, cure in _CURES.items() if name.endswith(suffixes))
    return next(found, "Convert it to one of these.")


def _jpeg_ends(path: Path) -> bool:
    # The decoder fills what is missing with grey and says so only on the terminal.
    return b"\xff\xd9" in path.read_bytes()[-4096:]


def _tiff_pages_end(path: Path) -> bool:
    """Follow the chain of page directories, as the decoder takes its breaking off for its end."""
    content = path.read_bytes()
    order = "<" if content[:2] == b"II" else ">"
    big = struct.unpack_from(order + "H", content, 2)[0] == 43
    offset_type, count_type, entry = ("Q", "Q", 20) if big else ("I", "H", 12)
    place = 8 if big else 4
    seen = set()
    try:
        while offset := struct.unpack_from(order + offset_type, content, place)[0]:
            if offset in seen:
                return False
            seen.add(offset)
            (count,) = struct.unpack_from(order + count_type, content, offset)
            place = offset + struct.calcsize(order + count_type) + count * entry
    except struct.error:
        return False
    return True


def _claimed(reader: Any) -> int:
    count = int(np.prod([int(n) for n in reader.GetSize()], dtype=object))
    bytes_each = int(sitk.Image([1, 1], reader.GetPixelIDValue(), 1).GetSizeOfPixelComponent())
    return count * int(reader.GetNumberOfComponents()) * bytes_each
