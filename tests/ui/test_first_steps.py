"""A new user is led to the first saved label, in few actions; boxes and views answer to keys."""

import nibabel as nib
import numpy as np
import pytest
from hand import Hand
from qtpy.QtCore import QPoint, QRect, Qt
from qtpy.QtTest import QTest

from napari_medsamq.ui.forms.guide import BOX, CORRECT, OPEN, PROPAGATE, SAVE, STEPS

ALT, SHIFT = Qt.KeyboardModifier.AltModifier, Qt.KeyboardModifier.ShiftModifier
LIVER = ((10, 192, 110), (10, 384, 268))


def pointed_at(window):
    """The thing that the callout's arrow ends at."""
    guide, main = window.dock.form.guide, window.dock_frame.parentWidget()
    tip = guide._tip
    found = guide._targets[guide.step]
    corner = found.mapTo(main, QPoint(0, 0))
    near = QRect(corner, found.size()).adjusted(-2, -2, 2, 2)
    assert guide.isVisible()
    assert near.contains(tip)
    assert main.rect().contains(guide.geometry())
    assert not QRect(corner, found.size()).intersects(guide.geometry().adjusted(12, 12, -12, -12))
    return found.accessibleName() or found.text()


@pytest.mark.shown
@pytest.mark.slow
def test_a_new_user_saves_a_corrected_label_in_eight_actions(window, tmp_path, monkeypatch):
    target = tmp_path / "liver.nii.gz"
    monkeypatch.setattr(
        "napari_medsamq.ui.forms.label_files.QFileDialog.getSaveFileName",
        lambda *_: (str(target), ""),
    )
    guide, hand = window.dock.form.guide, Hand(window)
    window.wait()
    assert guide.step == OPEN
    assert pointed_at(window) == "Volume"
    hand.push("Open the sample CT")
    assert guide.step == BOX
    assert pointed_at(window) == "Box"
    window.viewer.dims.set_point(0, 20.0)  # the wheel
    hand.press(Qt.Key.Key_B)
    hand.drag(*LIVER)
    assert guide.step == PROPAGATE
    assert pointed_at(window) == "Propagate"
    hand.press(Qt.Key.Key_P)
    hand.settle()
    assert guide.step == CORRECT
    assert pointed_at(window) == "Slices"
    hand.click((10, 300, 200))
    assert guide.step == SAVE
    assert pointed_at(window) == "Save label"
    hand.press(Qt.Key.Key_S, Qt.KeyboardModifier.ControlModifier)
    hand.actions += 1  # Enter in the dialog
    window.qtbot.waitUntil(target.exists, timeout=30_000)
    window.wait()
    assert hand.actions <= 8
    assert not guide.isVisible()
    saved = np.asarray(nib.load(target).dataobj)
    assert np.count_nonzero(saved.any((0, 1))) == 20


@pytest.mark.shown
def test_the_guide_ends_for_good(window, settings):
    window.wait()
    guide = window.dock.form.guide
    assert guide.isVisible()
    window.button("Next").click()
    assert guide.step == BOX
    assert pointed_at(window) == "Box"
    # Above where the liver's box begins.
    assert guide.geometry().bottom() < window.native.mapTo(guide.parentWidget(), QPoint(0, 75)).y()
    window.button("End").click()
    assert not guide.isVisible()
    assert settings.start.guide is False
    window.close_dock()
    window.open_dock()
    window.wait()
    assert not window.dock.form.guide.isVisible()


@pytest.mark.shown
def test_the_guide_has_five_steps_and_goes_on_by_hand_too(window):
    window.wait()
    guide = window.dock.form.guide
    assert len(STEPS) == 5
    for _ in STEPS[1:]:
        window.button("Next").click()
    window.button("Done").click()
    assert not guide.isVisible()


@pytest.mark.shown
def test_the_guide_follows_what_it_points_at(window):
    window.wait()
    main = window.dock_frame.parentWidget()
    for size in ((1000, 700), (1200, 800)):
        main.resize(*size)
        QTest.qWait(50)
        assert pointed_at(window) == "Volume"
    window.dock_frame.hide()
    QTest.qWait(20)
    assert not window.dock.form.guide.isVisible()
    window.dock_frame.show()
    QTest.qWait(20)
    assert pointed_at(window) == "Volume"


def test_arrows_move_and_resize_the_box(dock):
    dock.drag((12, 16, 24), (12, 47, 55))
    dock.wait()
    (before,) = dock.session.history.prompts
    dock.press(Qt.Key.Key_Right, ALT)
    dock.wait()
    (moved,) = dock.session.history.prompts
    np.testing.assert_array_equal(moved.box.xyxy, np.add(before.box.xyxy, [1, 0, 1, 0]))
    assert moved.voxels.tolist() != before.voxels.tolist()
    dock.press(Qt.Key.Key_Down, ALT | SHIFT)
    dock.press(Qt.Key.Key_Left, ALT | SHIFT)
    dock.wait()
    (resized,) = dock.session.history.prompts
    np.testing.assert_array_equal(resized.box.xyxy, np.add(moved.box.xyxy, [0, 0, -1, 1]))
    dock.viewer.dims.set_point(0, 5 * 3.0)
    dock.press(Qt.Key.Key_Right, ALT)
    assert "no box of this label on this slice" in dock.dock.status


def test_arrows_follow_the_picture_where_rows_run_upwards(dock):
    dock.press(Qt.Key.Key_F3)
    dock.drag((5, 32, 20), (18, 32, 60))
    dock.wait()
    (before,) = dock.session.history.prompts
    assert before.box.axis == 1
    dock.press(Qt.Key.Key_Up, ALT)
    dock.wait()
    (moved,) = dock.session.history.prompts
    np.testing.assert_array_equal(moved.box.xyxy, np.add(before.box.xyxy, [0, 1, 0, 1]))


def test_a_box_does_not_leave_the_slice(dock):
    dock.drag((12, 3, 24), (12, 47, 55))
    dock.wait()
    for _ in range(6):
        dock.press(Qt.Key.Key_Up, ALT)
        dock.wait()
    assert dock.session.history.prompts[0].box.y0 == 0
    assert "would leave the slice" in dock.dock.status


def test_labels_are_shown_as_solids_and_back(dock):
    dock.drag((12, 16, 24), (12, 47, 55))
    dock.wait()
    dock.viewer.dims.set_point(0, 8 * 3.0)  # not the slice in the middle, which napari goes to
    point = dock.viewer.dims.point
    dock.press(Qt.Key.Key_V)
    QTest.qWait(50)
    assert dock.viewer.dims.ndisplay == 3
    assert not dock.workspace.image.visible
    assert dock.workspace.labels.visible
    assert "drag to turn" in dock.dock.status
    # Seen from the front, the patient's right is on the left.
    camera = dock.viewer.scene.camera
    assert camera.orientation == ("away", "down", "right")
    np.testing.assert_allclose(camera.view_direction, (0, 1, 0), atol=1e-6)
    np.testing.assert_allclose(camera.up_direction, (1, 0, 0), atol=1e-6)
    dock.press(Qt.Key.Key_V)
    assert dock.viewer.dims.ndisplay == 2
    assert dock.workspace.image.visible
    assert dock.workspace.boxes.visible
    assert dock.viewer.dims.point == point
    assert dock.dock.controller.view.index == 8
    assert dock.viewer.dims.order == (0, 1, 2)
    dock.press(Qt.Key.Key_F3)
    dock.press(Qt.Key.Key_V)
    dock.press(Qt.Key.Key_V)
    assert dock.viewer.dims.order == (1, 0, 2)
