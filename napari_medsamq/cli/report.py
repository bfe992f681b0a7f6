"""`medsamq report`: a page about a label for people, from what lies beside its file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_medsamq.cli.common import Resample, Series, VolumeNumber, say, user_errors
from napari_medsamq.errors import SaveError
from napari_medsamq.io.volume import read_volume
from napari_medsamq.records.report import make_report, report_path, write_report
from napari_medsamq.workflows.labels import check_new


def report(
    label: Annotated[Path, typer.Argument(help="A label that this program saved.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="The page, .html; beside the label if not given."),
    ] = None,
    image: Annotated[Path | None, typer.Option(help="The image, to show the label on it.")] = None,
    series: Series = None,
    volume_number: VolumeNumber = None,
    resample: Resample = False,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing output file.")] = False,
) -> None:
    """Write a page (HTML) about a label: numbers, how it came about, and pictures."""
    with user_errors():
        target = report_path(label) if output is None else output
        # So that it takes the place of no image, or of a part of one.
        if target.suffix.lower() not in (".html", ".htm"):
            raise SaveError(f"{target}: a report is a page. Choose a name that ends in .html.")
        check_new(target, overwrite)
        drawn_on = (
            None
            if image is None
            else read_volume(image, series=series, volume=volume_number, resample=resample)
        )
        page = make_report(label, drawn_on)
        read = (label,) if image is None else (label, image)
        if target.exists() and any(target.samefile(own) for own in read):
            raise SaveError(
                f"{target} is what the report is about and stays as it is. Choose another name."
            )
        write_report(target, page, replace=overwrite)
        if page.changed:
            say(f"Warning: {label} was changed since it was saved.", warning=True)
        say(f"Saved: {target}")
