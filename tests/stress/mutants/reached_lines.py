"""Which tests reach which lines: a pytest plugin that writes it down, also for child processes."""

from __future__ import annotations

import json
import os
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import coverage
import pytest

ANSWER = "MEDSAMQ_REACHED_LINES"
# The reader of DICOM is killed when it is not needed any more: before, it writes down its lines.
_PATIENCE_S = 5.0
_CONFIGURATION = """[run]
source = napari_medsamq
data_file = {folder}/lines
parallel = true
disable_warnings = no-data-collected, module-not-imported
context = ${{PYTEST_CURRENT_TEST-}}
"""
_seconds: dict[str, float] = {}
_passed: set[str] = set()


def environment(folder: Path, answer: Path) -> dict[str, str]:
    """Return what a run of pytest with this plugin has to be told.

    Parameters
    ----------
    folder : Path
        An empty one, for it alone.
    answer : Path
        Where it writes `{"seconds": {test: s}, "lines": {module: {line: [test, ...]}}}`, as JSON.
    """
    (folder / "configuration").write_text(_CONFIGURATION.format(folder=folder))
    # coverage.py starts by this in every Python, this one and its children.
    started = {"COVERAGE_PROCESS_START": str(folder / "configuration"), ANSWER: str(answer)}
    return {**started, "PYTEST_CURRENT_TEST": ""}


def pytest_configure() -> None:
    kill = subprocess.Popen.kill

    def end(process: subprocess.Popen[Any]) -> None:
        if process.stdin is not None and process.stdin is not process.stdout:
            process.stdin.close()
            process.stdin = None
            with suppress(subprocess.TimeoutExpired):
                process.wait(_PATIENCE_S)
        kill(process)

    subprocess.Popen.kill = end


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    coverage.Coverage.current().switch_context(item.nodeid)
    before = sum(os.times()[:4])
    result = yield
    # Of processors, children included: what other programs do makes no difference.
    _seconds[item.nodeid] = round(sum(os.times()[:4]) - before, 2)
    return result


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" and report.passed:
        _passed.add(report.nodeid)


def pytest_sessionfinish() -> None:
    own = coverage.Coverage.current()
    own.stop()
    own.save()
    lines: dict[str, dict[int, list[str]]] = defaultdict(dict)
    folder = Path(os.environ["COVERAGE_PROCESS_START"]).parent
    for module, line, tests in _contexts(folder):
        there = lines[module].setdefault(line, [])
        there += [test for test in tests if test in _passed and test not in there]
    seconds = {test: _seconds[test] for test in sorted(_passed)}
    Path(os.environ[ANSWER]).write_text(json.dumps({"seconds": seconds, "lines": lines}))


def _contexts(folder: Path) -> Iterator[tuple[str, int, list[str]]]:
    """Yield modules, by their path from here, their lines, and the tests that reached them."""
    for path in folder.glob("lines*"):
        data = coverage.CoverageData(str(path))
        data.read()
        for file in data.measured_files():
            module = Path(file).relative_to(Path.cwd()).as_posix()
            for line, contexts in data.contexts_by_lineno(file).items():
                # A child process has the test's name and phase: `test_x (call)`.
                yield module, line, [name.removesuffix(" (call)") for name in contexts if name]
