"""The list of keys that `?` opens."""

from __future__ import annotations

from collections.abc import Mapping

from qtpy.QtWidgets import QDialog, QDialogButtonBox, QGridLayout, QLabel, QVBoxLayout, QWidget

# What is done with the mouse has no key of its own.
_MOUSE = (
    ("Drag", "Draw a box while boxes are drawn; else move the picture"),
    ("Ctrl + drag", "Change level (up, down) and width (left, right) of the window"),
    ("Click", "What is missing, while clicks correct; on the strip below: go to a slice"),
    ("Right or Alt + click", "What does not belong, while clicks correct"),
    ("Wheel + Ctrl", "Scroll through the slices"),
)


class HelpDialog(QDialog):
    """Keys and gestures, each with what it does.

    Parameters
    ----------
    parent : QWidget
    keys : mapping of str to str
        Words by key, in napari's notation.
    """

    def __init__(self, parent: QWidget, keys: Mapping[str, str]) -> None:
        super().__init__(parent)
        self.setWindowTitle("MedSAM-Q: keys")
        grid = QGridLayout()
        rows = [(key.replace("Control", "Ctrl").replace("-", " + "), w) for key, w in keys.items()]
        for number, (key, words) in enumerate((*rows, *_MOUSE)):
            shown = QLabel(f"<b>{key}</b>")
            shown.setAccessibleDescription(words)
            grid.addWidget(shown, number, 0)
            grid.addWidget(QLabel(words), number, 1)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.addLayout(grid)
        layout.addWidget(buttons)
