"""Where a label's voxels come from: the network, a hand, or an operation on the whole label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from napari_medsamq.annotation.history import Edit
from napari_medsamq.array_types import Label

_PART = 1 << 20


class Origin(IntEnum):
    """Who gave a voxel its label last."""

    nobody = 0
    model = 1
    hand = 2
    operation = 3


@dataclass(frozen=True)
class OriginCounts:
    """The voxels of one label id by their origin.

    Attributes
    ----------
    model : int
        Given by the network last, for a box, a click or a propagation.
    hand : int
        Given one by one last, with a brush say.
    operation : int
        Given last by what changes a label as a whole: a repair, or a label that was taken over.
    unknown : int
        Of no recorded step.
    removed : int
        Not in the label any more: what the network gave, and a hand or an operation took away.
    """

    model: int
    hand: int
    operation: int
    unknown: int
    removed: int

    def as_dict(self) -> dict[str, dict[str, float]]:
        """Return numbers of voxels, and their shares as JSON can hold them.

        The shares of model, hand, operation and unknown are of the label's voxels; that of removed
        is of what the network gave, which is what is left of it and what was removed.
        """
        voxels = asdict(self)
        total = self.model + self.hand + self.operation + self.unknown
        share = {name: voxels[name] / total if total else 0.0 for name in voxels}
        given = self.model + self.removed
        share["removed"] = self.removed / given if given else 0.0
        return {"voxels": voxels, "share": share}


def edit_origin(edit: Edit) -> Origin:
    """Tell who an edit's labels come from."""
    if edit.by_hand:
        return Origin.hand
    # Each slice of a propagation is of a group, and what else the network answers changes prompts;
    # so does a box that is removed, after which voxels go to other boxes.
    if edit.group is not None or edit.prompts_before != edit.prompts_after:
        return Origin.model
    return Origin.operation


def count_origins(edits: Sequence[Edit], label: Label) -> dict[int, OriginCounts]:
    """Follow the edits that led to a label, and count its voxels by their origin.

    Parameters
    ----------
    edits : sequence of Edit
        Oldest first, from an empty label.
    label : (z, y, x) uint16

    Returns
    -------
    counts : dict of int to OriginCounts
        Of each label id that has voxels, or had some of the network's.
    """
    flat = label.reshape(-1)
    touched = np.zeros(flat.size, bool)
    for edit in edits:
        touched[edit.voxels] = True
    places = np.flatnonzero(touched)
    # Of the voxels that were touched alone, in their order.
    values = np.zeros(places.size, np.uint16)
    origins = np.zeros(places.size, np.uint8)
    removed = np.zeros(places.size, np.uint16)
    for edit in edits:
        at, origin = np.searchsorted(places, edit.voxels), edit_origin(edit)
        # Of whoever it was before, it was changed past the history since.
        origins[at[values[at] != edit.before]] = Origin.nobody
        taken = (origins[at] == Origin.model) & (origin != Origin.model)
        removed[at[taken]] = edit.before[taken]
        removed[at[removed[at] == edit.after]] = 0
        if origin == Origin.model:
            removed[at] = 0
        values[at] = edit.after
        origins[at] = np.where(edit.after == 0, Origin.nobody, origin)
    known = values == flat[places]
    origins[~known] = Origin.nobody
    removed[~known] = 0
    return _count(flat, places, origins, removed)


def _count(
    flat: Label,
    places: npt.NDArray[np.int64],
    origins: npt.NDArray[np.uint8],
    removed: npt.NDArray[np.uint16],
) -> dict[int, OriginCounts]:
    totals = np.zeros(max(int(flat.max()), int(removed.max(initial=0))) + 1, np.int64)
    # In parts, as each is turned into numbers of four times its size; most are empty.
    for part in np.split(flat, range(_PART, flat.size, _PART)):
        if part.any():
            totals += np.bincount(part, minlength=totals.size)
    gone = np.bincount(removed, minlength=totals.size)
    by_origin = {
        origin: np.bincount(flat[places[origins == origin]], minlength=totals.size)
        for origin in (Origin.model, Origin.hand, Origin.operation)
    }
    found = {}
    for label_id in np.flatnonzero(totals + gone):
        if label_id:
            counts = {origin: int(by_origin[origin][label_id]) for origin in by_origin}
            model, hand, operation = counts.values()
            unknown = int(totals[label_id]) - model - hand - operation
            found[int(label_id)] = OriginCounts(
                model, hand, operation, unknown, int(gone[label_id])
            )
    return found
