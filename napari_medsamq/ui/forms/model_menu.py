"""The menu of models in the dock."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from qtpy.QtCore import QModelIndex, QSignalBlocker, QSize, Qt, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QStyledItemDelegate,
    QStyleOptionViewItem,
)

from napari_medsamq.plain_text import unguessed

_LEAST_LETTERS = 14
_LINE = Qt.ItemDataRole.UserRole + 1
_ROOM = ", 1000 ms  "  # for a time that comes while the list is open


@dataclass(frozen=True)
class ModelEntry:
    """A line of the menu.

    Attributes
    ----------
    directory : Path or None
        The model directory; None for the program's own choice.
    name : str
        What the closed menu shows.
    line : str
        What the open menu shows.
    facts : str
        What is said where the mouse rests.
    """

    directory: Path | None
    name: str
    line: str
    facts: str


_OTHER = ModelEntry(None, "Other folder…", "Other folder…", "A folder with a model.json")
_LEARN = ModelEntry(
    None,
    "Learn from my corrections…",
    "Learn from my corrections…",
    "A network of your own, kept only where it is better on images that it has not seen",
)


class _WholeLine(QStyledItemDelegate):
    """Paints the line of an entry in place of its name."""

    def initStyleOption(  # noqa: N802 (Qt's name)
        self, option: QStyleOptionViewItem, index: QModelIndex
    ) -> None:
        super().initStyleOption(option, index)
        option.text = index.data(_LINE)

    def sizeHint(  # noqa: N802 (Qt's name)
        self, option: QStyleOptionViewItem, index: QModelIndex
    ) -> QSize:
        size = super().sizeHint(option, index)
        size.setWidth(
            max(size.width(), option.fontMetrics.horizontalAdvance(index.data(_LINE)) + 16)
        )
        return size


class ModelBox(QComboBox):
    """Lets the user choose a model, or leave it to the program.

    Signals
    -------
    requested : Path or None
        The chosen model directory; None for the program's own choice.
    opened
        The list is about to be seen.
    lesson_requested
        A network is to learn from the user's work.
    """

    requested = Signal(object)
    opened = Signal()
    lesson_requested = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._chosen = 0
        self.setAccessibleName("Network")
        # The dock is narrow; the open list is as wide as its lines.
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(_LEAST_LETTERS)
        self.setItemDelegate(_WholeLine(self))
        self.activated.connect(self._on_activated)

    def show_models(self, entries: list[ModelEntry], chosen: Path | None) -> None:
        """Show models, and which of them is chosen."""
        rows = [*entries, _OTHER, _LEARN]
        with QSignalBlocker(self):
            while self.count() > len(rows):
                self.removeItem(self.count() - 1)
            while self.count() < len(rows):
                self.addItem("")
            # In place, so that a list which is open stays open.
            for row, entry in enumerate(rows):
                self.setItemText(row, entry.name)
                self.setItemData(row, entry.directory)
                self.setItemData(row, entry.line, _LINE)
                self.setItemData(row, unguessed(entry.facts), Qt.ItemDataRole.ToolTipRole)
                # A screen reader reads the open list, too.
                self.setItemData(row, entry.line, Qt.ItemDataRole.AccessibleTextRole)
            self._chosen = [entry.directory for entry in entries].index(chosen)
            self.setCurrentIndex(self._chosen)
            own = rows[self._chosen]
            self.setToolTip(unguessed(f"{own.line}\n{own.facts}"))

    def showPopup(self) -> None:  # noqa: N802 (Qt's name)
        """Open the list."""
        self.opened.emit()
        self.view().setMinimumWidth(self.view().sizeHintForColumn(0) + 30)
        super().showPopup()

    def _on_activated(self, row: int) -> None:
        if row < self.count() - 2:
            self.requested.emit(self.itemData(row))
            return
        # Until there is another model, nothing has changed.
        self.setCurrentIndex(self._chosen)
        if row == self.count() - 1:
            self.lesson_requested.emit()
            return
        name = QFileDialog.getExistingDirectory(self, "Choose a model directory")
        if name:
            self.requested.emit(Path(name))
