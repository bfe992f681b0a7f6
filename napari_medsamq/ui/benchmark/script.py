"""A hand that scrolls and draws in napari's window, and a stopwatch beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import napari
import numpy as np
import numpy.typing as npt
from napari.layers import Layer
from qtpy.QtCore import QEvent, QEventLoop, QPointF, Qt, QTimer
from qtpy.QtGui import QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QWidget

from napari_medsamq.errors import MedSAMQError, VolumeError
from napari_medsamq.inference.embeddings import DEFAULT_BUDGET
from napari_medsamq.io.volume import Volume
from napari_medsamq.plugin import image_layer
from napari_medsamq.prompts import BoxPrompt
from napari_medsamq.ui.canvas.canvas_widget import canvas_widget
from napari_medsamq.ui.controller import Controller
from napari_medsamq.ui.dock import MedSAMQWidget
from napari_medsamq.ui.preferences import DockOptions

MOVES = 240
MOVE_MS = 16  # a mouse reports 60 times a second or more
_TICK_MS = 5
_STILL_MS = 300
_SCROLLED = 10
_LONGEST_MS = 20_000


def open_viewer() -> napari.Viewer:
    """Open napari in a window of 1300 x 850 pixels."""
    viewer = napari.Viewer()
    viewer.window.resize(1300, 850)
    return viewer


@contextmanager
def open_window(
    volume: Volume, memory: int = DEFAULT_BUDGET
) -> Iterator[tuple[napari.Viewer, MedSAMQWidget, Controller]]:
    """Open napari, a dock that asks nothing and has journals of its own, and a volume in it."""
    with TemporaryDirectory() as journals:
        viewer = open_viewer()
        options = DockOptions(ask=False, journals=Path(journals), memory=memory)
        dock = MedSAMQWidget(viewer, options=options)
        viewer.window.add_dock_widget(dock, name="MedSAM-Q", area="right")
        data, arguments, _ = image_layer(volume)
        viewer.add_image(data, **arguments)
        while dock.controller is None:
            QTest.qWait(_TICK_MS)
            if not dock.busy and dock.controller is None:
                raise VolumeError(dock.status)
        yield viewer, dock, dock.controller
        viewer.close()


def wait_for(dock: MedSAMQWidget) -> None:
    """Wait until nothing is read or computed, embeddings included."""
    still = 0
    while still < _STILL_MS:
        QTest.qWait(_TICK_MS)
        still = 0 if dock.busy else still + _TICK_MS


def canvas_of(viewer: napari.Viewer) -> QWidget:
    """Find the canvas of a viewer by the title of its window."""
    (main,) = [
        window
        for window in QApplication.topLevelWidgets()
        if window.isVisible() and window.windowTitle() == viewer.title
    ]
    return canvas_widget(main)


@dataclass
class Script:
    """A scroll through slices and a drag, as a hand makes them.

    Attributes
    ----------
    viewer : napari.Viewer
    layer : Layer
        That is drawn on.
    mode : str
        Of that layer, to draw with.
    moved : list of float
        When the mouse moved, in seconds.
    gaps : list of float
        How long the event loop was away each time, in ms.
    """

    viewer: napari.Viewer
    layer: Layer
    mode: str
    moved: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)

    def run(self) -> None:
        """Scroll, draw a box that grows and shrinks, and let go."""
        canvas = canvas_of(self.viewer)
        with self._ticking():
            for _ in range(_SCROLLED):
                self.viewer.dims.set_current_step(0, self.viewer.dims.current_step[0] + 1)
                QTest.qWait(MOVE_MS)
            self.viewer.layers.selection.active = self.layer
            self.layer.mode = self.mode
            width, height = canvas.width(), canvas.height()
            start = np.array([0.35 * width, 0.35 * height])
            send(canvas, QEvent.Type.MouseMove, start, pressed=False)
            send(canvas, QEvent.Type.MouseButtonPress, start)
            place = start
            for turn in np.linspace(0, 4 * np.pi, MOVES):
                side = (0.18 - 0.1 * np.cos(turn)) * min(width, height)
                place = start + side
                QTest.qWait(MOVE_MS)
                self.moved.append(perf_counter())
                send(canvas, QEvent.Type.MouseMove, place)
            QTest.qWait(20 * MOVE_MS)
            send(canvas, QEvent.Type.MouseButtonRelease, place, pressed=False)
            QTest.qWait(20 * MOVE_MS)

    @contextmanager
    def _ticking(self) -> Iterator[None]:
        last = perf_counter()

        def tick() -> None:
            nonlocal last
            now = perf_counter()
            self.gaps.append((now - last) * 1000 - _TICK_MS)
            last = now

        ticker = QTimer()
        ticker.setTimerType(Qt.TimerType.PreciseTimer)
        ticker.timeout.connect(tick)
        ticker.start(_TICK_MS)
        yield
        ticker.stop()


def send(
    canvas: QWidget, kind: QEvent.Type, place: npt.NDArray[np.float64], *, pressed: bool = True
) -> None:
    """Send the left button's press, release or move to a canvas, at (x, y) in its pixels."""
    none, left = Qt.MouseButton.NoButton, Qt.MouseButton.LeftButton
    position = QPointF(*place)
    event = QMouseEvent(
        kind,
        position,
        QPointF(canvas.mapToGlobal(position.toPoint())),
        none if kind == QEvent.Type.MouseMove else left,
        left if pressed else none,
        Qt.KeyboardModifier.NoModifier,
    )
    QApplication.sendEvent(canvas, event)


class Stopwatch:
    """Notes when what belongs to each move of the mouse, or to a later one, was on the screen.

    Parameters
    ----------
    script : Script

    Attributes
    ----------
    shown : int
        Of how many moves the next frame shows it.
    ms : list of float
        Times taken.
    """

    def __init__(self, script: Script) -> None:
        self._script = script
        self.shown = 0
        self.ms: list[float] = []
        canvas_of(script.viewer).frameSwapped.connect(self._on_frame)

    def _on_frame(self) -> None:
        now = perf_counter()
        for moved in self._script.moved[len(self.ms) : self.shown]:
            self.ms.append((now - moved) * 1000)


class MaskStopwatch(Stopwatch):
    """The same of the masks of the boxes that the mouse draws.

    Parameters
    ----------
    script : Script
    controller : Controller
    """

    def __init__(self, script: Script, controller: Controller) -> None:
        super().__init__(script)
        self._asked: dict[BoxPrompt, int] = {}
        controller.workspace.box_layer.dragged.connect(self._on_dragged)
        controller.preview.shown.connect(self._on_shown)

    def _on_dragged(self, item: object, box: BoxPrompt | None) -> None:
        if box is not None:
            self._asked[box] = len(self._script.moved)

    def _on_shown(self, box: BoxPrompt) -> None:
        self.shown = self._asked[box]


class FrameWatch:
    """Notes how long it takes until a frame shows the answer to what was just asked.

    Parameters
    ----------
    canvas : QWidget
        Of napari's.

    Attributes
    ----------
    ms : list of float
        Times taken.
    """

    def __init__(self, canvas: QWidget) -> None:
        self._asked: float | None = None
        self._answered = False
        self._loop, self._longest = QEventLoop(), QTimer()
        self._longest.setSingleShot(True)
        self._longest.setInterval(_LONGEST_MS)
        self._longest.timeout.connect(self._loop.quit)
        self.ms: list[float] = []
        canvas.frameSwapped.connect(self._on_frame)

    def start(self) -> None:
        """Count from now on."""
        self._asked, self._answered = perf_counter(), False

    def answer(self) -> None:
        """Stop at the next frame: it shows the answer."""
        self._answered = True

    def wait(self) -> None:
        """Wait for that frame.

        Raises
        ------
        MedSAMQError
            If it does not come.
        """
        self._longest.start()
        if self._asked is not None:
            self._loop.exec()
        self._longest.stop()
        if self._asked is not None:
            raise MedSAMQError(
                f"The window has not shown a mask within {_LONGEST_MS / 1000:.0f} s, so that its "
                "time cannot be measured. Leave the mouse alone while it runs."
            )

    def _on_frame(self) -> None:
        if self._asked is not None and self._answered:
            self.ms.append((perf_counter() - self._asked) * 1000)
            self._asked = None
            self._loop.quit()


class AnswerWatch(FrameWatch):
    """The same of masks in the label.

    Parameters
    ----------
    canvas : QWidget
    controller : Controller
    """

    def __init__(self, canvas: QWidget, controller: Controller) -> None:
        super().__init__(canvas)
        self._workspace = controller.workspace
        self._workspace.changed.connect(self._on_changed)

    def _on_changed(self) -> None:
        self._answered = not self._workspace.prompts.waiting
