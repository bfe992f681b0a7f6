"""Reads label files of all formats, on their own grid or onto that of an image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from napari_medsamq._dicom import is_dicom
from napari_medsamq._dicom_seg import read_dicom_seg
from napari_medsamq._label import (
    DecodedLabel,
    Segment,
    Segments,
    checked_ids,
    extended,
    onto_grid,
)
from napari_medsamq._nifti import is_nifti, read_nifti
from napari_medsamq._nrrd import is_nrrd
from napari_medsamq._seg_nrrd import read_text_label
from napari_medsamq._source import LEFT_RIGHT_UNKNOWN, Decoded, Source
from napari_medsamq.errors import VolumeError
from napari_medsamq.files import file_hash
from napari_medsamq.geometry import has_shear, voxel_sizes


@dataclass(frozen=True, eq=False)
class LoadedLabel:
    """A label from a file, on the grid of an image.

    Attributes
    ----------
    path : Path
    sha256 : str
        Of the file.
    label : (z, y, x) uint16
        Array order.
    segments : dict of int to Segment
        Names and colours by label id, as far as the file has them.
    notes : tuple of str
        What the user should know about how it came onto the grid.
    """

    path: Path
    sha256: str
    label: npt.NDArray[np.uint16]
    segments: dict[int, Segment]
    notes: tuple[str, ...]


def load_label(path: Path, source: Source) -> LoadedLabel:
    """Read a label file onto the grid of an image's file.

    Raises
    ------
    VolumeError
        If it cannot be read, holds no label, or lies elsewhere than the image.
    """
    try:
        if not path.is_file():
            raise VolumeError(f"{path}: there is no such file. Check the name.")
        if path.stat().st_size == 0:
            raise VolumeError(f"{path}: the file is empty. Copy or export it again.")
        found = _decode(path, source)
        sha256 = file_hash(path)
    except OSError as error:
        raise _unopened(path, error) from error
    ids = checked_ids(path, found.data)
    sizes = voxel_sizes(found.affine)
    if not (np.isfinite(found.affine).all() and (sizes > 0).all()) or has_shear(found.affine):
        raise VolumeError(
            f"{path}: its header does not place the label in the patient (voxel sizes "
            f"{sizes.tolist()} mm, or axes that are not at right angles). Export it again."
        )
    known = found.orientation_known
    affine = source.place_for(found.affine, found.data.shape[:3], known)
    ids, notes = onto_grid(str(path), ids, affine, known, source)
    if not ids.any():
        raise VolumeError(
            f"{path}: no labelled voxel lies within the image: they show different parts of the "
            "body, or different patients. Choose the label of this image."
        )
    label = np.ascontiguousarray(source.from_source(ids.reshape(source.shape)))
    present = np.flatnonzero(np.bincount(label.reshape(-1)))
    segments = {n: found.segments[n] for n in present.tolist() if n in found.segments}
    return LoadedLabel(path, sha256, label, segments, (*found.warnings, *notes))


def decode_named(path: Path, over: Source | None = None) -> tuple[Decoded, Segments] | None:
    """Read a label file of a format that names labels, on its own grid; None for other formats.

    Parameters
    ----------
    path : Path
    over : Source, optional
        What the grid of a DICOM segmentation, which ends where its segments do, is extended to.

    Raises
    ------
    VolumeError
        If it cannot be read.
    """
    try:
        if not path.is_file() or path.suffix.lower() == ".npz" or is_nifti(path):
            return None
        if is_dicom(path):
            found = read_dicom_seg(path)
            found = found if over is None else extended(found, over)
        elif is_nrrd(path):
            found = read_text_label(path)
        else:
            return None
    except OSError as error:
        raise _unopened(path, error) from error
    warnings = found.warnings + (() if found.orientation_known else (LEFT_RIGHT_UNKNOWN,))
    decoded = Decoded(
        found.data,
        found.affine,
        "image",
        found.data.shape,
        warnings=warnings,
        frame_of_reference=found.frame_of_reference,
    )
    return decoded, found.segments


def _unopened(path: Path, error: OSError) -> VolumeError:
    return VolumeError(
        f"{path}: cannot be opened ({error.strerror or error}). Check that you may read it."
    )


def _decode(path: Path, source: Source) -> DecodedLabel:
    if is_nifti(path):
        decoded = read_nifti(path)
        known = LEFT_RIGHT_UNKNOWN not in decoded.warnings
        return DecodedLabel(decoded.data, decoded.affine, {}, known)
    if is_dicom(path):
        return read_dicom_seg(path, source.frame_of_reference)
    return read_text_label(path)
