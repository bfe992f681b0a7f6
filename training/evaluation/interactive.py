"""The field's interactive protocol: a 3D box, then five clicks, each at the largest error in 3D.

As the challenge "Foundation Models for Interactive 3D Biomedical Image Segmentation" (CVPR 2025)
asks: each click is the deepest voxel of the largest part that is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy import ndimage

from napari_medsamq.annotation.session import AnnotationSession
from napari_medsamq.array_types import Bool
from napari_medsamq.inference.crop import tight_box
from napari_medsamq.inference.slice_predictor import SliceMask
from napari_medsamq.prompts import BoxPrompt, BoxPrompt3D, Click

_NEIGHBOURS = np.ones((3, 3, 3), bool)


@dataclass(frozen=True)
class Correction:
    """What is known of a volume's object after a number of clicks.

    Attributes
    ----------
    answers : dict of int to SliceMask
        The mask of each slice that has been answered for.
    boxes : dict of int to BoxPrompt
        Of the slices that were clicked on, with all their clicks: they lead the others.
    asked : tuple of SliceMask
        All that the network answered since the box, for its time.
    """

    answers: dict[int, SliceMask]
    boxes: dict[int, BoxPrompt] = field(default_factory=dict)
    asked: tuple[SliceMask, ...] = ()

    @property
    def masks(self) -> list[SliceMask]:
        """The mask of each slice."""
        return list(self.answers.values())


def begin(session: AnnotationSession, box: BoxPrompt3D) -> Correction:
    """Return what a 3D box gives."""
    found = tuple(session.segment(box))
    return Correction({answer.index: answer for answer in found}, asked=found)


def correct(
    session: AnnotationSession, before: Correction, box_3d: BoxPrompt3D, wanted: Bool
) -> Correction:
    """Click once where most is wrong: that slice is asked anew, and leads those around it.

    Parameters
    ----------
    session : AnnotationSession
    before : Correction
    box_3d : BoxPrompt3D
        Within which the object lies.
    wanted : (z, y, x) bool
        The object's reference.
    """
    found = np.zeros(wanted.shape, bool)
    for answer in before.masks:
        found[answer.index] = answer.mask
    place = deepest_error(found, wanted)
    if place is None:
        return before
    index, y, x = place
    drawn = before.boxes.get(index) or _first_box(box_3d, index, found[index], before)
    box = replace(drawn, clicks=(*drawn.clicks, Click(x, y, bool(wanted[place]))))
    start = found[index] if found[index].any() else None
    (mended,) = session.segment(box, start)
    answers, boxes = {**before.answers, index: mended}, {**before.boxes, index: box}
    anchors = {led: answers[led].mask for led in (*boxes, box_3d.middle_slice)}
    carried: list[SliceMask] = []
    if any(mask.any() for mask in anchors.values()):
        first, last = min(box_3d.slices.start, *anchors), max(box_3d.slices.stop - 1, *anchors)
        carried = [
            answer
            for answer in session.carry(0, anchors, first, last, within=[box_3d])
            if isinstance(answer, SliceMask)
        ]
    answers |= {answer.index: answer for answer in carried}
    return Correction(answers, boxes, (*before.asked, mended, *carried))


def deepest_error(found: Bool, wanted: Bool) -> tuple[int, int, int] | None:
    """Return the voxel (z, y, x) deepest in the largest part that is wrong; None if none is."""
    wrong = found != wanted
    parts, count = ndimage.label(wrong, _NEIGHBOURS)
    if count == 0:
        return None
    largest = 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    # The volume's faces are the part's faces.
    depth = ndimage.distance_transform_edt(np.pad(parts == largest, 1))[1:-1, 1:-1, 1:-1]
    z, y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return int(z), int(y), int(x)


def _first_box(box_3d: BoxPrompt3D, index: int, mask: Bool, before: Correction) -> BoxPrompt:
    """Return the box of a slice: around its mask, the nearest one, or the sides of the 3D box."""
    corners = tight_box(mask)
    if corners is None:
        near = sorted(before.answers, key=lambda other: abs(other - index))
        boxes = (tight_box(before.answers[other].mask) for other in near)
        corners = next((own for own in boxes if own is not None), None)
    if corners is None:
        corners = np.asarray(box_3d.slice_prompt(box_3d.middle_slice).xyxy)
    x0, y0, x1, y1 = (int(side) for side in corners)
    return BoxPrompt(0, index, x0, y0, x1, y1)


def area_under_curve(values: Sequence[float]) -> float:
    """Return the area under the scores after 1 to 5 clicks, by trapezoids: 4 at most."""
    return float(np.trapezoid(values))
