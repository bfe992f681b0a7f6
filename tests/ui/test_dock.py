"""What users do with the dock besides the straight walk, with a quick engine for the network.

The engine's masks fill the box, so that each test can say which voxels it expects.
"""

import shutil
import sys
import threading
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from napari.layers import Image, Labels, Shapes
from qtpy.compat import isalive
from qtpy.QtCore import QElapsedTimer, QEvent, QPointF, Qt, QTimer
from qtpy.QtTest import QSignalSpy, QTest
from qtpy.QtWidgets import QApplication, QFileDialog, QMessageBox
from scripted_engine import ScriptedEngine, whole_box
from window import MOVE_MS

from napari_medsamq.errors import ModelError
from napari_medsamq.inference import model_choice
from napari_medsamq.inference.engine import Engines
from napari_medsamq.inference.model_choice import MODELS
from napari_medsamq.inference.model_spec import ModelSpec
from napari_medsamq.inference.preprocess import WindowLevel
from napari_medsamq.plugin import SAMPLES
from napari_medsamq.prompts import BoxPrompt, BoxPrompt3D
from napari_medsamq.ui import lesson
from napari_medsamq.ui import open_volume as opening
from napari_medsamq.ui.forms.model_menu import ModelBox
from napari_medsamq.ui.prompt_list import Request
from napari_medsamq.ui.tools.model import ModelChooser

CONTROL = Qt.KeyboardModifier.ControlModifier
SHIFT = Qt.KeyboardModifier.ShiftModifier
# First and last voxel of a box on an axial slice of the phantom.
BOX = ((12, 16, 24), (12, 47, 55))


@pytest.fixture
def engines(monkeypatch):
    """The engines that were loaded, by their models' names, on a laptop of today."""
    made = {}

    def load(directory, **_):
        assert directory.name not in made
        made[directory.name] = ScriptedEngine(whole_box, sees=False)
        return made[directory.name]

    monkeypatch.setattr("napari_medsamq.inference.model_choice.cpu_features", lambda: {"avx_vnni"})
    monkeypatch.setattr("napari_medsamq.inference.engine.OpenVINOEngine", load)
    return made


def count(window, label_id=1):
    return int(np.count_nonzero(window.session.label == label_id))


def only_box(window):
    (prompt,) = window.session.history.prompts
    return prompt.box


@pytest.mark.shown
def test_a_box_may_be_dragged_in_any_direction(dock):
    dock.drag(*BOX)
    dock.wait()
    first, mask = only_box(dock), dock.session.label.copy()
    dock.press(Qt.Key.Key_Z, CONTROL)
    assert not dock.session.label.any()
    dock.drag(BOX[1], BOX[0])
    dock.wait()
    assert only_box(dock) == first
    np.testing.assert_array_equal(dock.session.label, mask)


def test_a_quick_drag_ends_where_the_mouse_is_let_go(dock):
    """Napari leaves out moves that come soon after others, and the last may be one of them."""
    begin, end = dock.pixel(BOX[0]), dock.pixel(BOX[1])
    for way in ([], [begin + (end - begin) / 2]):
        dock.mouse(QEvent.Type.MouseButtonPress, begin)
        for place in way:
            dock.mouse(QEvent.Type.MouseMove, place, Qt.MouseButton.NoButton)
        dock.mouse(QEvent.Type.MouseButtonRelease, end, buttons=Qt.MouseButton.NoButton)
        dock.wait()
        quick = only_box(dock)
        dock.press(Qt.Key.Key_Z, CONTROL)
        dock.drag(*BOX)
        dock.wait()
        assert only_box(dock) == quick
        dock.press(Qt.Key.Key_Z, CONTROL)
        assert dock.workspace.boxes.nshapes == 0


@pytest.mark.canvas
def test_a_capital_letter_in_a_name_makes_no_squares_of_boxes(dock):
    drawn = []
    dock.workspace.box_layer.dragged.connect(lambda _, box: drawn.append(box))
    dock.button("+ New").click()
    name = dock.dock.form.label._name
    # napari's window gets what the field does not want: Shift that is pressed.
    QTest.keyPress(name, Qt.Key.Key_Shift)
    QTest.keyClicks(name, "Liver")
    QTest.keyClick(name, Qt.Key.Key_Return)
    dock.drag(BOX[0], (12, 30, 55))
    dock.wait()
    assert drawn[-1] == only_box(dock)


@pytest.mark.shown
def test_a_click_without_a_drag_only_takes_the_focus(dock):
    dock.viewer.window._qt_window.activateWindow()
    dock.qtbot.waitUntil(lambda: QApplication.activeWindow() is not None)
    for shake in ((0, 0), (2, -3)):
        dock.native.clearFocus()
        dock.button("+ New").click()
        before, place = dock.dock.status, dock.pixel(BOX[0])
        dock.mouse(QEvent.Type.MouseMove, place, Qt.MouseButton.NoButton, Qt.MouseButton.NoButton)
        QTest.mousePress(dock.native, Qt.MouseButton.LeftButton, pos=QPointF(*place).toPoint())
        QTest.qWait(MOVE_MS)
        place = place + shake
        dock.mouse(QEvent.Type.MouseMove, place, Qt.MouseButton.NoButton)
        QTest.qWait(MOVE_MS)
        QTest.mouseRelease(dock.native, Qt.MouseButton.LeftButton, pos=QPointF(*place).toPoint())
        QTest.qWait(MOVE_MS)
        dock.wait()
        assert dock.workspace.boxes.nshapes == 0
        assert not dock.session.history.prompts
        assert not dock.workspace.prompts.waiting
        assert dock.dock.status == before, "nothing is wrong"
        assert dock.native.hasFocus()
    dock.drag(*BOX)
    dock.wait()
    assert dock.session.label.any(), "boxes are still drawn"


@pytest.mark.parametrize(
    ("name", "axis", "start", "stop"),
    [("Coronal", 1, (6, 32, 20), (18, 32, 60)), ("Sagittal", 2, (6, 12, 40), (18, 50, 40))],
)
def test_boxes_are_drawn_on_the_other_planes(dock, name, axis, start, stop):
    dock.button(name).click()
    dock.viewer.dims.set_point(axis, start[axis] * dock.session.volume.spacing[axis])
    dock.drag(start, stop)
    dock.wait()
    box = only_box(dock)
    assert (box.axis, box.index) == (axis, start[axis])
    rows, columns = np.delete(start, axis)
    assert abs(box.y0 - rows) <= 1
    assert abs(box.x0 - columns) <= 1
    drawn = np.argwhere(dock.session.label)
    assert set(drawn[:, axis]) == {start[axis]}
    np.testing.assert_allclose(drawn.min(axis=0), start, atol=2)
    np.testing.assert_allclose(drawn.max(axis=0), stop, atol=2)


@pytest.mark.shown
def test_planes_lie_in_radiological_convention(dock):
    centre = np.array(dock.session.label.shape) / 2
    # Array axes run towards S, P and L; where does a step along each go on the canvas?
    axes = {"S": 0, "P": 1, "L": 2}
    opposite = {"I": "S", "A": "P", "R": "L"}

    def on_canvas(letter):
        step = np.zeros(3)
        step[axes[opposite.get(letter, letter)]] = -5 if letter in opposite else 5
        return dock.pixel(centre + step) - dock.pixel(centre)

    # Coronal first: the window opens on the axial plane, which has to come back.
    for name, left, top in (("Coronal", "R", "S"), ("Axial", "R", "A"), ("Sagittal", "A", "S")):
        dock.button(name).click()
        across, up = on_canvas(left), on_canvas(top)
        assert across[0] < 0, name
        assert abs(across[1]) < 1, name
        assert up[1] < 0, name
        assert abs(up[0]) < 1, name


def test_undo_and_redo_by_key_take_box_and_mask_along(dock):
    dock.drag(*BOX)
    dock.wait()
    mask = dock.session.label.copy()
    dock.press(Qt.Key.Key_Z, CONTROL)
    assert not dock.session.label.any()
    assert dock.workspace.boxes.nshapes == 0
    dock.press(Qt.Key.Key_Z, CONTROL | SHIFT)
    np.testing.assert_array_equal(dock.session.label, mask)
    assert dock.workspace.boxes.nshapes == 1


def test_undo_takes_back_a_brush_stroke_first(dock):
    dock.drag(*BOX)
    dock.wait()
    mask = dock.session.label.copy()
    labels = dock.workspace.labels
    dock.viewer.layers.selection.active = labels
    labels.mode = "paint"
    labels.brush_size = 4
    dock.drag((12, 5, 5), (12, 5, 15))
    assert count(dock) > np.count_nonzero(mask)
    dock.press(Qt.Key.Key_Z, CONTROL)
    np.testing.assert_array_equal(dock.session.label, mask)
    dock.press(Qt.Key.Key_Z, CONTROL)
    assert not dock.session.label.any()


def test_a_mask_that_the_network_doubts_is_said_to_be_doubtful(dock, engine):
    doubt = "It may be no single structure: look at its edge."
    dock.drag((12, 16, 24), (12, 47, 55))
    dock.wait()
    assert doubt not in dock.dock.status
    engine.iou = 0.4
    dock.drag((12, 4, 4), (12, 20, 20))
    dock.wait()
    assert doubt in dock.dock.status


def test_two_labels_side_by_side_and_one_removed(dock):
    dock.drag(*BOX)
    dock.wait()
    first = count(dock)
    dock.workspace.show_label(2)
    dock.drag((12, 40, 50), (12, 60, 75))
    dock.wait()
    taken = first - count(dock)
    assert taken > 0
    assert f"{taken} voxels were taken from Label 1" in dock.dock.status
    dock.dock.form.label.menu_of(1).actions()[-1].trigger()
    assert count(dock, 2) == 0
    dock.button("Undo").click()
    dock.button("Undo").click()
    assert count(dock) == first


def test_a_deleted_box_takes_its_mask_along(dock):
    dock.drag(*BOX)
    dock.wait()
    dock.workspace.boxes.selected_data = {0}
    dock.press(Qt.Key.Key_Delete)
    QTest.qWait(50)
    assert not dock.session.label.any()
    assert not dock.session.history.prompts
    dock.press(Qt.Key.Key_Z, CONTROL)
    assert dock.session.label.any()
    assert dock.workspace.boxes.nshapes == 1


@pytest.mark.canvas
def test_a_moved_box_is_segmented_anew_in_one_step(dock):
    dock.drag(*BOX)
    dock.wait()
    before = dock.session.label.copy()
    dock.move_box((12, 30, 40), (12, 36, 48))
    dock.wait()
    box = only_box(dock)
    np.testing.assert_allclose(box.xyxy, (32, 22, 63, 53), atol=2)
    drawn = np.argwhere(dock.session.label)
    np.testing.assert_allclose(drawn.min(axis=0)[1:], (22, 32), atol=2)
    dock.press(Qt.Key.Key_Z, CONTROL)
    np.testing.assert_array_equal(dock.session.label, before)


@pytest.mark.canvas
def test_a_moved_3d_box_keeps_its_slices(dock):
    box = BoxPrompt3D((10, 16, 24), (14, 47, 55))
    dock.workspace.prompts.ask(Request(box, 1))
    dock.wait()
    dock.move_box((12, 30, 40), (12, 36, 48))
    dock.wait()
    moved = only_box(dock)
    assert moved.slices == range(10, 15)
    np.testing.assert_allclose(moved.lower, (10, 22, 32), atol=2)
    assert set(np.argwhere(dock.session.label)[:, 0]) == set(range(10, 15))


@pytest.mark.canvas
def test_closing_the_dock_ends_its_parts_and_frees_the_keys(dock):
    parts = [dock.dock, dock.dock.controller, dock.dock.form]
    workspace = dock.workspace
    dock.close_dock()
    QTest.qWait(20)
    # Ended by Qt in its own thread, not left to the garbage collector.
    assert not any(isalive(part) for part in parts)
    assert not workspace.labels.keymap
    assert not workspace.boxes.keymap
    dock.open_dock()
    dock.wait()
    dock.press(Qt.Key.Key_B)
    dock.drag(*BOX)
    dock.wait()
    assert count(dock) > 0


def test_saving_survives_closing_the_dock(dock, tmp_path):
    dock.drag(*BOX)
    dock.wait()
    paths = [tmp_path / f"{number}.nii.gz" for number in range(3)]
    for path in paths:
        dock.dock.controller.save_load.save(path)
    dock.close_dock()
    dock.qtbot.waitUntil(lambda: all(path.exists() for path in paths), timeout=60_000)


@pytest.mark.shown
def test_closing_the_window_ends_the_threads_of_the_dock(dock, engine, tmp_path):
    engine.open.clear()
    dock.workspace.prompts.ask(Request(BoxPrompt3D((10, 16, 24), (14, 47, 55)), 1))
    target = tmp_path / "label.nii.gz"
    dock.dock.controller.save_load.save(target)
    workers = [dock.dock._compute, dock.dock._files]
    # The journal is the volume's, and outlives the dock.
    names = ("medsamq-compute", "medsamq-files")
    threads = [thread for thread in threading.enumerate() if thread.name.startswith(names)]
    assert len(threads) >= 2
    # As the user does it: the dock is not closed before.
    dock.viewer.close()
    dock.qtbot.waitUntil(lambda: not any(worker.running for worker in workers), timeout=10_000)
    engine.open.set()
    dock.qtbot.waitUntil(lambda: not any(t.is_alive() for t in threads), timeout=60_000)
    assert target.exists(), "what was being saved still is"


@pytest.mark.shown
def test_the_window_stays_alive_while_the_network_works(dock, engine):
    gaps = []
    clock = QElapsedTimer()
    clock.start()
    ticker = QTimer()
    ticker.timeout.connect(lambda: gaps.append(clock.restart()))
    engine.open.clear()
    dock.drag(*BOX)
    ticker.start(10)
    # Never comes if the event loop stands still until the engine gives up.
    dock.qtbot.waitUntil(lambda: len(gaps) > 10, timeout=20_000)
    ticker.stop()
    assert dock.dock.busy
    engine.open.set()
    dock.wait()
    assert count(dock) > 0


@pytest.mark.canvas
def test_closing_the_dock_in_mid_inference_loses_no_box(dock, engine):
    dock.drag(*BOX)
    dock.wait()
    first = count(dock)
    engine.open.clear()
    dock.viewer.dims.set_point(0, 6 * 3.0)
    dock.drag((6, 16, 24), (6, 47, 55))
    assert dock.dock.busy
    dock.close_dock()
    engine.open.set()
    assert count_on_layers(dock.viewer) == first
    dock.open_dock()
    dock.wait()
    assert len(dock.session.history.prompts) == 2
    assert count(dock) > first
    assert count_on_layers(dock.viewer) == count(dock)


def count_on_layers(viewer):
    (labels,) = [layer for layer in viewer.layers if layer.name.endswith(" label")]
    return int(np.count_nonzero(labels.data))


@pytest.mark.canvas
def test_a_box_moved_in_mid_inference_drops_the_stale_answer(dock, engine):
    engine.open.clear()
    dock.drag(*BOX)
    dock.move_box((12, 30, 40), (12, 36, 48))
    engine.open.set()
    dock.wait()
    np.testing.assert_allclose(only_box(dock).xyxy, (32, 22, 63, 53), atol=2)
    assert np.argwhere(dock.session.label).min(axis=0)[1] >= 20


def test_layers_may_be_renamed_reordered_and_removed(dock):
    workspace = dock.workspace
    workspace.labels.name = "my liver"
    workspace.boxes.name = "anything"
    dock.viewer.layers.move(0, 2)
    dock.drag(*BOX)
    dock.wait()
    voxels = count(dock)
    assert voxels > 0
    dock.viewer.layers.remove(workspace.labels)
    dock.viewer.layers.remove(workspace.boxes)
    assert "Nothing is lost" in dock.dock.status
    dock.press(Qt.Key.Key_B)
    assert workspace.labels in dock.viewer.layers
    assert count_of(workspace.labels) == voxels
    dock.viewer.dims.set_point(0, 6 * 3.0)
    dock.drag((6, 16, 24), (6, 47, 55))
    dock.wait()
    assert count_of(workspace.labels) > voxels


def count_of(layer):
    return int(np.count_nonzero(layer.data))


def test_two_volumes_keep_their_labels_apart(dock):
    first = dock.workspace
    dock.drag(*BOX)
    dock.wait()
    voxels = count(dock)
    dock.open(SAMPLES / "mr.nrrd")
    second = dock.workspace
    assert second is not first
    assert dock.session.label.shape == (25, 256, 256)
    assert not dock.session.label.any()
    dock.dock.form.volume.layer_requested.emit(first.image)
    dock.wait()
    assert dock.workspace is first
    assert count(dock) == voxels


@pytest.mark.shown
def test_the_volume_in_use_is_the_one_in_sight(dock, tmp_path):
    import cv2

    first = dock.workspace
    dock.open(SAMPLES / "mr.nrrd")
    dock.viewer.dims.set_point(0, 20 * 6.5)
    second = dock.workspace
    # A picture has one slice, at 0 mm, and is of another size.
    picture = np.random.default_rng(2).integers(0, 255, (300, 400, 3)).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "skin.png"), picture)
    dock.open(tmp_path / "skin.png")
    third = dock.workspace
    assert dock.viewer.dims.point[0] == 0
    assert [space.image.visible for space in (first, second, third)] == [False, False, True]
    corners = np.array([dock.pixel((0, 0, 0)), dock.pixel((0, 299, 399))])
    size = np.array([dock.native.width(), dock.native.height()])
    assert (corners >= 0).all()
    assert (corners <= size).all()
    assert (np.ptp(corners, axis=0) > 0.8 * size).any(), "it fills the canvas"
    dock.dock.controller.draw(True)
    dock.drag((0, 50, 50), (0, 200, 300))
    dock.wait()
    assert count(dock) > 0
    dock.dock.form.volume.layer_requested.emit(second.image)
    dock.wait()
    # napari's slider takes steps of the finest volume.
    assert round(dock.viewer.dims.point[0] / 6.5) == 20, "where it was left"
    assert [space.image.visible for space in (first, second, third)] == [False, True, False]


def test_a_box_beside_the_volume_is_refused(dock):
    # Someone else's layer may make the slider longer than the volume.
    dock.viewer.add_image(np.zeros((60, 64, 80)), scale=(3, 0.7, 0.5))
    dock.press(Qt.Key.Key_B)
    dock.viewer.dims.set_point(0, 40 * 3.0)
    dock.drag(*((40, row, column) for _, row, column in BOX))
    dock.wait()
    assert "slice in view" in dock.dock.status
    assert not dock.session.history.prompts
    assert dock.workspace.boxes.nshapes == 0


def test_a_plane_brings_back_layers_that_were_removed(dock):
    workspace = dock.workspace

    def remove():
        for layer in [own for own in dock.viewer.layers if own is not workspace.image]:
            dock.viewer.layers.remove(layer)

    remove()
    dock.button("Coronal").click()
    assert workspace.labels in dock.viewer.layers
    remove()
    dock.close_dock()
    dock.open_dock()
    dock.wait()
    assert dock.workspace is workspace
    assert workspace.labels in dock.viewer.layers


def test_a_volume_whose_layers_were_cleared_is_closed(dock):
    dock.viewer.layers.clear()
    dock.qtbot.waitUntil(lambda: "phantom was closed" in dock.dock.status)
    assert dock.dock.controller is None
    assert not dock.dock.workspaces


def test_a_file_that_cannot_be_read_is_explained_and_the_work_goes_on(dock, tmp_path):
    bad = tmp_path / "truncated.nii.gz"
    bad.write_bytes((SAMPLES / "ct.nii.gz").read_bytes()[:50_000])
    workspace = dock.workspace
    dock.dock.open_path(bad)
    dock.wait()
    assert str(bad) in dock.dock.status
    assert dock.workspace is workspace
    dock.drag(*BOX)
    dock.wait()
    assert count(dock) > 0


def test_a_label_that_cannot_be_saved_is_explained_and_kept(dock, tmp_path):
    dock.drag(*BOX)
    dock.wait()
    missing = tmp_path / "nowhere" / "label.nii.gz"
    dock.dock.controller.save_load.save(missing)
    dock.wait()
    assert str(missing) in dock.dock.status
    assert count(dock) > 0


def test_an_ambiguous_file_is_asked_about(engine, window, tmp_path, monkeypatch):
    values = np.random.default_rng(0).normal(0, 50, (20, 20, 5)).astype(np.float32)
    path = tmp_path / "who_knows.nii.gz"
    nib.save(nib.Nifti1Image(values, np.diag([1.0, 1, 3, 1])), path)
    asked = []

    def answer(parent, title, text, *rest):
        asked.append(text)
        return "CT", True

    monkeypatch.setattr(opening.QInputDialog, "getItem", answer)
    window.open(path)
    assert "who_knows" in asked[0]
    assert window.session.volume.modality == "CT"
    assert window.session.window.limits == (-160, 240)
    assert tuple(window.workspace.image.contrast_limits) == (-160, 240)


def test_each_kind_of_image_has_its_own_network(engines, window):
    window.open(SAMPLES / "ct.nii.gz")
    assert window.session.engine is engines["medsamq-fast"]
    window.dock.form.volume._modality.value = "other"
    window.wait()
    assert window.session.engine is engines["medsamq-int8"]
    window.dock.form.volume._modality.value = "MR"
    window.wait()
    assert window.session.engine is engines["medsamq-fast"]
    assert len(engines) == 2


def test_a_box_drawn_while_the_network_is_changed_waits_for_the_new_one(engines, window):
    window.open(SAMPLES / "ct.nii.gz")
    window.dock.form.volume._modality.value = "other"
    window.workspace.prompts.ask(Request(BoxPrompt(0, 10, 110, 192, 268, 384), 1))
    window.wait()
    assert [engine.encoded for engine in engines.values()] == [0, 1]
    assert list(engines) == ["medsamq-fast", "medsamq-int8"]
    assert count(window) > 0
    assert not window.workspace.prompts.waiting


def test_a_network_that_cannot_be_loaded_leaves_everything_as_it_was(engines, window, monkeypatch):
    window.open(SAMPLES / "ct.nii.gz")

    def fail(directory, **_):
        raise ModelError(f"{directory.name} is damaged")

    monkeypatch.setattr("napari_medsamq.inference.engine.OpenVINOEngine", fail)
    window.dock.form.volume._modality.value = "other"
    window.workspace.prompts.ask(Request(BoxPrompt(0, 10, 110, 192, 268, 384), 1))
    window.wait()
    assert window.dock.form.volume._modality.value == "CT"
    assert window.session.volume.modality == "CT"
    assert engines["medsamq-fast"].encoded == 1
    assert count(window) > 0


def lines(window):
    box = window.dock.form.volume.model
    return [box.itemData(row, Qt.ItemDataRole.AccessibleTextRole) for row in range(box.count())]


def choose(window, line):
    """Take the line of the menu of models that begins so, as a click does."""
    box = window.dock.form.volume.model
    (row,) = [n for n, text in enumerate(lines(window)) if text.startswith(line)]
    box.setCurrentIndex(row)
    box.activated.emit(row)
    window.wait()


def test_the_menu_of_models_shows_scores_and_times(engines, window):
    window.open(SAMPLES / "ct.nii.gz")
    assert lines(window)[0].startswith("Automatic: medsamq-fast, DSC 0.8")
    assert list(engines) == ["medsamq-fast"]  # nothing is loaded for the menu alone
    assert not any(" ms" in line for line in lines(window))
    box = window.dock.form.volume.model
    box.showPopup()
    window.wait()
    box.hidePopup()
    assert all(" ms" in line for line in lines(window)[:-2])
    assert set(engines) == {"medsamq-fast", "medsamq-int8", "litemedsam-float"}
    assert "to encode a slice" in box.itemData(1, Qt.ItemDataRole.ToolTipRole)
    assert "medsamq-fast for CT and MR" in box.itemData(0, Qt.ItemDataRole.ToolTipRole)
    assert box.currentText() == "Automatic: medsamq-fast"


def test_another_model_keeps_the_work_and_is_used_from_now_on(engines, window):
    window.open(SAMPLES / "ct.nii.gz")
    window.workspace.prompts.ask(Request(BoxPrompt(0, 10, 110, 192, 268, 384), 1))
    window.wait()
    before, shown = window.session.label.copy(), window.session.window
    choose(window, "medsamq-int8")
    assert np.array_equal(window.session.label, before)
    assert window.session.window == shown
    window.workspace.prompts.ask(Request(BoxPrompt(0, 11, 110, 192, 268, 384), 1))
    window.wait()
    assert engines["medsamq-int8"].encoded == 1
    # Also for what is opened later, and for what was open before.
    window.open(SAMPLES / "mr.nrrd")
    assert window.session.engine is engines["medsamq-int8"]
    choose(window, "Automatic")
    assert window.session.engine is engines["medsamq-fast"]
    (first, _) = window.dock.workspaces
    window.viewer.layers.selection.active = first.labels
    QTest.qWait(50)
    window.wait()
    assert window.session.engine is engines["medsamq-fast"]
    assert lines(window)[window.dock.form.volume.model.currentIndex()].startswith("Automatic")


def test_a_folder_that_holds_no_model_leaves_the_choice(window, tmp_path, monkeypatch):
    window.open(SAMPLES / "ct.nii.gz")
    engine = window.session.engine
    dialog = "napari_medsamq.ui.forms.model_menu.QFileDialog.getExistingDirectory"
    monkeypatch.setattr(dialog, lambda *_: str(tmp_path))
    choose(window, "Other folder")
    assert "not a model directory" in window.dock.status
    assert window.session.engine is engine
    assert lines(window)[window.dock.form.volume.model.currentIndex()].startswith("Automatic")
    monkeypatch.setattr(
        dialog, lambda *_: str(shutil.copytree(MODELS / "medsamq-int8", tmp_path / "my"))
    )
    choose(window, "Other folder")
    assert window.session.engine.directory == tmp_path / "my"
    assert lines(window)[window.dock.form.volume.model.currentIndex()].startswith("medsamq-int8")


def test_the_window_is_the_same_for_eye_and_network(dock):
    image = dock.workspace.image
    assert tuple(image.contrast_limits) == (-160, 240)
    image.contrast_limits = (-1000, 200)
    assert dock.session.window.limits == (-1000, 200)
    dock.dock.form.volume.window_level._level.value = 50
    assert tuple(image.contrast_limits) == (-550, 650)


def test_an_image_layer_of_someone_else_is_segmented_with_a_warning(engine, window):
    window.wait()
    grey = np.random.default_rng(1).integers(0, 200, (6, 40, 50)).astype(np.uint16)
    # A time series beside it gives the viewer a fourth axis.
    window.viewer.add_image(np.zeros((2, 6, 40, 50)), scale=(1, 2, 1, 1))
    layer = window.viewer.add_image(grey, scale=(2, 1, 1), translate=(4, 5, 6), name="scribble")
    window.dock.form.volume.layer_requested.emit(layer)
    window.wait()
    volume = window.session.volume
    assert volume.spacing.tolist() == [2, 1, 1]
    assert any("left and right" in warning for warning in volume.warnings)
    assert tuple(window.workspace.labels.translate) == (4, 5, 6)
    assert layer.data is grey
    assert not layer.locked
    assert "medsamq_volume" not in layer.metadata


def test_napari_reads_and_saves_by_the_same_road(engine, window, tmp_path, phantom):
    window.wait()
    window.viewer.open(str(phantom.volume.path), plugin="napari-medsamq")
    window.wait()
    window.viewer.dims.set_point(0, 12 * 3.0)
    window.press(Qt.Key.Key_B)
    window.drag(*BOX)
    window.wait()
    target = tmp_path / "label.nii.gz"
    written = window.workspace.labels.save(str(target), plugin="napari-medsamq")
    assert [str(path) for path in written] == [str(target)]
    saved, source = nib.load(target), nib.load(phantom.volume.path)
    np.testing.assert_allclose(saved.affine, source.affine, atol=1e-4)
    np.testing.assert_array_equal(
        window.session.volume.from_source(np.asarray(saved.dataobj)), window.session.label
    )


@pytest.mark.parametrize(("key", "shape"), [("ct", (20, 512, 512)), ("mr", (25, 256, 256))])
def test_sample_data_opens_from_the_menu(engine, window, key, shape):
    window.wait()
    window.viewer.open_sample("napari-medsamq", key)
    window.wait()
    assert window.session.label.shape == shape


def test_a_volume_opened_before_the_dock_is_found(engine, window, phantom):
    window.wait()
    window.close_dock()
    window.viewer.open(str(phantom.volume.path), plugin="napari-medsamq")
    window.open_dock()
    window.wait()
    assert window.session.label.shape == phantom.reference.shape


def test_a_volume_asked_for_twice_opens_once(engine, window, phantom):
    window.wait()
    (layer,) = window.viewer.open(str(phantom.volume.path), plugin="napari-medsamq")
    window.dock.form.volume.layer_requested.emit(layer)
    window.dock.form.volume.layer_requested.emit(layer)
    window.wait()
    assert len(window.dock.workspaces) == 1
    assert "another window" not in window.dock.status


def test_a_2d_picture_is_a_volume_of_one_slice(engine, window, tmp_path):
    import cv2

    picture = np.random.default_rng(2).integers(0, 255, (60, 80, 3)).astype(np.uint8)
    path = tmp_path / "skin.png"
    cv2.imwrite(str(path), picture)
    window.open(path)
    window.press(Qt.Key.Key_B)
    window.drag((0, 10, 10), (0, 40, 60))
    window.wait()
    assert window.session.label.shape == (1, 60, 80)
    assert count(window) > 0
    assert {type(layer) for layer in window.viewer.layers} == {Image, Labels, Shapes}


def test_undo_drops_a_box_that_is_still_being_segmented(dock, engine):
    dock.drag(*BOX)
    dock.wait()
    before = dock.session.label.copy()
    engine.open.clear()
    dock.viewer.dims.set_point(0, 6 * 3.0)
    dock.drag((6, 16, 24), (6, 47, 55))
    dock.press(Qt.Key.Key_Z, CONTROL)
    engine.open.set()
    dock.wait()
    np.testing.assert_array_equal(dock.session.label, before)
    assert dock.workspace.boxes.nshapes == 1


@pytest.mark.canvas
def test_a_moved_box_that_is_deleted_before_its_answer_is_gone(dock, engine):
    dock.drag(*BOX)
    dock.wait()
    engine.open.clear()
    # Another slice's embedding is not at hand, so the engine holds the answer back.
    dock.session.window = WindowLevel(0, 500)
    dock.move_box((12, 30, 40), (12, 36, 48))
    assert dock.workspace.prompts.waiting
    boxes = dock.workspace.boxes
    boxes.selected_data = {0}
    dock.press(Qt.Key.Key_Delete)
    QTest.qWait(50)
    engine.open.set()
    dock.wait()
    assert not dock.session.label.any()
    assert not dock.session.history.prompts
    assert boxes.nshapes == 0


def test_a_removed_label_does_not_come_back_by_a_late_answer(dock, engine):
    engine.open.clear()
    dock.drag(*BOX)
    dock.dock.form.label.menu_of(0).actions()[-1].trigger()
    engine.open.set()
    dock.wait()
    assert not dock.session.label.any()


def test_the_draw_button_says_what_a_drag_will_do(dock):
    draw = dock.button("Box")
    assert draw.isChecked()
    dock.viewer.layers.selection.active = dock.workspace.image
    assert not draw.isChecked()
    dock.press(Qt.Key.Key_B)
    assert draw.isChecked()
    dock.drag(*BOX)
    dock.wait()
    assert count(dock) > 0
    dock.press(Qt.Key.Key_B)
    assert draw.isChecked(), "B takes the tool in hand, and never puts it away"


def test_in_a_window_of_its_own_a_drag_is_a_box_from_the_beginning(engine, window, phantom):
    window.close_dock()
    window.open_dock(draws=True)
    window.open(phantom.volume.path)
    assert "Drag a box around a structure." in window.dock.status
    window.viewer.dims.set_point(0, 12 * 3.0)
    window.drag(*BOX)
    window.wait()
    assert count(window) > 0


def test_selecting_a_label_layer_goes_back_to_its_volume(dock):
    first = dock.workspace
    dock.open(SAMPLES / "mr.nrrd")
    dock.press(Qt.Key.Key_B)
    second = dock.workspace
    dock.viewer.layers.selection.active = first.labels
    QTest.qWait(50)
    assert dock.workspace is first
    assert second.boxes.mode == "pan_zoom"
    dock.press(Qt.Key.Key_B)
    dock.viewer.dims.set_point(0, 12 * 3.0)
    dock.drag(*BOX)
    dock.wait()
    assert count(dock) > 0


def test_other_data_in_the_label_layer_is_taken_over(dock):
    dock.drag(*BOX)
    dock.wait()
    painted = dock.session.label.astype(np.int32)
    painted[3, :5, :5] = 4
    dock.workspace.labels.data = painted
    assert count(dock, 4) == 25
    assert np.shares_memory(dock.workspace.labels.data, dock.session.label)
    dock.press(Qt.Key.Key_Z, CONTROL)
    assert count(dock, 4) == 0
    assert count(dock) > 0


@pytest.mark.parametrize("largest", [1e6, 0.003])
def test_any_range_of_intensities_opens(engine, window, tmp_path, monkeypatch, largest):
    # What lies between 0 and 1 is asked about.
    monkeypatch.setattr(opening.QInputDialog, "getItem", lambda *_: ("MR", True))
    values = np.random.default_rng(3).uniform(0, largest, (20, 20, 5)).astype(np.float32)
    path = tmp_path / "map.nii.gz"
    nib.save(nib.Nifti1Image(values, np.diag([1.0, 1, 3, 1])), path)
    window.open(path)
    low, high = window.session.window.limits
    assert low < 0.1 * largest
    assert 0.9 * largest < high <= largest
    shown = window.dock.form.volume.window_level._width.value
    np.testing.assert_allclose(shown, high - low, rtol=1e-2)


@pytest.mark.parametrize("how", ["turned", "multiscale"])
def test_layers_whose_voxels_are_not_what_is_seen_are_refused(engine, window, how):
    window.wait()
    grey = np.random.default_rng(1).integers(0, 200, (6, 40, 40)).astype(np.uint16)
    if how == "turned":
        layer = window.viewer.add_image(grey, rotate=(0, 0, 90))
    else:
        layer = window.viewer.add_image([grey, grey[:, ::2, ::2]], multiscale=True)
    window.dock.form.volume.layer_requested.emit(layer)
    window.wait()
    assert window.dock.controller is None
    assert "Open the image's file" in window.dock.status


def test_saving_under_a_name_without_ending_asks_before_it_replaces(dock, tmp_path, monkeypatch):
    dock.drag(*BOX)
    dock.wait()
    target = tmp_path / "liver.nii.gz"
    target.write_bytes(b"hours of work")
    name = (str(tmp_path / "liver"), "")
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: name)
    answers = [QMessageBox.StandardButton.No, QMessageBox.StandardButton.Yes]
    monkeypatch.setattr(QMessageBox, "question", lambda *_: answers.pop(0))
    dock.entry("Save label").trigger()
    dock.wait()
    assert target.read_bytes() == b"hours of work"
    dock.entry("Save label").trigger()
    dock.wait()
    assert nib.load(target).shape == (80, 64, 24)


@pytest.fixture
def own_model(tmp_path, monkeypatch):
    """A model directory that learnt from the user's work; of its networks, nothing is there."""
    monkeypatch.setattr(model_choice, "personal_folder", lambda: tmp_path)
    own = tmp_path / "mine-2026-11-30"
    own.mkdir()
    spec = ModelSpec.read(model_choice.MODELS / model_choice.FAST_MODEL)
    replace(spec, name=own.name, provenance={"personal": "better by 0.04"}).write(own)
    return own


def test_models_of_the_users_own_stand_beside_those_that_come_along(qapp, own_model):
    box = ModelBox()
    ModelChooser(box, box, Engines(own_model), compute=None)
    shown = [box.itemText(row) for row in range(box.count())]
    assert shown.index("Mine (2026-11-30)") == box.currentIndex()
    assert "better by 0.04" in box.toolTip()
    assert {"Automatic: medsamq-fast", "medsamq-fast", "medsamq-int8"} < set(shown)
    assert model_choice.find_model(own_model.name) == own_model
    with pytest.raises(ModelError, match="none of those that come along"):
        model_choice.shipped_model(own_model.name)


def test_a_network_learns_in_a_process_of_its_own_or_the_way_is_told(qapp, own_model, monkeypatch):
    box, told = ModelBox(), []
    ModelChooser(box, box, Engines(), compute=None)
    monkeypatch.setattr(lesson, "_COMMAND", (sys.executable, "-c", "print('Kept.')"))
    own_model.rename(own_model.with_name("mine-later"))
    box.activated.emit(box.count() - 1)
    (shown,) = box.findChildren(lesson.Lesson)
    QSignalSpy(shown.ended).wait(20_000)
    assert shown.labelText() == "Kept."
    assert "Mine (later)" in [box.itemText(row) for row in range(box.count())]
    monkeypatch.setattr(lesson, "find_spec", lambda name: None)
    monkeypatch.setattr(QMessageBox, "information", lambda *words: told.append(words[-1]))
    box.activated.emit(box.count() - 1)
    assert "python -m training.adapt" in told[0]
