"""Which model is used when the user names none, and how one is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_medsamq.errors import ModelError
from napari_medsamq.inference import model_choice
from napari_medsamq.inference.model_choice import MODELS, default_model, explain_default, find_model


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
    monkeypatch.setattr(model_choice, "cpu_features", lambda: frozenset(features))
    assert default_model("other") == MODELS / name
    for modality in ("CT", "MR"):
        fast = MODELS / "medsamq-fast" if name == "medsamq-int8" else MODELS / name
        assert default_model(modality) == fast  # type: ignore[arg-type]


def test_the_processor_of_this_computer_is_known() -> None:
    assert model_choice.cpu_features()


@pytest.mark.parametrize(
    ("features", "words"),
    [({"avx_vnni"}, "medsamq-fast for CT and MR, medsamq-int8"), (set(), "litemedsam-float for")],
)
def test_the_default_is_explained(
    features: set[str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_choice, "cpu_features", lambda: frozenset(features))
    assert explain_default().startswith(words)


def test_a_model_is_found_by_name_or_folder(tmp_path: Path) -> None:
    assert find_model("medsamq-fast") == MODELS / "medsamq-fast"
    assert find_model(str(tmp_path)) == tmp_path
    with pytest.raises(ModelError, match=r"medsamq-slow is no model.*medsamq-int8"):
        find_model("medsamq-slow")
