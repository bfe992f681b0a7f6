"""Engines that answer at once, and whose masks are known."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from napari_medsamq.inference.model_spec import ModelSpec

# Frame pixels around a click that it gives to the mask, or takes from it.
REACH = 12


def inside_box(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    """Return how far each frame pixel (256, 256) is inside the edges of a box, corners inclusive.

    Linear, so that resizing keeps the edges in place.
    """
    rows, columns = np.mgrid[:256, :256]
    sides = columns - x0, x1 - columns, rows - y0, y1 - rows
    return np.minimum.reduce(sides) + 0.5


def clicked(logits: np.ndarray, coords: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Do to logits (256, 256) what the clicks of the first prompt ask for."""
    rows, columns = np.mgrid[:256, :256]
    for (x, y), label in zip(coords[0, 2:], labels[0, 2:], strict=True):
        near = REACH - np.hypot(columns - x, rows - y)
        logits = np.maximum(logits, near) if label else np.minimum(logits, -near)
    return logits


class FakeEngine:
    """Finds what is bright within each box, voxel by voxel, or nothing at all while `blind`."""

    def __init__(self) -> None:
        self.spec = ModelSpec(name="fake", bits=32, sha256={}, provenance={})
        self.images: list[np.ndarray] = []  # (1, 3, 256, 256), one for each call of `encode`
        self.boxes: list[list[float]] = []  # XYXY in frame pixels
        self.blind = False

    def encode(self, image: np.ndarray) -> np.ndarray:
        self.images.append(image)
        embedding = np.zeros((1, 256, 64, 64), np.float32)
        embedding[0, :16] = image[0, 0].reshape(16, 64, 64)
        return embedding

    def decode(
        self,
        embedding: np.ndarray,
        point_coords: np.ndarray,
        point_labels: np.ndarray,
        mask_input: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        assert np.array_equal(point_labels[:, :2], np.tile([2, 3], (len(point_coords), 1)))
        assert mask_input is not None or point_labels.shape[1] == 2, "clicks correct a mask"
        bright = np.where(embedding[0, :16].reshape(256, 256) > 0.5, 256, -1)
        logits = []
        for (x0, y0), (x1, y1) in point_coords[:, :2]:
            self.boxes.append([float(x0), float(y0), float(x1), float(y1)])
            found = np.minimum(bright, inside_box(x0, y0, x1, y1))
            found = clicked(found, point_coords, point_labels)
            logits.append(np.full_like(found, -1) if self.blind else found)
        return np.stack(logits).astype(np.float32), np.full(len(logits), 0.9, np.float32)


class LedEngine(FakeEngine):
    """Finds what a dense prompt shows, surer than anything else, where there is one."""

    def __init__(self) -> None:
        super().__init__()
        self.led: list[np.ndarray] = []  # (256, 256) bool, the dense prompts

    def decode(
        self,
        embedding: np.ndarray,
        point_coords: np.ndarray,
        point_labels: np.ndarray,
        mask_input: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        found, iou = super().decode(embedding, point_coords, point_labels, mask_input)
        if mask_input is None:
            return found, iou
        self.led.append(mask_input[0, 0] > 0)
        return found if self.blind else 500 * mask_input[:, 0], iou - np.float32(0.2)


class HeldEngine:
    """Finds the whole box in every box, but only while `open` is set."""

    spec = ModelSpec(name="box", bits=32, sha256={}, provenance={})

    def __init__(self) -> None:
        self.open = threading.Event()
        self.open.set()
        self.encoded = self.decoded = 0

    def encode(self, image: np.ndarray) -> np.ndarray:
        self.encoded += 1
        assert self.open.wait(timeout=60)
        return np.zeros((1, 256, 64, 64), np.float32)

    def decode(
        self,
        embedding: np.ndarray,
        point_coords: np.ndarray,
        point_labels: np.ndarray,
        mask_input: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        self.decoded += 1
        ((x0, y0), (x1, y1)) = point_coords[0, :2]
        inside = clicked(inside_box(x0, y0, x1, y1), point_coords, point_labels)
        return inside[None].astype(np.float32), np.array([0.9], np.float32)


def load_instead(monkeypatch: pytest.MonkeyPatch, engine: FakeEngine | HeldEngine) -> None:
    """Have an engine wherever a model would be loaded."""
    monkeypatch.setattr(
        "napari_medsamq.inference.engine.OpenVINOEngine", lambda _directory, **_: engine
    )
