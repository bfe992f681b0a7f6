"""Affine algebra and orientation letters; numpy only.

World coordinates are LPS millimetres, as in DICOM and ITK: x grows towards the patient's Left, y
towards Posterior, z towards Superior. An affine (4, 4) maps indices, in the order of the axes they
index, to world coordinates; its columns follow those axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import numpy as np
import numpy.typing as npt

from napari_medsamq.array_types import Bool, Float64, Voxels

Index3 = tuple[int, int, int]
Flips = tuple[bool, bool, bool]

PLANE_NAMES = ("axial", "coronal", "sagittal")
_LETTERS = ("RL", "AP", "IS")


def voxel_sizes(affine: npt.ArrayLike) -> Float64:
    """Return the distance between neighbouring voxels along each axis.

    Parameters
    ----------
    affine : (4, 4) float

    Returns
    -------
    spacing : (3,) float64, mm

    Examples
    --------
    >>> voxel_sizes(np.diag([3.0, -0.5, 2.0, 1.0])).tolist()
    [3.0, 0.5, 2.0]
    """
    matrix = np.asarray(affine, np.float64)[:3, :3]
    sizes: Float64 = np.linalg.norm(matrix, axis=0)
    return sizes


def directions(affine: npt.ArrayLike) -> Float64:
    """Return the unit vectors (3, 3) float64 of the axes, as columns in world coordinates.

    Raises
    ------
    ValueError
        If an axis has no length.
    """
    sizes = voxel_sizes(affine)
    if not (np.isfinite(sizes).all() and (sizes > 0).all()):
        raise ValueError(f"an affine needs three axes of positive length, not {sizes.tolist()} mm")
    return np.asarray(affine, np.float64)[:3, :3] / sizes


def lps_orientation(affine: npt.ArrayLike) -> tuple[Index3, Flips]:
    """Find the permutation and flips that bring a grid nearest to (z, y, x) in LPS.

    Parameters
    ----------
    affine : (4, 4) float
        From file indices (i, j, k) to LPS mm.

    Returns
    -------
    axes : (3,) int
        `axes[a]` is the file axis that becomes array axis a: 0 towards S, 1 towards P, 2 towards L.
    flips : (3,) bool
        Whether array axis a runs against that file axis.

    Examples
    --------
    An axial file whose rows run towards the right and columns towards the front:

    >>> lps_orientation(np.diag([-1.0, -1.0, 3.0, 1.0]))
    ((2, 1, 0), (False, True, True))
    """
    cosines = directions(affine)

    def closeness(order: tuple[int, ...]) -> float:
        # Rounded, so that a grid at 45 degrees is not decided by the last bit of a float.
        return round(sum(abs(float(cosines[world, order[world]])) for world in range(3)), 6)

    x_axis, y_axis, z_axis = max(permutations(range(3)), key=closeness)
    return (z_axis, y_axis, x_axis), (
        bool(cosines[2, z_axis] < 0),
        bool(cosines[1, y_axis] < 0),
        bool(cosines[0, x_axis] < 0),
    )


def reorient_affine(
    affine: npt.ArrayLike, shape: Sequence[int], axes: Index3, flips: Flips
) -> Float64:
    """Return the affine (4, 4) float64 of a grid after its axes were permuted and flipped.

    Parameters
    ----------
    affine : (4, 4) float
        From file indices (i, j, k) to mm.
    shape : (3,) int
        Voxels along i, j, k.
    axes, flips
        As `lps_orientation` returns them.
    """
    to_file = np.zeros((4, 4))
    to_file[3, 3] = 1
    for array_axis, (file_axis, flip) in enumerate(zip(axes, flips, strict=True)):
        to_file[file_axis, array_axis] = -1 if flip else 1
        to_file[file_axis, 3] = shape[file_axis] - 1 if flip else 0
    return np.asarray(affine, np.float64) @ to_file


def axis_codes(affine: npt.ArrayLike) -> tuple[str, str, str]:
    """Return the letters towards which the axes increase: R/L, A/P, I/S.

    Examples
    --------
    >>> axis_codes([[0, 0, 0.7, 0], [0, 0.7, 0, 0], [3, 0, 0, 0], [0, 0, 0, 1]])
    ('S', 'P', 'L')
    """
    axes, flips = lps_orientation(affine)
    letters = ["", "", ""]
    for world, (axis, flip) in enumerate(zip(axes[::-1], flips[::-1], strict=True)):
        letters[axis] = _LETTERS[world][0 if flip else 1]
    return letters[0], letters[1], letters[2]


def obliquity(affine: npt.ArrayLike) -> float:
    """Return the largest angle between an axis and the patient axis it is named after, degrees.

    Examples
    --------
    >>> obliquity(np.eye(4))
    0.0
    """
    cosines = directions(affine)
    axes, _ = lps_orientation(affine)
    angles = []
    for world, axis in enumerate(axes[::-1]):
        across = np.delete(cosines[:, axis], world)
        # arctan2 keeps small angles that arccos would lose.
        angles.append(np.arctan2(np.linalg.norm(across), abs(cosines[world, axis])))
    return float(np.degrees(max(angles)))


def is_oblique(affine: npt.ArrayLike, tolerance_deg: float = 1.0) -> bool:
    """Tell whether the slices are tilted against the patient axes by more than the tolerance."""
    return obliquity(affine) > tolerance_deg


def has_shear(affine: npt.ArrayLike, tolerance_deg: float = 0.5) -> bool:
    """Tell whether two axes stray from a right angle by more than the tolerance."""
    cosines = directions(affine)
    off_diagonal = (cosines.T @ cosines)[np.triu_indices(3, 1)]
    return bool(np.abs(off_diagonal).max() > np.sin(np.radians(tolerance_deg)))


def slice_voxels(mask: Bool, shape: tuple[int, ...], axis: int, index: int) -> Voxels:
    """Return the pixels of a slice's mask (H, W) bool as flat indices (n,) int64 into a label.

    Parameters
    ----------
    mask : (H, W) bool
    shape : (3,) int
        Of the label.
    axis, index : int
        Array axis normal to the slice, and the slice's index on it.
    """
    place: list[Voxels] = list(np.nonzero(mask))
    place.insert(axis, np.full(place[0].size, index))
    return np.ravel_multi_index(tuple(place), shape)


def slice_mask(voxels: Voxels, shape: tuple[int, ...], axis: int, index: int) -> Bool:
    """Return which pixels (H, W) bool of a slice voxels (flat indices) are; see `slice_voxels`."""
    place = list(np.unravel_index(voxels, shape))
    on_slice = place.pop(axis) == index
    mask = np.zeros(np.delete(shape, axis), bool)
    mask[place[0][on_slice], place[1][on_slice]] = True
    return mask


def grid_corners(shape: Sequence[int]) -> Float64:
    """Return the corner voxels (2 ** n, n) float64 of a grid of n axes, as indices."""
    ends: Float64 = np.array([*np.ndindex(*[2] * len(shape))]) * (np.array(shape, np.float64) - 1)
    return ends


def voxel_ml(spacing: npt.ArrayLike) -> float:
    """Return the volume of a voxel in mL, from its sizes (3,) in mm."""
    return float(np.prod(np.asarray(spacing, np.float64))) / 1000
