"""Masks that a person has looked at and accepted: what a propagation leaves as it is."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from napari_medsamq.array_types import Bool, Label
from napari_medsamq.errors import PromptError


def mask_key(mask: Bool) -> bytes:
    """Return what tells a mask (H, W) bool from others."""
    return hashlib.blake2b(np.packbits(mask).tobytes(), digest_size=12).digest()


@dataclass(frozen=True)
class Acceptance:
    """The mask of a label on a slice, as it was when it was accepted.

    Attributes
    ----------
    axis, index : int
        Array axis normal to the slice, and the slice's index on it.
    label_id : int
    key : bytes
        The `mask_key`. A mask that has changed since is not accepted; one that is brought back is.
    """

    axis: int
    index: int
    label_id: int
    key: bytes


def not_accepted(
    acceptances: Collection[Acceptance],
    axis: int,
    label_id: int,
    masks: Mapping[int, bytes],
    called: str,
) -> list[Acceptance]:
    """Return the acceptances of a label's masks that are not there yet.

    Parameters
    ----------
    acceptances : collection of Acceptance
    axis, label_id : int
    masks : mapping of int to bytes
        `mask_key` by slice.
    called : str
        How errors name the label.

    Raises
    ------
    PromptError
        If there is none.
    """
    wanted = [Acceptance(axis, index, label_id, key) for index, key in masks.items()]
    fresh = [own for own in wanted if own not in acceptances]
    if not fresh:
        what = "are accepted already" if wanted else "do not exist"
        raise PromptError(
            f"The masks of {called} to be accepted {what}. Go to a slice with a mask that "
            "has not been accepted."
        )
    return fresh


def still_accepted(
    label: Label, acceptances: Collection[Acceptance], axis: int, label_id: int
) -> list[int]:
    """Return the slices across an axis whose mask of a label is one that was accepted, ascending.

    Parameters
    ----------
    label : (z, y, x) uint16
    acceptances : collection of Acceptance
    axis, label_id : int
    """
    own = [one for one in acceptances if (one.axis, one.label_id) == (axis, label_id)]
    return sorted({one.index for one in holding(label, own)})


def holding(label: Label, acceptances: Collection[Acceptance]) -> set[Acceptance]:
    """Return those whose masks in a label (z, y, x) uint16 are still as they were accepted."""
    return {
        one
        for one in acceptances
        if mask_key(label.take(one.index, one.axis) == one.label_id) == one.key
    }


def all_accepted(label: Label, acceptances: Collection[Acceptance], label_id: int) -> bool:
    """Tell whether each slice of one plane that a label has a mask on is accepted.

    Parameters
    ----------
    label : (z, y, x) uint16
    acceptances : collection of Acceptance
    label_id : int
    """
    axes = {one.axis for one in acceptances if one.label_id == label_id}
    planes = (np.moveaxis(label == label_id, axis, 0) for axis in axes)
    return any(
        set(np.flatnonzero(masks.any((1, 2))))
        <= set(still_accepted(label, acceptances, axis, label_id))
        for axis, masks in zip(axes, planes, strict=True)
    )


def kept_voxels(
    label: Label, acceptances: Collection[Acceptance], axis: int, label_id: int
) -> Bool:
    """Return what a propagation of a label along an axis may not change: (z, y, x) bool.

    These are its accepted slices across the other axes, and the accepted masks of other labels.
    Its accepted slices across the same axis are none of them: a propagation starts from those.

    Parameters
    ----------
    label : (z, y, x) uint16
    acceptances : collection of Acceptance
    axis, label_id : int
    """
    kept = np.zeros(label.shape, bool)
    for other, used in {(own.axis, own.label_id) for own in acceptances} - {(axis, label_id)}:
        planes, place = np.moveaxis(label, other, 0), np.moveaxis(kept, other, 0)
        for index in still_accepted(label, acceptances, other, used):
            place[index] |= True if used == label_id else planes[index] == used
    return kept
