"""Slices to images and logits to masks: the window, and the only resize of the project.

The numbers are those of LiteMedSAM's inference code (bowang-lab/MedSAM, branch LiteMedSAM), which
training shares: window to uint8, OpenCV INTER_AREA to a longest side of 256, minimum-maximum to
[0, 1], and zero padding right and bottom, in this order.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import cv2
import numpy as np
import numpy.typing as npt

from napari_medsamq.array_types import Bool, Float32, Float64, UInt8
from napari_medsamq.errors import VolumeError
from napari_medsamq.io.volume import Volume

FRAME = 256


# Below this difference, pixels count as square and the frame is exactly LiteMedSAM's.
_SQUARE_TOLERANCE = 0.01


@dataclass(frozen=True)
class WindowLevel:
    """A display window: intensities from `level - width / 2` to `level + width / 2`.

    Attributes
    ----------
    level, width : float
        In the volume's intensity unit, HU for CT; `width` is positive.
    """

    level: float
    width: float

    def __post_init__(self) -> None:
        # In the precision in which it is applied; what overflows becomes infinite.
        with np.errstate(over="ignore"):
            low, high = (np.float32(limit) for limit in self.limits)
        if not (np.isfinite(low) and np.isfinite(high) and low < high):
            raise ValueError(
                "a window needs a finite level and a positive width, "
                f"not {self.level:g}/{self.width:g}"
            )

    @property
    def limits(self) -> tuple[float, float]:
        """Lowest and highest intensity of the window."""
        return self.level - self.width / 2, self.level + self.width / 2

    @classmethod
    def from_limits(cls, low: float, high: float) -> WindowLevel:
        """Make the window between two intensities."""
        return cls(level=(low + high) / 2, width=high - low)

    @classmethod
    def of_text(cls, text: str) -> WindowLevel:
        """Read level and width with a comma or, as in tables, a slash between them: 40,400.

        Raises
        ------
        ValueError
            If they are none.
        """
        try:
            level, width = (float(part) for part in text.replace("/", ",").split(","))
        except ValueError as error:
            raise ValueError(f"a window is level/width, such as 40/400, not `{text}`") from error
        return cls(level, width)

    def apply(self, array: npt.NDArray[np.generic]) -> UInt8:
        """Map intensities to 0..255, cut off outside the window.

        Fractions are dropped as in MedSAM's published preprocessing; the window 0..255 leaves
        uint8 arrays exactly as they are.
        """
        low, high = self.limits
        scaled = (array.astype(np.float32) - np.float32(low)) * np.float32(255 / (high - low))
        grey: UInt8 = np.clip(scaled, 0, 255).astype(np.uint8)
        return grey


IDENTITY = WindowLevel(127.5, 255)
SOFT_TISSUE: WindowLevel = WindowLevel(40, 400)


def default_window(volume: Volume) -> WindowLevel:
    """Choose the window a volume is first shown and segmented with.

    Already windowed volumes keep their grey values, CT in Hounsfield units gets the soft tissue
    window (40/400 HU), everything else the range from the 0.5th to the 99.5th percentile of its
    non-zero voxels, as in MedSAM's published preprocessing.

    Raises
    ------
    VolumeError
        If all non-zero voxels of an MR volume have one value, or single precision does not hold
        its values or tell them apart.
    """
    if volume.windowed:
        return IDENTITY
    if volume.hounsfield:
        return SOFT_TISSUE
    low, high = np.percentile(volume.data[volume.data != 0], (0.5, 99.5))
    if low == high:
        low, high = volume.data.min(), volume.data.max()
    if low == high:
        raise VolumeError(
            f"{volume.name}: every voxel has the value {low:g}, so there is nothing to show or "
            "segment. Check that the right file was opened."
        )
    return window_between(volume, float(low), float(high))


def window_between(volume: Volume, low: float, high: float) -> WindowLevel:
    """Make the window between two intensities of a volume.

    Raises
    ------
    VolumeError
        If single precision does not hold them or tell them apart.
    """
    try:
        return WindowLevel.from_limits(low, high)
    except ValueError as error:
        raise VolumeError(
            f"{volume.name}: its values from {low:.10g} to {high:.10g} are too large, too small or "
            "too close to each other for single precision (up to 3e38, 7 digits), in which they "
            "are shown. Save it with other values, such as less an offset or by another factor."
        ) from error


class BoxRule(StrEnum):
    """How far the last pixel of a box reaches where a slice is enlarged; in words, for files.

    It is several frame pixels wide there. On slices that are shrunk, all are LiteMedSAM's rule.
    """

    far_edge = "the last pixel up to its far edge"
    # For its published weights, whose masks are to be those of its own inference.
    published = (
        "on whole slices as LiteMedSAM, in parts of slices the last pixel up to its far edge"
    )
    # Of journals of before there was a choice; nothing is asked by it any more.
    near_edge = "the last pixel up to its near edge"


@dataclass(frozen=True)
class ResizeLongestSide:
    """The transform between a slice and the 256 px frame.

    Attributes
    ----------
    height, width : int
        Of the slice, in pixels.
    pixel_size : (row, column) float
        In mm. Slices whose pixels are not square are resampled to square ones on the way.
    far_edge : bool
        Whether the last pixel of a box reaches to its far edge; see `BoxRule`.
    """

    height: int
    width: int
    pixel_size: tuple[float, float] = (1.0, 1.0)
    far_edge: bool = True

    @property
    def scale(self) -> tuple[float, float]:
        """Frame pixels per slice pixel, for rows and columns."""
        row, column = self.pixel_size
        if abs(row / column - 1) <= _SQUARE_TOLERANCE:
            row = column = 1.0
        longest = max(self.height * row, self.width * column)
        return FRAME * row / longest, FRAME * column / longest

    @property
    def frame(self) -> tuple[int, int]:
        """Height and width of the part of the frame that the slice covers."""
        rows, columns = self.scale
        return max(1, int(self.height * rows + 0.5)), max(1, int(self.width * columns + 0.5))

    def apply_image(self, array: UInt8) -> UInt8:
        """Resize a slice (H, W) or (H, W, 3) uint8 to `frame`.

        INTER_AREA on uint8 is what the network was trained with, also when enlarging.
        """
        height, width = self.frame
        return np.asarray(
            cv2.resize(array, (width, height), interpolation=cv2.INTER_AREA), np.uint8
        )

    def apply_box(self, xyxy: npt.ArrayLike) -> Float32:
        """Map a box (4,) XYXY from slice pixels to frame pixels, all inclusive, whole numbers.

        As in LiteMedSAM, a pixel is the frame pixel in which its near edge falls; but see
        `far_edge`.
        """
        steps, reach = self._box_steps
        truncated: Float64 = np.trunc(np.asarray(xyxy, np.float64) * steps + reach)
        return truncated.astype(np.float32)

    def invert_box(self, frame_box: npt.ArrayLike) -> Float64:
        """Return a box (4,) XYXY in slice pixels that `apply_box` maps to a box of whole pixels."""
        steps, reach = self._box_steps
        # A quarter of a pixel above what would be truncated to the pixel before.
        box: Float64 = (np.asarray(frame_box, np.float64) + 0.25 - reach) / steps
        return box

    @property
    def _box_steps(self) -> tuple[Float64, Float64]:
        """Frame pixels per slice pixel for each side of a box, and what is added: two (4,)."""
        rows, columns = self.scale
        steps = np.array([columns, rows, columns, rows])
        # From the first to the last frame pixel of a pixel.
        reach = np.maximum(steps - 1, 0) * [0, 0, self.far_edge, self.far_edge]
        return steps, reach

    def apply_mask(self, mask: Bool) -> Bool:
        """Resize a mask (H, W) bool into the frame: (256, 256) bool, where half a pixel counts."""
        framed = np.zeros((FRAME, FRAME), bool)
        height, width = self.frame
        framed[:height, :width] = self.apply_image(mask.astype(np.uint8) * 255) > 127
        return framed

    def invert_logits(self, logits: Float32) -> Float32:
        """Resize logits (256, 256) back to the slice (H, W), bilinear."""
        height, width = self.frame
        return np.asarray(
            cv2.resize(
                np.ascontiguousarray(logits[:height, :width]),
                (self.width, self.height),
                interpolation=cv2.INTER_LINEAR,
            ),
            np.float32,
        )

    def invert_mask(self, logits: Float32) -> Bool:
        """Resize logits (256, 256) back to the slice, then threshold at 0: mask (H, W) bool."""
        return self.invert_logits(logits) > 0


def prepare_slice(array: UInt8, transform: ResizeLongestSide) -> Float32:
    """Turn a windowed slice into the network's image.

    Parameters
    ----------
    array : (H, W) or (H, W, 3) uint8
    transform : ResizeLongestSide
        Made for this slice's size.

    Returns
    -------
    image : (1, 3, 256, 256) float32 in [0, 1]
    """
    small = transform.apply_image(array).astype(np.float32)
    low, high = small.min(), small.max()
    small = (small - low) / max(high - low, np.float32(1e-8))
    image: Float32 = np.zeros((1, 3, FRAME, FRAME), np.float32)
    height, width = transform.frame
    image[0, :, :height, :width] = small.transpose(2, 0, 1) if small.ndim == 3 else small
    return image
