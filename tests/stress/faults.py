"""Kills and broken folders: nothing that was finished is lost, and no half of it is left behind."""

from __future__ import annotations

import errno
import itertools
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Annotated

import nibabel as nib
import numpy as np
import typer

from napari_medsamq.annotation.session import AnnotationSession
from napari_medsamq.cli.main import app
from napari_medsamq.cohort import case_runner as cohort
from napari_medsamq.errors import MedSAMQError
from napari_medsamq.inference import engine
from napari_medsamq.inference.window_presets import default_window
from napari_medsamq.io.label_writer import write_label
from napari_medsamq.io.volume import Volume, read_volume, volume_from_slices
from napari_medsamq.records.journal import Journal
from napari_medsamq.records.journal_format import read_journal
from napari_medsamq.records.recording import Recorder, restore
from tests.helpers.scripted_engine import ScriptedEngine
from tests.stress.batch import finished_results, half_written, make_table

SHAPE = (24, 64, 60)
LONGEST_S = 0.25
STROKE = 500
# A file is smaller than that; what goes over it fails as on a full disk.
LEAST_BYTES = 600
CASES, CASE_SHAPE = 16, (40, 44, 10)
# A case takes longer than a save.
BATCH_FACTOR = 6


def faults(
    count: Annotated[int, typer.Option(min=3, help="How often a program is killed.")] = 100,
    seed: Annotated[int, typer.Option(help="Of the moments.")] = 0,
) -> None:
    """Kill programs that save, write journals, run batches; save on full, vanished, closed folders.

    Example: python -m tests.stress faults
    """
    if os.name != "posix":
        raise typer.BadParameter("this needs kill -9 and POSIX limits: run it on Linux or macOS")
    draw = random.Random(seed)
    lost = half = silent = 0
    with tempfile.TemporaryDirectory() as kept:
        table = make_table(Path(kept) / "in", CASES, CASE_SHAPE)
        whole = Path(kept) / "whole"
        _run_to_end(partial(_batch, table, whole))
        ways = _kill_a_journal, _kill_a_save, partial(_kill_a_batch, table, whole)
        for number in range(count):
            with tempfile.TemporaryDirectory() as folder:
                after = draw.uniform(0, LONGEST_S)
                found = ways[number % len(ways)](Path(folder), after, number)
            lost += found[0]
            half += found[1]
    for fault in (_full_disk, _folder_gone, _not_a_folder, _read_only):
        with tempfile.TemporaryDirectory() as folder:
            silent += not fault(Path(folder))
    rows = (
        (f"finished results lost, {count} kills", lost),
        (f"half-written files under a final name, {count} kills", half),
        ("failures that were not told: disk full, folder gone, no folder, read-only", silent),
    )
    for name, value in rows:
        typer.echo(f"{name:75} {value:4d}   goal 0   {'met' if value == 0 else 'MISSED'}")
    if any(value for _, value in rows):
        raise typer.Exit(1)


def _image(folder: Path) -> Volume:
    data = np.random.default_rng(0).integers(0, 200, SHAPE[::-1]).astype(np.int16)
    nib.save(nib.Nifti1Image(data, np.diag([-1.0, -1, 2, 1])), folder / "image.nii.gz")
    return read_volume(folder / "image.nii.gz")


def _version(number: int) -> np.ndarray:
    label = np.random.default_rng(number).integers(0, 3, SHAPE).astype(np.uint16)
    label[0, 0, 0] = number
    return label


def _kill_a_save(folder: Path, after: float, _: int) -> tuple[int, int]:
    volume = _image(folder)
    path = folder / "label.nii.gz"

    def save(finished: Callable[[int], None]) -> None:
        number = 1
        while True:
            write_label(path, _version(number), volume)
            finished(number)
            number += 1

    last = _run_and_kill(save, after)
    half = sum(f.name not in ("image.nii.gz", path.name) and _is_final(f) for f in folder.iterdir())
    if not path.exists():
        return int(last > 0), half
    try:
        saved = np.asanyarray(nib.load(path).dataobj).transpose(2, 1, 0)
    except (OSError, EOFError, ValueError, nib.filebasedimages.ImageFileError):
        return int(last > 0), half + 1
    # What was being saved may be there already, or not yet.
    number = int(saved[0, 0, 0])
    whole = number in (last, last + 1) and np.array_equal(saved, _version(number))
    return int(not whole), half


def _is_final(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".") and path.suffix != ".tmp"


def _kill_a_journal(folder: Path, after: float, number: int) -> tuple[int, int]:
    draw = np.random.default_rng(number)
    volume = volume_from_slices(draw.integers(0, 200, SHAPE).astype(np.int16), (1, 1, 1), "noise")
    path = folder / "a.journal"

    def work(finished: Callable[[int], None]) -> None:
        session = AnnotationSession(volume, ScriptedEngine(), default_window(volume))
        _recorder = Recorder(session, Journal(path, volume, "key", None, _raise), None)
        flat, count = session.label.reshape(-1), 0
        while True:
            start = int(draw.integers(0, flat.size - STROKE))
            voxels = np.arange(start, start + STROKE)
            before = flat[voxels].copy()
            flat[voxels] = 1 + count % 5
            session.history.record("brush stroke", voxels, before)
            count += 1
            while _strokes(path) < count:  # written by a thread of its own
                time.sleep(0.0005)
            finished(count)

    last = _run_and_kill(work, after)
    if not path.exists() or path.stat().st_size == 0:
        return int(last > 0), 0
    try:
        restore(read_journal(path).records, SHAPE)
    except MedSAMQError:
        # A program that was killed before the head was whole has lost nothing.
        return int(last > 0), 0
    return int(_strokes(path) not in (last, last + 1)), 0


def _batch(table: Path, output: Path, finished: Callable[[int], None]) -> None:
    """Run a batch in this process, which is to end with it: it gets another network."""
    numbers, write = itertools.count(1), cohort.write_json

    def write_and_tell(path: Path, result: dict[str, object]) -> None:
        write(path, result)
        finished(next(numbers))

    cohort.write_json = write_and_tell
    engine.OpenVINOEngine = lambda _directory, **_: ScriptedEngine()
    with (
        open(os.devnull, "w") as quiet,  # noqa: PTH123 (no path of a file)
        redirect_stdout(quiet),
        redirect_stderr(quiet),
    ):
        app(["batch", str(table), "-o", str(output), "--threads", "1"], standalone_mode=False)


def _kill_a_batch(table: Path, whole: Path, folder: Path, after: float, _: int) -> tuple[int, int]:
    output = folder / "out"

    def work(finished: Callable[[int], None]) -> None:
        _batch(table, output, finished)
        signal.pause()  # it was done before it was killed

    last = _run_and_kill(work, BATCH_FACTOR * after)
    before, half = finished_results(output), half_written(output)
    lost = max(0, last - len(before))
    _run_to_end(partial(_batch, table, output))
    after_all = finished_results(output)
    # Those that were there are still the same, and not made again.
    lost += sum(after_all.get(name) != content for name, content in before.items())
    lost += sum(not _same_voxels(path, output) for path in sorted(whole.glob("labels/*.nii.gz")))
    return lost, half + half_written(output) + len(list(output.rglob("*.part")))


def _same_voxels(path: Path, output: Path) -> bool:
    other = output / "labels" / path.name
    return other.exists() and np.array_equal(
        np.asanyarray(nib.load(path).dataobj), np.asanyarray(nib.load(other).dataobj)
    )


def _strokes(path: Path) -> int:
    """Return how many strokes a journal gives back; a new one has nothing in it for a moment."""
    if path.stat().st_size == 0:
        return 0
    return [record.content["kind"] for record in read_journal(path).records].count("edit")


def _raise(error: Exception) -> None:
    raise error


def _run_and_kill(work: Callable[[Callable[[int], None]], None], after: float) -> int:
    """Run work in a child, kill it some time after its first result; return how many it had."""
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reads)
        try:
            work(lambda number: os.write(writes, b"%d\n" % number) and None)
        finally:
            traceback.print_exc()
            os._exit(1)
    os.close(writes)
    with os.fdopen(reads, "rb") as told:
        first = told.readline()
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        lines = [first, *told.read().splitlines(keepends=True)]
    if not os.WIFSIGNALED(status):
        raise RuntimeError("the child ended by itself: its work failed, see above")
    return int([line for line in lines if line.endswith(b"\n")][-1])


def _run_to_end(work: Callable[[Callable[[int], None]], None]) -> None:
    """Run work in a child that nobody kills."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work(lambda _: None)
            status = 0
        except BaseException:  # noqa: BLE001 (the parent is told by the status)
            traceback.print_exc()
        finally:
            os._exit(status)
    if os.waitpid(child, 0)[1]:
        raise RuntimeError("the child failed, see above")


def _is_told(path: Path, volume: Volume, before: bytes | None) -> bool:
    try:
        write_label(path, _version(7), volume)
    except MedSAMQError as error:
        kept = before is None or path.read_bytes() == before
        return kept and path.name in str(error)
    return False


def _full_disk(folder: Path) -> bool:
    import resource

    volume = _image(folder)
    path = folder / "label.nii.gz"
    write_label(path, _version(1), volume)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LEAST_BYTES, hard))
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        return _is_told(path, volume, path.read_bytes())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


def _folder_gone(folder: Path) -> bool:
    volume = _image(folder)
    share = folder / "share"
    share.mkdir()
    write_label(share / "label.nii.gz", _version(1), volume)
    shutil.rmtree(share)
    return _is_told(share / "label.nii.gz", volume, None)


def _not_a_folder(folder: Path) -> bool:
    volume = _image(folder)
    (folder / "share").write_text("a file where the folder was")
    return _is_told(folder / "share" / "label.nii.gz", volume, None)


def _read_only(folder: Path) -> bool:
    volume = _image(folder)
    path = folder / "label.nii.gz"
    write_label(path, _version(1), volume)
    with _refused_writes():
        return _is_told(path, volume, path.read_bytes())


@contextmanager
def _refused_writes() -> Iterator[None]:
    """Let the system refuse to open files for writing, as a read-only file system does.

    The bits of a folder do not stop an administrator, who runs the tests of many machines.
    """
    active = True

    def refuse(event: str, arguments: tuple[object, ...]) -> None:
        flags = arguments[2] if event == "open" else 0
        if active and isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), arguments[0])

    sys.addaudithook(refuse)
    try:
        yield
    finally:
        active = False
