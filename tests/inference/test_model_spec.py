"""What the description of a model directory has to say."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from scripted_engine import CARRIER

from napari_medsamq.errors import ModelError
from napari_medsamq.inference.model_choice import MODELS, shipped_models
from napari_medsamq.inference.model_spec import ModelSpec
from napari_medsamq.inference.preprocess import BoxRule
from napari_medsamq.prompts import CarryPrompt


@pytest.mark.parametrize(
    ("name", "bits"), [("medsamq-fast", 8), ("medsamq-int8", 8), ("litemedsam-float", 32)]
)
def test_shipped_models_are_whole(name: str, bits: int) -> None:
    spec = ModelSpec.read(MODELS / name)
    spec.verify(MODELS / name)
    assert (spec.name, spec.bits) == (name, bits)
    assert spec.provenance["licence"].startswith("Apache-2.0")


@pytest.mark.parametrize("name", ["", "/home/doe/model", "doe\\\\model", 7])
def test_a_name_that_is_a_folder_is_refused(tmp_path: Path, name: object) -> None:
    """It is written down beside labels."""
    content = json.loads((MODELS / "medsamq-fast" / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps(content | {"name": name}))
    with pytest.raises(ModelError, match="the name of its folder alone is expected"):
        ModelSpec.read(tmp_path)


def test_published_weights_alone_get_boxes_as_published() -> None:
    rules = {path.name: ModelSpec.read(path).preprocessing.box for path in shipped_models()}
    assert rules == {
        "litemedsam-float": BoxRule.published,
        "medsamq-fast": BoxRule.far_edge,
        "medsamq-int8": BoxRule.far_edge,
    }


@pytest.fixture
def description(tmp_path: Path) -> dict[str, Any]:
    shutil.copy(MODELS / "medsamq-fast/model.json", tmp_path)
    content: dict[str, Any] = json.loads((tmp_path / "model.json").read_text())
    return content


@pytest.mark.parametrize("version", [1, 2])
def test_a_directory_of_before_is_read_and_written_as_one_of_today(
    description: dict[str, Any], tmp_path: Path, version: int
) -> None:
    today = ModelSpec.read(tmp_path)
    description["format_version"] = version
    if version == 1:
        del description["preprocessing"]["box"]
    (tmp_path / "model.json").write_text(json.dumps(description))
    assert ModelSpec.read(tmp_path) == today
    ModelSpec.read(tmp_path).write(tmp_path)
    written = json.loads((tmp_path / "model.json").read_text())
    assert (written["format_version"], written["preprocessing"]["box"]) == (3, BoxRule.far_edge)


@pytest.mark.parametrize(
    ("prompts", "files", "asked"),
    [
        (None, {}, CarryPrompt.box),
        ("boxes", {}, CarryPrompt.box),
        ("boxes, clicks and masks", {}, CarryPrompt.box_and_mask),
        ("boxes, clicks and masks", CARRIER, CarryPrompt.carried),
    ],
)
def test_a_structure_is_carried_by_what_the_network_has_learnt(
    prompts: str | None, files: dict[str, str], asked: CarryPrompt
) -> None:
    provenance = {} if prompts is None else {"prompts": prompts}
    assert ModelSpec("own", 8, files, provenance).carry_prompt is asked


@pytest.mark.parametrize("box", [None, "the middle of the last pixel", BoxRule.near_edge.value, 7])
def test_a_rule_for_boxes_that_is_not_known_is_refused(
    description: dict[str, Any], tmp_path: Path, box: object
) -> None:
    description["preprocessing"]["box"] = box
    if box is None:
        del description["preprocessing"]["box"]
    (tmp_path / "model.json").write_text(json.dumps(description))
    with pytest.raises(ModelError, match=r"model\.json .*Export the model again"):
        ModelSpec.read(tmp_path)
