"""Label files of any origin: ids, names where the file carries them, and other grids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_medsamq.io.label_grid import Ids
from napari_medsamq.io.segments import Segment
from napari_medsamq.io.volume import (
    Grid,
    Volume,
    check_common_place,
    common_grid,
    finest,
    has_contours,
    has_no_place,
    one_lattice,
    onto_grid,
    read_label_volume,
    same_voxels,
    whole_ids,
)
from napari_medsamq.io.volume import check_same_space as _check_same_space


@dataclass(frozen=True, eq=False)
class LabelFile:
    """A label that was read from a file.

    Attributes
    ----------
    label : (z, y, x) uint16
    volume : Volume
        Where it lies.
    styles : mapping of int to Segment
        Names and colours, of the ids that the file or the one beside it names.
    notes : tuple of str
        What the user should know about how the voxels came about.
    """

    label: Ids
    volume: Volume
    styles: Mapping[int, Segment]
    notes: tuple[str, ...] = ()

    @property
    def ids(self) -> list[int]:
        """The label ids that have voxels, in ascending order."""
        return used_ids(self.label)

    @property
    def has_contours(self) -> bool:
        """Whether its file holds contours, so that its grid is only one that they were drawn on."""
        return self.volume.path is not None and has_contours(self.volume.path)

    def style(self, label_id: int) -> Segment:
        """Return name and colour of a label id; those of new labels where the file has none."""
        return self.styles.get(label_id) or Segment.default(label_id)

    def laid_on(self, image: Volume) -> LabelFile:
        """Return it as it lies on an image; as it is where its file says that itself.

        Contours are drawn on the image's slices; see also `Volume.laid_on`.

        Raises
        ------
        VolumeError
            If the file cannot be read any more, or its contours lie elsewhere.
        """
        path = self.volume.path
        if path is not None and has_contours(path):
            return read_label_file(path, image)
        return _placed(self, image)


def read_label_file(path: Path, like: Volume | None = None) -> LabelFile:
    """Read a label of any format; see `read_label_volume`. It may be empty.

    Parameters
    ----------
    path : Path
    like : Volume, optional
        On whose slices contours are drawn.

    Raises
    ------
    VolumeError
        If it cannot be read, or its values are no label ids.
    """
    volume, segments, notes = read_label_volume(path, like)
    ids = whole_ids(str(path), volume.data)
    # Formats that cannot do without a name have the usual one where nobody has given any.
    given = {key: own for key, own in segments.items() if own != Segment.default(key)}
    return LabelFile(ids, volume, given, notes)


def used_ids(label: npt.NDArray[Any]) -> list[int]:
    """Return the ids other than 0 that a label has, in ascending order."""
    counts = np.bincount(label.reshape(-1), minlength=1)
    return [int(label_id) for label_id in np.flatnonzero(counts) if label_id]


def same_grid(one: Volume, other: Volume) -> bool:
    """Tell whether the voxels of two volumes lie in the same places."""
    return same_voxels(_in_order(one), _in_order(other))


def same_lattice(one: Volume, other: Volume) -> bool:
    """Tell whether two grids differ by nothing but order, direction and extent of their axes."""
    return one_lattice(one.grid, other.grid)


def check_same_space(one: Volume, other: Volume) -> None:
    """Make sure that the places of two volumes can be compared in mm, and are of one patient.

    Raises
    ------
    VolumeError
        If a file does not say how the patient lies in it, one lies in a template's space and the
        other in a scanner's, they are of different frames of reference, or they have no place in
        common without being known to be of one scan.
    """
    _check_same_space(one.grid, other.grid)
    check_common_place(one.grid, other.grid)


def bring_onto(label: LabelFile, grid: Volume) -> tuple[Ids, str]:
    """Bring a label onto the grid of another volume, by nearest neighbours where it has its own.

    Parameters
    ----------
    label : LabelFile
    grid : Volume

    Returns
    -------
    label : (z, y, x) uint16
    said : str
        What the user should know of it; empty where both have one grid.

    Raises
    ------
    VolumeError
        If the grids differ and do not lie in the same physical space.
    """
    label = _placed(label, grid)
    _check(label, grid)
    return _moved(label, _in_order(grid))


@dataclass(frozen=True, eq=False)
class Pair:
    """Two labels on one grid that holds all of both.

    Attributes
    ----------
    a, b : (z, y, x) uint16
    spacing : (3,) float
        In mm, array order.
    said : str
        What the user should know of how they came there; empty for nothing.
    """

    a: Ids
    b: Ids
    spacing: list[float]
    said: str


def pair_of(a: LabelFile, b: LabelFile) -> Pair:
    """Bring two labels onto one grid that holds all of both, whichever comes first.

    It is of the lattice of the finer one; contours are drawn on that of the other one.

    Raises
    ------
    VolumeError
        If they do not lie in the same physical space, or too far apart.
    """
    placed = [own for own in (a, b) if not has_no_place(own.label)] or [a]
    if len(placed) == 2:
        drawn = [own.has_contours for own in placed]
        wanted = finest([_in_order(own.volume) for own in placed])
        base = placed[drawn.index(False)] if drawn[0] != drawn[1] else None
        if drawn[0] and drawn[1]:
            base = next(own for own in placed if same_voxels(_in_order(own.volume), wanted))
        if base is not None:
            a, b = (own if own is base else own.laid_on(base.volume) for own in (a, b))
        a = _placed(a, b.volume)
        _check(a, b.volume)
        grid = common_grid(_in_order(a.volume), _in_order(b.volume))
    else:
        grid = _in_order(placed[0].volume)
    (one, of_a), (two, of_b) = _moved(a, grid), _moved(b, grid)
    return Pair(one, two, grid.spacing.tolist(), " ".join(filter(None, (of_a, of_b))))


def _placed(label: LabelFile, image: Volume) -> LabelFile:
    volume = label.volume.laid_on(image)
    if volume is label.volume:
        return label
    in_file = label.volume.to_source(label.label)
    return replace(label, label=np.ascontiguousarray(volume.from_source(in_file)), volume=volume)


def _check(label: LabelFile, grid: Volume) -> None:
    if not has_no_place(label.label) and not same_grid(label.volume, grid):
        check_same_space(label.volume, grid)


def _moved(label: LabelFile, grid: Grid) -> tuple[Ids, str]:
    volume, moved, notes = label.volume, label.label, label.notes
    if not same_voxels(_in_order(volume), grid):
        # In the file's own order, as what is said of its grid is read beside other programs.
        ids = volume.to_source(label.label).reshape(volume.source.grid)
        moved, more = onto_grid(ids, volume.grid, grid)
        notes += more
    return np.ascontiguousarray(moved), f"{volume.name}: {' '.join(notes)}" if notes else ""


def _in_order(volume: Volume) -> Grid:
    """Return the grid of a volume with its axes in array order (z, y, x)."""
    z, y, x = volume.data.shape[:3]
    return replace(volume.grid, shape=(z, y, x), affine=volume.affine)
