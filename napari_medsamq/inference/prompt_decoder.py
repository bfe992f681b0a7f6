"""How the network is asked about a box, the clicks in it, and a mask that they correct.

A click binds, whoever makes it, on the canvas, the command line or in a journal. The network is
asked with the box, widened to hold what was clicked on, all clicks and the mask that they correct.
A scribble is a click of several points, whose line is drawn into that mask as well.
Where its answer leaves a clicked pixel as it should not be, a small disc around the pixel is added
or taken away (`follow_clicks`). What was clicked away is also taken from what other boxes and the
brush have put there (`LabelModel.commit`). Only a locked label stands against that, which is said.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from operator import eq

import cv2
import numpy as np
import numpy.typing as npt

from napari_medsamq.array_types import Bool, Float32
from napari_medsamq.inference.crop import CropTransform
from napari_medsamq.inference.engine import Engine, box_points
from napari_medsamq.inference.preprocess import FRAME
from napari_medsamq.prompts import Click, Pixel

# How sure the network is told to be of a mask that it corrects.
MASK_LOGIT = 6.0
# Boxes whose answers are kept.
_KEPT = 4
# How far a click reaches that the network does not follow, as part of its box's longer side.
_REACH = 1 / 32

Answer = tuple[Float32, float]


@dataclass
class ClickRounds:
    """What the network answered to a box: alone, with its first click, with two of them ...

    Attributes
    ----------
    first : int
        With how many clicks the first round was asked.
    clicks : sequence of Click
        All that were asked about last.
    answers : list of Answer
        Of each round.
    """

    first: int
    clicks: Sequence[Click] = ()
    answers: list[Answer] = field(default_factory=list)

    def answers_until(self, clicks: Sequence[Click]) -> list[Answer]:
        """Keep the rounds before the first click that is another one than last time.

        Returns
        -------
        answers : list of Answer
            To be gone on with.
        """
        same = [*map(eq, self.clicks, clicks), False].index(False)
        del self.answers[max(0, same + 1 - self.first) :]
        self.clicks = clicks
        return self.answers


class PromptDecoder:
    """Decodes a box, and corrects its mask by one click after the other.

    Each click is asked about with those before it and with the logits that it corrects, so that
    the same clicks lead to the same mask, whenever they are made. The answers to the last few boxes
    are kept: one more click asks the network once, not for all of them.
    """

    def __init__(self) -> None:
        self._rounds: OrderedDict[Hashable, ClickRounds] = OrderedDict()

    def decode(
        self,
        engine: Engine,
        embedding: Float32,
        transform: CropTransform,
        xyxy: npt.ArrayLike,
        clicks: Sequence[Click] = (),
        start: Bool | None = None,
        *,
        place: Hashable,
        carried: bool = False,
    ) -> Answer:
        """Return the answer to a box and all of its clicks.

        Parameters
        ----------
        engine : Engine
        embedding : (1, 256, 64, 64) float32
            Of what the transform shows.
        transform : CropTransform
        xyxy : (4,) float
            The box, in slice pixels.
        clicks : sequence of Click
        start : (H, W) bool, optional
            A mask of the slice to be improved, in place of what the box alone gives.
        place : hashable
            The same only for the same embedding.
        carried : bool
            Whether box and `start` are those of a neighbouring slice; see `CarryPrompt`.

        Returns
        -------
        logits : (256, 256) float32
        iou : float
            Predicted intersection over union.

        Raises
        ------
        ModelError
            If the network fails.
        """
        coords, labels = box_points(transform.apply_box(xyxy), carried=carried)
        longer = float((coords[0, 1] - coords[0, 0]).max())
        points = [transform.apply_point(*place) for click in clicks for place in click.asked]
        coords = np.concatenate([coords, np.array(points, np.float32).reshape(1, -1, 2)], axis=1)
        kinds = [float(click.positive) for click in clicks for _ in click.asked]
        labels = np.concatenate([labels, np.array([kinds], np.float32)], axis=1)
        ends = list(accumulate((len(click.asked) for click in clicks), initial=2))
        # A mask that is clicked on is not improved by itself before.
        first = 1 if start is not None and clicks else 0
        begun = None if start is None else start.tobytes()
        asked = (place, tuple(coords[0, :2].ravel()), carried, begun, first)
        rounds = self._rounds.setdefault(asked, ClickRounds(first))
        self._rounds.move_to_end(asked)
        if len(self._rounds) > _KEPT:
            self._rounds.popitem(last=False)
        answers = rounds.answers_until(clicks)
        for count in range(first + len(answers), len(clicks) + 1):
            previous = None
            if answers:
                previous = answers[-1][0][None, None]
            elif start is not None:
                previous = dense_prompt(transform.apply_mask(start))
            if count and previous is not None and clicks[count - 1].stroke:
                line = [transform.apply_point(*place) for place in clicks[count - 1].stroke]
                previous = hinted(previous, line, clicks[count - 1].positive, longer)
            shown = slice(None, ends[count])
            logits, iou = engine.decode(embedding, coords[:, shown], labels[:, shown], previous)
            answers.append((logits[0], float(iou[0])))
        return answers[-1]


def dense_prompt(mask: Bool) -> Float32:
    """Turn masks (..., 256, 256) bool of the frame into the logits (N, 1, 256, 256) of prompts."""
    logits = np.where(mask, np.float32(MASK_LOGIT), np.float32(-MASK_LOGIT))
    return logits.reshape(-1, 1, FRAME, FRAME)


def hinted(logits: Float32, line: Sequence[Pixel], positive: bool, longer: float) -> Float32:
    """Draw a scribble into the logits (..., 256, 256) that it corrects.

    Parameters
    ----------
    logits : (..., 256, 256) float32
    line : sequence of (x, y)
        In frame pixels.
    positive : bool
    longer : float
        The longer side of the box in frame pixels, of which the line is a thirty-second wide.

    Returns
    -------
    logits : (..., 256, 256) float32
        A copy.
    """
    drawn = np.zeros((FRAME, FRAME), np.uint8)
    cv2.polylines(drawn, [np.array(line, np.int32)], False, 1, max(1, round(_REACH * longer)))
    return np.where(drawn, np.float32(MASK_LOGIT if positive else -MASK_LOGIT), logits)


def with_clicks(xyxy: npt.ArrayLike, clicks: Sequence[Click]) -> npt.NDArray[np.float64]:
    """Return a box (4,) XYXY that also holds what was clicked on as part of the structure."""
    box = np.asarray(xyxy, np.float64)
    for click in (own for several in clicks for own in several.parts):
        if click.positive:
            low = np.minimum(box[:2], [click.x, click.y])
            high = np.maximum(box[2:], [click.x, click.y])
            box = np.concatenate([low, high])
    return box


def click_area(
    xyxy: npt.ArrayLike, click: Click, shape: tuple[int, int], pixel_size: tuple[float, float]
) -> Bool:
    """Return the disc that a click sets where the network does not follow it.

    Its radius is a thirty-second of the box's longer side, but at least a pixel.

    Parameters
    ----------
    xyxy : (4,) float
        The box, with what was clicked on, in slice pixels.
    click : Click
    shape : (height, width)
        Of the slice.
    pixel_size : (row, column) float
        In mm.

    Returns
    -------
    area : (H, W) bool
    """
    box = np.asarray(xyxy, np.float64)
    rows, columns = pixel_size
    longer = max((box[2] - box[0] + 1) * columns, (box[3] - box[1] + 1) * rows)
    radius = max(_REACH * longer, rows, columns)
    y, x = np.ogrid[: shape[0], : shape[1]]
    area: Bool = np.hypot((y - click.y) * rows, (x - click.x) * columns) <= radius
    return area


def follow_clicks(
    mask: Bool, xyxy: npt.ArrayLike, clicks: Sequence[Click], pixel_size: tuple[float, float]
) -> tuple[Bool, tuple[Click, ...]]:
    """Have each pixel that was clicked on be as it was asked to be; of two clicks the later counts.

    Scribbles are the clicks that they consist of.

    Parameters
    ----------
    mask : (H, W) bool
        The network's answer.
    xyxy : (4,) float
        The box, with what was clicked on, in slice pixels.
    clicks : sequence of Click
    pixel_size : (row, column) float
        In mm.

    Returns
    -------
    mask : (H, W) bool
    unfollowed : tuple of Click
        Those that the network did not follow.
    """
    parts = (own for click in clicks for own in click.parts)
    binding = {(click.y, click.x): click for click in parts if click.binding}
    unfollowed = tuple(own for place, own in binding.items() if mask[place] != own.positive)
    if not unfollowed:
        return mask, ()
    mask = mask.copy()
    for click in unfollowed:
        mask[click_area(xyxy, click, mask.shape, pixel_size)] = click.positive
    # A disc may reach what was asked otherwise nearby.
    for place, click in binding.items():
        mask[place] = click.positive
    return mask, unfollowed
