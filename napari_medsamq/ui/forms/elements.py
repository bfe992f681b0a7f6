"""What the forms are made of: tables, menus, buttons and labels that fit a narrow dock."""

from __future__ import annotations

from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHeaderView,
    QLabel,
    QPushButton,
    QSizePolicy,
    QTableWidget,
)

_LINE_MARGIN = 8


class Table(QTableWidget):
    """A table that shows so many lines at once, however large the text is.

    Parameters
    ----------
    columns, lines : int
    """

    def __init__(self, columns: int, lines: int) -> None:
        super().__init__(0, columns)
        self._lines = lines
        self.verticalHeader().hide()
        self.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def sizeHint(self) -> QSize:  # noqa: N802 (Qt's name)
        """Return a size for the lines and what stands above them."""
        header = self.horizontalHeader()
        above = 0 if header.isHidden() else header.sizeHint().height()
        line = max(self.fontMetrics().height() + _LINE_MARGIN, self.sizeHintForRow(0))
        height = above + self._lines * line + 2 * self.frameWidth()
        return QSize(super().sizeHint().width(), height)

    def minimumSizeHint(self) -> QSize:  # noqa: N802 (Qt's name)
        """Return the same height: what does not fit the dock is scrolled to."""
        return QSize(super().minimumSizeHint().width(), self.sizeHint().height())


def narrow(box: QComboBox) -> None:
    """Let a menu take what room there is, not what its longest line wants: the dock is narrow."""
    box.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)


def button(text: str, slot: object) -> QPushButton:
    """Return a push button that calls `slot` without arguments."""
    result = QPushButton(text)
    result.clicked.connect(lambda: slot())  # type: ignore[operator]
    return result


def wrapping_label(name: str) -> QLabel:
    """Return an empty label for whole sentences; `name` is what a screen reader calls it."""
    label = QLabel()
    # Names in it are no HTML, whatever they look like.
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setWordWrap(True)
    label.setAccessibleName(name)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return label
