"""A napari window with the dock in it, driven as a user does: by mouse, keys and buttons."""

import numpy as np
from qtpy.QtCore import QEvent, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractButton, QApplication

from napari_medsamq.inference.embeddings import DEFAULT_BUDGET
from napari_medsamq.ui.dock import MedSAMQWidget
from napari_medsamq.ui.preferences import DockOptions

# napari drops mouse moves that follow each other by less than 5 ms.
MOVE_MS = 15
PLAIN = Qt.KeyboardModifier.NoModifier


class Window:
    """napari with the dock, driven as a user does: by mouse, keys and buttons."""

    move_ms = MOVE_MS

    def __init__(self, viewer, qtbot):
        self.viewer = viewer
        self.qtbot = qtbot
        viewer.window.resize(1300, 850)
        self.open_dock()

    def open_dock(self, *, prefetch=False, memory=DEFAULT_BUDGET, ask=True, draws=False):
        # Encoding ahead would count as encoding in tests that count.
        options = DockOptions(ask=ask, prefetch=prefetch, memory=memory, draws=draws)
        self.dock = MedSAMQWidget(self.viewer, options=options)
        self.dock_frame = self.viewer.window.add_dock_widget(self.dock, name="MedSAM-Q")

    def close_dock(self):
        self.viewer.window.remove_dock_widget(self.dock_frame)
        QApplication.processEvents()

    def wait(self):
        """Wait until nothing is read, computed or saved any more."""
        self.qtbot.waitUntil(lambda: not self.dock.busy, timeout=150_000)
        QTest.qWait(20)

    def open(self, path):
        self.wait()
        self.dock.open_path(path)
        self.wait()
        assert self.dock.controller is not None, self.dock.status

    @property
    def workspace(self):
        return self.dock.controller.workspace

    @property
    def session(self):
        return self.workspace.session

    @property
    def native(self):
        return self.viewer.window._qt_viewer.canvas.native

    def pixel(self, voxel):
        """Where on the canvas an array voxel (z, y, x) of the slice in view lies."""
        canvas = self.viewer.window._qt_viewer.canvas
        shown = list(self.viewer.dims.displayed)

        def world(x, y):
            return np.array(canvas._map_canvas2world((x, y), canvas.view))[shown]

        origin = world(0, 0)
        matrix = np.column_stack([world(100, 0) - origin, world(0, 100) - origin]) / 100
        target = (np.array(voxel) * self.session.volume.spacing)[shown]
        return np.linalg.solve(matrix, target - origin)

    def mouse(self, kind, pixel, button=Qt.MouseButton.LeftButton, buttons=None, modifier=PLAIN):
        position = QPointF(*pixel)
        pressed = Qt.MouseButton.LeftButton if buttons is None else buttons
        event = QMouseEvent(
            kind,
            position,
            QPointF(self.native.mapToGlobal(position.toPoint())),
            button,
            pressed,
            modifier,
        )
        QApplication.sendEvent(self.native, event)
        QApplication.processEvents()

    def drag(self, start, stop, steps=4):
        """Drag the mouse between two array voxels of the slice in view."""
        begin, end = self.pixel(start), self.pixel(stop)
        none = Qt.MouseButton.NoButton
        self.mouse(QEvent.Type.MouseMove, begin, none, none)
        self.mouse(QEvent.Type.MouseButtonPress, begin)
        for fraction in np.linspace(0, 1, steps + 1)[1:]:
            QTest.qWait(self.move_ms)
            self.mouse(QEvent.Type.MouseMove, begin + fraction * (end - begin), none)
        QTest.qWait(self.move_ms)
        self.mouse(QEvent.Type.MouseButtonRelease, end, buttons=none)
        QTest.qWait(self.move_ms)

    def click(self, voxel):
        self.drag(voxel, voxel, steps=0)

    def move_box(self, start, stop):
        """Drag the first box between two array voxels, and let napari end its work on it."""
        boxes = self.workspace.boxes
        boxes.mode = "select"
        boxes.selected_data = {0}
        self.drag(start, stop)
        QTest.qWait(50)

    def button(self, words):
        """The one button of the window whose text or name begins with some words."""
        buttons = self.dock_frame.parentWidget().findChildren(QAbstractButton)
        (found,) = [
            button
            for button in buttons
            if (button.text() or button.accessibleName()).startswith(words)
        ]
        return found

    def entry(self, words):
        """The one entry of the volume's menu that begins with some words."""
        entries = self.dock.form.volume.menu.actions()
        (found,) = [entry for entry in entries if entry.text().startswith(words)]
        return found

    def structures(self):
        """What the list of structures shows: names with mL, and which one is in hand."""
        table = self.dock.form.label._table
        rows = [(name, volume) for name, volume, *_ in table.rows]
        return rows, rows[table.currentRow()][0]

    def press(self, key, modifier=PLAIN):
        """Press a key with the canvas in focus."""
        self.native.setFocus()
        QTest.keyClick(self.native, key, modifier)
        QApplication.processEvents()


class ModelDriver(Window):
    """The same, of a window without a canvas, which takes every move."""

    move_ms = 1

    @property
    def native(self):
        return self.viewer.window.canvas

    def pixel(self, voxel):
        """Where on the canvas an array voxel (z, y, x) of the slice in view lies."""
        return self.native.pixel(np.array(voxel) * self.session.volume.spacing)
