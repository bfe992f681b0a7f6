"""A strip along the bottom of the canvas: which slices need a look, in colours and hatching.

The cells of masks that nobody has seen are half as high.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from qtpy.QtCore import QEvent, QObject, QRect, Qt, Signal
from qtpy.QtGui import QBrush, QColor, QMouseEvent, QPainter, QPaintEvent
from qtpy.QtWidgets import QToolTip, QWidget

from napari_medsamq.annotation.review import Grade

STRIP_HEIGHT, _MARGIN = 12, 8
# Okabe and Ito's green, orange and vermilion; the hatching says the same without any colour.
_LOOKS = {
    Grade.accepted: ("#009E73", Qt.BrushStyle.SolidPattern),
    Grade.sure: ("#009E73", Qt.BrushStyle.Dense4Pattern),
    Grade.unsure: ("#E69F00", Qt.BrushStyle.FDiagPattern),
    Grade.doubtful: ("#D55E00", Qt.BrushStyle.DiagCrossPattern),
    Grade.unknown: ("#808080", Qt.BrushStyle.Dense6Pattern),
}
# Of 255: below the hatching.
_PALE = 90
_UNSEEN = QColor("black")
_BACK, _HERE = QColor(0, 0, 0, 150), QColor("white")


class ReviewStrip(QWidget):
    """One cell for each slice; a click on it shows the slice.

    Parameters
    ----------
    canvas : QWidget
        At whose bottom it lies.
    describe : callable
        Says in a line what is known of a slice.
    """

    chosen = Signal(int)  # the slice that was clicked on

    def __init__(self, canvas: QWidget, describe: Callable[[int], str]) -> None:
        super().__init__(canvas)
        self._canvas = canvas
        self._describe = describe
        self.grades: Sequence[Grade | None] = ()
        self.unseen: Collection[int] = ()
        self._here = 0
        self.setAccessibleName("Slices to check")
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setMouseTracking(True)
        canvas.installEventFilter(self)
        self.hide()

    def close_strip(self) -> None:
        """Take it away."""
        self._canvas.removeEventFilter(self)
        self.hide()
        self.deleteLater()

    def show_grades(
        self, grades: Sequence[Grade | None], here: int, unseen: Collection[int] = ()
    ) -> None:
        """Show the grade of each slice, where the view is, and which masks nobody has seen."""
        self.grades, self._here, self.unseen = grades, here, unseen
        shown = any(grades)
        if shown:
            self.setAccessibleDescription(self._describe(here))
            self._place()
        self.setVisible(shown)
        self.update()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 (Qt's name)
        """Stay at the bottom."""
        if event.type() in (QEvent.Type.Resize, QEvent.Type.Show):
            self._place()
        return False

    def slice_at(self, x: float) -> int:
        """Return the slice whose cell lies at a pixel of the strip."""
        index = int(x * len(self.grades) / max(1, self.width()))
        return min(max(index, 0), len(self.grades) - 1)

    def cell(self, index: int) -> QRect:
        """Return where the cell of a slice lies in the strip."""
        wide = self.width() / max(1, len(self.grades))
        left, right = round(index * wide), round((index + 1) * wide)
        return QRect(left, 0, max(1, right - left), self.height())

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802 (Qt's name)
        """Show the slice that is clicked on."""
        self.chosen.emit(self.slice_at(event.pos().x()))

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802 (Qt's name)
        """Say what the slice under the pointer is."""
        text = self._describe(self.slice_at(event.pos().x()))
        QToolTip.showText(self.mapToGlobal(event.pos()), text, self)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 (Qt's name)
        """Paint the cells, and a frame around that of the slice in view."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), _BACK)
        for index, found in enumerate(self.grades):
            if found is not None:
                color, pattern = _LOOKS[found]
                pale = QColor(color)
                pale.setAlpha(_PALE)
                painter.fillRect(self.cell(index), pale)
                painter.fillRect(self.cell(index), QBrush(QColor(color), pattern))
        for index in self.unseen:
            cell = self.cell(index)
            painter.fillRect(cell.adjusted(0, cell.height() // 2, 0, 0), _UNSEEN)
        painter.setPen(_HERE)
        painter.drawRect(self.cell(self._here).adjusted(0, 0, -1, -1))
        painter.end()

    def _place(self) -> None:
        width, height = self._canvas.width(), self._canvas.height()
        self.setGeometry(_MARGIN, height - STRIP_HEIGHT - 2, width - 2 * _MARGIN, STRIP_HEIGHT)
        self.raise_()
