"""Models are timed side by side, and what they take is set against what they may take."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path

import numpy as np
import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from napari_medsamq.diagnostics.model_benchmark import THREADS
from napari_medsamq.errors import ModelError
from napari_medsamq.inference.model_choice import MODELS
from napari_medsamq.inference.model_list import size_mb
from training import latency
from training.evaluation import latency as timing
from training.evaluation.latency import goals, measure, measure_apart
from training.evaluation.tables import goal_table


class SlowEngine:
    """Takes 5 ms to encode and 2 ms for each call of the decoder."""

    def __init__(self, directory: Path, *, threads: int) -> None:
        assert threads == THREADS

    def encode(self, image: np.ndarray) -> np.ndarray:
        time.sleep(0.005)
        return np.zeros((1, 256, 64, 64), np.float32)

    def decode(self, embedding: np.ndarray, points: np.ndarray, labels: np.ndarray) -> None:
        assert points.shape == (len(labels), 2, 2)
        time.sleep(0.002)


def test_each_step_of_each_model_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "OpenVINOEngine", SlowEngine)
    times = measure([Path("a"), Path("b")], rounds=3)
    assert set(times) == {"a", "b"}
    for own in times.values():
        assert own["encode"] >= 5
        assert own["decode"] >= 2
        assert own["decode5"] >= 2


def test_goals_are_ratios_of_the_reference() -> None:
    native = {
        "float": {"encode": 400.0, "decode": 50.0, "decode5": 200.0},
        "int8": {"encode": 180.0, "decode": 40.0, "decode5": 100.0},
    }
    laptop = {"float": {"encode": 500.0}, "int8": {"encode": 350.0}}
    rows = goals("int8", "float", native, laptop, 12.5)
    assert [value for _, value, _ in rows] == pytest.approx([0.45, 0.7, 0.8, 0.5, 12.5])
    assert [most for _, _, most in rows] == [0.50, 0.65, 0.70, 0.85, 16.0]
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(goal_table("int8", rows, "float"))
    lines = [line for line in console.export_text().splitlines() if "<=" in line]
    assert ["missed" in line for line in lines] == [False, True, True, False, False]


def test_the_size_is_that_of_the_networks(tmp_path: Path) -> None:
    for name, size in (("encoder.bin", 3_000_000), ("decoder.xml", 500_000), ("README.md", 9**6)):
        (tmp_path / name).write_bytes(bytes(size))
    assert size_mb(tmp_path) == 3.5


def test_a_model_that_cannot_run_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"cannot be timed.*model directory"):
        measure_apart([tmp_path], 1)


def test_the_command_prints_json() -> None:
    app = typer.Typer()
    app.command()(latency.main)
    model = MODELS / "medsamq-fast"
    result = CliRunner().invoke(app, [str(model), "--rounds", "1", "--json"])
    assert result.exit_code == 0, result.output
    (times,) = json.loads(result.stdout).values()
    assert set(times) == {"encode", "decode", "decode5"}
