"""How long a box and a click take until their mask is seen, and an edit until its numbers are."""

from __future__ import annotations

from time import perf_counter

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import QEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QWidget

from napari_medsamq.io.volume import Volume
from napari_medsamq.ui.benchmark.alone import Alone, summarise_excess
from napari_medsamq.ui.benchmark.script import (
    MOVE_MS,
    AnswerWatch,
    canvas_of,
    open_window,
    send,
    wait_for,
)
from napari_medsamq.ui.forms.measure_form import MeasureForm

BOXES = 12
# On each box's mask: inside, beside, inside again; with how many rounds of the network, the first
# ones of which are at hand where the part of the slice stays.
CLICKS = (((0.5, 0.5), 1, False), ((0.9, 1.3), 2, True), ((0.3, 0.6), 1, False))
# A box so large in parts of the canvas is small enough to be zoomed in on.
_SIDE = 0.1
_MOVES = 10
EDITS = 20
# Grey values from here on are the label that is edited: two organs of the made-up CT.
_LABELLED = 65
_PATCH = (slice(0, 5), slice(0, 5))


def measure_answers(volume: Volume, alone: Alone) -> dict[str, dict[str, float]]:
    """Draw small boxes on a volume in a real window, and click on their masks.

    Returns
    -------
    found : dict
        `refined_ms`: from letting go of a box to the frame that shows its mask, for which the
        network saw the box's surroundings enlarged; `click_ms`: from a click to the frame that
        shows the corrected mask. Each `p50`, `p95`, `n`. `refined_excess`, `click_excess`: what of
        that is beyond what it needs; see `summarise_excess`.
    """
    with open_window(volume) as (viewer, dock, controller):
        wait_for(dock)
        canvas, watch = canvas_of(viewer), AnswerWatch(canvas_of(viewer), controller)
        size = np.array([canvas.width(), canvas.height()], np.float64)
        side = np.full(2, _SIDE * size.min())
        refined: list[float] = []
        for number in range(BOXES):
            # Places all over the middle of the picture, each one once.
            start = size / 2 + side * [number % 4 - 2, number // 4 - 1.5]
            controller.draw(True)
            _drag(canvas, start, start + side, watch)
            refined.append(watch.ms.pop())
            controller.click.switch(True)
            wait_for(dock)
            for share, _, _ in CLICKS:
                _click(canvas, start + side * share, watch)
            controller.click.switch(False)
    clicks = [alone.click(rounds, encodes=encodes) for _, rounds, encodes in CLICKS] * BOXES
    return {
        "refined_ms": summarise(refined),
        "refined_excess": summarise_excess(refined, [alone.small_box] * BOXES),
        "click_ms": summarise(watch.ms),
        "click_excess": summarise_excess(watch.ms, clicks),
    }


def _drag(
    canvas: QWidget,
    start: npt.NDArray[np.float64],
    end: npt.NDArray[np.float64],
    watch: AnswerWatch,
) -> None:
    send(canvas, QEvent.Type.MouseMove, start, pressed=False)
    send(canvas, QEvent.Type.MouseButtonPress, start)
    for share in np.linspace(0, 1, _MOVES):
        QTest.qWait(MOVE_MS)
        send(canvas, QEvent.Type.MouseMove, start + share * (end - start))
    # A hand rests before it lets go, and the preview has its last picture by then.
    QTest.qWait(20 * MOVE_MS)
    watch.start()
    send(canvas, QEvent.Type.MouseButtonRelease, end, pressed=False)
    watch.wait()


def _click(canvas: QWidget, place: npt.NDArray[np.float64], watch: AnswerWatch) -> None:
    send(canvas, QEvent.Type.MouseMove, place, pressed=False)
    QTest.qWait(10 * MOVE_MS)
    send(canvas, QEvent.Type.MouseButtonPress, place)
    watch.start()
    send(canvas, QEvent.Type.MouseButtonRelease, place, pressed=False)
    watch.wait()


def measure_statistics(volume: Volume) -> dict[str, dict[str, float]]:
    """Edit a label slice by slice, and wait for its numbers each time.

    Returns
    -------
    found : dict
        `statistics_ms`: from an edit to when the dock has the label's new statistics; `p50`, `p95`,
        `n`.
    """
    with open_window(volume) as (_, dock, controller):
        workspace = controller.workspace
        wait_for(dock)
        shown: list[float] = []
        form = dock.findChild(MeasureForm)
        form.shown.connect(lambda: shown.append(perf_counter()))
        mask = volume.data >= _LABELLED
        ms = []
        for edit in range(EDITS + 1):
            if edit > 0:
                mask = np.zeros_like(mask)
                mask[edit % len(mask)][_PATCH] = True
            voxels = np.flatnonzero(mask)
            ones = np.ones(len(voxels), np.uint16)
            workspace.session.history.change("stroke", voxels, ones, (), by_hand=True)
            count, start = len(shown), perf_counter()
            workspace.refresh()
            while len(shown) == count:
                QTest.qWait(1)
            ms.append((shown[-1] - start) * 1000)
            wait_for(dock)
    # The first edit made the label.
    return {"statistics_ms": summarise(ms[1:])}


def summarise(ms: list[float]) -> dict[str, float]:
    """Return median, 95th percentile and number of times: `p50`, `p95`, `n`."""
    p50, p95 = np.percentile(ms, [50, 95])
    return {"p50": float(p50), "p95": float(p95), "n": len(ms)}
