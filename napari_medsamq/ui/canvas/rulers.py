"""Lines on slices with their lengths, over the picture and in no layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QPainter, QPen
from qtpy.QtWidgets import QWidget

from napari_medsamq.array_types import Float64
from napari_medsamq.ui.canvas.picture_overlay import PictureOverlay

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

# White between black is seen on bone as on air.
_EDGE, _LINE = QPen(QColor(0, 0, 0, 190), 4), QPen(QColor("white"), 1.6)
_TICK = 6


@dataclass(frozen=True, eq=False)
class Ruler:
    """A line on a slice.

    Attributes
    ----------
    axis, index : int
        Array axis normal to the slice, and which one it is.
    ends : (2, 3) float
        In array voxels (z, y, x).
    """

    axis: int
    index: int
    ends: Float64

    def length(self, affine: Float64) -> float:
        """Return the distance between the ends in mm, in the patient: tilted slices count as such.

        Parameters
        ----------
        affine : (4, 4) float
            Of the volume.
        """
        return float(np.linalg.norm(affine[:3, :3] @ (self.ends[1] - self.ends[0])))


class RulerOverlay(PictureOverlay):
    """Paints the rulers of the slice in view.

    Parameters
    ----------
    canvas : QWidget
    viewer : ViewerModel
    layer : Layer
        Of the volume, with its axes (z, y, x) alone.
    affine : (4, 4) float
    """

    def __init__(
        self,
        canvas: QWidget,
        viewer: ViewerModel,
        layer: Layer,
        affine: Float64,
    ) -> None:
        super().__init__(canvas, viewer)
        self._layer, self._affine = layer, affine
        self._rulers: Sequence[Ruler] = ()

    def show_rulers(self, rulers: Sequence[Ruler]) -> None:
        """Show these, which lie on the slice in view."""
        self._rulers = rulers
        self.setVisible(bool(rulers))
        self.update()

    @property
    def texts(self) -> list[str]:
        """What is written at the lines."""
        return [f"{ruler.length(self._affine):.1f} mm" for ruler in self._rulers]

    def ends(self, ruler: Ruler) -> tuple[QPointF, QPointF]:
        """Return where on the canvas a ruler begins and ends."""
        world = ruler.ends * self._layer.scale + self._layer.translate
        one, other = np.delete(world, ruler.axis, axis=1)
        return self.pixel(one), self.pixel(other)

    def paint_lines(self, painter: QPainter) -> None:
        """Paint each line with its length beside it."""
        metrics = painter.fontMetrics()
        for ruler, text in zip(self._rulers, self.texts, strict=True):
            start, stop = self.ends(ruler)
            way = stop - start
            long = max(1e-6, float(np.hypot(way.x(), way.y())))
            across = QPointF(-way.y(), way.x()) * (_TICK / long)
            for pen in (_EDGE, _LINE):
                painter.setPen(pen)
                painter.drawLine(start, stop)
                for end in (start, stop):
                    painter.drawLine(end - across, end + across)
            box = QRectF(0, 0, metrics.horizontalAdvance(text) + 8, metrics.height() + 2)
            box.moveTopLeft(stop + QPointF(_TICK + 2, _TICK + 2))
            painter.fillRect(box, QColor(0, 0, 0, 150))
            painter.drawText(box, Qt.AlignmentFlag.AlignCenter, text)
