"""Reads the .npz cases that training takes: damaged or contradictory ones are named."""

from __future__ import annotations

import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_medsamq.io.volume import Volume, read_volume
from training.errors import DataError
from training.evaluation.protocol import Case, read_reference

Label = npt.NDArray[np.unsignedinteger[Any]]

# The largest label id.
MAX_ID = np.iinfo(np.uint16).max


@contextmanager
def open_npz(path: Path) -> Iterator[Mapping[str, npt.NDArray[Any]]]:
    """Open an .npz file, whose arrays are read when they are asked for, inside the context.

    Raises
    ------
    DataError
        If the file is damaged, or lacks an array that is asked for.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            yield arrays
    except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.error, zlib.error) as error:
        raise DataError(
            f"{path}: cannot be read as .npz ({error}). Copy it or make it again."
        ) from error


def read_labelled(case: Case) -> tuple[Volume, Label]:
    """Read a case and its reference, label ids (z, y, x) uint8 or uint16.

    Raises
    ------
    DataError, VolumeError
        If the case cannot be read, its arrays do not fit each other, or nothing is labelled.
    """
    volume, label = read_volume(case.path), read_reference(case)
    if label.shape != volume.data.shape[:3]:
        raise DataError(
            f"{case.path}: `gts` has the shape {label.shape} and the image {volume.data.shape[:3]} "
            "(z, y, x); they must agree. Make the case again."
        )
    if label.min() < 0 or label.max() > MAX_ID:
        raise DataError(
            f"{case.path}: `gts` holds ids from {label.min()} to {label.max()}; they have to lie "
            f"in 0..{MAX_ID}. Make the case again."
        )
    if not label.any():
        raise DataError(
            f"{case.path}: `gts` labels no object, so there is nothing to learn from it. Remove "
            "the case, or the `gts` if it is to serve as an unlabelled image."
        )
    return volume, label.astype(np.uint8 if label.max() <= 255 else np.uint16)


def read_case(case: Case) -> tuple[Volume, Label | None]:
    """Read a case with its reference, or with None if it has none (no `gts`).

    Raises
    ------
    DataError, VolumeError
        As `read_labelled`.
    """
    with open_npz(case.path) as arrays:
        labelled = "gts" in arrays
    return read_labelled(case) if labelled else (read_volume(case.path), None)


@dataclass(eq=False)
class DecodedCases:
    """Cases as they were read, the latest ones kept in memory.

    Attributes
    ----------
    memory_mb : int
        What all of them may take; the latest one is kept in any case.
    """

    memory_mb: int
    _kept: OrderedDict[Path, tuple[Volume, Label | None]] = field(default_factory=OrderedDict)

    def read(self, case: Case) -> tuple[Volume, Label | None]:
        """Return a case's volume and its label, if it has one."""
        if case.path not in self._kept:
            self._kept[case.path] = read_case(case)
            while len(self._kept) > 1 and self._bytes() > self.memory_mb * 2**20:
                self._kept.popitem(last=False)
        self._kept.move_to_end(case.path)
        return self._kept[case.path]

    def __getstate__(self) -> dict[str, Any]:
        # Worker processes start with nothing in memory.
        return {"memory_mb": self.memory_mb, "_kept": OrderedDict()}

    def _bytes(self) -> int:
        return sum(
            volume.data.nbytes + (0 if label is None else label.nbytes)
            for volume, label in self._kept.values()
        )
