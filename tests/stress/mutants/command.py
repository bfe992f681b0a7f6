"""The command: draws changes, runs the tests that reach them, and keeps what came of it."""

from __future__ import annotations

import hashlib
import json
import os
import queue
import shutil
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, TypeVar

import psutil
import typer
from filelock import FileLock, Timeout
from platformdirs import user_cache_path

ROOT = Path(__file__).parents[3]
EQUIVALENT = Path(__file__).with_name("equivalent_changes.toml")
# What a label is made, judged, saved and read again with, and what reads DICOM.
_CORE = {
    "analysis": "comparison metrics statistics",
    "annotation": "acceptance history label_import label_model",
    "inference": "confidence crop preprocess propagation",
    "io": "files grid label_format label_writer nifti nifti_header nrrd seg_nrrd text_header",
    "io/dicom": "contours division even_grid header header_numbers pixels process process_main "
    "reader references rtstruct rtstruct_reader seg series volumes",
    "records": "journal journal_format recording recovery replay_check voxel_origins",
}
MODULES = [f"napari_medsamq/{room}/{name}.py" for room in _CORE for name in _CORE[room].split()]
# Without windows and cohorts: they take four fifths of the suite's time, and the core has to be
# held without them.
_TESTS = (
    *("test_api.py", "test_geometry.py", "io", "inference", "analysis", "annotation", "records"),
    "workflows",
)
# No plugins but these: those of Qt and napari take longer to load than most tests take.
_PYTEST = (
    *("-m", "pytest", "-q", "--no-header", "--disable-warnings", "-p", "no:cacheprovider"),
    *("-p", "pytest_timeout", "-p", "_hypothesis_pytestplugin", "--hypothesis-seed=0"),
    *("-o", "addopts=--strict-markers", "-m", "not slow"),
)
# Of a processor, for the tests of one change. A change that makes them take many times as long
# hangs, which is noticed.
_MOST_TESTS_S = 60.0
_HANG_FACTOR, _HANG_S = 10, 120.0
_DISK = 2 << 30
GOAL, MOST_EQUIVALENT = 0.85, 0.05
Job = TypeVar("Job")


@dataclass(frozen=True)
class Copies:
    """Copies of the code and its tests, one a process: the user's own are left alone."""

    folders: list[Path]
    digests: dict[str, str] = field(default_factory=dict)

    @classmethod
    def make(cls, folder: Path, count: int) -> Copies:
        """Copy the working tree into a folder."""
        folders = [folder / f"copy-{number}" for number in range(count)]
        for copy in folders:
            shutil.rmtree(copy, ignore_errors=True)
            for name in ("napari_medsamq", "tests"):
                shutil.copytree(
                    ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__")
                )
            shutil.copy(ROOT / "pyproject.toml", copy)
        files = sorted(folders[0].rglob("*.py"))
        digests = {
            file.relative_to(folders[0]).as_posix(): _digest(file.read_text("utf-8"))
            for file in files
        }
        return cls(folders, digests)

    def digest(self, *places: str) -> str:
        """Return a digest of all Python files at or below some places."""
        return _digest(*(self.digests[name] for name in self.digests if name.startswith(places)))

    def share(
        self, jobs: Iterable[Job], work: Callable[[Path, Job], Any]
    ) -> Iterator[tuple[Job, Any]]:
        """Yield jobs and what came of them, as they are done, one at a time in each copy."""
        free: queue.SimpleQueue[Path] = queue.SimpleQueue()
        for folder in self.folders:
            free.put(folder)

        def in_copy(job: Job) -> Any:
            copy = free.get()
            try:
                return work(copy, job)
            finally:
                free.put(copy)

        pool = ThreadPoolExecutor(len(self.folders))
        try:
            running = {pool.submit(in_copy, job): job for job in jobs}
            for done in as_completed(running):
                yield running[done], done.result()
        finally:
            pool.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class Reached:
    """Which passing tests reach which lines, and how long they take.

    Attributes
    ----------
    seconds : dict of str to float
        Of a processor, by the test's id.
    lines : dict of str to dict of int to set of str
        Test ids by module and line.
    """

    seconds: dict[str, float]
    lines: dict[str, dict[int, set[str]]]

    @classmethod
    def make(cls, copies: Copies, folder: Path) -> Reached:
        """Run all tests once, file by file; those of a file again where it or the code changed."""
        (folder / "map").mkdir(exist_ok=True)
        code = copies.digest("napari_medsamq", "tests/helpers", "tests/conftest.py")
        answers = {}
        for file in copies.digests:
            name = file.removeprefix("tests/")
            if name != file and name.startswith(_TESTS) and Path(file).name.startswith("test_"):
                digest = _digest(code, copies.digests[file])
                answers[file] = folder / "map" / f"{Path(file).stem}-{digest}.json"
        for old in set((folder / "map").iterdir()) - set(answers.values()):
            old.unlink()
        missing = [file for file in answers if not answers[file].exists()]
        write = partial(_write_map, answers)
        for number, (file, said) in enumerate(copies.share(missing, write), 1):
            if not answers[file].exists():
                raise RuntimeError(f"{file}: its tests could not be run:\n{said}")
            typer.echo(f"lines that tests reach: {number} of {len(missing)} files, {file}")
        seconds: dict[str, float] = {}
        lines: dict[str, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
        for answer in answers.values():
            found = json.loads(answer.read_text("utf-8"))
            seconds |= found["seconds"]
            for module, by_line in found["lines"].items():
                for line, tests in by_line.items():
                    lines[module][int(line)].update(tests)
        return cls(seconds, lines)

    def tests(self, module: str, statement: tuple[int, int]) -> list[str]:
        """Return the tests that reach a statement, the cheapest first.

        Where no test does, because it runs when its module is imported, those of the module.
        """
        lines = self.lines[module]
        there = [line for line in lines if statement[0] <= line <= statement[1]]
        found = set().union(*(lines[line] for line in there))
        if not found and (there or statement == (0, 0)):
            found = set().union(*lines.values())
        return sorted(found, key=lambda test: (self.seconds[test], test))


def mutants(
    count: Annotated[int, typer.Option(min=1, help="How many changes.")] = 200,
    seed: Annotated[int, typer.Option(help="Of the changes that are drawn.")] = 0,
    processes: Annotated[int, typer.Option("--processes", "-j", min=1, max=16)] = 2,
    only: Annotated[str, typer.Option(help="Only modules with this in their path.")] = "",
    folder: Annotated[
        Path | None, typer.Option(help="Where the work lies; the user's cache by default.")
    ] = None,
) -> None:
    """Change the core in one place at a time, and see whether a test that gets there fails.

    Interrupted, it goes on where it was. A change that tests noticed is not tried again while its
    module and the test that failed stay as they are, one that they did not while all does.
    """
    try:
        import cosmic_ray  # noqa: F401
        import coverage  # noqa: F401
    except ImportError as error:
        raise typer.BadParameter(
            f'{error.name} is missing: pip install -c .ci/constraints.txt -e ".[stress]"'
        ) from error
    folder = (folder or user_cache_path("napari-medsamq") / "mutants").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if (free := shutil.disk_usage(folder).free) < _DISK:
        raise typer.BadParameter(
            f"{folder}: {free >> 20} MB are free, it takes {_DISK >> 20}: name another --folder"
        )
    try:
        with FileLock(folder / "lock", timeout=0):
            _run(folder, [name for name in MODULES if only in name], count, seed, processes)
    except Timeout as error:
        raise typer.BadParameter(f"{folder} is in use: name another --folder") from error


def _run(folder: Path, modules: list[str], count: int, seed: int, processes: int) -> None:
    from tests.stress.mutants.changes import Change, draw_changes

    copies = Copies.make(folder, processes)
    reached = Reached.make(copies, folder)
    changes = draw_changes(copies.folders[0], modules, count, seed)
    sources = {name: (copies.folders[0] / name).read_text("utf-8") for name in modules}
    lines = {change: change.lines(sources[change.module]) for change in changes}
    tests = {change: reached.tests(change.module, change.statement) for change in changes}

    def proof(change: Change, failed: str | None) -> str:
        """Return a digest of what an answer hangs on."""
        files = {test.split("::")[0] for test in ([failed] if failed else tests[change])}
        return copies.digest(change.module, *files)

    path = folder / "answers.jsonl"
    kept = _read_answers(path)
    noticed: dict[Change, bool] = {}
    for change in changes:
        known = kept.get(_key(change, lines[change]))
        if known is not None and known["proof"] == proof(change, known["failed"]):
            noticed[change] = known["failed"] is not None
    pending = [change for change in changes if change not in noticed]
    typer.echo(f"{len(changes)} changes, {len(pending)} of them to be tried")

    def attempt(copy: Path, change: Change) -> str | None:
        source = change.apply(sources[change.module])
        return _failed_test(copy, change.module, source, tests[change], reached.seconds)

    for change, failed in copies.share(pending, attempt):
        key = _key(change, lines[change])
        answer = {"change": key, "failed": failed, "proof": proof(change, failed)}
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(answer) + "\n")
        noticed[change] = failed is not None
        typer.echo(f"{'noticed ' if failed else 'SURVIVED'} {change.module}:{change.line}")
    _report(changes, lines, noticed)


def _report(
    changes: list[Any], lines: Mapping[Any, tuple[str, str]], noticed: Mapping[Any, bool]
) -> None:
    """Print the score by module, what survived, values and goals."""
    listed = {
        (entry["module"], entry["before"], entry["after"])
        for entry in tomllib.loads(EQUIVALENT.read_text("utf-8"))["change"]
    }
    equivalent = {c for c in changes if not noticed[c] and (c.module, *lines[c]) in listed}
    survived = [c for c in changes if not noticed[c] and c not in equivalent]
    by_module = defaultdict(list)
    for change in changes:
        if change not in equivalent:
            by_module[change.module].append(noticed[change])
    for module, found in sorted(by_module.items()):
        typer.echo(f"{module:50} {sum(found):3d} of {len(found):3d}")
    for change in sorted(survived, key=lambda change: (change.module, change.line)):
        before, after = lines[change]
        typer.echo(f"{change.module}:{change.line}\n- {before}\n+ {after}")
    counted = len(changes) - len(equivalent)
    score = 1 - len(survived) / counted if counted else 1.0
    share = len(equivalent) / max(1, len(changes))
    met = score >= GOAL, share <= MOST_EQUIVALENT
    typer.echo(
        f"noticed {score:.3f} of {counted} changes (goal >= {GOAL}) {_met(met[0])}\n"
        f"equivalent {share:.3f} (goal <= {MOST_EQUIVALENT}) {_met(met[1])}"
    )
    if not all(met):
        raise typer.Exit(1)


def _key(change: Any, lines: tuple[str, str]) -> str:
    return f"{change.key} -> {lines[1]}"


def _read_answers(path: Path) -> dict[str, dict[str, Any]]:
    """Return the last answer to each change; the end of a line is missing after a crash."""
    text = path.read_text("utf-8") if path.exists() else ""
    answers = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    return {answer["change"]: answer for answer in answers}


def _failed_test(
    copy: Path, module: str, source: str, tests: list[str], seconds: Mapping[str, float]
) -> str | None:
    """Return which test fails where a module is changed, or what else did; None if none does."""
    taken, left = [], _MOST_TESTS_S
    for test in tests:
        left -= seconds[test]
        if left >= 0:
            taken.append(test)
    if not taken:
        return None
    path = copy / module
    whole, times = path.read_bytes(), path.stat()
    try:
        path.write_text(source, encoding="utf-8")
        limit = _HANG_S + _HANG_FACTOR * (_MOST_TESTS_S - left)
        status, output = _pytest(copy, ["-x", "--tb=no", *taken], {}, limit)
    finally:
        path.write_bytes(whole)
        # So that what is compiled of it holds again.
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    if status == 0:
        return None
    named = [line.split(" ")[1] for line in output.splitlines() if line.startswith("FAILED ")]
    return named[0] if named else taken[0]


def _write_map(answers: Mapping[str, Path], copy: Path, file: str) -> str:
    from tests.stress.mutants.reached_lines import environment

    with TemporaryDirectory() as folder:
        told = environment(Path(folder), answers[file])
        return _pytest(copy, ["-p", "tests.stress.mutants.reached_lines", file], told, None)[1]


def _pytest(
    copy: Path, arguments: list[str], told: Mapping[str, str], limit: float | None
) -> tuple[int | None, str]:
    """Run pytest in a copy; return its exit status and what it printed, None where it hung."""
    names = "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PYTEST_DISABLE_PLUGIN_AUTOLOAD"
    with TemporaryDirectory() as temporary:
        process = subprocess.Popen(
            [sys.executable, *_PYTEST, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            cwd=copy,
            env={
                **os.environ,
                **dict.fromkeys(names, "1"),
                **told,
                "PYTHONPATH": str(copy),
                "TMPDIR": temporary,
            },
        )
        try:
            output = process.communicate(timeout=limit)[0]
            return process.returncode, output
        except subprocess.TimeoutExpired:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
            process.kill()
            process.communicate()
            return None, ""


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _met(met: bool) -> str:
    return "met" if met else "missed"
