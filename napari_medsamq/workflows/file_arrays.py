"""Labels as arrays in the axis order of the volume's own file, as scripts have them."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from napari_medsamq.errors import VolumeError
from napari_medsamq.io.segments import whole_ids
from napari_medsamq.io.volume import Volume

Order = Literal["file", "anatomical"]


def in_order(volume: Volume, array: npt.NDArray[Any], order: Order) -> npt.NDArray[Any]:
    """Return a copy of an array (z, y, x) in the axes of the volume's file, or as it is.

    Raises
    ------
    ValueError
        If there is no such order.
    """
    if order not in ("file", "anatomical"):
        raise ValueError(f"order is 'file' or 'anatomical', not {order!r}")
    return np.array(volume.to_source(array) if order == "file" else array, order="C")


def array_ids(
    array: npt.ArrayLike, volume: Volume, order: Order = "file"
) -> npt.NDArray[np.uint16]:
    """Return a label or a mask in the axes of the volume's file as an array (z, y, x) uint16.

    Raises
    ------
    VolumeError
        If it is not of the volume's shape, or its values are no label ids.
    """
    given, source = np.asarray(array), volume.source
    expected = source.grid if order == "file" else volume.data.shape[:3]
    if given.shape != expected and (order != "file" or given.shape != source.shape):
        raise VolumeError(
            f"The array: an array of {expected} voxels is needed, as the volume has in the axis "
            f"order {order!r}, not one of {given.shape}."
        )
    if given.dtype.kind not in "biuf":
        raise VolumeError(f"The array: a label holds whole numbers or bool, not {given.dtype}.")
    ids = whole_ids("The array", given.reshape(expected))
    return ids if order == "anatomical" else volume.from_source(ids.reshape(source.shape))
