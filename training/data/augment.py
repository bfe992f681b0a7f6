"""Other views of a slice for training: parts of it, other intensities, looser boxes, mirrored."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from napari_medsamq.array_types import Float64, UInt8
from napari_medsamq.inference.crop import LEAST_SIDE, Crop
from napari_medsamq.inference.preprocess import ResizeLongestSide
from training.data.cases import Label
from training.data.slices import frame_image, frame_label

# At full strength: the largest gamma (or its inverse), and what a window may cut off at either end,
# as part of the range.
_GAMMA = 1.5
_CUT = 0.15
# The largest gamma (or its inverse) of a channel, and the least part of its range that it keeps.
_TINT, _FAINT = 1.8, 0.6
# Inwards, a side of a box moves by at most this part of the box.
_MOST_INWARDS = 0.25
# Of the slice's longer side, how long a box is that is drawn anywhere.
_ANY_SIDE = (0.08, 0.6)


@dataclass(frozen=True, eq=False)
class ObjectView:
    """A slice or a part of it, and an object on it.

    Attributes
    ----------
    image : (H, W) or (H, W, 3) uint8
        As it is, or in the frame already.
    ids : (H, W) uint8 or uint16, or None
        The label, in the same way; None where the case is unlabelled.
    label_id : int
        The object's; 0 where the case is unlabelled.
    box : (4,) float64
        The object's, XYXY in pixels of the slice or part, inclusive.
    transform : ResizeLongestSide
        From the slice or part to the frame.
    """

    image: UInt8
    ids: Label | None
    label_id: int
    box: Float64
    transform: ResizeLongestSide

    def cropped(self, rng: np.random.Generator, most: float) -> ObjectView:
        """Show a part around the object, or anywhere if there is none; see `draw_crop`."""
        height, width = shape = self.image.shape[:2]
        pixel_size, box = self.transform.pixel_size, self.box
        if shape != (self.transform.height, self.transform.width):  # of a cache of frames
            pixel_size, box = (1.0, 1.0), self.transform.apply_box(box).astype(np.float64)
        crop = draw_crop(rng, shape, pretend_box(rng, shape) if self.ids is None else box, most)
        if crop is None:
            whole = ResizeLongestSide(height, width, pixel_size)
            return replace(self, box=box, transform=whole)
        image = np.ascontiguousarray(self.image[crop.place])
        height, width = image.shape[:2]
        transform = ResizeLongestSide(height, width, pixel_size)
        if self.ids is None:
            return replace(self, image=image, box=whole_box(height, width), transform=transform)
        ids = np.ascontiguousarray(self.ids[crop.place])
        return replace(self, image=image, ids=ids, box=box - crop.origin, transform=transform)

    def framed(self) -> ObjectView:
        """Resize image and label to the frame; the box stays in pixels of the slice."""
        ids = None if self.ids is None else frame_label(self.ids, self.transform)
        return replace(self, image=frame_image(self.image, self.transform), ids=ids)

    def jittered(self, rng: np.random.Generator, most: int, *, inwards: bool) -> ObjectView:
        """Move the sides of the tight box by so many frame pixels, as people draw it."""
        scale = self._scale()
        least = -_MOST_INWARDS * self._sides() * scale
        shift = np.maximum(
            rng.integers(-most if inwards else 0, most, size=4, endpoint=True), least
        )
        return self._moved(shift / scale)

    def enlarged(self, rng: np.random.Generator, most: float) -> ObjectView:
        """Move the sides of the tight box outwards by 0 to a part of it, to whole frame pixels."""
        shift = np.round(rng.uniform(0, most, size=4) * self._sides() * self._scale())
        return self._moved(shift / self._scale())

    def boxed_anywhere(self, rng: np.random.Generator) -> ObjectView:
        """Draw a box of any size at any place, at most twice as long as wide."""
        shape = np.array([self.transform.height, self.transform.width])
        longer = max(shape) * np.exp(rng.uniform(*np.log(_ANY_SIDE)))
        sides = rng.permutation([longer, longer * rng.uniform(0.5, 1)])
        height, width = np.clip(np.round(sides), 2, shape)
        y, x = rng.integers(0, shape - [height, width] + 1).tolist()
        return replace(self, box=np.array([x, y, x + width - 1, y + height - 1], np.float64))

    def _scale(self) -> Float64:
        rows, columns = self.transform.scale
        return np.array([columns, rows, columns, rows])

    def _sides(self) -> Float64:
        sides: Float64 = np.tile(self.box[2:] - self.box[:2] + 1, 2)
        return sides

    def _moved(self, outwards: Float64) -> ObjectView:
        moved = self.box + np.array([-1, -1, 1, 1]) * outwards
        last = whole_box(self.transform.height, self.transform.width)[[2, 3, 2, 3]]
        return replace(self, box=np.clip(moved, 0, last))

    def mirrored(self, axis: int) -> ObjectView:
        """Mirror along the rows' axis (0) or the columns' axis (1)."""
        box, sides = self.box.copy(), [1, 3] if axis == 0 else [0, 2]
        length = self.transform.height if axis == 0 else self.transform.width
        box[sides] = length - 1 - box[sides[::-1]]
        ids = None if self.ids is None else np.flip(self.ids, axis)
        return replace(self, image=np.flip(self.image, axis), ids=ids, box=box)

    def turned(self) -> ObjectView:
        """Exchange rows and columns."""
        rows, columns = self.transform.pixel_size
        return replace(
            self,
            image=np.swapaxes(self.image, 0, 1),
            ids=None if self.ids is None else self.ids.T,
            box=self.box[[1, 0, 3, 2]],
            transform=ResizeLongestSide(
                self.transform.width, self.transform.height, (columns, rows)
            ),
        )


def whole_box(height: int, width: int) -> Float64:
    """Return the box (4,) XYXY of a whole slice, inclusive."""
    return np.array([0, 0, width - 1, height - 1], np.float64)


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
    return np.minimum(np.array([x, y, x + side, y + side]), whole_box(*shape)[[2, 3, 2, 3]])


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
