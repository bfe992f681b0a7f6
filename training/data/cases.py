"""The .npz cases that are trained and scored on: damaged or contradictory ones are named."""

from __future__ import annotations

import hashlib
import io
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_medsamq.array_types import Float64, UInt8
from napari_medsamq.errors import VolumeError
from napari_medsamq.io.medsam_case import case_image, read_arrays
from training.errors import DataError
from training.files import write_file

Label = npt.NDArray[np.unsignedinteger[Any]]
Arrays = Mapping[str, npt.NDArray[Any]]

# The arrays of a case that are trained on.
ARRAYS = ("imgs", "gts", "spacing")
# The largest label id.
MAX_ID = np.iinfo(np.uint16).max


@dataclass(frozen=True)
class NpzCase:
    """An .npz file with `imgs` and `gts`, at DATA_DIR/<modality>/<data set>/<name>.npz.

    Attributes
    ----------
    path : Path
    modality, data_set, name : str
        `data_set` includes the modality, as in "MR/Heart".
    """

    path: Path
    modality: str
    data_set: str
    name: str


@dataclass(frozen=True, eq=False)
class CaseContent:
    """An image and its reference.

    Attributes
    ----------
    image : (z, y, x) or (z, y, x, 3) uint8
        A 2D image is one slice.
    label : (z, y, x) uint8 or uint16, or None
        Label ids; None where the case has no reference.
    spacing : (3,) float64
        In mm, 1 where the case does not say.
    """

    image: UInt8
    label: Label | None
    spacing: Float64

    @property
    def nbytes(self) -> int:
        """How much memory it takes."""
        return self.image.nbytes + (0 if self.label is None else self.label.nbytes)

    def slice(self, axis: int, index: int) -> tuple[UInt8, Label | None]:
        """Return the image and the label of a slice across an array axis."""
        label = None if self.label is None else np.moveaxis(self.label, axis, 0)[index]
        return np.moveaxis(self.image, axis, 0)[index], label


def seeded_rng(*key: object) -> np.random.Generator:
    """Return a generator that depends on the words of `key` alone, on every machine."""
    words = "\n".join(map(str, key)).encode()
    digest = hashlib.blake2b(words, digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))


def find_cases(data_dir: Path) -> list[NpzCase]:
    """Find the cases in a folder, by modality, data set and name.

    Raises
    ------
    VolumeError
        If there is none.
    """
    cases = [
        NpzCase(path, path.parts[-3], "/".join(path.parts[-3:-1]), path.stem)
        for path in data_dir.glob("*/*/*.npz")
    ]
    if not cases:
        raise VolumeError(
            f"{data_dir}: holds no case. Cases are expected at "
            f"{data_dir}/<modality>/<data set>/<case>.npz; give the folder of the modalities."
        )
    return sorted(cases, key=lambda case: (case.data_set, case.name))


def reference(case: NpzCase, arrays: Arrays, image_shape: tuple[int, ...] | None = None) -> Label:
    """Return the reference among the arrays of a case: label ids (z, y, x), one slice in 2D.

    Raises
    ------
    VolumeError
        If `gts` is no such label, or not of the image's shape (z, y, x), if that is given.
    """
    if "gts" not in arrays:
        raise VolumeError(f"{case.path}: has no array `gts`, its reference. Make the case again.")
    label = arrays["gts"]
    if label.dtype.kind not in "iu" or label.ndim not in (2, 3) or label.size == 0:
        raise VolumeError(
            f"{case.path}: `gts` is {label.dtype} of shape {label.shape}; whole numbers of (H, W) "
            "or (D, H, W) are needed. Make the case again."
        )
    label = label.reshape((1, 1, *label.shape)[-3:])
    if image_shape not in (None, label.shape):
        raise VolumeError(
            f"{case.path}: `gts` has the shape {label.shape} and the image {image_shape} "
            "(z, y, x); they must agree. Make the case again."
        )
    return label


def read_case(case: NpzCase) -> CaseContent:
    """Read a case with its reference, or without one if it has none (no `gts`).

    Raises
    ------
    DataError, VolumeError
        If the case cannot be read, its arrays do not fit each other, or nothing is labelled.
    """
    return case_content(case, read_arrays(case.path, *ARRAYS))


def write_case(path: Path, arrays: Arrays) -> None:
    """Write a case, whole or not at all.

    Raises
    ------
    SaveError
        If it cannot be written.
    """
    content = io.BytesIO()
    np.savez_compressed(content, **dict(arrays))  # type: ignore[arg-type]
    write_file(path, content.getvalue())


def case_content(case: NpzCase, arrays: Arrays) -> CaseContent:
    """Check the arrays of a case; errors are those of `read_case`."""
    image, spacing = case_image(case.path, arrays)
    if image.min() == image.max():
        raise DataError(
            f"{case.path}: every voxel has the value {image.min()}, so there is nothing to "
            "segment. Remove the case, or make it again."
        )
    label = None
    if "gts" in arrays:
        label = reference(case, arrays, image.shape[:3])
        if label.min() < 0 or label.max() > MAX_ID:
            raise DataError(
                f"{case.path}: `gts` holds ids from {label.min()} to {label.max()}; they have to "
                f"lie in 0..{MAX_ID}. Make the case again."
            )
        if not label.any():
            raise DataError(
                f"{case.path}: `gts` labels no object, so there is nothing to learn from it. "
                "Remove the case, or the `gts` if it is to serve as an unlabelled image."
            )
        label = label.astype(np.uint8 if label.max() <= 255 else np.uint16)
    return CaseContent(image, label, np.ones(3) if spacing is None else spacing)


class DecodedCases:
    """Cases as they were read, the latest ones kept in memory.

    Parameters
    ----------
    memory_mb : int
        What all of them may take; the latest one is kept in any case.
    """

    def __init__(self, memory_mb: int) -> None:
        self._memory_mb = memory_mb
        self._kept: OrderedDict[Path, CaseContent] = OrderedDict()

    def keep(self, case: NpzCase, content: CaseContent) -> None:
        """Keep a case that was read just now."""
        self._kept[case.path] = content
        most = self._memory_mb * 2**20
        while len(self._kept) > 1 and sum(own.nbytes for own in self._kept.values()) > most:
            self._kept.popitem(last=False)

    def read(self, case: NpzCase) -> CaseContent:
        """Return what a case holds."""
        if case.path not in self._kept:
            self.keep(case, read_case(case))
        self._kept.move_to_end(case.path)
        return self._kept[case.path]

    def __reduce__(self) -> tuple[type[DecodedCases], tuple[int]]:
        # Worker processes start with nothing in memory.
        return DecodedCases, (self._memory_mb,)
