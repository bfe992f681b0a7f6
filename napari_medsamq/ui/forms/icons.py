"""The icons of the window: drawn in the theme's own colour, with the key beside them."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QByteArray, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QIcon, QPainter, QPaintEvent, QPixmap
from qtpy.QtSvg import QSvgRenderer
from qtpy.QtWidgets import QToolButton

# Lines on a square of 24.
_SHAPES = {
    "box": '<path d="M4 5h16v14H4z" stroke-dasharray="4 2.4"/>',
    "lasso": '<path d="M12 4c6 0 9 3 8 7s-5 6-9 5-8-3-7-7 4-5 8-5z" stroke-dasharray="4 2.4"/>'
    '<path d="M7 15c-2 2 0 4-2 6"/>',
    "scribble": '<path d="M3 15c3-9 6-9 5-2s3 6 5-1 5-5 4 0 1 5 4 3"/>',
    "point": '<circle cx="12" cy="12" r="3"/><path d="M12 2v4M12 18v4M2 12h4M18 12h4"/>',
    "brush": '<path d="M20 3L10 13M10 13c-3-1-5 1-5 4 0 1-1 2-2 2 3 3 9 2 9-3 0-1-1-2-2-3z"/>',
    "brush_range": '<path d="M20 3L10 13M10 13c-3-1-5 1-5 4 0 1-1 2-2 2 3 3 9 2 9-3 0-1-1-2-2-3z'
    'M3 5h6M3 10h6M6 2v6"/>',
    "eraser": '<path d="M8 20L3 15 14 4l6 6L10 20zM8.500 9.500l6 6M8 20h12"/>',
    "move": '<path d="M12 3v18M3 12h18M9 6l3-3 3 3M9 18l3 3 3-3M6 9l-3 3 3 3M18 9l3 3-3 3"/>',
    "ruler": '<path d="M3 16L16 3l5 5L8 21zM7 12l2 2M10 9l3 3M13 6l2 2"/>',
    "propagate": '<path d="M4 9l8-4 8 4-8 4zM4 15l8 4 8-4M4 12l8 4 8-4"/>',
    "stop": '<path d="M6 6h12v12H6z"/>',
    "undo": '<path d="M8 4L4 8l4 4M4 8h10a5 5 0 0 1 0 11H8"/>',
    "redo": '<path d="M16 4l4 4-4 4M20 8H10a5 5 0 0 0 0 11h6"/>',
    "save": '<path d="M4 4h13l3 3v13H4zM8 4v5h7V4M8 20v-6h8v6"/>',
    "eye": '<path d="M2 12c4-7 16-7 20 0-4 7-16 7-20 0z"/><circle cx="12" cy="12" r="3"/>',
    "hidden": '<path d="M2 12c4-7 16-7 20 0-4 7-16 7-20 0zM4 20L20 4"/>',
    "locked": '<path d="M6 11h12v9H6zM8 11V8a4 4 0 0 1 8 0v3M12 14v3"/>',
    "open": '<path d="M6 11h12v9H6zM8 11V8a4 4 0 0 1 7.500-2"/>',
}
_SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" fill="none" stroke="{}" '
    'stroke-width="1.800" stroke-linecap="round" stroke-linejoin="round">{}</svg>'
)
_SIZE, _BUTTON = 22, QSize(40, 40)
_DISABLED, _HOVERED = 90, 40  # of 255
# Okabe and Ito's blue: white on it has a contrast of 5.2.
LIT = "#0072B2"


def draw(painter: QPainter, name: str, place: QRectF, color: QColor) -> None:
    """Draw an icon in a colour."""
    text = _SVG.format(color.name(), _SHAPES[name])
    painter.save()
    painter.setOpacity(color.alphaF())
    QSvgRenderer(QByteArray(text.encode())).render(painter, place)
    painter.restore()


def icon(name: str, color: QColor) -> QIcon:
    """Return an icon in a colour, sharp on screens of up to three times as many pixels."""
    result = QIcon()
    for scale in (1, 2, 3):
        pixmap = QPixmap(16 * scale, 16 * scale)
        pixmap.fill(Qt.GlobalColor.transparent)
        painter = QPainter(pixmap)
        draw(painter, name, QRectF(pixmap.rect()), color)
        painter.end()
        for mode in (QIcon.Mode.Normal, QIcon.Mode.Selected):
            result.addPixmap(pixmap, mode)
    return result


class IconButton(QToolButton):
    """A flat button with an icon, and its key in the corner.

    Parameters
    ----------
    shape : str
        Of the icon.
    name : str
        What a screen reader calls it.
    key : str
        Empty if there is none.
    tip : str
    slot : callable
        Called when it is pressed.
    """

    def __init__(
        self, shape: str, name: str, key: str, tip: str, slot: Callable[[], object]
    ) -> None:
        super().__init__()
        self.shape, self._key = shape, key
        self.setAccessibleName(name)
        self.setToolTip(f"{name}  ({key})\n{tip}" if key else f"{name}\n{tip}")
        self.setAutoRaise(True)
        self.setFixedSize(_BUTTON)
        self.clicked.connect(lambda: slot())

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 (Qt's name)
        """Paint icon and key, on a filled ground for a tool in hand."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        color = QColor(self.palette().buttonText().color())
        ground = QColor(LIT if self.isChecked() else color)
        if self.isChecked() or (self.underMouse() and self.isEnabled()) or self.hasFocus():
            ground.setAlpha(255 if self.isChecked() else _HOVERED)
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(ground)
            painter.drawRoundedRect(self.rect().adjusted(1, 1, -1, -1), 4, 4)
            color = QColor("white") if self.isChecked() else color
        if not self.isEnabled():
            color.setAlpha(_DISABLED)
        single = len(self._key) == 1
        left, top = (6.0, 5.0) if single else (0.5 * (self.width() - _SIZE),) * 2
        draw(painter, self.shape, QRectF(left, top, _SIZE, _SIZE), color)
        if single:
            font = self.font()
            font.setPixelSize(11)
            painter.setFont(font)
            painter.setPen(color)
            corner = self.rect().adjusted(0, 0, -4, -2)
            painter.drawText(
                corner, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignBottom, self._key
            )
        painter.end()
