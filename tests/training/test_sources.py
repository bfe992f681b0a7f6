"""Data sets of one source stay in one fold, and weights for release learn from such as may be."""

from __future__ import annotations

import pytest

pytest.importorskip("pydantic")

from napari_medsamq.inference.model_choice import INT8_MODEL, MODELS
from training.data.config import MODALITIES
from training.data.sources import Folds, fold_sets, read_sources
from training.errors import DataError


def test_every_source_with_masks_is_in_one_fold() -> None:
    folds = [set(fold_sets(number)) for number in range(3)]
    masks = {name for name, own in read_sources().sets.items() if own.use == "masks"}
    assert masks <= set().union(*folds)
    assert sum(map(len, folds)) == len(set().union(*folds))
    assert {"CT/STS", "MR/STS", "PET/STS-FDG", "CT/STSextra"} <= folds[2]
    for fold in folds:
        assert {name.partition("/")[0] for name in fold & masks} >= {"CT", "MR", "US"}
    with pytest.raises(ValueError, match=r"lacks or does not know .*STS"):
        Folds(folds=(("BTCV",), ("Guangdong",)))


def test_sets_are_named_by_modality_and_licences_are_known() -> None:
    sources = read_sources()
    assert {name.partition("/")[0] for name in sources.sets} <= set(MODALITIES)
    sources.require_release(name for name, own in sources.sets.items() if own.use != "nothing")


@pytest.mark.parametrize(
    ("name", "licence", "reason"),
    [
        ("CT/Mine", "CC BY 4.0", "is not listed there"),
        ("CT/STS", "CC BY-NC 4.0", "has the licence CC BY-NC 4.0"),
        ("XRay/GBCXR-cardiomediastinum", "CC BY 4.0", "is not listed there"),
    ],
)
def test_sets_that_may_not_be_released_are_refused(name: str, licence: str, reason: str) -> None:
    sources = read_sources()
    sets = {key: own.model_copy(update={"licence": licence}) for key, own in sources.sets.items()}
    changed = sources.model_copy(update={"sets": sets})
    with pytest.raises(DataError, match=f"{name}: weights for release .*{reason}"):
        changed.require_release([name])


def test_a_card_names_each_set_once_with_its_licence() -> None:
    table = read_sources().table(["CT/STS", "Fundus/FIVES"])
    masks, images = table.split("Images alone:")
    assert "| CT, soft-tissue sarcoma | CC BY 3.0 | Vallieres" in masks
    assert "| fundus, FIVES | CC BY 4.0 | Jin" in images
    assert read_sources().table([]) == ""


def test_cards_name_sources_as_they_are_listed() -> None:
    sources = read_sources()
    rows = {f"| {own.what} | {own.licence} | {own.credit} |" for own in sources.sets.values()}
    data = (MODELS / INT8_MODEL / "README.md").read_text(encoding="utf-8").partition("## Data")[2]
    named = [line for line in data.splitlines() if line.startswith("| ")]
    assert len(named) > 20
    assert set(named) - rows == {"| modality, set | licence | source |"}
