"""Which values of the image a brush stroke is held to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from napari.layers import Image

from napari_medsamq.array_types import Bool, Float64
from napari_medsamq.io.volume import Volume

# Voxels to each side of where a stroke begins, whose median is its value: noise does not decide.
_AROUND = 1


@dataclass(frozen=True, eq=False)
class BrushRange:
    """Holds strokes to the values of the window, or to values like that where a stroke begins.

    Attributes
    ----------
    volume : Volume
    image : Image
        Whose contrast limits are the window.
    reach : float or None
        How far from the value where a stroke begins, in widths of the window; None for all of the
        window.
    """

    volume: Volume
    image: Image
    reach: float | None = None

    def limits(self, axis: int, place: Float64) -> tuple[float, float]:
        """Return the lowest and the highest value of a stroke.

        Parameters
        ----------
        axis : int
            Array axis normal to the slice that it is on.
        place : (3,) float
            Where it begins, in array voxels; the nearest one of the volume's counts.
        """
        low, high = (float(limit) for limit in self.image.contrast_limits)
        if self.reach is None:
            return low, high
        data = self.volume.data
        middle = np.clip(np.rint(place).astype(int), 0, np.array(data.shape) - 1)
        beside = np.where(np.arange(data.ndim) == axis, 0, _AROUND)
        first, last = np.maximum(middle - beside, 0), middle + beside
        around = data[tuple(slice(*edges) for edges in zip(first, last + 1, strict=True))]
        value, reach = float(np.median(around)), self.reach * (high - low)
        return value - reach, value + reach


@dataclass(frozen=True, eq=False)
class HeldStroke:
    """A stroke that is held to some values, and the slice that it began on.

    Attributes
    ----------
    limits : (float, float)
    slice : (H, W) uint16
        The label there; the stroke changes it.
    before : (H, W) uint16
        What it was.
    outside : (H, W) bool
        Where the values are others.
    """

    limits: tuple[float, float]
    slice: np.ndarray
    before: np.ndarray
    outside: Bool

    def take_back(self) -> bool:
        """Undo what was painted on other values; False where nothing was."""
        wrong = self.outside & (self.slice != self.before)
        self.slice[wrong] = self.before[wrong]
        return bool(wrong.any())
