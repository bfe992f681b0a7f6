"""A small copy of cases for fast shuffling: each slice as it goes into the 256 px frame.

python -m training.cache DATA_DIR OUT

Slices that the frame shrinks are kept shrunk, smaller ones as they are, both as PNG, so that one
slice is read without the others. Training on the copy gives the same samples as on the cases.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import numpy.typing as npt
import typer

from napari_medsamq.array_types import UInt8
from training.console import error_message, progress_bar
from training.data.cases import Label, open_npz, read_case
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
from training.evaluation.protocol import Case, find_cases
from training.files import path_sha256, replace_file

FORMAT = 1


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
        if not target.exists() or _meta(target) != meta:
            _cache_case(case, target, axes, min_pixels, meta)
        listed.append({**meta, "slices": len(read_cached_index(target, axes, min_pixels).slices)})
    text = json.dumps(listed, indent=1) + "\n"
    replace_file(out / "cache.json", lambda path: path.write_text(text, encoding="utf-8"))
    report(len(cases), len(cases))
    return listed


def is_cached(path: Path) -> bool:
    """Tell whether an .npz file was written by `cache_cases` rather than being a case."""
    with open_npz(path) as arrays:
        return "meta" in arrays


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
    meta = _meta(path)
    if meta["format"] != FORMAT or meta["min_pixels"] > min_pixels or set(axes) - set(meta["axes"]):
        raise DataError(
            f"{path}: was cached with objects from {meta['min_pixels']} pixels on and axes "
            f"{meta['axes']}; {min_pixels} pixels and axes {list(axes)} are asked for. Make the "
            "cache again in a new folder: python -m training.cache."
        )
    with open_npz(path) as arrays:
        index, depth = SliceIndex(arrays["slices"], arrays["objects"]), int(arrays["depth"])
    return index.select(cut_axes(depth, axes), min_pixels)


def read_cached_slice(path: Path, axis: int, index: int) -> tuple[UInt8, Label | None]:
    """Read the image of a slice from a cache file, and its label if it has one.

    Raises
    ------
    DataError
        If the file is damaged.
    """
    place = f"{axis}_{index}"
    with open_npz(path) as arrays:
        image = _decode(arrays[f"image_{place}"])
        labelled = f"label_{place}" in arrays
        return image, _decode(arrays[f"label_{place}"]) if labelled else None


def _meta(path: Path) -> dict[str, Any]:
    with open_npz(path) as arrays:
        if "meta" not in arrays:
            raise DataError(f"{path}: is no cache of a case. Give another folder for the cache.")
        meta: dict[str, Any] = json.loads(str(arrays["meta"]))
    return meta


def _cache_case(
    case: Case, target: Path, axes: Sequence[int], min_pixels: int, meta: dict[str, Any]
) -> None:
    volume, label = read_case(case)
    index = index_volume(volume, label, axes).select(cut_axes(len(volume.data), axes), min_pixels)
    arrays: dict[str, Any] = {
        "meta": np.array(json.dumps(meta)),
        "depth": np.array(len(volume.data)),
        "slices": index.slices,
        "objects": index.objects,
    }
    for row in index.slices:
        transform = slice_transform(row)
        axis, position = int(row["axis"]), int(row["index"])
        pixels = int(row["height"]) * int(row["width"])
        shrinks = not meta["full"] and transform.frame[0] * transform.frame[1] < pixels
        image = volume.slice(axis, position)
        if image.ndim == 3 and (image == image[..., :1]).all():
            image = image[..., 0]
        arrays[f"image_{axis}_{position}"] = _encode(
            frame_image(image, transform) if shrinks else image
        )
        if label is not None:
            ids = np.moveaxis(label, axis, 0)[position]
            arrays[f"label_{axis}_{position}"] = _encode(
                frame_label(ids, transform) if shrinks else ids
            )
    replace_file(target, lambda path: _save(path, arrays))


def _save(path: Path, arrays: dict[str, Any]) -> None:
    with path.open("wb") as file:
        np.savez(file, **arrays)


def _encode(array: npt.NDArray[Any]) -> UInt8:
    _, png = cv2.imencode(".png", np.ascontiguousarray(array), [cv2.IMWRITE_PNG_COMPRESSION, 9])
    return np.asarray(png, np.uint8)


def _decode(png: npt.NDArray[Any]) -> Any:
    image = cv2.imdecode(png, cv2.IMREAD_UNCHANGED)
    if image is None:
        raise ValueError("a slice in it is damaged")
    return image


def main(
    data_dir: Annotated[Path, typer.Argument(help="Folder of <modality>/<data set>/<case>.npz.")],
    out: Annotated[Path, typer.Argument(help="Folder for the cache.")],
    axes: Annotated[
        str, typer.Option(help="How volumes are cut: axial, coronal, sagittal, joined by commas.")
    ] = "axial",
    min_pixels: Annotated[
        int, typer.Option(min=1, help="Leave out slices without an object of so many pixels.")
    ] = 100,
    full: Annotated[
        bool, typer.Option("--full", help="Keep large slices large, for training on crops.")
    ] = False,
) -> None:
    """Copy cases into a small cache of slices, for fast training anywhere.

    Give OUT to the training as a folder of `data` in place of DATA_DIR. Run
    the same command again after a break, or after cases were added or
    changed: what is up to date stays.

    Example: python -m training.cache cases cases-256
    """
    unknown = sorted(set(axes.split(",")) - set(AXES))
    if unknown:
        raise typer.BadParameter(f"there is no axis {', '.join(unknown)}; use {', '.join(AXES)}")
    with error_message(), progress_bar("cases") as report:
        listed = cache_cases(
            data_dir,
            out,
            axes=[AXES[axis] for axis in axes.split(",")],
            min_pixels=min_pixels,
            full=full,
            report=report,
        )
    size = sum(path.stat().st_size for path in out.rglob("*.npz")) / 1e6
    slices = sum(case["slices"] for case in listed)
    typer.echo(f"{out}: {slices} slices of {len(listed)} cases, {size:.1f} MB")


if __name__ == "__main__":
    typer.run(main)
