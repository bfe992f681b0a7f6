"""Make the small copy of cases that `data.slice_cache` reads.

python -m training.cache DATA_DIR OUT
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.console import error_message, progress_bar
from training.data.slice_cache import cache_cases
from training.data.slices import (
    AXES,
)


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
