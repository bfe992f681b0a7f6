"""What a label file holds besides voxels, and how a label comes onto an image's grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_medsamq._source import Array, Source, nan_as_zero
from napari_medsamq.errors import VolumeError
from napari_medsamq.geometry import Float64, Index3, voxel_sizes
from napari_medsamq.palettes import OKABE_ITO

# In voxels, at the corners of the image: what files round their geometry by is less.
_SAME_GRID = 0.05

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
    def default(cls, label_id: int) -> Segment:
        """Return what a label is called and shown like that nobody has named."""
        return cls(f"Label {label_id}", OKABE_ITO[(label_id - 1) % len(OKABE_ITO)])

    @classmethod
    def of_rgb(cls, name: str, rgb: npt.ArrayLike) -> Segment:
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


class LabelFile(Protocol):
    """A label as a file of one format."""

    def write(self, file: BinaryIO) -> None:
        """Write it.

        Raises
        ------
        Unwritable
        """

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
        UID of a DICOM segmentation's, empty where there is none.
    warnings : tuple of str
        What the user should know about the file.
    """

    data: Array
    affine: Float64
    segments: Segments
    orientation_known: bool = True
    frame_of_reference: str = ""
    warnings: tuple[str, ...] = ()


def segments_of(array: npt.NDArray[np.unsignedinteger], segments: Segments) -> dict[int, Segment]:
    """Return the segment of each label id in an array, ascending, its name in one line."""
    found = {}
    for label_id in (np.flatnonzero(np.bincount(array.reshape(-1))[1:]) + 1).tolist():
        default = Segment.default(label_id)
        own = segments.get(label_id, default)
        found[label_id] = Segment.of_rgb(" ".join(own.name.split()) or default.name, own.rgb)
    return found


def drawn_segments(
    array: npt.NDArray[np.unsignedinteger], segments: Segments
) -> dict[int, Segment]:
    """Return `segments_of` a label for DICOM, which cannot hold an empty one.

    Raises
    ------
    Unwritable
        If it is empty.
    """
    found = segments_of(array, segments)
    if not found:
        raise Unwritable(
            "it has no voxels, and a DICOM file cannot hold nothing. Draw something first"
        )
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
    low, high, most = data.min(), data.max(), np.iinfo(np.uint16).max
    if low < 0 or high > most:
        raise VolumeError(
            f"{where}: holds {low:g} to {high:g}; label ids lie in 0..{most}. Check that this is "
            "the label and not the image."
        )
    return data.astype(np.uint16)


def checked_ids(path: Path, data: Array) -> npt.NDArray[np.uint16]:
    """Return `whole_ids` of a label that may neither be empty nor be an image.

    Raises
    ------
    VolumeError
        If they are none.
    """
    ids = whole_ids(str(path), data)
    count = np.count_nonzero(np.bincount(ids.reshape(-1))[1:])
    if not 0 < count <= _MOST_LABELS:
        problem = f"{count:,} different values, as an image does" if count else "no label at all"
        raise VolumeError(f"{path}: holds {problem}. Choose the file with the label.")
    return ids


def extended(found: DecodedLabel, over: Source) -> DecodedLabel:
    """Return a label with as much of nothing around it that its grid holds all of another one.

    One that has no place in common with that stays as it is, unless both are of one frame of
    reference.
    """
    places = (np.linalg.inv(found.affine) @ over.affine @ _corners(over.grid))[:3]
    one_frame = found.frame_of_reference and found.frame_of_reference == over.frame_of_reference
    apart = (places.max(1) < 0) | (places.min(1) > np.array(found.data.shape) - 1)
    if apart.any() and not one_frame:
        return found
    # Rounding errors of headers make no slice.
    low = np.maximum(0, -np.floor(places.min(1) + _SAME_GRID).astype(int))
    high = np.ceil(places.max(1) - _SAME_GRID).astype(int) - np.array(found.data.shape) + 1
    affine = found.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ low
    around = list(zip(low.tolist(), np.maximum(0, high).tolist(), strict=True))
    return replace(found, data=np.pad(found.data, around), affine=affine)


def onto_grid(
    where: str, ids: npt.NDArray[np.uint16], affine: Float64, known: bool, source: Source
) -> tuple[npt.NDArray[np.uint16], tuple[str, ...]]:
    """Bring a label onto the grid of an image.

    Where the grids are the same but for order, direction or extent of the axes, voxels are copied;
    elsewhere each voxel of the image takes the label of the voxel nearest to it.

    Parameters
    ----------
    where : str
        What errors name.
    ids : (i, j, k) uint16
    affine : (4, 4) float64
        From there to LPS mm.
    known : bool
        Whether the file says how the patient lies in it.
    source : Source

    Returns
    -------
    label : (i, j, k) uint16
        On the image's grid.
    notes : tuple of str
        What the user should know about that.

    Raises
    ------
    VolumeError
        If the file does not say where it lies, and its grid is not the image's.
    """
    to_label = np.linalg.inv(affine) @ source.affine
    whole = whole_steps(to_label, source.grid)
    to_label = to_label if whole is None else whole
    if ids.shape == source.grid and np.array_equal(to_label, np.eye(4)):
        return ids, ()
    if not known:
        raise VolumeError(
            f"{where}: does not say how the patient lies in it, and its grid is not the image's. "
            "Export it with its orientation."
        )
    label = np.zeros(source.grid, np.uint16)
    ndimage.affine_transform(
        ids,
        to_label[:3, :3],
        to_label[:3, 3],
        source.grid,
        label,
        order=0,
        mode="grid-constant",  # up to the edges of the outer voxels, not to their middles
    )
    sizes = voxel_sizes(affine)
    notes = _left_out(ids, to_label, source, float(np.prod(sizes)) / 1000)
    if whole is None:
        grid = " x ".join(map(str, ids.shape))
        spacing = " x ".join(f"{size:.3g}" for size in sizes)
        said = (
            f"It lies on another grid ({grid} voxels of {spacing} mm) and was resampled: each "
            "voxel took the label nearest to it."
        )
        return label, (said, *notes)
    return label, notes


def whole_steps(to_label: Float64, grid: Index3) -> Float64 | None:
    """Return the way from one grid to another in whole voxels; None if they are no such grids.

    Parameters
    ----------
    to_label : (4, 4) float64
        From indices of the grid to those of the other one.
    grid : (3,) int
    """
    whole = np.rint(to_label)
    off = np.abs((to_label - whole) @ _corners(grid)).max()
    # Of a grid of one slice the corners do not tell how far the next one is.
    turn = np.abs(to_label[:3, :3] - whole[:3, :3]).max() < _SAME_GRID
    one_lattice = turn and off < _SAME_GRID and abs(np.linalg.det(whole[:3, :3])) == 1
    return whole if one_lattice else None


def _corners(grid: Index3) -> Float64:
    """Return the corner voxels (4, 8) of a grid, homogeneous."""
    ends = product(*((0.0, size - 1.0) for size in grid))
    return np.array([[*corner, 1.0] for corner in ends]).T


def _left_out(ids: Array, to_label: Float64, source: Source, voxel_ml: float) -> tuple[str, ...]:
    to_image = np.linalg.inv(to_label)
    outside = 0
    for k in range(ids.shape[2]):  # a volume's places at once would take much memory
        i, j = np.nonzero(ids[..., k])
        places = np.rint(to_image[:3] @ [i, j, np.full(i.size, k), np.ones(i.size)])
        beyond = (places < 0) | (places >= np.array(source.grid)[:, None])
        outside += int(np.count_nonzero(beyond.any(0)))
    size = f"{outside * voxel_ml:.2f} mL"
    return (f"{outside:,} of its voxels ({size}) lie outside the image.",) if outside else ()
