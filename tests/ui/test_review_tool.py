"""Doubtful slices are found, shown and led to; repairs are one gesture and one step back."""

from functools import partial

import numpy as np
import pytest
from qtpy.QtCore import QEvent, Qt
from qtpy.QtTest import QTest
from scripted_engine import ScriptedEngine, load_instead, whole_box

from napari_medsamq.annotation.mask_operations import grow
from napari_medsamq.annotation.review import Grade
from napari_medsamq.plugin import SAMPLES
from napari_medsamq.ui.tools import review as review_tool
from napari_medsamq.ui.tools.propagate import LabelGap

SHIFT = Qt.KeyboardModifier.ShiftModifier


@pytest.fixture
def engine(monkeypatch):
    held = ScriptedEngine(whole_box, sees=False, iou=0.95)
    load_instead(monkeypatch, held)
    monkeypatch.setattr(review_tool, "REST_MS", 200)
    return held


def middle(_image, box):
    """Find an ellipse in a box that is a tenth wider on each side than it."""
    x0, y0, x1, y1 = box
    rows, columns = np.mgrid[:256, :256]
    across, down = (columns - (x0 + x1) / 2) / (x1 - x0), (rows - (y0 + y1) / 2) / (y1 - y0)
    return 50 * (0.5 / 1.2 - np.hypot(across, down))


@pytest.fixture
def stack(engine, dock):
    """A label on slices 8 to 15, in which two stick out from the others."""
    engine.answer = middle
    label = np.zeros(dock.session.label.shape, bool)
    rows, columns = np.ogrid[: label.shape[1], : label.shape[2]]
    label[8:16] = np.hypot((rows - 29.5) / 10, (columns - 37) / 12.5) <= 1
    # Its box is twice as large as the mask: nobody would find that in it.
    label[10] = label[14] = False
    label[[10, 14], 20:24, 25:50] = True
    label[[10, 14], 20:60, 25:28] = True
    voxels = np.flatnonzero(label)
    dock.session.history.change("drawn", voxels, np.full(voxels.size, 1, np.uint16), ())
    # The window of these tests does nothing ahead.
    dock.dock.controller.review.automatic_checks = True
    dock.workspace.refresh()
    reviewer = dock.dock.controller.review
    dock.qtbot.waitUntil(
        lambda: len(reviewer.review.slices) == 8 and reviewer.review.unchecked(0) is None,
        timeout=20_000,
    )
    dock.wait()
    return dock


def shown(window):
    return window.dock.controller.view.index


def form(window):
    return window.dock.form.measure


def strip(window):
    return window.dock.controller.slices.bar


def test_doubtful_slices_are_shown_and_keys_lead_to_them(stack):
    grades = strip(stack).grades
    assert strip(stack).isVisibleTo(stack.native)
    assert [i for i, g in enumerate(grades) if g == Grade.doubtful] == [10, 14]
    assert grades[7] is grades[16] is None
    stack.viewer.dims.set_point(0, 8 * 3.0)
    stack.press(Qt.Key.Key_N)
    assert shown(stack) == 10
    assert "Slice 11: doubtful, confidence 0." in stack.dock.status
    stack.press(Qt.Key.Key_N)
    assert shown(stack) == 14
    stack.press(Qt.Key.Key_N)
    assert shown(stack) == 14
    assert "No doubtful slice above" in stack.dock.status
    stack.press(Qt.Key.Key_N, SHIFT)
    assert shown(stack) == 10
    stack.button("Look ▶").click()
    assert shown(stack) == 14


def scroll(window, first, last):
    """Go from slice to slice by the arrow keys."""
    window.viewer.dims.set_point(0, first * 3.0)
    while shown(window) < last:
        window.press(Qt.Key.Key_Right)


def test_only_what_was_seen_is_accepted(stack):
    stack.viewer.dims.set_point(0, 8 * 3.0)
    # A jump shows nothing of what lies between.
    stack.viewer.dims.set_point(0, 12 * 3.0)
    stack.press(Qt.Key.Key_A)
    assert [i for i, g in enumerate(strip(stack).grades) if g == Grade.accepted] == [12]
    unseen = [9, 10, 11, 13, 14, 15]
    assert strip(stack).unseen == unseen
    assert "not seen yet" in strip(stack).describe(10)
    assert "not seen yet" not in strip(stack).describe(12)
    assert "slice 13 accepted" in stack.dock.status
    assert "6 with a mask have not been seen yet" in stack.dock.status
    stack.press(Qt.Key.Key_A, SHIFT)
    assert [i for i, g in enumerate(strip(stack).grades) if g == Grade.accepted] == [8, 12]
    assert strip(stack).unseen == unseen
    stack.button("Accept seen").click()
    assert "are accepted already" in stack.dock.status
    # What has changed since it was seen is another mask.
    scroll(stack, 9, 11)
    voxels = np.ravel_multi_index((9, 30, 30), stack.session.label.shape)
    erased = np.zeros(1, np.uint16)
    stack.session.history.change("erased", np.array([voxels]), erased, ())
    stack.workspace.refresh()
    stack.button("Accept seen").click()
    assert [i for i, g in enumerate(strip(stack).grades) if g == Grade.accepted] == [8, 10, 11, 12]
    assert 9 in strip(stack).unseen
    stack.press(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    stack.qtbot.waitUntil(lambda: strip(stack).grades[10] != Grade.accepted)
    assert strip(stack).grades[8] == Grade.accepted


def test_what_is_hidden_is_not_seen(stack):
    stack.viewer.dims.set_point(0, 8 * 3.0)
    table = stack.dock.form.label._table
    table.cellClicked.emit(0, 2)
    scroll(stack, 8, 15)
    assert strip(stack).unseen == [9, 10, 11, 13, 14, 15]
    stack.press(Qt.Key.Key_A)
    assert "Show Label 1 first" in stack.dock.status
    table.cellClicked.emit(0, 2)
    stack.qtbot.waitUntil(lambda: strip(stack).unseen == [9, 10, 11, 13, 14])


@pytest.mark.shown
def test_unseen_slices_are_marked_in_the_strip(stack):
    stack.viewer.dims.set_point(0, 8 * 3.0)
    image = strip(stack).grab().toImage()

    def lower(index):
        cell = strip(stack).cell(index)
        rows = range(cell.center().y() + 2, cell.bottom())
        return [image.pixelColor(x, y).value() for y in rows for x in range(*_sides(cell))]

    assert max(lower(9)) == 0
    assert max(lower(12)) > 50


def _sides(cell):
    return cell.left() + 2, cell.right() - 1


def test_accepted_slices_are_left_alone(stack):
    scroll(stack, 8, 12)
    stack.button("Accept seen").click()
    assert strip(stack).grades[8:13] == [Grade.accepted] * 5
    assert "5 slices accepted" in stack.dock.status
    stack.press(Qt.Key.Key_A)
    assert "are accepted already" in stack.dock.status
    stack.viewer.dims.set_point(0, 5 * 3.0)
    stack.press(Qt.Key.Key_A)
    assert "do not exist" in stack.dock.status
    stack.viewer.dims.set_point(0, 12 * 3.0)
    stack.press(Qt.Key.Key_N, SHIFT)
    assert shown(stack) == 12
    assert "No doubtful slice below" in stack.dock.status
    # Half a mask is another one.
    stack.viewer.dims.set_point(0, 9 * 3.0)
    stack.drag((9, 22, 28), (9, 50, 60))
    stack.wait()
    stack.qtbot.waitUntil(lambda: strip(stack).grades[9] != Grade.accepted)
    assert strip(stack).grades[8] == Grade.accepted


def test_a_propagation_leaves_what_was_accepted_and_says_so(stack):
    stack.viewer.dims.set_point(0, 15 * 3.0)
    stack.drag((15, 20, 25), (15, 39, 49))
    stack.wait()
    for index in range(8, 12):
        stack.viewer.dims.set_point(0, index * 3.0)
        stack.press(Qt.Key.Key_A)
    before = stack.session.label.copy()
    propagator = stack.dock.controller.propagate
    stack.press(Qt.Key.Key_P)
    stack.qtbot.waitUntil(lambda: not propagator.active, timeout=60_000)
    stack.wait()
    np.testing.assert_array_equal(stack.session.label[8:12], before[8:12])
    assert (stack.session.label[14] != before[14]).any()
    assert "4 slices that you accepted stayed as they were" in stack.dock.status
    # To accept what is there asks for no other propagation.
    after = stack.session.label.copy()
    stack.viewer.dims.set_point(0, 14 * 3.0)
    stack.press(Qt.Key.Key_A)
    stack.press(Qt.Key.Key_P)
    assert "Nothing has changed since the last propagation" in stack.dock.status
    stack.press(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert "Undone: acceptance of Label 1" in stack.dock.status
    stack.qtbot.waitUntil(lambda: strip(stack).grades[14] != Grade.accepted)
    stack.press(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    np.testing.assert_array_equal(stack.session.label, before)
    assert stack.session.history.undo_name == "acceptance of Label 1, 1 slice"
    np.testing.assert_array_equal(after[8:12], before[8:12])


def test_what_was_just_changed_is_accepted_as_it_is(stack):
    stack.session.operate(1, "grow", partial(grow, spacing=stack.session.volume.spacing, mm=1))
    stack.workspace.refresh()
    stack.viewer.dims.set_point(0, 12 * 3.0)
    stack.press(Qt.Key.Key_A)
    stack.wait()
    QTest.qWait(stack.dock.controller.review.rest_ms + 100)
    stack.wait()
    assert strip(stack).grades[12] == Grade.accepted


def test_slices_are_checked_anew_through_another_window(stack):
    reviewer = stack.dock.controller.review
    before = reviewer.review.confidence(9)
    stack.dock.controller.session.engine.iou = 0.5
    stack.press(Qt.Key.Key_W)
    stack.qtbot.waitUntil(
        lambda: reviewer.review.confidence(9) not in (None, before), timeout=20_000
    )
    assert reviewer.review.confidence(9) < before


def test_another_volume_is_not_told_of_checks_on_their_way(stack, engine):
    """The answer comes when the strip is gone."""
    stack.session.history.undo()
    stack.session.history.redo()
    reviewer = stack.dock.controller.review
    for review in stack.workspace.reviews.values():
        review.forget_confidence()
    reviewer.refresh()
    QTest.qWait(reviewer.rest_ms + 10)
    stack.open(SAMPLES / "mr.nrrd")
    QTest.qWait(50)
    assert stack.dock.controller.review is not reviewer
    assert form(stack).rows == {}


def test_a_propagation_keeps_what_was_repaired(stack):
    propagator = stack.dock.controller.propagate
    gap = LabelGap(0, 1, 7, 16)
    propagator.note_done(gap, [])
    assert propagator.is_done(gap, [])
    stack.dock.form.check._choice.value = "Grow"
    stack.press(Qt.Key.Key_E)
    stack.wait()
    assert propagator.is_done(gap, [])
    stack.press(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert not propagator.is_done(gap, [])


def test_nothing_is_done_to_a_slice_that_is_not_seen(stack):
    before = stack.session.label.copy()
    stack.press(Qt.Key.Key_V)
    for key, words in (
        (Qt.Key.Key_A, "Show slices first"),
        (Qt.Key.Key_R, "Show slices first"),
    ):
        stack.press(key)
        stack.wait()
        assert words in stack.dock.status
    assert not strip(stack).isVisibleTo(stack.native)
    stack.press(Qt.Key.Key_F3)
    assert stack.viewer.dims.ndisplay == 2
    assert stack.workspace.image.visible
    np.testing.assert_array_equal(stack.session.label, before)


@pytest.mark.shown
def test_a_click_on_the_strip_shows_the_slice(stack):
    stack.viewer.dims.set_point(0, 8 * 3.0)
    QTest.mouseClick(strip(stack), Qt.MouseButton.LeftButton, pos=strip(stack).cell(14).center())
    assert shown(stack) == 14
    assert "Slice 15: doubtful" in strip(stack).accessibleDescription()


@pytest.mark.shown
def test_the_strip_tells_grades_without_colour(stack):
    image = strip(stack).grab().toImage()
    looks = []
    for index in (8, 10):
        cell = strip(stack).cell(index).adjusted(1, 2, -1, -2)
        lines = range(cell.top(), cell.bottom())
        grey = [
            [image.pixelColor(x, y).value() for x in range(cell.left(), cell.right())]
            for y in lines
        ]
        looks.append(np.array(grey) > 100)
    assert 0.1 < looks[0].mean() < 1
    assert 0.1 < looks[1].mean() < 1
    assert looks[0].shape != looks[1].shape or (looks[0] != looks[1]).any()


def test_only_a_slice_with_a_mask_is_accepted_by_the_button(stack):
    button = stack.button("Accept slice")
    assert button.isEnabled()
    stack.viewer.dims.set_point(0, 0.0)
    assert not button.isEnabled()
    stack.drag((0, 16, 24), (0, 47, 55))
    stack.wait()
    assert button.isEnabled()
    stack.press(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert not button.isEnabled()


def test_a_repair_is_one_step(stack):
    before = stack.session.label.copy()
    form = stack.dock.form.check
    form._choice.value = "Keep the largest part"
    stack.press(Qt.Key.Key_E)
    stack.wait()
    assert "changes nothing" in stack.dock.status
    form._choice.value = "Grow"
    (mm,) = form._numbers
    mm.value = 1.0
    stack.button("Repair  (E)").click()
    stack.wait()
    assert (stack.session.label == 1).sum() > (before == 1).sum()
    assert "grow: Label 1: +" in stack.dock.status
    assert "accepted" not in stack.dock.status
    stack.press(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    np.testing.assert_array_equal(stack.session.label, before)


def test_a_repair_says_which_acceptances_it_takes(stack):
    form = stack.dock.form.check
    stack.press(Qt.Key.Key_A)
    stack.wait()
    assert "accepted" in stack.dock.status
    form._choice.value = "Grow"
    stack.press(Qt.Key.Key_E)
    stack.wait()
    assert " 1 accepted mask has changed, and must be accepted again." in stack.dock.status


def test_what_lies_near_another_label_is_removed_or_kept(stack):
    label = stack.session.label
    two = np.zeros(label.shape, bool)
    two[8:16, 40:45, 25:50] = True
    voxels = np.flatnonzero(two & (label == 0))
    stack.session.history.change("drawn", voxels, np.full(voxels.size, 2, np.uint16), ())
    stack.workspace.refresh()
    before = label.copy()
    form = stack.dock.form.check
    left = []
    for title in ("Subtract a structure", "Keep the overlap with a structure"):
        form._choice.value = title
        (margin,) = form._numbers
        margin.value = 2.0
        other = form._other
        assert other.isVisibleTo(form)
        assert [other.itemText(line) for line in range(other.count())] == ["Label 2"]
        stack.button("Repair  (E)").click()
        stack.wait()
        assert f"{title.lower()}: Label 1" in stack.dock.status
        left.append(label == 1)
        np.testing.assert_array_equal(label == 2, before == 2)
        stack.press(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
        np.testing.assert_array_equal(label, before)
    near = grow(before == 2, stack.session.volume.spacing, 2.0) & (before == 1)
    np.testing.assert_array_equal(left[1], near)
    np.testing.assert_array_equal(left[0], (before == 1) & ~near)
    assert near.any()
    stack.session.remove_label(2)
    stack.session.styles.pop(2, None)
    stack.workspace.refresh()
    stack.button("Repair  (E)").click()
    stack.wait()
    assert "There is no other structure for this repair" in stack.dock.status
    np.testing.assert_array_equal(label == 1, before == 1)


def test_a_repair_gives_way_to_what_is_done_meanwhile(stack):
    stack.dock.form.check._choice.value = "Shrink"
    # Not by the key, after which the tests let the window come to the answer.
    stack.dock.form.check.ask_for_repair()
    stack.session.history.undo()
    after = stack.session.label.copy()
    stack.wait()
    assert "was changed while" in stack.dock.status
    np.testing.assert_array_equal(stack.session.label, after)


def test_one_slice_has_no_grade(dock):
    dock.drag((12, 16, 24), (12, 47, 55))
    dock.wait()
    QTest.qWait(dock.dock.controller.review.rest_ms + 100)
    assert not any(strip(dock).grades)


@pytest.mark.shown
def test_the_mouse_draws_beside_the_strip(stack):
    """It lies over the picture's lower edge only."""
    assert strip(stack).geometry().height() < 30
    event = QEvent(QEvent.Type.Resize)
    assert not strip(stack).eventFilter(stack.native, event)
    assert strip(stack).geometry().bottom() <= stack.native.height()
