"""The line across the bottom of the window: what just happened, and how to take it back."""

from __future__ import annotations

from math import ceil

from qtpy.QtCore import QSize, Qt, QTimer, Signal
from qtpy.QtGui import QResizeEvent, QTextDocument
from qtpy.QtWidgets import QFrame, QLabel, QSizePolicy, QTextEdit, QToolBar, QToolButton

from napari_medsamq.plain_text import plain, unguessed
from napari_medsamq.ui.key_focus import by_tab_alone, name_the_rest

_LINES = 2
_SOON_MS = 150
# What is under the mouse may change it without a move of what is beside it.
_LONGEST = "-1000 HU · Right kidney · R 100  A 100  -1000 mm"
# Amber, with a contrast of more than 4.5 on its ground: refused, but nothing is lost.
_REFUSED = "QTextEdit { background-color: #4a3500; color: #ffd98a; }"


class MessageBar(QToolBar):
    """Says what happened, offers to undo it, and shows what is under the mouse."""

    undo_requested = Signal()

    def __init__(self) -> None:
        super().__init__("MedSAM-Q messages")
        self.setMovable(False)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.PreventContextMenu)
        self.line = StatusLine()
        self._undo = QToolButton()
        self._undo.setText("↶ Undo")
        self._undo.setAutoRaise(True)
        self._undo.clicked.connect(self.undo_requested.emit)
        self._place = QLabel()
        self._place.setAccessibleName("Under the mouse")
        self._place.setMinimumWidth(self.fontMetrics().horizontalAdvance(_LONGEST))
        self._place.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self.addWidget(self.line)
        self.addWidget(self._undo)
        self.addWidget(self._place)
        self._announced = ""
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(_SOON_MS)
        self._soon.timeout.connect(self._on_soon)
        by_tab_alone(self)
        name_the_rest(self)
        self.show_undo(None)

    @property
    def text(self) -> str:
        """What is said."""
        return str(self.line.toPlainText())

    def show_text(self, text: str, details: str = "", *, refused: bool = False) -> None:
        """Say what happened, or what was refused and why; details are for those who ask."""
        self._soon.stop()
        self.line.setToolTip(unguessed(details))
        self.line.setPlainText(plain(text, lists=True))
        self.line.setStyleSheet(_REFUSED if refused else "")

    def announce(self, text: str) -> None:
        """Say what goes on, unless it is over so soon: each line costs a picture of the window."""
        self._announced = text
        self._soon.start()

    def _on_soon(self) -> None:
        self.show_text(self._announced)

    def show_undo(self, name: str | None) -> None:
        """Offer to take back what was done last; None where there is nothing."""
        self._undo.setEnabled(name is not None)
        self._undo.setToolTip(unguessed(f"Undo: {name}") if name else "")

    def show_place(self, text: str) -> None:
        """Show what is under the mouse."""
        self._place.setText(text)


class StatusLine(QTextEdit):
    """Whole sentences in room for two lines, which they never change; more of them scroll.

    A label as high as its text would move all that is above it with each new text.
    """

    def __init__(self) -> None:
        super().__init__()
        self.setReadOnly(True)
        self.setTabChangesFocus(True)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)  # a click leaves the keys to the picture
        self.setAccessibleName("Status")
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

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
