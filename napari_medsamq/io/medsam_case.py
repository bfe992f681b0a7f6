"""MedSAM cases: .npz files with a windowed image, as its challenge publishes them."""

from __future__ import annotations

import struct
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

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
    try:
        # Opened here, because `np.load` leaves a damaged file open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as case:
            _check_members(path, file)
            images = case["imgs"]
            spacing = case["spacing"] if "spacing" in case.files else None
    except _READ_ERRORS as error:
        raise VolumeError(
            f"{path}: cannot be read as a MedSAM case, an .npz file with the array `imgs` "
            f"({error}). Make it again or open the original image."
        ) from error
    colour = images.shape[-1:] if images.ndim in (3, 4) and images.shape[-1] == 3 else ()
    grid = images.shape[: images.ndim - len(colour)]
    if images.dtype != np.uint8 or len(grid) not in (2, 3) or 0 in grid:
        raise VolumeError(
            f"{path}: `imgs` is {images.dtype} of shape {images.shape}; a MedSAM case holds uint8 "
            "of (D, H, W) or (H, W, 3). Make it again or open the original image."
        )
    data = images.reshape((1, 1, *grid)[-3:] + colour)
    data = data.transpose(2, 1, 0, *range(3, data.ndim))
    affine = np.eye(4)
    if spacing is not None:
        if spacing.shape != (3,) or spacing.dtype.kind not in "iuf" or not (spacing > 0).all():
            raise VolumeError(
                f"{path}: `spacing` is {spacing.tolist()}; three sizes (x, y, z) in mm above 0 are "
                "needed. Make the case again."
            )
        affine[:3, :3] = np.diag(spacing)
    warnings = () if spacing is not None else (NO_SPACING,)
    return Decoded(data, affine, "case", data.shape[:3], warnings=warnings)


def _check_members(path: Path, file: BinaryIO) -> None:
    """Refuse arrays that claim more bytes than they can unpack to, before they are allocated."""
    place = file.tell()
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            if Path(member.filename).stem not in ("imgs", "spacing"):
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
