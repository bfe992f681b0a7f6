"""An engine that answers at once, and whose masks are known."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest

from napari_medsamq.inference.model_spec import ModelSpec
from napari_medsamq.prompts import CarryPrompt

# Labels of the corners of a box of a neighbouring slice.
CARRIED = [4, 5]
# What tells in a spec that there is a carrier.
CARRIER = {"carrier.xml": "0", "carrier.bin": "0"}

# Frame pixels around a click that it gives to the mask, or takes from it.
REACH = 12


def inside_box(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    """Return how far each frame pixel (256, 256) is inside the edges of a box, corners inclusive.

    Linear, so that resizing keeps the edges in place.
    """
    rows, columns = np.mgrid[:256, :256]
    sides = columns - x0, x1 - columns, rows - y0, y1 - rows
    return np.minimum.reduce(sides) + 0.5


def bright(image: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Find what is bright within a box, voxel by voxel."""
    return np.minimum(np.where(image > 0.5, 256, -1), inside_box(*box))


def whole_box(image: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Find all of a box."""
    return inside_box(*box)


def clicked(
    logits: np.ndarray, image: np.ndarray, clicks: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """Do to logits (256, 256) what clicks (n, 2) ask for, by their labels (n,)."""
    rows, columns = np.mgrid[:256, :256]
    for (x, y), label in zip(clicks, labels, strict=True):
        near = REACH - np.hypot(columns - x, rows - y)
        logits = np.maximum(logits, near) if label else np.minimum(logits, -near)
    return logits


class ScriptedEngine:
    """Gives each box the answer that a test wants, and notes what it was asked.

    Parameters
    ----------
    answer : callable
        Takes the picture (256, 256) and a box XYXY in frame pixels, and returns logits (256, 256).
    follow : callable
        Does to logits what clicks ask for, as `clicked` does.
    led : bool
        Whether it finds what a dense prompt shows, surer than anything else, where there is one.
    sees : bool
        Whether its embeddings hold the picture; else they are all alike, and no mask is carried.
    iou : float
        Its own estimate of each mask; less by 0.2 where it was led.
    prompts : str
        What it has learnt, as in a model's provenance.
    carries : bool
        Whether it has a carrier.

    Attributes
    ----------
    open : threading.Event
        While it is not set, pictures wait to be encoded.
    blind : bool
        Whether it finds nothing at all.
    images : list of ndarray
        (1, 3, 256, 256), one for each call of `encode`.
    boxes : list of list of float
        XYXY in frame pixels.
    prompts : list of ndarray
        (256, 256) bool, the dense prompts that led it.
    decoded : int
        How often it was asked for masks.
    carried : int
        How often by boxes of a neighbouring slice.
    """

    def __init__(
        self,
        answer: Callable[[np.ndarray, np.ndarray], np.ndarray] = bright,
        follow: Callable[..., np.ndarray] = clicked,
        *,
        led: bool = False,
        sees: bool = True,
        iou: float = 0.9,
        prompts: str = "boxes",
        carries: bool = False,
    ) -> None:
        self.spec = ModelSpec(
            name="fake",
            bits=32,
            sha256=CARRIER if carries else {},
            provenance={"prompts": prompts},
        )
        self.floating: tuple[str, ...] = ()
        self.answer, self.follow, self.led = answer, follow, led
        self.sees, self.iou = sees, iou
        self.open = threading.Event()
        self.open.set()
        self.blind = False
        self.images: list[np.ndarray] = []
        self.boxes: list[list[float]] = []
        self.prompts: list[np.ndarray] = []
        self.decoded = self.carried = 0

    @property
    def encoded(self) -> int:
        """How many pictures it was given."""
        return len(self.images)

    def encode(self, image: np.ndarray) -> np.ndarray:
        self.images.append(image)
        assert self.open.wait(timeout=60)
        embedding = np.zeros((1, 256, 64, 64), np.float32)
        if self.sees:
            embedding[0, :16] = image[0, 0].reshape(16, 64, 64)
        return embedding

    def decode(
        self,
        embedding: np.ndarray,
        point_coords: np.ndarray,
        point_labels: np.ndarray,
        mask_input: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        count = len(point_coords)
        carried = self.spec.carry_prompt is CarryPrompt.carried and point_labels[0, 0] == CARRIED[0]
        corners = CARRIED if carried else [2, 3]
        assert np.array_equal(point_labels[:, :2], np.tile(corners, (count, 1)))
        self.carried += carried
        assert mask_input is not None or point_labels.shape[1] == 2, "clicks correct a mask"
        self.decoded += 1
        self.boxes += [[float(side) for side in box] for box in point_coords[:, :2].reshape(-1, 4)]
        iou = np.full(count, self.iou, np.float32)
        led = mask_input is not None and self.led
        if led:
            self.prompts.append(mask_input[0, 0] > 0)
            iou -= np.float32(0.2)
        if self.blind:
            return np.full((count, 256, 256), -1, np.float32), iou
        if led:
            return 500 * mask_input[:, 0], iou
        image = embedding[0, :16].reshape(256, 256)
        logits = []
        for box in point_coords[:, :2].reshape(-1, 4):
            found = self.answer(image, box)
            logits.append(self.follow(found, image, point_coords[0, 2:], point_labels[0, 2:]))
        return np.stack(logits).astype(np.float32), iou


def load_instead(monkeypatch: pytest.MonkeyPatch, engine: ScriptedEngine) -> None:
    """Have an engine wherever a model would be loaded."""
    monkeypatch.setattr(
        "napari_medsamq.inference.engine.OpenVINOEngine", lambda _directory, **_: engine
    )
