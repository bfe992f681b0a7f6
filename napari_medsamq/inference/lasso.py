"""An outline that is drawn around a structure on a slice."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from napari_medsamq.array_types import Bool
from napari_medsamq.errors import PromptError
from napari_medsamq.inference.crop import tight_box
from napari_medsamq.prompts import BoxPrompt, Pixel, thinned

# What is kept of an outline, and how much of its area it may enclose twice or the wrong way round:
# where a hand closes it, it often crosses itself a little.
_CORNERS, _CROSSED = 128, 0.1


def lasso_prompt(
    axis: int, index: int, outline: Sequence[Pixel], shape: tuple[int, int]
) -> BoxPrompt:
    """Make the prompt of a lasso.

    Parameters
    ----------
    axis, index : int
        Of the slice.
    outline : sequence of (x, y)
        Corners in slice pixels; the last one is joined with the first. What is beside the slice is
        brought to its edge.
    shape : (height, width)
        Of the slice.

    Raises
    ------
    PromptError
        If it has fewer than three corners, encloses nothing, or crosses itself.
    """
    corners = np.clip(np.asarray(outline, int).reshape(-1, 2), 0, np.array(shape[::-1]) - 1)
    kept: tuple[Pixel, ...] = tuple((int(x), int(y)) for x, y in corners)
    if len(kept) > _CORNERS:
        kept = thinned(kept, _CORNERS)
    if len(set(kept)) < 3:
        raise PromptError(
            f"A lasso needs three different corners at least, not {len(set(kept))}. Draw it all "
            "the way around the structure."
        )
    area, line = lasso_area(kept, shape), np.zeros(shape, np.uint8)
    cv2.polylines(line, [np.array(kept, np.int32)], True, 1)
    box = tight_box(area)
    if box is None or not (area & (line == 0)).any():
        raise PromptError("The lasso encloses nothing. Draw it around the structure, on the image.")
    # The shoelace formula counts what is enclosed twice, or the wrong way round; the pixels of the
    # line lie half within.
    x, y = np.array(kept, float).T
    turned = abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
    within = np.count_nonzero(area) - np.count_nonzero(line) / 2 - 1
    if abs(turned - within) > _CROSSED * within + 1:
        raise PromptError(
            "The lasso crosses itself, so that it is not clear what lies within it. Draw it around "
            "the structure once, with its corners in their order."
        )
    x0, y0, x1, y1 = (int(side) for side in box)
    return BoxPrompt(axis, index, x0, y0, x1, y1, lasso=kept)


def lasso_area(lasso: Sequence[Pixel], shape: tuple[int, int]) -> Bool:
    """Return what a lasso of corners (x, y) encloses on a slice, its line included: (H, W) bool."""
    area = np.zeros(shape, np.uint8)
    cv2.fillPoly(area, [np.array(lasso, np.int32)], 1)
    around, _ = cv2.findContours(area, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    filled: Bool = cv2.drawContours(area, around, -1, 1, cv2.FILLED) > 0
    return filled
