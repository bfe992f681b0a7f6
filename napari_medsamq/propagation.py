"""Carries a box prompt through the slices of a volume."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from napari_medsamq.geometry import BoxPrompt3D
from napari_medsamq.preprocess import FRAME, ResizeLongestSide

Bool = npt.NDArray[np.bool_]
Float32 = npt.NDArray[np.float32]

# Frame pixels that the reference inference adds around the previous slice's mask.
MARGIN = 3


def propagate(
    segment: Callable[[int, Float32], Bool],
    box: BoxPrompt3D,
    transform: ResizeLongestSide,
) -> Iterator[tuple[int, Bool]]:
    """Segment every slice of a 3D box from its middle outwards.

    The first slice takes the sides of the 3D box; each further one the tight box around its
    neighbour's mask, widened by 3 frame pixels, or again the sides of the 3D box where that mask is
    empty: what the reference inference does (`CVPR24_LiteMedSAM_infer.py`).

    Parameters
    ----------
    segment : callable
        Takes a slice index and a box (4,) XYXY in frame pixels, returns the mask (H, W) bool.
    box : BoxPrompt3D
        Carried along `box.axis`.
    transform : ResizeLongestSide
        Of the slices normal to that axis.

    Yields
    ------
    index, mask : int, (H, W) bool
        From the middle slice to the upper end, then from below the middle to the lower end.
    """
    middle = box.middle_slice
    first_box = transform.apply_box(box.slice_prompt(middle).xyxy)
    first_mask = segment(middle, first_box)
    yield middle, first_mask
    slices = box.slices
    for order in (range(middle + 1, slices.stop), range(middle - 1, slices.start - 1, -1)):
        previous = first_mask
        for index in order:
            previous = segment(index, _next_box(previous, transform, first_box))
            yield index, previous


def _next_box(mask: Bool, transform: ResizeLongestSide, otherwise: Float32) -> Float32:
    rows, columns = np.nonzero(transform.apply_image(mask.astype(np.uint8)))
    if rows.size == 0:
        return otherwise
    low = np.maximum([columns.min() - MARGIN, rows.min() - MARGIN], 0)
    high = np.minimum([columns.max() + MARGIN, rows.max() + MARGIN], FRAME)
    return np.concatenate([low, high]).astype(np.float32)
