"""Saves a label so that the old file or the whole new one is there at any moment."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from types import MappingProxyType
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from napari_medsamq.errors import SaveError
from napari_medsamq.io.dicom.rtstruct import SUFFIX as RTSTRUCT
from napari_medsamq.io.dicom.rtstruct import RTStruct
from napari_medsamq.io.dicom.seg import SUFFIX as DICOM
from napari_medsamq.io.dicom.seg import DicomSeg
from napari_medsamq.io.files import file_hash, replacing
from napari_medsamq.io.label_format import (
    MAX_LABEL_ID,
    EncodedLabel,
    Mismatch,
    Segments,
    Unwritable,
    voxel_counts,
)
from napari_medsamq.io.nifti import NiftiLabel, PackedNiftiLabel
from napari_medsamq.io.seg_nrrd import SUFFIX as SEG_NRRD
from napari_medsamq.io.seg_nrrd import SegNrrd
from napari_medsamq.io.source import Source
from napari_medsamq.io.volume import Volume

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
    encoders : mapping of str to EncodedLabel
        By suffix, the usual one first.
    refers : bool
        Whether it refers to the DICOM series that the label was drawn on, and needs one.
    """

    title: str
    encoders: Mapping[str, type[EncodedLabel]]
    refers: bool = False

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Those of its files' names, the usual one first."""
        return tuple(self.encoders)


# The first one whose suffix a name has is meant.
FORMATS = (
    LabelFormat("NIfTI", {".nii.gz": PackedNiftiLabel, ".nii": NiftiLabel}),
    LabelFormat("3D Slicer segmentation", {SEG_NRRD: SegNrrd}),
    LabelFormat("DICOM structure set (RTSTRUCT)", {RTSTRUCT: RTStruct}, refers=True),
    LabelFormat("DICOM segmentation (SEG)", {DICOM: DicomSeg}, refers=True),
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
    known = _format(path).encoders
    encode = next(own for suffix, own in known.items() if path.name.lower().endswith(suffix))
    with _save_errors(path), replacing(path) as part:
        content = encode(source.to_source(ids), source, segments)
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


def _format(path: Path) -> LabelFormat:
    name = path.name.lower()
    for known in FORMATS:
        if name.endswith(known.suffixes):
            return known
    raise SaveError(
        f"{path}: no format of labels has that suffix. Choose a name that ends in .nii.gz or .nii "
        f"(NIfTI), {SEG_NRRD} (3D Slicer), {DICOM} (DICOM segmentation) or {RTSTRUCT} (DICOM "
        "structure set)."
    )


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
