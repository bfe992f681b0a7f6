"""napari's conventions and ours: layer data, slices on the canvas, reader, writer, sample data.

Layers show array voxels scaled by the spacing; origin and direction stay in the `Volume` that every
layer of ours carries in its metadata, since napari cannot slice rotated layers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from math import inf, nextafter
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_medsamq.errors import PromptError
from napari_medsamq.geometry import axis_codes
from napari_medsamq.io.volume import Volume
from napari_medsamq.prompts import BoxPrompt, BoxPrompt3D

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

PREVIEW = "medsamq_preview"
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


def show_slice(viewer: ViewerModel, layer: Layer, axis: int, index: int) -> None:
    """Move a viewer to a slice, across an array axis, of a 3D layer."""
    place = float(layer.translate[axis] + index * layer.scale[axis])
    viewer.dims.set_point(viewer.dims.ndim - 3 + axis, place)


def require_slices(viewer: ViewerModel) -> None:
    """Raise PromptError while a viewer shows solids, where the slice in hand is out of sight."""
    if viewer.dims.ndisplay == 3:
        raise PromptError("Show slices first (F2, F3, F4): what is done to one has to be seen.")


_OPPOSITE = {"R": "L", "L": "R", "A": "P", "P": "A", "I": "S", "S": "I"}


@dataclass(frozen=True)
class EdgeLetters:
    """Towards which side of the patient each edge of the canvas lies: R, L, A, P, I or S."""

    left: str
    right: str
    top: str
    bottom: str


def edge_letters(
    affine: npt.ArrayLike, right: npt.NDArray[np.floating], down: npt.NDArray[np.floating]
) -> EdgeLetters:
    """Name the edges of the canvas by the patient axes nearest to them.

    Parameters
    ----------
    affine : (4, 4) float
        Of the volume.
    right, down : (3,) float
        Steps to the right and down on the canvas, along the array axes (z, y, x).

    Examples
    --------
    An axial slice in radiological convention, with the patient's right on the left:

    >>> edge_letters(np.eye(4)[[2, 1, 0, 3]], np.array([0, 0, 1]), np.array([0, 1, 0]))
    EdgeLetters(left='R', right='L', top='A', bottom='P')
    """
    codes = axis_codes(affine)

    def letter(step: npt.NDArray[np.floating]) -> str:
        axis = int(np.abs(step).argmax())
        return codes[axis] if step[axis] > 0 else _OPPOSITE[codes[axis]]

    return EdgeLetters(letter(-right), letter(right), letter(-down), letter(down))


def drawn_box(corners: npt.NDArray[np.floating], axis: int, shape: tuple[int, ...]) -> BoxPrompt:
    """Turn a rectangle of a napari Shapes layer into a box prompt.

    Parameters
    ----------
    corners : (4, 3) float
        In array voxels (z, y, x), in any order.
    axis : int
        Array axis normal to the canvas.
    shape : (z, y, x) int
        Of the volume.

    Raises
    ------
    PromptError
        If the slice in view is none of the volume's, or the rectangle lies outside it or is no
        larger than a click.
    """
    in_plane = np.delete(np.asarray(corners, float), axis, axis=1)
    index = int(np.rint(corners[0, axis]))
    if not 0 <= index < shape[axis]:
        raise PromptError(
            f"The slice in view lies outside this volume, whose slices run from 0 to "
            f"{shape[axis] - 1}. Move the slider below the picture until the volume is seen."
        )
    return BoxPrompt.from_corners(axis, index, in_plane.min(axis=0), in_plane.max(axis=0), shape)


def rectangle(box: BoxPrompt | BoxPrompt3D) -> npt.NDArray[np.float64]:
    """Return a box prompt as the corners (4, 3) of a napari rectangle, in array voxels (z, y, x).

    A 3D box is shown on its middle slice.

    The corners are voxel centres, so that reading them back by `drawn_box` gives the same box.
    """
    if isinstance(box, BoxPrompt3D):
        box = box.slice_prompt(box.middle_slice)
    rows_columns = np.array(
        [[box.y0, box.x0], [box.y0, box.x1], [box.y1, box.x1], [box.y1, box.x0]], float
    )
    return np.insert(rows_columns, box.axis, box.index, axis=1)


def stroke_edit(
    atoms: Iterable[Any], shape: tuple[int, ...]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint16]]:
    """Read the value of a Labels layer's `paint` event.

    Parameters
    ----------
    atoms : iterable
        What napari reports of one stroke: (indices, ids before, id after), or since napari 0.9.2
        (slices, mask or None, ids before, id after).
    shape : (3,) int
        Of the label.

    Returns
    -------
    voxels : (n,) int64
        Flat indices into the label, each once.
    before : (n,) uint16
        Their label ids before the stroke.
    """
    voxels: list[npt.NDArray[np.int64]] = []
    before: list[npt.NDArray[np.uint16]] = []
    for atom in atoms:
        if len(atom) == 4:
            slices, mask, old, _ = atom
            starts = [part.indices(size)[0] for part, size in zip(slices, shape, strict=True)]
            inside = np.nonzero(np.ones(old.shape, bool) if mask is None else mask)
            indices = tuple(part + start for part, start in zip(inside, starts, strict=True))
        else:
            indices, old, _ = atom
        voxels.append(np.ravel_multi_index(indices, shape).ravel())
        before.append(np.asarray(old, np.uint16).ravel())
    # A voxel that the brush passed twice had its first value before the stroke.
    unique, first = np.unique(np.concatenate(voxels), return_index=True)
    return unique, np.concatenate(before)[first]
