"""The bar along the bottom of the canvas: which slice is in view, and what is known of all.

Colours and hatching say which masks need a look; those that nobody has seen are half as high. A
thin line above them shows the slices where a box need not wait for the network.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import groupby
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import QEvent, QObject, QRect, Qt, Signal
from qtpy.QtGui import QBrush, QColor, QMouseEvent, QPainter, QPaintEvent
from qtpy.QtWidgets import QToolButton, QToolTip, QWidget

from napari_medsamq.annotation.review import Grade

BAR_HEIGHT = 26
_MARGIN, _READY_HEIGHT, _GAP = 8, 3, 2
# As wide as what is said of the slice can be.
_LONGEST = "1000 of 1000 · -1000 mm"
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
_UNSEEN, _HERE = QColor("black"), QColor("white")
_BACK, _EMPTY = QColor(0, 0, 0, 190), QColor(255, 255, 255, 36)
_READY = _CARRIED = QColor("#56B4E9")

Value = TypeVar("Value")


class SliceBar(QWidget):
    """One cell for each slice; a press or a drag on it shows the slice.

    Parameters
    ----------
    canvas : QWidget
        At whose bottom it lies.

    Attributes
    ----------
    describe : callable
        Says in a line what is known of a slice.
    grades : sequence of Grade or None
        Of the slices' masks.
    unseen : collection of int
        Slices whose masks nobody has seen.
    ready : (n,) bool
        Slices that the network has looked at.
    """

    chosen = Signal(int)  # the slice that was pressed on
    stop_requested = Signal()

    def __init__(self, canvas: QWidget) -> None:
        super().__init__(canvas)
        self._canvas = canvas
        self.describe: Callable[[int], str] = str
        self.grades: Sequence[Grade | None] = ()
        self.unseen: Collection[int] = ()
        self.ready: npt.NDArray[np.bool_] = np.zeros(0, bool)
        self._carried: set[int] = set()
        self._count, self._here, self._text = 0, 0, ""
        self.setAccessibleName("Slices")
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setMouseTracking(True)
        self._stop = QToolButton(self)
        self._stop.setText("■ Stop")
        self._stop.setToolTip("Stop the propagation  (Esc)")
        self._stop.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._stop.setCursor(Qt.CursorShape.ArrowCursor)
        self._stop.clicked.connect(self.stop_requested.emit)
        self._stop.hide()
        canvas.installEventFilter(self)
        self.hide()

    def close_bar(self) -> None:
        """Take it away."""
        self._canvas.removeEventFilter(self)
        self.hide()
        self.deleteLater()

    @property
    def text(self) -> str:
        """What is said of the slice in view."""
        return self._text

    def show_slice(self, count: int, here: int, text: str) -> None:
        """Show which of so many slices is in view; with fewer than two the bar is hidden."""
        if count != self._count:
            self.grades, self.unseen, self.ready = (), (), np.zeros(0, bool)
            self._carried.clear()
        self._count, self._here, self._text = count, here, text
        self.setVisible(count > 1)
        self._place()
        self.update()

    def show_grades(self, grades: Sequence[Grade | None], unseen: Collection[int] = ()) -> None:
        """Show the grade of each slice, and which masks nobody has seen."""
        self.grades, self.unseen = grades, unseen
        self._carried -= {index for index, grade in enumerate(grades) if grade is not None}
        if grades:
            self.setAccessibleDescription(self.describe(self._here))
        self.update()

    def show_ready(self, ready: npt.NDArray[np.bool_]) -> None:
        """Show which slices (n,) bool are ready for a box."""
        self.ready = ready
        self.update()

    def show_carried(self, indices: Iterable[int]) -> None:
        """Show slices that a propagation has come to, until their grades are known."""
        self._carried.update(indices)
        self.update()

    def clear_carried(self) -> None:
        """Show no slices as carried any more: what came to them was given up."""
        self._carried.clear()
        self.update()

    def show_propagating(self, propagating: bool) -> None:
        """Offer to stop a propagation, or no more."""
        self._stop.setVisible(propagating)
        self._place()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 (Qt's name)
        """Stay at the bottom."""
        if event.type() in (QEvent.Type.Resize, QEvent.Type.Show):
            self._place()
        return False

    def slice_at(self, x: float) -> int:
        """Return the slice whose cell lies at a pixel of the bar."""
        area = self._cells()
        index = int((x - area.x()) * self._count / max(1, area.width()))
        return min(max(index, 0), self._count - 1)

    def cell(self, index: int, count: int = 1) -> QRect:
        """Return where the cell of a slice, or of several from there on, lies in the bar."""
        area = self._cells()
        wide = area.width() / max(1, self._count)
        left, right = round(index * wide), round((index + count) * wide)
        return QRect(area.x() + left, area.y(), max(1, right - left), area.height())

    def _cells(self) -> QRect:
        left = self.fontMetrics().horizontalAdvance(_LONGEST) + _MARGIN
        right = self._stop.width() + _MARGIN if not self._stop.isHidden() else 0
        top = _READY_HEIGHT + 2 * _GAP
        return QRect(left, top, self.width() - left - right - _MARGIN, self.height() - top - _GAP)

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802 (Qt's name)
        """Show the slice that is pressed on."""
        self.chosen.emit(self.slice_at(event.pos().x()))

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802 (Qt's name)
        """Say what the slice under the pointer is, and show it while a button is held down."""
        index = self.slice_at(event.pos().x())
        if event.buttons() & Qt.MouseButton.LeftButton:
            self.chosen.emit(index)
        QToolTip.showText(self.mapToGlobal(event.pos()), self.describe(index), self)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 (Qt's name)
        """Paint the cells, what is ready above them, and where the view is."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), _BACK)
        painter.fillRect(self._cells(), _EMPTY)
        for start, count, grade in _runs(self.grades):
            if grade is not None:
                color, pattern = _LOOKS[grade]
                pale = QColor(color)
                pale.setAlpha(_PALE)
                painter.fillRect(self.cell(start, count), pale)
                painter.fillRect(self.cell(start, count), QBrush(QColor(color), pattern))
        for index in self.unseen:
            cell = self.cell(index)
            painter.fillRect(cell.adjusted(0, cell.height() // 2, 0, 0), _UNSEEN)
        for index in self._carried:
            painter.fillRect(self.cell(index), _CARRIED)
        for start, count, ready in _runs(self.ready.tolist()):
            if ready:
                cell = self.cell(start, count)
                painter.fillRect(cell.x(), _GAP, cell.width(), _READY_HEIGHT, _READY)
        painter.setPen(_HERE)
        here = self.cell(self._here)
        painter.drawRect(here.adjusted(0, -1, -1, 0))
        painter.fillRect(here.center().x(), here.y() - 2, 2, here.height() + 4, _HERE)
        said = self.rect().adjusted(_MARGIN, 0, 0, 0)
        painter.drawText(
            said, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, self._text
        )
        painter.end()

    def _place(self) -> None:
        width, height = self._canvas.width(), self._canvas.height()
        self.setGeometry(0, height - BAR_HEIGHT, width, BAR_HEIGHT)
        self._stop.adjustSize()
        across = (BAR_HEIGHT - self._stop.height()) // 2
        self._stop.move(width - self._stop.width() - _MARGIN, across)
        self.raise_()


def _runs(values: Sequence[Value]) -> Iterator[tuple[int, int, Value]]:
    """Return where each run of the same value begins, how long it is, and the value."""
    start = 0
    for value, run in groupby(values):
        count = len(list(run))
        yield start, count, value
        start += count
