"""The layer of the mask that is not in the label yet."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap

from napari_medsamq.inference.slice_predictor import SliceMask

# Of the longer side of a slice; stripes and gaps are as wide.
_STRIPES = 85
# Where a preview begins and ends, in pixels: napari draws what has moved twice, and makes a texture
# anew of another size.
_STEP = 32
_CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)


class PreviewLayer:
    """A layer that shows a mask, striped so that nobody takes it for the label.

    Little more of the slice than the mask reaches is given to napari: each pixel of a layer is
    painted, be there something in it or not.

    Parameters
    ----------
    layer : Labels
        Of three axes, with its first voxel where the volume has its own.
    """

    def __init__(self, layer: Labels) -> None:
        self._layer = layer
        self._origin = np.array(layer.translate)
        self._color = ""
        self._opacity = layer.opacity

    def show(self, mask: SliceMask, color: str) -> None:
        """Show a mask where it lies."""
        layer = self._layer
        if color != self._color:
            self._color = color
            layer.colormap = DirectLabelColormap(
                color_dict={None: "transparent", 0: "transparent", 1: color}
            )
        corner, part = striped(mask.mask)
        place = self._origin + np.insert(corner, mask.axis, mask.index) * layer.scale
        events = layer.events
        # It is drawn once. Where it lies changes neither its colours nor how far all layers reach,
        # which napari would look at each time.
        with events.data.blocker(), events.translate.blocker():
            if not np.array_equal(place, layer.translate):
                with events.set_data.blocker():
                    layer.translate = place
            layer.data = np.expand_dims(part, mask.axis)
        self._set_visible(True)

    def hide(self) -> None:
        """Show nothing."""
        self._set_visible(False)
        self.pale(1)

    def pale(self, share: float) -> None:
        """Show what is shown with a share of its opacity."""
        opacity = share * self._opacity
        if self._layer.opacity != opacity:
            self._layer.opacity = opacity

    @property
    def visible(self) -> bool:
        """Whether a mask is shown."""
        return bool(self._layer.visible)

    def _set_visible(self, visible: bool) -> None:
        # napari builds its shaders anew each time this is set, even to what it is.
        if self._layer.visible != visible:
            self._layer.visible = visible


def striped(mask: npt.NDArray[np.bool_]) -> tuple[tuple[int, int], npt.NDArray[np.uint8]]:
    """Draw a mask (H, W) as diagonal stripes of ones within a closed outline.

    Returns
    -------
    corner : (row, column) int
        Of the part.
    part : (h, w) uint8
        As much of the slice as the mask reaches, in steps; one of them where there is none.
    """
    height, width = mask.shape
    period = max(2, round(max(height, width) / _STRIPES))
    left, top, wide, high = cv2.boundingRect(mask.astype(np.uint8))
    bottom, right = top + max(1, high), left + max(1, wide)
    top, left = top // _STEP * _STEP, left // _STEP * _STEP
    part = mask[top : -(-bottom // _STEP) * _STEP, left : -(-right // _STEP) * _STEP]
    inner = cv2.erode(part.astype(np.uint8), _CROSS, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    rows, columns = np.ogrid[top : top + part.shape[0], left : left + part.shape[1]]
    stripes = (rows + columns) // period % 2 == 0
    return (top, left), (part & (stripes | (inner == 0))).astype(np.uint8)
