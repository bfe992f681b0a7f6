"""Images with labels to the cases that training and evaluation take.

python -m training.prepare OUT --table cases.csv
python -m training.prepare OUT --images DIR --labels DIR --modality CT --dataset NAME
"""

from __future__ import annotations

import itertools
import os
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from training.console import error_message, progress_bar
from training.data.config import MODALITIES
from training.data.convert import Limits
from training.data.pairing import PairDefaults, ScanPair, pair_folders, read_table
from training.data.preparation import Record, prepare_cases
from training.errors import DataError

_FOLDERS = "Folders that are paired by name"
_RULES = "What the cases become"


def main(
    out: Annotated[
        Path, typer.Argument(help="Folder for the cases: OUT/<modality>/<data set>/<case>.npz.")
    ],
    table: Annotated[
        Path | None,
        typer.Option(
            help="CSV or TSV with the columns image and label (paths from the table's folder) and, "
            "if need be, modality, dataset, case, window, components; empty cells take the options."
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(help="Images: files, or a DICOM folder each.", rich_help_panel=_FOLDERS),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Labels of the same names.", rich_help_panel=_FOLDERS)
    ] = None,
    image_suffix: Annotated[
        str, typer.Option(help="Left out of image names, e.g. _0000.", rich_help_panel=_FOLDERS)
    ] = "",
    label_suffix: Annotated[
        str, typer.Option(help="Left out of label names, e.g. _seg.", rich_help_panel=_FOLDERS)
    ] = "",
    modality: Annotated[
        str, typer.Option(help=f"One of {', '.join(MODALITIES)}.", rich_help_panel=_RULES)
    ] = "",
    dataset: Annotated[
        str, typer.Option(help="Name of the data set.", rich_help_panel=_RULES)
    ] = "",
    window: Annotated[
        str,
        typer.Option(
            help="Level/width, e.g. -600/1500 HU. Default: 40/400 HU for CT, else from the 0.5th "
            "to the 99.5th percentile of the non-zero voxels; 8-bit pictures stay as they are.",
            rich_help_panel=_RULES,
        ),
    ] = "",
    components: Annotated[
        str,
        typer.Option(
            help="Label ids whose connected components become objects of their own, such as "
            "'2 3' for tumours, or 'all'. Default: none.",
            rich_help_panel=_RULES,
        ),
    ] = "",
    min_voxels: Annotated[
        int,
        typer.Option(min=0, help="Remove smaller components from volumes.", rich_help_panel=_RULES),
    ] = Limits.min_voxels,
    min_pixels: Annotated[
        int,
        typer.Option(min=0, help="Remove smaller components from slices.", rich_help_panel=_RULES),
    ] = Limits.min_pixels,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Cases made at a time. Default: one per CPU core.")
    ] = None,
) -> None:
    """Make training cases of images with labels.

    Images and labels are NIfTI, NRRD, MetaImage, DICOM, PNG, JPEG or TIFF.
    A label has to lie on its image's grid; axis order and format may differ.
    A mask picture may be grey or coloured, each value being an object.
    Slices beyond the first and last labelled one are cut off.

    Run the same command again after a break, or after files were added or
    changed: what is up to date stays. OUT/manifest.jsonl lists all cases with
    the SHA-256 of what they were made of. A case that fails is reported, and
    the others go on; the exit status is then 1.

    Example: python -m training.prepare cases --images CT --labels GT
    --label-suffix _seg --modality CT --dataset Liver
    """
    defaults = PairDefaults(modality, dataset, window, components)
    with error_message():
        pairs, alone = _find_pairs(table, images, labels, image_suffix, label_suffix, defaults)
        records = _prepare(
            pairs, out, Limits(min_voxels, min_pixels), workers or os.cpu_count() or 1
        )
    failed = [record for record in records if record["status"] == "failed"]
    for record in failed:
        typer.echo(f"Failed: {record['case']}: {record['reason']}", err=True)
    for name in alone:
        typer.echo(f"Left out: {name} is in one of the two folders only.", err=True)
    count = Counter(record["status"] for record in records)
    typer.echo(
        f"{out}: {count['done']} cases made, {count['kept']} were up to date, "
        f"{count['failed']} failed"
    )
    if failed or alone:
        raise typer.Exit(1)


def _find_pairs(
    table: Path | None,
    images: Path | None,
    labels: Path | None,
    image_suffix: str,
    label_suffix: str,
    defaults: PairDefaults,
) -> tuple[list[ScanPair], list[str]]:
    if table is not None and images is None and labels is None:
        return read_table(table, defaults), []
    if table is None and images is not None and labels is not None:
        return pair_folders(
            images, labels, defaults, image_suffix=image_suffix, label_suffix=label_suffix
        )
    raise DataError("Give either --table, or --images and --labels.")


def _prepare(pairs: list[ScanPair], out: Path, limits: Limits, workers: int) -> list[Record]:
    done = itertools.count(1)
    with progress_bar("cases") as report:
        return prepare_cases(
            pairs,
            out,
            limits=limits,
            workers=workers,
            report=lambda _: report(next(done), len(pairs)),
        )


if __name__ == "__main__":
    typer.run(main)
