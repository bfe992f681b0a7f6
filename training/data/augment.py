"""Other views of a slice for training: a part of it around the object, and other intensities."""

from __future__ import annotations

import numpy as np

from napari_medsamq.array_types import Float64, UInt8
from napari_medsamq.inference.crop import LEAST_SIDE, Crop

# At full strength: the largest gamma (or its inverse), and what a window may cut off at either end,
# as part of the range.
_GAMMA = 1.5
_CUT = 0.15
# The largest gamma (or its inverse) of a channel, and the least part of its range that it keeps.
_TINT, _FAINT = 1.8, 0.6


def draw_crop(
    rng: np.random.Generator, shape: tuple[int, int], box: Float64, most: float
) -> Crop | None:
    """Draw a square part of a slice that holds a box, the box anywhere in it.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : (height, width)
        Of the slice.
    box : (4,) float64
        XYXY in pixels, inclusive.
    most : float
        The part's side is 1 to so many times the box's longer one.

    Returns
    -------
    Crop or None
        Cut off where the slice ends; None if it would be the whole slice.
    """
    x0, y0 = np.floor(box[:2]).astype(int)
    # A box of a shrunk slice may end between its last pixel and its edge.
    x1, y1 = np.minimum(np.ceil(box[2:]).astype(int) + 1, shape[::-1])
    longer = max(x1 - x0, y1 - y0)
    side = max(LEAST_SIDE, int(longer * np.exp(rng.uniform(0, np.log(most))) + 0.5))
    starts, stops = [], []
    for first, last, length in ((y0, y1, shape[0]), (x0, x1, shape[1])):
        size = min(side, length)
        start = int(rng.integers(max(0, last - size), min(first, length - size), endpoint=True))
        starts.append(start)
        stops.append(start + size)
    crop = Crop(*starts, *stops)
    return None if crop == (0, 0, *shape) else crop


def pretend_box(rng: np.random.Generator, shape: tuple[int, int]) -> Float64:
    """Draw a box (4,) XYXY where there is no object: an eighth of the slice's longer side."""
    side = max(2, max(shape) // 8)
    y, x = (int(rng.integers(0, max(1, length - side))) for length in shape)
    last = np.array([shape[1], shape[0]] * 2) - 1
    return np.minimum(np.array([x, y, x + side, y + side]), last).astype(np.float64)


def vary_intensity(rng: np.random.Generator, image: UInt8, strength: float) -> UInt8:
    """Show an image (H, W) or (H, W, 3) as through another window and another gamma.

    Parameters
    ----------
    rng : numpy.random.Generator
    image : uint8 array
    strength : float
        0 (as it is) to 1.
    """
    low, high = float(image.min()), float(image.max())
    below, above = rng.uniform(0, _CUT * strength, 2) * (high - low)
    gamma = np.exp(rng.uniform(-1, 1) * np.log(_GAMMA) * strength)
    levels = np.clip((np.arange(256) - low - below) / max(high - low - below - above, 1), 0, 1)
    table = (levels**gamma * 255).astype(np.uint8)
    varied: UInt8 = table[image]
    return varied


def vary_colour(rng: np.random.Generator, image: UInt8) -> UInt8:
    """Show an image (H, W) or (H, W, 3) in other colours (H, W, 3), as under another light or dye.

    Parameters
    ----------
    rng : numpy.random.Generator
    image : uint8 array
    """
    coloured = np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image
    gammas = np.exp(rng.uniform(-1, 1, 3) * np.log(_TINT))
    levels = np.linspace(0, 1, 256)[:, None] ** gammas * rng.uniform(_FAINT, 1, 3)
    tables = (levels * 255).round().astype(np.uint8)
    channels = coloured[..., rng.permutation(3)]
    return np.stack([tables[channels[..., i], i] for i in range(3)], axis=2)
