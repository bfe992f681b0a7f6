"""Volumes to runs of slices: a structure's mask on one slice, and what it is to become on the next.

A run begins where the structure is known and goes on in steps of one to three slices along any
axis, also past the structure's end, where nothing is wanted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor
from torch.utils.data import Dataset

from napari_medsamq.array_types import Bool, UInt8
from napari_medsamq.inference.crop import CropTransform, tight_box
from training.data.augment import draw_crop, vary_intensity
from training.data.cases import Label, NpzCase, find_cases, read_case, seeded_rng
from training.data.config import DataConfig
from training.data.slices import AXES
from training.errors import DataError

# Slices from one of a run to the next, at most.
_FARTHEST = 3
# A data set is drawn in proportion to this power of its number of structures.
_POWER = 0.5
# A structure counts along an axis from so many slices on.
_FEWEST = 3
# Parts of slices are at most so many times the structure's longer side.
_PART = 6.0


class RunSample(TypedDict):
    """A structure on slices that follow each other.

    Attributes
    ----------
    image : (K, 3, 256, 256) float32 in [0, 1]
        Of the slices after the first.
    mask : (K, 256, 256) float32, 0 or 1
        The structure there; all 0 beyond its end.
    start : (256, 256) float32, 0 or 1
        The structure on the slice before them, never empty.
    """

    image: Tensor
    mask: Tensor
    start: Tensor


@dataclass(frozen=True, eq=False)
class _Structure:
    """A label id of a volume, cut out with a slice around it, along an axis.

    Attributes
    ----------
    image : (z, y, x) uint8
        The whole volume.
    label : (z, y, x) unsigned int
    label_id : int
    axis : int
    known : (n,) int64
        Slices that it covers enough of to begin on.
    spacing : (3,) float64
        In mm.
    """

    image: UInt8
    label: Label
    label_id: int
    axis: int
    known: npt.NDArray[np.int64]
    spacing: npt.NDArray[np.float64]

    def slice(self, index: int) -> UInt8:
        """Return a slice of the image (H, W)."""
        return np.ascontiguousarray(np.moveaxis(self.image, self.axis, 0)[index])

    def mask(self, index: int) -> Bool:
        """Return the structure on a slice (H, W)."""
        mask: Bool = np.moveaxis(self.label, self.axis, 0)[index] == self.label_id
        return np.ascontiguousarray(mask)

    def indices(self, rng: np.random.Generator, count: int) -> list[int]:
        """Draw a slice to begin on and `count` that follow it, in one direction, in equal steps."""
        step = int(rng.integers(1, _FARTHEST, endpoint=True)) * int(rng.choice([-1, 1]))
        start = int(rng.choice(self.known))
        run = start + step * np.arange(count + 1)
        depth = self.image.shape[self.axis]
        # At the volume's own end the last slice stays.
        return [int(index) for index in np.clip(run, 0, depth - 1)]


class RunDataset(Dataset[RunSample]):
    """Runs of slices of the volumes among cases, in memory, drawn by their number.

    Parameters
    ----------
    folders : sequence of Path
        Of cases, <modality>/<data set>/<case>.npz.
    config : DataConfig
        Its `left_out`, `axes`, `min_pixels`, `crop`, `intensity`, `flip`, `turn` and `seed`.
    slices : int
        Of each run after the first: K.

    Raises
    ------
    DataError, VolumeError
        If no case is a volume, or a case cannot be read.
    """

    def __init__(self, folders: Sequence[Path], config: DataConfig, slices: int) -> None:
        self._config, self._slices = config, slices
        axes = [AXES[name] for name in config.axes]
        self._sets: dict[str, list[_Structure]] = {}
        for folder in folders:
            for case in find_cases(folder):
                found = [] if case.data_set in config.left_out else self._structures(case, axes)
                if found:
                    self._sets.setdefault(case.data_set, []).extend(found)
        if not self._sets:
            raise DataError(
                f"{', '.join(map(str, folders))}: hold no volume with a structure on "
                f"{_FEWEST} slices, so masks cannot be carried. Add cases of volumes (not their "
                "cache), or set `runs: 0`."
            )
        weights = np.array([len(own) ** _POWER for own in self._sets.values()])
        self._shares = weights / weights.sum()

    def __getitem__(self, number: int) -> RunSample:
        config = self._config
        rng = seeded_rng(config.seed, "run", number)
        structures = list(self._sets.values())[int(rng.choice(len(self._sets), p=self._shares))]
        own = structures[int(rng.integers(len(structures)))]
        first, *others = own.indices(rng, self._slices)
        whole = [own.mask(index) for index in (first, *others)]
        transform = self._transform(own, whole, rng)
        masks = [transform.apply_mask(mask) for mask in whole]
        if not masks[0].any():  # thin: as a carried mask is seen
            area = transform.frame_area(whole[0])
            masks[0][: area.shape[0], : area.shape[1]] = area
        state = int(rng.integers(2**63))
        images = [
            # The same change on all of them.
            transform.image(
                vary_intensity(np.random.default_rng(state), own.slice(index), config.intensity)
            )[0]
            for index in others
        ]
        image, mask = np.stack(images), np.stack(masks)
        for axis in (-1, -2):
            if rng.random() < config.flip:
                image, mask = np.flip(image, axis), np.flip(mask, axis)
        if rng.random() < config.turn:
            image, mask = image.swapaxes(-1, -2), mask.swapaxes(-1, -2)
        framed = torch.from_numpy(np.ascontiguousarray(mask, np.float32))
        return RunSample(
            image=torch.from_numpy(np.ascontiguousarray(image)), mask=framed[1:], start=framed[0]
        )

    def _structures(self, case: NpzCase, axes: Sequence[int]) -> list[_Structure]:
        content = read_case(case)
        if content.label is None or content.image.ndim != 3 or content.image.shape[0] == 1:
            return []
        found = []
        for label_id, place in enumerate(ndimage.find_objects(content.label), start=1):
            if place is None:
                continue
            inside = content.label[place] == label_id
            for axis in axes:
                areas = inside.sum(tuple(other for other in range(3) if other != axis))
                known = place[axis].start + np.flatnonzero(areas >= self._config.min_pixels)
                if len(known) >= _FEWEST:
                    found.append(
                        _Structure(
                            content.image, content.label, label_id, axis, known, content.spacing
                        )
                    )
        return found

    def _transform(
        self, own: _Structure, masks: Sequence[Bool], rng: np.random.Generator
    ) -> CropTransform:
        """Draw what of the slices is shown: all, or a part that holds the structure on each."""
        rows, columns = np.delete(own.spacing, own.axis).tolist()
        whole = CropTransform(masks[0].shape[:2], (rows, columns))  # type: ignore[arg-type]
        box = tight_box(np.any(masks, axis=0))
        if box is None or rng.random() >= self._config.crop:
            return whole
        crop = draw_crop(rng, whole.shape, box, _PART)
        return CropTransform(whole.shape, whole.pixel_size, crop)
