"""NRRD, MetaImage and pictures by SimpleITK."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from napari_medsamq._detached import check_data_files
from napari_medsamq._nifti import check_size
from napari_medsamq._source import LEFT_RIGHT_UNKNOWN, Decoded
from napari_medsamq.errors import VolumeError
from napari_medsamq.geometry import Float64

FORMATS = (
    "NIfTI (.nii, .nii.gz), NRRD, MetaImage (.mha, .mhd), Analyze, DICOM (a folder or a file), "
    "PNG, JPEG, TIFF or a MedSAM case (.npz)"
)

_PICTURES = ("PNGImageIO", "JPEGImageIO", "TIFFImageIO")
VOLUMES = ("NrrdImageIO", "MetaImageIO")
_WITH_DATA_INSIDE = (".nrrd", ".mha")

NO_SCALE = (
    "A picture does not say how large its pixels are: 1 mm is assumed, so sizes and volumes are "
    "not real."
)


@contextmanager
def itk_errors(path: Path) -> Iterator[None]:
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


def image_affine(image: Any) -> Float64:
    """Return the affine (4, 4) float64 of a SimpleITK image or reader, (i, j, k) to LPS mm."""
    dimension = min(int(image.GetDimension()), 3)
    size = int(image.GetDimension())
    affine = np.eye(4)
    cosines = np.reshape(image.GetDirection(), (size, size))[:dimension, :dimension]
    affine[:dimension, :dimension] = cosines * image.GetSpacing()[:dimension]
    affine[:dimension, 3] = image.GetOrigin()[:dimension]
    return affine


def voxels(path: Path, image: Any) -> np.ndarray[Any, Any]:
    """Return a SimpleITK image's voxels as (i, j, k) or (i, j, k, 3) array.

    Raises
    ------
    VolumeError
        If there are several volumes, or several values per voxel that are not 8-bit colours.
    """
    size = tuple(int(n) for n in image.GetSize())
    if any(n > 1 for n in size[3:]):
        raise VolumeError(
            f"{path}: holds {int(np.prod(size[3:]))} volumes (size {size}), one is needed. Save "
            "the one to segment as a 3D file and open that."
        )
    channels = int(image.GetNumberOfComponentsPerPixel())
    array = sitk.GetArrayFromImage(image)
    array = array.reshape((*size, 1, 1)[:3][::-1] + (() if channels == 1 else (channels,)))
    if array.dtype.kind not in "iuf" or (
        channels > 1 and (channels not in (3, 4) or array.dtype != np.uint8)
    ):
        raise VolumeError(
            f"{path}: has {channels} {array.dtype.name} values per voxel; one grey value or an "
            "8-bit RGB colour is needed. Export it as grey values."
        )
    # Transparency is no colour: the fourth channel is left out.
    return array.transpose(2, 1, 0, *range(3, array.ndim))[..., :3] if channels > 1 else array.T


def read_image(path: Path) -> Decoded:
    """Read a file that SimpleITK recognises by its content.

    Raises
    ------
    VolumeError
        If the file cannot be read or holds no single image.
    """
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    with itk_errors(path):
        io = sitk.ImageFileReader.GetImageIOFromFileName(str(path))
        if io not in _PICTURES + VOLUMES:
            raise VolumeError(f"{path}: is not one of {FORMATS}. Convert it to one of these.")
        if io in VOLUMES:
            check_data_files(path)
        if (io == "JPEGImageIO" and not _jpeg_ends(path)) or (
            io == "TIFFImageIO" and not _tiff_pages_end(path)
        ):
            raise VolumeError(f"{path}: the picture is cut off. Copy or export it again.")
        reader.ReadImageInformation()
        if path.suffix.lower() in _WITH_DATA_INSIDE:
            check_size(path, _claimed(reader), compressed=True)
        image = reader.Execute()
    data = voxels(path, image)
    shape = tuple((*image.GetSize(), 1, 1)[: max(3, image.GetDimension())])
    if io in _PICTURES:
        return Decoded(data, np.eye(4), "picture", shape, warnings=(NO_SCALE,))
    unknown = io == "NrrdImageIO" and not reader.HasMetaDataKey("NRRD_space")
    warnings = (LEFT_RIGHT_UNKNOWN,) if unknown else ()
    return Decoded(data, image_affine(image), "image", shape, warnings=warnings)


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
    # One byte per value is the least there can be.
    return count * int(reader.GetNumberOfComponents())
