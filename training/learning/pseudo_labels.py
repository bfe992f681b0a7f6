"""Objects on slices without labels: what a network segments alike however it is asked.

Boxes drawn anywhere lead to masks, and those to boxes around them; what the network then finds
again by other boxes and on the mirrored slice is taken for an object (as SAM's own data were
chosen: Kirillov et al., "Segment Anything", ICCV 2023). Doubtful answers are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from napari_medsamq.array_types import Bool, Float32
from napari_medsamq.inference.preprocess import prepare_slice
from napari_medsamq.inference.slice_predictor import stability_of
from training.checkpoints.network_file import StoredNetwork
from training.data.cases import Label, NpzCase, find_cases, seeded_rng
from training.data.slice_cache import (
    read_cache_meta,
    read_cached_index,
    read_cached_slice,
    write_cached,
)
from training.data.slices import SliceIndex, slice_objects, slice_transform
from training.errors import DataError
from training.learning.processes import Processes
from training.learning.teachers import Encoder, fast_encoder
from training.models.sam import LiteMedSAM

_TRIES = 16
# Sides of the first boxes, and how far later ones are from tight, in frame pixels.
_SIDES, _LOOSE = (12, 160), 4
_LEAST_PIXELS, _MOST_OF_SLICE = 60, 0.4
_LEAST_IOU = 0.75  # as the network predicts it
_LEAST_AGREEMENT = 0.9  # IoU of the masks of a slice and of the mirrored one
_LEAST_STABILITY = 0.85
_MOST_OVERLAP = 0.1


def label_cache(
    cache: Path,
    out: Path,
    network: StoredNetwork,
    most: int,
    *,
    seed: int = 0,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Write a cache of unlabelled slices with what a network finds on them; goes on where it ended.

    Slices on which nothing is sure are left out.

    Parameters
    ----------
    cache, out : Path
    network : StoredNetwork
        In floating point.
    most : int
        Slices of each data set, drawn by the seed.
    seed : int
    report : callable
        Told how many slices of how many are done.

    Returns
    -------
    objects : int
        How many were found now.

    Raises
    ------
    DataError
        If `cache` is none, or has no slice without a label.
    """
    drawn = _draw_slices(cache, most, seed)
    encoder = fast_encoder(network.net, Processes(0, 1, torch.device("cpu")))
    story = network.provenance.get("training", "")
    done, total, objects = 0, sum(len(own.slices) for own in drawn.values()), 0
    for case, index in drawn.items():
        target = out / case.path.relative_to(cache)
        if not target.exists():
            objects += _label_case(case, index, target, network.net, encoder, f"by {story}")
        done += len(index.slices)
        report(done, total)
    return objects


def find_objects(
    net: LiteMedSAM, encoder: Encoder, image: Tensor, frame: tuple[int, int], seed: int
) -> list[Float32]:
    """Find what is segmented alike however it is asked for, the surest first.

    Parameters
    ----------
    net : LiteMedSAM
        Decodes.
    encoder : callable
        Images (B, 3, 256, 256) to embeddings (B, 256, 64, 64).
    image : (3, 256, 256) float32 Tensor in [0, 1]
    frame : (height, width)
        What the slice covers of it.
    seed : int
        Of the boxes.

    Returns
    -------
    logits : list of (height, width) float32
        Of masks that hardly overlap.
    """
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        plain, mirrored = encoder(torch.stack([image, _mirror(image, frame[1])])).split(1)
        first, iou = net.segment(plain, _boxes(_first_boxes(rng, frame)))
        likely = [
            mask
            for mask, sure in zip(first[:, : frame[0], : frame[1]] > 0, iou, strict=True)
            if sure > _LEAST_IOU and _fits(mask.numpy())
        ]
        if not likely:
            return []
        again, _ = net.segment(
            plain, _boxes([_around(mask.numpy(), rng, frame) for mask in likely])
        )
        boxes = np.array([_around(mask.numpy(), rng, frame) for mask in likely])
        boxes[:, [0, 2]] = frame[1] - 1 - boxes[:, [2, 0]]
        other = _mirror(net.segment(mirrored, _boxes(boxes))[0], frame[1])
    found = []
    for one, two in zip(again.float(), other.float(), strict=True):
        pair = [logits[: frame[0], : frame[1]].numpy() for logits in (one, two)]
        mean: Float32 = (pair[0] + pair[1]) / 2
        agreement = _iou(pair[0] > 0, pair[1] > 0)
        stability = stability_of(mean)
        if agreement > _LEAST_AGREEMENT and stability > _LEAST_STABILITY and _fits(mean > 0):
            found.append((agreement * stability, mean))
    return _apart([logits for _, logits in sorted(found, key=lambda own: -own[0])])


def paint_label(objects: list[Float32], shape: tuple[int, int]) -> Label:
    """Return the label (height, width) uint8 of a slice from logits of its frame, 1 the surest."""
    label = np.zeros(shape, np.uint8)
    for number, logits in enumerate(objects, start=1):
        large = cv2.resize(logits, shape[::-1], interpolation=cv2.INTER_LINEAR)
        label[(large > 0) & (label == 0)] = number
    return label


def _mirror(maps: Tensor, width: int) -> Tensor:
    """Mirror what a slice of this width covers of maps (..., 256, 256), at the left edge again."""
    mirrored = torch.zeros_like(maps)
    mirrored[..., :width] = maps[..., :width].flip(-1)
    return mirrored


def _boxes(boxes: object) -> Tensor:
    return torch.from_numpy(np.array(boxes, np.float32))


def _first_boxes(rng: np.random.Generator, frame: tuple[int, int]) -> list[tuple[int, ...]]:
    boxes = []
    for _ in range(_TRIES):
        longer = np.exp(rng.uniform(*np.log(_SIDES)))
        sides = longer * np.array([1, rng.uniform(0.5, 1)])[rng.permutation(2)]
        height, width = (min(round(side), most) for side, most in zip(sides, frame, strict=True))
        y, x = (
            int(rng.integers(0, b - a, endpoint=True))
            for a, b in zip((height, width), frame, strict=True)
        )
        boxes.append((x, y, x + width - 1, y + height - 1))
    return boxes


def _fits(mask: Bool) -> bool:
    """Whether a mask is one part, neither a speck nor most of the slice."""
    pixels = int(mask.sum())
    if not _LEAST_PIXELS <= pixels <= _MOST_OF_SLICE * mask.size:
        return False
    parts = cv2.connectedComponentsWithStats(mask.astype(np.uint8))[2]
    return bool(parts[1:, cv2.CC_STAT_AREA].max() > 0.95 * pixels)


def _around(mask: Bool, rng: np.random.Generator, frame: tuple[int, int]) -> list[int]:
    """Return a box around a mask, each side a little loose."""
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    box = (x, y, x + width - 1, y + height - 1)
    most = (frame[1] - 1, frame[0] - 1) * 2
    loose = rng.integers(0, _LOOSE, 4, endpoint=True) * (-1, -1, 1, 1)
    return [int(np.clip(side + by, 0, end)) for side, by, end in zip(box, loose, most, strict=True)]


def _iou(one: Bool, other: Bool) -> float:
    return float((one & other).sum() / max(1, (one | other).sum()))


def _apart(objects: list[Float32]) -> list[Float32]:
    """Leave out those that overlap with a surer one."""
    kept: list[Float32] = []
    for logits in objects:
        mask = logits > 0
        smaller = [min(mask.sum(), (own > 0).sum()) for own in kept]
        overlap = [(mask & (own > 0)).sum() for own in kept]
        if all(both <= _MOST_OVERLAP * least for both, least in zip(overlap, smaller, strict=True)):
            kept.append(logits)
    return kept


def _draw_slices(cache: Path, most: int, seed: int) -> dict[NpzCase, SliceIndex]:
    """Draw unlabelled slices, so many of each data set, by case."""
    rows: dict[str, list[tuple[NpzCase, np.void]]] = {}
    for case in find_cases(cache):
        meta = read_cache_meta(case.path)
        index = read_cached_index(case.path, meta["axes"], meta["min_pixels"])
        rows.setdefault(case.data_set, []).extend(
            (case, row) for row in index.slices if row["count"] == 0
        )
    drawn: dict[NpzCase, list[np.void]] = {}
    for name, own in rows.items():
        for number in seeded_rng(seed, "label", name).permutation(len(own))[:most]:
            case, row = own[number]
            drawn.setdefault(case, []).append(row)
    if not drawn:
        raise DataError(f"{cache}: has no slice without a label. Give the cache of such images.")
    return {case: SliceIndex.of([row.tolist() for row in of], []) for case, of in drawn.items()}


def _label_case(
    case: NpzCase, index: SliceIndex, target: Path, net: LiteMedSAM, encoder: Encoder, story: str
) -> int:
    """Write the slices of a case on which there is something, and return of how many objects."""
    meta = read_cache_meta(case.path)
    rows, objects, slices = [], [], []
    for row in index.slices:
        image, _ = read_cached_slice(case.path, int(row["axis"]), int(row["index"]))
        transform = slice_transform(row)
        frame = torch.from_numpy(prepare_slice(image, transform)[0])
        seed = int(seeded_rng(case.data_set, case.name, *row.tolist()[1:3]).integers(2**32))
        label = paint_label(
            find_objects(net, encoder, frame, transform.frame, seed), image.shape[:2]
        )
        found = [own for own in slice_objects(label) if own[1] >= meta["min_pixels"]]
        if found:
            rows.append((*row.tolist()[:5], len(objects), len(found), *row.tolist()[7:]))
            objects += found
            slices.append((image, label))
    if rows:
        depth = meta.pop("depth")
        write_cached(target, {**meta, "labels": story}, depth, SliceIndex.of(rows, objects), slices)
    return len(objects)
