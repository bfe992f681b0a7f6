"""Letters at the edges of the canvas that say where right, front and head of the patient are."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import QLabel

from napari_medsamq.geometry import is_oblique, obliquity
from napari_medsamq.ui.canvas.edge_letters import UNKNOWN, EdgeLetters, edge_letters
from napari_medsamq.ui.canvas.slice_bar import BAR_HEIGHT
from napari_medsamq.ui.tools.tool import Tool, ToolContext

_MARGIN = 6
# White on half-transparent black: read on a white picture as on a black one.
_STYLE = (
    "color: white; background-color: rgba(0, 0, 0, 150); border-radius: 4px; "
    "padding: 1px 6px; font-weight: bold; font-size: {}px;"
)


class OrientationLetters(Tool):
    """Shows the letters for as long as a workspace is the one in use.

    They follow whatever turns the picture: our planes, and napari's buttons that flip, roll,
    transpose and rotate. Nothing is shown in 3D, nor for pictures, which have no patient axes.

    Parameters
    ----------
    context : ToolContext
    """

    def __init__(self, context: ToolContext) -> None:
        super().__init__(context)
        self._edges = {edge: QLabel(self._canvas) for edge in asdict(UNKNOWN)}
        for edge, label in self._edges.items():
            label.setObjectName(f"patient side: {edge}")
            label.setStyleSheet(_STYLE.format(15))
            # A box may begin under a letter.
            label.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self._badge = self._oblique_badge()
        viewer = self._viewer
        self.follow(
            self._show,
            viewer.dims.events.order,
            viewer.dims.events.ndisplay,
            viewer.dims.events.ndim,
            viewer.scene.camera.events.orientation,
            viewer.layers.events.inserted,
            viewer.layers.events.removed,
            self._workspace.image.events.affine,
        )
        self._canvas.installEventFilter(self)
        self._show()

    def close(self) -> None:
        """Take the letters away."""
        super().close()
        self._canvas.removeEventFilter(self)
        for label in (*self._edges.values(), self._badge):
            label.hide()
            label.deleteLater()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 (Qt's name)
        """Stay at the edges."""
        if event.type() in (QEvent.Type.Resize, QEvent.Type.Show):
            self._place()
        return False

    def _oblique_badge(self) -> QLabel:
        degrees = obliquity(self._session.volume.affine)
        badge = QLabel(f"oblique {degrees:.0f}°", self._canvas)
        badge.setObjectName("oblique badge")
        badge.setStyleSheet(_STYLE.format(12))
        badge.setToolTip(
            f"The slices are tilted by {degrees:.1f} degrees against the patient's axes, as they "
            "were taken. The letters name the sides of the patient that the edges are nearest to."
        )
        return badge

    def _show(self) -> None:
        letters = self._letters()
        for edge, label in self._edges.items():
            label.setVisible(letters is not None)
            if letters is not None:
                label.setText(getattr(letters, edge))
        volume = self._session.volume
        self._badge.setVisible(
            letters is not None and volume.orientation_known and is_oblique(volume.affine)
        )
        self._place()

    def _letters(self) -> EdgeLetters | None:
        volume, dims = self._session.volume, self._viewer.dims
        shown = [axis - (dims.ndim - 3) for axis in dims.displayed]
        if (
            self._workspace.image not in self._viewer.layers
            or len(shown) != 2
            or min(shown) < 0  # an axis of someone else's time series
        ):
            return None
        if not volume.orientation_known:
            return None if 1 in volume.data.shape[:3] else UNKNOWN
        vertical, horizontal = self._viewer.scene.camera.orientation2d
        down, right = (self._step(axis) for axis in shown)
        return edge_letters(
            volume.affine,
            right if horizontal == "right" else -right,
            down if vertical == "down" else -down,
        )

    def _step(self, axis: int) -> npt.NDArray[np.floating]:
        """Return which way (3,) a step along an axis of the viewer leads in the array."""
        # The image may be rotated in the viewer, by its button say.
        image, step = self._workspace.image, np.zeros(3)
        step[axis] = 1.0
        return np.asarray(image.world_to_data(step)) - np.asarray(image.world_to_data(np.zeros(3)))

    def _place(self) -> None:
        width, height = self._canvas.width(), self._canvas.height()
        for label in (*self._edges.values(), self._badge):
            label.adjustSize()
            label.raise_()
        for edge, label in self._edges.items():
            across, along = width - label.width(), height - label.height()
            place = {
                "left": (_MARGIN, along // 2),
                "right": (across - _MARGIN, along // 2),
                "top": (across // 2, _MARGIN),
                "bottom": (across // 2, along - _MARGIN - BAR_HEIGHT),
            }
            label.move(*place[edge])
        self._badge.move(_MARGIN, _MARGIN)
