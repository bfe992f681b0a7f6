"""Rounds of training in which each answer is corrected by a simulated click, and asked for anew."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from napari_medsamq.inference.prompt_decoder import dense_prompt
from training.data.simulated_clicks import next_click, worsen
from training.models.sam import LiteMedSAM

# A GPU would wait for clicks that are drawn one after the other.
_SIDE_BY_SIDE = ThreadPoolExecutor(thread_name_prefix="clicks")


def correct(
    net: LiteMedSAM,
    embedding: Tensor,
    boxes: Tensor,
    masks: Tensor,
    rounds: int,
    rng: np.random.Generator,
    *,
    starts: float = 0.0,
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
    starts : float
        How often the first answer is that to a mask that is a little wrong, as one drawn in haste
        or carried over from the next slice, and not to the boxes alone.

    Returns
    -------
    answers : list of logits (B, 256, 256) and iou (B,)
        Before any click, then after each.
    """
    wanted = masks.cpu().numpy() > 0
    start = None
    if rng.random() < starts:
        worse = np.stack(list(_SIDE_BY_SIDE.map(worsen, wanted, rng.spawn(len(wanted)))))
        start = torch.from_numpy(dense_prompt(worse)).to(boxes)
    answers = [net.segment(embedding, boxes, previous=start)]
    points: list[Tensor] = []
    labels: list[Tensor] = []
    for _ in range(rounds):
        previous = answers[-1][0].detach().float()
        found = (previous > 0).cpu().numpy()
        drawn = rng.spawn(len(wanted))
        clicks = list(_SIDE_BY_SIDE.map(next_click, found, wanted, drawn))
        points.append(boxes.new_tensor([(0, 0) if c is None else c[:2] for c in clicks]))
        labels.append(boxes.new_tensor([-1 if c is None else int(c[2]) for c in clicks]))
        answers.append(
            net.segment(
                embedding,
                boxes,
                points=torch.stack(points, 1),
                point_labels=torch.stack(labels, 1),
                previous=previous[:, None],
            )
        )
    return answers
