"""The three anatomical planes, and how their slices lie on napari's canvas.

Layers show array voxels scaled by the spacing; origin and direction stay in the `Volume` that every
layer of ours carries in its metadata, since napari cannot slice rotated layers.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from math import inf, nextafter
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from napari_medsamq.io.volume import Volume
from napari_medsamq.ui.canvas.slice_bar import BAR_HEIGHT

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

# So near a number of steps is one.
_WHOLE = 1e-6
# A volume is looked at in so many steps along each axis to find the patient. HU of air and lungs
# lie below the one, and intensities of what is around a patient in a MR below the other, a share.
_COARSE, _AIR, _DARK = 128, -300, 0.1
# Of the room: letters lie on the rest.
FILLED = 0.94


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


def is_flat(volume: Volume) -> bool:
    """Tell whether a volume is a single slice."""
    return 1 in volume.data.shape[:3]


def finest_plane(volume: Volume) -> Plane:
    """Return the plane in which a volume shows most: the one whose pixels are the finest.

    How fine they are is told by their longer side, so that a stack of thin slices stays in its own
    plane. Where planes are alike, to a twentieth, the first one is taken, axial say. A single slice
    is shown in the plane it was taken in.
    """
    shape = volume.data.shape[:3]
    if is_flat(volume):
        return next(plane for plane in PLANES if plane.axis == shape.index(1))
    sides = [max(volume.pixel_size(plane.axis)) for plane in PLANES]
    return next(own for own, side in zip(PLANES, sides, strict=True) if side <= 1.05 * min(sides))


def body_box(volume: Volume) -> npt.NDArray[np.int64]:
    """Return the box (2, 3) of voxels, its first and its last ones, that the patient lies in.

    Air around is left out, and so is what is as thin as a table; where there is nothing else, the
    box is the whole volume.
    """
    shape = np.array(volume.data.shape[:3])
    whole = np.array([np.zeros(3, int), shape - 1])
    if volume.data.ndim > len(PLANES):
        return whole
    step = np.maximum(1, shape // _COARSE)
    coarse = volume.data[:: step[0], :: step[1], :: step[2]]
    if volume.hounsfield:
        inside = coarse > _AIR
    else:
        low, high = np.percentile(coarse, (1, 99))
        inside = coarse > low + _DARK * (high - low)
    kernel = np.ones((3, 3), np.uint8)
    opened = [cv2.morphologyEx(one.astype(np.uint8), cv2.MORPH_OPEN, kernel) for one in inside]
    places = np.nonzero(np.array(opened))
    if not places[0].size:
        return whole
    first, last = (np.array([edge(own) for own in places]) * step for edge in (np.min, np.max))
    return np.array([first, np.minimum(last + step - 1, shape - 1)])


def turn_viewer(
    viewer: ViewerModel,
    plane: Plane,
    layer: Layer,
    body: npt.NDArray[np.int64] | None = None,
    room: tuple[int, int] = (0, 0),
) -> None:
    """Show the slices of a plane, as large as there is room for a part of a layer.

    Parameters
    ----------
    viewer : ViewerModel
    plane : Plane
    layer : Layer
    body : (2, 3) int, optional
        First and last voxels of the part; all of the layer without it.
    room : (int, int)
        Columns and rows of the canvas, from its upper left corner, that nothing lies on.
    """
    # Layers with more axes, a time series say, put theirs in front of ours.
    extra = viewer.dims.ndim - len(plane.order)
    viewer.dims.order = (*range(extra), *(axis + extra for axis in plane.order))
    viewer.scene.camera.orientation2d = plane.orientation
    # Other volumes may be larger, or lie elsewhere. napari fits to single layers only where they
    # have all of its axes.
    viewer.reset_view(layers=None if extra else [layer])
    if extra or body is None or min(room) <= 0:
        return
    camera, (rows, columns) = viewer.scene.camera, plane.order[1:]
    scale, start = np.array(layer.scale), np.array(layer.translate)
    sides = (body[1] - body[0] + 1) * scale
    middle = start + body.mean(axis=0) * scale
    zoom = min(room[0] / sides[columns], room[1] / sides[rows]) * FILLED
    # What lies on the canvas lies at its lower end.
    lower = (plane.orientation[0] == "down") - (plane.orientation[0] == "up")
    beside = lower * BAR_HEIGHT / 2 / zoom
    camera.zoom = zoom
    camera.center = (0.0, float(middle[rows] + beside), float(middle[columns]))


def range_without(
    viewer: ViewerModel, hidden: Collection[Layer], own: Layer
) -> tuple[tuple[float, float, float], ...]:
    """Return a viewer's `dims.range` as it would be without some of its layers.

    With the last slice in it, which napari loses where (stop - start) / step comes out as 23.999,
    and in steps of the slices of `own`: on what lies between two of them, beside a finer layer of
    someone else, napari cannot draw.
    """
    extent = viewer.layers.get_extent([layer for layer in viewer.layers if layer not in hidden])
    found = []
    steps, places = extent.step.tolist(), extent.world[0].tolist()
    for axis, step in enumerate(own.scale, len(steps) - len(own.scale)):
        steps[axis] = float(step)
        first = float(own.translate[axis - len(steps)])
        places[axis] = first + np.floor((places[axis] - first) / step + _WHOLE) * step
    for start, stop, step in zip(places, extent.world[1].tolist(), steps, strict=True):
        count, last = round((stop - start) / step), stop
        if abs((stop - start) / step - count) < _WHOLE:
            last = start + count * step
            while int((last - start) / step) < count:
                last = nextafter(last, inf)
        found.append((start, last, step))
    # napari aligns the last axes of layers.
    return (*viewer.dims.range[: viewer.dims.ndim - len(found)], *found)
