"""Five steps for the first start, each of which goes on by itself once it is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qtpy.compat import isalive
from qtpy.QtCore import QEvent, QObject, QPoint, QPointF, QRect, Qt, QTimer, Signal
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPolygonF
from qtpy.QtWidgets import QBoxLayout, QFrame, QWidget

from napari_medsamq.ui.forms.elements import button, row, wrapping_label
from napari_medsamq.ui.forms.icons import LIT
from napari_medsamq.ui.key_focus import by_tab_alone

OPEN, BOX, PROPAGATE, CORRECT, SAVE = range(5)
STEPS = (
    "Open a volume: the sample below, a file, or a DICOM folder dropped on the window.",
    "Drag a box around a structure, with the tool Box ({draw}).",
    "Press {propagate}: the mask is carried through the slices until the structure ends.",
    "The bar shows which slices are worth a look, and {doubtful} leads there. Click on what is "
    "missing, right-click on what is too much.",
    "Save the label: it has exactly the grid of the source. Everything is also recorded, so that "
    "nothing is lost.",
)
# Of the letters in a line, where all is in one line too, and of the arrow in pixels.
_LETTERS, _FLAT_LETTERS, _ARROW = 36, 78, 12
# A target on the left, or on the right, of such shares of the window is pointed at from beside it.
_LEFT, _RIGHT = 0.25, 0.6
_STYLE = (
    "QWidget { background: transparent; color: white; }"
    "QPushButton { border: 1px solid white; border-radius: 4px; padding: 4px 8px; }"
    "QPushButton:hover, QPushButton:focus { background: #0086D1; }"
)


class Guide(QFrame):
    """Leads through the first label, pointing at each thing; whoever knows the way ends it.

    It lies over the window that it is given to, where its target is.

    Parameters
    ----------
    keys : mapping of str to str
        By the names of their preferences.
    """

    sample_requested = Signal()
    ended = Signal()

    def __init__(self, keys: Mapping[str, str]) -> None:
        super().__init__()
        self._steps = [step.format(**keys) for step in STEPS]
        self._targets: dict[int, QWidget] = {}
        self._wanted = False
        self._tip = QPoint()
        self._text = wrapping_label("First steps")
        self._sample = button("Open the sample CT", self.sample_requested.emit)
        self._next = button("Next", self._go_on)
        end = button(
            "End", self.ended.emit, "Show the first steps no more; the preferences bring them back"
        )
        self._text.setTextInteractionFlags(Qt.TextInteractionFlag.NoTextInteraction)
        layout = QBoxLayout(QBoxLayout.Direction.TopToBottom, self)
        around = _ARROW + 8
        layout.setContentsMargins(around, around, around, around)
        layout.addWidget(self._text, 1)
        layout.addWidget(self._sample)
        layout.addLayout(row(self._next, end))
        self.setStyleSheet(_STYLE)
        self.setCursor(Qt.CursorShape.ArrowCursor)
        by_tab_alone(self)
        self.hide()
        self._step = OPEN
        self._show()

    @property
    def step(self) -> int:
        """The step that is shown, from 0."""
        return self._step

    def begin(self, targets: Sequence[tuple[int, QWidget]]) -> None:
        """Show the steps at things of the window that it was given to."""
        self._wanted = True
        # Not held: it would end with the last of those who hold it.
        self.parentWidget().installEventFilter(self)
        for step, target in targets:
            self.point(step, target)

    def point(self, step: int, target: QWidget) -> None:
        """Point at a thing in a step."""
        self._targets[step] = target
        target.installEventFilter(self)
        self._place()

    def end(self) -> None:
        """Show no more."""
        self._wanted = False
        for widget in (self.parentWidget(), *self._targets.values()):
            if widget is not None and isalive(widget):
                widget.removeEventFilter(self)
        self._targets.clear()
        self.hide()

    def done(self, step: int) -> None:
        """Go on to the next step if this one is shown, or one before it."""
        if step >= self._step:
            self._step = step
            self._go_on()

    def asked(self) -> None:
        """Something was drawn or clicked: step two, or step four once there was a propagation."""
        self.done(CORRECT if self._step > PROPAGATE else BOX)

    def _go_on(self) -> None:
        if self._step + 1 < len(self._steps):
            self._step += 1
            self._show()
        else:
            self.ended.emit()

    def _show(self) -> None:
        self._text.setText(f"{self._step + 1} of {len(self._steps)}. {self._steps[self._step]}")
        self._sample.setVisible(self._step == OPEN)
        self._next.setText("Done" if self._step == SAVE else "Next")
        self._place()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 (Qt's name)
        """Stay where the target is."""
        kinds = QEvent.Type.Resize, QEvent.Type.Move, QEvent.Type.Show, QEvent.Type.Hide
        if event.type() in kinds:
            # Once all that moves has moved.
            QTimer.singleShot(0, self._place)
        return False

    def _place(self) -> None:
        if not isalive(self):
            return
        window, target = self.parentWidget(), self._targets.get(self._step)
        seen = self._wanted and window is not None and target is not None and isalive(target)
        if not seen or not target.isVisibleTo(window):
            self.hide()
            return
        # The box of step two is drawn under it: so high up is no structure.
        flat, way = self._step == BOX, QBoxLayout.Direction
        self.layout().setDirection(way.LeftToRight if flat else way.TopToBottom)
        letters = _FLAT_LETTERS if flat else _LETTERS
        width = letters * self.fontMetrics().averageCharWidth() + 2 * _ARROW
        self.resize(width, self.layout().totalHeightForWidth(width))
        at = QRect(target.mapTo(window, QPoint(0, 0)), target.size())
        left, centre = at.center().x() < _LEFT * window.width(), at.center()
        if left and at.width() < self.width():
            self._tip = QPoint(at.right(), centre.y())
            self.move(self._tip.x(), self._tip.y() - 2 * _ARROW)
        elif centre.x() > _RIGHT * window.width():
            self._tip = QPoint(at.left(), centre.y())
            self.move(self._tip.x() - self.width(), self._tip.y() - 2 * _ARROW)
        else:
            self._tip = QPoint(centre.x(), at.top())
            self.move(self._tip.x() - self.width() // 2, self._tip.y() - self.height())
        self.move(self.x(), max(0, min(self.y(), window.height() - self.height())))
        self.show()
        self.raise_()
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 (Qt's name)
        """Paint the ground, and the arrow to the target."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(LIT))
        body = self.rect().adjusted(_ARROW, _ARROW, -_ARROW, -_ARROW)
        painter.drawRoundedRect(body, 6, 6)
        tip = QPointF(self._tip - self.pos())
        below = tip.y() >= self.height() - 1
        aside = QPointF(_ARROW, 0) if below else QPointF(0, _ARROW)
        foot = (
            QPointF(tip.x(), body.bottom())
            if below
            else QPointF(body.left() if tip.x() < body.left() else body.right(), tip.y())
        )
        painter.drawPolygon(QPolygonF([tip, foot + aside, foot - aside]))
        painter.end()
