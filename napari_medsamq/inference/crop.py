"""Which part of a slice the network is shown: all of it, or what lies around a small box."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from napari_medsamq.array_types import Bool, Float32, Float64, UInt8
from napari_medsamq.inference.preprocess import BoxRule, ResizeLongestSide, prepare_slice

# A smaller part of a slice shows too little to tell anything from.
LEAST_SIDE = 24


class Crop(NamedTuple):
    """A part of a slice, in whole pixels; `bottom` and `right` lie behind it."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def place(self) -> tuple[slice, slice]:
        """Rows and columns, to index a slice with."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def origin(self) -> Float64:
        """What boxes (4,) XYXY of the slice are shifted by."""
        return np.array([self.left, self.top] * 2, np.float64)


def tight_box(mask: Bool) -> Float64 | None:
    """Return the tight box (4,) XYXY of a mask (H, W) bool, inclusive; None if it is empty."""
    rows, columns = np.nonzero(mask)
    if rows.size == 0:
        return None
    return np.array([columns.min(), rows.min(), columns.max(), rows.max()], np.float64)


@dataclass(frozen=True)
class CropTransform:
    """A part of a slice, and its way to the 256 px frame and back.

    Attributes
    ----------
    shape : (height, width)
        Of the slice.
    pixel_size : (row, column) float
        In mm.
    crop : Crop or None
        The part; None for all of the slice.
    box_rule : BoxRule
        Of the network that is shown it.
    """

    shape: tuple[int, int]
    pixel_size: tuple[float, float]
    crop: Crop | None = None
    box_rule: BoxRule = BoxRule.far_edge

    @cached_property
    def resize(self) -> ResizeLongestSide:
        """The transform between the part and the frame."""
        height, width = self.shape
        if self.crop is not None:
            height, width = self.crop.bottom - self.crop.top, self.crop.right - self.crop.left
        far_edge = self.crop is not None or self.box_rule is BoxRule.far_edge
        return ResizeLongestSide(height, width, self.pixel_size, far_edge)

    @property
    def place(self) -> tuple[slice, slice]:
        """Rows and columns of the slice that are shown, to index it with."""
        return np.s_[:, :] if self.crop is None else self.crop.place

    def image(self, array: UInt8) -> Float32:
        """Turn the slice (H, W) or (H, W, 3) uint8 into the network's image of the part."""
        part = array if self.crop is None else np.ascontiguousarray(array[self.crop.place])
        return prepare_slice(part, self.resize)

    def apply_box(self, xyxy: npt.ArrayLike) -> Float32:
        """Map a box (4,) XYXY from slice pixels to frame pixels, all inclusive, whole numbers."""
        return self.resize.apply_box(np.asarray(xyxy, np.float64) - self._origin)

    def apply_point(self, x: float, y: float) -> tuple[int, int]:
        """Return the frame pixel (x, y) that shows a slice pixel, the nearest one if none does."""
        rows, columns = self.resize.scale
        left, top = self._origin[:2]
        framed = np.floor([(x + 0.5 - left) * columns, (y + 0.5 - top) * rows])
        height, width = self.resize.frame
        found = np.clip(framed, 0, [width - 1, height - 1])
        return int(found[0]), int(found[1])

    def invert_box(self, frame_box: npt.ArrayLike) -> Float64:
        """Return a box (4,) XYXY in slice pixels that `apply_box` maps to a box of whole pixels."""
        return self.resize.invert_box(frame_box) + self._origin

    def apply_mask(self, mask: Bool) -> Bool:
        """Show a mask (H, W) bool of the slice in the frame: (256, 256) bool."""
        return self.resize.apply_mask(mask if self.crop is None else mask[self.crop.place])

    def frame_area(self, mask: Bool) -> Bool:
        """Return where the frame shows anything of a mask (H, W) bool of the slice.

        As LiteMedSAM's inference sees a mask from which it takes the next box: (h, w) bool.
        """
        part = mask if self.crop is None else mask[self.crop.place]
        shown: Bool = self.resize.apply_image(part.astype(np.uint8)) > 0
        return shown

    def invert_mask(self, logits: Float32) -> Bool:
        """Bring logits (256, 256) back to the slice, thresholded at 0: (H, W) bool."""
        part = self.resize.invert_mask(logits)
        if self.crop is None:
            return part
        mask = np.zeros(self.shape, bool)
        mask[self.place] = part
        return mask

    @property
    def _origin(self) -> Float64:
        return np.zeros(4) if self.crop is None else self.crop.origin


@dataclass(frozen=True)
class Zoom:
    """When the network is shown a part of a slice instead of all of it, and how large a part.

    The numbers are those that scored best on the training data among parts of 1.5 to 8 times the
    box, and boxes of up to a twelfth to a half of the slice; for tight boxes and looser ones
    together.

    Attributes
    ----------
    times : float
        The part is a square of so many times the box's longer side, around the box.
    most : float
        Boxes are zoomed in on whose longer side is less than this share of the slice's longer one.
    """

    times: float = 3.5
    most: float = 0.25

    def transform_around(self, xyxy: npt.ArrayLike, whole: CropTransform) -> CropTransform:
        """Return what the network is shown for a box (4,) XYXY in slice pixels.

        Parameters
        ----------
        xyxy : (4,) float
            Both corners inclusive.
        whole : CropTransform
            All of the slice.
        """
        # From edge to edge.
        x0, y0, x1, y1 = np.asarray(xyxy, np.float64) + np.array([0, 0, 1, 1])
        rows, columns = whole.resize.scale
        # In frame pixels, which are square where a slice's are not.
        longer = float(max((x1 - x0) * columns, (y1 - y0) * rows))
        if longer >= self.most * max(whole.resize.frame):
            return whole
        starts, stops = [], []
        for low, high, scale, length in (
            (y0, y1, rows, whole.shape[0]),
            (x0, x1, columns, whole.shape[1]),
        ):
            size = min(length, max(LEAST_SIDE, int(np.ceil(self.times * longer / scale))))
            start = min(max(0, round((low + high - size) / 2)), length - size)
            starts.append(start)
            stops.append(start + size)
        crop = Crop(*starts, *stops)
        if crop == (0, 0, *whole.shape):
            return whole
        return replace(whole, crop=crop)
