"""Asks all three planes about a structure that was carried along one of them.

Each plane errs in its own way: across it, from slice to slice. The mean of their logits is nearer
to the structure's surface than any of them.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

import numpy as np

from napari_medsamq.array_types import Bool, Float32
from napari_medsamq.inference.prompt_decoder import MASK_LOGIT
from napari_medsamq.inference.propagation import known_box
from napari_medsamq.inference.slice_predictor import SlicePredictor


def refine_in_3d(predictors: Sequence[SlicePredictor], mask: Bool) -> Generator[int, None, Bool]:
    """Ask for a structure anew on each slice that it lies on, across every axis.

    Parameters
    ----------
    predictors : sequence of SlicePredictor
        Of the same volume across the array axes 0, 1 and 2; of a network that has learnt
        `CarryPrompt.carried`.
    mask : (z, y, x) bool
        The structure as it was carried.

    Yields
    ------
    left : int
        How many slices are still to be asked about.

    Returns
    -------
    refined : (z, y, x) bool

    Raises
    ------
    ModelError
        If the network fails.
    """
    todo = [
        (axis, int(index))
        for axis in range(mask.ndim)
        for index in np.flatnonzero(mask.any(tuple(np.delete(range(mask.ndim), axis))))
    ]
    sums: Float32 = np.zeros(mask.shape, np.float32)
    for left, (axis, index) in zip(range(len(todo), 0, -1), todo, strict=True):
        yield left
        plane = np.ascontiguousarray(np.moveaxis(mask, axis, 0)[index])
        box = known_box(predictors[axis], plane)
        logits = predictors[axis].ask_again(index, box, plane)
        np.moveaxis(sums, axis, 0)[index] += np.clip(logits, -MASK_LOGIT, MASK_LOGIT) + MASK_LOGIT
    # Where a plane was not asked, it says that there is surely nothing.
    return sums > mask.ndim * MASK_LOGIT
