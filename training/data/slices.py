"""Cases as slices: which slices hold which objects, and the slices themselves in the 256 px frame.

A slice is shrunk by the plugin's own transform. Its label follows by the same resize, object by
object: a frame pixel belongs to the object that covers at least half of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_medsamq.array_types import UInt8
from napari_medsamq.geometry import PLANE_NAMES
from napari_medsamq.inference.preprocess import ResizeLongestSide
from training.data.cases import CaseContent, Label

Table = npt.NDArray[np.void]

AXES = {plane: axis for axis, plane in enumerate(PLANE_NAMES)}

# One row for each slice; its objects are rows `first` to `first + count` of the other table.
_WHOLE = ("case", "axis", "index", "height", "width", "first", "count")
SLICE = np.dtype([*((name, "u4") for name in _WHOLE), ("row_mm", "f8"), ("column_mm", "f8")])
# A label id on a slice: how many pixels it covers, and its tight box, all inclusive.
OBJECT = np.dtype([(name, "u4") for name in ("label", "pixels", "x0", "y0", "x1", "y1")])


@dataclass(frozen=True, eq=False)
class SliceIndex:
    """Slices and the objects on them.

    Attributes
    ----------
    slices : (N,) array of SLICE
    objects : (M,) array of OBJECT
    """

    slices: Table
    objects: Table

    @classmethod
    def of(cls, rows: Sequence[tuple[Any, ...]], objects: Sequence[tuple[int, ...]]) -> SliceIndex:
        """Make the tables of tuples in the order of their fields."""
        return cls(np.array(rows, SLICE), np.array(objects, OBJECT))

    @classmethod
    def join(cls, parts: Sequence[SliceIndex]) -> SliceIndex:
        """Join the indices of cases, which are numbered in this order."""
        joined, first = [], 0
        for number, part in enumerate(parts):
            slices = part.slices.copy()
            slices["case"] = number
            slices["first"] += first
            first += len(part.objects)
            joined.append(slices)
        return cls(np.concatenate(joined), np.concatenate([part.objects for part in parts]))

    def select(self, axes: Sequence[int], min_pixels: int) -> SliceIndex:
        """Keep the slices across some axes and the objects of a size; unlabelled slices stay."""
        rows: list[tuple[Any, ...]] = []
        objects: list[tuple[int, ...]] = []
        for row in self.slices[np.isin(self.slices["axis"], axes)]:
            own = self.objects_of(row)
            kept = own[own["pixels"] >= min_pixels]
            if len(kept) or not len(own):
                rows.append((*row.tolist()[:5], len(objects), len(kept), *row.tolist()[7:]))
                objects += kept.tolist()
        return SliceIndex.of(rows, objects)

    def objects_of(self, row: np.void) -> Table:
        """Return the objects of a row of `slices`."""
        first = int(row["first"])
        return self.objects[first : first + int(row["count"])]


def slice_transform(row: np.void) -> ResizeLongestSide:
    """Return the transform of a row of SLICE between its slice and the frame."""
    return ResizeLongestSide(
        int(row["height"]), int(row["width"]), (float(row["row_mm"]), float(row["column_mm"]))
    )


def cut_axes(depth: int, axes: Sequence[int]) -> list[int]:
    """Return the axes to cut along: only the first one where there is a single slice."""
    return list(axes) if depth > 1 else [0]


def index_case(content: CaseContent, axes: Sequence[int], min_pixels: int) -> SliceIndex:
    """List the slices of a case with their objects.

    Parameters
    ----------
    content : CaseContent
        Slices without an object are left out; without a label all slices are listed.
    axes : sequence of int
        Array axes to cut across, see `cut_axes`.
    min_pixels : int
        Objects of fewer pixels are left out.
    """
    rows: list[tuple[Any, ...]] = []
    objects: list[tuple[int, ...]] = []
    shape = content.image.shape[:3]
    for axis in cut_axes(shape[0], axes):
        size, pixel_size = np.delete(shape, axis).tolist(), np.delete(content.spacing, axis)
        for index in range(shape[axis]):
            _, label = content.slice(axis, index)
            listed = [] if label is None else slice_objects(label)
            found = [own for own in listed if own[1] >= min_pixels]
            if found or label is None:
                place = (0, axis, index, *size)
                rows.append((*place, len(objects), len(found), *pixel_size.tolist()))
                objects += found
    return SliceIndex.of(rows, objects)


def slice_objects(label: Label) -> list[tuple[int, ...]]:
    """List the ids of a label (H, W) as (id, pixels, x0, y0, x1, y1), tight and inclusive."""
    counts = np.bincount(label.reshape(-1))
    found: list[tuple[int, ...]] = []
    for number, place in enumerate(ndimage.find_objects(label), start=1):
        if place is not None:
            y, x = place
            found.append((number, int(counts[number]), x.start, y.start, x.stop - 1, y.stop - 1))
    return found


def frame_image(image: UInt8, transform: ResizeLongestSide) -> UInt8:
    """Resize a slice (H, W) or (H, W, 3) uint8 to the frame, unless it has that size already."""
    same = image.shape[:2] == transform.frame
    return image if same else transform.apply_image(np.ascontiguousarray(image))


def frame_label(label: Label, transform: ResizeLongestSide) -> Label:
    """Resize a label (H, W) to the frame, unless it has that size already; see `resize_label`."""
    return label if label.shape == transform.frame else resize_label(label, transform.frame)


def resize_label(label: Label, size: tuple[int, int]) -> Label:
    """Resize a label (H, W) to (height, width), object by object.

    An object that nowhere covers half a pixel keeps the pixels it covers most of.
    """
    small = np.zeros(size, label.dtype)
    for label_id in np.unique(label[label > 0]):
        object_mask = (label == label_id).astype(np.uint8) * 255
        covered = cv2.resize(object_mask, size[::-1], interpolation=cv2.INTER_AREA)
        half = max(1, min(128, int(covered.max())))
        small[(covered >= half) & (small == 0)] = label_id
    return small
