"""Damaged files of every kind through the readers, in processes with limits."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Timer
from typing import Annotated, Any

import numpy as np
import typer

from tests.stress.samples import damage, large_number, nested_json, write_samples

ROOT = Path(__file__).parents[2]
SLOW_S = 10.0
# What lies beside a damaged header has to lie beside it again.
_PAIRS = (("hdr", "img"), ("hdr.gz", "img.gz"))
_PARTNERS = dict([*_PAIRS, *(pair[::-1] for pair in _PAIRS), ("nhdr", "raw"), ("mhd", "raw")])
_BY_HAND = {"model.json": (nested_json(100_000), large_number(), b"[]", b"\xff\xfe")}


class Reader:
    """A process that reads; it is started anew when it has ended."""

    def __init__(self, whole: Path) -> None:
        self._whole = whole
        self._start()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.stress.reader", str(self._whole)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        if self._process.stdout.readline() != "ready\n":
            raise RuntimeError("the reader did not get through the whole files")

    def read(self, path: Path) -> dict[str, Any]:
        """Read a file; `outcome` says what came of it."""
        ended = []
        timer = Timer(SLOW_S, lambda: (ended.append(True), self._process.kill()))
        timer.start()
        self._process.stdin.write(f"{path}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        timer.cancel()
        if line:
            return json.loads(line)
        self._process.communicate()
        text = f"exit status {self._process.returncode}"
        self._start()
        return {"outcome": "hung" if ended else "crashed", "text": text}

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def bad_files(
    count: Annotated[int, typer.Option(min=1, help="How many damaged files.")] = 2000,
    seed: Annotated[int, typer.Option(help="Of the damage; the same one gives the same.")] = 0,
    keep: Annotated[
        Path | None, typer.Option(help="A folder for the files that a reader did not stand.")
    ] = None,
    only: Annotated[
        str, typer.Option(help="Only the kinds of files whose names end so: .mha, .dcm")
    ] = "",
    processes: Annotated[int, typer.Option(min=1, help="How many readers at a time.")] = 2,
) -> None:
    """Read damaged files of every kind; none may crash, hang, or take memory it has no use for.

    Each is damaged anew from a whole file. To damage those again that reached new lines of the
    program's own readers was tried and reached fewer lines: 65, 65, 69 against 69, 72, 70, beyond
    those that whole files reach, by 2,000 files of three seeds.
    """
    with TemporaryDirectory() as temporary:
        whole = Path(temporary) / "whole"
        whole.mkdir()
        samples = [path for path in write_samples(whole) if path.name.endswith(only)]
        numbers = [range(first, count, processes) for first in range(processes)]
        folders = [Path(temporary) / f"bad{n}" for n in range(processes)]
        with ThreadPoolExecutor(processes) as pool:
            jobs = [
                pool.submit(_run, whole, samples, folder, part, seed, keep)
                for folder, part in zip(folders, numbers, strict=True)
            ]
            answers = [answer for job in jobs for answer in job.result()]
    outcomes = Counter(answer["outcome"] for answer in answers)
    most = max(answer.get("grown", 0) - answer.get("allowed", 0) for answer in answers)
    slowest = max(answer.get("seconds", 0.0) for answer in answers)
    typer.echo(
        f"{len(answers)} files: {outcomes['read']} read, {outcomes['refused']} refused by name; "
        f"slowest {slowest:.1f} s"
    )
    memory = outcomes["memory"] + sum(a.get("grown", 0) > a.get("allowed", 1) for a in answers)
    goals = {
        "crashes": outcomes["crashed"],
        f"hangs over {SLOW_S:.0f} s": outcomes["hung"],
        "allocations over twice the file and 200 MB": memory,
        "errors of another kind": outcomes["escaped"],
        "errors that do not name the file": outcomes["unnamed"],
    }
    for name, value in goals.items():
        typer.echo(f"{name}: {value} (goal 0) {'missed' if value else 'met'}")
    typer.echo(f"most memory, beyond what is allowed: {most / 2**20:.0f} MB (goal <= 0)")
    if any(goals.values()):
        raise typer.Exit(1)


def _run(
    whole: Path, samples: list[Path], folder: Path, numbers: range, seed: int, keep: Path | None
) -> list[dict[str, Any]]:
    reader = Reader(whole)
    answers = []
    try:
        for number in numbers:
            path = _damaged(samples, folder, number, seed)
            answer = reader.read(path)
            answers.append(answer)
            if answer["outcome"] not in ("read", "refused"):
                typer.echo(f"{number} {path.name}: {answer['outcome']}: {answer['text'][-1500:]}")
                if keep is not None:
                    shutil.copytree(folder, keep / str(number), dirs_exist_ok=True)
    finally:
        reader.close()
    return answers


def _damaged(samples: list[Path], folder: Path, number: int, seed: int) -> Path:
    """Write the damaged file of that number into a folder that is empty but for what it needs."""
    rng = np.random.default_rng([seed, number])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    sample = samples[number % len(samples)]
    path = folder / sample.name
    if sample.is_dir():
        shutil.copytree(sample, path)
        part = sorted(path.iterdir())[int(rng.integers(3))]
        part.write_bytes(damage(part, rng))
        return path
    round_, by_hand = number // len(samples), _BY_HAND.get(sample.name, ())
    path.write_bytes(by_hand[round_] if round_ < len(by_hand) else damage(sample, rng))
    stem, ending = sample.name.split(".", 1)
    partner = _PARTNERS.get(ending, "none")
    for other in (
        sample.with_name(f"{stem}.{partner}"),
        *sample.parent.glob(f"{stem}_*.{partner}"),
    ):
        if other.exists():
            shutil.copyfile(other, folder / other.name)
    return path
