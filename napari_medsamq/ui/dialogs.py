"""Questions: which volume is meant, whether to go on with earlier work, and to save it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from qtpy.compat import isalive
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QInputDialog, QLabel, QMessageBox, QWidget

from napari_medsamq.errors import ChoiceError, UnevenSlicesError
from napari_medsamq.geometry import voxel_ml
from napari_medsamq.io.source import Selection
from napari_medsamq.io.volume import Volume
from napari_medsamq.plain_text import plain, unguessed
from napari_medsamq.records.recording import Restored
from napari_medsamq.records.recovery import FoundJournal
from napari_medsamq.ui.messages import in_ml


def ask_selection(parent: QWidget, error: BaseException, selection: Selection) -> Selection | None:
    """Ask for what a reader needs to know; None where it is no such error, or for no answer."""
    if isinstance(error, ChoiceError):
        lines = {plain(f"{meaning}  ({value})"): value for value, meaning in error.choices.items()}
        line, accepted = QInputDialog.getItem(
            parent, f"Which {error.option}?", unguessed(error.problem), list(lines), 0, False
        )
        if not accepted:
            return None
        if error.option == "series":
            return replace(selection, series=lines[line])
        return replace(selection, volume=int(lines[line]))
    if isinstance(error, UnevenSlicesError) and not selection.resample:
        buttons = QMessageBox.StandardButton
        question = f"{error}\n\nResample them now? The label is then saved on the even grid."
        if buttons.Yes == QMessageBox.question(parent, "Uneven slices", unguessed(question)):
            return replace(selection, resample=True)
    return None


def ask_label(parent: QWidget, name: str, image: str) -> bool | None:
    """Ask whether what looks like a label is to be loaded onto an open image; None for neither."""
    text = plain(f"{name} looks like a label.")
    answers = plain(f"Load it on {image}"), "Open it as an image"
    return _choice(parent, "Is this a label?", text, "", *answers)


def ask_unsaved(parent: QWidget, changed: Sequence[str], *, kept: bool) -> bool | None:
    """Ask whether to save before the window closes; None for staying.

    Parameters
    ----------
    parent : QWidget
    changed : sequence of str
        What has changed since the last save.
    kept : bool
        Whether it will be there again when the volume is opened again.
    """
    again = "It is kept: open the volume again to go on." if kept else "It is lost if not saved."
    text = plain(f"{', '.join(changed)}: changed since the last save.")
    answers = "Save", "Close without saving"
    return _choice(parent, "Save before you leave?", text, again, *answers)


def ask_resume(
    parent: QWidget, volume: Volume, past: FoundJournal, restored: Restored
) -> bool | None:
    """Ask whether to go on with what was done before; None for no answer, not to open it at all."""
    own_ml = voxel_ml(volume.spacing)
    place = "" if volume.path is None else f" in {volume.path.parent}"
    counts, styles = restored.history.voxel_counts, restored.styles
    when = datetime.fromtimestamp(past.path.stat().st_mtime).astimezone()
    labels = ", ".join(
        f"{styles[label_id].name if label_id in styles else f'Label {label_id}'} "
        f"({in_ml(counts.get(label_id, 0) * own_ml)})"
        for label_id in sorted({*counts, *styles})
    )
    text = f"{volume.name}{place} was worked on before, last on {when:%d %B %Y at %H:%M}."
    more = (
        f"Labels: {labels or 'none'}. {past.warning}\n\nEverything can be undone, as then. If you "
        "start anew, the earlier work is kept in a file of its own."
    )
    return _choice(parent, "Go on with earlier work?", text, more, "Go on", "Start anew")


def _choice(parent: QWidget, title: str, text: str, more: str, yes: str, no: str) -> bool | None:
    """Ask for one of two answers; None for neither, and where its window ends with it."""
    box = QMessageBox(QMessageBox.Icon.Question, title, text, parent=parent)
    box.setInformativeText(more)
    for shown in box.findChildren(QLabel):
        # Names in it are no HTML, whatever they look like.
        shown.setTextFormat(Qt.TextFormat.PlainText)
    role = QMessageBox.ButtonRole
    first, second = box.addButton(yes, role.AcceptRole), box.addButton(no, role.RejectRole)
    cancel = box.addButton("Cancel", role.NoRole)
    box.setEscapeButton(cancel)
    box.setDefaultButton(first)
    box.exec()
    answer = box.clickedButton() if isalive(box) else None
    return True if answer is first else False if answer is second else None
