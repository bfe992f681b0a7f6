"""Carries out repairs of a label in the background, and writes them as one step."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from napari_medsamq.annotation.acceptance import holding
from napari_medsamq.annotation.repairs import Repair
from napari_medsamq.array_types import Bool
from napari_medsamq.errors import MedSAMQError, PromptError
from napari_medsamq.geometry import voxel_ml
from napari_medsamq.ui.tools.propagate import PropagateTool
from napari_medsamq.ui.tools.tool import Tool, ToolContext


class RepairTool(Tool):
    """Repairs the label in hand.

    Parameters
    ----------
    context : ToolContext
    propagate : PropagateTool
        Does not make slices anew because a repair has changed them.
    """

    def __init__(self, context: ToolContext, propagate: PropagateTool) -> None:
        super().__init__(context)
        self._propagate = propagate
        self.follow(self.repair, self._dock.check.repair_requested)

    def repair_as_chosen(self) -> None:
        """Repair the label in hand in the way that is chosen in the form."""
        self._dock.check.ask_for_repair()

    def repair(self, repair: Repair, numbers: Sequence[float]) -> None:
        """Repair the label in hand; what goes by slices takes those of the plane in view."""
        begin = partial(self._begin, repair, self._workspace.label_id, self._view.axis, numbers)
        self._workspace.strokes.after_stroke(begin, self._compute)

    def _begin(self, repair: Repair, label_id: int, axis: int, numbers: Sequence[float]) -> None:
        session = self._session
        mask = session.label == label_id
        try:
            operation = repair.make(session, axis, numbers)
        except MedSAMQError as error:
            self._fail(error)
            return
        self._say(f"{repair.title}…")
        self._compute.submit(
            partial(operation, mask),
            partial(self.write, repair.title, label_id, mask, takes=repair.takes),
            self._fail,
            self._workspace.strokes,
        )

    def write(
        self, title: str, label_id: int, before: Bool, after: Bool, *, takes: bool = False
    ) -> None:
        """Write a label's new mask as one step, unless it is not as it was before any more.

        Parameters
        ----------
        title : str
            What was done.
        label_id : int
        before, after : (z, y, x) bool
        takes : bool
            Whether it may take voxels of other labels that are not locked.
        """
        session, history = self._session, self._session.history
        accepted = holding(session.label, history.accepted)
        try:
            if not np.array_equal(session.label == label_id, before):
                raise PromptError(
                    f"{session.style(label_id).name} was changed while '{title}' was at work, "
                    "which was given up. Ask for it again."
                )
            with self._propagate.keep_gaps_done(label_id):
                edit = session.operate(label_id, title.lower(), lambda _: after, takes=takes)
        except MedSAMQError as error:
            self._fail(error)
            return
        self._workspace.refresh()
        gained = int(np.count_nonzero(edit.after == label_id))
        lost = edit.voxels.size - gained
        unit = voxel_ml(session.volume.spacing)
        text = f"{edit.name}: {(gained - lost) * unit:+,.1f} mL."
        changed = len(accepted - holding(session.label, history.accepted))
        if changed:
            masks = "accepted mask has" if changed == 1 else "accepted masks have"
            text += f" {changed} {masks} changed, and must be accepted again."
        self._say(f"{text} Undo takes it back.", f"{gained:,} voxels more, {lost:,} fewer")
