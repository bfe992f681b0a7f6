"""What has been drawn while a propagation was at work, which it leaves as it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_medsamq.annotation.history import History
from napari_medsamq.array_types import Bool


@dataclass(frozen=True, eq=False)
class PropagationSnapshot:
    """Where a propagation set out from.

    Attributes
    ----------
    axis, label_id : int
    known : frozenset of int
        The slices that it began from.
    edits : int
        How many edits there were.
    kept : (z, y, x) bool
        What it leaves as it is; `keep_drawn` adds to it.
    """

    axis: int
    label_id: int
    known: frozenset[int]
    edits: int
    kept: Bool

    def keep_drawn(self, history: History, group: object) -> set[int]:
        """Keep the slices that other edits than those of its group have made known since.

        Returns
        -------
        drawn : set of int
        """
        if all(edit.group is group for edit in history.edits[self.edits :]):
            return set()
        drawn = set(history.known_slices(self.axis, self.label_id)) - self.known
        np.moveaxis(self.kept, self.axis, 0)[list(drawn)] = True
        return drawn
