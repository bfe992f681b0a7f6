"""Moves through the slices: the bar below the picture, the wheel, and keys."""

from __future__ import annotations

import numpy as np
from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtGui import QWheelEvent

from napari_medsamq.ui import preferences
from napari_medsamq.ui.canvas.slice_bar import SliceBar
from napari_medsamq.ui.tools.propagate import PropagateTool
from napari_medsamq.ui.tools.tool import Tool, ToolContext

# Of a wheel that clicks into place; and how much larger a notch makes the picture.
_NOTCH, _ZOOM = 120, 1.15
_ZOOMS = Qt.KeyboardModifier.ControlModifier


class SliceTool(Tool):
    """Keeps the bar up to date, and has the wheel turn slices.

    Parameters
    ----------
    context : ToolContext
    propagate : PropagateTool
        Is stopped by the bar, which fills while it is at work.

    Attributes
    ----------
    bar : SliceBar
    """

    def __init__(self, context: ToolContext, propagate: PropagateTool) -> None:
        super().__init__(context)
        self.bar: SliceBar = context.bar
        self._propagate = propagate
        self._wheel_zooms = preferences.wheel_zooms()
        self._turned = 0
        self.bar.chosen.connect(self._show_slice)
        self.bar.stop_requested.connect(propagate.stop)
        self.follow(self._show, self._view.changed)
        self.follow(self.bar.show_carried, propagate.carried)
        self.follow(self._show_propagating, propagate.changed, self._workspace.changed)
        self._canvas.installEventFilter(self)
        self._show()

    def close(self) -> None:
        """Take the bar away, and leave the wheel to napari."""
        super().close()
        self._canvas.removeEventFilter(self)
        self.bar.close_bar()

    def step(self, count: int) -> None:
        """Show a slice so many ahead, or the last one."""
        if not self._view.solid:
            last = self._session.label.shape[self._view.axis] - 1
            self._show_slice(min(max(self._view.index + count, 0), last))

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 (Qt's name)
        """Take the wheel, unless it zooms; with Ctrl it is the other way round."""
        if event.type() != QEvent.Type.Wheel or not isinstance(event, QWheelEvent):
            return False
        held = event.modifiers()
        if self._view.solid or held & ~_ZOOMS:
            return False
        turned = event.angleDelta().y() * (-1 if event.inverted() else 1)
        if (held == _ZOOMS) != self._wheel_zooms:
            self._zoom(turned / _NOTCH)
        else:
            if turned * self._turned < 0:
                self._turned = 0
            self._turned += turned
            notches = int(self._turned / _NOTCH)
            self._turned -= notches * _NOTCH
            self.step(-notches)
        event.accept()
        return True

    def _zoom(self, notches: float) -> None:
        """Zoom in on what is under the mouse."""
        viewer, camera = self._viewer, self._viewer.scene.camera
        shown = list(viewer.dims.displayed)
        place = np.array(viewer.cursor.position)[shown]
        centre, factor = np.array(camera.center), _ZOOM**notches
        camera.zoom *= factor
        centre[-len(shown) :] += (place - centre[-len(shown) :]) * (1 - 1 / factor)
        camera.center = tuple(centre.tolist())

    def _show_slice(self, index: int) -> None:
        self._view.show(self._view.axis, index)

    def _show(self) -> None:
        axis, index = self._view.axis, self._view.index
        count = 0 if self._view.solid else self._session.label.shape[axis]
        self.bar.show_slice(count, index, f"{index + 1} of {count}{self._position(axis, index)}")

    def _position(self, axis: int, index: int) -> str:
        volume = self._session.volume
        if not volume.orientation_known:
            return ""
        normal = volume.affine[:3, axis] / np.linalg.norm(volume.affine[:3, axis])
        if normal[np.abs(normal).argmax()] < 0:
            normal = -normal
        place = volume.affine[:3, 3] + index * volume.affine[:3, axis]
        return f" · {round(float(normal @ place))} mm"

    def _show_propagating(self) -> None:
        propagate = self._propagate
        self.bar.show_propagating(propagate.active)
        if not propagate.active and propagate.label_id != self._workspace.label_id:
            self.bar.clear_carried()  # the grades to come are those of another structure
