"""MedSAM cases: .npz files with a windowed image, as its challenge publishes them."""

from __future__ import annotations

import struct
import tokenize
import zipfile
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from napari_medsamq.errors import VolumeError
from napari_medsamq.io.source import MAX_COMPRESSION, Decoded, check_memory

NO_SPACING = (
    "The case does not say how large its voxels are: 1 mm is assumed, so sizes and volumes are "
    "not real."
)

# What damaged archives raise, and array headers, which are Python text.
_READ_ERRORS = (
    *(OSError, EOFError, KeyError, TypeError, ValueError, RuntimeError, SyntaxError),
    *(struct.error, tokenize.TokenError, zipfile.error, zlib.error),
)
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def read_case(path: Path) -> Decoded:
    """Read `imgs`, (D, H, W), (H, W) or (H, W, 3) uint8 in array order, and `spacing` (x, y, z) mm.

    Raises
    ------
    VolumeError
        If the file cannot be read or is no such case.
    """
    images, spacing = case_image(path, read_arrays(path, "imgs", "spacing"))
    data = images.transpose(2, 1, 0, *range(3, images.ndim))
    affine = np.eye(4)
    if spacing is not None:
        affine[:3, :3] = np.diag(spacing[::-1])
    warnings = () if spacing is not None else (NO_SPACING,)
    return Decoded(data, affine, "case", data.shape[:3], warnings=warnings)


def read_arrays(path: Path, *names: str) -> dict[str, npt.NDArray[Any]]:
    """Read those of the named arrays that an .npz file has.

    Raises
    ------
    VolumeError
        If it cannot be read.
    """
    try:
        # Opened here, because `np.load` leaves a damaged file open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as case:
            _check_members(path, file, names)
            return {name: case[name] for name in names if name in case.files}
    except _READ_ERRORS as error:
        raise VolumeError(
            f"{path}: cannot be read as a MedSAM case, an .npz file with the array `imgs` "
            f"({error}). Make it again or open the original image."
        ) from error


def case_image(
    path: Path, arrays: Mapping[str, npt.NDArray[Any]]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64] | None]:
    """Check the arrays `imgs` and `spacing` of a case.

    Returns
    -------
    image : (z, y, x) or (z, y, x, 3) uint8
    spacing : (3,) float64 or None
        In mm, of the image's axes.

    Raises
    ------
    VolumeError
        If they are missing, or of another shape or type.
    """
    images, spacing = arrays.get("imgs"), arrays.get("spacing")
    if images is None:
        raise VolumeError(
            f"{path}: has no array `imgs`, as a MedSAM case does. Make it again or open the "
            "original image."
        )
    colour = images.shape[-1:] if images.ndim in (3, 4) and images.shape[-1] == 3 else ()
    grid = images.shape[: images.ndim - len(colour)]
    if images.dtype != np.uint8 or len(grid) not in (2, 3) or 0 in grid:
        raise VolumeError(
            f"{path}: `imgs` is {images.dtype} of shape {images.shape}; a MedSAM case holds uint8 "
            "of (D, H, W) or (H, W, 3). Make it again or open the original image."
        )
    if spacing is not None and (
        spacing.shape != (3,) or spacing.dtype.kind not in "iuf" or not (spacing > 0).all()
    ):
        raise VolumeError(
            f"{path}: `spacing` is {spacing.tolist()}; three sizes (x, y, z) in mm above 0 are "
            "needed. Make the case again."
        )
    reversed_spacing = None if spacing is None else spacing[::-1].astype(np.float64)
    return images.reshape((1, 1, *grid)[-3:] + colour), reversed_spacing


def _check_members(path: Path, file: BinaryIO, names: Collection[str]) -> None:
    """Refuse arrays that claim more bytes than they can unpack to, before they are allocated."""
    place = file.tell()
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            if Path(member.filename).stem not in names:
                continue
            if member.compress_type not in _METHODS:
                raise ValueError(f"compressed by method {member.compress_type}")
            with archive.open(member) as stream:
                version = np.lib.format.read_magic(stream)
                read = np.lib.format.read_array_header_1_0
                if version != (1, 0):
                    read = np.lib.format.read_array_header_2_0
                shape, _, dtype = read(stream)
            claimed = int(np.prod(shape, dtype=object)) * dtype.itemsize
            packed = min(member.compress_size, path.stat().st_size)
            most = packed * (1 if member.compress_type == zipfile.ZIP_STORED else MAX_COMPRESSION)
            if min(shape, default=1) < 0 or claimed > min(member.file_size, most):
                raise VolumeError(
                    f"{path}: `{Path(member.filename).stem}` announces {claimed:,} bytes, but has "
                    f"only {packed:,} bytes. It is incomplete or damaged: copy or make it again."
                )
            check_memory(path, claimed)
    file.seek(place)
