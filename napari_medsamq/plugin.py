"""What napari's plugin manifest names: reader, writers and sample data, and layers for volumes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_medsamq.errors import SaveError, VolumeError
from napari_medsamq.geometry import grid_corners
from napari_medsamq.inference.preprocess import WindowLevel, default_window
from napari_medsamq.io.label_writer import write_label
from napari_medsamq.io.readers import can_read
from napari_medsamq.io.volume import Volume, read_volume, volume_from_slices

if TYPE_CHECKING:
    from napari.layers import Image, Layer
    from napari.types import LayerData, PathOrPaths

# Parts of a voxel by which layers in one place may differ, by the rounding of numbers.
_SAME_PLACE = 0.01
# The folder of the two volumes that come along.
SAMPLES = Path(__file__).parent / "resources" / "samples"
VOLUME = "medsamq_volume"


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
    return volume_from_slices(np.asarray(layer.data), spacing, layer.name)


def get_reader(path: PathOrPaths) -> Callable[[PathOrPaths], list[LayerData]] | None:
    """npe2 reader: accept one file or folder of a format that `io` reads."""
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
    corners = grid_corners(shape)
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
