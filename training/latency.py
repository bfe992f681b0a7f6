"""How long models take, side by side, and what that and their size have to be.

python -m training.latency MODEL [MODEL ...]

Models take turns, so that what else the machine does slows all of them alike; numbers are medians.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Annotated

import numpy as np
import typer

from napari_medsamq.diagnostics.model_benchmark import THREADS
from napari_medsamq.errors import ModelError
from napari_medsamq.inference.engine import OpenVINOEngine, box_points
from training.console import error_message

# oneDNN's name for what a recent laptop has; read when OpenVINO is loaded.
ISA_VARIABLE = "ONEDNN_MAX_CPU_ISA"
LAPTOP = "AVX2_VNNI"

# Milliseconds by model, then by step.
Times = dict[str, dict[str, float]]


def measure(directories: Sequence[Path], rounds: int) -> Times:
    """Time the steps of models in this process.

    Parameters
    ----------
    directories : sequence of Path
        Model directories.
    rounds : int

    Returns
    -------
    times : dict
        Model directory's name -> `encode`, `decode` (one box), `decode5` (five boxes in one
        call), `5decode` (five calls): medians in ms, on 2 threads.
    """
    rng = np.random.default_rng(0)
    image = rng.random((1, 3, 256, 256), np.float32)
    boxes = np.array([[60, 60, 90 + 20 * i, 100 + 15 * i] for i in range(5)])
    steps: dict[str, dict[str, Callable[[], object]]] = {}
    for directory in directories:
        engine = OpenVINOEngine(directory, threads=THREADS)
        steps[directory.resolve().name] = _steps(engine, image, boxes)
    found: dict[str, dict[str, list[float]]] = {
        name: {step: [] for step in own} for name, own in steps.items()
    }
    for number in range(rounds + 1):
        for name, own in steps.items():
            for step, run in own.items():
                start = time.perf_counter()
                run()
                if number:  # the first round warms up
                    found[name][step].append((time.perf_counter() - start) * 1000)
    return {
        name: {step: median(values) for step, values in own.items()} for name, own in found.items()
    }


def _steps(
    engine: OpenVINOEngine, image: np.ndarray, boxes: np.ndarray
) -> dict[str, Callable[[], object]]:
    embedding = engine.encode(image)
    one, five = box_points(boxes[:1]), box_points(boxes)
    singles = [box_points(box) for box in boxes]
    return {
        "encode": lambda: engine.encode(image),
        "decode": lambda: engine.decode(embedding, *one),
        "decode5": lambda: engine.decode(embedding, *five),
        "5decode": lambda: [engine.decode(embedding, *single) for single in singles],
    }


def measure_apart(directories: Sequence[Path], rounds: int, isa: str | None = None) -> Times:
    """Time models in a process of their own, limited to an instruction set if one is named.

    Raises
    ------
    ModelError
        If that process fails.
    """
    command = [sys.executable, "-m", "training.latency", "--json", "--rounds", str(rounds)]
    environment = {**os.environ, **({ISA_VARIABLE: isa} if isa else {})}
    done = subprocess.run(
        [*command, *map(str, directories)],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        env=environment,
        check=False,
    )
    if done.returncode != 0:
        reason = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        raise ModelError(f"The models could not be timed: {reason[0]}")
    times: Times = json.loads(done.stdout)
    return times


def goals(
    model: str,
    reference: str,
    native: Mapping[str, Mapping[str, float]],
    laptop: Mapping[str, Mapping[str, float]],
    megabytes: float,
) -> list[tuple[str, float, float]]:
    """Return what a quantised model has to reach in time and size: name, value, at most."""
    own, other, limited = native[model], native[reference], laptop
    return [
        ("encoder, int8 / FP32", own["encode"] / other["encode"], 0.50),
        (
            f"encoder, int8 / FP32, {LAPTOP}",
            limited[model]["encode"] / limited[reference]["encode"],
            0.65,
        ),
        ("decoder, one box, int8 / FP32", own["decode"] / other["decode"], 0.70),
        ("decoder, five boxes in one call / five calls", own["decode5"] / own["5decode"], 0.85),
        ("encoder and decoder IR, MB", megabytes, 16.0),
    ]


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
