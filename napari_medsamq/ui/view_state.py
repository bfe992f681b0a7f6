"""Which slice of a volume the viewer shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from psygnal import Signal

from napari_medsamq.errors import PromptError
from napari_medsamq.ui.canvas.planes import PLANES, Plane

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer


class ViewState:
    """Plane and slice in view, as the viewer's `dims` say, and they alone.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
    layer : Layer
        Of the volume that is in use, with its axes (z, y, x) alone.

    Attributes
    ----------
    axis : int
        Array axis normal to the plane in view; in 3D, to the one that was in view before.
    index : int
        The slice in view; in 3D, where the viewer's point is.
    solid : bool
        Whether solids are shown in 3D, and no slice.
    """

    changed = Signal()
    plane_changed = Signal()  # before `changed`

    def __init__(self, viewer: ViewerModel, layer: Layer) -> None:
        self._viewer = viewer
        self._layer = layer
        self.axis = self.index = 0
        self.solid = False
        events = viewer.dims.events
        self._events = events.point, events.order, events.ndisplay, events.range
        for event in self._events:
            event.connect(self.read)
        self.read()

    def close(self) -> None:
        """Follow the viewer no more."""
        for event in self._events:
            event.disconnect(self.read)

    @property
    def plane(self) -> Plane:
        """The plane in view."""
        return next(plane for plane in PLANES if plane.axis == self.axis)

    @property
    def point(self) -> tuple[float, ...]:
        """Where the viewer is on the array axes (3,), in its mm; empty where there is no layer."""
        return tuple(self._viewer.dims.point[-3:]) if self._viewer.dims.ndim >= len(PLANES) else ()

    def show(self, axis: int, index: int) -> None:
        """Move the viewer to a slice across an array axis; the plane stays."""
        self.go({axis: index})

    @property
    def indices(self) -> tuple[int, ...] | None:
        """The voxel (z, y, x) that the viewer is at, or the nearest one; None without layers."""
        if not self.point:
            return None
        layer = self._layer
        return tuple(
            int(min(max(round((at - start) / step), 0), size - 1))
            for at, start, step, size in zip(
                self.point, layer.translate, layer.scale, layer.data.shape, strict=True
            )
        )

    def go(self, indices: Mapping[int, int]) -> None:
        """Move the viewer to slices, or to the last ones, by their array axes; the plane stays."""
        layer, dims = self._layer, self._viewer.dims
        places = {
            dims.ndim - 3 + axis: float(
                layer.translate[axis]
                + min(max(index, 0), layer.data.shape[axis] - 1) * layer.scale[axis]
            )
            for axis, index in indices.items()
        }
        dims.set_point(tuple(places), tuple(places.values()))

    def require_slices(self) -> None:
        """Raise PromptError while solids are shown, where the slice in hand is out of sight."""
        if self.solid:
            raise PromptError("Show slices first (F2, F3, F4): what is done to one has to be seen.")

    def read(self) -> None:
        """Read what is in view: napari tells of no change that is taken back at once."""
        dims, before = self._viewer.dims, (self.axis, self.index, self.solid)
        indices = self.indices
        if indices is None:  # all layers are gone
            return
        self.solid = dims.ndisplay == 3
        axis = dims.order[-3] - (dims.ndim - 3)
        if not self.solid and axis >= 0:  # else it is an axis of someone else's time series
            self.axis = axis
        self.index = indices[self.axis]
        if self.axis != before[0]:
            self.plane_changed.emit()
        if (self.axis, self.index, self.solid) != before:
            self.changed.emit()
