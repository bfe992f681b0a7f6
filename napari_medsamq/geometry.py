"""Affine algebra, orientation letters and box prompts; numpy only.

World coordinates are LPS millimetres, as in DICOM and ITK: x grows towards the patient's Left, y
towards Posterior, z towards Superior. An affine (4, 4) maps indices, in the order of the axes they
index, to world coordinates; its columns follow those axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from math import floor, isfinite

import numpy as np
import numpy.typing as npt

from napari_medsamq.errors import PromptError

Float64 = npt.NDArray[np.float64]
Index3 = tuple[int, int, int]
Flips = tuple[bool, bool, bool]

PLANES = ("axial", "coronal", "sagittal")
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


@dataclass(frozen=True)
class BoxPrompt:
    """A box on one slice.

    Attributes
    ----------
    axis : int
        Array axis normal to the slice: 0 axial, 1 coronal, 2 sagittal.
    index : int
        Of the slice along that axis.
    x0, y0, x1, y1 : int
        Slice pixels, all inclusive; x counts columns and y rows, the two remaining array axes in
        their order being rows and columns.
    """

    axis: int
    index: int
    x0: int
    y0: int
    x1: int
    y1: int

    def __post_init__(self) -> None:
        if self.axis not in (0, 1, 2):
            raise ValueError(f"a box prompt lies across axis 0, 1 or 2, not {self.axis}")
        if self.index < 0 or not (0 <= self.x0 <= self.x1 and 0 <= self.y0 <= self.y1):
            raise ValueError(f"a box prompt needs 0 <= x0 <= x1, 0 <= y0 <= y1, index >= 0: {self}")

    @property
    def xyxy(self) -> Float64:
        """Corners (4,) float64: x0, y0, x1, y1 in slice pixels."""
        return np.array([self.x0, self.y0, self.x1, self.y1], np.float64)

    @classmethod
    def from_corners(
        cls,
        axis: int,
        index: int,
        corner_a: Sequence[float],
        corner_b: Sequence[float],
        shape: Sequence[int],
    ) -> BoxPrompt:
        """Make a box from two opposite corners as they were dragged.

        Parameters
        ----------
        axis, index : int
            Of the slice.
        corner_a, corner_b : (2,) float
            Row and column in slice pixels, whose centres are whole numbers; in any order.
        shape : (3,) int
            Of the volume, (z, y, x); a trailing colour axis is ignored.

        Raises
        ------
        PromptError
            If the box lies outside the slice, or covers fewer than 2 pixels either way.
        """
        size = list(shape[:3])
        count = size.pop(axis)
        if not 0 <= index < count:
            raise PromptError(
                f"The volume has the {PLANES[axis]} slices 0 to {count - 1}, not {index}. "
                "Draw the box on one of them."
            )
        spans = []
        for a, b, pixels in zip(corner_a, corner_b, size, strict=True):
            if not (isfinite(a) and isfinite(b)):
                raise ValueError(f"the corners of a box are numbers, not {corner_a}, {corner_b}")
            low, high = sorted((floor(a + 0.5), floor(b + 0.5)))
            if high < 0 or low >= pixels:
                raise PromptError(
                    f"The box lies outside the image, which has {size[0]} rows and {size[1]} "
                    "columns here. Draw it over the structure."
                )
            spans.append((max(low, 0), min(high, pixels - 1)))
        (y0, y1), (x0, x1) = spans
        if y1 - y0 < 1 or x1 - x0 < 1:
            raise PromptError(
                f"The box covers {y1 - y0 + 1} x {x1 - x0 + 1} pixels (rows x columns) of the "
                "image, at least 2 x 2 are needed. Drag from one corner of the structure to the "
                "opposite one."
            )
        return cls(axis, index, x0, y0, x1, y1)


@dataclass(frozen=True)
class BoxPrompt3D:
    """A box that is carried through a range of slices.

    Attributes
    ----------
    lower, upper : (3,) int
        First and last voxel of the box, (z, y, x), both inclusive.
    axis : int
        Array axis normal to the slices: 0 axial, 1 coronal, 2 sagittal.
    """

    lower: Index3
    upper: Index3
    axis: int = 0

    def __post_init__(self) -> None:
        pairs = list(zip(self.lower, self.upper, strict=True))
        if len(pairs) != 3 or any(not 0 <= low <= high for low, high in pairs):
            raise ValueError(f"a 3D box prompt needs 0 <= lower <= upper (z, y, x): {self}")
        if self.axis not in (0, 1, 2):
            raise ValueError(f"a box prompt lies across axis 0, 1 or 2, not {self.axis}")

    @property
    def slices(self) -> range:
        """The slices that the box crosses."""
        return range(self.lower[self.axis], self.upper[self.axis] + 1)

    @property
    def middle_slice(self) -> int:
        """The slice halfway, the lower of two; where LiteMedSAM's inference starts."""
        return self.slices[(len(self.slices) - 1) // 2]

    def slice_prompt(self, index: int) -> BoxPrompt:
        """Return the sides of the box as a prompt on one slice."""
        rows, columns = (other for other in (0, 1, 2) if other != self.axis)
        return BoxPrompt(
            self.axis,
            index,
            self.lower[columns],
            self.lower[rows],
            self.upper[columns],
            self.upper[rows],
        )

    def with_sides(self, box: BoxPrompt) -> BoxPrompt3D:
        """Return a 3D box through the same slices with the sides of a box on one of them."""
        lower, upper = [box.y0, box.x0], [box.y1, box.x1]
        lower.insert(self.axis, self.lower[self.axis])
        upper.insert(self.axis, self.upper[self.axis])
        return BoxPrompt3D(
            (lower[0], lower[1], lower[2]), (upper[0], upper[1], upper[2]), self.axis
        )


def box_between(lower: Index3, upper: Index3, axis: int = 0) -> BoxPrompt | BoxPrompt3D:
    """Make the box prompt that two voxels span.

    Parameters
    ----------
    lower, upper : (3,) int
        First and last voxel (z, y, x), both inclusive.
    axis : int
        Array axis along which a 3D box is carried.

    Returns
    -------
    box : BoxPrompt or BoxPrompt3D
        On one slice where the corners agree on one axis, else through a range of slices.

    Raises
    ------
    PromptError
        If the corners agree on more than one axis, so that the box has no area.
    """
    box = BoxPrompt3D(lower, upper, axis)
    flat = [a for a in (0, 1, 2) if lower[a] == upper[a]]
    if len(flat) > 1:
        raise PromptError(
            "The two corners of the box agree on more than one axis, so that it encloses nothing. "
            "Give corners that differ on two axes (a box on a slice) or on three (a 3D box)."
        )
    if not flat:
        return box
    return BoxPrompt3D(lower, upper, flat[0]).slice_prompt(lower[flat[0]])
