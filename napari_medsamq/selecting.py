"""Asks which of several series or volumes is meant, and whether slices may be resampled."""

from __future__ import annotations

from dataclasses import replace

from qtpy.QtWidgets import QInputDialog, QMessageBox, QWidget

from napari_medsamq.errors import ChoiceError, UnevenSlicesError
from napari_medsamq.plain_text import plain, unguessed
from napari_medsamq.volume_io import Selection


def wants_instead(parent: QWidget, error: BaseException, selection: Selection) -> Selection | None:
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
