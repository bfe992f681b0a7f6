"""Carries a structure from slice to slice, and tells where it ends.

A mask beyond the end of a structure is rarely empty: the network finds something in any box. But
its edge is less sharp (the stability of Kirillov et al., "Segment Anything", ICCV 2023), and what
lies within looks different and is smaller. A logistic regression weighs these against each other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import exp, log
from typing import Literal

import numpy as np

from napari_medsamq.array_types import Bool, Float64
from napari_medsamq.inference.crop import tight_box
from napari_medsamq.inference.preprocess import FRAME
from napari_medsamq.inference.slice_predictor import SliceEvidence, SliceMask, SlicePredictor
from napari_medsamq.prompts import BoxPrompt3D, CarryPrompt

Direction = Literal["up", "down"]

# What a journal says of `StopRules`: those of before, which it does not name, kept no tips.
END_RULE = "measured by the first slice carried to, with its tip; within a 3D box, its ends"
# Frame pixels that the reference inference adds around the previous slice's mask.
MARGIN = 3
_OPERATIONS = (np.logical_and, np.logical_or)
# Part of a mask that a 3D box holds if it is of the structure that it was drawn around. Of one that
# was corrected there is less, as clicks are asked with a box a tenth wider, which may be filled.
_HELD = 0.75
# Of brightness, on the scale from 0 to 1, so that noise is not divided by nothing.
_LEAST_SD = 0.02


def segment_box_3d(predictor: SlicePredictor, box: BoxPrompt3D) -> Iterator[SliceMask]:
    """Segment every slice of a 3D box from its middle outwards.

    The first slice takes the sides of the 3D box; each further one the tight box around its
    neighbour's mask, widened by 3 frame pixels, or again the sides of the 3D box where that mask is
    empty: what the reference inference does (`CVPR24_LiteMedSAM_infer.py`). A
    network that has learnt carried boxes gets these, no wider than the 3D box, and its neighbour's
    mask.

    Parameters
    ----------
    predictor : SlicePredictor
        Of slices across `box.axis`.
    box : BoxPrompt3D

    Yields
    ------
    answer : SliceMask
        From the middle slice to the upper end, then from below the middle to the lower end.
    """
    middle = box.middle_slice
    sides = box.slice_prompt(middle).xyxy
    first = predictor.segment(middle, sides)
    yield first
    slices = box.slices
    carried = predictor.network_state.carry_prompt is CarryPrompt.carried
    for order in (range(middle + 1, slices.stop), range(middle - 1, slices.start - 1, -1)):
        if carried:
            yield from _through(predictor, first.mask, sides, order)
            continue
        previous = first
        for index in order:
            previous = predictor.segment(index, _next_box(predictor, previous.mask, sides))
            yield previous


def _through(
    predictor: SlicePredictor, start: Bool, sides: Float64, slices: range
) -> Iterator[SliceMask]:
    """Carry a mask (H, W) bool through slices on all of which the structure is known to be.

    `sides` (4,) XYXY in slice pixels are those of the widest box that is asked with.
    """
    mask = start
    for index in slices:
        if mask.any():
            around = _next_box(predictor, mask, sides)
            inside = np.clip(around, sides[[0, 1, 0, 1]], sides[[2, 3, 2, 3]])
            answer, _ = predictor.segment_and_observe(index, inside, mask)
        else:
            answer = predictor.segment(index, sides)
        yield answer
        mask = answer.mask


def _next_box(predictor: SlicePredictor, mask: Bool, otherwise: Float64) -> Float64:
    """Return the box (4,) XYXY around a mask (H, W) bool, as it is carried to the next slice.

    In slice pixels; `otherwise` where the mask is empty, or too small to be seen by the network.
    """
    around = tight_box(mask)
    if around is None:
        return otherwise
    transform = predictor.transform_around(around)
    in_frame = tight_box(transform.frame_area(mask))
    if in_frame is None:  # too small to be seen there
        return otherwise
    wider = in_frame + np.array([-MARGIN, -MARGIN, MARGIN, MARGIN])
    # To 256, not to the last pixel: as the reference inference does.
    return transform.invert_box(np.clip(wider, 0, FRAME))


def known_box(predictor: SlicePredictor, mask: Bool) -> Float64:
    """Return the box around a known mask, also where that is too small to be seen in the frame."""
    around = tight_box(mask)
    if around is None:
        raise ValueError("a known mask is not empty")
    return _next_box(predictor, mask, around)


@dataclass(frozen=True)
class Stop:
    """Why a structure was carried no further.

    Attributes
    ----------
    index : int
        The first slice without a mask.
    direction : "up" or "down"
        Towards higher or lower indices.
    reason : str
        In words; empty at an end that was asked for, that of the volume for instance.
    """

    index: int
    direction: Direction
    reason: str


Gap = tuple[int, int]


def gaps(anchors: Mapping[int, Bool], first: int, last: int) -> list[Gap]:
    """Return where a structure is carried: below, between and above the slices where it is known.

    Parameters
    ----------
    anchors : mapping of int to (H, W) bool
        As in `MaskCarrier.carry`, at least one of them not empty.
    first, last : int

    Returns
    -------
    gaps : list of (int, int)
        The slices that bound each, neither included; ascending.
    """
    known = sorted(index for index, mask in anchors.items() if mask.any())
    return list(pairwise([first - 1, *known, last + 1]))


@dataclass(frozen=True)
class StopRules:
    """When to stop; fitted to 144 ends of structures in CT, MR and PET of the training data.

    What is carried is compared with the first slice carried to: the mask that was drawn came about
    in another way, by a box that it may fill. The limits of doubt and of a tip were chosen on 210
    structures of sources that one of two carriers had not been trained on.

    Attributes
    ----------
    least_area : int
        Pixels in the frame that the network saw, below which a structure has vanished.
    most_growth : float
        How much larger than on the slice before a mask may be before it is taken for a leak.
    most_shift : float
        How far its centre may move, in square roots of the area before.
    least_overlap : float
        Intersection over union with the mask before.
    most_doubt, most_doubt_at_first : float
        Probability that the structure has ended; on the first slice carried to.
    tip_inside : float
        Which part of a tip lies within the mask before: structures taper off, and their last slice
        is small, pale and without a clear edge.
    tip_iou, sure_iou : float
        Intersection over union that the network predicts for a tip; a tip for which it predicts
        more is not the last slice yet.
    """

    least_area: int = 8
    most_growth: float = 2.0
    most_shift: float = 0.6
    least_overlap: float = 0.2
    most_doubt: float = 0.40
    most_doubt_at_first: float = 0.50
    tip_inside: float = 0.9
    tip_iou: float = 0.5
    sure_iou: float = 0.8

    def reason(
        self, now: SliceEvidence, before: SliceEvidence, first: SliceEvidence | None
    ) -> str | None:
        """Say why to stop before a slice; None to go on.

        Parameters
        ----------
        now, before, first : SliceEvidence
            On that slice, on the one before, and on the first one carried to; None if it is that.
        """
        if now.pixels < self.least_area:
            return "nothing was found"
        growth = now.area / max(1, before.area)
        if growth > self.most_growth:
            return f"the mask leaked to {growth:.1f} times its area"
        common, either = (int(np.sum(op(now.mask, before.mask))) for op in _OPERATIONS)
        shift = float(np.linalg.norm(_centre(now.mask) - _centre(before.mask)))
        if shift > self.most_shift * before.area**0.5 or common < self.least_overlap * either:
            return "the mask jumped to another place"
        log_odds = _log_odds(now, before, first or before)
        doubt = 1 / (1 + exp(-_BIAS - sum(log_odds.values())))
        if doubt <= (self.most_doubt if first else self.most_doubt_at_first):
            return None
        # The strongest evidence, of how it differs from what is usual within a structure.
        return max(log_odds, key=lambda words: log_odds[words] - _USUAL[words])

    def is_tip(self, now: SliceEvidence, before: SliceEvidence, iou: float) -> bool:
        """Whether a slice at which to stop is the structure's tip, and not past its end.

        Parameters
        ----------
        now, before : SliceEvidence
            On that slice, and on the one before.
        iou : float
            Intersection over union that the network predicts for the mask.
        """
        inside = int(np.sum(now.mask & before.mask)) >= self.tip_inside * now.area
        return inside and now.pixels >= self.least_area and iou > self.tip_iou


_EDGE, _APPEARANCE = "the mask has no clear edge any more", "it does not look like the structure"
_SIZE = "the mask is much smaller than next to where it was drawn"
_BRIGHT, _CHANGE = "its brightness is another one", "its brightness changed at once"
_BIAS = 5.13
# Medians of the evidence within structures.
_USUAL = {_EDGE: -1.85, _APPEARANCE: -5.23, _SIZE: 0.19, _BRIGHT: 0.08, _CHANGE: 0.07}


def _log_odds(now: SliceEvidence, before: SliceEvidence, first: SliceEvidence) -> dict[str, float]:
    """Return by its words what each observation adds to the log-odds of the end."""
    size = max(-2.0, min(2.0, log(max(now.area / max(1, first.area), 0.02))))
    return {
        _EDGE: -2.31 * now.stability,
        _APPEARANCE: -5.28 * float(now.appearance @ first.appearance),
        _SIZE: -1.10 * size,
        _BRIGHT: 0.52 * _difference(now, first),
        _CHANGE: 1.17 * _difference(now, before),
    }


def _difference(now: SliceEvidence, other: SliceEvidence) -> float:
    return min(abs(now.brightness - other.brightness) / (other.spread + _LEAST_SD), 3.0)


def _centre(mask: Bool) -> Float64:
    rows, columns = np.nonzero(mask)
    return np.array([rows.mean(), columns.mean()]) if rows.size else np.zeros(2)


@dataclass(frozen=True)
class MaskCarrier:
    """Carries a structure from slices where it is known to those where it is not.

    Attributes
    ----------
    predictor : SlicePredictor
    rules : StopRules
    within : sequence of BoxPrompt3D
        Where the structure is known to lie, across the predictor's axis. Of an anchor, the last
        one counts that holds three quarters of its mask.
    """

    predictor: SlicePredictor
    rules: StopRules = field(default_factory=StopRules)
    within: Sequence[BoxPrompt3D] = ()

    def carry(
        self,
        anchors: Mapping[int, Bool],
        first: int,
        last: int,
        done: Collection[Gap] = (),
    ) -> Iterator[SliceMask | Stop]:
        """Yield masks of slices around and between anchors, and why it ends on either side.

        Between two anchors the structure is taken to go on; each half is carried from its own
        anchor, and its boxes are led towards the other one. Beyond the outer anchors it is carried
        until the rules stop it, and from an anchor in a 3D box to the ends of that one, by boxes
        within its sides; so it is between 3D boxes that lie apart. Anchors themselves stay as they
        are; an empty one is a wall, where the structure is known not to be.

        Parameters
        ----------
        anchors : mapping of int to (H, W) bool
            Known masks by slice, at least one of them not empty.
        first, last : int
            Where to stop at the latest, both included.
        done : collection of (int, int)
            Which of `gaps` are left as they are.

        Yields
        ------
        found : SliceMask or Stop
        """
        known = sorted(index for index, mask in anchors.items() if mask.any())
        walls = sorted(set(anchors) - set(known))
        below, *between, above = gaps(anchors, first, last)
        for low, high in between:
            if (low, high) in done or high - low == 1:
                continue
            if any(low < wall < high for wall in walls) or self._apart(anchors, low, high):
                yield from self._outwards(anchors, low, high - 1, "up", walls)
                yield from self._outwards(anchors, high, low + 1, "down", walls)
            else:
                middle = (low + high) // 2
                yield from self._bridge(anchors, low, high, range(low + 1, middle + 1))
                yield from self._bridge(anchors, high, low, range(high - 1, middle, -1))
        if above not in done:
            yield from self._outwards(anchors, known[-1], last, "up", walls)
        if below not in done:
            yield from self._outwards(anchors, known[0], first, "down", walls)

    def _outwards(
        self,
        anchors: Mapping[int, Bool],
        start: int,
        end: int,
        direction: Direction,
        walls: Sequence[int],
    ) -> Iterator[SliceMask | Stop]:
        """Carry from an anchor to `end`, included, or to the wall before it."""
        if direction == "up":
            end = min([wall - 1 for wall in walls if wall > start] + [end])
            slices = range(start + 1, end + 1)
        else:
            end = max([wall + 1 for wall in walls if wall < start] + [end])
            slices = range(start - 1, end - 1, -1)
        box = self._box_of(start, anchors[start])
        if box is None:
            yield from self._run(anchors[start], start, slices, direction)
        else:
            yield from self._fill(box, anchors[start], slices, direction)

    def _box_of(self, index: int, mask: Bool) -> BoxPrompt3D | None:
        for box in reversed(self.within):
            own = box.slice_prompt(index)
            held = np.count_nonzero(mask[own.y0 : own.y1 + 1, own.x0 : own.x1 + 1])
            if index in box.slices and held >= _HELD * np.count_nonzero(mask):
                return box
        return None

    def _apart(self, anchors: Mapping[int, Bool], low: int, high: int) -> bool:
        """Whether two anchors are in 3D boxes, and a slice between them is in none."""
        if any(self._box_of(index, anchors[index]) is None for index in (low, high)):
            return False
        between = set(range(low + 1, high))
        return not between <= {index for box in self.within for index in box.slices}

    def _fill(
        self, box: BoxPrompt3D, start: Bool, slices: range, direction: Direction
    ) -> Iterator[SliceMask | Stop]:
        """Carry to the ends of a 3D box, within its sides and those of the mask to begin with."""
        sides = box.slice_prompt(box.middle_slice).xyxy
        if (own := tight_box(start)) is not None:  # a correction may reach beyond
            sides = np.concatenate([np.minimum(own, sides)[:2], np.maximum(own, sides)[2:]])
        inside = slices[: sum(index in box.slices for index in slices)]
        found = _through(self.predictor, start, sides, inside)
        yield from (answer for answer in found if answer.mask.any())
        reason = "its 3D box ends there" if len(inside) < len(slices) else ""
        yield Stop(slices.start + len(inside) * slices.step, direction, reason)

    def _bridge(
        self, anchors: Mapping[int, Bool], near: int, far: int, slices: range
    ) -> Iterator[SliceMask]:
        start, goal = (known_box(self.predictor, anchors[index]) for index in (near, far))
        previous = anchors[near]
        for index in slices:
            share = (index - near) / (far - near)
            between = (1 - share) * start + share * goal
            box = (_next_box(self.predictor, previous, between) + between) / 2
            answer, evidence = self.predictor.segment_and_observe(index, box, previous)
            previous = answer.mask
            if evidence.pixels >= self.rules.least_area:
                yield answer

    def _run(
        self, start: Bool, at: int, slices: range, direction: Direction
    ) -> Iterator[SliceMask | Stop]:
        before, first = self.predictor.observe(at, start), None
        mask, first_box = start, known_box(self.predictor, start)
        for index in slices:
            box = _next_box(self.predictor, mask, first_box)
            answer, now = self.predictor.segment_and_observe(index, box, mask)
            reason = self.rules.reason(now, before, first)
            if reason is not None and not self.rules.is_tip(now, before, answer.iou):
                yield Stop(index, direction, reason)
                return
            yield answer
            if reason is not None and first is not None and answer.iou <= self.rules.sure_iou:
                after = index + slices.step
                yield Stop(after, direction, reason if after in slices else "")
                return
            mask, before, first = answer.mask, now, first or now
        yield Stop(slices.stop, direction, "")
