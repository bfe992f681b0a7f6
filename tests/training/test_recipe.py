"""The recipe keeps its time, judges each fold by what it left out, and stops well."""

from __future__ import annotations

import os
import signal
from itertools import count
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("brevitas")
pytest.importorskip("tensorboard")

import torch
from small_run import KEYS, small_network, write_cases
from typer import Typer
from typer.testing import CliRunner, Result

from training import recipe as command
from training.checkpoints.network_file import read_network
from training.config import load_config
from training.data.sources import NOT_FOR_RELEASE, fold_sets
from training.errors import ConfigError
from training.learning import trainer
from training.learning.config import TrainConfig
from training.learning.processes import Processes, asked_to_end
from training.learning.recipe import known_folds, list_stages, score_fold
from training.learning.run_folder import RunFolder
from training.learning.training_run import train

ALONE = Processes(0, 1, torch.device("cpu"))


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    """Cases of two folds: three of CT/MSDSpleen, three of MR/STS."""
    folder = write_cases(tmp_path / "cases")
    (folder / "CT/A").rename(folder / "CT/MSDSpleen")
    (folder / "MR/B").rename(folder / "MR/STS")
    return folder


def config(cases: Path, *keys: str) -> TrainConfig:
    return load_config(TrainConfig, overrides=[f"data={cases}", *KEYS, *keys])


def test_the_time_is_divided_by_shares() -> None:
    stages = list_stages(70, [0, 1, 2])
    assert [(s.name, s.fold, s.minutes) for s in stages] == [
        ("all", None, 40),
        ("fold-0", 0, 10),
        ("fold-1", 1, 10),
        ("fold-2", 2, 10),
    ]
    (alone,) = list_stages(7, [2], whole=False)
    assert alone.minutes == 7
    settings = alone.config(load_config(TrainConfig, overrides=["data=x", *KEYS]))
    assert settings.minutes == 7
    assert settings.left_out == fold_sets(2)
    with pytest.raises(ConfigError, match=r"no fold 3\. .* 0 to 2"):
        fold_sets(3)


def test_folds_are_those_of_the_data_and_judge_what_they_left_out(cases: Path) -> None:
    assert known_folds([cases]) == [0, 2]
    found = score_fold(small_network(one_look=True), config(cases), 2, ALONE)
    assert list(found) == ["MR/STS"]
    assert 0 <= found["MR/STS"] <= 1
    assert found == score_fold(small_network(one_look=True), config(cases), 2, ALONE)


def test_a_stage_ends_by_the_clock(
    cases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = count(step=0.5)
    monkeypatch.setattr(trainer.time, "perf_counter", lambda: next(seconds))
    settings = config(cases, "minutes=0.05", "average=0.9")
    run = RunFolder(tmp_path / "run", settings, resume=False, leads=True)
    trained = train(settings, run, small_network(one_look=True), ALONE)
    assert "decoder: 6 steps" in trained.provenance["training"]  # 3 seconds
    rates = np.genfromtxt(tmp_path / "run/log.csv", delimiter=",", names=True)["learning_rate"]
    assert rates[0] == pytest.approx(1e-4)
    assert rates[3] == pytest.approx(1e-4 * (0.001 + 0.999 / 2))  # half of them are over
    assert (np.diff(rates) < 0).all()


def test_a_run_that_is_asked_to_end_has_a_network_and_goes_on(cases: Path, tmp_path: Path) -> None:
    settings = config(cases, "epochs=1", "average=0.9")
    run = RunFolder(tmp_path / "run", settings, resume=False, leads=True)
    with asked_to_end() as ends:
        assert not ends()
        os.kill(os.getpid(), signal.SIGTERM)
        train(settings, run, small_network(one_look=True), ALONE, ends)
    assert run.network.exists()
    assert run.read_checkpoint()["step"] == 1
    again = RunFolder(tmp_path / "run", settings, resume=True, leads=True)
    trained = train(settings, again, small_network(one_look=True), ALONE)
    assert "decoder: 3 steps" in trained.provenance["training"]
    whole = RunFolder(tmp_path / "whole", settings, resume=False, leads=True)
    wanted = train(settings, whole, small_network(one_look=True), ALONE).net.state_dict()
    assert all(torch.equal(wanted[name], own) for name, own in trained.net.state_dict().items())


def start(*arguments: object) -> Result:
    app = Typer()
    app.command()(command.main)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_release_takes_only_sets_that_may_be(cases: Path, tmp_path: Path) -> None:
    (cases / "MR/STS").rename(cases / "MR/Mine")
    found = start("fast", cases, "--out", tmp_path / "runs", "--minutes", 1, "--release")
    assert found.exit_code == 1
    assert "MR/Mine" in found.output
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
@pytest.mark.parametrize("release", [False, True])
def test_the_fast_network_is_trained_on_and_judged(
    cases: Path, tmp_path: Path, release: bool
) -> None:
    keys = ("batch_size=2", "micro_batch=2", "samples_per_epoch=8", "--device", "cpu")
    mark = ("--release",) if release else ()
    found = start("fast", cases, *keys, "--out", tmp_path / "runs", "--minutes", 0.06, *mark)
    assert found.exit_code == 0, found.output
    assert "all: both in floating point: " in found.output
    for name, data_set in (("fold-0", "CT/MSDSpleen"), ("fold-2", "MR/STS")):
        assert f"{name}: both in floating point: " in found.output
        assert f"  {data_set}: DSC 0." in found.output
        assert read_network(tmp_path / "runs" / name / "network.pth").quant is None
    card = (tmp_path / "runs/card.md").read_text()
    assert ("| CT, MSD spleen | CC BY-SA 4.0 |" in card) == release
    assert (NOT_FOR_RELEASE in card) != release
