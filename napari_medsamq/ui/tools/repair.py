"""Carries out repairs of a label in the background, and writes them as one step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from napari_medsamq.annotation.repairs import Repair
from napari_medsamq.array_types import Bool
from napari_medsamq.errors import MedSAMQError, PromptError
from napari_medsamq.ui.tools.propagate import Propagator
from napari_medsamq.ui.worker import Worker
from napari_medsamq.ui.workspace import Workspace


class Mending:
    """Repairs the label in hand.

    Parameters
    ----------
    workspace : Workspace
    compute : Worker
    propagator : Propagator
        Does not make slices anew because a repair has changed them.
    say, fail : callable
        Told what was done, or why nothing was.
    """

    def __init__(
        self,
        workspace: Workspace,
        compute: Worker,
        propagator: Propagator,
        say: Callable[[str], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        self._workspace = workspace
        self._compute = compute
        self._propagator = propagator
        self._say = say
        self._fail = fail

    def repair(self, repair: Repair, axis: int, numbers: Sequence[float]) -> None:
        """Repair the label in hand; `axis` is the array axis normal to the plane in view."""
        label_id = self._workspace.label_id
        begin = partial(self._begin, repair, label_id, axis, numbers)
        self._workspace.edits.after_stroke(begin, self._compute)

    def _begin(self, repair: Repair, label_id: int, axis: int, numbers: Sequence[float]) -> None:
        session = self._workspace.session
        mask = session.label == label_id
        operation = repair.make(session, axis, numbers)
        self._say(f"{repair.title}…")
        then = partial(self._on_mask, repair, label_id, mask)
        self._compute.submit(
            partial(operation, mask),
            self._workspace.edits.between_strokes(self._compute, then),
            self._fail,
        )

    def _on_mask(self, repair: Repair, label_id: int, before: Bool, after: Bool) -> None:
        session = self._workspace.session
        try:
            if not np.array_equal(session.label == label_id, before):
                raise PromptError(
                    f"{session.style(label_id).name} was changed while '{repair.title}' was at "
                    "work, which was given up. Repair it again."
                )
            with self._propagator.outlasting(label_id):
                edit = session.operate(
                    label_id, repair.title.lower(), lambda _: after, takes=repair.takes
                )
        except MedSAMQError as error:
            self._fail(error)
            return
        self._workspace.refresh()
        gained = int(np.count_nonzero(edit.after == label_id))
        lost = edit.voxels.size - gained
        self._say(f"{edit.name}: {gained:,} voxels more, {lost:,} fewer. Undo takes it back.")
