"""Loads label files in the background."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from napari_medsamq.errors import MedSAMQError
from napari_medsamq.io.labels import LabelFile, read_label
from napari_medsamq.ui.forms.dock_form import SegmentView
from napari_medsamq.ui.messages import report_loaded
from napari_medsamq.ui.worker import Worker
from napari_medsamq.ui.workspace import Workspace


class Loader:
    """Enters the labels of files into a workspace.

    Parameters
    ----------
    view : SegmentView
    workspace : Workspace
    files : Worker
    """

    def __init__(self, view: SegmentView, workspace: Workspace, files: Worker) -> None:
        self._view = view
        self._workspace = workspace
        self._files = files

    def load(self, path: Path) -> None:
        """Load a label file onto the volume."""
        self._view.show_status(f"Loading {path.name}…")
        job = partial(read_label, path, self._workspace.session.volume)
        then = self._workspace.edits.between_strokes(self._files, self._on_read)
        self._files.submit(job, then, self._view.show_failure)

    def _on_read(self, found: LabelFile) -> None:
        session = self._workspace.session
        try:
            edit, numbers = session.load(found)
        except MedSAMQError as error:
            self._view.show_failure(error)
            return
        self._workspace.refresh()
        names = {label_id: session.style(label_id).name for label_id in numbers.values()}
        text = report_loaded(names, numbers, edit.voxels.size)
        self._view.show_status(" ".join([text, *found.notes, "Undo takes it back."]))
