"""How much a mask is to be trusted, by what tells the slices that need a look.

The network is asked once more, in a box that is a little wider than the mask: one that it would not
find again is not settled by the picture. Besides, masks are worst far from the slice that somebody
drew, and where a structure begins and ends, on slices that show little of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_medsamq.array_types import Bool, Float64

# How far each side of the box moves outwards, as a part of its size.
_WIDER = 0.1
# Of masks that nobody drew a slice of, from a file say: the median of those that were carried.
_USUAL_DISTANCE = 0.25


@dataclass(frozen=True)
class MaskCheck:
    """What came of asking the network about a mask again.

    Attributes
    ----------
    agreement : float
        Dice similarity of the mask with what the network finds in a box a little wider, 0 to 1.
    iou : float
        Intersection over union that the network predicts for what it finds.
    """

    agreement: float
    iou: float


def wider_box(xyxy: npt.ArrayLike, shape: tuple[int, int]) -> Float64:
    """Return a box (4,) XYXY in slice pixels that is a tenth wider on each side, in the slice."""
    box = np.asarray(xyxy, np.float64)
    size = np.tile(box[2:] - box[:2] + 1, 2)
    last = np.array([shape[1], shape[0]] * 2, np.float64) - 1
    wider: Float64 = np.clip(box + np.array([-1, -1, 1, 1]) * _WIDER * size, 0, last)
    return wider


def dice(mask: Bool, other: Bool) -> float:
    """Return the Dice similarity of two masks (H, W) bool, 0 to 1; 0 where both are empty."""
    both = int(np.count_nonzero(mask)) + int(np.count_nonzero(other))
    return 2 * int(np.count_nonzero(mask & other)) / max(both, 1)


def slice_confidence(check: MaskCheck, share: float, distance: float | None) -> float:
    """Return how much the mask of a slice is to be trusted, 0 to 1.

    Its factors were chosen on 1,261 carried slices of 7 data sets of the training data, over which
    its rank correlation with DSC is 0.65. That a mask fills its box tells against it there, and the
    other way round where structures are thin and branched, of which there are none.

    Parameters
    ----------
    check : MaskCheck
    share : float
        The mask's pixels as a share of those of the structure's largest mask on a slice.
    distance : float or None
        Slices to the nearest one that is known, as a share of all slices of the structure; None
        where none is known.
    """
    far = _USUAL_DISTANCE if distance is None else distance
    found_again = check.agreement * min(max(check.iou, 0.0), 1.0)
    return float(found_again * share**0.25 * (1 - 0.5 * far))
