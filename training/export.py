"""Writes model directories: traced networks as OpenVINO IR, and the `model.json` that vouches.

python -m training.export --checkpoint FILE --out DIR [--name NAME] [--force] [--report]
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
    name: Annotated[str | None, typer.Option(help="Name of the model; default: of DIR.")] = None,
    force: Annotated[bool, typer.Option(help="Replace the model in DIR.")] = False,
    report: Annotated[
        bool, typer.Option("--report", help="Print what runs in 8-bit integers here.")
    ] = False,
) -> None:
    """Export a network, float or quantised, as a model directory."""
    with error_message():
        network = read_start(checkpoint)
        export_network(out, network, name=name or out.resolve().name, force=force)
    typer.echo(out)
    if report:
        for part in ("encoder", "decoder"):
            typer.echo(format_coverage(part, read_coverage(out / f"{part}.xml")))


if __name__ == "__main__":
    typer.run(main)
