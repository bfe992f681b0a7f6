"""Where people would click on a mask that is wrong, and masks that are a bit off."""

from __future__ import annotations

import cv2
import numpy as np

from napari_medsamq.array_types import Bool
from napari_medsamq.inference.crop import tight_box

# How often a click in training hits any pixel of the error, and not its middle.
_ANYWHERE = 0.5
# How far a mask to start from may be off: its place, its edge, and what lacks at one side, as parts
# of its size.
_SHIFT, _GROWTH, _LACK = 0.08, 0.12, 0.4
_HALF = 0.5


def next_click(
    found: Bool, wanted: Bool, rng: np.random.Generator | None = None
) -> tuple[int, int, bool] | None:
    """Return where to click to correct a mask: within the largest part that is wrong.

    Parameters
    ----------
    found, wanted : (H, W) bool
    rng : numpy.random.Generator, optional
        Draws a pixel of that part now and then; without it, it is always the one that lies deepest
        in it.

    Returns
    -------
    click : (x, y, positive) or None
        None where nothing is wrong.
    """
    error = largest_error(found, wanted)
    if error is None:
        return None
    best, (left, top) = error
    if rng is not None and rng.random() < _ANYWHERE:
        rows, columns = np.nonzero(best)
        place = int(rng.integers(rows.size))
        y, x = int(rows[place]), int(columns[place])
    else:
        # The frame's edge is an edge of the part.
        part = np.pad(best, 1).astype(np.uint8)
        depth = cv2.distanceTransform(part, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
        y, x = (int(where) for where in np.unravel_index(depth.argmax(), depth.shape))
    return left + x, top + y, bool(wanted[top + y, left + x])


def largest_error(found: Bool, wanted: Bool) -> tuple[Bool, tuple[int, int]] | None:
    """Return the largest part of a mask (H, W) that is wrong; None where nothing is.

    Returns
    -------
    part : (h, w) bool
        Of the rectangle that holds all that is wrong.
    corner : (x, y) int
        Where that begins.
    """
    wrong = found != wanted
    if not wrong.any():
        return None
    left, top, width, height = cv2.boundingRect(wrong.astype(np.uint8))
    around = (slice(top, top + height), slice(left, left + width))
    found, wanted = found[around], wanted[around]
    # What is missing and what is too much may touch, and are two parts.
    best = np.zeros_like(wanted)
    for own in (wanted & ~found, found & ~wanted):
        _, parts, about, _ = cv2.connectedComponentsWithStats(own.astype(np.uint8), connectivity=4)
        sizes = about[1:, cv2.CC_STAT_AREA]
        if sizes.size and sizes.max() > np.count_nonzero(best):
            best = parts == sizes.argmax() + 1
    return best, (left, top)


def worsen(mask: Bool, rng: np.random.Generator) -> Bool:
    """Return a mask (H, W) shifted, grown or shrunk, and now and then without one of its sides."""
    place = tight_box(mask)
    if place is None:
        return mask
    size = float(np.sqrt(mask.sum()))
    radius = int(rng.integers(0, int(_GROWTH * size) + 1, endpoint=True))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)
    change = cv2.dilate if rng.random() < _HALF else cv2.erode
    worse = change(mask.astype(np.uint8), kernel)
    across, down = rng.uniform(-_SHIFT, _SHIFT, 2) * size
    move = np.array([[1, 0, across], [0, 1, down]])
    worse = cv2.warpAffine(worse, move, mask.shape[::-1], flags=cv2.INTER_NEAREST)
    if rng.random() < _HALF:
        axis, side = rng.integers(0, 2, 2)
        first, last = place[1 - axis], place[3 - axis]
        lack = rng.uniform(0, _LACK) * (last - first + 1)
        part = slice(0, round(first + lack)) if side else slice(round(last - lack) + 1, None)
        worse[(part, slice(None)) if axis == 0 else (slice(None), part)] = 0
    # What is nothing any more is no mask to start from.
    return worse > 0 if worse.any() else mask
