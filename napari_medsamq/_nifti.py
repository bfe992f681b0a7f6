"""NIfTI and Analyze by nibabel: reading, and the bytes of a label file."""

from __future__ import annotations

import gzip
import zlib
from io import BufferedIOBase
from pathlib import Path
from typing import Any, BinaryIO

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.fileholders import FileHolder
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from napari_medsamq._source import LEFT_RIGHT_UNKNOWN, RAS_TO_LPS, Array, Decoded, Source
from napari_medsamq.errors import VolumeError
from napari_medsamq.geometry import Float64

SUFFIXES = (".nii", ".nii.gz", ".hdr", ".img")

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


def read_nifti(path: Path) -> Decoded:
    """Read a NIfTI-1, NIfTI-2 or Analyze file.

    Raises
    ------
    VolumeError
        If the file cannot be read, is damaged, or holds several volumes.
    """
    try:
        if path.suffix.lower() in (".hdr", ".img"):
            return _decode(path, nib.load(path, mmap=False))
        with _open(path) as file:
            start = file.read(4)
            file.seek(0)
            nifti2 = b"\x02\x1c" in (start[:2][::-1], start[2:])
            kind = nib.Nifti2Image if nifti2 else nib.Nifti1Image
            image = kind.from_file_map({"image": FileHolder(fileobj=file)}, mmap=False)
            decoded = _decode(path, image)
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


def check_size(path: Path, claimed: int, compressed: bool) -> None:
    """Refuse a file that claims more bytes than it can hold, before they are allocated."""
    size = path.stat().st_size
    if claimed > size * (MAX_COMPRESSION if compressed else 1):
        raise VolumeError(
            f"{path}: its header announces {claimed:,} bytes, but the file has only "
            f"{size:,} bytes. It is incomplete or damaged: copy or export it again."
        )


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _open(path: Path) -> BufferedIOBase:
    return gzip.open(path, "rb") if _is_gzip(path) else path.open("rb")


def _decode(path: Path, image: Any) -> Decoded:
    header = image.header
    shape = tuple(int(size) for size in image.shape)
    if min(shape, default=0) < 1:
        raise VolumeError(f"{path}: has no voxels (shape {shape}). Export it again.")
    if any(size > 1 for size in shape[3:]):
        raise VolumeError(
            f"{path}: holds {int(np.prod(shape[3:]))} volumes (shape {shape}), one is needed. Save "
            "the one to segment as a 3D file, with nibabel for instance by "
            "`image.slicer[..., 0].to_filename(...)`, and open that."
        )
    if isinstance(image, (nib.Nifti1Image, nib.Nifti2Image)):
        voxels = int(np.prod(shape, dtype=object)) * header.get_data_dtype().itemsize
        proxy: Any = image.dataobj  # nibabel's stub does not know its offset
        check_size(path, int(proxy.offset) + voxels, compressed=_is_gzip(path))
    grid = (*shape, 1, 1, 1)[:3]
    data = _voxels(path, image)
    nifti = isinstance(header, nib.Nifti1Header)
    known = nifti and (int(header["qform_code"]) > 0 or int(header["sform_code"]) > 0)
    return Decoded(
        data=data.reshape(grid + data.shape[len(shape) :]),
        affine=affine_lps(header),
        kind="image",
        shape=shape,
        header=header.copy() if nifti else None,
        warnings=() if known else (LEFT_RIGHT_UNKNOWN,),
    )


def _voxels(path: Path, image: Any) -> Array:
    proxy = image.dataobj
    dtype = np.dtype(image.get_data_dtype())
    if dtype.names:
        raw = np.asanyarray(proxy)
        return np.stack([raw[channel] for channel in "RGB"], axis=-1)
    if dtype.kind not in "iuf":
        raise VolumeError(
            f"{path}: holds {dtype.name} values, grey values are needed. Export the magnitude."
        )
    if (proxy.slope, proxy.inter) != (1, 0):
        # What overflows becomes infinite, which is counted and told.
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(image.get_fdata(caching="unchanged", dtype=np.float32))
    return np.asarray(proxy).astype(dtype.newbyteorder("="), copy=False)
