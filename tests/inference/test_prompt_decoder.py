"""Clicks and masks as prompts, and what a click corrects."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest
from scripted_engine import ScriptedEngine

from napari_medsamq.annotation.click_target import correction, describe_clicks
from napari_medsamq.annotation.history import LabelStyle
from napari_medsamq.annotation.session import AnnotationSession
from napari_medsamq.errors import PromptError
from napari_medsamq.inference.crop import CropTransform, Zoom
from napari_medsamq.inference.lasso import lasso_prompt
from napari_medsamq.inference.preprocess import IDENTITY
from napari_medsamq.inference.prompt_decoder import MASK_LOGIT, PromptDecoder
from napari_medsamq.io.volume import volume_from_slices
from napari_medsamq.prompts import BoxPrompt, Click
from napari_medsamq.records.recording import read_box

BOX = BoxPrompt(0, 5, 3, 5, 10, 12)
MISSING, TOO_MUCH = Click(12, 8, True), Click(5, 7, False)


class Asked(ScriptedEngine):
    """Notes what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[list, list, np.ndarray | None]] = []

    def decode(self, embedding, point_coords, point_labels, mask_input=None):  # type: ignore[no-untyped-def]
        self.asked.append((point_coords[0].tolist(), point_labels[0].tolist(), mask_input))
        return super().decode(embedding, point_coords, point_labels, mask_input)


@pytest.fixture
def session() -> AnnotationSession:
    array = np.full((12, 16, 14), 10, np.int16)
    array[3:9, 5:13, 3:11] = 200
    return AnnotationSession(volume_from_slices(array, (1, 1, 1), "block"), Asked(), IDENTITY)


def commit(
    session: AnnotationSession, click: Click | None, index: int = 5, label_id: int = 1
) -> None:
    found = correction(session, 0, index, click, label_id)
    masks = list(session.segment(found.box, found.start))
    session.commit(found.box, masks, label_id, found.replaces, found.start)


def start(session: AnnotationSession) -> np.ndarray:
    session.commit(BOX, list(session.segment(BOX)), 1)
    return session.label.copy()


def test_each_click_is_asked_with_those_before_and_the_mask_it_corrects() -> None:
    engine, transform = Asked(), CropTransform((32, 32), (1.0, 1.0))
    embedding = np.zeros((1, 256, 64, 64), np.float32)
    embedding[0, :16] = 1
    logits, _ = PromptDecoder().decode(
        engine, embedding, transform, [8, 8, 23, 23], [MISSING, TOO_MUCH], place="a slice"
    )
    (box, none, no_mask), (one, labels, first), (two, both, second) = engine.asked
    assert none == [2, 3]
    assert no_mask is None
    assert one[:2] == two[:2] == box
    assert labels == [2, 3, 1]
    assert both == [2, 3, 1, 0]
    assert two[2] == one[2] == [100, 68], "the middle of the clicked pixel"
    alone = engine.decode(embedding, np.array([box], np.float32), np.array([[2, 3]], np.float32))
    np.testing.assert_array_equal(first, alone[0][None])
    assert first.shape == second.shape == (1, 1, 256, 256)
    assert not np.array_equal(first, second)
    assert logits.shape == (256, 256)


def test_a_scribble_is_one_round_of_three_points_and_its_line_in_the_mask_it_corrects(
    session: AnnotationSession,
) -> None:
    way = Click.along([(3, 6), (9, 6)], False)
    assert [own.x for own in way.parts] == [3, 4, 5, 6, 7, 8, 9]
    assert Click.along([(9, 9)], True) == Click(9, 9, True)
    (found,) = session.segment(replace(BOX, clicks=(way,)))
    alone, (coords, labels, given) = session.engine.asked  # type: ignore[attr-defined]
    assert labels == [2, 3, 0, 0, 0]
    assert [x // 16 for x, _ in coords[2:]] == [3, 6, 9]
    before, _ = session.engine.decode(  # type: ignore[call-overload]
        session.engine.encode(session.engine.images[0]),  # type: ignore[attr-defined]
        np.array([alone[0]], np.float32),
        np.array([alone[1]], np.float32),
    )
    drawn = given[0, 0] != before[0]
    assert set(given[0, 0][drawn]) == {-MASK_LOGIT}
    rows, columns = np.nonzero(drawn)
    assert (rows // 16 == 6).mean() > 0.9
    assert columns.min() < 64 < 144 < columns.max()
    assert not found.mask[6, 3:10].any(), "each of its pixels is as it was asked to be"


def test_a_lasso_begins_with_what_it_encloses_and_clicks_correct_what_comes_of_it(
    session: AnnotationSession,
) -> None:
    lasso = lasso_prompt(0, 5, [(3, 5), (8, 5), (8, 12), (3, 12)], (16, 14))
    (found,) = session.segment(lasso)
    ((_, labels, given),) = session.engine.asked  # type: ignore[attr-defined]
    assert labels == [2, 3]
    assert set(np.unique(given)) == {-MASK_LOGIT, MASK_LOGIT}
    wanted = np.zeros((16, 14), bool)
    wanted[5:13, 3:9] = True
    np.testing.assert_array_equal(found.mask, wanted)
    (found,) = session.segment(replace(lasso, clicks=(Click(11, 8, True),)))
    assert found.mask[8, 11], "a click may lead beyond it"
    assert len(session.engine.asked) == 2, "the lasso's own answer was at hand"  # type: ignore[attr-defined]


def test_one_more_click_asks_once_and_gives_what_all_would(session: AnnotationSession) -> None:
    engine: Asked = session.engine  # type: ignore[assignment]
    other = Click(4, 6, False)

    def ask(*clicks: Click, start: np.ndarray | None = None, index: int = 5) -> int:
        """Return how often the network was asked."""
        box = replace(BOX, index=index, clicks=clicks)
        before = len(engine.asked)
        (found,) = session.segment(box, start)
        asked = len(engine.asked) - before
        fresh = AnnotationSession(session.volume, Asked(), IDENTITY)
        np.testing.assert_array_equal(found.mask, next(fresh.segment(box, start)).mask)
        return asked

    mask = np.zeros((16, 14), bool)
    mask[6:10, 4:8] = True
    inside = Click(9, 8, True)
    assert [ask(), ask(inside), ask(inside, TOO_MUCH)] == [1, 1, 1]
    assert ask(inside, TOO_MUCH) == 0
    assert ask(inside, other) == 1, "the second click was taken back"
    assert ask() == 0
    assert ask(other, inside) == 2
    assert ask(inside, index=4) == 2, "another slice"
    assert ask(other, inside, TOO_MUCH) == 1, "the first slice is still known"
    assert ask(start=mask) == 1
    assert ask(inside, start=mask) == 1
    assert ask(inside, TOO_MUCH, start=mask) == 1
    assert ask(inside, start=~mask) == 1, "another mask"
    assert ask(MISSING) == 2
    assert ask(MISSING, inside) == 1
    assert ask(inside, MISSING) == 2, "the box that holds both is known"


def test_a_mask_may_be_where_it_begins(session: AnnotationSession) -> None:
    mask = np.zeros((16, 14), bool)
    mask[6:10, 4:8] = True
    next(session.segment(BOX, mask))
    ((_, labels, given),) = session.engine.asked  # type: ignore[attr-defined]
    assert labels == [2, 3]
    assert set(np.unique(given)) == {-MASK_LOGIT, MASK_LOGIT}
    assert (given > 0).mean() == pytest.approx(16 / 16**2, rel=0.05)
    session.engine.asked.clear()  # type: ignore[attr-defined]
    next(session.segment(replace(BOX, clicks=(MISSING,)), mask))
    ((_, labels, again),) = session.engine.asked  # type: ignore[attr-defined]
    assert labels == [2, 3, 1]
    np.testing.assert_array_equal(again, given)


def test_a_click_gives_and_another_takes_and_each_is_undone_alone(
    session: AnnotationSession,
) -> None:
    box = start(session)
    commit(session, MISSING)
    given = session.label.copy()
    assert not box[5, 8, 12]
    assert given[5, 8, 12] == 1
    commit(session, TOO_MUCH)
    assert session.label[5, 7, 5] == 0
    assert session.label[5, 8, 12] == 1
    assert len(session.history.prompts) == 1, "they are one box with two clicks"
    assert session.history.undo().name == "correction of Label 1"  # type: ignore[union-attr]
    np.testing.assert_array_equal(session.label, given)
    session.history.undo()
    np.testing.assert_array_equal(session.label, box)
    session.history.redo()
    np.testing.assert_array_equal(session.label, given)


def test_the_box_that_holds_the_click_is_corrected_or_the_nearest(
    session: AnnotationSession,
) -> None:
    left, right = BoxPrompt(0, 5, 1, 1, 4, 12), BoxPrompt(0, 5, 8, 1, 12, 12)
    for box in (left, right):
        session.commit(box, list(session.segment(box)), 1)
    assert correction(session, 0, 5, Click(3, 6, False), 1).box.x1 == left.x1
    assert correction(session, 0, 5, Click(9, 6, False), 1).box.x1 == right.x1
    assert correction(session, 0, 5, Click(7, 6, True), 1).box.x1 == right.x1
    assert correction(session, 0, 5, Click(5, 6, True), 1).box.x1 == left.x1


def test_a_mask_without_a_box_is_corrected_where_it_was_hit(session: AnnotationSession) -> None:
    session.label[7, 5:9, 3:7] = 1
    session.label[7, 12:14, 10:13] = 1
    before = session.label.copy()
    click = Click(4, 9, True)
    found = correction(session, 0, 7, click, 1)
    assert found.replaces is None
    assert found.start is not None
    assert found.start.sum() == 16, "the part that is nearest, and no other"
    assert (found.box.x0, found.box.y0, found.box.x1, found.box.y1) == (2, 4, 7, 9)
    commit(session, click, index=7)
    assert session.label[7, 9, 4] == 1
    np.testing.assert_array_equal(session.label[7, 12:14], before[7, 12:14])
    # The next click goes on from there, from the same mask.
    again = correction(session, 0, 7, Click(3, 5, False), 1)
    assert again.box.clicks[0] == click
    np.testing.assert_array_equal(again.start, found.start)
    session.history.undo()
    np.testing.assert_array_equal(session.label, before)


def test_a_mask_may_be_improved_without_a_click(session: AnnotationSession) -> None:
    session.label[7, 6:11, 4:14] = 1  # it reaches beyond the bright block
    commit(session, None, index=7)
    assert not session.label[7, :, 11:].any()
    assert session.label[7, 7:10, 5:9].all()


def test_where_there_is_no_mask_a_click_says_so(session: AnnotationSession) -> None:
    with pytest.raises(PromptError, match=r"no mask on this slice.*box"):
        correction(session, 0, 5, MISSING, 1)
    start(session)
    with pytest.raises(PromptError, match="outside the slice of 14 x 16"):
        correction(session, 0, 5, Click(14, 3, True), 1)
    with pytest.raises(PromptError, match="no mask"):
        correction(session, 0, 5, MISSING, 2)


def test_a_click_beyond_a_small_box_widens_what_is_shown() -> None:
    array = np.random.default_rng(0).integers(0, 255, (3, 200, 200)).astype(np.int16)
    session = AnnotationSession(
        volume_from_slices(array, (1, 1, 1), "noise"), Asked(), IDENTITY, zoom=Zoom()
    )
    box = BoxPrompt(0, 1, 20, 20, 29, 29)
    assert next(session.segment(box)).zoomed
    far = replace(box, clicks=(Click(120, 150, True),))
    answer = next(session.segment(far))
    assert not answer.zoomed
    assert answer.mask[150, 120]


class Deaf(Asked):
    """Answers boxes and masks, and hears no click."""

    def decode(self, embedding, point_coords, point_labels, mask_input=None):  # type: ignore[no-untyped-def]
        return super().decode(embedding, point_coords[:, :2], point_labels[:, :2], mask_input)


@pytest.fixture
def deaf(session: AnnotationSession) -> AnnotationSession:
    session.engine = Deaf()
    return session


def test_of_several_clicks_at_once_each_ends_as_asked(deaf: AnnotationSession) -> None:
    deaf.label[5, 5:13, 3:11] = 1
    box = replace(BOX, clicks=(MISSING, TOO_MUCH), x0=8)
    deaf.commit(box, list(deaf.segment(box)), 1)
    assert deaf.label[5, MISSING.y, MISSING.x] == 1
    assert deaf.label[5, TOO_MUCH.y, TOO_MUCH.x] == 0


def told(session: AnnotationSession, click: Click, index: int = 5, label_id: int = 1) -> str:
    """Click, and return what is said of it."""
    found = correction(session, 0, index, click, label_id)
    masks = list(session.segment(found.box, found.start))
    edit = session.commit(found.box, masks, label_id, found.replaces, found.start)
    return describe_clicks(session, found.box, found.replaces, label_id, masks, edit)


@pytest.mark.parametrize("click", [MISSING, Click(0, 0, True), Click(13, 15, True), TOO_MUCH])
@pytest.mark.parametrize("drawn", ["box", "by hand", "two boxes", "box and brush"])
def test_a_clicked_pixel_ends_as_asked_whatever_the_network_answers(
    deaf: AnnotationSession, click: Click, drawn: str
) -> None:
    if drawn == "by hand":
        deaf.label[5, 5:12, 3:10] = 1
    else:
        start(deaf)
    if drawn == "two boxes":
        other = replace(BOX, x0=2, y0=4)
        deaf.commit(other, list(deaf.segment(other)), 1)
    if drawn == "box and brush":
        before = deaf.label.reshape(-1)[:0].copy()
        deaf.label[5, 6:9, 4:7] = 1
        deaf.history.record("brush stroke", np.zeros(0, np.int64), before)
    before = deaf.label.copy()
    said = told(deaf, click)
    assert bool(deaf.label[5, click.y, click.x]) == click.positive
    changed = np.argwhere(deaf.label != before)
    assert set(changed[:, 0]) == {5}
    if drawn != "by hand":
        assert (np.abs(changed[:, 1:] - [click.y, click.x]) <= 1).all(), "only around the click"
    assert "did not follow the click" in said or not click.positive
    deaf.history.undo()
    np.testing.assert_array_equal(deaf.label, before)


def test_clicks_next_to_each_other_all_end_as_asked(deaf: AnnotationSession) -> None:
    start(deaf)
    clicks = [Click(6, 8, False), Click(7, 8, True), Click(7, 9, False), Click(12, 8, True)]
    for click in clicks:
        told(deaf, click)
    assert [bool(deaf.label[5, own.y, own.x]) for own in clicks] == [False, True, False, True]
    told(deaf, Click(6, 8, True))
    assert deaf.label[5, 8, 6] == 1, "of two clicks on a pixel the later one counts"


@pytest.mark.parametrize(("y", "x"), [(2, 2), (3, 3)])
def test_a_speck_does_not_catch_a_click_beside_it(y: int, x: int) -> None:
    array = np.full((3, 60, 60), 200, np.int16)
    array[:, 55:, 55:] = 10
    session = AnnotationSession(volume_from_slices(array, (1, 1, 1), "bright"), Asked(), IDENTITY)
    session.label[1, 10:50, 10:50] = 1
    session.label[1, 3:5, 3:5] = 1
    click = Click(x, y, True)
    found = correction(session, 0, 1, click, 1)
    assert found.start is not None
    assert found.start[10:50, 10:50].all(), "the structure, not the speck"
    assert found.start[3, 3] == (x == 3), "what was hit belongs to it"
    commit(session, click, index=1)
    assert session.label[1, y, x] == 1
    assert session.label[1, 30, 30] == 1


def test_specks_alone_are_the_structure(session: AnnotationSession) -> None:
    rows, columns = np.mgrid[:16:2, :14:2]
    session.label[7, rows, columns] = 1
    found = correction(session, 0, 7, Click(4, 5, True), 1)
    assert found.start is not None
    assert found.start.sum() == 1


def test_a_part_that_no_box_has_brought_is_corrected_itself(session: AnnotationSession) -> None:
    start(session)
    session.label[5, 14:16, 0:3] = 1
    found = correction(session, 0, 5, Click(1, 15, False), 1)
    assert found.replaces is None
    assert found.start is not None
    assert found.start.sum() == 6
    assert correction(session, 0, 5, Click(1, 13, True), 1).replaces is not None


def test_a_click_may_take_away_all_there_is(session: AnnotationSession) -> None:
    session.label[7, 13:15, 1:3] = 1
    session.engine.blind = True  # type: ignore[attr-defined]
    before = session.label.copy()
    commit(session, Click(1, 13, False), index=7)
    assert not session.label[7].any()
    session.history.undo()
    np.testing.assert_array_equal(session.label, before)


def test_what_stands_against_a_click_is_said(deaf: AnnotationSession) -> None:
    start(deaf)
    assert "belongs to Label 1 already" in told(deaf, Click(6, 8, True))
    assert "does not belong to Label 1 already" in told(deaf, Click(0, 0, False))
    deaf.label[5, 8, 12] = 2
    deaf.set_style(2, LabelStyle("Spleen", "#000000", locked=True))
    said = told(deaf, MISSING)
    assert deaf.label[5, 8, 12] == 2
    assert "stays with Spleen: it is locked" in said
    deaf.set_style(1, LabelStyle("Liver", "#000000", locked=True))
    with pytest.raises(PromptError, match=r"Liver.*locked"):
        told(deaf, TOO_MUCH)


def test_clicks_of_earlier_journals_give_the_masks_of_then(deaf: AnnotationSession) -> None:
    start(deaf)
    found = correction(deaf, 0, 5, MISSING, 1)
    content = {"box": "2d", **asdict(found.box)}
    assert read_box(content) == found.box
    for click in content["clicks"]:
        del click["binding"]
    old = read_box(content)
    assert not next(deaf.segment(old)).mask[8, 12]
    (answer,) = deaf.segment(found.box)
    assert answer.mask[8, 12]
    assert answer.unfollowed == (MISSING,)
