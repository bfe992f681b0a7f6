"""What the form about the labels asks for: another one in hand, names, locks, removal."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from napari_medsamq.annotation.history import Edit, LabelStyle
from napari_medsamq.errors import MedSAMQError
from napari_medsamq.ui.forms.dock_form import SegmentView
from napari_medsamq.ui.worker import Worker
from napari_medsamq.ui.workspace import Workspace


class Naming:
    """Follows the form, and napari's own choice of a label, for one workspace.

    Parameters
    ----------
    workspace : Workspace
    view : SegmentView
    compute : Worker
        Runs for as long as the dock is there.
    tell : callable
        Takes a word and the edit that was made.
    """

    def __init__(
        self,
        workspace: Workspace,
        view: SegmentView,
        compute: Worker,
        tell: Callable[[str, Edit | None], None],
    ) -> None:
        self._workspace = workspace
        self._view = view
        self._compute = compute
        self._tell = tell
        self._wires: list[tuple[Any, Callable[..., None]]] = [
            (view.label.label_requested, workspace.show_label),
            (view.label.style_requested, self._on_style),
            (view.label.remove_requested, self._on_remove),
            (workspace.labels.events.selected_label, self._on_selected),
        ]
        for signal, slot in self._wires:
            signal.connect(slot)

    def close(self) -> None:
        """Follow them no more."""
        for signal, slot in self._wires:
            signal.disconnect(slot)

    def _on_style(self, label_id: int, style: LabelStyle) -> None:
        self._workspace.session.set_style(label_id, style)
        # Another label may have been locked or hidden than the one that is drawn for.
        self._workspace.show_label(self._workspace.label_id)

    def _on_remove(self, label_id: int) -> None:
        self._workspace.edits.after_stroke(partial(self._remove, label_id), self._compute)

    def _remove(self, label_id: int) -> None:
        try:
            self._tell("Done", self._workspace.remove_label(label_id))
        except MedSAMQError as error:
            self._view.show_failure(error)

    def _on_selected(self) -> None:
        # napari also emits this when the colours change.
        label_id = int(self._workspace.labels.selected_label)
        if label_id not in (0, self._workspace.label_id):
            self._workspace.show_label(label_id)
