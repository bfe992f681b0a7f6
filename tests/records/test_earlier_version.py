"""A journal, a label and its provenance, as an earlier version has written them, are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scripted_engine import ScriptedEngine, load_instead

from napari_medsamq.annotation.history import LabelStyle
from napari_medsamq.annotation.session import AnnotationSession
from napari_medsamq.inference.preprocess import IDENTITY, BoxRule
from napari_medsamq.io.labels import read_label
from napari_medsamq.io.volume import Volume, read_volume, volume_hash
from napari_medsamq.records import replay_check
from napari_medsamq.records.journal import check_volume
from napari_medsamq.records.journal_format import Content, read_journal
from napari_medsamq.records.provenance import (
    LabelSnapshot,
    read_provenance,
    save_with_provenance,
)
from napari_medsamq.records.recording import restore
from napari_medsamq.records.replay_check import ReplayCheck

FOLDER = Path(__file__).parents[1] / "data" / "earlier_version"
JOURNAL, LABEL = FOLDER / "session.journal", FOLDER / "label.nii.gz"


@pytest.fixture
def volume() -> Volume:
    return read_volume(FOLDER / "image.nii.gz").with_modality("CT")


@pytest.fixture
def content(volume: Volume) -> Content:
    content = read_journal(JOURNAL)
    check_volume(JOURNAL, content, volume_hash(volume))
    assert not content.damaged
    return content


def test_its_journal_gives_the_label_and_the_way_back(volume: Volume, content: Content) -> None:
    found = restore(content.records, volume.data.shape)
    label = read_label(LABEL, volume).label
    np.testing.assert_array_equal(found.history.label, label)
    assert found.history.voxel_counts == {1: 319, 2: 36, 3: 4}
    assert found.styles[1].name == "Liver"
    assert found.styles[2] == LabelStyle("Spleen", "#123456", locked=True)
    assert list(dict.fromkeys(edit.name for edit in found.history.edits)) == [
        "box for Label 1",
        "correction of Label 1",
        "propagation of Liver",
        "acceptance of Liver, 1 slice",
        "box for Label 2",
        "brush stroke",
        "correction of Liver",
    ]
    assert len(found.history.accepted) == 1
    while found.history.undo() is not None:
        pass
    assert not found.history.label.any()
    while found.history.redo() is not None:
        pass
    np.testing.assert_array_equal(found.history.label, label)


def test_its_provenance_is_what_is_written_today(
    volume: Volume, content: Content, tmp_path: Path
) -> None:
    found = restore(content.records, volume.data.shape)
    session = AnnotationSession(volume, ScriptedEngine(), IDENTITY)
    session.restore(found.history, found.styles)
    saved = save_with_provenance(tmp_path / LABEL.name, LabelSnapshot.of(session))
    before, now = read_provenance(LABEL), read_provenance(saved.receipt.path)
    for one in (before, now):
        for changing in ("saved", "software", "cpu"):
            del one[changing]
    # It had no other rule for boxes, and wrote none down.
    before["settings"] = [
        {**own, "box_rule": BoxRule.near_edge.value} for own in before["settings"]
    ]
    assert now == before


def test_its_masks_are_asked_for_again(
    volume: Volume, content: Content, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_instead(monkeypatch, ScriptedEngine())
    monkeypatch.setattr(replay_check, "shipped_model", lambda name: Path(name))
    check = ReplayCheck(volume, None)
    for record in content.records:
        check.apply(record)
    assert check.verdict.masks == 8
    for rule in ("rule for boxes", "rule for where a propagation ends"):
        assert any(rule in other for other in check.verdict.others)
