"""Where grids of voxels lie to each other, and how a label comes from one onto another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import scipy

from napari_medsamq.array_types import Float64, Label
from napari_medsamq.errors import VolumeError
from napari_medsamq.geometry import Index3, grid_corners, voxel_ml, voxel_sizes

# In voxels, at the corners of a grid: what files round their geometry by is less.
_SAME_PLACE = 0.05
# In voxels: half way between two, rounding must not take now one, now the other.
HALF_WAY = 1e-3
# In mm: parts cut out of one scan do not lie farther from each other.
_WIDEST_GAP = 400.0
# Voxels that any two labels may be given room for, beyond twice those that their files have.
MOST_VOXELS = 1 << 28


@dataclass(frozen=True, eq=False)
class Grid:
    """Voxels in the patient.

    Attributes
    ----------
    name : str
        What messages call it.
    shape : (3,) int
    affine : (4, 4) float64
        From indices to LPS mm.
    known : bool
        Whether the file says how the patient lies in it.
    frame_of_reference : str
        UID, empty where there is none.
    template : bool
        Whether its space is that of a template (Talairach, MNI), not that of a scanner.
    """

    name: str
    shape: Index3
    affine: Float64
    known: bool = True
    frame_of_reference: str = ""
    template: bool = False

    @property
    def size(self) -> int:
        """How many voxels it has."""
        return int(np.prod(self.shape, dtype=object))

    @property
    def spacing(self) -> Float64:
        """Distance (3,) float64 between neighbouring voxels in mm."""
        return voxel_sizes(self.affine)

    def __str__(self) -> str:
        shape = " x ".join(map(str, self.shape))
        return f"{shape} voxels of {' x '.join(f'{size:.3g}' for size in self.spacing)} mm"

    def part(self, lower: npt.ArrayLike, upper: npt.ArrayLike) -> Grid:
        """Return the grid of its lattice from one voxel to another, both of which it has."""
        low, high = np.asarray(lower, int), np.asarray(upper, int)
        affine = self.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ low
        i, j, k = (high - low + 1).tolist()
        return replace(self, shape=(i, j, k), affine=affine)


def same_voxels(one: Grid, other: Grid) -> bool:
    """Tell whether the voxels of two grids lie in the same places, in the same order."""
    if _one_frame(one, other) is False or one.shape != other.shape:
        return False
    steps = _whole_steps(np.linalg.inv(other.affine) @ one.affine, one.shape)
    return steps is not None and np.array_equal(steps, np.eye(4))


def one_lattice(one: Grid, other: Grid) -> bool:
    """Tell whether two grids differ by nothing but order, direction and extent of their axes."""
    return _whole_steps(np.linalg.inv(other.affine) @ one.affine, one.shape) is not None


def has_no_place(ids: Label) -> bool:
    """Tell whether a label is empty and has no grid of its own: 3D Slicer then writes one voxel."""
    return ids.size == 1 and not ids.any()


def check_same_space(one: Grid, other: Grid) -> None:
    """Make sure that the places of two grids can be compared in mm, and are of one patient.

    Those of one frame of reference are, and so are parts of one lattice that lie near each other:
    3D Slicer cuts each label to what it encloses.

    Raises
    ------
    VolumeError
        If a file does not say how the patient lies in it, one lies in a template's space and the
        other in a scanner's, they are of different frames of reference, or they have no place in
        common without being known to be of one scan.
    """
    if _one_frame(one, other) is False:
        raise VolumeError(
            f"{one.name} belongs to another frame of reference ({one.frame_of_reference}) than "
            f"{other.name} ({other.frame_of_reference}); different frames of reference do not lie "
            "in the same physical space. Choose files of one scan, or bring both into one space "
            "first."
        )
    for grid in (one, other):
        if not grid.known:
            raise VolumeError(
                f"{grid.name}: does not say how the patient lies in it, and the grids of "
                f"{one.name} and {other.name} differ, so that they cannot be laid over each other. "
                "Give files of one grid, or export it again with its orientation."
            )
    if one.template != other.template:
        raise VolumeError(
            f"{one.name} and {other.name} do not lie in the same physical space: the header of one "
            "names a template (Talairach, MNI), that of the other does not. Bring both into one "
            "space first."
        )
    if _one_frame(one, other):
        return
    ends = [_corners(grid.shape, grid.affine)[:3] for grid in (one, other)]
    low = np.maximum(*(end.min(1) for end in ends))
    high = np.minimum(*(end.max(1) for end in ends))
    gap = float((low - high).max())
    if gap > (_WIDEST_GAP if one_lattice(one, other) else 0):
        raise VolumeError(
            f"{one.name} and {other.name} have no place of the patient in common, so that they do "
            "not lie in the same physical space. Check that both are of one patient and scan."
        )


def onto_grid(ids: Label, own: Grid, grid: Grid) -> tuple[Label, tuple[str, ...]]:
    """Bring a label onto another grid.

    Where the grids are the same but for order, direction or extent of the axes, voxels are copied;
    elsewhere each voxel of the grid takes the label of the voxel nearest to it.

    Parameters
    ----------
    ids : (i, j, k) uint16
    own, grid : Grid

    Returns
    -------
    label : (i, j, k) uint16
        On the grid.
    notes : tuple of str
        What the user should know about that.

    Raises
    ------
    VolumeError
        If the grids differ, and their places cannot be compared; see `check_same_space`.
    """
    if same_voxels(own, grid):
        return ids, ()
    label = np.zeros(grid.shape, np.uint16)
    if has_no_place(ids):
        return label, ()
    check_same_space(own, grid)
    to_label = np.linalg.inv(own.affine) @ grid.affine
    whole = _whole_steps(to_label, grid.shape)
    if whole is not None:
        _copy(ids, whole, label)
        outside = int(np.count_nonzero(ids)) - int(np.count_nonzero(label))
        return label, _left_out(outside, own)
    scipy.ndimage.affine_transform(
        ids,
        to_label[:3, :3],
        to_label[:3, 3] - HALF_WAY,
        grid.shape,
        label,
        order=0,
        mode="grid-constant",  # up to the edges of the outer voxels, not to their middles
    )
    said = (
        f"It lies on another grid ({own}) and was resampled: each voxel took the label nearest to "
        "it."
    )
    return label, (said, *_left_out(_outside(ids, to_label, grid.shape), own))


def finest(grids: Sequence[Grid]) -> Grid:
    """Return the grid with the smallest voxels, whatever the order they come in."""
    return min(grids, key=lambda grid: (np.prod(grid.spacing), grid.affine.ravel().tolist()))


def common_grid(one: Grid, other: Grid) -> Grid:
    """Return a grid that holds all of two others, the same one whichever comes first.

    It is of the lattice of the finer one; of the coarser one where that would take too much memory.

    Raises
    ------
    VolumeError
        If they lie so far apart that either would.
    """
    fine = finest((one, other))
    coarse = other if fine is one else one
    for base, added in ((fine, coarse), (coarse, fine)):
        found = extended(base, _edges(added))
        if found is not None and found.size <= max(2 * (one.size + other.size), MOST_VOXELS):
            return found
    raise VolumeError(
        f"{one.name} and {other.name} lie too far apart to be laid over each other: the grid that "
        f"holds both has more than {MOST_VOXELS:,} voxels. Check that both are of one patient and "
        "scan."
    )


def extended(grid: Grid, points: Float64) -> Grid | None:
    """Return a grid of the same lattice that also has all voxels whose middles lie among points.

    Parameters
    ----------
    grid : Grid
    points : (3, n) float64
        LPS mm.

    Returns
    -------
    grid : Grid or None
        None where no computer could hold it.
    """
    inverse = np.linalg.inv(grid.affine)
    places = inverse[:3, :3] @ points + inverse[:3, [3]]
    if not np.isfinite(places).all() or np.abs(places).max() > 1 << 30:
        return None
    lower = np.minimum(0, np.ceil(places.min(1) - _SAME_PLACE))
    upper = np.maximum(np.array(grid.shape) - 1, np.floor(places.max(1) + _SAME_PLACE))
    return grid.part(lower, upper)


def _edges(grid: Grid) -> Float64:
    """Return the outer corners (3, 8) of a grid, LPS mm."""
    ends = grid_corners([size + 1 for size in grid.shape]).T - 0.5
    places: Float64 = grid.affine[:3, :3] @ ends + grid.affine[:3, [3]]
    return places


def _whole_steps(to_label: Float64, shape: Index3) -> Float64 | None:
    """Return the way from one grid to another in whole voxels; None if they are no such grids.

    Parameters
    ----------
    to_label : (4, 4) float64
        From indices of the grid to those of the other one.
    shape : (3,) int
        Of the grid.
    """
    whole = np.rint(to_label)
    off = np.abs((to_label - whole) @ _corners(shape)).max()
    # Of a grid of one slice the corners do not tell how far the next one is.
    turn = np.abs(to_label[:3, :3] - whole[:3, :3]).max() < _SAME_PLACE
    found = turn and off < _SAME_PLACE and abs(np.linalg.det(whole[:3, :3])) == 1
    return whole if found else None


def _corners(shape: Index3, affine: npt.ArrayLike = np.eye(4)) -> Float64:  # noqa: B008
    """Return where the corner voxels (4, 8) of a grid lie, homogeneous."""
    corners = np.column_stack([grid_corners(shape), np.ones(8)])
    found: Float64 = np.asarray(affine, float) @ corners.T
    return found


def _one_frame(one: Grid, other: Grid) -> bool | None:
    """Tell whether two grids have one DICOM frame of reference; None if not both have any."""
    uids = one.frame_of_reference, other.frame_of_reference
    return uids[0] == uids[1] if all(uids) else None


def _copy(ids: Label, to_label: Float64, label: Label) -> None:
    """Copy a label into a grid (i, j, k) of its lattice, as far as that reaches.

    Parameters
    ----------
    ids : (i, j, k) uint16
    to_label : (4, 4) float64
        From indices of the grid to those of the label, in whole steps.
    label : (i, j, k) uint16
        On the grid, empty; is written to.
    """
    turn, offset = to_label[:3, :3].astype(int), to_label[:3, 3].astype(int)
    axes = np.abs(turn).argmax(0)  # of the label, for each of the grid
    turned = ids.transpose(axes)
    taken, given = [], []
    for axis, own in enumerate(axes.tolist()):
        size, backwards = turned.shape[axis], turn[own, axis] < 0
        if backwards:
            turned = np.flip(turned, axis)
        begin = int(offset[own]) - size + 1 if backwards else -int(offset[own])
        low, high = max(0, begin), min(label.shape[axis], begin + size)
        if low >= high:
            return
        given.append(slice(low, high))
        taken.append(slice(low - begin, high - begin))
    label[tuple(given)] = turned[tuple(taken)]


def _outside(ids: Label, to_label: Float64, shape: Index3) -> int:
    """Return how many labelled voxels have their middles outside a grid."""
    to_grid = np.linalg.inv(to_label)
    outside = 0
    for k in range(ids.shape[2]):  # a volume's places at once would take much memory
        i, j = np.nonzero(ids[..., k])
        places = np.rint(to_grid[:3] @ [i, j, np.full(i.size, k), np.ones(i.size)])
        beyond = (places < 0) | (places >= np.array(shape)[:, None])
        outside += int(np.count_nonzero(beyond.any(0)))
    return outside


def _left_out(outside: int, own: Grid) -> tuple[str, ...]:
    size = f"{outside * voxel_ml(own.spacing):.2f} mL"
    return (f"{outside:,} of its voxels ({size}) lie outside the image.",) if outside else ()
