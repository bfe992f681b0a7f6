"""How well two masks agree: DSC, NSD and Hausdorff distance, for slices and for volumes.

Numpy and scipy only, so that whatever produced a mask can be scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
import numpy.typing as npt
import scipy

from napari_medsamq.array_types import Bool, Float64


def dsc(reference: Bool, mask: Bool) -> float:
    """Return the Dice similarity coefficient, twice the overlap by the sum of both sizes.

    Parameters
    ----------
    reference, mask : (H, W) or (D, H, W) bool
        Of one shape.

    Returns
    -------
    dsc : float
        From 0 to 1; 1 where both are empty, 0 where one is.

    Raises
    ------
    ValueError
        If the arrays are not bool, or their shapes differ.
    """
    _check(reference, mask)
    both = int(np.count_nonzero(reference)) + int(np.count_nonzero(mask))
    return 2 * int(np.count_nonzero(reference & mask)) / both if both else 1.0


def nsd(reference: Bool, mask: Bool, spacing_mm: Sequence[float], tolerance_mm: float) -> float:
    """Return the normalised surface Dice: the part of both surfaces that lies near the other one.

    Defined by Nikolov et al. (2018, arXiv 1809.04430) and computed as their published code does,
    which the MedSAM challenge uses as well: every point between 2 x 2 (x 2) voxels that are not all
    alike is an element of the surface, weighted by the length (area) of the piece of surface there;
    distances are taken between such points. The border of the array counts as a surface where the
    object touches it.

    An axis of length 1 is none: a 2D image, also as a volume of depth 1, is measured by its
    contour. The challenge's script makes plates of its 2D masks, whose faces are surface too, so
    that its numbers for 2D images are higher. What lies on one slice of a volume of several is
    measured there, in 3D as the published code does, faces included.

    Parameters
    ----------
    reference, mask : (H, W) or (D, H, W) bool
        Of one shape.
    spacing_mm : (2,) or (3,) float
        Size of a voxel along each axis, array order. Where it is unknown, ones: then the
        tolerance is in pixels.
    tolerance_mm : float
        Distance up to which surfaces agree.

    Returns
    -------
    nsd : float
        From 0 to 1; 1 where both are empty (for which the published code has no
        number, as they agree all the same), 0 where one is.

    Raises
    ------
    ValueError
        If the arrays are not bool, their shapes differ, they are not 2D or 3D, or the spacing does
        not fit.
    """
    return surface_distances(reference, mask, spacing_mm).within(tolerance_mm)


@dataclass(frozen=True, eq=False)
class SurfaceDistances:
    """How far the surfaces of two masks are apart, element by element; one pair for each way.

    Attributes
    ----------
    distances_mm : pair of (n,) float64
        From each element of one surface to the other surface; infinite where that is missing.
    sizes : pair of (n,) float64
        Length or area of the elements.
    """

    distances_mm: tuple[Float64, Float64]
    sizes: tuple[Float64, Float64]

    def within(self, tolerance_mm: float) -> float:
        """Return the normalised surface Dice at a tolerance; see `nsd`."""
        near = far = 0.0
        for distance, size in zip(self.distances_mm, self.sizes, strict=True):
            near += float(size[distance <= tolerance_mm].sum())
            far += float(size[distance > tolerance_mm].sum())
        return near / (near + far) if near + far else 1.0

    def hausdorff(self, percent: float = 95) -> float:
        """Return the distance in mm within which that much of either surface lies of the other.

        The larger one of both ways, elements weighted by their size, as in the code of Nikolov
        et al.; 0 where both masks are empty, infinite where one is.
        """
        return max(
            _percentile(distance, size, percent)
            for distance, size in zip(self.distances_mm, self.sizes, strict=True)
        )


def surface_distances(reference: Bool, mask: Bool, spacing_mm: Sequence[float]) -> SurfaceDistances:
    """Measure how far the surfaces of two masks are apart; parameters and errors as of `nsd`."""
    _check(reference, mask)
    spacing = tuple(float(size) for size in spacing_mm)
    if reference.ndim not in (2, 3) or len(spacing) != reference.ndim or min(spacing) <= 0:
        raise ValueError(
            f"surfaces are compared in 2D or 3D with one size above 0 for each axis, not in an "
            f"array of shape {reference.shape} with {spacing} mm"
        )
    # Of a single voxel one axis is left.
    axes = [n for n, size in enumerate(reference.shape) if size > 1] or [0]
    shape = [reference.shape[n] for n in axes]
    reference, mask = reference.reshape(shape), mask.reshape(shape)
    spacing = tuple(spacing[n] for n in axes)
    found = scipy.ndimage.find_objects((reference | mask).view(np.uint8))
    if not found:
        nothing: Float64 = np.zeros(0)
        return SurfaceDistances((nothing, nothing), (nothing, nothing))
    # No surface lies outside this box, so neither does any distance between them.
    box = found[0]
    first, second = _surface(reference[box], spacing), _surface(mask[box], spacing)
    return SurfaceDistances(
        (_distances(first, second, spacing), _distances(second, first, spacing)),
        (first[first > 0], second[second > 0]),
    )


def _distances(own: Float64, other: Float64, spacing: tuple[float, ...]) -> Float64:
    if not other.any():
        return np.full(int(np.count_nonzero(own)), np.inf)
    distances: Float64 = scipy.ndimage.distance_transform_edt(other == 0, sampling=spacing)[own > 0]
    return distances


def _percentile(distances: Float64, sizes: Float64, percent: float) -> float:
    """Return the distance that a share of the surface does not exceed."""
    if distances.size == 0:
        return 0.0
    # In the order, and with the sums, of the published code: shares are often met exactly, and then
    # the last digit tells which distance it is.
    order = np.lexsort((sizes, distances))
    reached = np.cumsum(sizes[order]) / np.sum(sizes[order])
    place = int(np.searchsorted(reached, percent / 100))
    return float(distances[order[min(place, len(order) - 1)]])


def _check(reference: Bool, mask: Bool) -> None:
    if reference.dtype != bool or mask.dtype != bool or reference.shape != mask.shape:
        raise ValueError(
            f"a mask and its reference are bool arrays of one shape, not {mask.dtype} of "
            f"{mask.shape} and {reference.dtype} of {reference.shape}"
        )


def _surface(mask: Bool, spacing: tuple[float, ...]) -> Float64:
    """Return the length or area of surface at each point between voxels, one more than voxels."""
    padded = np.pad(mask, 1).astype(np.uint8)
    code = np.zeros([size + 1 for size in mask.shape], np.uint8)
    for bit, corner in enumerate(product((0, 1), repeat=mask.ndim)):
        window = (slice(c, c + size) for c, size in zip(corner, code.shape, strict=True))
        code |= padded[tuple(window)] << np.uint8(bit)
    pieces: Float64 = _pieces(spacing)[code]
    return pieces


@lru_cache(maxsize=256)
def _pieces(spacing: tuple[float, ...]) -> Float64:
    """Return the surface (2 ** 2 ** axes,) float64 between the voxels of each neighbourhood.

    As marching squares and cubes (Lorensen and Cline 1987) put it: each group of connected voxels
    is cut off from the rest through the midpoints to its neighbours. Voxels that only touch across
    a diagonal are cut off each for themselves, and what is inside or outside makes no difference.
    """
    axes = len(spacing)
    corners = np.array(list(product((0, 1), repeat=axes)))
    pieces = np.zeros(2 ** len(corners))
    for code in range(1, len(pieces) - 1):
        inside = (code >> np.arange(len(corners)) & 1).astype(bool)
        if inside.sum() > len(corners) / 2:
            inside = ~inside
        groups, count = scipy.ndimage.label(inside.reshape((2,) * axes))
        for group in range(1, count + 1):
            members = groups.ravel() == group
            pieces[code] += _cut(corners[members], corners[~members], np.array(spacing))
    return pieces


def _cut(members: npt.NDArray[np.int_], others: npt.NDArray[np.int_], spacing: Float64) -> float:
    """Return length or area of the cut between some corners of a cell and the others; 1 in 1D."""
    midpoints = np.array(
        [(a + b) / 2 for a in members for b in others if np.abs(a - b).sum() == 1], np.float64
    )
    if len(spacing) == 1:
        return 1.0
    if len(spacing) == 2:
        return float(np.linalg.norm((midpoints[1] - midpoints[0]) * spacing))
    # The midpoints form one ring around the direction in which the cut looks.
    spokes = midpoints - midpoints.mean(axis=0)
    normal = midpoints.mean(axis=0) - members.mean(axis=0)
    across = np.cross(normal, spokes[0])
    angle = np.arctan2(spokes @ across, spokes @ np.cross(across, normal))
    ring = midpoints[np.argsort(angle)]
    # Where they do not lie in one plane, the published areas are those of triangles that all meet
    # in one midpoint: in a cube that which gives them the largest area, up to rounding.
    areas = np.round([_fan(np.roll(ring, -first, axis=0)) for first in range(len(ring))], 9)
    return _fan(np.roll(ring, -int(areas.argmax()), axis=0) * spacing)


def _fan(ring: Float64) -> float:
    """Return the area of the triangles between the first of some points (n, 3) and the others."""
    spokes = ring[1:] - ring[0]
    return float(np.linalg.norm(np.cross(spokes[:-1], spokes[1:]), axis=1).sum() / 2)
