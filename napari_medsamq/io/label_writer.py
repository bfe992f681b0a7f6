"""Saves a label so that the old file or the whole new one is there at any moment."""

from __future__ import annotations

import errno
import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from types import MappingProxyType
from typing import Any, BinaryIO

import nibabel as nib
import numpy as np
import numpy.typing as npt

from napari_medsamq.errors import SaveError, VolumeError
from napari_medsamq.io.dicom.rtstruct import SUFFIX as RTSTRUCT
from napari_medsamq.io.dicom.rtstruct import RTStruct
from napari_medsamq.io.dicom.seg import SUFFIX as DICOM
from napari_medsamq.io.dicom.seg import DicomSeg
from napari_medsamq.io.files import file_hash, replacing
from napari_medsamq.io.nifti import read_nifti, write_nifti
from napari_medsamq.io.nifti_header import affine_lps, label_header
from napari_medsamq.io.seg_nrrd import SUFFIX as SEG_NRRD
from napari_medsamq.io.seg_nrrd import SegNrrd
from napari_medsamq.io.segments import (
    MAX_LABEL_ID,
    EncodedLabel,
    Mismatch,
    Segments,
    Unwritable,
    voxel_counts,
)
from napari_medsamq.io.source import Array, Source
from napari_medsamq.io.volume import Volume

# Label files shrink well at any level; this one keeps saving below a second or so.
_GZIP_LEVEL = 3

_MAX_DEVIATION = 1e-4  # mm

_GEOMETRY = (
    *("pixdim", "xyzt_units", "qform_code", "sform_code", "srow_x", "srow_y", "srow_z"),
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
)

_CURES = {
    errno.ENOSPC: "the disk is full. Free some space or save to another disk",
    errno.EDQUOT: "your disk quota is used up. Free some space or save to another disk",
    errno.EACCES: "writing is not allowed there. Choose another folder",
    errno.EPERM: "writing is not allowed there. Choose another folder",
    errno.EROFS: "that disk is read-only. Choose another folder",
}


@dataclass(frozen=True)
class SaveReceipt:
    """What was saved and verified.

    Attributes
    ----------
    path : Path
    sha256 : str
        Of the file.
    counts : dict of int to int
        Voxels of each label id other than 0.
    shape : tuple of int
        Of the file.
    """

    path: Path
    sha256: str
    counts: dict[int, int]
    shape: tuple[int, ...]


@dataclass(frozen=True)
class LabelFormat:
    """A format that labels can be saved in.

    Attributes
    ----------
    title : str
    suffixes : tuple of str
        The usual one first.
    refers : bool
        Whether it refers to the DICOM series that the label was drawn on, and needs one.
    """

    title: str
    suffixes: tuple[str, ...]
    refers: bool = False


# The first one whose suffix a name has is meant.
FORMATS = (
    LabelFormat("NIfTI", (".nii.gz", ".nii")),
    LabelFormat("3D Slicer segmentation", (SEG_NRRD,)),
    LabelFormat("DICOM structure set (RTSTRUCT)", (RTSTRUCT,), refers=True),
    LabelFormat("DICOM segmentation (SEG)", (DICOM,), refers=True),
)


def label_formats(volume: Volume) -> tuple[LabelFormat, ...]:
    """Return the formats that a label of a volume can be saved in, the usual one first."""
    return tuple(known for known in FORMATS if volume.source.files or not known.refers)


def write_label(
    path: str | Path,
    label: npt.NDArray[Any],
    like: Volume,
    segments: Segments = MappingProxyType({}),
) -> SaveReceipt:
    """Save a label in the axis order, shape and geometry of its volume's file.

    The file is written beside `path`, read back and compared, and takes its name only then.

    Parameters
    ----------
    path : str or Path
        Its suffix says in which of `FORMATS`: .nii.gz or .nii (NIfTI), .seg.nrrd (3D Slicer), .dcm
        (DICOM segmentation) or .rtstruct.dcm (DICOM structure set). An existing file is replaced.
    label : (z, y, x) integer or bool
        Array order, values 0 to 65535; saved as uint8 where that holds them, else uint16.
    like : Volume
    segments : mapping of int to Segment
        Names and colours by label id, for the formats that hold them.

    Returns
    -------
    receipt : SaveReceipt

    Raises
    ------
    SaveError
        If the label cannot be saved there; a file at `path` is then as it was.
    ValueError
        If the label does not belong to the volume.
    """
    path, source = Path(path), like.source
    if label.shape != like.data.shape[:3]:
        raise ValueError(f"a label of shape {label.shape} for a volume of {like.data.shape[:3]}")
    if label.dtype.kind not in "iub" or label.min() < 0 or label.max() > MAX_LABEL_ID:
        raise ValueError(f"a label holds whole numbers from 0 to 65535, this one is {label.dtype}")
    dtype = np.uint8 if label.max() <= np.iinfo(np.uint8).max else np.uint16
    ids: npt.NDArray[np.unsignedinteger] = label.astype(dtype)
    check_target(path, like.path, source)
    array = source.to_source(ids)
    with _save_errors(path), replacing(path) as part:
        content = _content(path, array, source, segments)
        with part.open("wb") as file:
            content.write(file)
        content.verify(part)
        sha256 = file_hash(part)
    return SaveReceipt(path, sha256, voxel_counts(ids), source.shape)


def check_target(path: Path, image: Path | None, source: Source | None = None) -> None:
    """Refuse a name that no label can be saved under, before any work is done for it.

    Parameters
    ----------
    path : Path
    image : Path or None
        The file that was segmented.
    source : Source, optional
        Its grid; where it is given, a format is refused that cannot refer to it.

    Raises
    ------
    SaveError
        If `path` is no name of a label file, its folder is missing or may not be written to, or it
        is a folder or the segmented image itself.
    """
    wanted = _format(path)
    if wanted is None:
        raise SaveError(
            f"{path}: no format of labels has that suffix. Choose a name that ends in .nii.gz or "
            f".nii (NIfTI), {SEG_NRRD} (3D Slicer), {DICOM} (DICOM segmentation) or {RTSTRUCT} "
            "(DICOM structure set)."
        )
    if wanted.refers and source is not None and not source.files:
        why = (
            "its slices were resampled, so that it has others than the series"
            if source.frame_of_reference
            else "this image was not read from DICOM"
        )
        raise SaveError(
            f"{path}: a {wanted.title} refers to the DICOM series that was segmented, but {why}. "
            f"Choose a name that ends in .nii.gz or {SEG_NRRD}."
        )
    with _save_errors(path):
        if not path.parent.is_dir():
            raise SaveError(f"{path}: there is no folder {path.parent}. Make it or choose another.")
        if path.is_dir():
            raise SaveError(f"{path}: the label was not saved: it is a folder. Name a file.")
        images = (() if image is None else (image,)) + (() if source is None else source.files)
        if path.exists() and any(own.exists() and path.samefile(own) for own in images):
            raise SaveError(
                f"{path}: is the image that was segmented and stays as it is. Choose another name."
            )
        # Whether a folder may be written to is known only by writing to it.
        with TemporaryFile(dir=path.parent):
            pass


def _format(path: Path) -> LabelFormat | None:
    name = path.name.lower()
    return next((known for known in FORMATS if name.endswith(known.suffixes)), None)


def _content(path: Path, array: Array, source: Source, segments: Segments) -> EncodedLabel:
    name = path.name.lower()
    if name.endswith(SEG_NRRD):
        return SegNrrd(array, source, segments)
    if name.endswith(RTSTRUCT):
        return RTStruct(array, source, segments)
    if name.endswith(DICOM):
        return DicomSeg(array, source, segments)
    return _Nifti(array, source, compress=name.endswith(".gz"))


@contextmanager
def _save_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        cure = _CURES.get(error.errno or 0, f"{error.strerror or error}. Save it elsewhere")
        raise SaveError(f"{path}: the label was not saved: {cure}.") from error
    except nib.spatialimages.HeaderDataError as error:
        raise SaveError(
            f"{path}: the label was not saved: NIfTI cannot describe this grid ({error}). Resample "
            "the image to a smaller one."
        ) from error
    except Unwritable as error:
        raise SaveError(f"{path}: the label was not saved: {error}.") from error
    except Mismatch as error:
        raise SaveError(
            f"{path}: the label was not saved: what was written {error}. Nothing was replaced; try "
            "again or save to another disk, and report this if it happens again."
        ) from error


class _Nifti:
    """A label as NIfTI, with the header of its source; names and colours have no place in it."""

    def __init__(self, array: Array, source: Source, *, compress: bool) -> None:
        self._array = array
        self._source = source
        self._compress = compress
        self._header = label_header(source, array.dtype)

    def write(self, file: BinaryIO) -> None:
        if not self._compress:
            write_nifti(file, self._header, self._array)
            return
        # No name and no time inside, so that one label always gives the same bytes.
        with gzip.GzipFile("", "wb", _GZIP_LEVEL, fileobj=file, mtime=0) as packed:
            write_nifti(packed, self._header, self._array)

    def verify(self, path: Path) -> None:
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
        if not np.array_equal(back.data.reshape(source.shape), array):
            raise Mismatch("has other voxels than the label")
