"""What several labels of one image agree on: by majority, and by STAPLE."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import lazy_loader
import numpy as np
import scipy

from napari_medsamq.array_types import Float32, Label

if TYPE_CHECKING:
    import SimpleITK as sitk
else:  # 70 MB that few sessions need
    sitk = lazy_loader.load("SimpleITK")


def majority(labels: Sequence[Label]) -> Label:
    """Return what more than half of some labels have at each voxel, 0 elsewhere.

    So a tie of an even number of them is background.

    Parameters
    ----------
    labels : sequence of (z, y, x) uint16

    Returns
    -------
    label : (z, y, x) uint16
    """
    found = np.zeros_like(labels[0])
    for label_id, box in _boxes(labels):
        votes = np.count_nonzero([own[box] == label_id for own in labels], axis=0)
        found[box][2 * votes > len(labels)] = label_id
    return found


def staple(labels: Sequence[Label]) -> Label:
    """Return what is likelier than not by STAPLE, which weighs each label by how well it does.

    Warfield et al. (IEEE TMI 2004) as SimpleITK computes it, for one label id after the other, in
    the box around what any of the labels has of it, with one voxel more on all sides: elsewhere all
    agree, and how much air a file has around would change the weights. Where more than one id is
    likelier than not, the likeliest is taken.

    Parameters
    ----------
    labels : sequence of (z, y, x) uint16

    Returns
    -------
    label : (z, y, x) uint16
    """
    found = np.zeros_like(labels[0])
    highest: Float32 = np.full(found.shape, 0.5, np.float32)
    # A 2D image gets no slices around it.
    margin = [(int(size > 1),) * 2 for size in found.shape]
    for label_id, box in _boxes(labels):
        masks = [np.pad(own[box] == label_id, margin).astype(np.uint8) for own in labels]
        likely = sitk.STAPLE([sitk.GetImageFromArray(mask) for mask in masks])
        inner = tuple(slice(n, -n or None) for n, _ in margin)
        probability = sitk.GetArrayFromImage(likely)[inner]
        taken = probability > highest[box]
        found[box][taken], highest[box][taken] = label_id, probability[taken]
    return found


def agree_nowhere(labels: Sequence[Label]) -> bool:
    """Tell whether no two of some labels have any voxel of one id in common."""
    return not any(
        (np.count_nonzero([own[box] == label_id for own in labels], axis=0) > 1).any()
        for label_id, box in _boxes(labels)
    )


def _boxes(labels: Sequence[Label]) -> Iterator[tuple[int, tuple[slice, ...]]]:
    """Yield each id that any of some labels has, ascending, and the box around it in all."""
    found: dict[int, list[tuple[slice, ...]]] = {}
    for own in labels:
        for label_id, box in enumerate(scipy.ndimage.find_objects(own), 1):
            if box is not None:
                found.setdefault(label_id, []).append(box)
    for label_id, boxes in sorted(found.items()):
        yield (
            label_id,
            tuple(
                slice(min(part.start for part in parts), max(part.stop for part in parts))
                for parts in zip(*boxes, strict=True)
            ),
        )
