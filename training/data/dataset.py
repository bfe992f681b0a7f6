"""Cases to training samples: an image, one object's mask, and a box around it, all at 256 px.

Images go through the plugin's own transform, so that the network sees in training what it gets in
use. Every random choice follows from (seed, epoch, slice): any number of worker processes gives
the same samples.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypedDict

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from napari_medsamq.array_types import Float64, UInt8
from napari_medsamq.inference.preprocess import FRAME, ResizeLongestSide, prepare_slice
from training.cache import is_cached, read_cached_index, read_cached_slice
from training.config import MODALITIES, DataConfig
from training.data.augment import draw_crop, pretend_box, vary_colour, vary_intensity
from training.data.cases import DecodedCases, Label, read_case
from training.data.slices import (
    AXES,
    SliceIndex,
    cut_axes,
    frame_image,
    frame_label,
    index_volume,
    slice_transform,
)
from training.errors import DataError
from training.evaluation.protocol import Case, find_cases, generator

# Inwards, a side moves by at most this part of the box.
_MOST_INWARDS = 0.25


class Draw(NamedTuple):
    """Which sample is wanted: in which epoch, which slice, for which time in that epoch."""

    epoch: int
    item: int
    repeat: int = 0


class Sample(TypedDict):
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


class SliceDataset(Dataset[Sample]):
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
        self._cases = [case for folder in config.data for case in find_cases(folder)]
        parts, cached = [], []
        for done, case in enumerate(self._cases):
            report(done, len(self._cases))
            cached.append(is_cached(case.path))
            parts.append(self._case_index(case, cached=cached[-1]))
        report(len(self._cases), len(self._cases))
        self._cached = cached
        self._index = SliceIndex.join(parts)
        self._decoded = DecodedCases(config.memory_mb)
        self.groups = self._grouped()

    def __len__(self) -> int:
        return len(self._index.slices)

    def __getitem__(self, draw: Draw) -> Sample:
        config, row = self._config, self._index.slices[draw.item]
        case = self._cases[row["case"]]
        epoch = draw.epoch % config.variants if config.variants else draw.epoch
        place = (epoch, draw.item, draw.repeat)
        rng = generator(config.seed, "sample", *place)
        # Drawn from a generator of their own, views leave all other choices as they are.
        view_rng = generator(config.seed, "view", *place)
        image, label = self._read(row)
        label_id, box = self._object(row, rng)
        transform = slice_transform(row)
        if view_rng.random() < config.crop:
            image, label, box, transform = self._cropped(view_rng, image, label, box, transform)
        image = frame_image(image, transform)
        if config.intensity > 0:
            image = vary_intensity(view_rng, image, config.intensity)
        if view_rng.random() < config.colour:
            image = vary_colour(view_rng, image)
        mask: npt.NDArray[np.bool_] = (
            np.zeros(image.shape[:2], bool)
            if label is None
            else frame_label(label, transform) == label_id
        )
        if label_id > 0:
            box = self._loosened(box, transform, rng)
        for axis in (0, 1):
            if rng.random() < config.flip:
                image, mask = np.flip(image, axis), np.flip(mask, axis)
                box = _mirrored(box, transform, axis)
        if view_rng.random() < config.turn:
            image, mask, box = np.swapaxes(image, 0, 1), mask.T, box[[1, 0, 3, 2]]
            rows, columns = transform.pixel_size
            transform = ResizeLongestSide(transform.width, transform.height, (columns, rows))
        padded = np.zeros((FRAME, FRAME), np.float32)
        padded[: mask.shape[0], : mask.shape[1]] = mask
        # A frame is as long as it gets: this resize leaves it as it is.
        network_image = prepare_slice(
            np.ascontiguousarray(image), ResizeLongestSide(*image.shape[:2])
        )
        return Sample(
            image=torch.from_numpy(network_image[0]),
            mask=torch.from_numpy(padded),
            box=torch.from_numpy(transform.apply_box(box)),
            modality=case.modality,
            data_set=case.data_set,
            case=case.name,
            axis=int(row["axis"]),
            slice=int(row["index"]),
            label=label_id,
        )

    def _case_index(self, case: Case, *, cached: bool) -> SliceIndex:
        if case.modality not in MODALITIES:
            raise DataError(
                f"{case.path}: lies in the folder `{case.modality}`, which is no modality. Rename "
                f"the folder to one of {', '.join(MODALITIES)}."
            )
        if cached:
            index = read_cached_index(case.path, self._axes, self._config.min_pixels)
        else:
            volume, label = read_case(case)
            axes = cut_axes(len(volume.data), self._axes)
            index = index_volume(volume, label, axes).select(axes, self._config.min_pixels)
        if not self._config.unlabelled and (index.slices["count"] == 0).any():
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

    def _read(self, row: np.void) -> tuple[UInt8, Label | None]:
        """Return a slice and its label, as they are or shrunk to the frame."""
        axis, index = int(row["axis"]), int(row["index"])
        case = self._cases[row["case"]]
        if self._cached[row["case"]]:
            return read_cached_slice(case.path, axis, index)
        volume, ids = self._decoded.read(case)
        return volume.slice(axis, index), None if ids is None else np.moveaxis(ids, axis, 0)[index]

    def _object(self, row: np.void, rng: np.random.Generator) -> tuple[int, Float64]:
        """Draw an object of a slice; its tight box (4,), or that of the slice without objects."""
        objects = self._index.objects_of(row)
        if len(objects) == 0:
            return 0, np.array([0, 0, row["width"] - 1, row["height"] - 1], np.float64)
        label_id, _, *corners = objects[rng.integers(len(objects))].tolist()
        return label_id, np.array(corners, np.float64)

    def _cropped(
        self,
        rng: np.random.Generator,
        image: UInt8,
        label: Label | None,
        box: Float64,
        transform: ResizeLongestSide,
    ) -> tuple[UInt8, Label | None, Float64, ResizeLongestSide]:
        """Cut a part around a box out of a slice; the box and transform are then of that part."""
        height, width = image.shape[:2]
        pixel_size = transform.pixel_size
        if (height, width) != (transform.height, transform.width):  # of a cache of frames
            pixel_size = (1.0, 1.0)
            box = transform.apply_box(box).astype(np.float64)
        around = box if label is not None else pretend_box(rng, (height, width))
        crop = draw_crop(rng, (height, width), around, self._config.crop_most)
        if crop is None:
            return image, label, box, ResizeLongestSide(height, width, pixel_size)
        image = np.ascontiguousarray(image[crop.place])
        height, width = image.shape[:2]
        whole = np.array([0, 0, width - 1, height - 1], np.float64)
        return (
            image,
            None if label is None else np.ascontiguousarray(label[crop.place]),
            whole if label is None else box - crop.origin,
            ResizeLongestSide(height, width, pixel_size),
        )

    def _loosened(
        self, box: Float64, transform: ResizeLongestSide, rng: np.random.Generator
    ) -> Float64:
        """Move the sides of a tight box (4,), as people draw it; all in slice pixels."""
        last = np.array([transform.width, transform.height] * 2, np.float64) - 1
        most = self._config.box_jitter
        least = -most if self._config.jitter == "symmetric" else 0
        rows, columns = transform.scale
        scale = np.array([columns, rows, columns, rows])
        inwards = _MOST_INWARDS * np.tile(box[2:] - box[:2] + 1, 2) * scale
        shift = np.maximum(rng.integers(least, most, size=4, endpoint=True), -inwards)
        return np.clip(box + np.array([-1, -1, 1, 1]) * shift / scale, 0, last)


def _mirrored(box: Float64, transform: ResizeLongestSide, axis: int) -> Float64:
    """Mirror a box (4,) XYXY in slice pixels along the rows' axis (0) or the columns' axis (1)."""
    mirrored = box.copy()
    first, last = (1, 3) if axis == 0 else (0, 2)
    end = (transform.height if axis == 0 else transform.width) - 1
    mirrored[[first, last]] = end - box[[last, first]]
    return mirrored
