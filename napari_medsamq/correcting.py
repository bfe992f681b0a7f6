"""Finds what a click on a slice corrects: a box's mask, or one that was carried there or drawn."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from napari_medsamq.errors import PromptError
from napari_medsamq.geometry import slice_mask
from napari_medsamq.history import Prompt
from napari_medsamq.prompts import BoxPrompt, Click
from napari_medsamq.session import Session
from napari_medsamq.views import tight_box

Bool = npt.NDArray[np.bool_]

# Around a mask that has no box, as part of its size; people draw boxes about as loosely.
_MARGIN = 0.05


@dataclass(frozen=True, eq=False)
class Correction:
    """What to ask the network, and what its answer takes the place of.

    Attributes
    ----------
    box : BoxPrompt
        With all clicks.
    replaces : Prompt or None
        The committed prompt that is corrected.
    start : (H, W) bool or None
        The mask that is corrected, where it did not come from the box.
    """

    box: BoxPrompt
    replaces: Prompt | None
    start: Bool | None


def correction(
    session: Session, axis: int, index: int, click: Click | None, label_id: int
) -> Correction:
    """Find what a click corrects on a slice.

    That is the latest box of the label there which holds the click, or the nearest box; without
    any, the part of the label's mask that the click hits or is nearest to.

    Parameters
    ----------
    session : Session
    axis, index : int
        Array axis normal to the slice, and the slice's index on it.
    click : Click or None
        None improves the whole mask of the slice without a click.
    label_id : int

    Raises
    ------
    PromptError
        If the click is outside the slice, or there is no mask on it.
    """
    mask = np.moveaxis(session.label, axis, 0)[index] == label_id
    height, width = mask.shape
    if click is None:
        return _from_mask(axis, index, mask, (), session.style(label_id).name)
    if not (0 <= click.x < width and 0 <= click.y < height):
        raise PromptError(
            f"The click at column {click.x}, row {click.y} is outside the slice of {width} x "
            f"{height} pixels. Click on the image."
        )
    prompt = _nearest_prompt(session, axis, index, click, label_id)
    if prompt is not None and isinstance(prompt.box, BoxPrompt):
        start = prompt.start
        return Correction(
            replace(prompt.box, clicks=(*prompt.box.clicks, click)),
            prompt,
            None if start is None else slice_mask(start, session.label.shape, axis, index),
        )
    part = _nearest_part(mask, click)
    return _from_mask(axis, index, part, (click,), session.style(label_id).name)


def _from_mask(
    axis: int, index: int, mask: Bool, clicks: tuple[Click, ...], name: str
) -> Correction:
    box = tight_box(mask)
    if box is None:
        raise PromptError(
            f"{name} has no mask on this slice that could be corrected. Draw a box around the "
            "structure first."
        )
    margin = np.ceil(_MARGIN * (box[2:] - box[:2] + 1))
    low = np.maximum(box[:2] - margin, 0).astype(int)
    high = np.minimum(box[2:] + margin, np.array(mask.shape)[::-1] - 1).astype(int)
    (x0, y0), (x1, y1) = low.tolist(), high.tolist()
    return Correction(BoxPrompt(axis, index, x0, y0, x1, y1, clicks), None, mask)


def _nearest_prompt(
    session: Session, axis: int, index: int, click: Click, label_id: int
) -> Prompt | None:
    nearest, least = None, np.inf
    for prompt in session.history.prompts:
        box = prompt.box
        if not isinstance(box, BoxPrompt) or prompt.label_id != label_id:
            continue
        if (box.axis, box.index) == (axis, index):
            aside = max(box.x0 - click.x, click.x - box.x1, 0)
            above = max(box.y0 - click.y, click.y - box.y1, 0)
            # Of boxes that hold the click the latest one is meant.
            if aside + above <= least:
                nearest, least = prompt, aside + above
    return nearest


def _nearest_part(mask: Bool, click: Click) -> Bool:
    """Return the connected part of a mask that a click hits or is nearest to."""
    if not mask.any():
        return mask
    _, parts = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    rows, columns = np.nonzero(mask)
    nearest = ((rows - click.y) ** 2 + (columns - click.x) ** 2).argmin()
    part: Bool = parts == parts[rows[nearest], columns[nearest]]
    return part
