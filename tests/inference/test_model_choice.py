"""Which model is used when the user names none, and how one is named."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from napari_medsamq.errors import ModelError
from napari_medsamq.inference import model_choice
from napari_medsamq.inference.model_choice import (
    MODELS,
    cpu_features,
    default_model,
    explain_default,
    find_model,
    floating_parts,
)


@pytest.mark.parametrize(
    ("features", "other", "floating"),
    [
        ({"avx2", "avx_vnni"}, "medsamq-int8", ()),
        ({"avx2", "avx512f", "avx512_vnni"}, "medsamq-int8", ()),
        ({"avx2", "avx512f", "amx_int8", "amx_tile"}, "medsamq-int8", ()),
        ({"avx2", "avx512f"}, "medsamq-fast", ("decoder",)),
        ({"avx2"}, "medsamq-fast", ("decoder",)),
        ({"asimd", "asimddp"}, "medsamq-fast", ("encoder", "decoder")),
    ],
    ids=["AVX-VNNI", "AVX-512 VNNI", "AMX", "AVX-512", "AVX2", "Arm"],
)
def test_processor_and_modality_decide(
    features: set[str], other: str, floating: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_choice, "cpu_features", lambda: frozenset(features))
    assert default_model("other") == MODELS / other
    assert default_model("CT") == default_model("MR") == MODELS / "medsamq-fast"
    assert floating_parts() == floating


@pytest.mark.parametrize(
    ("limit", "left"),
    [
        ("AVX2", {"avx", "avx2"}),
        ("avx2_vnni", {"avx", "avx2", "avx_vnni"}),
        ("AVX512_CORE", {"avx", "avx2", "avx512f"}),
        ("AVX512_CORE_VNNI", {"avx", "avx2", "avx_vnni", "avx512f", "avx512_vnni"}),
        ("SSE41", set()),
        ("", {"avx", "avx2", "avx_vnni", "avx512f", "avx512_vnni", "amx_int8"}),
    ],
)
def test_what_openvino_is_kept_off_is_no_instruction(
    limit: str, left: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    features = {"avx", "avx2", "avx_vnni", "avx512f", "avx512_vnni", "amx_int8", "sse4_1"}
    monkeypatch.setattr(model_choice, "detected_info", lambda: SimpleNamespace(features=features))
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    assert cpu_features.__wrapped__() == left | {"sse4_1"}


def test_the_processor_of_this_computer_is_known() -> None:
    assert model_choice.cpu_features()


@pytest.mark.parametrize(
    ("features", "words"),
    [({"avx_vnni"}, "medsamq-fast for CT and MR, medsamq-int8"), ({"avx2"}, "medsamq-fast for")],
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
