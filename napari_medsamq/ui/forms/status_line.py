"""The line that says what just happened."""

from __future__ import annotations

from math import ceil

from qtpy.QtCore import QSize
from qtpy.QtGui import QResizeEvent, QTextDocument
from qtpy.QtWidgets import QFrame, QSizePolicy, QTextEdit

_LINES = 3


class StatusLine(QTextEdit):
    """Whole sentences in room for three lines, which they never change; more of them scroll.

    A label as high as its text would move all that is below it with each new text.
    """

    def __init__(self) -> None:
        super().__init__()
        self.setReadOnly(True)
        self.setTabChangesFocus(True)
        self.setAccessibleName("Status")
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 (Qt's name)
        """Ask for the height again: only now it is known what the theme puts around the text."""
        super().resizeEvent(event)
        self.updateGeometry()

    def sizeHint(self) -> QSize:  # noqa: N802 (Qt's name)
        """Return a size for the lines, however large the text is."""
        # Measured, as lines are laid out taller than the font's own line spacing.
        lines = QTextDocument("\n" * (_LINES - 1))
        lines.setDefaultFont(self.font())
        around = self.height() - self.viewport().height()
        return QSize(super().sizeHint().width(), ceil(lines.size().height()) + around)

    def minimumSizeHint(self) -> QSize:  # noqa: N802 (Qt's name)
        """Return the same height."""
        return QSize(0, self.sizeHint().height())
