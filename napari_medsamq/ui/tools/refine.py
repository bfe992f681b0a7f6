"""Asks all three planes about the label in hand, in the background, and writes their mean."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from time import perf_counter

import numpy as np

from napari_medsamq.array_types import Bool
from napari_medsamq.errors import MedSAMQError
from napari_medsamq.ui.tools.repair import RepairTool
from napari_medsamq.ui.tools.tool import Tool, ToolContext
from napari_medsamq.ui.worker import CHUNK_S

_TITLE = "Refine in 3D"


class RefineTool(Tool):
    """Refines one label at a time; what was drawn, corrected or accepted stays as it is.

    Parameters
    ----------
    context : ToolContext
    repair : RepairTool
        Writes what comes.
    """

    def __init__(self, context: ToolContext, repair: RepairTool) -> None:
        super().__init__(context)
        self._repair = repair
        self._steps: Generator[int, None, Bool] | None = None
        self.follow(self.start, self._dock.rail.refine_requested)

    def close(self) -> None:
        """Stop, and begin no more."""
        self._steps = None
        super().close()

    @property
    def active(self) -> bool:
        """Whether it is at work."""
        return self._steps is not None

    def start(self) -> None:
        """Refine the label in hand."""
        begin = partial(self._begin, self._workspace.label_id)
        self._workspace.strokes.after_stroke(begin, self._compute)

    def stop(self) -> None:
        """Stop, and leave the label as it is."""
        if self._steps is not None:
            self._steps = None
            self._say(f"{_TITLE}: stopped, nothing was changed.")

    def _begin(self, label_id: int) -> None:
        if self.active:
            return
        session = self._session
        before = session.label == label_id
        try:
            session.require_unlocked(label_id)
            self._steps = session.refine(before)
        except MedSAMQError as error:
            self._fail(error)
            return
        self._go_on(self._steps, label_id, before)

    def _go_on(self, steps: Generator[int, None, Bool], label_id: int, before: Bool) -> None:
        self._compute.submit(
            partial(_take, steps),
            partial(self._on_taken, steps, label_id, before),
            partial(self._on_failure, steps),
            self._workspace.strokes,
        )

    def _on_taken(
        self,
        steps: Generator[int, None, Bool],
        label_id: int,
        before: Bool,
        taken: int | Bool,
    ) -> None:
        if steps is not self._steps:
            return
        if isinstance(taken, int):
            name = self._session.style(label_id).name
            self._say(f"Refining {name}: {taken} slices of three planes left. Esc stops it.")
            self._go_on(steps, label_id, before)
            return
        self._steps = None
        settled = self._session.history.settled(label_id)
        self._repair.write(_TITLE, label_id, before, np.where(settled, before, taken))

    def _on_failure(self, steps: Generator[int, None, Bool], error: BaseException) -> None:
        if steps is not self._steps:
            return
        self._steps = None
        if not isinstance(error, MedSAMQError):
            raise error
        self._fail(error)


def _take(steps: Generator[int, None, Bool]) -> int | Bool:
    """Take steps for a while: return how many slices are left, or at the end the mask."""
    end = perf_counter() + CHUNK_S
    while True:
        try:
            left = next(steps)
        except StopIteration as finished:
            refined: Bool = finished.value
            return refined
        if perf_counter() > end:
            return left
