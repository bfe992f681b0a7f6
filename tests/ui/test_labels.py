"""Labels are named, hidden and locked in the dock."""

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QSlider, QTableWidget

BOX = ((12, 16, 24), (12, 47, 55))
COLUMNS = {"Show": 2, "Lock": 3}
NEXT = ((12, 16, 40), (12, 47, 70))


@pytest.fixture
def two(dock):
    """A label, and the dock ready to draw another one that laps over it."""
    dock.drag(*BOX)
    dock.wait()
    form(dock).label_requested.emit(2)
    return dock


def form(window):
    return window.dock.form.label


def check(window, label_id, column):
    """Click the eye or the lock of a structure."""
    (table,) = form(window).findChildren(QTableWidget)
    (row,) = [
        n for n in range(table.rowCount()) if f"Number {label_id} " in table.item(n, 0).toolTip()
    ]
    place = table.visualItemRect(table.item(row, COLUMNS[column]))
    QTest.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place.center())
    QTest.qWait(20)


def counts(window):
    return window.session.history.voxel_counts


def test_a_locked_label_keeps_its_voxels_and_the_status_says_so(two):
    check(two, 1, "Lock")
    assert two.session.style(1).locked
    before = counts(two)[1]
    two.drag(*NEXT)
    two.wait()
    assert counts(two)[1] == before
    assert counts(two)[2] > 0
    assert "voxels of Label 1 stayed: it is locked" in two.dock.status
    check(two, 1, "Lock")
    two.drag(*NEXT)
    two.wait()
    assert counts(two)[1] < before
    assert "were taken from Label 1" in two.dock.status


def test_the_boxes_of_a_hidden_label_are_hidden_with_it(two):
    assert len(two.workspace.boxes.data) == 1
    check(two, 1, "Show")
    assert len(two.workspace.boxes.data) == 0
    two.drag(*NEXT)
    two.wait()
    assert len(two.workspace.boxes.data) == 1
    check(two, 1, "Show")
    assert len(two.workspace.boxes.data) == 2
    assert len(two.session.history.prompts) == 2


def test_structures_cover_the_picture_as_much_as_one_likes(two):
    (slider,) = form(two).findChildren(QSlider)
    assert slider.value() == round(100 * two.workspace.labels.opacity)
    QTest.keyClick(slider, Qt.Key.Key_Home)
    assert two.workspace.labels.opacity == 0.05
    QTest.keyClick(slider, Qt.Key.Key_End)
    assert two.workspace.labels.opacity == 1


def test_the_overlap_is_shown_while_the_mouse_still_moves(two):
    from test_preview_and_prefetch import Drag

    drag = Drag(two, NEXT[0])
    drag.to(NEXT[1], steps=4)
    two.wait()
    assert "would be taken from Label 1" in two.dock.status
    drag.release()
    two.wait()


def test_the_brush_takes_nothing_from_a_locked_label(two, capsys):
    check(two, 1, "Lock")
    before = counts(two)[1]
    labels = two.workspace.labels
    two.viewer.layers.selection.active = labels
    labels.mode = "paint"
    labels.brush_size = 10
    two.drag((12, 30, 50), (12, 30, 66))
    assert counts(two)[1] == before
    assert counts(two)[2] > 0
    assert "Label 1" in two.dock.status
    assert "Unlock" in two.dock.status
    labels.mode = "erase"
    two.drag((12, 20, 28), (12, 20, 34))
    assert counts(two)[1] == before
    two.dock.controller.undo.undo()
    assert counts(two) == {1: before}


def test_a_deleted_box_of_a_locked_label_comes_back(two):
    check(two, 1, "Lock")
    before = two.session.label.copy()
    boxes = two.workspace.boxes
    two.viewer.layers.selection.active = boxes
    boxes.mode = "select"
    boxes.selected_data = {0}
    two.press(Qt.Key.Key_Delete)
    QTest.qWait(50)
    assert "Label 1, which is locked. Unlock it" in two.dock.status
    np.testing.assert_array_equal(two.session.label, before)
    assert boxes.nshapes == len(two.session.history.prompts) == 1


@pytest.mark.canvas
def test_a_moved_box_of_a_locked_label_goes_back(two):
    check(two, 1, "Lock")
    before, place = two.session.label.copy(), two.workspace.boxes.data[0].copy()
    two.move_box((12, 30, 40), (12, 36, 48))
    two.wait()
    assert "Label 1, which is locked. Unlock it" in two.dock.status
    np.testing.assert_array_equal(two.session.label, before)
    np.testing.assert_array_equal(two.workspace.boxes.data[0], place)


def test_a_locked_label_is_propagated_only_where_it_has_no_voxels(two):
    drawn = np.array([two.session.label[:13].size])
    two.session.history.change("drawn", drawn, np.ones(1, np.uint16), two.session.history.prompts)
    form(two).label_requested.emit(1)
    check(two, 1, "Lock")
    before = two.session.label.copy()
    two.press(Qt.Key.Key_P)
    two.wait()
    assert "Label 1 is locked" in two.dock.status
    np.testing.assert_array_equal(two.session.label, before)
    two.session.history.undo()
    two.press(Qt.Key.Key_P)
    propagator = two.dock.controller.propagate
    two.qtbot.waitUntil(lambda: not propagator.active, timeout=60_000)
    two.wait()
    assert "by propagation" in two.dock.status


def test_a_hidden_label_is_not_seen_and_not_lost(two):
    before = counts(two)
    labels = two.workspace.labels
    assert labels.colormap.color_dict[1][3] == 1
    check(two, 1, "Show")
    assert labels.colormap.color_dict[1][3] == 0
    assert counts(two) == before
    check(two, 1, "Show")
    assert labels.colormap.color_dict[1][3] == 1


def test_a_structure_is_made_by_its_name(two):
    two.button("+ New").click()
    name = form(two)._name
    assert not name.isHidden()
    QTest.keyClicks(name, "kid")
    listed = name.completer().completionModel()
    found = [listed.index(row, 0).data() for row in range(listed.rowCount())]
    assert found == ["Right kidney", "Left kidney"]
    name.completer().activated[str].emit(found[1])
    assert name.isHidden()
    # The one that had no name and no voxels has it now.
    assert two.structures() == ([("Label 1", "1.1 mL"), ("Left kidney", "0.0 mL")], "Left kidney")
    assert two.workspace.label_id == 2
    two.button("+ New").click()
    QTest.keyClicks(name, "Accessory spleen")
    QTest.keyClick(name, Qt.Key.Key_Return)
    assert two.session.style(3).name == "Accessory spleen"
    assert two.workspace.label_id == 3
    two.button("+ New").click()
    QTest.keyClicks(name, "left KIDNEY")
    QTest.keyClick(name, Qt.Key.Key_Return)
    assert two.workspace.label_id == 2, "there is one of that name"
    two.button("+ New").click()
    QTest.keyClick(name, Qt.Key.Key_Return)
    assert len(two.structures()[0]) == 3, "nothing was named"
    for typed, named in (("liv", "Liver"), ("kidney", "kidney"), ("sp", "sp")):
        two.button("+ New").click()
        QTest.keyClicks(name, typed)
        QTest.keyClick(name, Qt.Key.Key_Return)
        assert two.structures()[1] == named, "whole where no other organ begins so"
    assert np.unique(two.session.label).tolist() == [0, 1]


def test_a_structure_is_renamed(two):
    (table,) = form(two).findChildren(QTableWidget)
    table.cellDoubleClicked.emit(0, 0)
    name = form(two)._name
    assert name.text() == "Label 1"
    QTest.keyClicks(name, "Liver")
    QTest.keyClick(name, Qt.Key.Key_Return)
    assert two.session.style(1).name == "Liver"
    assert name.isHidden()


def test_digits_and_clicks_take_a_structure_in_hand(two):
    two.drag(*NEXT)
    two.wait()
    (table,) = form(two).findChildren(QTableWidget)
    assert two.structures()[1] == "Label 2"
    two.press(Qt.Key.Key_1)
    assert two.workspace.label_id == 1
    assert two.structures()[1] == "Label 1"
    two.press(Qt.Key.Key_9)
    assert two.workspace.label_id == 1, "there is none"
    place = table.visualItemRect(table.item(1, 0)).center()
    QTest.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert two.workspace.label_id == 2
    table.setCurrentCell(0, 3)
    QTest.keyClick(table, Qt.Key.Key_Space)
    assert two.session.style(1).locked


def test_a_locked_label_is_not_removed_by_the_menu(two):
    check(two, 1, "Lock")
    (remove,) = [a for a in form(two).menu_of(0).actions() if a.text() == "Remove"]
    remove.trigger()
    assert "locked" in two.dock.status
    assert counts(two)[1] > 0
