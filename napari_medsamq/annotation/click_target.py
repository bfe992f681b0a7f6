"""Finds what a click on a slice corrects: a box's mask, or one that was carried there or drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from napari_medsamq.annotation.history import Edit, Prompt
from napari_medsamq.annotation.label_model import fresh_clicks
from napari_medsamq.annotation.session import AnnotationSession
from napari_medsamq.array_types import Bool
from napari_medsamq.errors import PromptError
from napari_medsamq.geometry import slice_mask
from napari_medsamq.inference.crop import tight_box
from napari_medsamq.inference.slice_predictor import SliceMask
from napari_medsamq.io.source import Array
from napari_medsamq.prompts import BoxPrompt, BoxPrompt3D, Click

# Around a mask that has no box, as part of its size; people draw boxes about as loosely.
_MARGIN = 0.05
# A part of a mask that is a smaller share of it is a speck, which catches no clicks beside it.
_SPECK = 0.01
# In HU: what lies around a patient is below.
_AIR = -300


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
    session: AnnotationSession, axis: int, index: int, click: Click | None, label_id: int
) -> Correction:
    """Find what a click corrects on a slice.

    That is the latest box of the label there which holds the click, or the nearest box; without
    any, or where the click hits what no box has brought, the part of the label's mask that it hits
    or is nearest to. A speck does not stand for the structure: the nearest larger part goes along.

    Parameters
    ----------
    session : AnnotationSession
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
    mask = session.slice(axis, index) == label_id
    height, width = mask.shape
    if click is None:
        return _from_mask(axis, index, mask, (), session.style(label_id).name)
    if not is_on_slice(click, mask.shape):
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
    part = _clicked_part(mask, click)
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
    session: AnnotationSession, axis: int, index: int, click: Click, label_id: int
) -> Prompt | None:
    nearest, least = None, np.inf
    place = [click.y, click.x]
    place.insert(axis, index)
    voxel = int(np.ravel_multi_index(tuple(place), session.label.shape))
    for prompt in session.history.prompts:
        box = prompt.box
        if not isinstance(box, BoxPrompt) or prompt.label_id != label_id:
            continue
        if (box.axis, box.index) == (axis, index):
            aside = max(box.x0 - click.x, click.x - box.x1, 0)
            above = max(box.y0 - click.y, click.y - box.y1, 0)
            # Of boxes that hold the click, or whose masks do, the latest one is meant.
            away = 0 if voxel in prompt.voxels else aside + above
            if away <= least:
                nearest, least = prompt, away
    hits_another = least > 0 and session.label.reshape(-1)[voxel] == label_id
    return None if hits_another else nearest


def _clicked_part(mask: Bool, click: Click) -> Bool:
    """Return the connected part of a mask that a click hits or is nearest to.

    Where that is a speck, it is the nearest part that is none, with the speck if that was hit.
    """
    if not mask.any():
        return mask
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    sizes = stats[:, cv2.CC_STAT_AREA]
    least = min(_SPECK * sizes[1:].sum(), sizes[1:].max())
    large = [number for number in range(1, count) if sizes[number] >= least]
    rows, columns = np.nonzero(np.isin(parts, large))
    nearest = ((rows - click.y) ** 2 + (columns - click.x) ** 2).argmin()
    chosen = {int(parts[rows[nearest], columns[nearest]]), int(parts[click.y, click.x])} - {0}
    part: Bool = np.isin(parts, list(chosen))
    return part


def is_on_slice(click: Click, shape: tuple[int, ...]) -> bool:
    """Tell whether a click, all of it, hits a slice of a shape (height, width)."""
    return all(0 <= own.x < shape[1] and 0 <= own.y < shape[0] for own in click.parts)


def _is_outside(grey: Array, click: Click) -> bool:
    """Tell whether a click on a slice (H, W) of HU hits air that is connected with its edge."""
    _, parts = cv2.connectedComponents((grey < _AIR).astype(np.uint8))
    edge = {*parts[0], *parts[-1], *parts[:, 0], *parts[:, -1]} - {0}
    return int(parts[click.y, click.x]) in edge


def describe_clicks(
    session: AnnotationSession,
    box: BoxPrompt | BoxPrompt3D,
    replaces: Prompt | None,
    label_id: int,
    masks: Sequence[SliceMask],
    edit: Edit,
) -> str:
    """Say what the user should know of new clicks once the masks of their box are committed.

    Parameters
    ----------
    session : AnnotationSession
    box : BoxPrompt or BoxPrompt3D
    replaces : Prompt or None
        What the box took the place of.
    label_id : int
    masks : sequence of SliceMask
        The network's answer.
    edit : Edit
        What came of it.

    Returns
    -------
    text : str
        Sentences, each after a space; empty where all clicks were followed.
    """
    fresh, text = fresh_clicks(box, replaces), ""
    if not fresh or not isinstance(box, BoxPrompt):
        return ""
    name = session.style(label_id).name
    plane = session.slice(box.axis, box.index)
    kept = {int(plane[own.y, own.x]) for own in fresh if own.positive} - {label_id}
    for owner in sorted(kept):
        text += f" What you clicked on stays with {session.style(owner).name}: it is locked."
    grey = session.volume.data.take(box.index, box.axis)
    if session.volume.hounsfield and any(own.positive and _is_outside(grey, own) for own in fresh):
        text += " You clicked on air that reaches the edge of the picture."
    unfollowed = [own for own in fresh for mask in masks if own in mask.unfollowed]
    if unfollowed and edit.voxels.size:
        done = "added" if unfollowed[-1].positive else "taken away"
        where = f"the click: only a small disc around it was {done}. Click"
        if len(fresh) > 1:
            where = f"all of the scribble: there only a narrow trace was {done}. Scribble"
        text += f" The network did not follow {where} more, or use the brush."
    if not edit.voxels.size and not kept:
        state = "belongs to" if fresh[-1].positive else "does not belong to"
        text += f" The click changed nothing: what you clicked on {state} {name} already."
    return text
