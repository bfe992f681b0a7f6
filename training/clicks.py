"""Corrections as people make them: a click where a mask is wrong, with the mask as a prompt."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor

from napari_medsamq.corrections import MASK_LOGIT
from training.models.sam import LiteMedSAM

Bool = npt.NDArray[np.bool_]

# How often a click in training hits any pixel of the error, and not its middle.
_ANYWHERE = 0.5


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
    wrong = found != wanted
    if not wrong.any():
        return None
    # What is missing and what is too much may touch, and are two parts.
    best = np.zeros_like(wrong)
    for own in (wanted & ~found, found & ~wanted):
        parts, count = ndimage.label(own)
        if count:
            sizes = np.bincount(parts.reshape(-1))[1:]
            if sizes.max() > np.count_nonzero(best):
                best = parts == sizes.argmax() + 1
    if rng is not None and rng.random() < _ANYWHERE:
        rows, columns = np.nonzero(best)
        place = int(rng.integers(rows.size))
        y, x = int(rows[place]), int(columns[place])
    else:
        # The frame's edge is an edge of the part.
        depth = ndimage.distance_transform_edt(np.pad(best, 1))[1:-1, 1:-1]
        y, x = (int(where) for where in np.unravel_index(depth.argmax(), depth.shape))
    return x, y, bool(wanted[y, x])


def correct(
    net: LiteMedSAM,
    embedding: Tensor,
    boxes: Tensor,
    masks: Tensor,
    rounds: int,
    rng: np.random.Generator,
) -> list[tuple[Tensor, Tensor]]:
    """Segment boxes, and correct each mask by one click after the other.

    Parameters
    ----------
    net : LiteMedSAM
    embedding : (B, 256, 64, 64) Tensor
    boxes : (B, 4) Tensor
        XYXY in pixels of the 256 px frame.
    masks : (B, 256, 256) Tensor
        What is wanted, 0 or 1.
    rounds : int
        Clicks on each.
    rng : numpy.random.Generator

    Returns
    -------
    answers : list of logits (B, 256, 256) and iou (B,)
        Of the boxes alone, then after each click.
    """
    answers = [net.segment(embedding, boxes)]
    wanted = masks.cpu().numpy() > 0
    points: list[Tensor] = []
    labels: list[Tensor] = []
    for _ in range(rounds):
        found = answers[-1][0].detach() > 0
        clicks = [next_click(*pair, rng) for pair in zip(found.cpu().numpy(), wanted, strict=True)]
        points.append(boxes.new_tensor([(0, 0) if c is None else c[:2] for c in clicks]))
        labels.append(boxes.new_tensor([-1 if c is None else int(c[2]) for c in clicks]))
        answers.append(
            net.segment(
                embedding,
                boxes,
                points=torch.stack(points, 1),
                point_labels=torch.stack(labels, 1),
                previous=dense_prompt(found),
            )
        )
    return answers


def dense_prompt(mask: Tensor) -> Tensor:
    """Turn masks (B, 256, 256) bool into the plugin's dense prompt (B, 1, 256, 256)."""
    return ((mask.float() * 2 - 1) * MASK_LOGIT)[:, None]
