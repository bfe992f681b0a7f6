"""Which model is used when the user names none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from napari_medsamq import model_spec
from napari_medsamq.errors import ModelError
from napari_medsamq.model_spec import MODELS, ModelSpec, default_model


@pytest.mark.parametrize(
    ("features", "name"),
    [
        ({"avx2", "avx_vnni"}, "medsamq-int8"),
        ({"avx2", "avx512f", "avx512_vnni"}, "medsamq-int8"),
        ({"avx512f", "amx_int8", "amx_tile"}, "medsamq-int8"),
        ({"avx2", "avx512f"}, "litemedsam-float"),
        ({"asimd", "asimddp"}, "litemedsam-float"),
        (set(), "litemedsam-float"),
    ],
)
def test_processor_and_modality_decide(
    features: set[str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_spec, "cpu_features", lambda: frozenset(features))
    assert default_model("other") == MODELS / name
    for modality in ("CT", "MR"):
        fast = MODELS / "medsamq-fast" if name == "medsamq-int8" else MODELS / name
        assert default_model(modality) == fast  # type: ignore[arg-type]


def test_the_processor_of_this_computer_is_known() -> None:
    assert model_spec.cpu_features()


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
