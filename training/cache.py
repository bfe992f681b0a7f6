"""Make the small copy of cases that `data.slice_cache` reads.

python -m training.cache DATA_DIR OUT
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.checkpoints.network_file import in_floating_point
from training.console import error_message, progress_bar
from training.conversion.restore import read_start
from training.data.packed_cache import pack_cache
from training.data.slice_cache import cache_cases
from training.data.slices import AXES
from training.learning.pseudo_labels import label_cache


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
    pack: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            help="Take of the cache DATA_DIR what fits into so many megabytes, slices of at most "
            "320 pixels a side, as much of each data set. Its axes and sizes of objects stay.",
        ),
    ] = None,
    teacher: Annotated[
        Path | None,
        typer.Option(
            help="Of the cache DATA_DIR, take slices without a label, and label them by this "
            "network file or int8 model directory, where it finds the same object however it is "
            "asked."
        ),
    ] = None,
    slices: Annotated[
        int, typer.Option(min=1, help="How many of each data set the teacher labels, at most.")
    ] = 20,
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
    if pack is not None and teacher is not None:
        raise typer.BadParameter("--pack and --teacher are two steps, the teacher's the first")
    if teacher is not None:
        with error_message(), progress_bar("slices") as report:
            network = in_floating_point(read_start(teacher))
            objects = label_cache(data_dir, out, network, slices, report=report)
        typer.echo(f"{out}: {objects} objects, {_megabytes(out):.1f} MB")
        return
    if pack is not None:
        with error_message(), progress_bar("data sets") as report:
            taken = pack_cache(data_dir, out, pack, report=report)
        typer.echo(f"{out}: {taken} slices, {_megabytes(out):.1f} MB")
        return
    with error_message(), progress_bar("cases") as report:
        listed = cache_cases(
            data_dir,
            out,
            axes=[AXES[axis] for axis in axes.split(",")],
            min_pixels=min_pixels,
            full=full,
            report=report,
        )
    count = sum(case["slices"] for case in listed)
    typer.echo(f"{out}: {count} slices of {len(listed)} cases, {_megabytes(out):.1f} MB")


def _megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*.npz")) / 1e6


if __name__ == "__main__":
    typer.run(main)
