"""Models are timed in turns, in processes of their own; what cannot be timed is one clear error."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from napari_medsamq.cli.main import app
from napari_medsamq.diagnostics.model_benchmark import (
    TimedProcess,
    TimedProgram,
    format_times,
    measure,
    measure_loads,
    time_models,
    timed_model,
)
from napari_medsamq.errors import ModelError
from napari_medsamq.inference.backend import CACHE_VARIABLE
from napari_medsamq.inference.model_choice import MODELS

# Answers as a model would: loads in 7 ms, and takes as many ms as the step's name is long.
PRETENDED = """
import sys
print('{"value": 7}', flush=True)
for line in sys.stdin:
    with open(sys.argv[1], "a") as log:
        log.write(sys.argv[2] + " " + line)
    print('{"value": %d}' % len(line.strip()), flush=True)
"""


def pretended(name: str, log: Path) -> TimedProgram:
    return TimedProgram(name, ("-c", PRETENDED, str(log), name))


def test_rows_take_turns_and_warm_up_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    reports: list[tuple[int, int]] = []
    times = measure(
        [pretended("a", log), pretended("b", log)],
        {"encode": 2, "case": 1},
        os.environ,
        lambda done, total: reports.append((done, total)),
    )
    assert times == {name: {"encode": 6, "case": 4, "memory": 6} for name in "ab"}
    turns = [f"{name} {step}" for step in ["encode"] * 3 + ["image", "case"] for name in "ab"]
    assert log.read_text().splitlines() == [*turns, "a memory", "b memory"]
    assert reports[-1] == (6, 6)


def test_a_first_load_has_an_empty_cache_and_the_second_its_files(tmp_path: Path) -> None:
    loads = """
import os, pathlib, sys
cache = pathlib.Path(os.environ["MEDSAMQ_MODEL_CACHE"])
print('{"value": %d}' % (10 if any(cache.iterdir()) else 900), flush=True)
(cache / "blob").write_text("compiled")
sys.stdin.read()
"""
    assert CACHE_VARIABLE == "MEDSAMQ_MODEL_CACHE"
    times = measure_loads([TimedProgram("model", ("-c", loads))], 2, os.environ)
    assert times == {"model": {"load_cold": 900, "load_cached": 10}}


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("""print('{"error": "no such model"}')""", "no such model"),
        ("import sys; sys.exit(3)", "died"),
    ],
)
def test_a_process_that_fails_is_an_error_with_the_models_name(program: str, words: str) -> None:
    with pytest.raises(ModelError, match=f"the_model cannot be timed: .*{words}"):
        TimedProcess(TimedProgram("the_model", ("-c", program)), os.environ)


def test_a_process_that_dies_later_is_an_error_too() -> None:
    program = """print('{"value": 1}', flush=True); input()"""
    with pytest.raises(ModelError, match="the_model cannot be timed: its process died"):
        measure([TimedProgram("the_model", ("-c", program))], {"encode": 2}, os.environ)


def test_every_step_runs_on_a_model_that_comes_along(tmp_path: Path) -> None:
    row = timed_model(MODELS / "medsamq-fast")
    steps = dict.fromkeys(("encode", "decode", "decode5", "decode16", "image"), 1)
    environment = {**os.environ, CACHE_VARIABLE: str(tmp_path)}
    ballast = np.ones(10**9, np.uint8)
    times = measure([row], steps, environment)["medsamq-fast"]
    assert set(times) == {*steps, "memory"}
    assert all(value > 0 for value in times.values() if sys.platform != "win32")
    # Its own, not that of the program that started it: these tests take more, or less, by far.
    if sys.platform == "linux":
        assert times["memory"] < ballast.nbytes / 1e6
    assert any(tmp_path.iterdir())  # the cache that was named


def test_models_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="same name"):
        time_models([tmp_path / "a/model", tmp_path / "b/model"], quick=True)


def test_ratios_are_to_the_first_row() -> None:
    text = format_times(
        {
            "float": {"encode": 400.0, "load_cold": 900.0, "memory": 500.0},
            "int8": {"encode": 80.0, "load_cold": 450.0, "memory": 300.0},
        }
    )
    assert "| encode a slice | 400 | 80.0 (5.0) |" in text
    assert "| load the model, first time | 900 | 450 (2.0) |" in text
    assert "| memory, MB | 500 | 300 |" in text
    assert "case" not in text


def test_the_command_prints_a_table_and_writes_json(tmp_path: Path) -> None:
    file = tmp_path / "times.json"
    arguments = ["benchmark", "--quick", "--rounds", "1", "--json", str(file)]
    arguments += ["--model", str(MODELS / "medsamq-fast")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "| encode a slice |" in result.stdout
    assert json.loads(file.read_text())["medsamq-fast"]["encode"] > 0
    result = CliRunner().invoke(app, ["benchmark", "--quick", "--model", str(tmp_path)])
    assert result.exit_code == 1
    assert "not a model directory" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
