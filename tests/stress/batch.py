"""Cohorts: speed on two workers, memory over many cases, and kills at random moments."""

from __future__ import annotations

import csv
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Annotated

import cv2
import nibabel as nib
import numpy as np
import psutil
import typer

from napari_medsamq.cohort.case_runner import CaseRunner, Task, describe_program
from napari_medsamq.cohort.results import file_hash, opened
from napari_medsamq.cohort.table import TableDefaults, read_table

COMMAND = [sys.executable, "-c", "from napari_medsamq.cli.main import app; app()", "batch"]
SMALL, LARGE = (40, 44, 10), (160, 176, 24)
LEAST_SHARE, MOST_GROWTH = 0.85, 1.2
WARM = 4  # cases before speed is counted
SETTLED = 50  # cases after which memory may not grow much
LONGEST_S = 3.0
LIMIT_S = 3600

Row = tuple[str, float, str, bool]


def batch(
    count: Annotated[int, typer.Option(min=60, help="Cases for the memory of workers.")] = 1000,
    timed: Annotated[int, typer.Option(min=12, help="Cases in each round of speed.")] = 32,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of speed; medians count.")] = 3,
    kills: Annotated[int, typer.Option(min=1, help="How often a batch is killed.")] = 20,
    seed: Annotated[int, typer.Option(help="Of the moments.")] = 0,
) -> None:
    """Run cohorts on two workers: speed, memory, and kill -9.

    Example: python -m tests.stress batch
    """
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        rows += _speed(Path(folder), timed, rounds)
    with tempfile.TemporaryDirectory() as folder:
        rows += _memory(Path(folder), count)
    with tempfile.TemporaryDirectory() as folder:
        rows += _kills(Path(folder), kills, random.Random(seed))
    for name, value, goal, met in rows:
        typer.echo(f"{name:66} {value:9.3f}   goal {goal:8} {'met' if met else 'MISSED'}")
    if not all(met for *_, met in rows):
        raise typer.Exit(1)


def make_table(folder: Path, count: int, shape: tuple[int, int, int]) -> Path:
    """Write images with a bright cylinder each, and their table."""
    folder.mkdir(parents=True, exist_ok=True)
    i, j = np.mgrid[: shape[0], : shape[1]]
    radius, lines = shape[0] // 5, ["image,boxes,modality"]
    for number in range(count):
        draw = np.random.default_rng(number)
        voxels = draw.normal(-100, 10, shape).astype(np.int16)
        x, y = draw.integers(shape[0] * 2 // 5, shape[0] * 3 // 5, 2)
        voxels[(i - x) ** 2 + (j - y) ** 2 < radius**2, 2:-2] = 60
        name = f"image{number:05}.nii.gz"
        nib.save(nib.Nifti1Image(voxels, np.diag([-2.0, -2, 3, 1])), folder / name)
        reach = radius + 1
        box = [x - reach, y - reach, 2, x + reach, y + reach, shape[2] - 3]
        lines.append(f'{name},"{",".join(map(str, box))}",ct')
    table = folder / "table.csv"
    table.write_text("\n".join(lines) + "\n")
    return table


def alone(table: str, output: str, part: int, parts: int) -> None:
    """Run every n-th case one after the other with one thread, without Dask."""
    cases, _ = read_table(Path(table), TableDefaults())
    runner = CaseRunner()
    with opened(Path(output)) as token:
        for case in cases[part::parts]:
            program = describe_program()
            outcome = runner.run(Task(case, Path(output), token, program, "CPU", 1))
            if outcome.error:
                raise RuntimeError(outcome.error)


def _speed(folder: Path, count: int, rounds: int) -> list[Row]:
    table = make_table(folder / "in", count, LARGE)
    rates: dict[str, list[float]] = {"alone": [], "dask": []}
    for number in range(rounds):
        outputs = [folder / f"alone{number}-{part}" for part in (0, 1)]
        program = "import sys; from tests.stress.batch import alone; "
        running = []
        for part, output in enumerate(outputs):
            call = f"alone({str(table)!r}, {str(output)!r}, {part}, 2)"
            running.append(subprocess.Popen([sys.executable, "-c", program + call]))
        if any(process.wait(LIMIT_S) for process in running):
            raise RuntimeError("a process failed, see above")
        rates["alone"].append(_rate(outputs))
        output = folder / f"dask{number}"
        with _running(table, output, "--workers", "2", "--threads", "1") as process:
            if process.wait(LIMIT_S):
                raise RuntimeError("the batch failed, see above")
        rates["dask"].append(_rate([output]))
    free, shared = median(rates["alone"]), median(rates["dask"])
    typer.echo(f"cases a second: {free:.2f} by two processes, {shared:.2f} by two Dask workers")
    share = shared / free
    name = "speed of two Dask workers / of two processes, one thread each"
    return [(name, share, f">= {LEAST_SHARE}", share >= LEAST_SHARE)]


def _rate(outputs: list[Path]) -> float:
    """Return cases a second, once all processes are warm."""
    ends = sorted(
        json.loads(path.read_text())["finished"]
        for output in outputs
        for path in (output / "results").glob("*.json")
    )
    return (len(ends) - WARM) / (ends[-1] - ends[WARM - 1])


def _memory(folder: Path, count: int) -> list[Row]:
    table, output = make_table(folder / "in", count, SMALL), folder / "out"
    early: dict[int, int] = {}
    peaks: dict[int, int] = {}
    with _running(table, output, "--workers", "2", "--threads", "1") as process:
        while process.poll() is None:
            for pid, rss in _memory_of_workers(process.pid).items():
                peaks[pid] = max(rss, peaks.get(pid, 0))
            if not early and len(list((output / "results").glob("*.json"))) >= SETTLED:
                early = dict(peaks)
            time.sleep(0.2)
    with (output / "statistics.csv").open(newline="") as file:
        done = len(list(csv.DictReader(file)))
    # Of the processes those that hold the network: the others have nothing to do with cases.
    most = max(early.values())
    grown = {pid: peaks[pid] / first for pid, first in early.items() if first > most / 2}
    for pid in grown:
        first, last = early[pid] / 1e6, peaks[pid] / 1e6
        typer.echo(f"worker {pid}: peak {first:.0f} MB after {SETTLED} cases, {last:.0f} after all")
    worst = max(grown.values())
    return [
        (f"cases done of {count}", done, str(count), done == count),
        ("peak memory of a worker after all / after 50", worst, "<= 1.2", worst <= MOST_GROWTH),
    ]


def _memory_of_workers(pid: int) -> dict[int, int]:
    found = {}
    try:
        for child in psutil.Process(pid).children(recursive=True):
            found[child.pid] = child.memory_info().rss
    except psutil.NoSuchProcess:
        pass  # it has just ended
    return found


def _kills(folder: Path, kills: int, draw: random.Random) -> list[Row]:
    table = make_table(folder / "in", 60, SMALL)
    lost = half = 0
    output = folder / "out0"
    for number in range(kills):
        options = ("--workers", "2", "--threads", "1") if number % 2 else ("--threads", "1")
        before = finished_results(output)
        with _running(table, output, *options) as process:
            # Now and then at a moment of its start.
            while (
                number % 5
                and process.poll() is None
                and len(finished_results(output)) == len(before)
            ):
                time.sleep(0.01)
            time.sleep(draw.uniform(0, LONGEST_S))
            seen = finished_results(output)
            process.kill()
        time.sleep(1)  # workers end by themselves once their parent is gone
        lost += sum(finished_results(output).get(name) != content for name, content in seen.items())
        lost += sum(seen.get(name) != content for name, content in before.items())
        half += half_written(output)
        if len(seen) == 60:
            output = folder / f"out{number + 1}"
    with _running(table, output) as process:
        if process.wait(LIMIT_S):
            raise RuntimeError("the last run failed, see above")
    unfinished = 60 - len(finished_results(output))
    return [
        (f"finished results lost, {kills} kills", lost, "0", lost == 0),
        (f"half-written files under a final name, {kills} kills", half, "0", half == 0),
        ("cases that the run after the kills left undone", unfinished, "0", unfinished == 0),
    ]


def finished_results(output: Path) -> dict[str, bytes]:
    """Return the results in a batch's folder, by the name of their files."""
    return {path.name: path.read_bytes() for path in (output / "results").glob("[!.]*.json")}


def half_written(output: Path) -> int:
    """Count the files of a batch that have a final name, but are not whole."""
    half = 0
    for content in finished_results(output).values():
        try:
            files = json.loads(content)["files"]
        except ValueError:
            half += 1
            continue
        half += sum(file_hash(output / name) != hashed for name, hashed in files.items())
    for path in (output / "labels").glob("[!.]*.nii.gz"):
        try:
            half += not np.asarray(nib.load(path).dataobj).any()
        except (OSError, EOFError, ValueError, nib.filebasedimages.ImageFileError):
            half += 1
    half += sum(cv2.imread(str(path)) is None for path in (output / "gallery").glob("[!.]*"))
    return half


@contextmanager
def _running(table: Path, output: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [*COMMAND, str(table), "-o", str(output), *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
