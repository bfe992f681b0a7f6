"""One step back, or forward again."""

from __future__ import annotations

from napari_medsamq.annotation.history import Edit
from napari_medsamq.ui.tools.propagate import PropagateTool
from napari_medsamq.ui.tools.segment import SegmentTool
from napari_medsamq.ui.tools.tool import Tool, ToolContext


class UndoTool(Tool):
    """Takes back what was done to a label last, and does it again.

    Parameters
    ----------
    context : ToolContext
    segment : SegmentTool
        Takes back boxes whose masks are on their way.
    propagate : PropagateTool
        Is stopped first.
    """

    def __init__(
        self, context: ToolContext, segment: SegmentTool, propagate: PropagateTool
    ) -> None:
        super().__init__(context)
        self._segment, self._propagate = segment, propagate
        rail = self._dock.rail
        self.follow(self.undo, rail.undo_requested, self._dock.messages.undo_requested)
        self.follow(self.redo, rail.redo_requested)

    def undo(self) -> None:
        """Take back the last edit, or the last box while it is being segmented."""
        self._propagate.stop()

        def take_back() -> None:
            if not self._segment.take_back():
                self._show("Undone", self._session.history.undo())

        self._workspace.strokes.after_stroke(take_back, self._compute)

    def redo(self) -> None:
        """Make the last undone edit again."""
        self._workspace.strokes.after_stroke(
            lambda: self._show("Done again", self._session.history.redo()), self._compute
        )

    def _show(self, what: str, edit: Edit | None) -> None:
        self._workspace.refresh()
        nothing = "There is nothing to undo." if what == "Undone" else "There is nothing to redo."
        self._say(f"{what}: {edit.name}." if edit else nothing)
