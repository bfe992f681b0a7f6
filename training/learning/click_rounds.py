"""Rounds of training: a simulated click or scribble corrects each answer, which is asked anew."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch
from torch import Tensor

from napari_medsamq.array_types import Bool
from napari_medsamq.inference.crop import tight_box
from napari_medsamq.inference.prompt_decoder import dense_prompt, hinted
from napari_medsamq.prompts import Click
from training.data.simulated_clicks import next_click, worsen
from training.data.simulated_strokes import drawn_around, next_scribble
from training.models.sam import LiteMedSAM

# A GPU would wait for clicks that are drawn one after the other.
_SIDE_BY_SIDE = ThreadPoolExecutor(thread_name_prefix="clicks")


def correct(
    net: LiteMedSAM,
    embedding: Tensor,
    boxes: Tensor,
    masks: Tensor,
    rounds: int | Tensor,
    rng: np.random.Generator,
    *,
    starts: float = 0.0,
    strokes: float = 0.0,
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
    rounds : int or (B,) Tensor
        Clicks on each. Where there are no more the answer before stands.
    rng : numpy.random.Generator
    starts : float
        How often the first answer is that to a mask that is a little wrong, as one drawn in haste
        or carried over from the next slice, and not to the boxes alone.
    strokes : float
        How often a scribble stands in place of a click, and a lasso in place of box and mask.

    Returns
    -------
    answers : list of logits (B, 256, 256) and iou (B,)
        Before any click, then after each.
    """
    wanted = masks.cpu().numpy() > 0
    start = None
    if rng.random() < starts:
        lasso = strokes > 0 and rng.random() < strokes and wanted.any((1, 2)).all()
        begin = drawn_around if lasso else worsen
        worse = np.stack(list(_SIDE_BY_SIDE.map(begin, wanted, rng.spawn(len(wanted)))))
        if lasso:
            boxes = boxes.new_tensor(np.stack([tight_box(own) for own in worse]))
        start = torch.from_numpy(dense_prompt(worse)).to(boxes)
    answers = [net.segment(embedding, boxes, previous=start)]
    points: list[Tensor] = []
    labels: list[Tensor] = []
    left = rounds if isinstance(rounds, Tensor) else torch.full((len(boxes),), rounds)
    for number in range(int(left.max())):
        asks = (left > number).to(boxes.device)
        previous = answers[-1][0].detach().float()
        found = (previous > 0).cpu().numpy()
        aims = np.where(asks.cpu()[:, None, None], wanted, found)
        drawn = rng.spawn(len(wanted))
        marks = list(_SIDE_BY_SIDE.map(partial(_next_mark, strokes), found, aims, drawn))
        previous = _with_lines(previous, boxes, marks)
        # Where nothing is wrong, and beside scribbles, there is padding.
        asked = [() if own is None else own.asked for own in marks]
        most = max(1, *map(len, asked))
        points.append(boxes.new_tensor([[*own, *[(0, 0)] * (most - len(own))] for own in asked]))
        labels.append(
            boxes.new_tensor(
                [
                    [float(mark is not None and mark.positive)] * len(own)
                    + [-1.0] * (most - len(own))
                    for mark, own in zip(marks, asked, strict=True)
                ]
            )
        )
        logits, iou = net.segment(
            embedding[asks],
            boxes[asks],
            points=torch.cat(points, 1)[asks],
            point_labels=torch.cat(labels, 1)[asks],
            previous=previous[asks, None],
        )
        rows = asks.nonzero()[:, 0]
        before = answers[-1]
        answers.append((before[0].index_copy(0, rows, logits), before[1].index_copy(0, rows, iou)))
    return answers


def _next_mark(strokes: float, found: Bool, wanted: Bool, rng: np.random.Generator) -> Click | None:
    """Return a scribble so often, and a click otherwise; None where nothing is wrong."""
    if strokes > 0 and rng.random() < strokes:
        scribble = next_scribble(found, wanted, rng)
        return None if scribble is None else Click.along(*scribble)
    click = next_click(found, wanted, rng)
    return None if click is None else Click(*click)


def _with_lines(previous: Tensor, boxes: Tensor, marks: Sequence[Click | None]) -> Tensor:
    """Draw the scribbles into logits (B, 256, 256), as the plugin does."""
    lines = {n: own for n, own in enumerate(marks) if own is not None and own.stroke}
    previous = previous.clone() if lines else previous
    for number, own in lines.items():
        longer = float((boxes[number, 2:] - boxes[number, :2]).max())
        drawn = hinted(previous[number].cpu().numpy(), own.stroke, own.positive, longer)
        previous[number] = torch.from_numpy(drawn).to(previous)
    return previous
