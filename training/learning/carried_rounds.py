"""Rounds of training in which masks are carried from slice to slice on the network's answers."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from napari_medsamq.array_types import Bool
from napari_medsamq.inference.crop import tight_box
from napari_medsamq.inference.preprocess import FRAME
from napari_medsamq.inference.prompt_decoder import dense_prompt
from training.data.simulated_clicks import worsen
from training.models.sam import LiteMedSAM

# How far the sides of a carried box lie outside the mask before, in frame pixels.
_MARGINS = (2, 13)
# How often a run begins with a mask that is a little wrong, and how often it is carried by boxes
# alone.
_WORSE, _BOX_ALONE = 0.5, 0.2
# Of a mask that drifts: degrees, logarithm of its scale, and part of its size.
_TURN, _SCALE, _SHIFT = 15.0, 0.25, 0.12
# An answer that is worse is not gone on with: what it had lost cannot be found again.
_LEAST_IOU = 0.4


def carry(
    net: LiteMedSAM, embeddings: Tensor, start: Tensor, masks: Tensor, rng: np.random.Generator
) -> list[tuple[Tensor, Tensor]]:
    """Carry masks through slices, each asked for by the answer before it.

    Parameters
    ----------
    net : LiteMedSAM
    embeddings : (B, K, 256, 64, 64) Tensor
        Of the slices.
    start : (B, 256, 256) Tensor
        Masks on the slice before the first, 0 or 1, not empty.
    masks : (B, K, 256, 256) Tensor
        What is wanted on each slice; all 0 beyond the structure's end.
    rng : numpy.random.Generator

    Returns
    -------
    answers : list of logits (B, 256, 256) and iou (B,)
        One of each for every slice.
    """
    before = [own > 0 for own in start.cpu().numpy()]
    before = [worsen(own, rng) if rng.random() < _WORSE else own for own in before]
    wanted = masks.cpu().numpy() > 0
    box_alone = rng.random() < _BOX_ALONE
    answers = []
    for place in range(masks.shape[1]):
        boxes = np.stack([_wider_box(own, rng) for own in before])
        previous = None if box_alone else dense_prompt(np.stack(before))
        answer = net.segment(
            embeddings[:, place],
            torch.from_numpy(boxes).to(start),
            previous=None if previous is None else torch.from_numpy(previous).to(start),
            carried=True,
        )
        answers.append(answer)
        found = (answer[0].detach() > 0).cpu().numpy()
        before = [_next(*own) for own in zip(before, found, wanted[:, place], strict=True)]
    return answers


def drift(mask: Bool, rng: np.random.Generator) -> Bool:
    """Return a mask (H, W) turned, moved and scaled, as it might be on a slice nearby."""
    place = tight_box(mask)
    if place is None:
        return mask
    centre = (place[:2] + place[2:]) / 2
    size = float(np.sqrt(np.count_nonzero(mask)))
    turn = cv2.getRotationMatrix2D(
        (float(centre[0]), float(centre[1])),
        rng.uniform(-_TURN, _TURN),
        float(np.exp(rng.uniform(-_SCALE, _SCALE))),
    )
    turn[:, 2] += rng.uniform(-_SHIFT, _SHIFT, 2) * size
    moved = cv2.warpAffine(mask.astype(np.uint8), turn, mask.shape[::-1], flags=cv2.INTER_NEAREST)
    return worsen(moved > 0, rng) if moved.any() else mask


def _wider_box(mask: Bool, rng: np.random.Generator) -> np.ndarray:
    box = tight_box(mask)
    if box is None:
        raise ValueError("a mask that is carried is not empty")
    margins = rng.integers(*_MARGINS, size=4, endpoint=True)
    return np.clip(box + [-1, -1, 1, 1] * margins, 0, FRAME - 1)


def _next(before: Bool, found: Bool, wanted: Bool) -> Bool:
    """Return the mask that goes on: what was found, unless that was wrong or nothing was there."""
    if not wanted.any():
        return before
    common, either = np.count_nonzero(found & wanted), np.count_nonzero(found | wanted)
    return found if common >= _LEAST_IOU * either else wanted
