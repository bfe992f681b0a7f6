"""Voxels of a locked label stay with it, whatever is drawn over them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scripted_engine import ScriptedEngine

from napari_medsamq.annotation.session import AnnotationSession
from napari_medsamq.errors import PromptError
from napari_medsamq.inference.preprocess import IDENTITY
from napari_medsamq.inference.slice_predictor import SliceMask
from napari_medsamq.io.volume import volume_from_slices
from napari_medsamq.prompts import BoxPrompt

BLOCK = np.s_[2:9, 5:13, 3:8]
# Its left part, and a box over all of it, both on slice 4.
LEFT, ALL = BoxPrompt(0, 4, 3, 5, 5, 12), BoxPrompt(0, 4, 3, 5, 7, 12)


@pytest.fixture
def session() -> AnnotationSession:
    array = np.full((12, 16, 14), 10, np.int16)
    array[BLOCK] = 200
    session = AnnotationSession(
        volume_from_slices(array, (1, 1, 1), "block"), ScriptedEngine(), IDENTITY
    )
    draw(session, LEFT, 1)
    return session


def draw(session: AnnotationSession, box: BoxPrompt, label_id: int) -> None:
    session.commit(box, list(session.segment(box)), label_id)


def lock(session: AnnotationSession, label_id: int, *, locked: bool = True) -> None:
    style = replace(session.style(label_id), name="Spleen", locked=locked)
    session.set_style(label_id, style)


def mask(session: AnnotationSession) -> SliceMask:
    return next(session.segment(ALL))


def test_a_locked_label_keeps_its_voxels(session: AnnotationSession) -> None:
    lock(session, 1)
    before = session.label == 1
    draw(session, ALL, 2)
    np.testing.assert_array_equal(session.label == 1, before)
    assert np.count_nonzero(session.label == 2) == 40 - 24
    session.history.undo()
    lock(session, 1, locked=False)
    draw(session, ALL, 2)
    assert not np.any(session.label == 1)


def test_removing_a_box_over_a_locked_label_leaves_that(session: AnnotationSession) -> None:
    lock(session, 1)
    draw(session, ALL, 2)
    session.remove_prompt(session.history.prompts[-1])
    assert session.history.voxel_counts == {1: 24}


def test_a_locked_label_can_still_grow(session: AnnotationSession) -> None:
    lock(session, 1)
    draw(session, ALL, 1)
    assert session.history.voxel_counts == {1: 40}


def test_a_box_of_a_locked_label_is_not_removed(session: AnnotationSession) -> None:
    lock(session, 1)
    (own,) = session.history.prompts
    with pytest.raises(PromptError, match="take 24 voxels from Spleen, which is locked"):
        session.remove_prompt(own)
    assert session.history.voxel_counts == {1: 24}
    assert session.history.prompts == (own,)
    # Another box of the label covers all that it does.
    draw(session, ALL, 1)
    session.remove_prompt(own)
    assert session.history.voxel_counts == {1: 40}


def test_a_box_of_a_locked_label_moves_only_where_nothing_is_lost(
    session: AnnotationSession,
) -> None:
    lock(session, 1)
    (own,) = session.history.prompts
    half = replace(LEFT, y1=8)
    with pytest.raises(PromptError, match="take 12 voxels from Spleen, which is locked"):
        session.commit(half, list(session.segment(half)), 1, own)
    start = session.label[4] == 1
    with pytest.raises(PromptError, match="take 12 voxels from Spleen, which is locked"):
        session.commit(half, list(session.segment(half)), 1, None, start)
    assert session.history.voxel_counts == {1: 24}
    session.commit(ALL, list(session.segment(ALL)), 1, own)
    assert session.history.voxel_counts == {1: 40}


def test_a_propagation_frees_no_voxel_of_a_locked_label(session: AnnotationSession) -> None:
    lock(session, 1)
    found = mask(session)
    session.commit_carried(found, 1, object())
    assert session.history.voxel_counts == {1: 40}
    half = replace(found, mask=found.mask & (np.arange(14) < 5))
    with pytest.raises(PromptError, match="from Spleen, which is locked"):
        session.commit_carried(half, 1, object())
    assert session.history.voxel_counts == {1: 40}


def test_a_box_that_finds_only_locked_voxels_says_whose(session: AnnotationSession) -> None:
    lock(session, 1)
    with pytest.raises(PromptError, match="belongs to Spleen, which is locked"):
        draw(session, LEFT, 2)
    assert session.history.undo_name == "box for Label 1"


def test_a_locked_label_is_not_removed(session: AnnotationSession) -> None:
    lock(session, 1)
    with pytest.raises(PromptError, match="Spleen is locked"):
        session.remove_label(1)
    assert session.history.voxel_counts == {1: 24}


def test_the_overlap_is_told_before_and_after(session: AnnotationSession) -> None:
    counts = session.overlap([mask(session)], 2)
    assert counts == {1: 24}
    lock(session, 1, locked=False)
    before, after = (session.describe_overlap(counts, committed=done) for done in (False, True))
    assert before == " 24 voxels would be taken from Spleen."
    assert after == " 24 voxels were taken from Spleen; undo gives them back."
    lock(session, 1)
    before, after = (session.describe_overlap(counts, committed=done) for done in (False, True))
    assert before == " 24 voxels of Spleen stay: it is locked."
    assert after == " 24 voxels of Spleen stayed: it is locked."
    assert session.overlap([mask(session)], 1) == {}


def test_what_is_previewed_is_what_will_be_written(session: AnnotationSession) -> None:
    assert session.without_locked(mask(session), 2).mask.sum() == 40
    lock(session, 1)
    shown = session.without_locked(mask(session), 2).mask
    draw(session, ALL, 2)
    np.testing.assert_array_equal(shown, session.label[4] == 2)


def test_a_stroke_over_a_locked_label_is_taken_back_there_alone(session: AnnotationSession) -> None:
    lock(session, 1)
    label = session.label.reshape(-1)
    voxels = np.flatnonzero(session.label[4]) + 4 * 16 * 14
    voxels = np.union1d(voxels[:3], [0, 1])  # three of the locked label, two of nothing
    before = label[voxels]
    label[voxels] = 2
    given_back = session.record("brush stroke", voxels, before)
    assert given_back.size == 3
    assert session.history.voxel_counts == {1: 24, 2: 2}
    assert label[voxels].tolist() == [2, 2, 1, 1, 1]
