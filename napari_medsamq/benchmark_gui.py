"""How quickly the window follows the mouse: what `medsamq benchmark gui` measures."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import napari
import numpy as np
import numpy.typing as npt
from napari.layers import Shapes
from qtpy.QtCore import QEvent, QPointF, Qt, QTimer
from qtpy.QtGui import QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QWidget

from napari_medsamq.benchmark_worker import peak_memory_mb
from napari_medsamq.canvas import canvas_widget
from napari_medsamq.embeddings import DEFAULT_BUDGET, EMBEDDING_BYTES
from napari_medsamq.engine import Engines
from napari_medsamq.errors import MedSAMQError, VolumeError
from napari_medsamq.geometry import BoxPrompt
from napari_medsamq.layers import image_layer
from napari_medsamq.phantom import phantom_volume
from napari_medsamq.session import Session
from napari_medsamq.slice_network import SliceMask
from napari_medsamq.volume_io import Volume
from napari_medsamq.widget import MedSAMQWidget
from napari_medsamq.workspace import Request

MOVES = 240
MOVE_MS = 16  # a mouse reports 60 times a second or more
ROUNDS = 3
_TICK_MS = 5
_SCROLLED = 10
_CARRIED = 40
# What has to be reached: name in words, path into the result, at most.
GOALS = (
    ("from a move of the mouse to its mask on the screen, median, ms", ("drag_ms", "p50"), 80),
    ("the same, 95th percentile, ms", ("drag_ms", "p95"), 150),
    ("longest gap of the event loop that is ours, ms", ("gui_block_ms",), 50),
    ("propagation, times encoding and decoding alone", ("propagation_overhead", "fresh"), 1.15),
    ("the same, embeddings at hand, times decoding", ("propagation_overhead", "cached"), 1.3),
    ("memory with 512 x 512 x 300 voxels and 40 embeddings, GB", ("memory_gb",), 1.6),
)
_STILL_MS = 300


@dataclass
class Script:
    """A scroll through slices and a drag, as a hand makes them.

    Attributes
    ----------
    viewer : napari.Viewer
    boxes : Shapes
        The layer that is drawn on.
    moved : list of float
        When the mouse moved, in seconds.
    gaps : list of float
        How long the event loop was away each time, in ms.
    """

    viewer: napari.Viewer
    boxes: Shapes
    moved: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)

    def run(self) -> None:
        """Scroll, draw a box that grows and shrinks, and let go."""
        canvas = canvas_of(self.viewer)
        with self._ticking():
            for _ in range(_SCROLLED):
                self.viewer.dims.set_current_step(0, self.viewer.dims.current_step[0] + 1)
                QTest.qWait(MOVE_MS)
            self.viewer.layers.selection.active = self.boxes
            self.boxes.mode = "add_rectangle"
            width, height = canvas.width(), canvas.height()
            start = np.array([0.35 * width, 0.35 * height])
            self._send(canvas, QEvent.Type.MouseMove, start, pressed=False)
            self._send(canvas, QEvent.Type.MouseButtonPress, start)
            place = start
            for turn in np.linspace(0, 4 * np.pi, MOVES):
                side = (0.18 - 0.1 * np.cos(turn)) * min(width, height)
                place = start + side
                QTest.qWait(MOVE_MS)
                self.moved.append(perf_counter())
                self._send(canvas, QEvent.Type.MouseMove, place)
            QTest.qWait(20 * MOVE_MS)
            self._send(canvas, QEvent.Type.MouseButtonRelease, place, pressed=False)
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

    @staticmethod
    def _send(
        canvas: QWidget, kind: QEvent.Type, place: npt.NDArray[np.float64], *, pressed: bool = True
    ) -> None:
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
    """Notes when the mask of each move of the mouse, or of a later one, was on the screen.

    Parameters
    ----------
    script : Script
    dock : MedSAMQWidget
    """

    def __init__(self, script: Script, dock: MedSAMQWidget) -> None:
        self._script = script
        controller = dock.controller
        if controller is None:
            raise RuntimeError("no volume is open")
        self._asked: dict[Request, int] = {}
        self._shown = 0
        self.ms: list[float] = []
        controller.workspace.dragged.connect(self._on_dragged)
        controller.live.preview.shown.connect(self._on_shown)
        canvas_of(script.viewer).frameSwapped.connect(self._on_frame)

    def _on_dragged(self, request: Request | None) -> None:
        if request is not None:
            self._asked[request] = len(self._script.moved)

    def _on_shown(self, request: Request) -> None:
        self._shown = self._asked[request]

    def _on_frame(self) -> None:
        now = perf_counter()
        for moved in self._script.moved[len(self.ms) : self._shown]:
            self.ms.append((now - moved) * 1000)


def measure_window(volume: Volume) -> dict[str, Any]:
    """Drag boxes on a volume in a real window, with the dock and without.

    Returns
    -------
    found : dict
        `drag_ms`: from a move of the mouse to the frame that shows the mask of its box, or of a
        later one: `p50`, `p95`, `n`. `gui_block_ms`: the longest gap of the event loop less that
        of the same script in a napari without the dock, medians of several runs each.
    """
    latencies: list[float] = []
    ours, napari_alone = [], []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as journals:
            script, found = _with_dock(volume, Path(journals))
        latencies += found
        ours.append(max(script.gaps))
        napari_alone.append(max(_without_dock(volume).gaps))
    p50, p95 = np.percentile(latencies, [50, 95])
    return {
        "drag_ms": {"p50": float(p50), "p95": float(p95), "n": len(latencies)},
        "gui_block_ms": median(ours) - median(napari_alone),
    }


def measure_propagation(volume: Volume) -> dict[str, float]:
    """Return how much longer carrying a structure takes than its encoding and decoding alone.

    Returns
    -------
    found : dict
        `fresh`, where each slice is encoded on the way; `cached`, where embeddings are at hand.
    """
    engine = Engines().for_modality(volume.modality)
    session = Session(volume, engine, embedding_budget=(_CARRIED + 2) * EMBEDDING_BYTES)
    middle, (height, width) = volume.slice_count(0) // 2, volume.slice(0, 0).shape[:2]
    box = BoxPrompt(0, middle, width // 8, height // 5, width // 2, 2 * height // 3)
    (first,) = session.segment(box)
    last = volume.slice_count(0) - 1
    ends = max(0, middle - _CARRIED // 2), min(last, middle + _CARRIED // 2)
    found = {}
    for name in ("fresh", "cached"):
        start = perf_counter()
        carried = list(session.carry(0, {middle: first.mask}, *ends))
        took = (perf_counter() - start) * 1000
        masks = [mask for mask in carried if isinstance(mask, SliceMask)]
        found[name] = took / sum(mask.encode_ms + mask.decode_ms for mask in masks)
    return found


def measure_memory() -> float | None:
    """Return the peak memory in GB of a window in a process of its own; None on Windows."""
    if sys.platform == "win32":
        return None
    command = [sys.executable, "-m", "napari_medsamq.benchmark_gui"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    if done.returncode != 0:
        raise MedSAMQError(f"The memory cannot be measured: {done.stderr.strip()[-300:]}")
    return float(json.loads(done.stdout.splitlines()[-1]))


def measure_all(volume: Volume | None) -> dict[str, Any]:
    """Measure a volume, or a made-up one, in every way; see `GOALS`."""
    chosen = volume or phantom_volume()
    return {
        **measure_window(chosen),
        "propagation_overhead": measure_propagation(chosen),
        "memory_gb": measure_memory(),
    }


def format_goals(found: dict[str, Any]) -> str:
    """Lay out values and goals as a Markdown table."""
    lines = ["| | value | goal | |", "|---|---|---|---|"]
    for words, path, most in GOALS:
        value: Any = found
        for key in path:
            value = value[key]
        if value is not None:
            verdict = "met" if value <= most else "**missed**"
            text = f"{value:.0f}" if most > 10 else f"{value:.2f}"
            lines.append(f"| {words} | {text} | {most} | {verdict} |")
    lines.append(f"{found['drag_ms']['n']} moves of the mouse.")
    return "\n".join(lines)


def _peak_gb() -> float:
    """Open a large volume, fill the embeddings, and return this process's peak memory in GB."""
    with tempfile.TemporaryDirectory() as journals:
        viewer = _open_viewer()
        dock = _open_dock(viewer, Path(journals), 40 * EMBEDDING_BYTES)
        _show(viewer, dock, phantom_volume((300, 512, 512)))
        viewer.close()
    return peak_memory_mb() / 1e3


def _open_dock(viewer: napari.Viewer, journals: Path, memory: int) -> MedSAMQWidget:
    dock = MedSAMQWidget(viewer, ask=False, journals=journals, memory=memory)
    viewer.window.add_dock_widget(dock, name="MedSAM-Q", area="right")
    return dock


def _show(viewer: napari.Viewer, dock: MedSAMQWidget, volume: Volume) -> None:
    data, arguments, _ = image_layer(volume)
    viewer.add_image(data, **arguments)
    _wait(dock)


def _with_dock(volume: Volume, journals: Path) -> tuple[Script, list[float]]:
    viewer = _open_viewer()
    dock = _open_dock(viewer, journals, DEFAULT_BUDGET)
    _show(viewer, dock, volume)
    if dock.controller is None:
        raise VolumeError(dock.status)
    script = Script(viewer, dock.controller.workspace.boxes)
    stopwatch = Stopwatch(script, dock)
    script.run()
    _wait(dock)
    viewer.close()
    return script, stopwatch.ms


def _without_dock(volume: Volume) -> Script:
    viewer = _open_viewer()
    data, arguments, _ = image_layer(volume)
    scale = arguments["scale"]
    viewer.add_image(data, **arguments)
    viewer.add_labels(np.zeros(data.shape, np.uint16), scale=scale)
    script = Script(viewer, viewer.add_shapes(ndim=3, scale=scale))
    QTest.qWait(500)
    script.run()
    viewer.close()
    return script


def _open_viewer() -> napari.Viewer:
    viewer = napari.Viewer()
    viewer.window.resize(1300, 850)
    return viewer


def _wait(dock: MedSAMQWidget) -> None:
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


if __name__ == "__main__":
    print(json.dumps(_peak_gb()))
