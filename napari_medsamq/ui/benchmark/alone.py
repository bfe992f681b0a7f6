"""What no window can be faster than: napari's own redraw, and the network's own answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any

import napari
import numpy as np
from napari.layers import Labels
from qtpy.QtTest import QTest

from napari_medsamq.inference.engine import Engines, box_points
from napari_medsamq.inference.preprocess import FRAME
from napari_medsamq.inference.prompt_decoder import dense_prompt
from napari_medsamq.io.volume import Volume
from napari_medsamq.plugin import image_layer
from napari_medsamq.ui.benchmark.script import Script, Stopwatch, open_viewer

_TIMES = 9


@dataclass(frozen=True)
class Alone:
    """Medians in ms, of this computer at this time.

    Attributes
    ----------
    redraw : float
        From a move of the mouse to the frame that shows a box of a label layer changed, in a napari
        with that layer and an image.
    encode, decode, correct : float
        The network's, where nothing else is at work: a slice, a box, a click on a mask.
    """

    redraw: float
    encode: float
    decode: float
    correct: float

    @property
    def move(self) -> float:
        """What a move of the mouse needs until its mask is seen."""
        return self.redraw + self.decode

    @property
    def small_box(self) -> float:
        """What letting go of a box needs that is zoomed in on."""
        return self.redraw + self.encode + self.decode

    def click(self, rounds: int, *, encodes: bool) -> float:
        """Return what a click needs that is asked about with so many before it, itself included.

        Where it encodes, another part of the slice is shown, on which the box is asked about first.
        """
        decoded = rounds * self.correct + encodes * self.decode
        return self.redraw + encodes * self.encode + decoded


def summarise_excess(ms: list[float], needed: list[float]) -> dict[str, float]:
    """Return what is beyond the needed ms, `p50` and `p95`, and how many `times` they it is."""
    excess = np.subtract(ms, needed)
    p50, p95 = np.percentile(excess, [50, 95])
    return {"p50": float(p50), "p95": float(p95), "times": float(np.median(excess / needed))}


def time_network(volume: Volume) -> dict[str, float]:
    """Return the medians in ms of `encode`, `decode` and `correct`, as in `Alone`."""
    engine = Engines().for_modality(volume.modality)
    image = np.random.default_rng(0).random((1, 3, FRAME, FRAME), np.float32)
    embedding = engine.encode(image)
    coords, labels = box_points([64, 64, 192, 192])
    click = np.full((1, 1, 2), FRAME // 2, np.float32), np.ones((1, 1), np.float32)
    clicked = [np.concatenate(two, axis=1) for two in zip((coords, labels), click, strict=True)]
    mask = dense_prompt(np.ones((FRAME, FRAME), bool))
    steps: dict[str, Callable[[], object]] = {
        "encode": lambda: engine.encode(image),
        "decode": lambda: engine.decode(embedding, coords, labels),
        "correct": lambda: engine.decode(embedding, *clicked, mask),
    }
    found: dict[str, float] = {}
    for name, step in steps.items():
        step()  # the first one is compiled
        took = []
        for _ in range(_TIMES):
            start = perf_counter()
            step()
            took.append((perf_counter() - start) * 1000)
        found[name] = median(took)
    return found


def run_alone(volume: Volume) -> tuple[Script, list[float]]:
    """Play the script in a napari with an image and one label layer, and no dock.

    Returns
    -------
    script : Script
    ms : list of float
        From each move to the frame that shows the label in the box that was dragged.
    """
    viewer = open_viewer()
    data, arguments, _ = image_layer(volume)
    viewer.add_image(data, **arguments)
    labels = viewer.add_labels(np.zeros(data.shape[:3], np.uint16), scale=arguments["scale"])
    viewer.scene.camera.mouse_pan = False
    script = Script(viewer, labels, "pan_zoom")
    stopwatch = Stopwatch(script)

    def fill(_: napari.Viewer, event: Any) -> Iterator[None]:
        start = labels.world_to_data(event.position)
        yield
        while event.type == "mouse_move":
            _fill_box(labels, start, labels.world_to_data(event.position))
            stopwatch.shown = len(script.moved)
            yield

    viewer.mouse_drag_callbacks.append(fill)
    QTest.qWait(500)
    script.run()
    viewer.close()
    return script, stopwatch.ms


def _fill_box(labels: Labels, start: Any, stop: Any) -> None:
    (index, y0, x0), (_, y1, x1) = np.rint(np.sort([start, stop], axis=0)).astype(int)
    plane = labels.data[index]
    plane[...] = 0
    plane[max(0, y0) : y1 + 1, max(0, x0) : x1 + 1] = 1
    labels.refresh(thumbnail=False, extent=False, highlight=False)
