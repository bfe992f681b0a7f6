"""Saves the label, and loads label files, in the background."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from napari_medsamq.annotation.history import Edit
from napari_medsamq.annotation.label_import import import_label
from napari_medsamq.errors import MedSAMQError, SaveError
from napari_medsamq.io.labels import LabelFile, read_label
from napari_medsamq.records.provenance import LabelSnapshot, Saved, save_with_provenance
from napari_medsamq.records.report import make_report, report_path, write_report
from napari_medsamq.ui.forms.guide import SAVE
from napari_medsamq.ui.messages import report_loaded
from napari_medsamq.ui.tools.tool import Tool, ToolContext


class SaveLoadTool(Tool):
    """Writes a workspace's label to files, and enters those of files into it.

    Parameters
    ----------
    context : ToolContext
    """

    def __init__(self, context: ToolContext) -> None:
        super().__init__(context)
        self.follow(self.save, self._dock.files.save_requested)
        self.follow(self.save_again, self._dock.rail.save_requested)
        self.follow(self.load, self._dock.files.load_requested)

    def save_again(self) -> None:
        """Save the label to the file it was saved to last; the first time the user is asked."""
        if self._workspace.saved_to is None:
            self._dock.files.ask_for_target()
        else:
            self.save(self._workspace.saved_to)

    def save(self, path: Path) -> None:
        """Save the label as it is now, or at the end of the stroke that is being painted."""
        self._workspace.strokes.after_stroke(partial(self._save, path), self._files)

    def _save(self, path: Path) -> None:
        # Taken down now, so that drawing may go on while the file is written.
        snapshot, wants_report = LabelSnapshot.of(self._session), self._dock.files.wants_report
        self._say(f"Saving {path.name}…")
        job = partial(_save_with_report, path, snapshot, wants_report)
        edits = self._session.history.edits
        self._files.submit(job, partial(self._on_saved, edits), self._fail)

    def _on_saved(self, edits: tuple[Edit, ...], result: tuple[Saved, str]) -> None:
        saved, report = result
        receipt = saved.receipt
        self._workspace.mark_saved(receipt.path, edits)
        self._session.event.emit("save", {"path": str(receipt.path), "sha256": receipt.sha256})
        voxels = sum(receipt.counts.values())
        text = f"Saved and verified: {receipt.path} ({voxels:,} voxels).{report}"
        self._dock.guide.done(SAVE)
        self._say(text)
        if saved.problem:
            self._fail(SaveError(f"{text} {saved.problem}"))

    def load(self, path: Path) -> None:
        """Load a label file onto the volume."""
        self._say(f"Loading {path.name}…")
        job = partial(read_label, path, self._session.volume)
        self._files.submit(job, self._on_read, self._fail, self._workspace.strokes)

    def _on_read(self, found: LabelFile) -> None:
        session = self._session
        try:
            edit, numbers = import_label(session, found)
        except MedSAMQError as error:
            self._fail(error)
            return
        self._workspace.refresh()
        names = {label_id: session.style(label_id).name for label_id in numbers.values()}
        text = report_loaded(names, numbers, edit.voxels.size)
        self._say(" ".join([text, *found.notes, "Undo takes it back."]))


def _save_with_report(path: Path, snapshot: LabelSnapshot, wanted: bool) -> tuple[Saved, str]:
    """Save a label, and its report if wanted; tell of that, or why there is none."""
    saved = save_with_provenance(path, snapshot)
    if not wanted or saved.provenance is None:
        return saved, ""
    report = report_path(saved.receipt.path)
    try:
        write_report(report, make_report(saved.receipt.path, snapshot.volume))
    except MedSAMQError as error:
        return saved, f" There is no report: {error}"
    return saved, f" Report: {report.name}."
