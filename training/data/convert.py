"""An image and its label to the arrays of a MedSAM case, by MedSAM's published preprocessing.

After pre_CT_MR.py of bowang-lab/MedSAM (Ma et al., Nature Communications 2024): window, objects of
too few voxels or pixels removed, slices without label cut off. Other than there, unlabelled slices
between labelled ones stay, so that neighbours in the case are neighbours in the patient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_medsamq.geometry import grid_corners
from napari_medsamq.inference.preprocess import default_window
from napari_medsamq.io.label_format import whole_ids
from napari_medsamq.io.volume import Volume, read_volume
from training.data.cases import MAX_ID, Label
from training.data.pairing import Components, ScanPair
from training.data.slices import slice_objects
from training.errors import DataError

# Farther apart, in parts of the smallest voxel side, two grids are not the same.
_GRID_TOLERANCE = 0.1
_MAX_COLOURS = 255


@dataclass(frozen=True)
class Limits:
    """What is too small to be an object.

    Attributes
    ----------
    min_voxels : int
        Connected components of fewer voxels are removed from volumes.
    min_pixels : int
        Then, connected components of fewer pixels are removed from each slice.
    """

    min_voxels: int = 1000
    min_pixels: int = 100


def convert_pair(pair: ScanPair, limits: Limits) -> dict[str, npt.NDArray[Any]]:
    """Read an image and its label and make the arrays of a case.

    Returns
    -------
    arrays : dict of str to array
        For a volume `imgs` (D, H, W) uint8, `gts` (D, H, W) uint8 or uint16, `spacing` (3,) float64
        in mm (x, y, z), `boxes` (N, 6) int32 x0, y0, z0, x1, y1, z1. For a 2D picture `imgs`
        (H, W, 3), `gts` (H, W) and `boxes` (N, 4) x0, y0, x1, y1. One box for each id, in their
        order; the last voxel is included.

    Raises
    ------
    DataError, VolumeError
        If they cannot be read or do not belong together, or if no object is left.
    """
    image, label = read_volume(pair.image), read_volume(pair.label, is_label=True)
    ids = label_ids(label)
    check_same_grid(image, label)
    ids = split_components(ids, pair.components)
    if len(ids) > 1:
        ids = remove_small(ids, limits.min_voxels)
    ids = np.stack([remove_small(part, limits.min_pixels) for part in ids])
    labelled = np.flatnonzero(ids.any(axis=(1, 2)))
    if len(labelled) == 0:
        raise DataError(
            f"{pair.label}: no object has {limits.min_voxels} connected voxels (in a volume) and "
            f"{limits.min_pixels} connected pixels on a slice. Lower --min-voxels or --min-pixels."
        )
    kept = slice(int(labelled[0]), int(labelled[-1]) + 1)
    grey = _windowed(image, pair, kept)
    if ids.max() <= np.iinfo(np.uint8).max:
        ids = ids.astype(np.uint8)
    if image.modality_source == "picture":
        colours = grey[0] if grey.ndim == 4 else np.repeat(grey[0][..., None], 3, axis=-1)
        boxes = [corners for _, _, *corners in slice_objects(ids[0])]
        return {"imgs": colours, "gts": ids[0], "boxes": np.array(boxes, np.int32)}
    return {
        "imgs": grey,
        "gts": ids[kept],
        "spacing": image.spacing[::-1].copy(),
        "boxes": boxes_3d(ids[kept]),
    }


def _windowed(image: Volume, pair: ScanPair, kept: slice) -> npt.NDArray[np.uint8]:
    named = image.with_modality("CT" if pair.modality == "CT" else "MR")
    if pair.modality == "CT" and not image.windowed and not pair.window and image.no_hounsfield:
        raise DataError(
            f"{pair.image}: is to be CT, but its values are no Hounsfield units: "
            f"{image.no_hounsfield}. Correct the modality, or give the window (level/width) in its "
            "own values."
        )
    return (pair.window or default_window(named)).apply(image.data[kept])


def label_ids(label: Volume) -> Label:
    """Return the ids (z, y, x) uint16 of a label; each colour of a picture is an id.

    Raises
    ------
    DataError, VolumeError
        If the values are no ids.
    """
    data = label.data
    if label.modality_source == "picture" and str(label.path).lower().endswith((".jpg", ".jpeg")):
        raise DataError(
            f"{label.path}: JPEG does not keep label values exactly. Save the mask as PNG."
        )
    if data.ndim == 4:
        data = _colour_ids(label)
    return whole_ids(str(label.path), data)


def _colour_ids(label: Volume) -> npt.NDArray[Any]:
    data = label.data.astype(np.uint32)
    if (data == data[..., :1]).all():
        return data[..., 0]
    colours, ids = np.unique(data @ np.array([1 << 16, 1 << 8, 1]), return_inverse=True)
    if len(colours) > _MAX_COLOURS:
        raise DataError(
            f"{label.path}: has {len(colours)} colours, too many for the objects of a mask. Save "
            "the mask without smoothing and compression, as PNG."
        )
    # Black is the background also where a picture has none.
    ids = ids.reshape(data.shape[:3])
    return ids if colours[0] == 0 else ids + 1


def check_same_grid(image: Volume, label: Volume) -> None:
    """Make sure that a label's voxels lie where the image's voxels lie.

    Pictures, which do not say where they lie, only need the same size.

    Raises
    ------
    DataError
        If they do not.
    """
    grids = image.data.shape[:3], label.data.shape[:3]
    if grids[0] != grids[1]:
        raise DataError(
            f"{label.path}: has {grids[1]} voxels (z, y, x) and its image {grids[0]}. Resample the "
            "label to the image's grid, with nearest neighbours."
        )
    if "picture" in (image.modality_source, label.modality_source):
        return
    corners = np.column_stack([grid_corners(grids[0]), np.ones(8)])
    apart = np.linalg.norm(corners @ (image.affine - label.affine).T, axis=1).max()
    if apart > _GRID_TOLERANCE * image.spacing.min():
        raise DataError(
            f"{label.path}: lies up to {apart:.3g} mm beside its image in the patient. Resample "
            "the label to the image's grid with nearest neighbours, or correct its header."
        )


def split_components(ids: Label, components: Components) -> Label:
    """Make each connected component (26 neighbours) of some ids an id of its own.

    Components of all ids are numbered from 1; those of some ids follow the largest id.
    """
    split = np.zeros(ids.shape, np.int64) if components.every else ids.astype(np.int64)
    last = 0 if components.every else int(ids.max())
    for label_id, place in enumerate(ndimage.find_objects(ids), start=1):
        if place is None or not (components.every or label_id in components.ids):
            continue
        parts, count = ndimage.label(ids[place] == label_id, np.ones((3,) * ids.ndim))
        split[place][parts > 0] = parts[parts > 0] + last
        last += count
    if last > MAX_ID:
        raise DataError(
            f"The label falls into {last} components, more than the {MAX_ID} ids of a case. Check "
            "that it is a label and not noise."
        )
    return split.astype(np.uint16)


def remove_small(ids: Label, least: int) -> Label:
    """Return ids (z, y, x) or (y, x) without connected components of fewer than `least` voxels.

    Voxels are connected over edges and corners too: 26 neighbours, or 8.
    """
    cleaned = ids.copy()
    for label_id, place in enumerate(ndimage.find_objects(ids), start=1):
        if place is None:
            continue
        parts, _ = ndimage.label(ids[place] == label_id, np.ones((3,) * ids.ndim))
        small = np.bincount(parts.reshape(-1)) < least
        small[0] = False
        cleaned[place][small[parts]] = 0
    return cleaned


def boxes_3d(ids: Label) -> npt.NDArray[np.int32]:
    """Return the tight box (N, 6) int32 x0, y0, z0, x1, y1, z1 of each id, inclusive."""
    boxes = [
        (x.start, y.start, z.start, x.stop - 1, y.stop - 1, z.stop - 1)
        for z, y, x in filter(None, ndimage.find_objects(ids))
    ]
    return np.array(boxes, np.int32).reshape(-1, 6)
