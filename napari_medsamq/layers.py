"""napari's conventions and ours: layer data, slices on the canvas, reader, writer, sample data.

Layers show array voxels scaled by the spacing; origin and direction stay in the `Volume` that every
layer of ours carries in its metadata, since napari cannot slice rotated layers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from math import inf, nextafter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_medsamq.errors import PromptError, SaveError, VolumeError
from napari_medsamq.geometry import axis_codes
from napari_medsamq.preprocess import WindowLevel, default_window
from napari_medsamq.prompts import BoxPrompt, BoxPrompt3D
from napari_medsamq.volume_io import (
    Volume,
    can_read,
    read_volume,
    volume_from_array,
    write_label,
)

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Layer
    from napari.types import LayerData, PathOrPaths

# Parts of a voxel by which layers in one place may differ, by the rounding of numbers.
_SAME_PLACE = 0.01
VOLUME = "medsamq_volume"
PREVIEW = "medsamq_preview"
# So near a number of steps is one.
_WHOLE = 1e-6
SAMPLES = Path(__file__).parent / "resources" / "samples"


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


def image_layer(volume: Volume, window: WindowLevel | None = None) -> LayerData:
    """Return a volume as napari layer data: (array, arguments, "image")."""
    arguments: dict[str, Any] = {
        "name": volume.name,
        "scale": tuple(volume.spacing),
        "metadata": {VOLUME: volume},
    }
    if volume.data.ndim == 4:
        arguments["rgb"] = True
    else:
        arguments["contrast_limits"] = (window or default_window(volume)).limits
        arguments["colormap"] = "gray"
    return volume.data, arguments, "image"


def layer_volume(layer: Layer) -> Volume | None:
    """Return the volume that a layer of ours shows; None for other layers."""
    volume = layer.metadata.get(VOLUME)
    return volume if isinstance(volume, Volume) else None


def foreign_volume(layer: Image) -> Volume:
    """Make a volume of an image layer that something else opened.

    Its array is taken as (z, y, x) with the layer's scale as spacing; left and right are unknown,
    as the volume's warnings say.

    Raises
    ------
    VolumeError
        If the layer is not a plain 2D or 3D array of numbers, or is turned in the viewer.
    """
    turned = not (
        np.allclose(layer.affine.affine_matrix, np.eye(layer.ndim + 1))
        and np.allclose(layer.rotate, np.eye(layer.ndim))
        and np.allclose(layer.shear, 0)
    )
    if layer.multiscale or turned:
        raise VolumeError(
            f"{layer.name}: is shown {'turned' if turned else 'at several scales'}, so its voxels "
            "cannot be told from what is seen. Open the image's file with the dock, or add it as "
            "one plain array."
        )
    spacing = tuple(float(value) for value in layer.scale[-min(layer.ndim, 3) :])
    return volume_from_array(np.asarray(layer.data), spacing, layer.name)


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


def get_reader(path: PathOrPaths) -> Callable[[PathOrPaths], list[LayerData]] | None:
    """npe2 reader: accept one file or folder of a format that `volume_io` reads."""
    return _read_layers if isinstance(path, str) and can_read(Path(path)) else None


def _read_layers(path: PathOrPaths) -> list[LayerData]:
    return [image_layer(read_volume(Path(str(path))))]


def write_labels(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """npe2 writer: save a Labels layer on the grid of the volume it was drawn on.

    A layer of our own names its volume; for any other, and for one that was cropped or resampled
    since, the one open volume of the same shape is taken. Either has to lie where the layer does.

    Raises
    ------
    SaveError
        If no volume, or more than one, can be meant, or the file cannot be written.
    """
    from napari import current_viewer

    viewer, shape = current_viewer(), np.shape(data)
    # The layer itself, which may have been moved, does not tell where its volume lies.
    layers = (
        [own for own in viewer.layers if getattr(own, "data", None) is not data] if viewer else []
    )
    named = meta.get("metadata", {}).get(VOLUME)
    if named is None or named.data.shape[:3] != shape:
        volumes = [layer_volume(layer) for layer in layers]
    else:
        volumes = [named]
    matches = {
        id(volume): volume
        for volume in volumes
        if volume is not None and volume.data.shape[:3] == shape and lies_on(meta, volume, layers)
    }
    if len(matches) != 1:
        raise SaveError(
            f"{len(matches)} open volumes have the shape {shape} of this Labels layer and lie "
            "where it lies, so its place in the patient is not certain. Open the image it belongs "
            "to with napari-medsamq, close the others of that shape, and save again."
        )
    return [str(write_label(Path(path), np.asarray(data), next(iter(matches.values()))).path)]


def write_label_of(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """npe2 writer: save the label that a layer of boxes or clicks belongs to.

    Raises
    ------
    SaveError
        If it is no layer of ours, its label is not in the viewer, or the file cannot be written.
    """
    from napari import current_viewer
    from napari.layers import Labels

    volume = meta.get("metadata", {}).get(VOLUME)
    viewer = current_viewer()
    found = [
        layer
        for layer in (viewer.layers if viewer and volume is not None else ())
        if isinstance(layer, Labels) and layer_volume(layer) is volume
    ]
    if not found:
        raise SaveError(
            f"{path}: {meta.get('name', 'this layer')} is no label, which is what such a file is "
            "for. Select the label's layer, or save the label with the dock."
        )
    label = found[0]
    return write_labels(path, label.data, {**placing(label), "metadata": label.metadata})


def lies_on(place: Mapping[str, Any], volume: Volume, layers: Iterable[Any]) -> bool:
    """Tell whether a layer lies where a volume is shown.

    Parameters
    ----------
    place : mapping of str to anything
        As `placing` gives it, or all that napari says of a layer.
    volume : Volume
    layers : iterable of Layer
        Those that may show the volume.
    """
    if "scale" not in place:  # a script's, which says nothing of any place
        return True
    shown = [own for own in layers if layer_volume(own) is volume and hasattr(own, "scale")]
    # As `image_layer` shows it, if nothing does.
    places = [placing(own) for own in shown] or [{"scale": volume.spacing}]
    return any(lie_alike(place, other, volume.data.shape[:3]) for other in places)


def placing(layer: Layer) -> dict[str, Any]:
    """Return what says where a layer lies, by the names of napari's arguments."""
    found = {key: getattr(layer, key) for key in ("scale", "translate", "rotate", "shear")}
    return {**found, "affine": layer.affine.affine_matrix}


def lie_alike(one: Mapping[str, Any], other: Mapping[str, Any], shape: tuple[int, ...]) -> bool:
    """Tell whether two layers of a shape have their voxels in the same places.

    Parameters
    ----------
    one, other : mapping of str to anything
        As `placing` gives them; what is missing moves nothing.
    shape : (n,) int
    """
    corners = np.array(list(product(*((0.0, size - 1.0) for size in shape))))
    places = []
    for place in (one, other):
        ndim = np.shape(place["scale"])[-1]
        if ndim != len(shape):
            return False
        places.append(_in_world(place, ndim, corners))
    voxel = min(np.abs(np.asarray(place["scale"], float)).min() for place in (one, other))
    return bool(np.abs(places[0] - places[1]).max() <= _SAME_PLACE * voxel)


def _in_world(
    place: Mapping[str, Any], ndim: int, points: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    from napari.utils.transforms import Affine

    keys = ("scale", "translate", "rotate", "shear")
    to_layer = Affine(ndim=ndim, **{key: place[key] for key in keys if place.get(key) is not None})
    to_world = place.get("affine")
    matrix = to_layer.affine_matrix
    if to_world is not None:
        matrix = np.asarray(to_world, float) @ matrix
    found: npt.NDArray[np.float64] = points @ matrix[:-1, :-1].T + matrix[:-1, -1]
    return found


def sample_ct() -> list[LayerData]:
    """npe2 sample data: an abdominal CT of 512 x 512 x 20 voxels (TotalSegmentator, Apache-2.0)."""
    return _read_layers(str(SAMPLES / "ct.nii.gz"))


def sample_mr() -> list[LayerData]:
    """npe2 sample data: a contrast-enhanced brain MR with a tumour (pyradiomics, BSD-3-Clause)."""
    return _read_layers(str(SAMPLES / "mr.nrrd"))
