"""How long models take on this computer, side by side, from one box to a whole case.

Each model has a process of its own, so that instruction sets and memory can be told apart; the
processes take turns step by step, so that what else the computer does slows all of them alike.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from math import isnan, nan
from pathlib import Path
from statistics import median

from napari_medsamq.diagnostics.model_worker import MEMORY
from napari_medsamq.errors import ModelError
from napari_medsamq.inference.backend import CACHE_VARIABLE
from napari_medsamq.inference.model_choice import shipped_models

# What is timed, and in words.
STEPS = {
    "encode": "encode a slice",
    "decode": "decode a box",
    "decode5": "decode 5 boxes in one call",
    "decode16": "decode 16 boxes in one call",
    "image": "a box on a slice, from grey values to mask",
    "case": "a case: read, two organs on 20 slices each, write",
}
LOADS = {"load_cold": "load the model, first time", "load_cached": "load the model, from cache"}
THREADS = 2


@dataclass(frozen=True)
class TimedProgram:
    """What is timed: how a program is started that answers as `model_worker.serve` does.

    Attributes
    ----------
    name : str
    arguments : tuple of str
        Of the Python interpreter.
    environment : mapping of str to str
        What the process sees besides this one's environment.
    """

    name: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


def timed_model(directory: Path, *, threads: int = THREADS, precision: str = "f32") -> TimedProgram:
    """Describe a model directory run by OpenVINO as the plugin runs it."""
    settings = {"threads": threads, "precision": precision}
    module = ("-m", "napari_medsamq.diagnostics.model_worker", json.dumps(settings), str(directory))
    return TimedProgram(directory.resolve().name, module)


class TimedProcess:
    """The process of a row.

    Attributes
    ----------
    load_ms : float
        How long it took to load the model, without the start of Python.
    """

    def __init__(self, row: TimedProgram, environment: Mapping[str, str]) -> None:
        self._row = row
        self._process = subprocess.Popen(
            [sys.executable, *row.arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            env={**environment, **row.environment},
        )
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("both are pipes")
        self._stdin, self._stdout = stdin, stdout
        self.load_ms = self._answer()

    def run(self, step: str) -> float:
        """Run a step once and return its milliseconds, or MB for `memory`."""
        with suppress(BrokenPipeError):  # a process that died gives no answer either
            self._stdin.write(f"{step}\n")
            self._stdin.flush()
        return self._answer()

    def close(self) -> None:
        """End the process."""
        with suppress(BrokenPipeError):
            self._stdin.close()
        self._stdout.close()
        self._process.wait()

    def _answer(self) -> float:
        line = self._stdout.readline()
        answer = json.loads(line) if line else {"error": "its process died"}
        if "error" in answer:
            raise ModelError(f"{self._row.name} cannot be timed: {answer['error']}")
        return float(answer["value"])


def measure(
    rows: Sequence[TimedProgram],
    rounds: Mapping[str, int],
    environment: Mapping[str, str],
    report: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, dict[str, float]]:
    """Time the steps of rows, in turns.

    Parameters
    ----------
    rows : sequence of TimedProgram
    rounds : mapping of str to int
        How often each step is run, after one run to warm up.
    environment : mapping of str to str
        Of the processes.
    report : callable
        Told how many runs of how many are done.

    Returns
    -------
    times : dict
        Program -> step -> median of the milliseconds; `memory` is the most that these steps took,
        in MB.

    Raises
    ------
    ModelError
        If a model cannot be loaded or run.
    """
    found: dict[str, dict[str, list[float]]] = {row.name: {} for row in rows}
    total = len(rows) * sum(rounds.values())
    with ExitStack() as stack:
        workers = {
            row.name: stack.enter_context(closing(TimedProcess(row, environment))) for row in rows
        }
        done = 0
        for step, count in rounds.items():
            for turn in range(count + 1):
                for name, worker in workers.items():
                    # A whole case warms up by its first slice; to run it twice takes minutes.
                    ms = worker.run("image" if step == "case" and turn == 0 else step)
                    if turn:
                        found[name].setdefault(step, []).append(ms)
                        done += 1
                        report(done, total)
        memory = {name: worker.run(MEMORY) for name, worker in workers.items()}
    return {
        name: {**{step: median(values) for step, values in own.items()}, MEMORY: memory[name]}
        for name, own in found.items()
    }


def measure_loads(
    rows: Sequence[TimedProgram], rounds: int, environment: Mapping[str, str]
) -> dict[str, dict[str, float]]:
    """Time how long rows take to load, the first time and with OpenVINO's cache.

    Parameters
    ----------
    rows, environment
        As in `measure`.
    rounds : int

    Returns
    -------
    times : dict
        Program -> `load_cold` and `load_cached` -> median of the milliseconds.
    """
    found: dict[str, dict[str, list[float]]] = {row.name: {} for row in rows}
    for _ in range(rounds):
        for row in rows:
            with tempfile.TemporaryDirectory() as cache:
                for load in LOADS:
                    worker = TimedProcess(row, {**environment, CACHE_VARIABLE: cache})
                    worker.close()
                    found[row.name].setdefault(load, []).append(worker.load_ms)
    return {
        name: {load: median(values) for load, values in own.items()} for name, own in found.items()
    }


def time_models(
    directories: Sequence[Path], *, threads: int = THREADS, rounds: int = 7, quick: bool = False
) -> dict[str, dict[str, float]]:
    """Time model directories, in turns.

    Parameters
    ----------
    directories : sequence of Path
        All models that come along if empty.
    threads, rounds : int
    quick : bool
        Encoding and decoding alone.

    Returns
    -------
    times : dict
        As in `measure` and `measure_loads`.

    Raises
    ------
    ModelError
        If a model cannot be loaded or run.
    """
    chosen = [path.resolve() for path in directories or shipped_models()]
    if len({path.name for path in chosen}) < len(chosen):
        raise ModelError(
            "Two of the model directories have the same name, which is what their times are listed "
            "by. Rename one."
        )
    rows = [timed_model(directory, threads=threads) for directory in chosen]
    if quick:
        return measure(rows, {"encode": rounds, "decode": rounds}, os.environ)
    steps = {step: rounds if step != "case" else min(rounds, 3) for step in STEPS}
    times, loads = measure(rows, steps, os.environ), measure_loads(rows, 3, os.environ)
    return {name: {**times[name], **loads[name]} for name in times}


def format_times(times: Mapping[str, Mapping[str, float]]) -> str:
    """Lay out times as a Markdown table: a line for each step, ratios to the first row."""
    names = list(times)
    lines = [
        f"| ms (and times as fast as {names[0]}) | " + " | ".join(names) + " |",
        "|---|" + "---|" * len(names),
    ]
    for step, words in {**STEPS, **LOADS, MEMORY: "memory, MB"}.items():
        if any(step in own for own in times.values()):
            cells = [_cell(times[name], times[names[0]], step) for name in names]
            lines.append(f"| {words} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(own: Mapping[str, float], first: Mapping[str, float], step: str) -> str:
    value = own.get(step, nan)
    if isnan(value):
        return ""
    text = f"{value:.1f}" if value < 100 else f"{value:.0f}"
    if own is first or step not in first or step == MEMORY:
        return text
    return f"{text} ({first[step] / value:.1f})"
