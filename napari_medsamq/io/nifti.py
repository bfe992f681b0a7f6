"""NIfTI, Analyze and FreeSurfer's MGH by nibabel: reading, and the bytes of a label file."""

from __future__ import annotations

import gzip
import struct
import zlib
from io import BufferedIOBase
from pathlib import Path
from typing import Any, BinaryIO

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.arrayproxy import ArrayProxy
from nibabel.filebasedimages import ImageFileError
from nibabel.freesurfer.mghformat import MGHError, MGHHeader
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from napari_medsamq.errors import VolumeError
from napari_medsamq.io.label_format import EncodedLabel, Mismatch, Segments
from napari_medsamq.io.nifti_header import (
    affine_lps,
    disagreement,
    is_single,
    label_header,
    orientation_known,
    read_header,
    settle,
)
from napari_medsamq.io.source import (
    LEFT_RIGHT_UNKNOWN,
    Array,
    Decoded,
    Selection,
    Source,
    check_size,
    too_short,
    volume_index,
    volume_part,
)

# Formats whose header or voxels may lie in a second file.
PAIR = (".hdr", ".img", ".hdr.gz", ".img.gz")
MGH = (".mgz", ".mgh", ".mgh.gz")
SUFFIXES = (".nii", ".nii.gz", *PAIR, *MGH)

_ALL = Selection()
# Label files shrink well at any level; this one keeps saving below a second or so.
_GZIP_LEVEL = 3
_MAX_DEVIATION = 1e-4  # mm
_GEOMETRY = (
    *("pixdim", "xyzt_units", "qform_code", "sform_code", "srow_x", "srow_y", "srow_z"),
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
)
# Below this size nothing is lost by allocating what a damaged header says.
_UNPACKED_UNCHECKED = 100 << 20
# What may follow the voxels of a large file.
_TRAILING = 1 << 20
# As many bytes of an MGH file say where and what its voxels are.
_MGH_HEADER = 90

_READ_ERRORS = (
    ImageFileError,
    HeaderDataError,
    MGHError,
    WrapStructError,
    OSError,
    EOFError,
    KeyError,
    ValueError,
    zlib.error,
)


def is_nifti(path: Path) -> bool:
    """Tell by name or content whether nibabel is the reader for a file."""
    if path.name.lower().endswith(SUFFIXES):
        return True
    try:
        with _open(path) as file:
            return is_single(file.read(352))
    except (OSError, EOFError, zlib.error):
        return False


def pair_of(path: Path) -> tuple[Path, Path]:
    """Return the files with the header and with the voxels of a pair, of which one is known.

    Raises
    ------
    VolumeError
        If the other one is not there.
    """
    name = path.name
    end = next(
        len(suffix) for suffix in sorted(PAIR, key=len)[::-1] if name.lower().endswith(suffix)
    )
    stem, kind = name[:-end], path.name.lower()[-end:][:4]
    wanted = [".img", ".img.gz"] if kind == ".hdr" else [".hdr", ".hdr.gz"]
    beside = {
        part.name.lower(): part for part in path.parent.iterdir() if part.stem.startswith(stem)
    }
    packed = name.lower().endswith(".gz")
    for suffix in wanted[::-1] if packed else wanted:
        other = beside.get((stem + suffix).lower())
        if other is not None:
            return (path, other) if kind == ".hdr" else (other, path)
    raise VolumeError(
        f"{path}: cannot be read as NIfTI, the file is damaged or something else (the other file "
        f"of the pair, {stem}{wanted[0]}, does not lie beside it). Copy both to one folder."
    )


def read_nifti(path: Path, selection: Selection = _ALL) -> Decoded:
    """Read a NIfTI-1, NIfTI-2, Analyze or MGH file.

    Raises
    ------
    ChoiceError
        If it holds several volumes, and none was chosen.
    VolumeError
        If the file cannot be read or is damaged.
    """
    name = path.name.lower()
    kind = "MGH" if name.endswith(MGH) else "NIfTI"
    try:
        if kind == "MGH":
            with _open(path) as file:
                start = file.read(_MGH_HEADER)
                header: Any = MGHHeader(start)
                known = struct.unpack_from(">h", start, 28)[0] == 1
                return _decode(path, path, file, header, selection, (), known)
        header_file, data_file = pair_of(path) if name.endswith(PAIR) else (path, path)
        with _open(header_file) as file:
            header = read_header(file, pair=header_file != data_file)
        told = settle(header)
        with _open(data_file) as file:
            known = orientation_known(header)
            return _decode(path, data_file, file, header, selection, told, known)
    except _READ_ERRORS as error:
        raise VolumeError(
            f"{path}: cannot be read as {kind}, the file is damaged or something else ({error}). "
            "Copy or export it again."
        ) from error


def write_nifti(file: BinaryIO | BufferedIOBase, header: Any, array: Array) -> None:
    """Write a header and an array (i, j, k, ...) of its dtype as a single-file NIfTI."""
    file.write(header.binaryblock)
    file.write(bytes(4))  # no header extensions
    # One slab at a time: a whole-volume copy in Fortran order would double the memory.
    for slab in np.moveaxis(array, -1, 0):
        file.write(slab.astype(header.get_data_dtype()).tobytes(order="F"))


class NiftiLabel(EncodedLabel):
    """A label as NIfTI, with the header of its source; names and colours have no place in it."""

    def __init__(
        self, array: npt.NDArray[np.unsignedinteger], source: Source, segments: Segments
    ) -> None:
        super().__init__(array, source, segments)
        self._header = label_header(source, array.dtype)

    def write(self, file: BinaryIO) -> None:
        """Write it."""
        write_nifti(file, self._header, self._array)

    def verify(self, path: Path) -> None:
        """Read a file back, and compare it with what was to be written."""
        array, header, source = self._array, self._header, self._source
        try:
            back = read_nifti(path)
        except VolumeError as error:
            raise Mismatch(f"cannot be read back ({error.__cause__ or error})") from error
        if back.shape != source.shape:
            raise Mismatch(f"has shape {back.shape} instead of {source.shape}")
        if back.data.dtype != array.dtype:
            raise Mismatch(f"has voxels of {back.data.dtype} instead of {array.dtype}")
        if (back.orientation == "patient") != (source.orientation == "patient"):
            raise Mismatch("says of the sides of the patient what the image does not")
        # A header that does not say where its voxels lie is not asked.
        wanted = affine_lps(header) if source.orientation != "patient" else source.affine
        if not np.allclose(affine_lps(back.header), wanted, rtol=1e-6, atol=_MAX_DEVIATION):
            raise Mismatch("lies elsewhere in the patient than the image")
        # Fields that their code leaves out of use may hold anything, also NaN.
        if not all(
            np.array_equal(back.header[field], header[field], equal_nan=True) for field in _GEOMETRY
        ):
            raise Mismatch("has another geometry in its header than the image")
        if not np.array_equal(back.data, array):
            raise Mismatch("has other voxels than the label")


class PackedNiftiLabel(NiftiLabel):
    """A label as compressed NIfTI."""

    def write(self, file: BinaryIO) -> None:
        """Write it."""
        # No name and no time inside, so that one label always gives the same bytes.
        with gzip.GzipFile("", "wb", _GZIP_LEVEL, fileobj=file, mtime=0) as packed:
            write_nifti(packed, self._header, self._array)


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
        raise too_short(path, claimed, size)


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _open(path: Path) -> BufferedIOBase:
    return gzip.open(path, "rb") if _is_gzip(path) else path.open("rb")


def _decode(
    path: Path,
    data_file: Path,
    file: Any,
    header: Any,
    selection: Selection,
    told: tuple[str, ...],
    known: bool,
) -> Decoded:
    shape = tuple(int(size) for size in header.get_data_shape())
    if min(shape, default=0) < 1:
        raise VolumeError(f"{path}: has no voxels (shape {shape}). Export it again.")
    proxy: Any = ArrayProxy(file, header, mmap=False)
    claimed = int(proxy.offset) + int(np.prod(shape, dtype=object)) * proxy.dtype.itemsize
    packed = _is_gzip(data_file)
    check_size(path, claimed, compressed=packed, data_file=data_file)
    if packed:
        _check_unpacked(data_file, claimed)
    volumes = int(np.prod(shape[3:], dtype=object))
    index = volume_index(path, volumes, selection)
    place: tuple[Any, ...] = ()
    if volumes > 1:
        place = (..., *(int(n) for n in np.unravel_index(index, shape[3:], order="F")))
        shape = shape[:3]
    grid = (*shape, 1, 1, 1)[:3]
    data = _voxels(path, proxy, place)
    # To the end, because only there gzip compares its checksum.
    while packed and file.read(1 << 20):
        pass
    own = header.copy() if isinstance(header, nib.Nifti1Header) else None
    if own is not None:
        if volumes > 1:
            own.set_data_shape(shape)
        told += disagreement(header, grid)
    return Decoded(
        data=data.reshape(grid + data.shape[len(shape) :]),
        affine=affine_lps(header),
        kind="image",
        shape=shape,
        header=own,
        warnings=told if known else (*told, LEFT_RIGHT_UNKNOWN),
        parts=volume_part(index, volumes),
    )


def _voxels(path: Path, proxy: Any, place: tuple[Any, ...]) -> Array:
    dtype = np.dtype(proxy.dtype)
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
            return np.asarray(proxy, np.float32)
    raw = proxy[place] if place else np.asarray(proxy)
    return np.asarray(raw).astype(dtype.newbyteorder("="), copy=False)
