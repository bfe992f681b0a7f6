"""How long models take, side by side, and what that and their size have to be.

Models take turns, so that what else the machine does slows all of them alike.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import TypeVar

import numpy as np

from napari_medsamq.diagnostics import model_benchmark
from napari_medsamq.diagnostics.model_benchmark import THREADS
from napari_medsamq.inference.engine import OpenVINOEngine, box_points

# oneDNN's name for what a recent laptop has; read when OpenVINO is loaded.
ISA_VARIABLE = "ONEDNN_MAX_CPU_ISA"
LAPTOP = "AVX2_VNNI"
# Milliseconds by model, then by step.
Times = dict[str, dict[str, float]]
Key = TypeVar("Key", bound=Hashable)


def time_in_turns(runs: Mapping[Key, Callable[[], object]], rounds: int) -> dict[Key, list[float]]:
    """Return the milliseconds of each run in each round, after one round to warm up."""
    found: dict[Key, list[float]] = {key: [] for key in runs}
    for number in range(rounds + 1):
        for key, run in runs.items():
            start = time.perf_counter()
            run()
            if number:
                found[key].append((time.perf_counter() - start) * 1000)
    return found


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
        Model directory's name -> `encode`, `decode` (one box), `decode5` (five boxes in one call):
        medians in ms, on 2 threads.
    """
    runs: dict[tuple[str, str], Callable[[], object]] = {}
    for directory in directories:
        for step, run in _steps(OpenVINOEngine(directory, threads=THREADS)).items():
            runs[directory.resolve().name, step] = run
    times: Times = {}
    for (name, step), values in time_in_turns(runs, rounds).items():
        times.setdefault(name, {})[step] = median(values)
    return times


def _steps(engine: OpenVINOEngine) -> dict[str, Callable[[], object]]:
    image = np.random.default_rng(0).random((1, 3, 256, 256), np.float32)
    boxes = np.array([[60, 60, 90 + 20 * i, 100 + 15 * i] for i in range(5)])
    embedding, one, five = engine.encode(image), box_points(boxes[:1]), box_points(boxes)
    return {
        "encode": lambda: engine.encode(image),
        "decode": lambda: engine.decode(embedding, *one),
        "decode5": lambda: engine.decode(embedding, *five),
    }


def measure_apart(directories: Sequence[Path], rounds: int, isa: str | None = None) -> Times:
    """Time models in processes of their own, limited to an instruction set if one is named.

    Raises
    ------
    ModelError
        If such a process fails.
    """
    environment = {**os.environ, **({ISA_VARIABLE: isa} if isa else {})}
    steps = dict.fromkeys(("encode", "decode", "decode5"), rounds)
    return model_benchmark.measure(
        [model_benchmark.timed_model(path) for path in directories], steps, environment
    )


def goals(
    model: str,
    reference: str,
    native: Mapping[str, Mapping[str, float]],
    laptop: Mapping[str, Mapping[str, float]],
    megabytes: float,
) -> list[tuple[str, float, float]]:
    """Return what a quantised model has to reach in time and size: name, value, at most."""
    own, other = native[model], native[reference]
    return [
        ("encoder, int8 / FP32", own["encode"] / other["encode"], 0.50),
        (
            f"encoder, int8 / FP32, {LAPTOP}",
            laptop[model]["encode"] / laptop[reference]["encode"],
            0.65,
        ),
        ("decoder, one box, int8 / FP32", own["decode"] / other["decode"], 0.70),
        ("decoder, five boxes in one call / five calls", own["decode5"] / own["decode"] / 5, 0.85),
        ("encoder and decoder IR, MB", megabytes, 16.0),
    ]
