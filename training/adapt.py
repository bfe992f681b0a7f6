"""Teaches a network that comes along by its user's corrected cases, and keeps it where it helps.

python -m training.adapt --benchmark DATA --work FOLDER [--val VAL]
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_medsamq.inference.model_choice import FAST_MODEL, find_model
from training.adaptation.benchmark import run_benchmark, table
from training.adaptation.personal_model import Teaching
from training.console import error_message
from training.learning.processes import asked_to_end, join_processes, keep_memory


def main(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="key=value, in place of what configs/adapt.yaml says."),
    ] = None,
    work: Annotated[Path, typer.Option(help="Folder for what is made on the way.")] = Path("adapt"),
    model: Annotated[
        str, typer.Option(help="Model that is taught: name of one that comes along, or folder.")
    ] = FAST_MODEL,
    minutes: Annotated[
        float, typer.Option(min=0, help="For the training; 0: as many steps as it is set to.")
    ] = 0,
    benchmark: Annotated[
        Path | None,
        typer.Option(help="Test it on these cases instead, each data set divided by patient."),
    ] = None,
    data_set: Annotated[
        list[str] | None, typer.Option(help="Only these sets of the benchmark, as MR/Heart.")
    ] = None,
    val: Annotated[
        Path | None, typer.Option(help="Cases to compare the benchmark's models on as well.")
    ] = None,
) -> None:
    """Teach a network by corrected cases, and keep what came of it only where it is better.

    Example: python -m training.adapt --benchmark cases --val validation
    """
    keep_memory()
    changed = (*(overrides or []), *([f"minutes={minutes}"] if minutes else []))
    with error_message(), join_processes("cpu") as processes, asked_to_end() as ends:
        teaching = Teaching(find_model(model), processes, ends, changed)
        if benchmark is not None:
            rows = run_benchmark(
                benchmark,
                work,
                teaching,
                sets=data_set or (),
                val=val,
                report=lambda row: typer.echo(table([row])),
            )
            typer.echo(table(rows))


if __name__ == "__main__":
    typer.run(main)
