"""The window as a user sets it, and what the network sees of it."""

import nibabel as nib
import numpy as np
import pytest
from qtpy.QtCore import QEvent, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QCheckBox, QMenu
from window import MOVE_MS, PLAIN

from napari_medsamq.inference.preprocess import WindowLevel, default_window
from napari_medsamq.inference.window_presets import CT_PRESETS
from napari_medsamq.plugin import SAMPLES

CONTROL = Qt.KeyboardModifier.ControlModifier
BOX = ((12, 16, 24), (12, 47, 55))
NONE = Qt.MouseButton.NoButton


def form(window):
    return window.dock.form.volume.window_level


def choose(window, name):
    """Click an entry of the menu of presets."""
    menu = form(window).findChild(QMenu)
    (action,) = [a for a in menu.actions() if a.text().startswith(name)]
    action.trigger()


def shown(window):
    return tuple(window.workspace.image.contrast_limits)


def named(window):
    return form(window).presets.text()


def switch(window):
    return form(window).findChild(QCheckBox)


def drag_window(window, right, down, *, release=True):
    """Drag with Ctrl held down, from the middle of the canvas."""
    start = np.array([window.native.width() / 2, window.native.height() / 2])
    window.mouse(QEvent.Type.MouseMove, start, NONE, NONE, modifier=CONTROL)
    window.mouse(QEvent.Type.MouseButtonPress, start, modifier=CONTROL)
    for fraction in np.linspace(0, 1, 6)[1:]:
        QTest.qWait(MOVE_MS)
        place = start + fraction * np.array([right, down])
        window.mouse(QEvent.Type.MouseMove, place, NONE, modifier=CONTROL)
    if release:
        window.mouse(QEvent.Type.MouseButtonRelease, place, buttons=NONE, modifier=CONTROL)
    QTest.qWait(MOVE_MS)


def test_a_preset_from_the_menu_is_seen_by_eye_and_network(dock):
    assert named(dock) == "Abdomen"
    choose(dock, "Lung")
    assert shown(dock) == (-1350, 150)
    assert dock.session.window == WindowLevel(-600, 1500)
    assert named(dock) == "Lung"
    assert form(dock)._level.value == -600
    assert form(dock)._width.value == 1500


@pytest.mark.parametrize("layer", ["labels", "boxes", "image"])
def test_a_key_takes_the_next_preset_on_every_layer(dock, layer):
    dock.viewer.layers.selection.active = getattr(dock.workspace, layer)
    for preset in (*CT_PRESETS[1:], CT_PRESETS[0]):
        dock.press(Qt.Key.Key_W)
        assert dock.session.window == preset.window
        assert named(dock) == preset.name
        assert preset.name in dock.dock.status
        assert dock.dock.status.endswith("The network sees it too.")
    dock.dock.form.volume.window_level.sharing_requested.emit(False)
    dock.press(Qt.Key.Key_W)
    assert dock.dock.status.endswith("The network sees it still as before.")
    dock.dock.form.volume.window_level.sharing_requested.emit(True)
    form(dock)._level.value = 77
    assert named(dock) == "Custom"
    dock.press(Qt.Key.Key_W)
    assert named(dock) == "Abdomen"


def test_another_modality_has_other_presets(engine, window):
    window.open(SAMPLES / "ct.nii.gz")
    assert named(window) == "Abdomen"
    window.dock.form.volume._modality.value = "MR"
    window.wait()
    standard = default_window(window.session.volume)
    assert named(window) == "Standard"
    window.press(Qt.Key.Key_W)
    assert named(window) == "Contrast"
    assert window.session.window.width < standard.width
    window.dock.form.volume._modality.value = "CT"
    window.wait()
    assert named(window) == "Abdomen"


def test_a_ct_of_other_values_has_no_presets_of_ct(engine, window):
    window.open(SAMPLES / "mr.nrrd")
    window.dock.form.volume._modality.value = "CT"
    window.wait()
    assert named(window) == "Standard"
    assert "not in Hounsfield units" in window.dock.form.volume._facts.text()


def test_the_window_fits_the_slice_in_view(engine, window):
    window.open(SAMPLES / "mr.nrrd")
    volume = window.session.volume
    window.press(Qt.Key.Key_F3)
    window.viewer.dims.set_point(1, 100 * volume.spacing[1])
    choose(window, "Fit")
    array = volume.slice(1, 100)
    np.testing.assert_allclose(shown(window), np.percentile(array[array > array.min()], (2, 98)))
    assert named(window) == "Custom"


def test_a_slice_of_nothing_is_told(engine, window, tmp_path):
    values = np.zeros((20, 20, 6), np.int16)
    values[4:9, 4:9, 0] = np.arange(25).reshape(5, 5)
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "half_empty.nii.gz")
    window.open(tmp_path / "half_empty.nii.gz")
    before = shown(window)
    choose(window, "Fit")
    assert "nothing to fit" in window.dock.status
    assert shown(window) == before


@pytest.mark.shown
def test_a_drag_with_ctrl_sets_the_window_and_nothing_else(dock, engine):
    centre, encoded = dock.viewer.scene.camera.center, engine.encoded
    for drawing in (True, False):
        dock.workspace.image.contrast_limits = WindowLevel(40, 400).limits
        dock.dock.controller.draw(drawing)
        drag_window(dock, 150, 0)
        assert dock.session.window == WindowLevel(40, 800)
        drag_window(dock, 0, -75)
        window = dock.session.window
        np.testing.assert_allclose((window.level, window.width), (-160, 800))
        assert form(dock)._level.value == pytest.approx(-160)
        assert dock.viewer.scene.camera.center == centre
        assert dock.workspace.boxes.nshapes == 0
        assert not dock.workspace.prompts.waiting
        assert engine.encoded == encoded
    # The next drag without it draws again.
    dock.dock.controller.draw(True)
    dock.drag(*BOX)
    dock.wait()
    assert len(dock.session.history.prompts) == 1


def test_a_drag_with_ctrl_paints_nothing(dock):
    labels = dock.workspace.labels
    dock.viewer.layers.selection.active = labels
    labels.mode = "paint"
    drag_window(dock, 40, 30)
    assert not dock.session.label.any()
    assert dock.session.window != WindowLevel(40, 400)


def test_the_window_follows_the_mouse_live_and_back(dock):
    drag_window(dock, 75, 0, release=False)
    assert dock.session.window.width == pytest.approx(400 * 2**0.5)
    assert named(dock) == "Custom"
    middle = np.array([dock.native.width() / 2, dock.native.height() / 2])
    dock.mouse(QEvent.Type.MouseMove, middle, NONE, modifier=CONTROL)
    assert dock.session.window == WindowLevel(40, 400)
    # Ctrl may be let go of before the button.
    dock.mouse(QEvent.Type.MouseButtonRelease, middle, buttons=NONE, modifier=PLAIN)
    dock.mouse(QEvent.Type.MouseMove, middle + 100, NONE, NONE)
    assert dock.session.window == WindowLevel(40, 400)


def test_nothing_is_encoded_while_the_mouse_drags_the_window(engine, window, phantom):
    window.close_dock()
    window.open_dock(prefetch=True)
    window.open(phantom.volume.path)
    window.qtbot.waitUntil(lambda: engine.encoded == window.session.label.shape[0], timeout=60_000)
    window.wait()
    before = engine.encoded
    drag_window(window, 60, 20, release=False)
    QTest.qWait(200)
    assert engine.encoded == before
    middle = np.array([window.native.width() / 2, window.native.height() / 2])
    window.mouse(QEvent.Type.MouseButtonRelease, middle, buttons=NONE)
    # Then the slices get ready for the window that was chosen.
    window.qtbot.waitUntil(lambda: engine.encoded > before, timeout=60_000)


def test_the_network_may_keep_its_own_window(dock, engine):
    own = dock.session.window
    choose(dock, "Bone")
    dock.drag(*BOX)
    dock.wait()
    encoded = engine.encoded
    switch(dock).click()
    assert "level 40, width 400, whatever you see" in dock.dock.status
    assert dock.session.window == own
    assert named(dock) == "Bone"
    dock.press(Qt.Key.Key_W)
    assert named(dock) == "Brain"
    assert dock.session.window == own
    dock.drag((12, 20, 24), (12, 47, 55))
    dock.wait()
    assert engine.encoded == encoded + 1, "the slice was only known in the bone window"
    switch(dock).click()
    assert dock.session.window == WindowLevel(40, 80)
    assert switch(dock).isChecked()


@pytest.mark.canvas
def test_the_switch_belongs_to_the_volume(dock):
    first = dock.workspace
    switch(dock).click()
    choose(dock, "Lung")
    dock.open(SAMPLES / "mr.nrrd")
    assert switch(dock).isChecked()
    dock.dock.form.volume.layer_requested.emit(first.image)
    dock.wait()
    assert not switch(dock).isChecked()
    assert named(dock) == "Lung"
    assert dock.session.window == WindowLevel(40, 400)
    dock.close_dock()
    dock.open_dock()
    dock.wait()
    dock.dock.form.volume.layer_requested.emit(first.image)
    dock.wait()
    assert not switch(dock).isChecked()


def test_what_is_seen_of_someone_elses_layer_is_what_the_network_sees(engine, window):
    window.wait()
    grey = np.random.default_rng(1).integers(0, 200, (6, 40, 50)).astype(np.uint16)
    layer = window.viewer.add_image(grey, scale=(2, 1, 1), contrast_limits=(20, 120))
    window.dock.form.volume.layer_requested.emit(layer)
    window.wait()
    assert window.session.window.limits == (20, 120)


def test_colours_have_no_window(engine, window, tmp_path):
    import cv2

    picture = np.random.default_rng(2).integers(0, 255, (60, 80, 3)).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "skin.png"), picture)
    window.open(tmp_path / "skin.png")
    before = window.session.window
    assert not form(window).isEnabled()
    window.press(Qt.Key.Key_W)
    drag_window(window, 50, 50)
    assert window.session.window == before


def test_a_closed_dock_leaves_the_mouse_alone(dock):
    image = dock.workspace.image
    before = tuple(image.contrast_limits)
    dock.close_dock()
    QTest.qWait(20)
    drag_window(dock, 100, 50)
    assert tuple(image.contrast_limits) == before
