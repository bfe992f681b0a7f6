"""Planes by key, letters that say how the patient lies, and windows."""

import nibabel as nib
import numpy as np
import pytest
from grids import grid_affine
from qtpy.compat import isalive
from qtpy.QtCore import QEvent, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_medsamq.layers import SAMPLES
from napari_medsamq.orientation import edge_letters
from napari_medsamq.preprocess import SOFT_TISSUE, WindowLevel

CONTROL = Qt.KeyboardModifier.ControlModifier


def letters(window):
    """Top, bottom, left, right; empty where nothing is shown."""
    found = window.dock.controller.letters.letters
    return "".join(label.text() for label in found if label.isVisible())


@pytest.mark.parametrize(
    ("key", "wanted", "axis"),
    [(Qt.Key.Key_F2, "APRL", 0), (Qt.Key.Key_F3, "SIRL", 1), (Qt.Key.Key_F4, "SIAP", 2)],
)
def test_a_key_shows_a_plane_with_its_letters(dock, key, wanted, axis):
    dock.press(key)
    assert dock.viewer.dims.order[0] == axis
    assert letters(dock) == wanted
    canvas = dock.native
    top, bottom, left, right = dock.dock.controller.letters.letters
    assert top.parent() is canvas
    assert abs(top.geometry().center().x() - canvas.width() / 2) < 3
    assert bottom.y() > canvas.height() * 0.9
    assert left.x() < 20
    assert right.geometry().right() > canvas.width() - 20


def test_letters_follow_a_flipped_and_a_transposed_view(dock):
    dock.viewer.scene.camera.orientation2d = ("up", "left")
    assert letters(dock) == "PALR"
    dock.viewer.scene.camera.orientation2d = ("down", "right")
    dock.viewer.dims.order = (0, 2, 1)
    assert letters(dock) == "RLAP"


def test_layers_that_napari_turned_have_no_letters(dock):
    for layer in dock.viewer.layers:
        layer.rotate = (0, 0, 90)
    assert letters(dock) == ""
    for layer in dock.viewer.layers:
        layer.rotate = (0, 0, 0)
    assert letters(dock) == "APRL"
    dock.press(Qt.Key.Key_T, CONTROL | Qt.KeyboardModifier.AltModifier)
    assert letters(dock) == ""


def test_letters_are_right_for_a_file_of_any_axis_order(engine, window, tmp_path):
    voxels = np.random.default_rng(0).integers(0, 900, (20, 30, 25)).astype(np.int16)
    affine = grid_affine((1, 2, 0), (-1, 1, -1), (0, 0, 0), (1, 1, 1))
    nib.save(nib.Nifti1Image(voxels, affine), tmp_path / "turned.nii.gz")
    window.open(tmp_path / "turned.nii.gz")
    assert letters(window) == "APRL"
    assert not window.dock.controller.letters.badge.isVisible()


def test_a_tilted_volume_has_a_badge(dock):
    badge = dock.dock.controller.letters.badge
    assert badge.isVisible()
    assert badge.text() == "oblique 14°"


def test_letters_stay_away_where_they_would_be_wrong(dock, tmp_path):
    dock.viewer.dims.ndisplay = 3
    assert letters(dock) == ""
    dock.viewer.dims.ndisplay = 2
    assert letters(dock) == "APRL"
    shown = dock.dock.controller.letters.letters
    dock.close_dock()
    assert not any(isalive(label) for label in shown)


def test_a_picture_has_no_letters(engine, window, tmp_path):
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 255, (40, 50), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    window.open(tmp_path / "picture.png")
    assert letters(window) == ""


def test_edges_of_each_plane() -> None:
    assert "".join(edge_letters((0, 1, 2), ("down", "right"))) == "APRL"
    assert "".join(edge_letters((1, 0, 2), ("up", "right"))) == "SIRL"
    assert "".join(edge_letters((2, 0, 1), ("up", "right"))) == "SIAP"


@pytest.fixture
def ct(engine, window):
    window.open(SAMPLES / "ct.nii.gz")
    return window


def form(window):
    return window.dock._view.volume


def test_a_preset_changes_what_is_seen_and_what_the_network_sees(ct, engine):
    box = form(ct)._preset
    assert box.currentText() == "Default"
    box.setCurrentText("Lung")
    box.textActivated.emit("Lung")
    assert tuple(ct.workspace.image.contrast_limits) == (-1350, 150)
    assert ct.session.window == WindowLevel(-600, 1500)
    assert form(ct)._level.value == -600
    assert engine.encoded == 0
    ct.press(Qt.Key.Key_W)
    assert box.currentText() == "Bone"
    assert ct.session.window == WindowLevel(400, 1800)


def test_the_network_can_be_left_its_own_window(ct):
    form(ct)._follow.setChecked(False)
    form(ct)._preset.textActivated.emit("Lung")
    assert tuple(ct.workspace.image.contrast_limits) == (-1350, 150)
    assert ct.session.window == SOFT_TISSUE
    form(ct)._follow.setChecked(True)
    assert ct.session.window == WindowLevel(-600, 1500)


def test_ctrl_and_drag_adjusts_the_window_and_moves_nothing(ct):
    def send(kind, place, pressed=True):
        left, none = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton
        position = QPointF(*place)
        event = QMouseEvent(
            kind,
            position,
            QPointF(ct.native.mapToGlobal(position.toPoint())),
            none if kind == QEvent.Type.MouseMove else left,
            left if pressed else none,
            Qt.KeyboardModifier.ControlModifier,
        )
        QApplication.sendEvent(ct.native, event)
        QTest.qWait(15)

    centre = ct.viewer.scene.camera.center
    before = ct.session.window
    send(QEvent.Type.MouseButtonPress, (300, 300))
    for step in range(1, 6):
        send(QEvent.Type.MouseMove, (300 + 20 * step, 300 - 10 * step))
    send(QEvent.Type.MouseButtonRelease, (400, 250), pressed=False)
    assert ct.session.window.width == pytest.approx(before.width * 2 ** (100 / 250), rel=0.01)
    assert ct.session.window.level > before.level
    assert ct.viewer.scene.camera.center == centre
    assert ct.viewer.scene.camera.mouse_pan


def test_mr_has_windows_of_its_own(ct):
    form(ct)._modality.value = "MR"
    ct.wait()
    names = [form(ct)._preset.itemText(n) for n in range(form(ct)._preset.count())]
    assert "2 to 98 %" in names
    assert "Lung" not in names
