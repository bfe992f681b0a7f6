"""What the form about the labels asks for: another one in hand, names, locks, removal."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from napari_medsamq.annotation.history import LabelStyle
from napari_medsamq.errors import MedSAMQError
from napari_medsamq.ui.tools.tool import Tool, ToolContext


class LabelTable(Tool):
    """Follows the form, and napari's own choice of a label.

    Parameters
    ----------
    context : ToolContext
    """

    def __init__(self, context: ToolContext) -> None:
        super().__init__(context)
        form = self._dock.label
        self.follow(self._workspace.show_label, form.label_requested)
        self.follow(self._on_new, form.new_requested)
        self.follow(self._on_style, form.style_requested)
        self.follow(self._on_remove, form.remove_requested)
        self.follow(self._on_selected, self._workspace.labels.events.selected_label)

    def choose(self, place: int) -> None:
        """Take the structure in a line of the list in hand, from 0."""
        self._dock.label.choose(place)

    def _on_new(self, name: str) -> None:
        session, workspace = self._session, self._workspace
        called = {style.name.casefold(): number for number, style in session.styles.items()}
        label_id = called.get(name.casefold())
        if label_id is None:
            taken = {*session.styles, *(wait.label_id for wait in workspace.prompts.waiting)}
            label_id = next(n for n in range(1, len(taken) + 2) if n not in taken)
            session.set_style(label_id, replace(session.style(label_id), name=name))
        workspace.show_label(label_id)

    def _on_style(self, label_id: int, style: LabelStyle) -> None:
        self._session.set_style(label_id, style)
        # Another label may have been locked or hidden than the one that is drawn for.
        self._workspace.show_label(self._workspace.label_id)

    def _on_remove(self, label_id: int) -> None:
        self._workspace.strokes.after_stroke(partial(self._remove, label_id), self._compute)

    def _remove(self, label_id: int) -> None:
        try:
            edit = self._workspace.remove_label(label_id)
        except MedSAMQError as error:
            self._fail(error)
        else:
            self._say(f"Done: {edit.name}.")

    def _on_selected(self) -> None:
        # napari also emits this when the colours change.
        label_id = int(self._workspace.labels.selected_label)
        if label_id not in (0, self._workspace.label_id):
            self._workspace.show_label(label_id)
