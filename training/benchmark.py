"""The benchmark: what a user could pick, side by side, and what the models have to reach.

python -m training.benchmark --out DIR [--quick]
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from training.benchmarks.comparison import format_benchmark, run_benchmark
from training.benchmarks.goals import plot_times
from training.console import error_message
from training.errors import ConfigError
from training.files import write_file


def main(
    out: Annotated[Path, typer.Option(help="Folder for benchmark.json, .md and .png.")],
    quick: Annotated[
        bool, typer.Option("--quick", help="The main numbers, in less than two minutes.")
    ] = False,
    force: Annotated[bool, typer.Option(help="Replace the files in OUT.")] = False,
) -> None:
    """Time the models side by side with what else a user could pick.

    PyTorch's LiteMedSAM as the challenge's baseline runs it, Brevitas' QCDQ
    network without the clean-up, NNCF's int8 model (if nncf is installed), and
    the models that come along: by step, instruction set, threads and precision.

    Example: python -m training.benchmark --out benchmark
    """
    with error_message():
        if (out / "benchmark.json").exists() and not force:
            raise ConfigError(f"{out}: holds a benchmark already. Name another folder, or --force.")
        with tempfile.TemporaryDirectory() as folder:
            found = run_benchmark(Path(folder), quick=quick)
        text = format_benchmark(found)
        for name, content in (("json", json.dumps(found, indent=1)), ("md", text)):
            write_file(out / f"benchmark.{name}", content)
        plot_times(out / "benchmark.png", found["native"])
    typer.echo(text)


if __name__ == "__main__":
    typer.run(main)
