"""Image files to read and to label, shared by the tests of `io`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from napari_medsamq.io.volume import Volume, read_volume

SHAPE = (4, 5, 6)
COUNTING = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
RAS = np.diag([-1.0, -1, 1, 1])


def write_nifti(
    path: Path,
    data: np.ndarray = COUNTING,
    affine_lps: np.ndarray | None = None,
    codes: tuple[int, int] = (1, 1),
) -> Path:
    """Write a NIfTI image with (qform, sform) codes and texts that a label must not inherit."""
    affine = RAS @ (np.eye(4) if affine_lps is None else affine_lps)
    image = nib.Nifti1Image(data, affine)
    image.set_qform(affine, code=codes[0])
    image.set_sform(affine, code=codes[1])
    image.header["cal_max"] = 400
    image.header["descrip"] = b"an image"
    image.header["aux_file"] = b"someone's name"
    nib.save(image, path)
    return path


def volume_of(path: Path, **changes: Any) -> Volume:
    return read_volume(write_nifti(path, affine_lps=np.diag([0.5, 0.7, 3, 1]), **changes))


def label_at(volume: Volume, *indices: tuple[int, ...]) -> np.ndarray:
    """Label (z, y, x) with id n at the n-th index, counted from 1."""
    label = np.zeros(volume.data.shape[:3], np.uint16)
    for label_id, index in enumerate(indices, start=1):
        label[index] = label_id
    return label


def index_of(data: np.ndarray, value: float) -> np.ndarray:
    (place,) = np.argwhere(data == value)
    return place


def world(affine: np.ndarray, index: np.ndarray | tuple[int, ...]) -> np.ndarray:
    return (affine @ [*index, 1])[:3]


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
