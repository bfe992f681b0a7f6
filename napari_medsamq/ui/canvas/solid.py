"""Structures as shaded solids: their surface as points, seen from any side. Arrays alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import scipy

from napari_medsamq.annotation.history import LabelPart
from napari_medsamq.array_types import Float32, Float64, UInt8

# From the front with the head up: rows of the array axes (z, y, x) that lead to the right, down and
# away on the picture.
FRONT: Float64 = np.array([[0.0, 0, 1], [-1, 0, 0], [0, 1, 0]])
# Of the shading: from above and from the left, as in atlases; and how dark a side can be.
_LIGHT = np.array([-0.35, -0.5, -0.8]) / np.linalg.norm([0.35, 0.5, 0.8])
_DARKEST = 0.35
# How smooth the surface looks, in steps of the grid.
_SMOOTH = 1.2


@dataclass(frozen=True)
class Solid:
    """The surface of structures.

    Attributes
    ----------
    places : (n, 3) float32
        In mm along the array axes.
    normals : (n, 3) float32
        Unit vectors that lead out.
    ids : (n,) int64
        Of their labels.
    middle : (3,) float64
        Of the box around them, in mm.
    radius : float
        Of the ball around that box, in mm.
    step : float
        Between neighbouring points, in mm.
    """

    places: Float32
    normals: Float32
    ids: npt.NDArray[np.int64]
    middle: Float64
    radius: float
    step: float


def build_solid(
    parts: Mapping[int, LabelPart], spacing: tuple[float, float, float], finest: int = 128
) -> Solid | None:
    """Find the surface of structures on a grid that is as fine along all axes.

    Parameters
    ----------
    parts : mapping of int to LabelPart
        By label id.
    spacing : (3,) float
    finest : int
        Steps along the longest side.

    Returns
    -------
    solid : Solid or None
        None where there is nothing.
    """
    if not parts:
        return None
    size = np.array(spacing)
    boxes = np.array(
        [[[own.start, own.stop] for own in part.place] for part in parts.values()]
    )  # (n, 3, 2)
    low = (boxes[..., 0].min(axis=0) - 0.5) * size
    high = (boxes[..., 1].max(axis=0) - 0.5) * size
    step = float(max((high - low).max() / finest, size.min() / 2))
    # A step is left free around, so that the surface is closed.
    ticks = [
        np.arange(start - step / 2, stop + 2 * step, step)
        for start, stop in zip(low, high, strict=True)
    ]
    ids = np.zeros([len(own) for own in ticks], np.int64)
    for label_id, part in parts.items():
        inside, voxels = [], []
        for axis, place in enumerate(part.place):
            index = np.rint(ticks[axis] / size[axis]).astype(int) - place.start
            known = (index >= 0) & (index < place.stop - place.start)
            inside.append(np.flatnonzero(known))
            voxels.append(index[known])
        found = part.mask[np.ix_(*voxels)]
        block = ids[np.ix_(*inside)]
        ids[np.ix_(*inside)] = np.where(found, label_id, block)
    filled = ids > 0
    surface = np.nonzero(filled & ~scipy.ndimage.binary_erosion(filled))
    # Where slices are thick, their steps are smoothed too.
    width = _SMOOTH * np.maximum(1, size / step / 2)
    blur = scipy.ndimage.gaussian_filter(filled.astype(np.float32), width)
    slopes = np.stack([np.gradient(blur, axis=axis)[surface] for axis in range(3)], 1)
    normals = -slopes / np.maximum(np.linalg.norm(slopes, axis=1, keepdims=True), 1e-6)
    places = np.stack([own[at] for own, at in zip(ticks, surface, strict=True)], 1)
    return Solid(
        places.astype(np.float32),
        normals.astype(np.float32),
        ids[surface],
        (low + high) / 2,
        float(np.linalg.norm(high - low)) / 2,
        step,
    )


def draw_solid(
    solid: Solid, turn: Float64, colors: npt.NDArray[np.uint8], side: int
) -> tuple[UInt8, npt.NDArray[np.int64]]:
    """Draw a solid as it is seen from a side.

    Parameters
    ----------
    solid : Solid
    turn : (3, 3) float64
        As `FRONT`.
    colors : (n, 4) uint8
        Red, green, blue and opacity of each label id; what has no opacity is left out.
    side : int
        Pixels of the picture.

    Returns
    -------
    picture : (side, side, 3) uint8
        Black where nothing is.
    points : (side, side) int64
        Which point of the solid is seen; -1 where there is none.
    """
    coarse = max(8, min(side, int(2 * solid.radius / solid.step)))
    shown = colors[np.minimum(solid.ids, len(colors) - 1), 3] > 0
    picked = np.flatnonzero(shown)
    seen = (solid.places[picked] - solid.middle) @ turn.T
    spots = np.rint((seen[:, :2] / solid.radius + 1) / 2 * (coarse - 1)).astype(int)
    # The nearest ones last: they stay.
    order = np.argsort(-seen[:, 2], kind="stable")
    points = np.full((coarse, coarse), -1, np.int64)
    # A point is two pixels wide, so that there are no holes where the surface runs slantwise.
    for down, right in ((1, 1), (0, 1), (1, 0), (0, 0)):
        rows = np.minimum(spots[order, 1] + down, coarse - 1)
        columns = np.minimum(spots[order, 0] + right, coarse - 1)
        layer = np.full((coarse, coarse), -1, np.int64)
        layer[rows, columns] = picked[order]
        nearer = _depth(solid, turn, layer) < _depth(solid, turn, points)
        points[nearer] = layer[nearer]
    there = points >= 0
    lit = np.clip((solid.normals[points] @ turn.T) @ _LIGHT, 0, 1)
    shade = (_DARKEST + (1 - _DARKEST) * lit) * there
    base = colors[np.minimum(solid.ids[points], len(colors) - 1), :3]
    picture = (base * shade[..., None]).astype(np.uint8)
    size = (side, side)
    large: UInt8 = cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)
    # OpenCV has no integers of 64 bits.
    index = cv2.resize(points.astype(np.int32), size, interpolation=cv2.INTER_NEAREST)
    return large, index.astype(np.int64)


def _depth(solid: Solid, turn: Float64, points: npt.NDArray[np.int64]) -> Float64:
    depth = solid.places @ turn[2]
    return np.where(points >= 0, depth[points], np.inf)
