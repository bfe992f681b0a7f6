"""A prior scan's labels come as boxes that wait, and their change is measured."""

import csv
import json
import threading
from dataclasses import replace

import numpy as np
import pytest
from grids import rotation
from qtpy.QtCore import Qt, QThread
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QComboBox, QFileDialog, QPushButton
from scipy import ndimage
from sources import write_nifti

from napari_medsamq.io.label_format import Segment
from napari_medsamq.io.label_writer import write_label
from napari_medsamq.plugin import SAMPLES
from napari_medsamq.prompts import BoxPrompt, BoxPrompt3D
from napari_medsamq.ui.forms import prior_form
from napari_medsamq.ui.forms.model_menu import ModelBox
from napari_medsamq.workflows import follow_up as followup


@pytest.fixture
def prior(phantom, tmp_path):
    label = np.zeros(phantom.reference.shape, np.uint8)
    label[8:16, 16:44, 24:56] = 5
    label[10:12, 20:30, 30:40] = 2
    return write_label(tmp_path / "prior.nii.gz", label, phantom.volume).path


def buttons(window):
    return [b for b in window.dock.findChildren(QPushButton) if b.text().startswith("Segment ")]


def click(window, start):
    """Press a button of the dock with the mouse."""
    (push,) = [
        found
        for found in window.dock.findChildren(QPushButton)
        if found.text().startswith(start) and found.isVisibleTo(window.dock)
    ]
    window.dock.form.ensureWidgetVisible(push)
    QTest.mouseClick(push, Qt.MouseButton.LeftButton)


def images(window):
    return window.dock.findChild(prior_form.PriorForm).findChild(QComboBox)


@pytest.fixture
def answer(monkeypatch):
    """Answer the file dialogs, which the system draws, with these paths one after the other."""

    def prepare(*paths):
        left = [str(path) for path in paths]
        monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (left.pop(0), ""))

    return prepare


@pytest.fixture
def place(dock, answer):
    """Follow a label up as a user does who has no image of the prior scan."""

    def with_label(path):
        answer(path)
        dock.entry("Follow-up").trigger()
        dock.wait()
        compare = dock.dock.form.compare
        if images(dock).isVisibleTo(dock.dock):
            assert compare.isHidden(), "there is no room for both"
            click(dock, "Place boxes")
            dock.wait()
        assert not compare.isHidden()

    return with_label


def settle(window):
    window.wait()
    measuring = window.dock.controller.measure
    window.qtbot.waitUntil(lambda: not measuring.pending)
    window.wait()


def test_boxes_wait_and_are_segmented_when_the_user_says_so(dock, engine, prior, place, tmp_path):
    (run,) = buttons(dock)
    assert not run.isVisibleTo(dock.dock)
    place(prior)
    assert run.isVisibleTo(dock.dock)
    assert run.text() == "Segment 2 boxes"
    assert [request.box for request in dock.workspace.prompts.waiting] == [
        BoxPrompt3D((8, 16, 24), (15, 43, 55)),
        BoxPrompt3D((10, 20, 30), (11, 29, 39)),
    ]
    assert "it is assumed that the patient has not moved" in dock.dock.status
    assert engine.decoded == 0
    assert len(dock.workspace.boxes.data) == 2
    # The largest label is in hand, and its box in view.
    assert dock.workspace.label_id == 5
    assert round(dock.viewer.dims.point[0] / 3.0) == 11
    run.click()
    dock.wait()
    assert not run.isVisibleTo(dock.dock)
    settle(dock)
    counts = dock.session.history.voxel_counts
    assert set(counts) == {2, 5}
    rows = dock.dock.form.measure.rows
    voxel = float(np.prod(dock.session.volume.spacing)) / 1000
    before, after = (8 * 28 * 32 - 2 * 10 * 10) * voxel, counts[5] * voxel
    assert rows["Prior scan"] == f"{before:.2f} mL"
    assert rows["Change"] == f"{after - before:+.2f} mL ({100 * (after - before) / before:+.1f} %)"
    assert rows[""] == "not all masks of this scan are accepted yet"
    path = tmp_path / "numbers.csv"
    dock.dock.form.measure.save(path)
    numbers = list(csv.DictReader(path.open(encoding="utf-8")))
    assert float(numbers[1]["change_ml"]) == pytest.approx(after - before)
    for index in range(24):
        dock.viewer.dims.set_point(0, 3.0 * index)
    dock.press(Qt.Key.Key_A, Qt.KeyboardModifier.ShiftModifier)
    settle(dock)
    assert "" not in dock.dock.form.measure.rows


def test_a_3d_box_says_how_far_it_is_and_can_be_taken_back(dock, engine, prior, place, monkeypatch):
    place(prior)
    said, told = [], dock.dock.form.messages.show_text
    monkeypatch.setattr(
        dock.dock.form.messages, "show_text", lambda text, *a, **k: (said.append(text), told(text))
    )
    buttons(dock)[0].click()
    dock.wait()
    assert any(text.endswith("8 of 8 slices. Ctrl+Z takes the box back.") for text in said)
    for _ in range(2):
        dock.dock.controller.undo.undo()
    assert not dock.session.label.any()
    place(prior)
    # The last box waits for the first.
    asked, decode = [], engine.decode

    def slow(*prompts):
        asked.append(True)
        QThread.msleep(100)
        return decode(*prompts)

    monkeypatch.setattr(engine, "decode", slow)
    buttons(dock)[0].click()
    dock.qtbot.waitUntil(lambda: len(asked) > 1)
    for _ in range(2):
        dock.press(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    dock.wait()
    assert len(asked) < 8, "what is taken back is not waited for"
    assert not dock.session.label.any()
    assert dock.workspace.prompts.waiting == []


def test_what_the_user_has_named_keeps_its_name(dock, phantom, prior, place, tmp_path):
    """Also where nothing is drawn of it yet; a prior label gives way to another prior one."""
    mine = replace(dock.session.style(5), name="Mine", locked=True)
    dock.session.set_style(5, mine)
    label = np.zeros(phantom.reference.shape, np.uint8)
    label[8:16, 16:44, 24:56] = 5
    label[10:12, 20:30, 30:40] = 2
    for name in ("Liver", "Spleen"):
        path = tmp_path / f"{name}.seg.nrrd"
        segments = {2: Segment(name, "#102030"), 5: Segment(name, "#405060")}
        place(write_label(path, label, phantom.volume, segments).path)
        assert dock.session.style(5) == mine
        assert dock.session.style(2).name == name


def test_a_box_that_waits_can_be_moved_or_deleted(dock, prior, place):
    place(prior)
    prompts = dock.workspace.prompts
    boxes = dock.workspace.boxes
    # As napari's own tool does it.
    boxes.mode = "select"
    boxes.selected_data = {1}
    boxes.remove_selected()
    QTest.qWait(50)
    assert [request.label_id for request in prompts.held] == [5]
    dock.press(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    dock.wait()
    assert prompts.held == []
    assert dock.workspace.prompts.waiting == []
    assert not buttons(dock)[0].isVisibleTo(dock.dock)


def test_undo_takes_back_what_was_done_last_while_boxes_wait(dock, engine, prior, place):
    place(prior)
    prompts = dock.workspace.prompts
    waiting = prompts.held
    assert len(waiting) == 2
    dock.drag((11, 16, 24), (11, 47, 55))
    dock.wait()
    label = dock.session.label.copy()
    assert label.any()
    # One that has no answer yet comes before what is done.
    engine.open.clear()
    dock.viewer.dims.set_point(0, 6 * 3.0)
    dock.drag((6, 16, 24), (6, 47, 55))
    assert len(dock.workspace.prompts.waiting) == 3
    dock.press(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert dock.dock.status == "Undone: the box that was being segmented."
    engine.open.set()
    dock.wait()
    np.testing.assert_array_equal(dock.session.label, label)
    dock.button("Undo").click()
    assert "Undone: box for" in dock.dock.status
    assert not dock.session.label.any()
    assert prompts.held == waiting
    dock.button("Redo").click()
    np.testing.assert_array_equal(dock.session.label, label)
    dock.press(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert dock.workspace.prompts.waiting == waiting
    # Nothing else is left to be taken back.
    dock.press(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert dock.dock.status == "Undone: a box of the prior scan."
    assert prompts.held == waiting[:1]
    assert buttons(dock)[0].text() == "Segment 1 box"


def change_modality(window):
    (entry,) = [own for own in window.entry("Modality").menu().actions() if own.text() == "MR"]
    entry.trigger()
    window.wait()
    assert window.session.volume.modality == "MR"


def change_model(window):
    QTest.keyClick(window.dock.findChild(ModelBox), Qt.Key.Key_Down)
    window.wait()
    assert window.workspace.model is not None


def reopen_the_dock(window):
    window.close_dock()
    window.open_dock()
    window.wait()


def use_another_volume(window):
    used = window.workspace
    window.open(SAMPLES / "ct.nii.gz")
    assert window.workspace is not used
    assert not buttons(window)[0].isVisibleTo(window.dock)
    window.viewer.layers.selection.active = used.boxes
    QTest.qWait(50)
    window.wait()
    assert window.workspace is used


@pytest.mark.canvas
@pytest.mark.parametrize(
    "happen", [change_modality, change_model, reopen_the_dock, use_another_volume]
)
def test_boxes_wait_for_the_user_whatever_happens_meanwhile(dock, engine, prior, place, happen):
    place(prior)
    happen(dock)
    assert engine.decoded == 0
    assert not dock.session.label.any()
    assert len(dock.workspace.prompts.waiting) == 2
    click(dock, "Segment 2 boxes")
    dock.wait()
    assert set(dock.session.history.voxel_counts) == {2, 5}
    assert dock.workspace.prompts.waiting == []
    assert not buttons(dock)[0].isVisibleTo(dock.dock)


def test_a_second_prior_takes_the_place_of_the_first(dock, prior, place, phantom, tmp_path):
    place(prior)
    thin = np.zeros(phantom.reference.shape, np.uint8)
    thin[9, 20:40, 25:50] = 3
    place(write_label(tmp_path / "thin.nii.gz", thin, phantom.volume).path)
    assert [request.box for request in dock.workspace.prompts.waiting] == [
        BoxPrompt(0, 9, 25, 20, 49, 39)
    ]
    place(tmp_path / "none.nii.gz")
    assert "no such file" in dock.dock.status
    assert len(dock.workspace.prompts.waiting) == 1


SHIFT = (-12, 8, 6)
TURN = (0, 0, 4)


def textured():
    """Blobs of 2 mm voxels (x, y, z), unlike themselves wherever they are moved to."""
    blobs = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(40, 44, 36)), 3)
    values = np.round(blobs / blobs.std() * 100 + 600).clip(1).astype(np.int16)
    values[:4] = values[-4:] = values[..., :3] = 0
    return values


@pytest.fixture
def moved(window, engine, tmp_path):
    """A new scan in the window, of a patient who has moved; the prior one and its label on disk."""
    values, grid = textured(), np.diag([2.0, 2, 2, 1])
    prior = tmp_path / "prior"
    prior.mkdir()
    write_nifti(prior / "abdomen.nii.gz", values, grid)
    label = np.zeros(values.shape, np.uint8)
    label[12:20, 16:26, 14:22] = 1
    write_nifti(prior / "abdomen_label.nii.gz", label, grid)
    # The patient lies turned about the middle of the image, and elsewhere.
    middle = (grid @ [*(np.array(values.shape) - 1) / 2, 1])[:3]
    motion = np.eye(4)
    motion[:3, :3] = rotation(TURN)
    motion[:3, 3] = middle - motion[:3, :3] @ middle + SHIFT
    new = write_nifti(tmp_path / "new.nii.gz", values, motion @ grid)
    window.open(new)
    window.viewer.dims.set_point(0, 36.0)
    return window


def test_a_patient_who_has_moved_is_found_by_the_image_beside_the_label(moved, answer, tmp_path):
    answer(tmp_path / "prior" / "abdomen_label.nii.gz")
    moved.entry("Follow-up").trigger()
    moved.wait()
    assert images(moved).currentText() == "file: abdomen.nii.gz"
    assert moved.workspace.prompts.waiting == []
    click(moved, "Place boxes")
    moved.wait()
    said = moved.dock.status
    assert said.startswith("Registered: moved ")
    assert "turned by 4.0 degrees" in said
    assert "1 box from the prior scan" in said
    assert not images(moved).isVisibleTo(moved.dock)
    # In the voxels that the label had: the new scan has the same, in another place of the patient.
    (request,) = moved.workspace.prompts.waiting
    np.testing.assert_allclose(request.box.lower, (14, 16, 12), atol=1)
    np.testing.assert_allclose(request.box.upper, (21, 25, 19), atol=1)
    moved.press(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    moved.wait()
    assert moved.workspace.prompts.waiting == []


def test_without_the_image_boxes_lie_where_the_patient_lay(moved, answer, tmp_path):
    answer(tmp_path / "prior" / "abdomen_label.nii.gz")
    moved.entry("Follow-up").trigger()
    moved.wait()
    QTest.keyClick(images(moved), Qt.Key.Key_Home)
    assert images(moved).currentText() == prior_form.NO_IMAGE
    click(moved, "Place boxes")
    moved.wait()
    assert "it is assumed that the patient has not moved" in moved.dock.status
    (request,) = moved.workspace.prompts.waiting
    assert np.abs(np.subtract(request.box.lower, (14, 16, 12))).max() >= 3


def test_an_open_layer_can_be_the_image(moved, answer, tmp_path):
    label = tmp_path / "elsewhere.nii.gz"
    (tmp_path / "prior" / "abdomen_label.nii.gz").rename(label)
    new = moved.workspace.image
    moved.open(tmp_path / "prior" / "abdomen.nii.gz")
    moved.dock.form.volume._layer.value = new
    moved.wait()
    assert moved.workspace.image is new
    answer(label)
    moved.entry("Follow-up").trigger()
    moved.wait()
    menu = images(moved)
    assert [menu.itemText(n) for n in range(menu.count())] == [
        prior_form.NO_IMAGE,
        "layer: abdomen",
    ]
    assert menu.currentText() == prior_form.NO_IMAGE
    QTest.keyClick(menu, Qt.Key.Key_End)
    click(moved, "Place boxes")
    moved.wait()
    (request,) = moved.workspace.prompts.waiting
    np.testing.assert_allclose(request.box.lower, (14, 16, 12), atol=1)


def test_the_provenance_names_the_image(tmp_path, phantom):
    label = write_label(tmp_path / "mine.nii.gz", phantom.reference, phantom.volume)
    write_nifti(tmp_path / "scan 7.nii.gz")
    assert followup.propose_image(label.path) is None
    # Another label of the same name is no image.
    write_label(tmp_path / "mine.nii", phantom.reference, phantom.volume)
    assert followup.propose_image(label.path) is None
    about = {"format": "medsamq-provenance", "version": 1, "image": {"name": "scan 7"}}
    about["label"] = {"sha256": label.sha256}
    beside = tmp_path / "mine.provenance.json"
    beside.write_text(json.dumps(about), encoding="utf-8")
    assert followup.propose_image(label.path) == tmp_path / "scan 7.nii.gz"
    about["label"] = {"sha256": "of another label"}
    beside.write_text(json.dumps(about), encoding="utf-8")
    assert followup.propose_image(label.path) is None


@pytest.mark.parametrize("way", ["key", "button"])
def test_a_registration_can_be_stopped(moved, answer, tmp_path, monkeypatch, way):
    begun, stopped = threading.Event(), threading.Event()
    register = followup.register

    def slow(prior, new, go_on):
        begun.set()

        def held(share):
            # As long as a large volume takes.
            stopped.wait(10) if not go_on(share) else stopped.wait(0.05)
            return go_on(share)

        return register(prior, new, held)

    monkeypatch.setattr(followup, "register", slow)
    answer(tmp_path / "prior" / "abdomen_label.nii.gz")
    moved.entry("Follow-up").trigger()
    moved.wait()
    click(moved, "Place boxes")
    moved.qtbot.waitUntil(begun.is_set)
    moved.qtbot.waitUntil(lambda: "%. Esc stops it" in moved.dock.status)
    assert moved.dock.busy
    if way == "key":
        moved.press(Qt.Key.Key_Escape)
    else:
        click(moved, "Stop  (Esc)")
    stopped.set()
    moved.wait()
    assert moved.dock.status == "Stopped: no boxes of the prior scan were placed."
    assert moved.workspace.prompts.waiting == []
    assert not images(moved).isVisibleTo(moved.dock)


def test_an_image_that_does_not_fit_places_nothing(moved, answer, tmp_path):
    far = np.diag([2.0, 2, 2, 1])
    far[:3, 3] = 900
    other = write_nifti(tmp_path / "other.nii.gz", textured(), far)
    answer(tmp_path / "prior" / "abdomen_label.nii.gz", other)
    moved.entry("Follow-up").trigger()
    moved.wait()
    click(moved, "Image file")
    assert images(moved).currentText() == "file: other.nii.gz"
    click(moved, "Place boxes")
    moved.wait()
    assert "no place of the patient in common" in moved.dock.status
    assert moved.workspace.prompts.waiting == []
    # Another image, or none, can still be chosen.
    assert images(moved).isVisibleTo(moved.dock)
    click(moved, "Cancel")
    assert not images(moved).isVisibleTo(moved.dock)
    assert moved.workspace.prompts.waiting == []
