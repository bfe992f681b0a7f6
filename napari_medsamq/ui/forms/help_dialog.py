"""What `?` opens: the list of keys, and the manual."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from qtpy.QtCore import QEvent, QObject, QSize
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QGridLayout,
    QLabel,
    QScrollArea,
    QTabWidget,
    QTextBrowser,
    QVBoxLayout,
    QWidget,
)

_MANUAL = Path(__file__).parents[2] / "docs" / "manual.md"
# What the manual shows and leads to does not come along: pictures, and the pages beside it.
_PICTURE, _LINK = r"!\[[^\]]*\]\([^)]*\)", r"\[([^\]]+)\]\([^)]*\)"
# Of the screen.
_LARGEST_SHARE = 0.94
_BETWEEN = 24
_ARROWS = {"Left", "Right", "Up", "Down"}
# What is done with the mouse has no key of its own.
_MOUSE = {
    "Drag": "Draw a box, or move the picture",
    "Ctrl + drag": "Window: level (up, down), width (left, right)",
    "Click": "What is missing in the mask; on the bar: a slice",
    "Right click": "What does not belong in the mask",
    "Alt + click": "Take the structure under the mouse in hand",
    "Shift + drag": "A scribble, with the tool Point in hand",
    "Wheel": "Next slice, or slice before; arrow keys, too",
    "Ctrl + wheel": "Zoom",
}


class HelpKey(QObject):
    """Has `?` open the help, on the canvas: napari takes many other characters for the same one.

    Parameters
    ----------
    parent : QObject
    canvas : QWidget
    keys : mapping of str to mapping of str to str
        As in `HelpDialog`.
    """

    def __init__(
        self, parent: QObject, canvas: QWidget, keys: Mapping[str, Mapping[str, str]]
    ) -> None:
        super().__init__(parent)
        self._canvas = canvas
        self._keys = keys
        self._dialog: HelpDialog | None = None
        canvas.installEventFilter(self)

    def close(self) -> None:
        """Listen no more."""
        self._canvas.removeEventFilter(self)
        if self._dialog is not None:
            self._dialog.deleteLater()

    def show(self) -> None:
        """Open the help; the window stays in use meanwhile."""
        if self._dialog is None:
            self._dialog = HelpDialog(self._canvas, self._keys)
        self._dialog.show()
        self._dialog.raise_()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 (Qt's name)
        """Take the question mark; napari gets all other keys."""
        # By the class too: PyQt may hand out an earlier event of another kind, whose place in
        # memory this one has.
        typed = isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress
        if typed and event.text() == "?":
            self.show()
            return True
        return False


class HelpDialog(QDialog):
    """Keys and gestures, each with what it does, and the manual behind them.

    Parameters
    ----------
    parent : QWidget
    keys : mapping of str to mapping of str to str
        Of each group, words by key in napari's notation.
    """

    def __init__(self, parent: QWidget, keys: Mapping[str, Mapping[str, str]]) -> None:
        super().__init__(parent)
        self.setWindowTitle("MedSAM-Q: keys and manual")
        grid = QGridLayout()
        groups = {title: _lines(own) for title, own in keys.items()}
        groups |= {"Mouse": _MOUSE, "Help": {"?": "Show this help"}}
        half = sum(len(own) + 1 for own in groups.values()) / 2
        line, column = 0, 0
        for title, own in groups.items():
            if column == 0 and line + len(own) / 2 > half:
                line, column = 0, 3
            grid.addWidget(QLabel(f"<h4>{title}</h4>"), line, column, 1, 2)
            for line, (key, words) in enumerate(own.items(), line + 1):  # noqa: B020
                label = QLabel(f"<b>{key}</b>")
                label.setAccessibleDescription(words)
                grid.addWidget(label, line, column)
                grid.addWidget(QLabel(words), line, column + 1)
            line += 1
        grid.setColumnMinimumWidth(2, _BETWEEN)
        grid.setVerticalSpacing(2)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.reject)
        # On a small screen, or with large text, the list is longer than the screen.
        inside, scroll = QWidget(), QScrollArea()
        inside.setLayout(grid)
        scroll.setWidget(inside)
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QScrollArea.Shape.NoFrame)
        scroll.setAccessibleName("Keys")
        tabs = QTabWidget()
        tabs.addTab(scroll, "Keys")
        tabs.addTab(_manual(), "Manual")
        layout = QVBoxLayout(self)
        layout.addWidget(tabs)
        layout.addWidget(buttons)
        # Styles put frames around tabs and lists, which are no wider than this.
        bar = scroll.verticalScrollBar().sizeHint().width()
        around = layout.contentsMargins()
        wanted = inside.sizeHint() + QSize(
            2 * bar + around.left() + around.right(),
            bar
            + tabs.tabBar().sizeHint().height()
            + buttons.sizeHint().height()
            + layout.spacing()
            + around.top()
            + around.bottom(),
        )
        room = parent.screen().availableGeometry().size()
        self.resize(wanted.boundedTo(room * _LARGEST_SHARE))


def _manual() -> QTextBrowser:
    """Return the manual, to be read where the work is done."""
    text = re.sub(_LINK, r"\1", re.sub(_PICTURE, "", _MANUAL.read_text(encoding="utf-8")))
    page = QTextBrowser()
    page.setAccessibleName("Manual")
    page.setOpenLinks(False)
    page.setMarkdown(text)
    return page


def _lines(keys: Mapping[str, str]) -> dict[str, str]:
    """Have keys that do the same in several directions share a line."""
    together: dict[str, list[str]] = {}
    for key, words in keys.items():
        shown = key.replace("Control", "Ctrl").replace("-", " + ")
        together.setdefault(words, []).append(shown)
    return {_joined(shown): words for words, shown in together.items()}


def _joined(keys: list[str]) -> str:
    """Write keys that differ in their last part alone as one: `Alt + arrows`."""
    lasts = [key.rpartition(" + ")[2] for key in keys]
    if set(lasts) == _ARROWS:
        return keys[0].removesuffix(lasts[0]) + "arrows"
    digits = len(keys) > 2 and "".join(lasts).isdigit()
    return f"{lasts[0]} to {lasts[-1]}" if digits else ", ".join([keys[0], *lasts[1:]])
