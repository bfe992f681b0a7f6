"""How long models take, side by side.

python -m training.latency MODEL [MODEL ...]

Models take turns, so that what else the machine does slows all of them alike; numbers are medians.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from training.console import error_message
from training.evaluation.latency import measure


def main(
    model: Annotated[list[Path], typer.Argument(help="Model directories.")],
    rounds: Annotated[int, typer.Option(min=1, help="Each model has so many turns.")] = 15,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Time encoder and decoder of models, side by side, on 2 threads.

    ONEDNN_MAX_CPU_ISA=AVX2_VNNI in the environment limits the instructions to
    those of a recent laptop.
    """
    with error_message():
        times = measure(model, rounds)
    if as_json:
        typer.echo(json.dumps(times))
        return
    for name, own in times.items():
        typer.echo(f"{name}: " + ", ".join(f"{step} {ms:.1f} ms" for step, ms in own.items()))


if __name__ == "__main__":
    typer.run(main)
