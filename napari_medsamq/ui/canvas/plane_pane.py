"""A small picture of one plane beside the one that is worked on: slice, structures, cross hair."""

from __future__ import annotations

from dataclasses import asdict

import cv2
import numpy as np
import numpy.typing as npt
from qtpy.QtCore import QPoint, QPointF, QRect, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QImage, QMouseEvent, QPainter, QPaintEvent, QWheelEvent
from qtpy.QtWidgets import QWidget

from napari_medsamq.array_types import Bool, Label
from napari_medsamq.io.volume import Volume
from napari_medsamq.ui.canvas.edge_letters import EdgeLetters
from napari_medsamq.ui.canvas.planes import FILLED, Plane

CROSS_HAIR = QColor(240, 228, 66, 170)  # Okabe and Ito's yellow
_MARGIN = 6
_BEHIND = QColor(0, 0, 0, 150)
_NOTCH = 120
# Around the place that the cross hair shows nothing is hidden.
_GAP = 6


class PlanePane(QWidget):
    """Paints one slice as the working pane would, and is never drawn on.

    Parameters
    ----------
    volume : Volume
    plane : Plane
    body : (2, 3) int
        First and last voxels of the box that is to fill the pane.
    letters : EdgeLetters
        Of the pane's edges.
    """

    chosen = Signal(float, float)  # row and column of the slice that was pressed on
    stepped = Signal(int)  # so many slices ahead
    enlarged = Signal()  # to be the one that is worked on

    def __init__(
        self,
        volume: Volume,
        plane: Plane,
        body: npt.NDArray[np.int64],
        letters: EdgeLetters,
    ) -> None:
        super().__init__()
        self.plane, self.letters = plane, letters
        self._data = np.moveaxis(volume.data, plane.axis, 0)
        axes = list(plane.order[1:])
        self._pixel = np.array(volume.spacing)[axes]
        self._body = body[:, axes]
        self._size = np.array(volume.data.shape)[axes]
        self.index, self._cross = 0, (0.0, 0.0)
        self._limits = (0.0, 1.0)
        self._colors: npt.NDArray[np.uint8] = np.zeros((1, 4), np.uint8)
        self._labels: Label | None = None
        self._outlined = False
        self._grey, self._areas = QImage(), QImage()
        self._turned = 0
        self.setMinimumSize(120, 90)
        self.setCursor(Qt.CursorShape.CrossCursor)
        self.setAccessibleName(f"{plane.name} slice beside the picture")
        self.setToolTip(
            f"Click: go there in all planes. Wheel: other {plane.name.lower()} slices.\n"
            "Double click: work on this plane; beside the picture it is not drawn on."
        )

    def show_slice(self, index: int, limits: tuple[float, float]) -> None:
        """Show a slice through a window of intensities."""
        if (index, limits) != (self.index, self._limits) or self._grey.isNull():
            self.index, self._limits = index, limits
            self._paint_grey()

    def show_labels(
        self, labels: Label | None, colors: npt.NDArray[np.uint8], *, outlined: bool
    ) -> None:
        """Show structures on the slice.

        Parameters
        ----------
        labels : (H, W) uint16 or None
            None hides them.
        colors : (n, 4) uint8
            Red, green, blue and opacity of each label id.
        outlined : bool
        """
        self._labels, self._colors, self._outlined = labels, colors, outlined
        self._paint_areas()

    def show_cross(self, row: float, column: float) -> None:
        """Show a place of the slice."""
        if (row, column) != self._cross:
            self._cross = row, column
            self.update()

    @property
    def text(self) -> str:
        """What is said of the slice."""
        return f"{self.plane.name}\n{self.index + 1} of {len(self._data)}"

    @property
    def picture(self) -> QImage:
        """What is painted, without letters and cross hair, as large as the pane."""
        result = QImage(self.size() * self.devicePixelRatioF(), QImage.Format.Format_RGB32)
        result.setDevicePixelRatio(self.devicePixelRatioF())
        result.fill(Qt.GlobalColor.black)
        painter = QPainter(result)
        self._paint_images(painter)
        painter.end()
        return result

    # -- where things lie -------------------------------------------------------------------------

    def pixel(self, row: float, column: float) -> QPointF:
        """Return where a place of the slice lies in the pane."""
        middle = self._body.mean(axis=0)
        down = (row - middle[0]) * self._pixel[0] * self._zoom
        right = (column - middle[1]) * self._pixel[1] * self._zoom
        if self.plane.orientation[0] == "up":
            down = -down
        return QPointF(self.width() / 2 + right, self.height() / 2 + down)

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Return the row and the column of the slice at a pixel of the pane."""
        middle = self._body.mean(axis=0)
        down = (y - self.height() / 2) / self._zoom
        if self.plane.orientation[0] == "up":
            down = -down
        right = (x - self.width() / 2) / self._zoom
        return (
            float(middle[0] + down / self._pixel[0]),
            float(middle[1] + right / self._pixel[1]),
        )

    @property
    def _zoom(self) -> float:
        """Pixels for a mm."""
        height, width = (self._body[1] - self._body[0] + 1) * self._pixel
        return float(min(self.width() / width, self.height() / height) * FILLED)

    @property
    def _seen(self) -> tuple[slice, slice]:
        """The rows and columns that there is room for."""
        corners = [self.place(0, 0), self.place(self.width(), self.height())]
        first = np.floor(np.min(corners, axis=0)).astype(int).clip(0, self._size - 1)
        last = np.ceil(np.max(corners, axis=0)).astype(int).clip(0, self._size - 1)
        return slice(int(first[0]), int(last[0]) + 1), slice(int(first[1]), int(last[1]) + 1)

    @property
    def _target(self) -> QRectF:
        """Where what is seen of the slice lies in the pane."""
        rows, columns = self._seen
        one = self.pixel(rows.start - 0.5, columns.start - 0.5)
        other = self.pixel(rows.stop - 0.5, columns.stop - 0.5)
        return QRectF(one, other).normalized()

    # -- painting ---------------------------------------------------------------------------------

    def _paint_grey(self) -> None:
        part = np.asarray(self._data[self.index][self._seen], np.float32)
        low, high = self._limits
        grey = np.clip((part - low) * (255 / max(high - low, 1e-9)), 0, 255).astype(np.uint8)
        grey = np.ascontiguousarray(self._upright(self._fitted(grey, smooth=True)))
        height, width = grey.shape
        self._grey = QImage(
            grey.tobytes(), width, height, width, QImage.Format.Format_Grayscale8
        ).copy()
        self.update()

    def _paint_areas(self) -> None:
        self._areas = QImage()
        if self._labels is not None:
            part = self._labels[self._seen]
            if part.any():
                part = np.minimum(part, len(self._colors) - 1)
                ids = self._upright(self._fitted(part, smooth=False))
                if self._outlined:
                    ids = np.where(_edges(ids), ids, 0)
                colors = np.ascontiguousarray(self._colors[ids])
                height, width = ids.shape
                self._areas = QImage(
                    colors.tobytes(), width, height, 4 * width, QImage.Format.Format_RGBA8888
                ).copy()
        self.update()

    def _fitted(self, part: npt.NDArray[np.generic], *, smooth: bool) -> npt.NDArray[np.generic]:
        """Return a part of the slice with as many pixels as it has on the screen."""
        target, ratio = self._target, self.devicePixelRatioF()
        size = max(1, round(target.width() * ratio)), max(1, round(target.height() * ratio))
        how = cv2.INTER_NEAREST
        if smooth:
            how = cv2.INTER_LINEAR if size[0] * size[1] > part.size else cv2.INTER_AREA
        return cv2.resize(part, size, interpolation=how)

    def _upright(self, part: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        return part[::-1] if self.plane.orientation[0] == "up" else part

    def _paint_images(self, painter: QPainter) -> None:
        for image in (self._grey, self._areas):
            if not image.isNull():
                painter.drawImage(self._target, image)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 (Qt's name)
        """Paint the slice, and over it where the cross hair is and how the patient lies."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), Qt.GlobalColor.black)
        self._paint_images(painter)
        painter.setPen(CROSS_HAIR)
        here = self.pixel(*self._cross).toPoint()
        for line in cross_lines(here, self.rect()):
            painter.drawLine(*line)
        write(painter, self.rect(), "top left", self.text)
        write_letters(painter, self.rect(), self.letters)
        painter.end()

    def resizeEvent(self, event: object) -> None:  # noqa: N802 (Qt's name)
        """Show as much as there is room for."""
        if not self._grey.isNull():
            self._paint_grey()
            self._paint_areas()

    # -- the mouse --------------------------------------------------------------------------------

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802 (Qt's name)
        """Go where is pressed."""
        if event.button() == Qt.MouseButton.LeftButton:
            self._choose(event)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802 (Qt's name)
        """Go on while the button is held down."""
        if event.buttons() & Qt.MouseButton.LeftButton:
            self._choose(event)

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:  # noqa: N802 (Qt's name)
        """Ask for this plane to be worked on."""
        self.enlarged.emit()

    def wheelEvent(self, event: QWheelEvent) -> None:  # noqa: N802 (Qt's name)
        """Show other slices of this plane."""
        self._turned += event.angleDelta().y() * (-1 if event.inverted() else 1)
        notches = int(self._turned / _NOTCH)
        self._turned -= notches * _NOTCH
        if notches:
            self.stepped.emit(-notches)
        event.accept()

    def _choose(self, event: QMouseEvent) -> None:
        place = np.clip(self.place(event.pos().x(), event.pos().y()), 0, self._size - 1)
        self.chosen.emit(*np.rint(place).tolist())


def cross_lines(here: QPoint, room: QRect) -> list[tuple[QPoint, QPoint]]:
    """Return the lines of a cross hair, with a gap around the place that it shows."""
    x, y = here.x(), here.y()
    return [
        (QPoint(room.left(), y), QPoint(x - _GAP, y)),
        (QPoint(x + _GAP, y), QPoint(room.right(), y)),
        (QPoint(x, room.top()), QPoint(x, y - _GAP)),
        (QPoint(x, y + _GAP), QPoint(x, room.bottom())),
    ]


def write(painter: QPainter, room: QRect, edge: str, text: str) -> None:
    """Write white on half-transparent black, at an edge or in the upper left corner."""
    box = QRect(QPoint(), painter.fontMetrics().size(0, text) + QSize(8, 2))
    inner = room.adjusted(_MARGIN, _MARGIN, -_MARGIN, -_MARGIN)
    box.moveCenter(inner.center())
    if "left" in edge:
        box.moveLeft(inner.left())
    if "right" in edge:
        box.moveRight(inner.right())
    if "top" in edge:
        box.moveTop(inner.top())
    if "bottom" in edge:
        box.moveBottom(inner.bottom())
    painter.fillRect(box, _BEHIND)
    painter.setPen(Qt.GlobalColor.white)
    painter.drawText(box, Qt.AlignmentFlag.AlignCenter, text)


def write_letters(painter: QPainter, room: QRect, letters: EdgeLetters) -> None:
    """Write at each edge towards which side of the patient it lies."""
    for edge, letter in asdict(letters).items():
        write(painter, room, edge, letter)


def _edges(ids: Label) -> Bool:
    """Return the pixels (H, W) bool whose neighbour below or beside has another id."""
    edges = np.zeros(ids.shape, bool)
    differs = ids[1:] != ids[:-1]
    edges[1:] |= differs
    edges[:-1] |= differs
    differs = ids[:, 1:] != ids[:, :-1]
    edges[:, 1:] |= differs
    edges[:, :-1] |= differs
    return edges
