"""What an evaluation asks of a model: cases, their reference, and one box prompt for each object.

2D: each label id in each slice where it covers at least 100 pixels; the prompt is its tight box,
each side moved outwards by 0 to 5 pixels and clipped to the slice. 3D: each label id of a volume,
prompted by the case's own 3D box. Propagation: the same, but prompted by a box on the middle slice
alone, as in 2D, without a word about where the structure ends. The slices are those across array
axis 0. All that is drawn follows from the seed and from names, so that each model, run and machine
sees the same boxes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import groupby

import numpy as np
import numpy.typing as npt

from napari_medsamq.array_types import Bool
from napari_medsamq.errors import VolumeError
from napari_medsamq.inference.crop import tight_box
from napari_medsamq.io.medsam_case import read_arrays
from napari_medsamq.prompts import BoxPrompt, BoxPrompt3D
from training.data.cases import NpzCase, reference, seeded_rng

MIN_PIXELS = 100
MAX_SHIFT = 5

Label = npt.NDArray[np.integer]


class Protocol(StrEnum):
    """What is asked of a model.

    Objects in single slices: from a box, from one that is looser and looser, from a box and one
    click after the other, or from a box and a scribble, and a lasso alone; or volumes: from a 3D
    box, from that and one click after the other, from a box on one slice, or from that and one more
    on the slice that looks worst.
    """

    slices = "2d"
    loose = "loose"
    clicks = "clicks"
    scribbles = "scribbles"
    volumes = "3d"
    interactive = "interactive"
    propagate = "propagate"
    confidence = "confidence"

    @property
    def of_slices(self) -> bool:
        """Whether the objects lie in single slices."""
        own = Protocol.slices, Protocol.loose, Protocol.clicks, Protocol.scribbles
        return self in own


@dataclass(frozen=True)
class Target:
    """One object to be segmented.

    Attributes
    ----------
    case : NpzCase
    label_id : int
    box : BoxPrompt or BoxPrompt3D
    """

    case: NpzCase
    label_id: int
    box: BoxPrompt | BoxPrompt3D

    @property
    def index(self) -> int | None:
        """The object's slice; None where it is the whole label id of a volume."""
        return self.box.index if isinstance(self.box, BoxPrompt) else None

    @property
    def turn(self) -> tuple[int | None, int]:
        """The objects of one turn are segmented by one model before the next one has its turn."""
        return self.index, self.label_id if self.index is None else 0


def list_targets(case: NpzCase, protocol: Protocol, seed: int) -> list[Target]:
    """List the objects of a case, by slice and label id; none where a 3D protocol finds no volume.

    Raises
    ------
    VolumeError
        If the case cannot be read, or its 3D boxes are not one for each label id.
    """
    arrays = read_arrays(case.path, "gts", "boxes")
    label = reference(case, arrays)
    if protocol.of_slices:
        return [
            Target(case, label_id, _shifted_box(case, index, label_id, label[index], seed))
            for index in range(len(label))
            for label_id in _ids(label[index], MIN_PIXELS)
        ]
    # A single slice with a 3D box is an image of the 2D protocol.
    if len(label) == 1:
        return []
    if "boxes" not in arrays:
        raise VolumeError(f"{case.path}: has no array `boxes` (3D boxes). Make the case again.")
    boxes = arrays["boxes"]
    if boxes.ndim == 2 and boxes.shape[1] == 4:
        return []
    ids = _ids(label, 1)
    if boxes.shape != (len(ids), 6) or boxes.dtype.kind not in "iu":
        raise VolumeError(
            f"{case.path}: has {len(ids)} label ids and `boxes` {boxes.dtype} of shape "
            f"{boxes.shape}; one row x0, y0, z0, x1, y1, z1 of whole numbers is needed for each "
            "id, in their order. Make the case again."
        )
    return [
        Target(case, label_id, _box_3d(case, row, label.shape))
        for label_id, row in zip(ids, boxes.tolist(), strict=True)
    ]


def middle_box(target: Target, label: Label, seed: int) -> BoxPrompt:
    """Return the 2D box of a volume's object on its middle slice, or the nearest one that has it.

    Parameters
    ----------
    target : Target
        Of a 3D protocol.
    label : (z, y, x) integer
        The case's reference.
    seed : int
    """
    indices = np.flatnonzero((label == target.label_id).any((1, 2)))
    middle = (target.box.lower[0] + target.box.upper[0]) // 2  # type: ignore[union-attr]
    index = int(indices[np.abs(indices - middle).argmin()])
    return _shifted_box(target.case, index, target.label_id, label[index], seed)


def reference_box(target: Target, label: Label, index: int, seed: int) -> BoxPrompt | None:
    """Return the 2D box of a volume's object on a slice; None where the reference has nothing."""
    plane = label[index]
    if not (plane == target.label_id).any():
        return None
    return _shifted_box(target.case, index, target.label_id, plane, seed)


def tightened(box: BoxPrompt, mask: Bool) -> BoxPrompt:
    """Return the tight box around an object's mask (H, W) bool, in place of one drawn around it."""
    x0, y0, x1, y1 = _tight_corners(mask)
    return replace(box, x0=x0, y0=y0, x1=x1, y1=y1)


def _tight_corners(mask: Bool) -> list[int]:
    box = tight_box(mask)
    if box is None:
        raise ValueError("the object is not on this slice")
    return [int(corner) for corner in box]


def loosened(box: BoxPrompt, share: float, shape: tuple[int, ...]) -> BoxPrompt:
    """Enlarge a box evenly by a share of its size, within a slice of a shape (height, width)."""
    across, down = (
        share * (high - low + 1) / 2 for low, high in ((box.x0, box.x1), (box.y0, box.y1))
    )
    return replace(
        box,
        x0=max(0, round(box.x0 - across)),
        y0=max(0, round(box.y0 - down)),
        x1=min(shape[1] - 1, round(box.x1 + across)),
        y1=min(shape[0] - 1, round(box.y1 + down)),
    )


def draw_targets(targets: Iterable[Target], limit: int, seed: int) -> list[Target]:
    """Draw at most `limit` objects of each data set; the order stays as it is.

    Parameters
    ----------
    targets : iterable of Target
        The objects of one data set follow each other.
    limit, seed : int
    """
    drawn = []
    for data_set, group in groupby(targets, key=lambda target: target.case.data_set):
        all_of_set = list(group)
        order = seeded_rng(seed, data_set, "limit").permutation(len(all_of_set))
        drawn += [all_of_set[i] for i in sorted(order[:limit])]
    return drawn


def _ids(label: Label, at_least: int) -> list[int]:
    ids, counts = np.unique(label, return_counts=True)
    return [int(i) for i, count in zip(ids, counts, strict=True) if i > 0 and count >= at_least]


def _shifted_box(case: NpzCase, index: int, label_id: int, label: Label, seed: int) -> BoxPrompt:
    x0, y0, x1, y1 = _tight_corners(label == label_id)
    left, top, right, bottom = seeded_rng(seed, case.name, index, label_id).integers(
        0, MAX_SHIFT, size=4, endpoint=True
    )
    return BoxPrompt(
        axis=0,
        index=index,
        x0=max(int(x0 - left), 0),
        y0=max(int(y0 - top), 0),
        x1=min(int(x1 + right), label.shape[1] - 1),
        y1=min(int(y1 + bottom), label.shape[0] - 1),
    )


def _box_3d(case: NpzCase, row: list[int], shape: tuple[int, ...]) -> BoxPrompt3D:
    lower, upper = (row[2], row[1], row[0]), (row[5], row[4], row[3])
    if not all(0 <= a <= b < size for a, b, size in zip(lower, upper, shape, strict=True)):
        raise VolumeError(
            f"{case.path}: the box {row} (x0, y0, z0, x1, y1, z1, the last voxel included) leaves "
            f"a volume of {shape[::-1]} voxels (x, y, z), or is empty. Make the case again."
        )
    return BoxPrompt3D(lower, upper, axis=0)
