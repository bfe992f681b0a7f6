"""Chooses the reader of an image file or folder."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from napari_medsamq.errors import VolumeError
from napari_medsamq.io.dicom.reader import is_dicom, read_dicom_file, read_dicom_folder
from napari_medsamq.io.medsam_case import read_case
from napari_medsamq.io.meta_image import is_meta_image, read_meta_header
from napari_medsamq.io.nifti import MGH, PAIR, is_nifti, pair_of, read_nifti
from napari_medsamq.io.nrrd import is_nrrd, read_nrrd_header
from napari_medsamq.io.picture_reader import read_picture
from napari_medsamq.io.source import Decoded, Selection
from napari_medsamq.io.text_header import Described, HeaderError, chosen_volume, unreadable

# napari opens pictures itself.
_VOLUMES = (
    *(".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".hdr", ".hdr.gz", ".dcm", ".npz"),
    *MGH,
)
# What the names of files end in that may hold an image, and a label: a case has none, and JPEG
# does not keep its values.
IMAGE_SUFFIXES = (*_VOLUMES, ".png", ".jpg", ".jpeg", ".tif", ".tiff")
LABEL_SUFFIXES = tuple(own for own in IMAGE_SUFFIXES if own not in (".npz", ".jpg", ".jpeg"))
# Of a folder, before it is said to hold no DICOM.
_LOOKED_AT = 300
# What lies beside a label that was saved here.
_PROVENANCE = ".provenance.json"


def can_read(path: Path) -> bool:
    """Tell quickly, by name or by a look into a folder's first files, whether this reads `path`."""
    if not path.is_dir():
        return path.name.lower().endswith(_VOLUMES)
    # Those of the folder itself come before those of its subfolders.
    entries = islice(path.rglob("*"), _LOOKED_AT)
    return any(entry.is_file() and is_dicom(entry) for entry in entries)


def scans_beside(path: Path) -> list[Path]:
    """Return the scans of the same folder, this one among them, by name.

    They are files where this one is a file, and DICOM folders where it is a folder. Labels that
    were saved beside the scans, which a provenance tells, are none.
    """
    labels = tuple(
        own.name.removesuffix(_PROVENANCE) + "." for own in path.parent.glob(f"*{_PROVENANCE}")
    )
    return [
        own
        for own in sorted(path.parent.iterdir())
        if own.is_dir() == path.is_dir() and can_read(own) and not own.name.startswith(labels)
    ]


def files_of(path: Path) -> tuple[Path, ...]:
    """Return the file of an image, and those that its voxels or its header lie in.

    Raises
    ------
    VolumeError
        If one of them is not there, or lies outside the folder.
    """
    found: tuple[Path, ...] = ()
    described = read_text_header(path)
    if described is not None:
        found = described.files
    elif path.name.lower().endswith(PAIR):
        found = pair_of(path)
    return tuple(dict.fromkeys((path, *found)))


def read_text_header(path: Path) -> Described | None:
    """Read what the header of an NRRD or MetaImage file says; None for files of other kinds.

    Raises
    ------
    VolumeError
        If that cannot be, or the voxels are not there or lie elsewhere.
    """
    try:
        if is_nrrd(path):
            return read_nrrd_header(path)
        return read_meta_header(path) if is_meta_image(path) else None
    except HeaderError as error:
        raise unreadable(path, error) from error


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
        if is_nifti(path):
            return read_nifti(path, selection)
        described = read_text_header(path)
        return read_picture(path, selection) if described is None else _image(described, selection)
    except OSError as error:
        raise VolumeError(
            f"{path}: cannot be opened ({error.strerror or error}). Check that you may read it."
        ) from error


def _image(described: Described, selection: Selection) -> Decoded:
    data, parts = chosen_volume(described.path, described.read(), selection)
    return Decoded(
        data,
        described.affine,
        "image",
        data.shape[:3],
        warnings=described.warnings,
        unnamed_space=described.unnamed_space,
        parts=parts,
    )
