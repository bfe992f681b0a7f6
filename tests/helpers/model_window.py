"""napari without its canvas: a viewer's model that takes the mouse and the keys of a Qt window.

Nothing is drawn, which takes most of the time of a test. Callbacks, layers, slider and forms are
napari's own and ours.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
from app_model.backends.qt import qkeysequence2modelkeybinding
from napari.components import ViewerModel
from napari.settings import get_settings
from napari.utils import interactions
from napari.utils.action_manager import action_manager
from napari.utils.key_bindings import KeymapHandler
from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QKeyEvent, QKeySequence, QMouseEvent, QWheelEvent
from qtpy.QtWidgets import QDockWidget, QHBoxLayout, QMainWindow, QMenu, QOpenGLWidget, QWidget
from wrapt import ObjectProxy

# Pixels of the canvas for a millimetre, and where the origin lies.
ZOOM, ORIGIN = 8.0, 40.0
_TYPES = {
    QEvent.Type.MouseButtonPress: "mouse_press",
    QEvent.Type.MouseButtonRelease: "mouse_release",
    QEvent.Type.MouseMove: "mouse_move",
}
_BUTTONS = {
    Qt.MouseButton.LeftButton: 1,
    Qt.MouseButton.RightButton: 2,
    Qt.MouseButton.MiddleButton: 3,
}
_MODIFIERS = {
    Qt.KeyboardModifier.ShiftModifier: "Shift",
    Qt.KeyboardModifier.ControlModifier: "Control",
    Qt.KeyboardModifier.AltModifier: "Alt",
}


class ModelCanvas(QOpenGLWidget):
    """Gives mouse and keys to a viewer and its active layer, as napari's canvas does."""

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self._viewer = viewer
        self._pressed = False
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)

    def pixel(self, world: Any) -> np.ndarray:
        """Return where on the canvas (x, y) a place lies, in mm of all axes of the viewer."""
        return ORIGIN + ZOOM * np.asarray(world, float)[list(self._viewer.dims.displayed)][::-1]

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802 (Qt's name)
        self._pressed = True
        self._tell(interactions.mouse_press_callbacks, event)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        self._tell(interactions.mouse_move_callbacks, event)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        self._tell(interactions.mouse_release_callbacks, event)
        self._pressed = False

    def wheelEvent(self, event: QWheelEvent) -> None:  # noqa: N802
        self._tell(interactions.mouse_wheel_callbacks, event)

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        handler, active = KeymapHandler(), self._viewer.layers.selection.active
        handler.keymap_providers = [p for p in (active, self._viewer) if p is not None]
        modifiers = event.modifiers()
        # PyQt6's have a value, PyQt5's are a number.
        number = int(getattr(modifiers, "value", modifiers))
        keys = QKeySequence(number | event.key())
        handler.press_key(qkeysequence2modelkeybinding(keys))

    def _tell(self, callbacks: Callable[[Any, Any], None], event: Any) -> None:
        viewer = self._viewer
        wheel = isinstance(event, QWheelEvent)
        place = event.position() if wheel else event.pos()
        pixel = np.array([place.x(), place.y()], float)
        position = np.array(viewer.dims.point, float)
        position[list(viewer.dims.displayed)] = ((pixel - ORIGIN) / ZOOM)[::-1]
        viewer.cursor.position = tuple(position)
        said = SimpleNamespace(
            type="mouse_wheel" if wheel else _TYPES[event.type()],
            pos=pixel,
            position=tuple(position),
            button=None if wheel else _BUTTONS.get(event.button()),
            buttons=[n for button, n in _BUTTONS.items() if event.buttons() & button],
            modifiers=tuple(n for key, n in _MODIFIERS.items() if event.modifiers() & key),
            delta=(0, event.angleDelta().y() / 120) if wheel else (0, 0),
            is_dragging=self._pressed,
            view_direction=None,
            up_direction=None,
            camera_zoom=ZOOM,
            dims_displayed=list(viewer.dims.displayed),
            dims_point=list(viewer.dims.point),
            native=event,
            handled=False,
        )
        active = viewer.layers.selection.active
        if active is not None:
            active.scale_factor = 1 / ZOOM  # by which it judges what the mouse is near to
        for taker in (viewer, active):
            if taker is not None:
                callbacks(taker, ObjectProxy(said))  # napari puts later events into it


class ModelWindow(QMainWindow):
    """The part of napari's window that a dock lies in."""

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self._events = viewer.layers.events
        self.canvas = ModelCanvas(viewer)
        centre = QWidget()
        QHBoxLayout(centre).addWidget(self.canvas)
        self.setCentralWidget(centre)
        self.file_menu = QMenu(self)
        self._qt_viewer = SimpleNamespace(viewer=viewer)  # where napari's menus of layers look

    def add_dock_widget(self, widget: QWidget, *, name: str) -> QDockWidget:
        """Put a widget beside the canvas."""
        frame = QDockWidget(name, self)
        frame.setWidget(widget)
        self.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, frame)
        for happens in (self._events.inserted, self._events.removed, self._events.reordered):
            happens.connect(widget.reset_choices)
        return frame

    def remove_dock_widget(self, frame: QDockWidget) -> None:
        """Take a widget out again, with its frame."""
        frame.widget().setParent(None)
        self.removeDockWidget(frame)
        frame.deleteLater()


class ModelViewer(ViewerModel):
    """A viewer whose window has no canvas."""

    def __init__(self) -> None:
        super().__init__()
        self._window = ModelWindow(self)
        for action, keys in get_settings().shortcuts.shortcuts.items():
            action_manager.unbind_shortcut(action)
            for key in keys:
                action_manager.bind_shortcut(action, key)

    @property
    def window(self) -> ModelWindow:
        return self._window

    def close(self) -> None:
        """Close the window."""
        self._window.close()
        self.layers.clear()
        # Else actions would know no viewer in a window that comes later, as they are bound here.
        for action in action_manager._actions.values():
            action.__dict__.pop("injected", None)
