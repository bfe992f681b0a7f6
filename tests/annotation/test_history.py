"""Any sequence of edits can be walked back and forth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_engine import ScriptedEngine

from napari_medsamq.annotation.history import History, LabelStyle
from napari_medsamq.annotation.session import AnnotationSession
from napari_medsamq.inference.slice_predictor import SliceMask
from napari_medsamq.io.segments import MAX_LABEL_ID
from napari_medsamq.io.volume import volume_from_slices
from napari_medsamq.palettes import OKABE_ITO
from napari_medsamq.prompts import BoxPrompt

SHAPE = (2, 3, 4)
BOX = BoxPrompt(0, 0, 0, 0, 1, 1)

label_ids = st.integers(1, 3)
numbers = st.integers(0, 10)


@st.composite
def masks(draw: st.DrawFn) -> list[SliceMask]:
    """A rectangle on each of one or two slices across one axis, as a box would find it."""
    axis = draw(st.integers(0, 2))
    height, width = np.delete(SHAPE, axis)
    found = []
    for index in draw(st.sets(st.integers(0, SHAPE[axis] - 1), min_size=1, max_size=2)):
        mask = np.zeros((height, width), bool)
        top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        mask[top : top + draw(st.integers(1, 3)), left : left + draw(st.integers(1, 4))] = True
        found.append(SliceMask(axis, index, mask, 0.9, 0, 0))
    return found


strokes = st.sets(st.integers(0, np.prod(SHAPE).item() - 1), min_size=1, max_size=6)
box_edits = (
    st.tuples(st.just("commit"), masks(), label_ids)
    | st.tuples(st.just("replace"), masks(), label_ids, numbers)
    | st.tuples(st.just("remove prompt"), numbers)
)
edits = (
    box_edits
    | st.tuples(st.just("remove label"), label_ids)
    | st.tuples(st.just("brush"), strokes, st.integers(0, 3))
)


def new_session() -> AnnotationSession:
    return AnnotationSession(
        volume_from_slices(np.arange(24).reshape(SHAPE), (3, 1, 1), "small"), ScriptedEngine()
    )


def make(session: AnnotationSession, edit: tuple[Any, ...]) -> None:
    """Make one edit; one of a prompt does nothing where there is none."""
    history = session.history
    match edit:
        case "commit", found, label_id:
            session.commit(BOX, found, label_id)
        case "replace", found, label_id, number if history.prompts:
            replaced = history.prompts[number % len(history.prompts)]
            session.commit(BOX, found, label_id, replaces=replaced)
        case "remove prompt", number if history.prompts:
            session.remove_prompt(history.prompts[number % len(history.prompts)])
        case "remove label", label_id:
            session.remove_label(label_id)
        case "brush", touched, label_id:
            stroke(session, touched, label_id)


def stroke(session: AnnotationSession, touched: set[int], label_id: int) -> None:
    voxels = np.array(sorted(touched))
    flat = session.label.reshape(-1)
    before = flat[voxels]
    flat[voxels] = label_id
    session.history.record("brush stroke", voxels, before)


def counted(label: np.ndarray) -> dict[int, int]:
    return {i: n for i, n in enumerate(np.bincount(label.reshape(-1)).tolist()) if i and n}


def state(session: AnnotationSession) -> tuple[Any, ...]:
    history = session.history
    assert history.voxel_counts == counted(history.label)
    return history.label.tolist(), history.prompts, history.voxel_counts


@settings(deadline=None)
@given(st.lists(edits, max_size=12))
def test_undo_and_redo_pass_through_every_state(sequence: list[tuple[Any, ...]]) -> None:
    session = new_session()
    history = session.history
    label = history.label
    states = [state(session)]
    for edit in sequence:
        make(session, edit)
        states.append(state(session))
    # An edit that found no prompt to work on entered nothing.
    states = [now for n, now in enumerate(states) if n == 0 or made(sequence[n - 1], states[n - 1])]
    for expected in states[-2::-1]:
        assert history.undo() is not None
        assert state(session) == expected
    assert history.undo() is None
    assert not label.any()
    assert history.prompts == ()
    for expected in states[1:]:
        assert history.redo() is not None
        assert state(session) == expected
    assert history.redo() is None
    assert history.label is label


def made(edit: tuple[Any, ...], before: tuple[Any, ...]) -> bool:
    return bool(before[1]) or edit[0] not in ("replace", "remove prompt")


@settings(deadline=None)
@given(st.lists(box_edits, max_size=10))
def test_the_label_is_what_the_remaining_boxes_give_in_their_order(
    sequence: list[tuple[Any, ...]],
) -> None:
    session = new_session()
    for edit in sequence:
        make(session, edit)
    expected = np.zeros(SHAPE, np.uint16)
    for prompt in session.history.prompts:
        expected.reshape(-1)[prompt.voxels] = prompt.label_id
    np.testing.assert_array_equal(session.label, expected)


@settings(deadline=None)
@given(st.lists(edits, max_size=6), edits)
def test_a_new_edit_ends_what_could_be_redone(
    sequence: list[tuple[Any, ...]], last: tuple[Any, ...]
) -> None:
    session = new_session()
    for edit in sequence:
        make(session, edit)
    session.history.undo()
    before = state(session)
    make(session, last)
    if made(last, before):
        assert session.history.redo() is None
        assert session.history.undo() is not None
        assert state(session) == before


def found_in(*voxels: int) -> list[SliceMask]:
    mask = np.zeros(SHAPE[1:], bool)
    mask.reshape(-1)[list(voxels)] = True
    return [SliceMask(0, 0, mask, 0.9, 0, 0)]


def test_voxels_of_a_removed_box_go_to_the_latest_box_below() -> None:
    session = new_session()
    for label_id, covered in ((1, (0, 1, 2)), (2, (1, 2)), (3, (0, 1, 2, 3))):
        session.commit(BOX, found_in(*covered), label_id)
    session.remove_prompt(session.history.prompts[2])
    assert session.label.reshape(-1)[:4].tolist() == [1, 2, 2, 0]


def test_what_was_painted_over_a_box_survives_its_removal() -> None:
    session = new_session()
    session.commit(BOX, found_in(0, 1, 2), 1)
    session.commit(BOX, found_in(1, 2, 3), 2)
    stroke(session, {1}, 3)
    stroke(session, {2}, 0)
    session.remove_prompt(session.history.prompts[1])
    assert session.label.reshape(-1)[:4].tolist() == [1, 3, 0, 0]


def test_what_can_be_undone_and_redone_has_a_name() -> None:
    session = new_session()
    history = session.history
    assert (history.undo_name, history.redo_name) == (None, None)
    stroke(session, {1, 2}, 3)
    assert (history.undo_name, history.redo_name) == ("brush stroke", None)
    history.undo()
    assert (history.undo_name, history.redo_name) == (None, "brush stroke")


def test_a_voxel_changed_past_the_history_survives_undo_and_redo() -> None:
    history = History(SHAPE)
    history.change("a", np.arange(6), np.full(6, 1, np.uint16), ())
    history.label[0, 0, 2] = 9
    history.undo()
    assert np.flatnonzero(history.label).tolist() == [2]
    assert history.label[0, 0, 2] == 9
    history.redo()
    assert history.label.reshape(-1)[:6].tolist() == [1, 1, 9, 1, 1, 1]


def test_an_edit_in_the_middle_of_a_stroke_leaves_the_counts_right() -> None:
    session = new_session()
    flat, touched = session.label.reshape(-1), np.arange(4)
    before = flat[touched].copy()
    flat[touched] = 2
    session.commit(BOX, found_in(0, 1), 1)
    session.history.record("brush stroke", touched, before, recount=True)
    assert state(session)[2] == {1: 2, 2: 2}
    while session.history.undo():
        assert session.history.voxel_counts == counted(session.label)


def test_a_removed_label_leaves_no_slice_known() -> None:
    session = new_session()
    stroke(session, {1, 2, 13}, 1)
    stroke(session, {3}, 2)
    assert sorted(session.history.known_slices(0, 1)) == [0, 1]
    session.remove_label(1)
    assert session.history.known_slices(0, 1) == {}
    assert sorted(session.history.known_slices(0, 2)) == [0]
    session.history.undo()
    assert sorted(session.history.known_slices(0, 1)) == [0, 1]
    session.history.redo()
    stroke(session, {14}, 1)
    # What a brush has cleared stays known to hold nothing.
    stroke(session, {14}, 0)
    session.commit(BOX, found_in(1), 2)
    assert sorted(session.history.known_slices(0, 1)) == [1]


def test_the_highest_label_id_is_counted() -> None:
    history = History(SHAPE)
    history.change("a", np.arange(2), np.full(2, MAX_LABEL_ID, np.uint16), ())
    assert history.voxel_counts == {65535: 2}


@pytest.mark.parametrize("label_id", [1, 7, 8, 65535])
def test_a_new_label_has_a_name_and_a_colour_of_the_palette(label_id: int) -> None:
    style = LabelStyle.default(label_id)
    assert style.name == f"Label {label_id}"
    assert style.color == OKABE_ITO[(label_id - 1) % 7]
