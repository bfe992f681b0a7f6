"""How the network is asked about a box, the clicks in it, and a mask that they correct."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from napari_medsamq.engine import Engine, box_points
from napari_medsamq.preprocess import FRAME
from napari_medsamq.prompts import Click
from napari_medsamq.views import View

Bool = npt.NDArray[np.bool_]
Float32 = npt.NDArray[np.float32]

# How sure the network is told to be of a mask that it corrects.
MASK_LOGIT = 6.0


def decode_corrected(
    engine: Engine,
    embedding: Float32,
    view: View,
    xyxy: npt.ArrayLike,
    clicks: Sequence[Click] = (),
    start: Bool | None = None,
) -> tuple[Float32, float]:
    """Decode a box, and correct its mask by one click after the other.

    Each click is asked about with those before it and with the logits that it corrects, so that the
    same clicks lead to the same mask, whenever they are made.

    Parameters
    ----------
    engine : Engine
    embedding : (1, 256, 64, 64) float32
        Of the view.
    view : View
    xyxy : (4,) float
        The box, in slice pixels.
    clicks : sequence of Click
    start : (H, W) bool, optional
        A mask of the slice to be improved, in place of what the box alone gives.

    Returns
    -------
    logits : (256, 256) float32
    iou : float
        Predicted intersection over union.

    Raises
    ------
    ModelError
        If the network fails.
    """
    coords, labels = box_points(view.apply_box(xyxy))
    previous = None if start is None else dense_prompt(view.apply_mask(start))
    if start is None or not clicks:
        logits, iou = engine.decode(embedding, coords, labels, previous)
        previous = logits[:, None]
    for click in clicks:
        point = np.array([[view.apply_point(click.x, click.y)]], np.float32)
        coords = np.concatenate([coords, point], axis=1)
        labels = np.concatenate([labels, np.array([[click.positive]], np.float32)], axis=1)
        logits, iou = engine.decode(embedding, coords, labels, previous)
        previous = logits[:, None]
    return logits[0], float(iou[0])


def dense_prompt(mask: Bool) -> Float32:
    """Turn masks (..., 256, 256) bool of the frame into the logits (N, 1, 256, 256) of prompts."""
    logits = np.where(mask, np.float32(MASK_LOGIT), np.float32(-MASK_LOGIT))
    return logits.reshape(-1, 1, FRAME, FRAME)


def with_clicks(xyxy: npt.ArrayLike, clicks: Sequence[Click]) -> npt.NDArray[np.float64]:
    """Return a box (4,) XYXY that also holds what was clicked on as part of the structure."""
    box = np.asarray(xyxy, np.float64)
    for click in clicks:
        if click.positive:
            low = np.minimum(box[:2], [click.x, click.y])
            high = np.maximum(box[2:], [click.x, click.y])
            box = np.concatenate([low, high])
    return box
