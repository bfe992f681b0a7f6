"""Writes model directories: traced networks as OpenVINO IR, and the `model.json` that vouches.

python -m training.export --checkpoint FILE [--carrier FILE] --out DIR [--name NAME] [--force]
    [--report]
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.console import error_message
from training.conversion.int8_coverage import format_coverage, read_coverage
from training.conversion.model_directory import export_network
from training.conversion.restore import read_start


def main(
    out: Annotated[Path, typer.Option(help="Model directory to write; new or empty.")],
    checkpoint: Annotated[
        Path,
        typer.Option(
            help="Float weights, a network file (.pth), or the directory of an int8 model."
        ),
    ],
    carrier: Annotated[
        Path | None,
        typer.Option(
            help="A network file with the same encoder, whose decoder has learnt to carry."
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the model; default: of DIR.")] = None,
    force: Annotated[bool, typer.Option(help="Replace the model in DIR.")] = False,
    report: Annotated[
        bool, typer.Option("--report", help="Print what runs in 8-bit integers here.")
    ] = False,
) -> None:
    """Export a network, float or quantised, as a model directory."""
    with error_message():
        network = read_start(checkpoint)
        carrying = None if carrier is None else read_start(carrier)
        export_network(out, network, carrying, name=name or out.resolve().name, force=force)
    typer.echo(out)
    if report:
        for path in sorted(out.glob("*.xml"), key=lambda own: own.stem != "encoder"):
            typer.echo(format_coverage(path.stem, read_coverage(path)))


if __name__ == "__main__":
    typer.run(main)
