"""A prior scan's labels come as boxes that wait, and their change is measured."""

import csv

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QPushButton

from napari_medsamq.prompts import BoxPrompt, BoxPrompt3D
from napari_medsamq.volume_io import write_label


@pytest.fixture
def prior(phantom, tmp_path):
    label = np.zeros(phantom.reference.shape, np.uint8)
    label[8:16, 16:44, 24:56] = 5
    label[10:12, 20:30, 30:40] = 2
    return write_label(tmp_path / "prior.nii.gz", label, phantom.volume).path


def buttons(window):
    return [b for b in window.dock.findChildren(QPushButton) if b.text().startswith("Segment ")]


def settle(window):
    window.wait()
    measuring = window.dock.controller.checkup._measuring
    window.qtbot.waitUntil(lambda: not measuring._rest.isActive())
    window.wait()


def test_boxes_wait_and_are_segmented_when_the_user_says_so(dock, engine, prior, tmp_path):
    (run,) = buttons(dock)
    assert not run.isVisibleTo(dock.dock)
    dock.dock._view.volume.prior_requested.emit(prior)
    dock.wait()
    assert run.isVisibleTo(dock.dock)
    assert run.text() == "Segment 2 boxes"
    assert [request.box for request in dock.workspace.requests] == [
        BoxPrompt3D((8, 16, 24), (15, 43, 55)),
        BoxPrompt3D((10, 20, 30), (11, 29, 39)),
    ]
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
    rows = dock.dock._view.measure.rows
    voxel = float(np.prod(dock.session.volume.spacing)) / 1000
    before, after = (8 * 28 * 32 - 2 * 10 * 10) * voxel, counts[5] * voxel
    assert rows["Prior scan"] == f"{before:.2f} mL"
    assert rows["Change"] == f"{after - before:+.2f} mL ({100 * (after - before) / before:+.1f} %)"
    path = tmp_path / "numbers.csv"
    dock.dock._view.measure.save(path)
    numbers = list(csv.DictReader(path.open(encoding="utf-8")))
    assert float(numbers[1]["change_ml"]) == pytest.approx(after - before)


def test_a_box_that_waits_can_be_moved_or_deleted(dock, prior):
    dock.dock._view.volume.prior_requested.emit(prior)
    dock.wait()
    following = dock.dock.controller.checkup.following
    boxes = dock.workspace.boxes
    # As napari's own tool does it.
    boxes.mode = "select"
    boxes.selected_data = {1}
    boxes.remove_selected()
    QTest.qWait(50)
    assert [request.label_id for request in following.waiting] == [5]
    dock.press(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    dock.wait()
    assert following.waiting == []
    assert dock.workspace.requests == []
    assert not buttons(dock)[0].isVisibleTo(dock.dock)


def test_a_second_prior_takes_the_place_of_the_first(dock, prior, phantom, tmp_path):
    emit = dock.dock._view.volume.prior_requested.emit
    emit(prior)
    dock.wait()
    thin = np.zeros(phantom.reference.shape, np.uint8)
    thin[9, 20:40, 25:50] = 3
    emit(write_label(tmp_path / "thin.nii.gz", thin, phantom.volume).path)
    dock.wait()
    assert [request.box for request in dock.workspace.requests] == [BoxPrompt(0, 9, 25, 20, 49, 39)]
    emit(tmp_path / "none.nii.gz")
    dock.wait()
    assert "no such file" in dock.dock.status
    assert len(dock.workspace.requests) == 1
