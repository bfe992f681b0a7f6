"""The three anatomical planes, and how their slices lie on napari's canvas.

Layers show array voxels scaled by the spacing; origin and direction stay in the `Volume` that every
layer of ours carries in its metadata, since napari cannot slice rotated layers.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from math import inf, nextafter
from typing import TYPE_CHECKING

from napari_medsamq.io.volume import Volume

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

# So near a number of steps is one.
_WHOLE = 1e-6


@dataclass(frozen=True)
class Plane:
    """One anatomical plane: the array axis it cuts, and how its slices lie on the canvas.

    Attributes
    ----------
    name : str
    axis : int
        Array axis normal to the plane.
    order : (int, int, int)
        napari's `dims.order`: the cut axis, then rows and columns on the canvas.
    orientation : (str, str)
        napari's `scene.camera.orientation2d`. Patient right is on the left of axial and coronal
        slices, anterior on the left of sagittal ones, the head up: the radiological convention.
    """

    name: str
    axis: int
    order: tuple[int, int, int]
    orientation: tuple[str, str]


PLANES = (
    Plane("Axial", 0, (0, 1, 2), ("down", "right")),
    Plane("Coronal", 1, (1, 0, 2), ("up", "right")),
    Plane("Sagittal", 2, (2, 0, 1), ("up", "right")),
)


def finest_plane(volume: Volume) -> Plane:
    """Return the plane in which a volume shows most: the one whose pixels are the finest.

    How fine they are is told by their longer side, so that a stack of thin slices stays in its own
    plane. Where planes are alike, to a twentieth, the first one is taken, axial say. A single slice
    is shown in the plane it was taken in.
    """
    shape = volume.data.shape[:3]
    if 1 in shape:
        return next(plane for plane in PLANES if plane.axis == shape.index(1))
    sides = [max(volume.pixel_size(plane.axis)) for plane in PLANES]
    return next(own for own, side in zip(PLANES, sides, strict=True) if side <= 1.05 * min(sides))


def turn_viewer(viewer: ViewerModel, plane: Plane, layer: Layer) -> None:
    """Show the slices of a plane, and all of a layer."""
    # Layers with more axes, a time series say, put theirs in front of ours.
    extra = viewer.dims.ndim - len(plane.order)
    viewer.dims.order = (*range(extra), *(axis + extra for axis in plane.order))
    viewer.scene.camera.orientation2d = plane.orientation
    # Other volumes may be larger, or lie elsewhere. napari fits to single layers only where they
    # have all of its axes.
    viewer.reset_view(layers=None if extra else [layer])


def range_without(
    viewer: ViewerModel, hidden: Collection[Layer]
) -> tuple[tuple[float, float, float], ...]:
    """Return a viewer's `dims.range` as it would be without some of its layers.

    With the last slice in it, which napari loses where (stop - start) / step comes out as 23.999.
    """
    extent = viewer.layers.get_extent([layer for layer in viewer.layers if layer not in hidden])
    found = []
    for start, stop, step in zip(*extent.world.tolist(), extent.step.tolist(), strict=True):
        count, last = round((stop - start) / step), stop
        if abs((stop - start) / step - count) < _WHOLE:
            last = start + count * step
            while int((last - start) / step) < count:
                last = nextafter(last, inf)
        found.append((start, last, step))
    # napari aligns the last axes of layers.
    return (*viewer.dims.range[: viewer.dims.ndim - len(found)], *found)
