"""What was done to a volume before, and the question whether to go on with it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from qtpy.compat import isalive
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QMessageBox, QWidget

from napari_medsamq.errors import JournalError
from napari_medsamq.journal import check_volume, journal_path, volume_hash
from napari_medsamq.journal_file import Content, read_journal
from napari_medsamq.recording import Restored, restore
from napari_medsamq.volume_io import Volume


@dataclass(frozen=True)
class Past:
    """Where a volume's journal lies, and what it holds.

    Attributes
    ----------
    path : Path
    key : str
        The volume's hash.
    content : Content or None
    restored : Restored or None
        Both None where there is no journal yet, or one that cannot be gone on with.
    warning : str
        What the user should know about the file; empty if nothing.
    """

    path: Path
    key: str
    content: Content | None
    restored: Restored | None
    warning: str = ""


def find_past(volume: Volume, folder: Path) -> Past:
    """Read the journal of a volume, if there is one; takes a while, and touches no widget."""
    key = volume_hash(volume)
    path = journal_path(folder, key)
    if not path.exists():
        return Past(path, key, None, None)
    try:
        content = read_journal(path)
        check_volume(path, content, key)
        restored = restore(content.records, volume.data.shape[:3], str(path))
    except JournalError as error:
        return Past(path, key, None, None, f"{error} A new one begins; this one is kept.")
    damaged = (
        f"The journal {path} was cut off or altered; all before that place is there. A copy of the "
        "file is kept."
    )
    return Past(path, key, content, restored, damaged if content.damaged else "")


def wants_past(parent: QWidget, volume: Volume, past: Past, restored: Restored) -> bool | None:
    """Ask whether to go on with what was done before; None for no answer, not to open it at all."""
    counts, styles = restored.history.voxel_counts, restored.styles
    when = datetime.fromtimestamp(past.path.stat().st_mtime).astimezone()
    labels = ", ".join(
        f"{styles[label_id].name if label_id in styles else f'Label {label_id}'} "
        f"({counts.get(label_id, 0):,} voxels)"
        for label_id in sorted({*counts, *styles})
    )
    box = QMessageBox(parent)
    box.setIcon(QMessageBox.Icon.Question)
    box.setWindowTitle("Go on with earlier work?")
    box.setText(f"{volume.name} was worked on before, last on {when:%d %B %Y at %H:%M}.")
    box.setInformativeText(
        f"Labels: {labels or 'none'}. {past.warning}\n\nEverything can be undone, as then. If you "
        "start anew, the earlier work is kept in a file of its own."
    )
    for shown in box.findChildren(QLabel):
        # Names in it are no HTML, whatever they look like.
        shown.setTextFormat(Qt.TextFormat.PlainText)
    go_on = box.addButton("Go on", QMessageBox.ButtonRole.AcceptRole)
    anew = box.addButton("Start anew", QMessageBox.ButtonRole.RejectRole)
    cancel = box.addButton("Cancel", QMessageBox.ButtonRole.NoRole)
    box.setEscapeButton(cancel)
    box.setDefaultButton(go_on)
    box.exec()
    # A question ends with its window, unanswered.
    answer = box.clickedButton() if isalive(box) else None
    return True if answer is go_on else False if answer is anew else None
