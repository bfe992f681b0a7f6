"""NIfTI and Analyze by nibabel: reading, and the bytes of a label file."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Sequence
from io import BufferedIOBase
from pathlib import Path
from typing import Any, BinaryIO

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.fileholders import FileHolder
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from napari_medsamq._source import (
    LEFT_RIGHT_UNKNOWN,
    RAS_TO_LPS,
    Array,
    Decoded,
    Selection,
    Source,
    volume_index,
    volume_part,
)
from napari_medsamq.errors import VolumeError
from napari_medsamq.geometry import Float64

SUFFIXES = (".nii", ".nii.gz", ".hdr", ".img")

_ALL = Selection()
# Below this size nothing is lost by allocating what a damaged header says.
_UNPACKED_UNCHECKED = 100 << 20
# What may follow the voxels of a large file.
_TRAILING = 1 << 20
# Two places are the same up to this fraction of a voxel.
_APART = 0.1

# Deflate cannot shrink anything by more than this factor.
MAX_COMPRESSION = 1032

# By NIfTI's unit code: metres and microns; all else is taken as mm.
_MM_PER_UNIT = {1: 1000.0, 3: 0.001}
_READ_ERRORS = (
    ImageFileError,
    HeaderDataError,
    WrapStructError,
    OSError,
    EOFError,
    ValueError,
    zlib.error,
)


def is_nifti(path: Path) -> bool:
    """Tell by name or content whether nibabel is the reader for a file."""
    if path.name.lower().endswith(SUFFIXES):
        return True
    try:
        with _open(path) as file:
            start = file.read(352)
    except (OSError, EOFError, zlib.error):
        return False
    return start[344:347] == b"n+1" or start[4:7] == b"n+2"


def read_nifti(path: Path, selection: Selection = _ALL) -> Decoded:
    """Read a NIfTI-1, NIfTI-2 or Analyze file.

    Raises
    ------
    ChoiceError
        If it holds several volumes, and none was chosen.
    VolumeError
        If the file cannot be read or is damaged.
    """
    try:
        if path.suffix.lower() in (".hdr", ".img"):
            return _decode(path, nib.load(path, mmap=False), selection)
        with _open(path) as file:
            start = file.read(4)
            file.seek(0)
            nifti2 = b"\x02\x1c" in (start[:2][::-1], start[2:])
            kind = nib.Nifti2Image if nifti2 else nib.Nifti1Image
            image = kind.from_file_map({"image": FileHolder(fileobj=file)}, mmap=False)
            decoded = _decode(path, image, selection)
            # To the end, because only there gzip compares its checksum.
            while file.read(1 << 20):
                pass
            return decoded
    except _READ_ERRORS as error:
        raise VolumeError(
            f"{path}: cannot be read as NIfTI, the file is damaged or something else ({error}). "
            "Copy or export it again."
        ) from error


def affine_lps(header: Any) -> Float64:
    """Return the affine (4, 4) float64 of a header, from (i, j, k) to LPS mm."""
    # Analyze headers have no unit.
    unit = int(header["xyzt_units"]) % 8 if isinstance(header, nib.Nifti1Header) else 0
    scale = _MM_PER_UNIT.get(unit, 1.0)
    affine = np.array(header.get_best_affine(), np.float64)
    if (*header.get_data_shape(), 1, 1)[2] == 1 and not affine[:3, 2].any():
        # 2D files may leave out the axis they do not have: one unit along the normal.
        normal = np.cross(affine[:3, 0], affine[:3, 1])
        affine[:3, 2] = normal / max(float(np.linalg.norm(normal)), 1e-30)
    # A damaged header holds anything; `checked` refuses what is not finite.
    with np.errstate(invalid="ignore", over="ignore"):
        return RAS_TO_LPS @ np.diag([scale, scale, scale, 1.0]) @ affine


def label_header(source: Source, dtype: np.dtype[Any]) -> Any:
    """Make the header of a label on a source's grid.

    A NIfTI source's header is copied, with both affines, their codes, units and pixdim; only what
    describes intensities or names the image is reset.
    """
    if source.header is None:
        header = nib.Nifti1Header()
        header.set_data_shape(source.shape)
        affine = RAS_TO_LPS @ source.affine
        header.set_qform(affine, code="scanner")
        header.set_sform(affine, code="scanner")
        header.set_xyzt_units("mm")
    else:
        header = source.header.copy()
    header.set_data_dtype(dtype)
    for field in ("cal_min", "cal_max", "scl_inter", "intent_code"):
        header[field] = 0
    for field in ("intent_p1", "intent_p2", "intent_p3"):
        header[field] = 0
    for field in ("intent_name", "aux_file"):
        header[field] = b""
    header["scl_slope"] = 1
    header["descrip"] = b"MedSAMQ label"
    header["magic"] = header.single_magic
    header["vox_offset"] = header.single_vox_offset
    return header


def write_nifti(file: BinaryIO | BufferedIOBase, header: Any, array: Array) -> None:
    """Write a header and an array (i, j, k, ...) of its dtype as a single-file NIfTI."""
    file.write(header.binaryblock)
    file.write(bytes(4))  # no header extensions
    # One slab at a time: a whole-volume copy in Fortran order would double the memory.
    for slab in np.moveaxis(array, -1, 0):
        file.write(slab.astype(header.get_data_dtype()).tobytes(order="F"))


def check_size(path: Path, claimed: int, compressed: bool, data_file: Path | None = None) -> None:
    """Refuse a file that claims more bytes than it can hold, before they are allocated."""
    size = (data_file or path).stat().st_size
    if claimed > size * (MAX_COMPRESSION if compressed else 1):
        raise _too_short(path, claimed, size)


def _too_short(path: Path, claimed: int, size: int) -> VolumeError:
    return VolumeError(
        f"{path}: its header announces {claimed:,} bytes, but the file has only {size:,} bytes. It "
        "is incomplete or damaged: copy or export it again."
    )


def _check_unpacked(path: Path, claimed: int) -> None:
    """Refuse a gzip file that claims more bytes than it unpacks to, before they are allocated."""
    with path.open("rb") as file:
        file.seek(-4, 2)
        (last,) = struct.unpack("<I", file.read(4))
    # The end of the file says how much there is, but for multiples of 4 GB and files in parts.
    there = claimed <= last or (last - claimed) % 2**32 < _TRAILING
    if there or claimed < _UNPACKED_UNCHECKED:
        return
    size = 0
    with gzip.open(path, "rb") as file:
        while part := file.read(1 << 20):
            size += len(part)
    if size < claimed:
        raise _too_short(path, claimed, size)


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _open(path: Path) -> BufferedIOBase:
    return gzip.open(path, "rb") if _is_gzip(path) else path.open("rb")


def _decode(path: Path, image: Any, selection: Selection) -> Decoded:
    header = image.header
    shape = tuple(int(size) for size in image.shape)
    if min(shape, default=0) < 1:
        raise VolumeError(f"{path}: has no voxels (shape {shape}). Export it again.")
    voxels = int(np.prod(shape, dtype=object)) * header.get_data_dtype().itemsize
    proxy: Any = image.dataobj  # nibabel's stub does not know its offset
    # A pair of files has its voxels in the other one.
    holder = image.file_map["image"]
    data_file = path if holder.filename is None else Path(holder.filename)
    packed = _is_gzip(data_file)
    check_size(path, int(proxy.offset) + voxels, compressed=packed, data_file=data_file)
    if packed:
        _check_unpacked(data_file, int(proxy.offset) + voxels)
    volumes = int(np.prod(shape[3:], dtype=object))
    index = volume_index(path, volumes, selection)
    place: tuple[Any, ...] = ()
    if volumes > 1:
        place = (..., *(int(n) for n in np.unravel_index(index, shape[3:], order="F")))
        shape = shape[:3]
    grid = (*shape, 1, 1, 1)[:3]
    data = _voxels(path, image, place)
    nifti = isinstance(header, nib.Nifti1Header)
    known = nifti and (int(header["qform_code"]) > 0 or int(header["sform_code"]) > 0)
    own = header.copy() if nifti else None
    if own is not None and volumes > 1:
        own.set_data_shape(shape)
    return Decoded(
        data=data.reshape(grid + data.shape[len(shape) :]),
        affine=affine_lps(header),
        kind="image",
        shape=shape,
        header=own,
        warnings=_disagreement(header, grid) if known else (LEFT_RIGHT_UNKNOWN,),
        parts=volume_part(index, volumes),
    )


def _disagreement(header: Any, grid: Sequence[int]) -> tuple[str, ...]:
    """Tell the user if the two places that a NIfTI file may give are not the same."""
    if int(header["qform_code"]) == 0 or int(header["sform_code"]) == 0:
        return ()
    try:
        by_quaternion = np.array(header.get_qform(), np.float64)
    except HeaderDataError:  # no rotation at all, and not used
        return ()
    by_rows = np.array(header.get_sform(), np.float64)
    corners = np.array([*np.ndindex(2, 2, 2)]) * (np.array(grid) - 1)
    with np.errstate(invalid="ignore", over="ignore"):
        apart = (by_rows - by_quaternion) @ np.column_stack([corners, np.ones(8)]).T
        farthest = float(np.linalg.norm(apart[:3], axis=0).max())
        smallest = float(np.linalg.norm(by_rows[:3, :3], axis=0).min())
        mirrored = np.linalg.det(by_rows[:3, :3]) * np.linalg.det(by_quaternion[:3, :3]) < 0
    if not farthest > _APART * smallest:
        return ()
    sides = " One is the mirror image of the other: check left and right." if mirrored else ""
    return (
        f"The header gives two places for the voxels (sform and qform), up to {farthest:.3g} of "
        f"its units apart. The sform is used, as nibabel does; other programs may differ.{sides}",
    )


def _voxels(path: Path, image: Any, place: tuple[Any, ...]) -> Array:
    proxy = image.dataobj
    dtype = np.dtype(image.get_data_dtype())
    if dtype.names:
        raw = np.asanyarray(proxy)[place] if place else np.asanyarray(proxy)
        return np.stack([raw[channel] for channel in "RGB"], axis=-1)
    if dtype.kind not in "iuf":
        raise VolumeError(
            f"{path}: holds {dtype.name} values, grey values are needed. Export the magnitude."
        )
    if (proxy.slope, proxy.inter) != (1, 0):
        # What overflows becomes infinite, which is counted and told.
        with np.errstate(over="ignore", invalid="ignore"):
            if place:
                return np.asarray(proxy[place], np.float32)
            return np.asarray(image.get_fdata(caching="unchanged", dtype=np.float32))
    raw = proxy[place] if place else np.asarray(proxy)
    return np.asarray(raw).astype(dtype.newbyteorder("="), copy=False)
