"""What an edit of a label changes and gives back, beside `test_history_model`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_engine import ScriptedEngine

from napari_medsamq.annotation.acceptance import Acceptance, mask_key
from napari_medsamq.annotation.history import History, LabelMarks, LabelStyle
from napari_medsamq.annotation.session import AnnotationSession
from napari_medsamq.inference.slice_predictor import SliceMask
from napari_medsamq.io.label_format import MAX_LABEL_ID
from napari_medsamq.io.volume import volume_from_slices
from napari_medsamq.palettes import OKABE_ITO
from napari_medsamq.prompts import BoxPrompt, BoxPrompt3D

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


box_edits = (
    st.tuples(st.just("commit"), masks(), label_ids)
    | st.tuples(st.just("replace"), masks(), label_ids, numbers)
    | st.tuples(st.just("remove prompt"), numbers)
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


def stroke(session: AnnotationSession, touched: set[int], label_id: int) -> None:
    voxels = np.array(sorted(touched))
    flat = session.label.reshape(-1)
    before = flat[voxels]
    flat[voxels] = label_id
    session.history.record("brush stroke", voxels, before)


def counted(label: np.ndarray) -> dict[int, int]:
    return {i: n for i, n in enumerate(np.bincount(label.reshape(-1)).tolist()) if i and n}


@settings(deadline=None, max_examples=40)
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


def test_a_mask_that_was_improved_takes_nothing_from_its_neighbours() -> None:
    """It is freed where the new one has it no more: not where another label has come in since."""
    session = new_session()
    session.commit(BOX, found_in(0, 1, 2), 1)
    start = session.label[0] == 1
    stroke(session, {2}, 2)
    session.commit(BOX, found_in(0), 1, start=start)
    assert session.label.reshape(-1)[:4].tolist() == [1, 0, 2, 0]


def test_what_is_accepted_again_stays_so_when_that_is_undone() -> None:
    history, nothing = History(SHAPE), np.zeros(0, np.int64)
    mask = Acceptance(0, 1, 1, mask_key(np.zeros(SHAPE[1:], bool)))
    for _ in range(2):
        history.change("accept", nothing, nothing.astype(np.uint16), marks=LabelMarks([mask]))
    history.undo()
    assert history.accepted == {mask}
    history.undo()
    assert history.accepted == set()


def test_names_that_an_edit_brings_go_with_it_unless_the_user_has_changed_them() -> None:
    history, nothing = History(SHAPE), np.zeros(0, np.int64)
    liver, spleen, mine = (LabelStyle(name, "#102030") for name in ("Liver", "Spleen", "Mine"))
    history.styles[1] = mine
    marks = LabelMarks(styles={1: liver, 2: spleen, 3: spleen})
    history.change("load", nothing, nothing.astype(np.uint16), marks=marks)
    assert history.styles == {1: liver, 2: spleen, 3: spleen}
    history.styles[3] = mine
    history.undo()
    assert history.styles == {1: mine, 3: mine}
    history.redo()
    assert history.styles == {1: liver, 2: spleen, 3: mine}


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
    assert session.history.voxel_counts == counted(session.label) == {1: 2, 2: 2}
    while session.history.undo():
        assert session.history.voxel_counts == counted(session.label)


def test_labels_that_were_changed_past_the_history_are_counted_and_copied_anew() -> None:
    session = new_session()
    session.label.reshape(-1)[:] = np.random.default_rng(0).integers(0, 4, session.label.size)
    session.history.recount()
    assert session.history.voxel_counts == counted(session.label)
    for label_id in (1, 2, 3):
        part, shown = session.history.part(label_id), np.zeros(SHAPE, bool)
        shown[part.place] = part.mask
        np.testing.assert_array_equal(shown, session.label == label_id)


def test_where_a_propagation_finds_nothing_what_an_earlier_one_found_goes() -> None:
    session = new_session()
    session.label.reshape(-1)[10] = 2
    session.commit(BOX, found_in(0, 1), 1)
    kept, whole = np.zeros(SHAPE, bool), np.ones(SHAPE[1:], bool)
    kept[1, 0, 2] = True
    for index in (0, 1):
        session.commit_carried(SliceMask(0, index, whole, 0.9, 0, 0), 1, object())
    stroke(session, {11, 23}, 3)
    before = session.label.copy()
    expected = np.where(kept, before, np.where(before == 3, 3, 0))
    expected.reshape(-1)[:2] = 1
    edit = session.commit_nothing(0, 1, [0, 1], object(), kept)
    assert edit is not None
    np.testing.assert_array_equal(session.label, expected)
    assert session.commit_nothing(0, 1, [0, 1], object(), kept) is None
    assert session.history.undo() is edit
    np.testing.assert_array_equal(session.label, before)


def test_what_is_drawn_on_slices_that_nothing_was_carried_to_stays() -> None:
    session = new_session()
    session.commit_carried(SliceMask(1, 1, np.ones((2, 4), bool), 0.9, 0, 0), 1, object())
    stroke(session, {0, 8}, 1)
    session.commit_nothing(1, 1, range(3), object(), np.zeros(SHAPE, bool))
    assert np.flatnonzero(session.label).tolist() == [0, 8]


def test_a_removed_label_leaves_no_slice_known() -> None:
    session = new_session()
    stroke(session, {1, 2, 13}, 1)
    stroke(session, {3}, 2)
    assert sorted(session.history.anchors(0, 1)) == [0, 1]
    session.remove_label(1)
    assert session.history.anchors(0, 1) == {}
    assert sorted(session.history.anchors(0, 2)) == [0]
    session.history.undo()
    assert sorted(session.history.anchors(0, 1)) == [0, 1]
    session.history.redo()
    stroke(session, {14}, 1)
    # What a brush has cleared stays known to hold nothing.
    stroke(session, {14}, 0)
    session.commit(BOX, found_in(1), 2)
    assert sorted(session.history.anchors(0, 1)) == [1]


def test_a_label_is_carried_from_the_middle_of_its_3d_box_too_where_it_has_a_mask() -> None:
    volume = volume_from_slices(np.arange(320).reshape(8, 8, 5), (1, 1, 1), "block")
    session = AnnotationSession(volume, ScriptedEngine())
    history = session.history
    axial, coronal = BoxPrompt3D((1, 0, 0), (6, 5, 4)), BoxPrompt3D((0, 1, 0), (5, 4, 4), axis=1)
    for box in (axial, coronal):
        masks = [SliceMask(box.axis, n, np.ones((8, 5), bool), 0.9, 0, 0) for n in box.slices]
        session.commit(box, masks, 1)
    assert (history.boxes_3d(0, 1), history.boxes_3d(1, 1)) == ([axial], [coronal])
    assert history.boxes_3d(0, 2) == []
    # Nothing is carried from a 3D box that nobody has corrected.
    assert history.anchor_indices(0, 1) == set()
    stroke(session, {5 * 40}, 2)
    assert history.known_indices(0, 1) == {5}
    assert sorted(history.anchors(0, 1)) == [3, 5]
    taken = BoxPrompt(0, 3, 0, 0, 4, 7)
    session.commit(taken, [SliceMask(0, 3, np.ones((8, 5), bool), 0.9, 0, 0)], 2)
    assert history.anchor_indices(0, 1) == {5}


def test_the_highest_label_id_is_counted() -> None:
    history = History(SHAPE)
    history.change("a", np.arange(2), np.full(2, MAX_LABEL_ID, np.uint16), ())
    assert history.voxel_counts == {65535: 2}


@pytest.mark.parametrize("label_id", [1, 7, 8, 65535])
def test_a_new_label_has_a_name_and_a_colour_of_the_palette(label_id: int) -> None:
    style = LabelStyle.default(label_id)
    assert style.name == f"Label {label_id}"
    assert style.color == OKABE_ITO[(label_id - 1) % 7]
