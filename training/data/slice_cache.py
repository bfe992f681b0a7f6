"""A small copy of cases for fast shuffling: each slice as it goes into the 256 px frame.

Slices that the frame shrinks are kept shrunk, smaller ones as they are, both as PNG, so that one
slice is read without the others. Training on the copy gives the same samples as on the cases.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from napari_medsamq.array_types import UInt8
from napari_medsamq.io.medsam_case import read_arrays
from training.data.cases import Arrays, Label, NpzCase, find_cases, read_case
from training.data.slices import (
    SliceIndex,
    cut_axes,
    frame_image,
    frame_label,
    index_case,
    slice_transform,
)
from training.errors import DataError
from training.files import path_sha256, write_file

FORMAT = 1
# What a file of the cache holds besides its slices.
ARRAYS = ("meta", "depth", "slices", "objects")


def cache_cases(
    data_dir: Path,
    out: Path,
    *,
    axes: Sequence[int] = (0,),
    min_pixels: int = 100,
    full: bool = False,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> list[dict[str, Any]]:
    """Write the cache of a folder of cases; what is there and up to date is kept.

    Parameters
    ----------
    data_dir : Path
        Holds <modality>/<data set>/<case>.npz.
    out : Path
        Gets files of the same names, and `cache.json` with the sources' SHA-256.
    axes : sequence of int
        Array axes across which volumes are cut into slices.
    min_pixels : int
        Slices without an object of so many pixels are left out.
    full : bool
        Keep slices that the frame would shrink as they are, for training on parts of them.
    report : callable
        Told how many cases of how many are done.

    Returns
    -------
    cases : list of dict
        What `cache.json` lists: case, sha256, labelled, slices.

    Raises
    ------
    DataError, VolumeError
        If a case cannot be read, or `out` holds other files of these names.
    """
    cases = find_cases(data_dir)
    if out.resolve() == data_dir.resolve():
        raise DataError(f"{out}: holds the cases themselves. Give another folder for the cache.")
    listed = []
    for done, case in enumerate(cases):
        report(done, len(cases))
        target = out / case.path.relative_to(data_dir)
        meta = {
            "format": FORMAT,
            "case": target.relative_to(out).as_posix(),
            "sha256": path_sha256(case.path),
            "axes": list(axes),
            "min_pixels": min_pixels,
            "full": full,
        }
        if not target.exists() or _meta(target, read_arrays(target, *ARRAYS)) != meta:
            _cache_case(case, target, axes, min_pixels, meta)
        listed.append({**meta, "slices": len(read_cached_index(target, axes, min_pixels).slices)})
    text = json.dumps(listed, indent=1) + "\n"
    write_file(out / "cache.json", text)
    report(len(cases), len(cases))
    return listed


def read_cached_index(path: Path, axes: Sequence[int], min_pixels: int) -> SliceIndex:
    """Read which slices a cache file holds.

    Parameters
    ----------
    path : Path
    axes : sequence of int
        Slices across other array axes are left out.
    min_pixels : int
        Objects of fewer pixels are left out.

    Raises
    ------
    DataError
        If the file was made with a larger `min_pixels` or without one of the axes.
    """
    return cached_index(path, read_arrays(path, *ARRAYS), axes, min_pixels)


def cached_index(path: Path, arrays: Arrays, axes: Sequence[int], min_pixels: int) -> SliceIndex:
    """Return what `read_cached_index` does, of arrays that were read."""
    meta = _meta(path, arrays)
    if meta["format"] != FORMAT or meta["min_pixels"] > min_pixels or set(axes) - set(meta["axes"]):
        raise DataError(
            f"{path}: was cached with objects from {meta['min_pixels']} pixels on and axes "
            f"{meta['axes']}; {min_pixels} pixels and axes {list(axes)} are asked for. Make the "
            "cache again in a new folder: python -m training.cache."
        )
    index = SliceIndex(arrays["slices"], arrays["objects"])
    return index.select(cut_axes(int(arrays["depth"]), axes), min_pixels)


def read_cached_slice(path: Path, axis: int, index: int) -> tuple[UInt8, Label | None]:
    """Read the image of a slice from a cache file, and its label if it has one.

    Raises
    ------
    DataError
        If the file is damaged.
    """
    names = f"image_{axis}_{index}", f"label_{axis}_{index}"
    arrays = read_arrays(path, *names)
    image, label = (_decode(path, arrays[name]) if name in arrays else None for name in names)
    if image is None:
        raise DataError(f"{path}: lacks a slice that it lists. Make the cache again.")
    return image, label


def read_cache_meta(path: Path) -> dict[str, Any]:
    """Read what a cache file was made of and how, and the case's `depth`.

    Raises
    ------
    DataError
        If it is no file of a cache.
    """
    arrays = read_arrays(path, "meta", "depth")
    return {**_meta(path, arrays), "depth": int(arrays["depth"])}


def _meta(path: Path, arrays: Arrays) -> dict[str, Any]:
    if "meta" not in arrays:
        raise DataError(f"{path}: is no cache of a case. Give another folder for the cache.")
    meta: dict[str, Any] = json.loads(str(arrays["meta"]))
    return meta


def _cache_case(
    case: NpzCase, target: Path, axes: Sequence[int], min_pixels: int, meta: dict[str, Any]
) -> None:
    content = read_case(case)
    index = index_case(content, axes, min_pixels)

    def framed() -> Iterator[tuple[UInt8, Label | None]]:
        for row in index.slices:
            transform = slice_transform(row)
            pixels = int(row["height"]) * int(row["width"])
            image, ids = content.slice(int(row["axis"]), int(row["index"]))
            if not meta["full"] and transform.frame[0] * transform.frame[1] < pixels:
                image = frame_image(image, transform)
                ids = None if ids is None else frame_label(ids, transform)
            yield image, ids

    write_cached(target, meta, len(content.image), index, framed())


def write_cached(
    path: Path,
    meta: dict[str, Any],
    depth: int,
    index: SliceIndex,
    slices: Iterable[tuple[UInt8, Label | None]],
) -> None:
    """Write a cache file.

    Parameters
    ----------
    path : Path
    meta : dict
        What it was made of and how.
    depth : int
        Of the case, in slices across array axis 0.
    index : SliceIndex
    slices : iterable of (H, W) or (H, W, 3) uint8 and (H, W) label or None
        In the index's order.
    """
    arrays: dict[str, Any] = {
        "meta": np.array(json.dumps(meta)),
        "depth": np.array(depth),
        "slices": index.slices,
        "objects": index.objects,
    }
    for row, (image, ids) in zip(index.slices, slices, strict=True):
        place = f"{row['axis']}_{row['index']}"
        grey = image.ndim == 3 and (image == image[..., :1]).all()
        arrays[f"image_{place}"] = encode_png(image[..., 0] if grey else image)
        if ids is not None:
            arrays[f"label_{place}"] = encode_png(ids)
    packed = io.BytesIO()
    np.savez(packed, **arrays)
    write_file(path, packed.getvalue())


def encode_png(array: npt.NDArray[Any]) -> UInt8:
    """Return an image or a label as a PNG, as small as it gets."""
    _, png = cv2.imencode(".png", np.ascontiguousarray(array), [cv2.IMWRITE_PNG_COMPRESSION, 9])
    return np.asarray(png, np.uint8)


def _decode(path: Path, png: npt.NDArray[Any]) -> Any:
    image = cv2.imdecode(png, cv2.IMREAD_UNCHANGED)
    if image is None:
        raise DataError(f"{path}: a slice in it is damaged. Copy it or make it again.")
    return image
