"""Accepted masks are known, outlast propagations and programs, and are a step of the history."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scripted_engine import ScriptedEngine

from napari_medsamq.annotation.acceptance import Acceptance, kept_voxels, mask_key, still_accepted
from napari_medsamq.annotation.history import History
from napari_medsamq.annotation.session import AnnotationSession
from napari_medsamq.errors import JournalError, PromptError
from napari_medsamq.inference.preprocess import IDENTITY
from napari_medsamq.inference.slice_predictor import SliceMask
from napari_medsamq.io.volume import volume_from_slices
from napari_medsamq.records.journal import Journal
from napari_medsamq.records.journal_format import Record, read_journal
from napari_medsamq.records.recording import Recorder, Replay, restore


def draw(session: AnnotationSession, label_id: int, *place: slice | int) -> None:
    mask = np.zeros(session.label.shape, bool)
    mask[place] = True
    voxels = np.flatnonzero(mask)
    values = np.full(voxels.size, label_id, np.uint16)
    session.history.change("drawn", voxels, values, session.history.prompts)


def keys(session: AnnotationSession, axis: int, label_id: int, *indices: int) -> dict[int, bytes]:
    planes = np.moveaxis(session.label, axis, 0)
    return {index: mask_key(planes[index] == label_id) for index in indices}


@pytest.fixture
def session() -> AnnotationSession:
    """A block of label 1 on slices 2 to 7, and one of label 2 beside it."""
    array = np.full((10, 40, 50), 10, np.int16)
    array[:, 10:30, 10:30] = 200
    made = AnnotationSession(
        volume_from_slices(array, (3, 1, 1), "block"), ScriptedEngine(), IDENTITY
    )
    draw(made, 1, slice(2, 8), slice(10, 30), slice(10, 30))
    draw(made, 2, slice(2, 8), slice(10, 30), slice(30, 40))
    return made


def accepted(history: History, axis: int = 0, label_id: int = 1) -> list[int]:
    return still_accepted(history.label, history.accepted, axis, label_id)


def test_an_accepted_mask_is_known_until_it_changes(session: AnnotationSession) -> None:
    history = session.history
    edit = session.accept(0, 1, keys(session, 0, 1, 2, 3, 4))
    assert edit.name == "acceptance of Label 1, 3 slices"
    assert sorted(history.anchors(0, 1)) == accepted(history) == [2, 3, 4]
    assert history.anchors(1, 1) == history.anchors(0, 2) == {}
    draw(session, 0, 3, 15, 15)
    assert accepted(history) == [2, 4]
    history.undo()
    assert accepted(history) == [2, 3, 4], "an undo brings back what was accepted"


def test_acceptance_is_one_step_that_can_be_undone(session: AnnotationSession) -> None:
    history, before = session.history, session.label.copy()
    session.accept(0, 1, keys(session, 0, 1, 2))
    edit = session.accept(0, 1, keys(session, 0, 1, 2, 3))
    assert edit.name == "acceptance of Label 1, 1 slice"
    history.undo()
    assert accepted(history) == [2], "what was accepted earlier stays so"
    history.redo()
    assert accepted(history) == [2, 3]
    for masks, words in (
        (keys(session, 0, 1, 2, 3), "accepted already"),
        ({}, "do not exist"),
    ):
        with pytest.raises(PromptError, match=words):
            session.accept(0, 1, masks)
    history.undo()
    history.undo()
    assert accepted(history) == []
    np.testing.assert_array_equal(session.label, before)


def carried(axis: int, index: int, shape: tuple[int, int]) -> SliceMask:
    return SliceMask(axis, index, np.ones(shape, bool), 0, 0, 0)


def test_a_propagation_leaves_what_was_accepted(session: AnnotationSession) -> None:
    """Across another plane, and of another label."""
    session.accept(0, 1, keys(session, 0, 1, 2))
    session.accept(0, 2, keys(session, 0, 2, 4))
    before, history = session.label.copy(), session.history
    kept = kept_voxels(session.label, history.accepted, 1, 1)
    session.commit_carried(carried(1, 15, (10, 50)), 1, object(), kept)
    after = session.label
    np.testing.assert_array_equal(after[2], before[2])
    np.testing.assert_array_equal(after[4] == 2, before[4] == 2)
    assert (after[3, 15] == 1).all(), "what was not accepted gives way"
    assert (after[4, 15, :30] == 1).all()
    along = kept_voxels(session.label, history.accepted, 0, 1)
    np.testing.assert_array_equal(along, (before == 2) & (np.arange(10) == 4)[:, None, None])


def test_a_journal_brings_acceptances_back(session: AnnotationSession, tmp_path: Path) -> None:
    path = tmp_path / "a.journal"
    journal = Journal(path, session.volume, "key", None, pytest.fail)
    fresh = AnnotationSession(session.volume, ScriptedEngine(), IDENTITY)
    recorder = Recorder(fresh, journal, None)
    draw(fresh, 1, slice(2, 8), slice(10, 30), slice(10, 30))
    fresh.accept(0, 1, keys(fresh, 0, 1, 2, 3))
    fresh.accept(2, 1, keys(fresh, 2, 1, 15))
    fresh.accept(0, 1, keys(fresh, 0, 1, 4))
    fresh.history.undo()
    recorder.close()
    history = restore(read_journal(path).records, fresh.label.shape).history
    assert history.accepted == fresh.history.accepted
    assert accepted(history) == [2, 3]
    assert accepted(history, axis=2) == [15]
    history.redo()
    assert accepted(history) == [2, 3, 4]


def test_a_journal_that_accepts_what_is_not_there_is_refused(
    session: AnnotationSession, tmp_path: Path
) -> None:
    path = tmp_path / "a.journal"
    journal = Journal(path, session.volume, "key", None, pytest.fail)
    recorder = Recorder(session, journal, None)
    session.accept(0, 1, keys(session, 0, 1, 2))
    recorder.close()
    record = read_journal(path).records[-1]
    for wrong in ([0, 99, 1, "00"], [5, 1, 1, "00"], [0, 1, 1, "no"], [0, 1]):
        broken = Record({**record.content, "accepted": [wrong]}, record.arrays)
        with pytest.raises(JournalError):
            Replay(session.label.shape).apply(broken)


def test_what_is_known_of_nothing_accepted_costs_nothing(session: AnnotationSession) -> None:
    assert not kept_voxels(session.label, set(), 0, 1).any()
    assert still_accepted(session.label, {Acceptance(0, 2, 1, b"another")}, 0, 1) == []
