"""Where people would scribble on a mask that is wrong, and outlines that they would draw.

The kinds of scribbles are those of Wong et al., ScribblePrompt (ECCV 2024): along the middle of a
part, along its boundary, and straight through it.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.graph import MCP_Geometric
from skimage.morphology import skeletonize

from napari_medsamq.array_types import Bool
from napari_medsamq.prompts import Pixel
from training.data.simulated_clicks import largest_error

# Of an object's size, the root of its area: by how much an outline is larger, and uneven; and over
# which part of it the unevenness is alike.
_GROWN, _UNEVEN, _SMOOTH = 0.1, 0.05, 0.25
# How far within a boundary people scribble along it, as part of the part's depth.
_WITHIN = 0.5

Path = npt.NDArray[np.int64]


def next_scribble(
    found: Bool, wanted: Bool, rng: np.random.Generator | None = None
) -> tuple[list[Pixel], bool] | None:
    """Return a scribble that corrects a mask: within the largest part that is wrong.

    Parameters
    ----------
    found, wanted : (H, W) bool
    rng : numpy.random.Generator, optional
        Draws one of three kinds: along the middle, along the boundary, straight. Without it, it is
        always the first.

    Returns
    -------
    scribble : list of (x, y) and bool, or None
        At most as long as the part's diagonal, and whether it belongs to what is wanted; None where
        nothing is wrong.
    """
    error = largest_error(found, wanted)
    if error is None:
        return None
    part, corner = error
    kind = 0 if rng is None else int(rng.integers(3))
    if rng is None or kind == 0:
        path = _longest_way(skeletonize(part))
    else:
        path = (_along_boundary if kind == 1 else _straight)(part, rng)
    path = _shortened(path, part, rng) + corner
    return [(int(x), int(y)) for x, y in path], bool(wanted[path[0, 1], path[0, 0]])


def drawn_around(mask: Bool, rng: np.random.Generator) -> Bool:
    """Return what a lasso around a mask (H, W) encloses: 10 % larger, and uneven by 5 %."""
    size = np.sqrt(np.count_nonzero(mask))
    noise = rng.standard_normal(mask.shape).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), max(1.0, _SMOOTH * size))
    beyond = ndimage.distance_transform_edt(~mask) - ndimage.distance_transform_edt(mask)
    # At either side one half of it.
    grown: Bool = beyond <= size / 2 * (_GROWN + _UNEVEN * noise / noise.std())
    return grown


def outline(area: Bool) -> list[Pixel]:
    """Return the corners (x, y) of an outline around an area (H, W), all of its parts together."""
    found, _ = cv2.findContours(area.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    corners = found[0] if len(found) == 1 else cv2.convexHull(np.concatenate(found))
    return [(int(x), int(y)) for x, y in corners[:, 0]]


def _along_boundary(part: Bool, rng: np.random.Generator) -> Path:
    """Return a way within the boundary of a part, all around it."""
    depth = ndimage.distance_transform_edt(np.pad(part, 1))[1:-1, 1:-1]
    inner = (depth > _WITHIN * depth.max()).astype(np.uint8)
    found, _ = cv2.findContours(inner, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    way = max(found, key=len)[:, 0].astype(np.int64)
    return np.roll(way, rng.integers(len(way)), 0)


def _straight(part: Bool, rng: np.random.Generator) -> Path:
    """Return a straight way from one pixel of a part towards another one, within it."""
    pixels = np.argwhere(part)[:, ::-1]
    one, other = pixels[rng.integers(len(pixels), size=2)]
    steps = np.linspace(0, 1, 1 + int(np.abs(other - one).max()))
    way = (one + steps[:, None] * (other - one)).round().astype(np.int64)
    within = part[way[:, 1], way[:, 0]]
    return way[: int(np.argmin(within)) or len(way)]


def _longest_way(lines: Bool) -> Path:
    """Return the longest of the shortest ways between pixels of lines (H, W)."""
    costs = MCP_Geometric(np.where(lines, 1.0, -1.0))
    rows, columns = np.nonzero(lines)
    end = int(rows[0]), int(columns[0])
    for _ in range(2):
        reached, _ = costs.find_costs([end])
        reached[~np.isfinite(reached)] = -1
        row, column = np.unravel_index(int(reached.argmax()), lines.shape)
        end = int(row), int(column)
    return np.array(costs.traceback(end))[:, ::-1]


def _shortened(way: Path, part: Bool, rng: np.random.Generator | None) -> Path:
    """Return the middle of a way, or another piece, as long as the part's diagonal at most."""
    _, _, width, height = cv2.boundingRect(part.astype(np.uint8))
    steps = np.hypot(*np.diff(way, axis=0).T)
    length = np.concatenate([[0.0], np.cumsum(steps)])
    most = float(np.hypot(width, height))
    left = max(0.0, length[-1] - most)
    start = left / 2 if rng is None else rng.uniform(0, left)
    return way[(length >= start) & (length <= start + most)]
