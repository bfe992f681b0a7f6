"""Marks on the canvas where was clicked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from napari.layers import Points

from napari_medsamq.prompts import BoxPrompt, BoxPrompt3D

# Bluish green and vermilion, which the colour-blind can tell apart; plus and minus say it, too.
_COLORS = {True: "#009E73", False: "#D55E00"}
_SYMBOLS = {True: "cross", False: "hbar"}
# Of the longest axis. A fixed size on the canvas would be all border, as napari draws it.
_SIZE = 30


def marks_layer(shape: Sequence[int], **arguments: Any) -> Points:
    """Make the layer that shows where was clicked in a volume of a shape (z, y, x)."""
    return Points(
        np.zeros((0, 3)),
        ndim=3,
        size=max(shape) / _SIZE,
        border_color="white",
        border_width=0.08,
        **arguments,
    )


def show_clicks(layer: Points, boxes: Sequence[BoxPrompt | BoxPrompt3D]) -> None:
    """Show the clicks of boxes, and no others."""
    clicks = [(box, c) for box in boxes if isinstance(box, BoxPrompt) for c in box.clicks]
    places = [np.insert([c.y, c.x], box.axis, box.index) for box, c in clicks]
    wanted = np.array(places, float).reshape(-1, 3)
    if np.array_equal(layer.data, wanted):
        return
    layer.data = wanted
    if clicks:
        layer.symbol = [_SYMBOLS[click.positive] for _, click in clicks]
        layer.face_color = [_COLORS[click.positive] for _, click in clicks]
