"""An engine that answers at once, and whose masks are known."""

from __future__ import annotations

import numpy as np

from napari_medsamq.model_spec import ModelSpec

# Lets a box come back as the very voxels it covers, where the longest side has 11 to 30 pixels.
MARGIN = 12


class FakeEngine:
    """Finds in every box the box itself, or nothing at all while `blind`."""

    def __init__(self, margin: int = MARGIN) -> None:
        self.margin = margin  # frame pixels that a mask reaches beyond the lower right corner
        self.spec = ModelSpec(name="fake", bits=32, sha256={}, provenance={})
        self.images: list[np.ndarray] = []  # (1, 3, 256, 256), one for each call of `encode`
        self.boxes: list[list[float]] = []  # XYXY in frame pixels
        self.blind = False

    def encode(self, image: np.ndarray) -> np.ndarray:
        self.images.append(image)
        return np.zeros((1, 256, 64, 64), np.float32)

    def decode(
        self,
        embedding: np.ndarray,
        point_coords: np.ndarray,
        point_labels: np.ndarray,
        mask_input: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        assert embedding.shape == (1, 256, 64, 64)
        assert np.array_equal(point_labels, np.tile([2, 3], (len(point_coords), 1)))
        rows, columns = np.mgrid[:256, :256]
        logits = []
        for (x0, y0), (x1, y1) in point_coords:
            self.boxes.append([float(x0), float(y0), float(x1), float(y1)])
            # How far inside the nearest side: linear, so that resizing keeps the zero crossing.
            sides = (columns - x0, x1 + self.margin - columns, rows - y0, y1 + self.margin - rows)
            logits.append(np.minimum.reduce(sides) if not self.blind else np.full((256, 256), -1))
        return np.stack(logits).astype(np.float32), np.full(len(logits), 0.9, np.float32)
