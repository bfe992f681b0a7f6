"""Saves the label in the background."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from napari.utils.notifications import show_info

from napari_medsamq.errors import MedSAMQError, SaveError
from napari_medsamq.plain_text import unguessed
from napari_medsamq.records.provenance import LabelSnapshot, Saved, save_with_provenance
from napari_medsamq.records.report import make_report, report_path, write_report
from napari_medsamq.ui.forms.dock_form import SegmentView
from napari_medsamq.ui.forms.guide import SAVE
from napari_medsamq.ui.worker import Worker
from napari_medsamq.ui.workspace import Workspace


class Saver:
    """Writes a workspace's label, and tells the user when it is safe.

    Parameters
    ----------
    view : SegmentView
    workspace : Workspace
    files : Worker
    """

    def __init__(self, view: SegmentView, workspace: Workspace, files: Worker) -> None:
        self._view = view
        self._workspace = workspace
        self._session = workspace.session
        self._files = files

    def save_again(self) -> None:
        """Save the label to the file it was saved to last; the first time the user is asked."""
        if self._workspace.saved_to is None:
            self._view.ask_for_target()
        else:
            self.save(self._workspace.saved_to)

    def save(self, path: Path) -> None:
        """Save the label as it is now, or at the end of the stroke that is being painted."""
        self._workspace.edits.after_stroke(partial(self._save, path), self._files)

    def _save(self, path: Path) -> None:
        # Taken down now, so that drawing may go on while the file is written.
        snapshot, wants_report = LabelSnapshot.of(self._session), self._view.wants_report
        self._view.show_status(f"Saving {path.name}…")

        def job() -> tuple[Saved, str]:
            saved = save_with_provenance(path, snapshot)
            return saved, _report(saved, snapshot) if wants_report else ""

        self._files.submit(job, self._on_saved, self._view.show_failure)

    def _on_saved(self, result: tuple[Saved, str]) -> None:
        saved, report = result
        receipt = saved.receipt
        self._workspace.saved_to = receipt.path
        self._session.event.emit("save", {"path": str(receipt.path), "sha256": receipt.sha256})
        voxels = sum(receipt.counts.values())
        text = f"Saved and verified: {receipt.path} ({voxels:,} voxels).{report}"
        self._view.guide.done(SAVE)
        self._view.show_status(text)
        show_info(unguessed(text))
        if saved.problem:
            self._view.show_failure(SaveError(f"{text} {saved.problem}"))


def _report(saved: Saved, snapshot: LabelSnapshot) -> str:
    """Write the report about a label that was saved, and say so, or why there is none."""
    path = report_path(saved.receipt.path)
    if saved.provenance is None:
        return ""
    try:
        write_report(path, make_report(saved.receipt.path, snapshot.volume))
    except MedSAMQError as error:
        return f" There is no report: {error}"
    return f" Report: {path.name}."
