"""A part of a cache that is small enough to take to a GPU elsewhere.

Each data set gets as much of the size as the others, and what it does not need goes to them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from napari_medsamq.array_types import UInt8
from training.data.cases import Label, NpzCase, find_cases, seeded_rng
from training.data.slice_cache import (
    encode_png,
    read_cache_meta,
    read_cached_index,
    read_cached_slice,
    write_cached,
)
from training.data.slices import SliceIndex, resize_label, slice_objects
from training.errors import DataError

# What a file takes beside its slices, and each slice beside its pictures.
_FILE_BYTES, _SLICE_BYTES = 2000, 700


@dataclass
class _Packed:
    """What is taken of a case."""

    rows: list[tuple[Any, ...]] = field(default_factory=list)
    objects: list[tuple[int, ...]] = field(default_factory=list)
    slices: list[tuple[UInt8, Label | None]] = field(default_factory=list)


def pack_cache(
    cache: Path,
    out: Path,
    megabytes: float,
    *,
    side: int = 320,
    seed: int = 0,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Write a cache of some of the slices of another one, shrunk where they are large.

    Parameters
    ----------
    cache, out : Path
    megabytes : float
        Of all files together, 10^6 bytes each, at most.
    side : int
        To which the longer side of a slice is shrunk.
    seed : int
        Of the slices that are taken.
    report : callable
        Told how many data sets of how many are done.

    Returns
    -------
    slices : int
        How many were taken.

    Raises
    ------
    DataError
        If `cache` is none, or `out` is not empty.
    """
    if out.exists() and any(out.iterdir()):
        raise DataError(f"{out}: holds something already. Give a new folder for the packed cache.")
    sets: dict[str, list[NpzCase]] = {}
    for case in find_cases(cache):
        sets.setdefault(case.data_set, []).append(case)
    # The smallest ones first, so that what they leave is known.
    order = sorted(sets, key=lambda name: sum(case.path.stat().st_size for case in sets[name]))
    left, taken = megabytes * 1e6, 0
    for done, name in enumerate(order):
        packed, used = _draw(sets[name], left / (len(order) - done), side, seed)
        left -= used
        for case, own in packed.items():
            meta = read_cache_meta(case.path)
            depth = meta.pop("depth")
            index = SliceIndex.of(own.rows, own.objects)
            target = out / case.path.relative_to(cache)
            write_cached(target, {**meta, "side": side}, depth, index, own.slices)
            taken += len(own.rows)
        report(done + 1, len(order))
    return taken


def _draw(
    cases: list[NpzCase], budget: float, side: int, seed: int
) -> tuple[dict[NpzCase, _Packed], float]:
    """Take slices of a data set, as many as the bytes allow; returns how many bytes they need."""
    places = []
    for case in cases:
        meta = read_cache_meta(case.path)
        index = read_cached_index(case.path, meta["axes"], meta["min_pixels"])
        places += [(case, row, meta["min_pixels"]) for row in index.slices]
    packed: dict[NpzCase, _Packed] = {}
    used = 0.0
    for number in seeded_rng(seed, "pack", cases[0].data_set).permutation(len(places)):
        case, row, least = places[number]
        image, ids = read_cached_slice(case.path, int(row["axis"]), int(row["index"]))
        image, ids, pixel_size = _shrunk(image, ids, row, side)
        objects = [] if ids is None else [own for own in slice_objects(ids) if own[1] >= least]
        if ids is not None and not objects:
            continue
        pictures = [image, *([] if ids is None else [ids])]
        size = _SLICE_BYTES + sum(encode_png(picture).nbytes for picture in pictures)
        size += 0 if case in packed else _FILE_BYTES
        if used + size > budget:
            continue
        used += size
        own = packed.setdefault(case, _Packed())
        place = (0, int(row["axis"]), int(row["index"]), *image.shape[:2])
        own.rows.append((*place, len(own.objects), len(objects), *pixel_size))
        own.objects += objects
        own.slices.append((image, ids))
    return packed, used


def _shrunk(
    image: UInt8, ids: Label | None, row: np.void, side: int
) -> tuple[UInt8, Label | None, tuple[float, float]]:
    """Return a slice, its label and its pixel size, at most so long."""
    height, width = shape = image.shape[:2]
    share = min(1.0, side / max(shape))
    size = max(1, round(height * share)), max(1, round(width * share))
    pixel_size = (
        float(row["row_mm"]) * int(row["height"]) / size[0],
        float(row["column_mm"]) * int(row["width"]) / size[1],
    )
    if size == shape:
        return image, ids, pixel_size
    small: UInt8 = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA).astype(np.uint8)
    return small, None if ids is None else resize_label(ids, size), pixel_size
