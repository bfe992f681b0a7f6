"""The other planes and the solids beside the one that is worked on, by the mouse and by keys."""

import nibabel as nib
import numpy as np
import pytest
from grids import grid_affine
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QColor, QMouseEvent, QWheelEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QLabel
from scripted_engine import bright

from napari_medsamq.ui.canvas.picture_overlay import CrossHair
from napari_medsamq.ui.canvas.plane_pane import PlanePane
from napari_medsamq.ui.canvas.planes import PLANES
from napari_medsamq.ui.canvas.solid_pane import SolidPane

KEYS = (Qt.Key.Key_F2, Qt.Key.Key_F3, Qt.Key.Key_F4)
LEFT = Qt.MouseButton.LeftButton
CONTROL_SHIFT = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier
# On the axial slice in view, and its middle.
BOX, MIDDLE = ((12, 20, 20), (12, 40, 44)), (12, 30, 32)


def found(window, kind):
    return window.dock_frame.parentWidget().findChildren(kind)


def pane(window, name):
    return next(own for own in found(window, PlanePane) if own.plane.name == name)


def shown(window):
    return [own.plane.name for own in found(window, PlanePane) if not own.isHidden()]


def indices(window):
    return window.dock.controller.view.indices


def settle(window):
    """Wait until panes show what there is, the solids too."""
    window.wait()
    panes = window.dock.controller.all_planes.panes
    window.qtbot.waitUntil(lambda: not panes.pending, timeout=20_000)


def click(widget, row, column, button=LEFT):
    spot = widget.pixel(row, column).toPoint()
    QTest.mouseClick(widget, button, pos=spot)
    return spot


def turn_wheel(widget, notches):
    spot = QPointF(widget.rect().center())
    event = QWheelEvent(
        spot,
        QPointF(widget.mapToGlobal(spot.toPoint())),
        QPoint(),
        QPoint(0, 120 * notches),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(widget, event)


def color_at(own, row, column):
    return own.picture.pixelColor(own.pixel(row, column).toPoint())


@pytest.fixture
def panes(dock):
    dock.press(Qt.Key.Key_F5)
    QTest.qWait(20)
    return dock


def test_a_key_shows_the_other_planes_and_takes_them_away_again(dock):
    followed = len(dock.viewer.mouse_drag_callbacks)
    assert found(dock, PlanePane) == found(dock, SolidPane) == []
    dock.press(Qt.Key.Key_F5)
    assert shown(dock) == ["Coronal", "Sagittal"]
    assert len(found(dock, SolidPane)) == 1
    assert dock.button("All F5").isChecked()
    dock.press(Qt.Key.Key_F5)
    QTest.qWait(20)
    assert found(dock, PlanePane) == found(dock, SolidPane) == found(dock, CrossHair) == []
    assert len(dock.viewer.mouse_drag_callbacks) == followed
    assert not dock.button("All F5").isChecked()
    dock.button("All F5").click()
    assert shown(dock) == ["Coronal", "Sagittal"]


def test_the_plane_that_is_worked_on_is_not_shown_twice(panes):
    for key, own in zip(KEYS, PLANES, strict=True):
        panes.press(key)
        assert shown(panes) == [plane.name for plane in PLANES if plane is not own]


def test_a_click_in_a_plane_goes_there_in_all(panes):
    before = indices(panes)
    click(pane(panes, "Coronal"), 5, 17)
    assert indices(panes) == (5, before[1], 17)
    assert pane(panes, "Sagittal").index == 17
    assert panes.dock.controller.view.index == 5
    click(pane(panes, "Sagittal"), 8, 33)
    assert indices(panes) == (8, 33, 17)
    assert pane(panes, "Coronal").index == 33


def send_mouse(widget, kind, spot):
    none = Qt.MouseButton.NoButton
    button = none if kind == QEvent.Type.MouseMove else LEFT
    place, everywhere = QPointF(spot), QPointF(widget.mapToGlobal(spot))
    held = none if kind == QEvent.Type.MouseButtonRelease else LEFT
    event = QMouseEvent(kind, place, everywhere, button, held, Qt.KeyboardModifier.NoModifier)
    QApplication.sendEvent(widget, event)


def drag(widget, *spots):
    send_mouse(widget, QEvent.Type.MouseButtonPress, spots[0])
    for spot in spots[1:]:
        send_mouse(widget, QEvent.Type.MouseMove, spot)
    send_mouse(widget, QEvent.Type.MouseButtonRelease, spots[-1])


def test_a_drag_in_a_plane_goes_along_and_stays_in_the_volume(panes):
    own = pane(panes, "Coronal")
    drag(own, own.pixel(5, 17).toPoint(), own.pixel(7, 20).toPoint())
    assert (indices(panes)[0], indices(panes)[2]) == (7, 20)
    drag(own, own.pixel(5, 17).toPoint(), QPoint(own.width() + 900, -900))
    size = panes.session.label.shape
    assert (indices(panes)[0], indices(panes)[2]) == (size[0] - 1, size[2] - 1)


def test_the_wheel_turns_the_slices_of_the_plane_under_it(panes):
    own, before = pane(panes, "Sagittal"), indices(panes)
    turn_wheel(own, -3)
    assert own.index == before[2] + 3
    turn_wheel(own, 1)
    assert indices(panes) == (*before[:2], before[2] + 2)
    turn_wheel(own, 1000)
    assert own.index == 0


def test_planes_that_are_shown_later_cut_the_structure_in_hand(dock):
    dock.drag((12, 44, 50), (12, 56, 70))
    dock.wait()
    dock.press(Qt.Key.Key_F5)
    assert indices(dock) == (12, 50, 60)
    click(pane(dock, "Coronal"), 12, 52)
    dock.press(Qt.Key.Key_F5)
    dock.press(Qt.Key.Key_F5)
    assert indices(dock) == (12, 50, 52)


def test_a_double_click_takes_a_plane_to_be_worked_on(panes):
    own = pane(panes, "Coronal")
    QTest.mouseDClick(own, LEFT, pos=own.rect().center())
    assert panes.dock.controller.view.plane.name == "Coronal"
    assert shown(panes) == ["Axial", "Sagittal"]


def test_planes_follow_slices_masks_steps_back_and_looks(panes):
    axial, sagittal = pane(panes, "Axial"), pane(panes, "Sagittal")
    panes.drag(*BOX)
    settle(panes)
    # What is drawn is what the other planes show.
    assert indices(panes) == MIDDLE
    here = MIDDLE[:2]
    masked = color_at(sagittal, *here)
    style = QColor(panes.session.style(1).color)
    assert (masked.hue() - style.hue()) % 360 < 15
    beside = color_at(sagittal, 2, 30)
    assert beside.saturation() == 0
    panes.press(Qt.Key.Key_O)
    panes.press(Qt.Key.Key_O)
    settle(panes)
    assert color_at(sagittal, *here).saturation() == 0
    panes.press(Qt.Key.Key_O)
    settle(panes)
    assert color_at(sagittal, *here) == masked
    panes.press(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    settle(panes)
    assert color_at(sagittal, *here).saturation() == 0
    panes.press(Qt.Key.Key_Z, CONTROL_SHIFT)
    settle(panes)
    assert color_at(sagittal, *here) == masked
    panes.press(Qt.Key.Key_F3)
    settle(panes)
    assert color_at(axial, *MIDDLE[1:]) == masked


def test_planes_follow_a_propagation(panes, engine):
    engine.sees, engine.answer = True, bright
    panes.drag(*BOX)
    settle(panes)
    coronal = pane(panes, "Coronal")
    assert color_at(coronal, 10, 32).saturation() == 0
    panes.press(Qt.Key.Key_P)
    settle(panes)
    assert panes.session.label[10, 30, 32] == 1
    assert color_at(coronal, 10, 32).saturation() > 0


def test_planes_are_seen_through_the_window_of_the_picture(panes):
    coronal = pane(panes, "Coronal")
    window = panes.dock.controller.window_level
    # Soft tissue of 40 HU, in the middle of the phantom.
    for limits, grey in (((-60, 140), 127), ((40, 80), 0), ((-60, 40), 255), ((-10, 90), 127)):
        panes.workspace.image.contrast_limits = limits
        settle(panes)
        assert abs(color_at(coronal, 8, 40).red() - grey) <= 2
    assert window.window.limits == (-10, 90)


def test_pixels_are_as_wide_and_high_as_they_are_in_the_patient(panes):
    spacing = panes.session.volume.spacing
    for own in found(panes, PlanePane):
        corner, other = own.pixel(0, 0), own.pixel(10, 10)
        ratio = abs(other.y() - corner.y()) / abs(other.x() - corner.x())
        rows, columns = own.plane.order[1:]
        assert ratio == pytest.approx(spacing[rows] / spacing[columns])
        np.testing.assert_allclose(own.place(other.x(), other.y()), (10, 10), atol=1e-6)


@pytest.mark.parametrize(
    ("axes", "signs", "degrees"),
    [((0, 1, 2), (-1, -1, 1), (0, 0, 0)), ((1, 2, 0), (-1, -1, 1), (-20, 5, 12))],
    ids=["mirrored", "oblique"],
)
def test_planes_have_the_letters_that_they_have_when_worked_on(
    engine, window, tmp_path, axes, signs, degrees
):
    values = np.random.default_rng(0).integers(0, 200, (13, 14, 15)).astype(np.int16)
    affine = np.diag([-1.0, -1, 1, 1]) @ grid_affine(axes, signs, degrees)
    nib.save(nib.Nifti1Image(values, affine), tmp_path / "image.nii.gz")
    window.open(tmp_path / "image.nii.gz")
    window.press(Qt.Key.Key_F5)
    for key, plane in zip(KEYS, PLANES, strict=True):
        window.press(key)
        labels = {own.objectName(): own.text() for own in window.native.findChildren(QLabel)}
        for edge in ("left", "right", "top", "bottom"):
            assert (
                getattr(pane(window, plane.name).letters, edge) == labels[f"patient side: {edge}"]
            )


def test_solids_show_all_structures_and_a_click_on_them_goes_there(panes):
    (solid,) = found(panes, SolidPane)
    assert solid.solid is None
    panes.drag(*BOX)
    settle(panes)
    assert set(solid.solid.ids) == {1}
    spacing = np.array(panes.session.volume.spacing)
    # The front of the box, as it is seen from there.
    QTest.mouseClick(solid, LEFT, pos=solid.rect().center())
    z, y, x = indices(panes)
    assert (z, y) == (12, 20)
    assert abs(x - 32) <= 2
    low, high = (np.array(corner) * spacing for corner in BOX)
    assert (solid.solid.places >= low - spacing / 2 - solid.solid.step).all()
    assert (solid.solid.places <= high + spacing / 2 + solid.solid.step).all()
    # Turned about the axis from head to feet by half a turn, it is seen from the back.
    half = round(np.pi / 0.012)
    middle = solid.rect().center()
    drag(solid, *(middle + QPoint(step * half // 4, 0) for step in range(5)))
    QTest.mouseClick(solid, LEFT, pos=middle)
    assert indices(panes)[1] == 40
    panes.press(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    settle(panes)
    assert solid.solid is None


def test_a_single_slice_has_no_other_planes(engine, window, tmp_path):
    values = np.random.default_rng(0).integers(0, 200, (40, 40, 1)).astype(np.int16)
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "slice.nii.gz")
    window.open(tmp_path / "slice.nii.gz")
    window.press(Qt.Key.Key_F5)
    assert "single slice" in window.dock.status
    assert found(window, PlanePane) == []
    assert not window.button("All F5").isChecked()
    # Nor are they offered.
    for key in KEYS:
        window.press(key)
        assert window.dock.controller.view.plane.name == "Axial"
        assert "single slice" in window.dock.status
    assert window.dock.form.volume.planes.isHidden()


def test_panes_count_slices_as_the_bar_does(panes):
    own, bar = pane(panes, "Coronal"), panes.dock.controller.slices.bar
    assert "not drawn on" in own.toolTip()
    panes.dock.controller.view.go({1: 20})
    panes.press(Qt.Key.Key_F3)
    assert bar.text.startswith("21 of 64")
    assert own.text == "Coronal\n21 of 64"


def test_planes_stay_for_the_next_volume_and_go_with_the_dock(panes, tmp_path):
    values = np.random.default_rng(0).integers(0, 200, (13, 14, 15)).astype(np.int16)
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "next.nii.gz")
    panes.open(tmp_path / "next.nii.gz")
    QTest.qWait(20)
    assert sum(not own.isHidden() for own in found(panes, PlanePane)) == 2
    click(pane(panes, "Coronal"), 5, 7)
    assert indices(panes) == (5, indices(panes)[1], 7)
    panes.close_dock()
    QTest.qWait(20)
    centre = panes.viewer.window.centralWidget()
    assert centre.findChildren(PlanePane) == []


@pytest.mark.shown
def test_the_cross_hair_lies_where_the_click_was(dock):
    dock.press(Qt.Key.Key_F5)
    QTest.qWait(50)
    (overlay,) = found(dock, CrossHair)
    for key, plane in zip(KEYS, PLANES, strict=True):
        dock.press(key)
        voxel = (7, 21, 33)
        world = np.array(voxel) * dock.session.volume.spacing
        spot = overlay.pixel(world[list(plane.order[1:])])
        np.testing.assert_allclose([spot.x(), spot.y()], dock.pixel(voxel), atol=1)
    dock.press(Qt.Key.Key_V)
    assert overlay.isHidden()
    dock.press(Qt.Key.Key_V)
    assert not overlay.isHidden()
