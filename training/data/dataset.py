"""Cases to training samples: an image, one object's mask, and a box around it, all at 256 px.

Images go through the plugin's own transform, so that the network sees in training what it gets in
use. Every random choice follows from (seed, epoch, slice): any number of worker processes gives
the same samples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple, TypedDict

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from napari_medsamq.inference.preprocess import FRAME, ResizeLongestSide, prepare_slice
from napari_medsamq.io.medsam_case import read_arrays
from training.data import slice_cache
from training.data.augment import ObjectView, vary_colour, vary_intensity, whole_box
from training.data.cases import (
    ARRAYS,
    DecodedCases,
    NpzCase,
    case_content,
    find_cases,
    seeded_rng,
)
from training.data.config import MODALITIES, DataConfig
from training.data.slices import AXES, SliceIndex, index_case, slice_transform
from training.errors import DataError

# How often, with `loose`, a box is enlarged in place of being jittered.
_ENLARGED = 0.5


class Draw(NamedTuple):
    """Which sample is wanted: in which epoch, which slice, for which time in that epoch."""

    epoch: int
    item: int
    repeat: int = 0


class TrainingSample(TypedDict):
    """One object on one slice.

    Attributes
    ----------
    image : (3, 256, 256) float32 in [0, 1]
    mask : (256, 256) float32, 0 or 1
    box : (4,) float32
        XYXY in frame pixels, whole numbers, as the plugin gives them to the network.
    modality, data_set, case : str
        `data_set` includes the modality, as in "MR/Heart".
    axis, slice : int
        Array axis across which the volume was cut, and the slice's place on it.
    label : int
        The object's id; 0 where the case is unlabelled.
    """

    image: Tensor
    mask: Tensor
    box: Tensor
    modality: str
    data_set: str
    case: str
    axis: int
    slice: int
    label: int


class SliceDataset(Dataset[TrainingSample]):
    """Slices of cases or of their cache, read when they are asked for by a `Draw`.

    A case is an .npz file that is decoded whole, for one slice too: slices of large volumes are
    shuffled fast only from a cache (`python -m training.cache`).

    Parameters
    ----------
    config : DataConfig
    report : callable
        Told how many cases of how many were looked into.

    Attributes
    ----------
    groups : dict of str to (n,) int64
        The slices of each modality, or of each data set, as `config.balance` says.

    Raises
    ------
    DataError, VolumeError
        If a case cannot be read or labels nothing, or if a modality gives no slice.
    """

    def __init__(
        self, config: DataConfig, report: Callable[[int, int], None] = lambda done, total: None
    ) -> None:
        self._config = config
        self._axes = [AXES[name] for name in config.axes]
        self._cases = [
            case
            for folder in config.data
            for case in find_cases(folder)
            if case.data_set not in config.left_out
        ]
        self._cached: list[bool] = []
        self._decoded = DecodedCases(config.memory_mb)
        parts = []
        for done, case in enumerate(self._cases):
            report(done, len(self._cases))
            parts.append(self._look_into(case))
        report(len(self._cases), len(self._cases))
        self._index = SliceIndex.join(parts)
        self.groups = self._grouped()

    def __len__(self) -> int:
        return len(self._index.slices)

    def __getitem__(self, draw: Draw) -> TrainingSample:
        config, row = self._config, self._index.slices[draw.item]
        epoch = draw.epoch % config.variants if config.variants else draw.epoch
        # Drawn from a generator of their own, views leave all other choices as they are.
        rng, view_rng = (
            seeded_rng(config.seed, what, epoch, draw.item, draw.repeat)
            for what in ("sample", "view")
        )
        view = self._read(row, rng)
        if view_rng.random() < config.crop:
            view = view.cropped(view_rng, config.crop_most)
        view = self._varied(view.framed(), view_rng)
        if config.anywhere and view.ids is None:
            view = view.boxed_anywhere(view_rng)
        if view.label_id > 0:
            view = self._loosened(view, rng, view_rng)
        for axis in (0, 1):
            if rng.random() < config.flip:
                view = view.mirrored(axis)
        if view_rng.random() < config.turn:
            view = view.turned()
        return self._packed(view, row)

    def _look_into(self, case: NpzCase) -> SliceIndex:
        """List the slices of a case or of its cache, opening the file once."""
        if case.modality not in MODALITIES:
            raise DataError(
                f"{case.path}: lies in the folder `{case.modality}`, which is no modality. Rename "
                f"the folder to one of {', '.join(MODALITIES)}."
            )
        config, arrays = self._config, read_arrays(case.path, *ARRAYS, *slice_cache.ARRAYS)
        self._cached.append("meta" in arrays)
        if self._cached[-1]:
            index = slice_cache.cached_index(case.path, arrays, self._axes, config.min_pixels)
        else:
            content = case_content(case, arrays)
            self._decoded.keep(case, content)
            index = index_case(content, self._axes, config.min_pixels)
        if not config.unlabelled and (index.slices["count"] == 0).any():
            raise DataError(
                f"{case.path}: has no label (`gts`). Remove the case, or set `unlabelled: true` to "
                "take such images without one."
            )
        return index

    def _grouped(self) -> dict[str, npt.NDArray[np.int64]]:
        """Sort the slices into groups; every modality's folder has to give some."""
        of_slice = self._index.slices["case"].astype(np.int64)
        counts = np.bincount(of_slice, minlength=len(self._cases))
        modalities = {case.modality for case in self._cases}
        for folder in self._config.data:
            modalities |= {name for name in MODALITIES if (folder / name).is_dir()}
        modalities -= {name.partition("/")[0] for name in self._config.left_out} - {
            case.modality for case in self._cases
        }
        for modality in sorted(modalities):
            own = [counts[i] for i, case in enumerate(self._cases) if case.modality == modality]
            if sum(own) == 0:
                raise DataError(
                    f"{', '.join(map(str, self._config.data))}: the folder `{modality}` gives no "
                    f"slice: in its {len(own)} cases no object covers {self._config.min_pixels} "
                    "pixels. Add cases, remove the folder, or lower `min_pixels`."
                )
        by_modality = self._config.balance == "modality"
        names = np.array([c.modality if by_modality else c.data_set for c in self._cases])
        return {str(name): np.flatnonzero((names == name)[of_slice]) for name in np.unique(names)}

    def _read(self, row: np.void, rng: np.random.Generator) -> ObjectView:
        """Read a slice, as it is or shrunk to the frame, and draw an object of it."""
        case, place = self._cases[row["case"]], (int(row["axis"]), int(row["index"]))
        if self._cached[row["case"]]:
            image, ids = slice_cache.read_cached_slice(case.path, *place)
        else:
            image, ids = self._decoded.read(case).slice(*place)
        objects, transform = self._index.objects_of(row), slice_transform(row)
        if len(objects) == 0:
            return ObjectView(image, ids, 0, whole_box(row["height"], row["width"]), transform)
        label_id, _, *corners = objects[rng.integers(len(objects))].tolist()
        return ObjectView(image, ids, label_id, np.array(corners, np.float64), transform)

    def _varied(self, view: ObjectView, rng: np.random.Generator) -> ObjectView:
        """Change intensities and colours."""
        image = view.image
        if self._config.intensity > 0:
            image = vary_intensity(rng, image, self._config.intensity)
        if rng.random() < self._config.colour:
            image = vary_colour(rng, image)
        return replace(view, image=image)

    def _loosened(
        self, view: ObjectView, rng: np.random.Generator, view_rng: np.random.Generator
    ) -> ObjectView:
        """Draw the box as people do: more or less tight."""
        config = self._config
        if config.tight > 0 and view_rng.random() < config.tight:
            return view
        if config.loose > 0 and view_rng.random() < _ENLARGED:
            return view.enlarged(view_rng, config.loose)
        return view.jittered(rng, config.box_jitter, inwards=config.jitter == "symmetric")

    def _packed(self, view: ObjectView, row: np.void) -> TrainingSample:
        """Make what the network gets of a slice in the frame."""
        case = self._cases[row["case"]]
        mask = np.zeros((FRAME, FRAME), np.float32)
        if view.ids is not None:
            mask[: view.ids.shape[0], : view.ids.shape[1]] = view.ids == view.label_id
        # A frame is as long as it gets: this resize leaves it as it is.
        whole = ResizeLongestSide(*view.image.shape[:2])
        return TrainingSample(
            image=torch.from_numpy(prepare_slice(np.ascontiguousarray(view.image), whole)[0]),
            mask=torch.from_numpy(mask),
            box=torch.from_numpy(view.transform.apply_box(view.box)),
            modality=case.modality,
            data_set=case.data_set,
            case=case.name,
            axis=int(row["axis"]),
            slice=int(row["index"]),
            label=view.label_id,
        )
