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

from napari_medsamq._nifti import check_size
from napari_medsamq._source import (
    LEFT_RIGHT_UNKNOWN,
    Decoded,
    Part,
    Selection,
    volume_index,
    volume_part,
)
from napari_medsamq._text_header import find_data
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


def voxels(
    path: Path, image: Any, selection: Selection
) -> tuple[np.ndarray[Any, Any], tuple[Part, ...]]:
    """Return a SimpleITK image's voxels as (i, j, k) or (i, j, k, 3) array, and which they are.

    Several values per voxel that are not 8-bit colours are several volumes: programs write time
    series in that way.

    Raises
    ------
    ChoiceError
        If there are several volumes and none was chosen.
    VolumeError
        If the values are no numbers.
    """
    size = (*(int(n) for n in image.GetSize()), 1, 1)
    channels = int(image.GetNumberOfComponentsPerPixel())
    array = sitk.GetArrayViewFromImage(image)
    if array.size == 0:
        raise VolumeError(f"{path}: has no voxels (size {image.GetSize()}). Export it again.")
    if array.dtype.kind not in "iuf":
        raise VolumeError(
            f"{path}: has {array.dtype.name} values; grey values or 8-bit RGB colours are needed. "
            "Export it as grey values."
        )
    colors = channels in (3, 4) and array.dtype == np.uint8
    volumes = array.reshape((-1, *size[:3][::-1], channels))
    each = 1 if colors else channels
    index = volume_index(path, len(volumes) * each, selection)
    number, channel = divmod(index, each)
    # Transparency is no colour: the fourth channel is left out.
    chosen = volumes[number, ..., :3] if colors else volumes[number, ..., channel]
    kept: np.ndarray[Any, Any] = chosen.copy()
    ijk = kept.transpose(2, 1, 0, *range(3, kept.ndim))
    return ijk, volume_part(index, len(volumes) * each)


def read_image(path: Path, selection: Selection) -> Decoded:
    """Read a file that SimpleITK recognises by its content.

    Raises
    ------
    ChoiceError
        If it holds several volumes and none was chosen.
    VolumeError
        If the file cannot be read or holds no image.
    """
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    with itk_errors(path):
        io = sitk.ImageFileReader.GetImageIOFromFileName(str(path))
        if io not in _PICTURES + VOLUMES:
            raise VolumeError(f"{path}: is not one of {FORMATS}. Convert it to one of these.")
        if (io == "JPEGImageIO" and not _jpeg_ends(path)) or (
            io == "TIFFImageIO" and not _tiff_pages_end(path)
        ):
            raise VolumeError(f"{path}: the picture is cut off. Copy or export it again.")
        if io in VOLUMES:
            check_header(path, reader)
        else:
            reader.ReadImageInformation()
            check_size(path, _claimed(reader), compressed=True)
        image = reader.Execute()
    data, parts = voxels(path, image, selection)
    shape = data.shape[:3]
    if io in _PICTURES:
        return Decoded(data, np.eye(4), "picture", shape, warnings=(NO_SCALE,), parts=parts)
    unknown = io == "NrrdImageIO" and not reader.HasMetaDataKey("NRRD_space")
    warnings = (LEFT_RIGHT_UNKNOWN,) if unknown else ()
    return Decoded(data, image_affine(image), "image", shape, warnings=warnings, parts=parts)


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


def check_header(path: Path, reader: Any) -> None:
    """Check an NRRD or MetaImage header and the size of its data before any voxel is read.

    Raises
    ------
    VolumeError
        If the data is not there, lies in another folder, or is less than the header announces.
    """
    # Before ITK looks at the header, which it takes at its word.
    files = find_data(path)
    reader.ReadImageInformation()
    claimed, there = _claimed(reader), sum(file.stat().st_size for file in files.paths)
    if claimed > there * files.expansion or files.packed > there:
        most = max(claimed, files.packed)
        raise VolumeError(
            f"{path}: its header announces {most:,} bytes, but there are only {there:,} bytes. "
            "It is incomplete or damaged: copy or export it again."
        )


def _claimed(reader: Any) -> int:
    count = int(np.prod([int(n) for n in reader.GetSize()], dtype=object))
    bytes_each = int(sitk.Image([1, 1], reader.GetPixelIDValue(), 1).GetSizeOfPixelComponent())
    return count * int(reader.GetNumberOfComponents()) * bytes_each
