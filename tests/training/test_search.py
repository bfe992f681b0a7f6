"""The architecture search trains designs alike, and shows what none of the others beats."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("brevitas")

import typer
from PIL import Image
from small_run import write_cases
from typer.testing import CliRunner

from training import search
from training.ablation import designs
from training.ablation.designs import front, markdown, write_plot

ROWS = {
    "slow-good": {"dsc": 0.9, "nsd": 0.7, "body_dsc": 0.8, "encode": 9.0, "decode": 5.0, "mb": 9.0},
    "fast-bad": {"dsc": 0.6, "nsd": 0.5, "body_dsc": None, "encode": 3.0, "decode": 5.0, "mb": 4.0},
    "beaten": {"dsc": 0.8, "nsd": 0.6, "body_dsc": 0.7, "encode": 9.5, "decode": 5.0, "mb": 8.0},
    "middle": {"dsc": 0.7, "nsd": 0.5, "body_dsc": 0.6, "encode": 4.0, "decode": 5.0, "mb": 5.0},
}


def test_the_front_is_what_nothing_beats_in_both() -> None:
    assert front(ROWS) == ["fast-bad", "middle", "slow-good"]
    twin = {**ROWS, "twin": {**ROWS["middle"], "dsc": 0.65}}
    assert front(twin) == ["fast-bad", "middle", "slow-good"]


def test_the_table_has_every_design_that_was_tried() -> None:
    lines = markdown(ROWS).splitlines()
    assert len(lines) == 2 + len(ROWS)
    assert "| middle * | 0.700 | 0.500 | 0.600 | 4.0 | 5.0 | 5.0 |" in lines
    assert "| beaten | 0.800 |" in markdown(ROWS)
    assert "| fast-bad * | 0.600 | 0.500 |  | 3.0 |" in markdown(ROWS)


def test_the_plot_is_small(tmp_path: Path) -> None:
    write_plot(tmp_path / "search.png", ROWS)
    with Image.open(tmp_path / "search.png") as picture:
        assert picture.size == (660, 396)


def _run(*arguments: object) -> tuple[int, str]:
    app = typer.Typer()
    app.command()(search.main)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def test_an_unknown_design_is_refused(tmp_path: Path) -> None:
    code, output = _run("x", "--val", "y", "--out", tmp_path, "--design", "fastest")
    assert code == 1
    assert "no design fastest" in output
    assert "fast-relu" in output


@pytest.mark.slow
def test_a_design_is_trained_quantised_and_scored(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = "strategy: counts\ncounts: {CT: 2, MR: 2}\nbatch_size: 2\nmicro_batch: 2\n"
    learns = f"{small}epochs: 9\nlearning_rate: 1e-3\noptimizer: adamw\n"
    stages = {
        "1-distill": f"{learns}trains: encoder\nmask_weight: 0\nbatch_norm: trained\n",
        "2-masks": f"{learns}trains: both\niou_weight: 1\n",
        "3-ptq": "samples: 2\n",
    }
    for name, text in stages.items():
        (tmp_path / f"{name}.yaml").write_text(f"data: [elsewhere]\n{text}", encoding="utf-8")
    monkeypatch.setattr(designs, "CONFIGS", tmp_path)
    cases, out = write_cases(tmp_path / "cases"), tmp_path / "out"
    arguments = [cases, "--val", cases, "--out", out, "--limit", 1, "--design", "fast-shallow"]
    code, output = _run(*arguments)
    assert code == 0, output
    assert "| fast-shallow * |" in output
    rows = json.loads((out / "search.json").read_text(encoding="utf-8"))
    assert 0 <= rows["fast-shallow"]["dsc"] <= 1
    spec = json.loads((out / "fast-shallow" / "model.json").read_text(encoding="utf-8"))
    assert spec["bits"] == 8
    assert "encoder: 2 steps" in spec["provenance"]["training"]
    assert "both: 2 steps" in spec["provenance"]["training"]
    # What is there is not made again.
    monkeypatch.setattr(designs, "train", lambda *_: pytest.fail("trained again"))
    assert _run(*arguments)[0] == 0
