"""`medsamq report`: a page about a label for people, from what lies beside its file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_medsamq.errors import SaveError
from napari_medsamq.label_report import make_report, report_path, write_report
from napari_medsamq.terminal import told_to_user
from napari_medsamq.volume_io import read_volume


def report(
    label: Annotated[Path, typer.Argument(help="A label that this program saved.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The page; beside the label if not given.")
    ] = None,
    image: Annotated[Path | None, typer.Option(help="The image, to show the label on it.")] = None,
    series: Annotated[
        str | None, typer.Option(help="Series UID, for a folder with several series.")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing output file.")] = False,
) -> None:
    """Write a page (HTML) about a label: numbers, how it came about, and pictures."""
    with told_to_user():
        target = report_path(label) if output is None else output
        if target.exists() and not overwrite:
            raise SaveError(f"{target} exists. Choose another name, or add --overwrite.")
        page = make_report(label, None if image is None else read_volume(image, series))
        write_report(target, page, replace=overwrite)
        if page.changed:
            typer.echo(f"Warning: {label} was changed since it was saved.", err=True)
        typer.echo(f"Saved: {target}")
