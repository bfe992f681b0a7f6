"""What a label file holds: label ids, and how they are called and shown."""

from __future__ import annotations

import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np
import numpy.typing as npt

from napari_medsamq.array_types import Float64
from napari_medsamq.errors import VolumeError
from napari_medsamq.io.source import Array, Source, nan_as_zero
from napari_medsamq.palettes import OKABE_ITO

MAX_LABEL_ID = int(np.iinfo(np.uint16).max)
# No one tells so many structures apart: it is an image then.
_MOST_LABELS = 500


@dataclass(frozen=True)
class Segment:
    """How a label is called and shown.

    Attributes
    ----------
    name : str
    color : str
        #RRGGBB.
    """

    name: str
    color: str

    @classmethod
    def default(cls, label_id: int, palette: Sequence[str] = OKABE_ITO) -> Self:
        """Return what a label is called and shown like that nobody has named."""
        return cls(f"Label {label_id}", palette[(label_id - 1) % len(palette)])

    @classmethod
    def of_rgb(cls, name: str, rgb: npt.ArrayLike) -> Self:
        """Make a segment of a name and three values 0..255."""
        red, green, blue = np.clip(np.rint(np.asarray(rgb, float)), 0, 255).astype(int).tolist()
        return cls(name, f"#{red:02X}{green:02X}{blue:02X}")

    @property
    def rgb(self) -> tuple[int, int, int]:
        """The colour as three values 0..255."""
        red, green, blue = bytes.fromhex(self.color[1:7])
        return red, green, blue


Segments = Mapping[int, Segment]


class Unwritable(Exception):  # noqa: N818 (caught where the file's name is known)
    """Why a format cannot hold a label, and what to do."""


class Mismatch(Exception):  # noqa: N818 (likewise)
    """How what was read back differs from what was written."""


class EncodedLabel(ABC):
    """A label as a file of one format.

    Parameters
    ----------
    array : array of uint8 or uint16
        Of the source's shape.
    source : Source
    segments : Segments
        Of any label ids.

    Raises
    ------
    Unwritable
    """

    def __init__(
        self, array: npt.NDArray[np.unsignedinteger], source: Source, segments: Segments
    ) -> None:
        self._array = array.reshape(source.grid)  # three axes, also for a picture
        self._source = source
        self._given = segments

    @cached_property
    def _segments(self) -> dict[int, Segment]:
        """That of each label id with voxels."""
        return segments_of(self._array, self._given)

    @abstractmethod
    def write(self, file: BinaryIO) -> None:
        """Write it.

        Raises
        ------
        Unwritable
        """

    @abstractmethod
    def verify(self, path: Path) -> None:
        """Read a file back, and compare it with what was to be written.

        Raises
        ------
        Mismatch
        """


@dataclass(frozen=True, eq=False)
class DecodedLabel:
    """A label file's content on its own grid.

    Attributes
    ----------
    data : (i, j, k) array
        Label ids.
    affine : (4, 4) float64
        From (i, j, k) to LPS mm.
    segments : mapping of int to Segment
        By label id, as far as the file names them.
    orientation_known : bool
        Whether the file says how the patient lies in it.
    frame_of_reference : str
        UID of a DICOM file's, empty where there is none.
    notes : tuple of str
        What the user should know about how the voxels came about.
    """

    data: Array
    affine: Float64
    segments: Segments
    orientation_known: bool = True
    frame_of_reference: str = ""
    notes: tuple[str, ...] = ()


def one_line(text: str) -> str:
    """Return a name in one line, without characters that formats cannot hold."""
    # Controls, halves of characters, and what ends a line elsewhere.
    plain = (" " if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") else c for c in text)
    return " ".join("".join(plain).split())


def given_segments(given: Iterable[tuple[int, str, str]]) -> dict[int, Segment]:
    """Return the segments of ids, names and colours that a file gives, without those of no name.

    What is no colour (#RRGGBB) is the usual one of its id.
    """
    found = {}
    for label_id, text, color in given:
        name = one_line(text)
        if 0 < label_id <= MAX_LABEL_ID and name:
            known = re.fullmatch("#[0-9A-Fa-f]{6}", color)
            found[label_id] = Segment(name, color if known else Segment.default(label_id).color)
    return found


def voxel_counts(label: npt.NDArray[np.integer]) -> dict[int, int]:
    """Return how many voxels the label ids other than 0 have, of those that have any, ascending."""
    counts = np.zeros(int(label.max(initial=0)) + 1, np.int64)
    for plane in label if label.ndim > 2 else label[None]:  # a whole volume would be copied
        if plane.any():  # most are empty, which is seen in less time
            counts += np.bincount(plane.reshape(-1), minlength=counts.size)
    return {label_id: n for label_id, n in enumerate(counts.tolist()) if label_id and n}


def used_ids(label: npt.NDArray[np.integer]) -> list[int]:
    """Return the ids other than 0 that a label has, in ascending order."""
    return list(voxel_counts(label))


def segments_of(array: npt.NDArray[np.unsignedinteger], segments: Segments) -> dict[int, Segment]:
    """Return the segment of each label id in an array, ascending, its name in one line."""
    found = {}
    for label_id in used_ids(array):
        default = Segment.default(label_id)
        own = segments.get(label_id, default)
        found[label_id] = Segment.of_rgb(one_line(own.name) or default.name, own.rgb)
    return found


def whole_ids(where: str, data: Array) -> npt.NDArray[np.uint16]:
    """Return the values of a file's array (three axes) as label ids; NaN is 0.

    Raises
    ------
    VolumeError
        If they are none.
    """
    if data.ndim != 3:
        raise VolumeError(f"{where}: holds colours, a label has one whole number for each voxel.")
    data = nan_as_zero(data)
    if data.dtype.kind == "f" and not np.array_equal(data, np.rint(data)):
        raise VolumeError(
            f"{where}: holds fractions, a label has whole numbers. Give the label itself, not a "
            "probability map or a resampled one."
        )
    low, high = data.min(), data.max()
    if low < 0 or high > MAX_LABEL_ID:
        raise VolumeError(
            f"{where}: holds {low:g} to {high:g}; label ids lie in 0..{MAX_LABEL_ID}. Check that "
            "this is the label and not the image."
        )
    return data.astype(np.uint16)


def check_labelled(path: Path, ids: npt.NDArray[np.uint16]) -> None:
    """Refuse a label that is empty, or rather an image.

    Raises
    ------
    VolumeError
    """
    count = len(used_ids(ids))
    if not 0 < count <= _MOST_LABELS:
        problem = f"{count:,} different values, as an image does" if count else "no label at all"
        raise VolumeError(f"{path}: holds {problem}. Choose the file with the label.")
