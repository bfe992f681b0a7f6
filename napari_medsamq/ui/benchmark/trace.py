"""Where the milliseconds of a drag, a click, a scroll and a brush stroke go."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial, wraps
from time import perf_counter, process_time, thread_time
from typing import Any
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
from napari.layers import Image, Labels, Points, Shapes
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QWidget

from napari_medsamq.annotation.history import History
from napari_medsamq.annotation.label_model import LabelModel
from napari_medsamq.inference.crop import CropTransform
from napari_medsamq.inference.engine import OpenVINOEngine
from napari_medsamq.inference.slice_predictor import SlicePredictor
from napari_medsamq.io.volume import Volume
from napari_medsamq.ui.benchmark.script import (
    MOVE_MS,
    AnswerWatch,
    FrameWatch,
    canvas_of,
    open_window,
    send,
    wait_for,
)
from napari_medsamq.ui.canvas.preview_layer import PreviewLayer
from napari_medsamq.ui.canvas.prompt_layers import BoxLayer
from napari_medsamq.ui.canvas.slice_bar import SliceBar
from napari_medsamq.ui.controller import Controller
from napari_medsamq.ui.forms.dock_form import DockForm
from napari_medsamq.ui.forms.label_form import LabelForm
from napari_medsamq.ui.forms.measure_form import MeasureForm
from napari_medsamq.ui.forms.message_bar import MessageBar
from napari_medsamq.ui.forms.tool_rail import BRUSH
from napari_medsamq.ui.workspace import Workspace

# Of each box: moves of the mouse, clicks, moves of the brush, notches of the wheel.
BOXES, MOVES, CLICKS = 5, 8, 3
# What is timed, beside what Qt tells the canvas: what it does itself, without what else is here.
_STAGES: tuple[tuple[type, tuple[str, ...]], ...] = (
    (Image, ("refresh",)),
    (Labels, ("refresh",)),
    (Points, ("refresh",)),
    (Shapes, ("refresh",)),
    (PreviewLayer, ("show", "hide", "pale")),
    (BoxLayer, ("show",)),
    (Workspace, ("refresh",)),
    (Controller, ("draw",)),
    (LabelModel, ("commit", "record", "overlap", "without_locked", "describe_overlap")),
    (History, ("part",)),
    (DockForm, ("show_status", "show_history")),
    (MessageBar, ("show_place",)),
    (LabelForm, ("show_structures",)),
    (MeasureForm, ("show_statistics",)),
    (SliceBar, ("show_ready", "show_slice", "paintEvent")),
    (SlicePredictor, ("segment", "prepare", "check_mask")),
    (CropTransform, ("image", "invert_mask")),
    (OpenVINOEngine, ("encode", "decode")),
)
_CANVAS = ("mouseMoveEvent", "mousePressEvent", "mouseReleaseEvent", "wheelEvent", "paintGL")


@dataclass
class Stage:
    """What a stage took, without the stages within it: times, ms, and ms of its thread's work."""

    count: int = 0
    ms: float = 0.0
    processor_ms: float = 0.0


@dataclass
class Trace:
    """What was done so many `times`, and what it took.

    Attributes
    ----------
    times : int
    stages : dict of str to Stage
    window_ms, all_ms : float
        Processor time of the GUI's thread, and of all of the process, OpenVINO and OpenGL too.
    """

    times: int = 0
    stages: dict[str, Stage] = field(default_factory=dict)
    window_ms: float = 0.0
    all_ms: float = 0.0


class Tracer:
    """Times stages wherever they run, and enters them into the trace that is on."""

    def __init__(self) -> None:
        self.found: dict[str, Trace] = {}
        self._on: Trace | None = None
        # Of each stage that has begun in a thread, what those within it have taken.
        self._open = threading.local()

    @contextmanager
    def doing(self, what: str, *, again: bool = False) -> Iterator[None]:
        """Trace what is done now, or what is left of it."""
        trace = self._on = self.found.setdefault(what, Trace())
        trace.times += not again
        window, everything = thread_time(), process_time()
        yield
        trace.window_ms += (thread_time() - window) * 1000
        trace.all_ms += (process_time() - everything) * 1000
        self._on = None

    @contextmanager
    def timing(self, owner: type, names: tuple[str, ...]) -> Iterator[None]:
        """Time methods of a class, for as long as this lasts."""
        with ExitStack() as patches:
            for name in names:
                timed = self._timed(f"{owner.__name__}.{name}", getattr(owner, name))
                patches.enter_context(patch.object(owner, name, timed))
            yield

    def _timed(self, stage: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def timed(*args: Any, **named: Any) -> Any:
            outer = self._open.__dict__.setdefault("within", [])
            outer.append((0.0, 0.0))
            start, begun = perf_counter(), thread_time()
            try:
                return method(*args, **named)
            finally:
                took = (perf_counter() - start) * 1000, (thread_time() - begun) * 1000
                inner = outer.pop()
                if outer:
                    outer[-1] = outer[-1][0] + took[0], outer[-1][1] + took[1]
                if self._on is not None:
                    found = self._on.stages.setdefault(stage, Stage())
                    found.count += 1
                    found.ms += took[0] - inner[0]
                    found.processor_ms += took[1] - inner[1]

        return timed


def trace_all(volume: Volume) -> dict[str, Trace]:
    """Drag, click, scroll and paint on a volume in a real window, and look what takes its time.

    Each step is waited for until it is seen, so that none is left out.

    Returns
    -------
    found : dict of str to Trace
        By the words of what was done.
    """
    tracer = Tracer()
    with ExitStack() as stack:
        for owner, names in _STAGES:
            stack.enter_context(tracer.timing(owner, names))
        viewer, dock, controller = stack.enter_context(open_window(volume))
        wait_for(dock)
        canvas = canvas_of(viewer)
        stack.enter_context(tracer.timing(type(canvas), _CANVAS))
        frames, answers = FrameWatch(canvas), AnswerWatch(canvas, controller)

        def trace(what: str, watch: FrameWatch, step: Callable[[], None]) -> None:
            with tracer.doing(what):
                watch.start()
                step()
                watch.wait()

        def seen(step: Callable[[], None]) -> None:
            step()
            frames.answer()

        less = min(canvas.width(), canvas.height())
        for number in range(BOXES):
            start = np.array([canvas.width(), canvas.height()]) * (0.3 + 0.02 * number)
            ways = [start + less * share for share in np.linspace(0.05, 0.35, MOVES)]
            move = [partial(send, canvas, QEvent.Type.MouseMove, place) for place in ways]
            end = partial(send, canvas, QEvent.Type.MouseButtonRelease, ways[-1], pressed=False)
            controller.draw(True)
            _press(canvas, start)
            move[-1]()  # a first one is not known from a click
            wait_for(dock)
            controller.preview.shown.connect(frames.answer)
            for step in move:
                trace("A move of the mouse while a box is drawn", frames, step)
            controller.preview.shown.disconnect(frames.answer)
            trace("Letting go of the box", answers, end)
            controller.click.switch(True)
            wait_for(dock)
            for place in ways[:CLICKS]:
                _press(canvas, place)
                let_go = partial(send, canvas, QEvent.Type.MouseButtonRelease, place, pressed=False)
                trace("A click on the mask", answers, let_go)
                wait_for(dock)
            controller.take(BRUSH)
            _press(canvas, start)
            for step in move:
                trace("A move of the brush", frames, partial(seen, step))
            trace("Letting go of the brush", answers, end)
            with tracer.doing("Letting go of the brush", again=True):
                wait_for(dock)  # its numbers
            for _ in range(MOVES):
                trace("A notch of the wheel", frames, partial(seen, partial(_turn, canvas)))
            wait_for(dock)
    return tracer.found


def format_trace(found: dict[str, Trace]) -> str:
    """Lay out what takes time, as a Markdown table for each thing that was done."""
    lines = []
    for what, trace in found.items():
        lines += [
            f"{what}, means of {trace.times}:",
            "",
            "| | calls | ms | ms of work |",
            "|---|---|---|---|",
        ]
        stages = sorted(trace.stages.items(), key=lambda item: -item[1].processor_ms)
        for name, stage in stages:
            numbers = (one / trace.times for one in (stage.count, stage.ms, stage.processor_ms))
            lines.append(f"| {name} | {' | '.join(f'{number:.2f}' for number in numbers)} |")
        for name, ms in (("GUI thread", trace.window_ms), ("all threads", trace.all_ms)):
            lines.append(f"| {name} | | | {ms / trace.times:.2f} |")
        lines.append("")
    return "\n".join(lines)


def _press(canvas: QWidget, place: npt.NDArray[np.float64]) -> None:
    send(canvas, QEvent.Type.MouseMove, place, pressed=False)
    QTest.qWait(10 * MOVE_MS)
    send(canvas, QEvent.Type.MouseButtonPress, place)
    QTest.qWait(10 * MOVE_MS)


def _turn(canvas: QWidget) -> None:
    """Turn the wheel by a notch."""
    place, none = QPoint(canvas.width() // 2, canvas.height() // 2), Qt.MouseButton.NoButton
    event = QWheelEvent(
        QPointF(place),
        QPointF(canvas.mapToGlobal(place)),
        QPoint(),
        QPoint(0, -120),
        none,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(canvas, event)
