"""What users are told about the models that they can choose from."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripted_engine import ScriptedEngine
from typer.testing import CliRunner

from napari_medsamq.cli.main import app
from napari_medsamq.errors import ModelError
from napari_medsamq.inference import model_list
from napari_medsamq.inference.model_choice import MODELS, explain_default
from napari_medsamq.inference.model_list import (
    StepTimes,
    describe_choice,
    time_steps,
    validation_dsc,
)
from napari_medsamq.inference.model_spec import ModelSpec

SCORES = {"all": {"dsc": 0.85, "nsd": 0.6}, "CT": {"dsc": 0.812, "nsd": 0.6}}
SPEC = ModelSpec(name="mine", bits=8, sha256={}, provenance={}, scores=SCORES)


def test_a_line_has_the_score_of_the_images_kind_and_the_time() -> None:
    times = StepTimes(encode_ms=11.2, decode_ms=10.1)
    assert describe_choice(SPEC, "CT", times) == "mine, DSC 0.81, 21 ms"
    assert describe_choice(SPEC, "other", None) == "mine, DSC 0.85"
    assert describe_choice(SPEC, "MR", None) == "mine"
    assert validation_dsc(SPEC, "MR") is None


def test_time_is_that_of_one_slice_and_one_box() -> None:
    engine = ScriptedEngine()
    times = time_steps(engine)
    assert len(engine.images) == len(engine.boxes) == 4  # one of them warms up
    assert times.encode_ms > 0
    assert times.decode_ms > 0


@pytest.mark.parametrize("directory", sorted(MODELS.glob("*/")), ids=lambda path: path.name)
def test_shipped_models_say_what_they_score(directory: Path) -> None:
    scores = ModelSpec.read(directory).scores
    assert {"all", "CT", "MR"} <= set(scores)
    assert all(0.2 < value < 1 for row in scores.values() for value in row.values())


@pytest.mark.parametrize("scores", [{"CT": 0.8}, {"CT": {"dsc": "high"}}, [0.8]])
def test_scores_that_are_none_are_refused(tmp_path: Path, scores: object) -> None:
    files = dict.fromkeys(("encoder.xml", "encoder.bin", "decoder.xml", "decoder.bin"), "0")
    spec = ModelSpec(name="a", bits=8, sha256=files, provenance={}, scores=scores)  # type: ignore[arg-type]
    spec.write(tmp_path)
    with pytest.raises(ModelError, match="must list scores"):
        ModelSpec.read(tmp_path)


def test_the_command_lists_models_with_score_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_list, "ROUNDS", 1)
    result = CliRunner().invoke(app, ["models"])
    assert result.exit_code == 0, result.output
    for name in ("litemedsam-float", "medsamq-fast", "medsamq-int8"):
        assert f"{name}: " in result.stdout
    assert result.stdout.count("ms to encode a slice") == 3
    assert result.stdout.count("DSC: CT 0.") == 3
    assert f"Without --model: {explain_default()}" in result.stdout


def test_an_unknown_name_is_refused_in_words() -> None:
    result = CliRunner().invoke(app, ["models", "--model", "medsamq-slow"])
    assert result.exit_code == 1
    assert "medsamq-slow is no model" in result.stderr
