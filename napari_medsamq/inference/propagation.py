"""Carries a box prompt through the slices of a volume."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import numpy as np

from napari_medsamq.array_types import Bool, Float64
from napari_medsamq.inference.crop import CropTransform, tight_box
from napari_medsamq.inference.preprocess import FRAME
from napari_medsamq.inference.stop_rules import SliceEvidence, StopRules
from napari_medsamq.prompts import BoxPrompt3D

Direction = Literal["up", "down"]

# Frame pixels that the reference inference adds around the previous slice's mask.
MARGIN = 3


def propagate(
    segment: Callable[[int, Float64], Bool],
    box: BoxPrompt3D,
    transform_around: Callable[[Float64], CropTransform],
) -> Iterator[tuple[int, Bool]]:
    """Segment every slice of a 3D box from its middle outwards.

    The first slice takes the sides of the 3D box; each further one the tight box around its
    neighbour's mask, widened by 3 frame pixels, or again the sides of the 3D box where that mask is
    empty: what the reference inference does (`CVPR24_LiteMedSAM_infer.py`).

    Parameters
    ----------
    segment : callable
        Takes a slice index and a box (4,) XYXY in slice pixels, returns the mask (H, W) bool.
    box : BoxPrompt3D
        Carried along `box.axis`.
    transform_around : callable
        Takes such a box; returns what of a slice the network is shown for it.

    Yields
    ------
    index, mask : int, (H, W) bool
        From the middle slice to the upper end, then from below the middle to the lower end.
    """
    middle = box.middle_slice
    first_box = box.slice_prompt(middle).xyxy
    first_mask = segment(middle, first_box)
    yield middle, first_mask
    slices = box.slices
    for order in (range(middle + 1, slices.stop), range(middle - 1, slices.start - 1, -1)):
        previous = first_mask
        for index in order:
            previous = segment(index, _next_box(previous, transform_around, first_box))
            yield index, previous


def _next_box(
    mask: Bool, transform_around: Callable[[Float64], CropTransform], otherwise: Float64
) -> Float64:
    around = tight_box(mask)
    if around is None:
        return otherwise
    seen = transform_around(around)
    in_frame = tight_box(seen.frame_area(mask))
    if in_frame is None:  # too small to be seen there
        return otherwise
    wider = in_frame + np.array([-MARGIN, -MARGIN, MARGIN, MARGIN])
    # To 256, not to the last pixel: as the reference inference does.
    return seen.invert_box(np.clip(wider, 0, FRAME))


def _anchor_box(mask: Bool, transform_around: Callable[[Float64], CropTransform]) -> Float64:
    """Return the box around a known mask, also where that is too small to be seen in the frame."""
    around = tight_box(mask)
    if around is None:
        raise ValueError("an anchor is a mask that is not empty")
    return _next_box(mask, transform_around, around)


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
class MaskCarrier:
    """Carries a structure from slices where it is known to those where it is not.

    Attributes
    ----------
    segment : callable
        Takes a slice index, a box (4,) XYXY in slice pixels and the mask (H, W) bool of the slice
        before; returns the mask (H, W) bool, and what is seen there.
    observe : callable
        Takes a slice index and a known mask (H, W) bool; returns what is seen there.
    transform_around : callable
        Takes such a box; returns what of a slice the network is shown for it.
    rules : StopRules
    """

    segment: Callable[[int, Float64, Bool], tuple[Bool, SliceEvidence]]
    observe: Callable[[int, Bool], SliceEvidence]
    transform_around: Callable[[Float64], CropTransform]
    rules: StopRules = field(default_factory=StopRules)

    def carry(
        self,
        anchors: Mapping[int, Bool],
        first: int,
        last: int,
        done: Collection[Gap] = (),
    ) -> Iterator[tuple[int, Bool] | Stop]:
        """Yield masks of slices around and between anchors, and why it ends on either side.

        Between two anchors the structure is taken to go on; each half is carried from its own
        anchor, and its boxes are led towards the other one. Beyond the outer anchors it is carried
        until the rules stop it. Anchors themselves stay as they are; an empty one is a wall, where
        the structure is known not to be.

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
        index, mask : int, (H, W) bool
        or Stop
        """
        known = sorted(index for index, mask in anchors.items() if mask.any())
        walls = sorted(set(anchors) - set(known))
        below, *between, above = gaps(anchors, first, last)
        for low, high in between:
            if (low, high) in done or high - low == 1:
                continue
            if any(low < wall < high for wall in walls):
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
    ) -> Iterator[tuple[int, Bool] | Stop]:
        """Carry from an anchor to `end`, included, or to the wall before it."""
        if direction == "up":
            end = min([wall - 1 for wall in walls if wall > start] + [end])
            slices = range(start + 1, end + 1)
        else:
            end = max([wall + 1 for wall in walls if wall < start] + [end])
            slices = range(start - 1, end - 1, -1)
        yield from self._run(anchors[start], start, slices, direction)

    def _bridge(
        self, anchors: Mapping[int, Bool], near: int, far: int, slices: range
    ) -> Iterator[tuple[int, Bool]]:
        start, goal = (_anchor_box(anchors[index], self.transform_around) for index in (near, far))
        previous = anchors[near]
        for index in slices:
            share = (index - near) / (far - near)
            between = (1 - share) * start + share * goal
            box = (_next_box(previous, self.transform_around, between) + between) / 2
            previous, evidence = self.segment(index, box, previous)
            if evidence.pixels >= self.rules.least_area:
                yield index, previous

    def _run(
        self, start: Bool, at: int, slices: range, direction: Direction
    ) -> Iterator[tuple[int, Bool] | Stop]:
        anchor = before = self.observe(at, start)
        mask, box = start, _anchor_box(start, self.transform_around)
        for index in slices:
            mask, now = self.segment(index, _next_box(mask, self.transform_around, box), mask)
            reason = self.rules.reason(now, before, anchor)
            if reason is not None:
                yield Stop(index, direction, reason)
                return
            before = now
            yield index, mask
        yield Stop(slices.stop, direction, "")
