"""Chooses the reader of an image file or folder."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from napari_medsamq._case import read_case
from napari_medsamq._dicom import is_dicom, read_dicom_file, read_dicom_folder
from napari_medsamq._itk import read_image
from napari_medsamq._nifti import is_nifti, read_nifti
from napari_medsamq._seg_nrrd import is_nrrd
from napari_medsamq._source import Decoded, Selection
from napari_medsamq._text_header import find_data
from napari_medsamq.errors import VolumeError

_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".hdr", ".dcm", ".npz")
# Of a folder, before it is said to hold no DICOM.
_LOOKED_AT = 300
_PAIR = (".hdr", ".img")
_META_IMAGE = (".mha", ".mhd")


def can_read(path: Path) -> bool:
    """Tell quickly, by name or by a look into a folder's first files, whether this reads `path`."""
    if not path.is_dir():
        return path.name.lower().endswith(_SUFFIXES)
    # Those of the folder itself come before those of its subfolders.
    entries = islice(path.rglob("*"), _LOOKED_AT)
    return any(entry.is_file() and is_dicom(entry) for entry in entries)


def files_of(path: Path) -> tuple[Path, ...]:
    """Return the file of an image, and those that its voxels or its header may lie in.

    Where a header lists data files, these are all files of the folder; else two at most.

    Raises
    ------
    VolumeError
        If a header names a data file that is not there, or lies outside its own folder.
    """
    found: tuple[Path, ...] = ()
    if path.suffix.lower() in _PAIR:
        beside = sorted(path.parent.iterdir())
        found = tuple(p for p in beside if p.stem == path.stem and p.suffix.lower() in _PAIR)
    elif path.suffix.lower() in _META_IMAGE or is_nrrd(path):
        found = find_data(path).paths
    return tuple(dict.fromkeys((path, *found)))


def decode(path: Path, selection: Selection) -> Decoded:
    """Read a file or folder by the reader that its name or content calls for.

    Raises
    ------
    ChoiceError
        If there are several series or volumes, and none was chosen.
    VolumeError
        If it cannot be read.
    """
    try:
        if not path.exists():
            if path.is_symlink():
                raise VolumeError(
                    f"{path}: is a link to {path.readlink()}, which is not there. Fetch or copy "
                    "what it leads to."
                )
            raise VolumeError(f"{path}: there is no such file or folder. Check the name.")
        if path.is_dir():
            return read_dicom_folder(path, selection)
        if path.stat().st_size == 0:
            raise VolumeError(f"{path}: the file is empty. Copy or export it again.")
        if path.suffix.lower() != ".npz" and is_dicom(path):
            return read_dicom_file(path, selection)
        if selection.series is not None or selection.resample:
            option = "--resample" if selection.series is None else "--series"
            raise VolumeError(f"{path}: is not DICOM, so {option} means nothing. Leave it out.")
        if path.suffix.lower() == ".npz":
            if selection.volume is not None:
                raise VolumeError(f"{path}: a case has one volume. Leave out --volume.")
            return read_case(path)
        return read_nifti(path, selection) if is_nifti(path) else read_image(path, selection)
    except OSError as error:
        raise VolumeError(
            f"{path}: cannot be opened ({error.strerror or error}). Check that you may read it."
        ) from error
