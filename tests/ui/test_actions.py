"""How many actions a label takes, and how much of the window the picture has: both are printed."""

import nibabel as nib
import numpy as np
import pytest
from hand import Hand
from qtpy.QtCore import QEvent, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QFileDialog, QLabel, QScrollBar

from napari_medsamq.ui.app_window import AppWindow
from napari_medsamq.ui.forms.icons import IconButton

BOX = ((12, 16, 24), (12, 47, 55))
CONTROL, SHIFT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier
# Of the picture's share, and of the window's frame and title.
SHARE, FRAME = 0.70, 28


@pytest.fixture
def target(tmp_path, monkeypatch):
    path = tmp_path / "label.nii.gz"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(path), ""))
    return path


def test_a_first_label_takes_eight_actions_at_most(engine, window, target):
    hand = Hand(window)
    window.wait()
    hand.push("Open the sample CT")
    hand.press(Qt.Key.Key_B)
    hand.drag((10, 100, 100), (10, 110, 110))
    hand.press(Qt.Key.Key_P)
    hand.settle()
    before = window.session.label.copy()
    hand.click((10, 114, 105))
    assert (window.session.label != before).any(), "the click has corrected the mask"
    hand.press(Qt.Key.Key_S, CONTROL)
    hand.actions += 1  # Enter in the dialog
    print(f"actions for a first label: {hand.actions}, at most 8")
    assert hand.actions <= 8
    assert np.count_nonzero(nib.load(target).dataobj)


def test_three_structures_take_thirty_actions_at_most(dock, target):
    hand = Hand(dock)
    hand.actions += 1  # the tool Box of the fixture
    name = dock.dock.form.label._name
    for number, called in enumerate(("liver", "spleen", "right kid")):
        hand.push("+ New")
        QTest.keyClicks(name, called)
        listed = name.completer().completionModel()
        name.clear()
        hand.type(name, listed.index(0, 0).data())
        hand.drag((12, 4 + 20 * number, 24), (12, 20 + 20 * number, 55))
        hand.press(Qt.Key.Key_P)
        hand.settle()
        hand.press(Qt.Key.Key_N)
        hand.press(Qt.Key.Key_A, SHIFT)
        assert "accepted" in dock.dock.status
    hand.press(Qt.Key.Key_S, CONTROL)
    hand.actions += 1  # Enter in the dialog
    print(f"actions for three structures: {hand.actions}, at most 30")
    assert hand.actions <= 30
    rows, in_hand = dock.structures()
    assert [own for own, _ in rows] == ["Liver", "Spleen", "Right kidney"]
    assert in_hand == "Right kidney"
    assert np.unique(nib.load(target).dataobj).tolist() == [0, 1, 2, 3]


@pytest.mark.shown
def test_the_picture_has_the_room_and_nothing_is_scrolled_to(dock):
    app = AppWindow(dock.dock_frame, dock.viewer.window.window_menu)
    app.show((1366, 768))
    QTest.qWait(100)
    main, form = dock.dock_frame.parentWidget(), dock.dock.form
    beside = main.width() - dock.native.width()
    print(f"share of the picture of 1366 pixels: {1 - beside / 1366:.3f}, at least {SHARE}")
    assert 1 - beside / 1366 >= SHARE
    dock.drag(*BOX)
    dock.wait()
    dock.qtbot.waitUntil(lambda: not dock.dock.controller.measure.pending)
    assert len(form.measure.rows) == 9
    picture = dock.native.width()
    around = main.height() - form.viewport().height() + FRAME
    for number in range(form.tabs.count()):
        form.tabs.setCurrentIndex(number)
        bars = form.widget().findChildren(QScrollBar)
        # Once it is laid out nothing within what is scrolled is scrolled itself.
        dock.qtbot.waitUntil(lambda bars=bars: not [own for own in bars if own.isVisible()])
        needed = form.widget().sizeHint().height()
        room = 768 - around
        print(f"{form.tabs.tabText(number)}: {needed} of {room} pixels at 1366 x 768")
        assert needed <= room
        assert dock.native.width() == picture, "it does not jump"
        if number == 0:
            assert needed <= 720 - around, "what one segments with, at 1280 x 720"


@pytest.mark.shown
def test_what_one_segments_with_is_in_sight_at_1280_x_720(dock):
    """To Qt these are as many pixels as 1920 x 1080 at 150 %."""
    AppWindow(dock.dock_frame, dock.viewer.window.window_menu).show((1280, 720 - FRAME))
    QTest.qWait(100)
    form = dock.dock.form
    loop = [
        *form.rail.findChildren(IconButton),
        form.volume.title,
        form.label,
        form.check,
        form.messages.line,
        dock.button("↶ Undo"),
        form.volume.planes,
        form.volume.window_level.presets,
        dock.dock.controller.slices.bar,
    ]
    hidden = [own for own in loop if own.visibleRegion().boundingRect() != own.rect()]
    assert hidden == []
    assert not form.verticalScrollBar().isVisible()


def test_the_place_under_the_mouse_is_described(dock):
    dock.drag(*BOX)
    dock.wait()
    none = Qt.MouseButton.NoButton
    dock.mouse(QEvent.Type.MouseMove, dock.pixel((12, 30, 40)), none, none)
    QApplication.processEvents()
    (shown,) = [
        own
        for own in dock.dock.form.messages.findChildren(QLabel)
        if own.accessibleName() == "Under the mouse"
    ]
    value = dock.session.volume.data[12, 30, 40]
    assert shown.text().startswith(f"{value:g} HU · Label 1 · ")
    assert shown.text().endswith(" mm")
    dock.mouse(QEvent.Type.MouseMove, dock.pixel((12, -30, 40)), none, none)
    assert shown.text() == ""
