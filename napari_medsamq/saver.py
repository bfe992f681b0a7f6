"""Saves the label in the background."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from napari.utils.notifications import show_info

from napari_medsamq.guide import SAVE
from napari_medsamq.session import Session
from napari_medsamq.view import SegmentView
from napari_medsamq.volume_io import SaveReceipt
from napari_medsamq.worker import Worker


class Saver:
    """Writes a session's label, and tells the user when it is safe.

    Parameters
    ----------
    view : SegmentView
    session : Session
    files : Worker
    """

    def __init__(self, view: SegmentView, session: Session, files: Worker) -> None:
        self._view = view
        self._session = session
        self._files = files

    def save(self, path: Path) -> None:
        """Save the label as it is now."""
        # A copy, so that drawing may go on while the file is written.
        label = self._session.label.copy()
        self._view.show_status(f"Saving {path.name}…")
        job = partial(self._session.save, path, label)
        self._files.submit(job, self._on_saved, self._view.show_failure)

    def _on_saved(self, receipt: SaveReceipt) -> None:
        self._session.watch("save", {"path": str(receipt.path), "sha256": receipt.sha256})
        voxels = sum(receipt.counts.values())
        text = f"Saved and verified: {receipt.path} ({voxels:,} voxels)."
        self._view.guide.done(SAVE)
        self._view.show_status(text)
        show_info(text)
