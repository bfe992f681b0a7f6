"""Clicks correct masks, in a real window with a real mouse."""

import numpy as np
import pytest
from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QColor
from qtpy.QtTest import QTest

from napari_medsamq.prompts import Click

BOX = ((12, 16, 24), (12, 40, 50))
MISSING, TOO_MUCH = (12, 46, 40), (12, 20, 30)
RIGHT, LEFT = Qt.MouseButton.RightButton, Qt.MouseButton.LeftButton
NONE, ALT = Qt.MouseButton.NoButton, Qt.KeyboardModifier.AltModifier


def click(window, voxel, which=LEFT, **modifier):
    place = window.pixel(voxel)
    window.mouse(QEvent.Type.MouseMove, place, NONE, NONE)
    window.mouse(QEvent.Type.MouseButtonPress, place, which, which, **modifier)
    QTest.qWait(15)
    window.mouse(QEvent.Type.MouseButtonRelease, place, which, NONE, **modifier)
    QTest.qWait(15)


@pytest.fixture
def clicking(dock):
    """A box is drawn, and clicks correct it."""
    dock.drag(*BOX)
    dock.wait()
    dock.press(Qt.Key.Key_C)
    dock.wait()
    return dock


@pytest.mark.shown
def test_clicks_add_and_remove_and_are_seen_and_undo_takes_back_one(clicking):
    window, label = clicking, clicking.session.label
    assert not label[MISSING]
    click(window, MISSING)
    window.wait()
    assert label[MISSING] == 1
    given = label.copy()
    click(window, TOO_MUCH, RIGHT)
    window.wait()
    assert label[TOO_MUCH] == 0
    assert label[MISSING] == 1
    (prompt,) = window.session.history.prompts
    assert prompt.box.clicks == (Click(40, 46, True), Click(30, 20, False))
    assert len(window.workspace.marks.data) == 2
    picture = window.viewer.screenshot(canvas_only=True, flash=False)[..., :3].astype(int)
    for color in ((0, 158, 115), (213, 94, 0)):
        assert (np.abs(picture - color).sum(2) < 60).sum() > 10
    window.press(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    window.wait()
    np.testing.assert_array_equal(label, given)
    assert len(window.workspace.marks.data) == 1
    assert window.workspace.boxes.nshapes == 1


def test_the_label_is_drawn_anew_for_the_answer_alone(clicking):
    drawn, label = [], clicking.workspace.labels
    label.events.set_data.connect(lambda: drawn.append(clicking.session.label[MISSING]))
    click(clicking, MISSING)
    clicking.wait()
    assert len(clicking.workspace.marks.data) == 1
    assert drawn == [1]


def test_a_click_on_air_around_the_patient_is_told(clicking):
    click(clicking, (12, 2, 2))
    clicking.wait()
    assert "You clicked on air that reaches the edge of the picture." in clicking.dock.status
    click(clicking, MISSING)
    clicking.wait()
    assert "air" not in clicking.dock.status


def test_alt_and_click_removes_too(clicking):
    click(clicking, TOO_MUCH, RIGHT)
    clicking.wait()
    assert clicking.session.label[TOO_MUCH] == 0


@pytest.mark.shown
@pytest.mark.parametrize("key", [None, Qt.Key.Key_S])
def test_a_scribble_is_one_step_and_is_seen(clicking, key):
    window, before = clicking, clicking.session.label.copy()
    if key is not None:
        window.press(key)
        assert window.button("Scribble").isChecked()
    centre = window.viewer.scene.camera.center
    shift = {"modifier": Qt.KeyboardModifier.ShiftModifier} if key is None else {}
    start, stop = window.pixel((12, 46, 28)), window.pixel((12, 46, 44))
    window.mouse(QEvent.Type.MouseMove, start, NONE, NONE)
    window.mouse(QEvent.Type.MouseButtonPress, start, LEFT, LEFT, **shift)
    for share in np.linspace(0, 1, 9)[1:]:
        QTest.qWait(15)
        window.mouse(QEvent.Type.MouseMove, start + share * (stop - start), NONE, LEFT, **shift)
    middle = window.pixel((12, 46, 36)).round().astype(int)

    def line_is_green():
        picture = window.native.grab().toImage()
        return any(
            QColor(picture.pixel(middle[0], middle[1] + off)).name() == "#009e73"
            for off in range(-3, 4)
        )

    # Line and preview are painted as one.
    window.qtbot.waitUntil(line_is_green)
    assert window.workspace.preview.visible
    window.mouse(QEvent.Type.MouseButtonRelease, stop, LEFT, NONE, **shift)
    window.wait()
    (prompt,) = window.session.history.prompts
    (scribble,) = prompt.box.clicks
    assert scribble.stroke == tuple((column, 46) for column in range(28, 45))
    assert len(window.workspace.marks.data) == 3
    assert window.session.label[12, 46, 28:45].all()
    assert window.viewer.scene.camera.center == centre, "the picture has not moved"
    assert window.viewer.scene.camera.mouse_pan
    window.press(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    window.wait()
    np.testing.assert_array_equal(window.session.label, before)


@pytest.fixture
def deaf(clicking, engine, monkeypatch):
    """The network hears no clicks, and does not come up to the sides of its box."""
    decode = engine.decode

    def inside(embedding, coords, labels, mask=None):
        return decode(embedding, coords[:, :2] + [[8, 8], [-8, -8]], labels[:, :2], mask)

    monkeypatch.setattr(engine, "decode", inside)
    return clicking


@pytest.mark.parametrize("drawn", [True, False])
def test_clicks_that_the_network_does_not_follow_count_all_the_same(deaf, drawn):
    index = 12 if drawn else 14
    if not drawn:
        # As if it had been carried there, with a speck beside what is missing.
        deaf.session.label[14, 16:41, 24:51] = 1
        deaf.session.label[14, 44, 44:46] = 1
        deaf.viewer.dims.set_point(0, 14 * 3.0)
    label = deaf.session.label
    missing, middle = (index, 46, 44), (index, 28, 38)
    click(deaf, missing)
    deaf.wait()
    assert label[missing] == 1
    assert "did not follow the click: only a small disc around it was added" in deaf.dock.status
    assert label[middle] == 1
    click(deaf, middle, RIGHT)
    deaf.wait()
    assert label[middle] == 0
    assert "disc around it was taken away" in deaf.dock.status
    assert label[missing] == 1
    assert (label[index] == 1).sum() > 500
    before = label.copy()
    click(deaf, (index, 28, 38), RIGHT)
    deaf.wait()
    np.testing.assert_array_equal(label, before)
    assert "changed nothing" in deaf.dock.status


def test_a_scribble_may_leave_the_picture(clicking):
    window, shift = clicking, {"modifier": Qt.KeyboardModifier.ShiftModifier}
    window.mouse(QEvent.Type.MouseMove, window.pixel((12, 46, 6)), NONE, NONE)
    window.mouse(QEvent.Type.MouseButtonPress, window.pixel((12, 46, 6)), LEFT, LEFT, **shift)
    for column in (0, -6):
        QTest.qWait(15)
        place = window.pixel((12, 46, column))
        window.mouse(QEvent.Type.MouseMove, place, NONE, LEFT, **shift)
    window.mouse(QEvent.Type.MouseButtonRelease, place, LEFT, NONE, **shift)
    window.wait()
    (prompt,) = window.session.history.prompts
    assert all(0 <= own.x < 80 for click in prompt.box.clicks for own in click.parts)
    assert window.session.label[12, 46, 6] == 1


def stroke(window, voxels, which=LEFT):
    """Draw a line through voxels of the slice in view."""
    places = [window.pixel(voxel) for voxel in voxels]
    window.mouse(QEvent.Type.MouseMove, places[0], NONE, NONE)
    window.mouse(QEvent.Type.MouseButtonPress, places[0], which, which)
    for place in places[1:]:
        QTest.qWait(15)
        window.mouse(QEvent.Type.MouseMove, place, NONE, which)
    window.mouse(QEvent.Type.MouseButtonRelease, places[-1], which, NONE)
    window.wait()


@pytest.mark.parametrize("plane", [0, 1, 2])
def test_a_lasso_and_a_scribble_by_the_right_button_on_every_plane(dock, plane):
    def place(row, column):
        voxel = [row, column]
        voxel.insert(plane, 12)
        return tuple(voxel)

    dock.press((Qt.Key.Key_F2, Qt.Key.Key_F3, Qt.Key.Key_F4)[plane])
    dock.viewer.dims.set_point(plane, 12 * float(dock.session.volume.spacing[plane]))
    dock.press(Qt.Key.Key_F)
    assert dock.button("Lasso").isChecked()
    label = dock.session.label
    corners = [place(*at) for at in ((4, 10), (4, 20), (14, 20), (14, 10), (5, 10))]
    stroke(dock, corners)
    assert "Label 1" in dock.dock.status
    (prompt,) = dock.session.history.prompts
    assert (prompt.box.axis, prompt.box.index) == (plane, 12)
    assert len(prompt.box.lasso) == 5
    drawn = label.copy()
    assert drawn[place(9, 15)] == 1
    assert drawn[place(9, 25)] == 0
    stroke(dock, corners[:2])
    assert "encloses nothing" in dock.dock.status or "three different" in dock.dock.status
    np.testing.assert_array_equal(label, drawn)
    dock.button("Scribble").click()
    stroke(dock, [place(6, 12), place(6, 15), place(6, 18)], RIGHT)
    assert not np.moveaxis(label, plane, 0)[12, 6, 12:19].any()
    control = Qt.KeyboardModifier.ControlModifier
    for wanted in (drawn, np.zeros_like(drawn)):
        dock.press(Qt.Key.Key_Z, control)
        dock.wait()
        np.testing.assert_array_equal(label, wanted)


def test_a_lasso_that_is_moved_is_the_same_one_and_of_another_size_a_box(dock):
    alt, shift = Qt.KeyboardModifier.AltModifier, Qt.KeyboardModifier.ShiftModifier
    dock.press(Qt.Key.Key_F)
    stroke(dock, [(12, 20, 20), (12, 20, 30), (12, 30, 30), (12, 30, 20)])
    (before,) = dock.session.history.prompts
    for modifier, lasso in ((alt, [(x + 1, y) for x, y in before.box.lasso]), (alt | shift, [])):
        dock.press(Qt.Key.Key_Right, modifier)
        dock.wait()
        (after,) = dock.session.history.prompts
        assert after.box.lasso == tuple(lasso)
        assert after.box.x1 > before.box.x1


def test_a_scribble_where_nothing_is_says_what_to_do(dock):
    dock.press(Qt.Key.Key_S)
    stroke(dock, [(12, 20, 20), (12, 20, 40)])
    assert "Draw a box around the structure first" in dock.dock.status
    assert not dock.session.history.edits
    click(dock, (12, 20, 20))
    dock.wait()
    assert dock.button("Scribble").isChecked()


def test_clicks_that_follow_quickly_all_count(clicking, engine):
    engine.open.clear()
    for voxel in (MISSING, (12, 46, 30), TOO_MUCH):
        click(clicking, voxel, RIGHT if voxel == TOO_MUCH else LEFT)
    engine.open.set()
    clicking.wait()
    (prompt,) = clicking.session.history.prompts
    assert len(prompt.box.clicks) == 3
    assert clicking.session.label[12, 46, 30] == 1
    assert clicking.session.label[TOO_MUCH] == 0


@pytest.mark.shown
def test_a_drag_still_moves_the_picture(clicking):
    before = clicking.viewer.scene.camera.center
    clicking.drag((12, 30, 30), (12, 40, 50))
    clicking.wait()
    assert clicking.viewer.scene.camera.center != before
    assert clicking.session.history.prompts[0].box.clicks == ()


def test_the_key_and_the_button_switch_it_and_other_tools_end_it(clicking):
    push = clicking.button("Point")
    assert push.isChecked()
    clicking.press(Qt.Key.Key_B)
    assert not push.isChecked()
    assert clicking.button("Box").isChecked()
    push.click()
    assert push.isChecked()
    assert not clicking.button("Box").isChecked()
    clicking.press(Qt.Key.Key_C)
    click(clicking, MISSING)
    clicking.wait()
    assert clicking.session.label[MISSING] == 0, "napari has its clicks again"


def test_a_brush_keeps_its_clicks(clicking):
    labels = clicking.workspace.labels
    clicking.viewer.layers.selection.active = labels
    labels.mode = "paint"
    labels.brush_size = 1
    click(clicking, (12, 50, 60))
    clicking.wait()
    assert clicking.session.label[12, 50, 60] == 1
    assert clicking.session.history.prompts[0].box.clicks == ()


def test_a_painted_mask_is_corrected_and_improved(clicking):
    session = clicking.session
    session.label[14, 20:30, 20:30] = 1
    clicking.viewer.dims.set_point(0, 14 * 3.0)
    click(clicking, (14, 32, 25))
    clicking.wait()
    assert session.label[14, 32, 25] == 1
    assert len(session.history.prompts) == 2
    session.label[15, 20:30, 20:30] = 1
    clicking.viewer.dims.set_point(0, 15 * 3.0)
    clicking.press(Qt.Key.Key_R)
    clicking.wait()
    assert "Label 1" in clicking.dock.status
    assert len(session.history.prompts) == 3


def test_where_there_is_nothing_to_correct_it_says_so(clicking):
    clicking.viewer.dims.set_point(0, 2 * 3.0)
    click(clicking, (2, 30, 30))
    clicking.wait()
    assert "no mask on this slice" in clicking.dock.status
    click(clicking, (2, -20, 30))
    clicking.wait()
    assert "outside the slice" in clicking.dock.status


def test_on_the_other_planes_too(clicking):
    clicking.press(Qt.Key.Key_F3)
    clicking.viewer.dims.set_point(1, 30 * float(clicking.session.volume.spacing[1]))
    clicking.press(Qt.Key.Key_B)
    clicking.drag((4, 30, 24), (14, 30, 50))
    clicking.wait()
    clicking.press(Qt.Key.Key_C)
    click(clicking, (17, 30, 40))
    clicking.wait()
    assert clicking.session.label[17, 30, 40] == 1


def test_boxes_are_drawn_and_corrected_by_one_tool(dock):
    dock.drag(*BOX)
    dock.wait()
    assert dock.button("Box").isChecked()
    click(dock, MISSING)
    dock.wait()
    click(dock, TOO_MUCH, RIGHT)
    dock.wait()
    assert dock.session.label[MISSING] == 1
    assert dock.session.label[TOO_MUCH] == 0
    (prompt,) = dock.session.history.prompts
    assert prompt.box.clicks == (Click(40, 46, True), Click(30, 20, False))
    assert dock.workspace.boxes.nshapes == 1
    assert dock.button("Box").isChecked(), "the tool stays in hand"


@pytest.mark.parametrize("key", [Qt.Key.Key_B, Qt.Key.Key_M])
def test_a_click_with_alt_takes_what_is_under_it(dock, key):
    dock.drag(*BOX)
    dock.wait()
    dock.workspace.show_label(2)
    dock.press(key)
    before = dock.session.label.copy()
    click(dock, TOO_MUCH, modifier=ALT)
    dock.wait()
    assert dock.workspace.label_id == 1
    assert dock.dock.status == "Label 1 is in hand."
    click(dock, (12, 2, 2), modifier=ALT)
    dock.wait()
    assert dock.workspace.label_id == 1
    np.testing.assert_array_equal(dock.session.label, before)


@pytest.mark.parametrize(
    ("name", "key", "mode"),
    [("Brush", Qt.Key.Key_G, "paint"), ("Erase", Qt.Key.Key_X, "erase")],
)
def test_the_brush_is_a_tool_beside_the_others(dock, name, key, mode):
    dock.press(key)
    assert dock.workspace.labels.mode == mode
    assert dock.viewer.layers.selection.active is dock.workspace.labels
    assert dock.button(name).isChecked()
    assert not dock.button("Box").isChecked()
    dock.press(Qt.Key.Key_B)
    assert dock.button("Box").isChecked()
    assert not dock.button(name).isChecked()
    dock.button(name).click()
    assert dock.workspace.labels.mode == mode
    dock.press(Qt.Key.Key_M)
    assert dock.button("Move").isChecked()
