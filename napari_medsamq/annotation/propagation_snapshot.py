"""What is known of a label as a propagation begins: its masks, and what is to stay as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from napari_medsamq.annotation.acceptance import kept_voxels
from napari_medsamq.annotation.history import History
from napari_medsamq.array_types import Bool
from napari_medsamq.prompts import BoxPrompt, BoxPrompt3D


@dataclass(frozen=True, eq=False)
class PropagationSnapshot:
    """Where a propagation set out from, and what it leaves as it is.

    Attributes
    ----------
    axis, label_id : int
    known : mapping of int to (H, W) bool
        The masks that it began from, by slice.
    edits : int
        How many edits there were.
    kept : (z, y, x) bool
        What it leaves as it is, within boxes on other planes too; `keep_drawn` adds to it.
    within : sequence of BoxPrompt3D
        Where the label is known to lie.
    """

    axis: int
    label_id: int
    known: Mapping[int, Bool]
    edits: int
    kept: Bool
    within: Sequence[BoxPrompt3D]

    @classmethod
    def of(cls, history: History, axis: int, label_id: int) -> PropagationSnapshot:
        """Take down from where a label would be carried along an axis now."""
        known = history.anchors(axis, label_id)
        kept = kept_voxels(history.label, history.accepted, axis, label_id)
        for prompt in history.prompts:
            if isinstance(box := prompt.box, BoxPrompt) and prompt.label_id == label_id:
                place = box.index, slice(box.y0, box.y1 + 1), slice(box.x0, box.x1 + 1)
                np.moveaxis(kept, box.axis, 0)[place] = True
                kept.reshape(-1)[prompt.voxels] = True
        within = history.boxes_3d(axis, label_id)
        return cls(axis, label_id, known, len(history.edits), kept, within)

    def keep_drawn(self, history: History, group: object) -> set[int]:
        """Keep the slices that other edits than those of its group have made known since.

        Returns
        -------
        drawn : set of int
        """
        if all(edit.group is group for edit in history.edits[self.edits :]):
            return set()
        drawn = history.known_indices(self.axis, self.label_id) - set(self.known)
        np.moveaxis(self.kept, self.axis, 0)[list(drawn)] = True
        return drawn
