"""The layer of the mask that is not in the label yet."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap

from napari_medsamq.inference.slice_predictor import SliceMask

# Of the longer side of a slice; stripes and gaps are as wide.
_STRIPES = 85


class PreviewLayer:
    """A layer of a single slice that shows a mask, striped so that nobody takes it for the label.

    Parameters
    ----------
    layer : Labels
        Of one slice of a volume.
    """

    def __init__(self, layer: Labels) -> None:
        self._layer = layer
        self._origin = np.array(layer.translate)
        self._color = ""
        self._opacity = layer.opacity

    def show(self, mask: SliceMask, color: str) -> None:
        """Show a mask where its slice lies."""
        layer = self._layer
        data = np.expand_dims(striped(mask.mask), mask.axis)
        place = self._origin.copy()
        place[mask.axis] += mask.index * layer.scale[mask.axis]
        if color != self._color:
            self._color = color
            layer.colormap = DirectLabelColormap(
                color_dict={None: "transparent", 0: "transparent", 1: color}
            )
        if data.shape == layer.data.shape and np.array_equal(place, layer.translate):
            layer.data[...] = data
            layer.refresh(thumbnail=False, extent=False, highlight=False)
        else:
            layer.data = data
            layer.translate = place
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


def striped(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Return a mask (H, W) as diagonal stripes of ones within a closed outline."""
    height, width = mask.shape
    period = max(2, round(max(height, width) / _STRIPES))
    rows, columns = np.ogrid[:height, :width]
    inner = mask.copy()
    for axis in (0, 1):
        for step in (-1, 1):
            inner &= np.roll(mask, step, axis)
    stripes = (rows + columns) // period % 2 == 0
    return (mask & (stripes | ~inner)).astype(np.uint8)
