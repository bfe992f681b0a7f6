"""A volume is closed, and gone; those that stay keep their order, their numbers and their work."""

from types import SimpleNamespace

import numpy as np
import pytest
from napari.layers import Image
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QMessageBox, QPushButton, QScrollBar

from napari_medsamq.plugin import SAMPLES

BOX = ((12, 16, 24), (12, 47, 55))


def choose(window, text):
    """Choose an entry of the volume's menu."""
    window.entry(text).trigger()
    QTest.qWait(50)
    window.wait()


def delete(window, layer):
    """Select a layer, unlock it, and press the button with the bin."""
    layer.locked = False
    window.viewer.layers.selection.active = layer
    buttons = window.viewer.window._qt_window.findChildren(QPushButton)
    bins = [b for b in buttons if b.property("mode") == "delete_button"]
    QTest.mouseClick(bins[0], Qt.MouseButton.LeftButton)
    QTest.qWait(50)
    window.wait()


def in_order(window):
    workspace = window.workspace
    layers = [layer for layer in window.viewer.layers if layer in workspace.layers]
    assert {workspace.image, workspace.labels, workspace.boxes} <= set(layers)
    return layers == [layer for layer in workspace.layers if layer in layers]


@pytest.fixture
def drawn(dock):
    dock.drag(*BOX)
    dock.wait()
    return dock


def test_the_garbage_collector_lets_an_open_volume_be_until_a_layer_goes(
    window, engine, phantom, monkeypatch
):
    done = []
    passed = {name: lambda name=name: done.append(name) for name in ("collect", "freeze")}
    collector = SimpleNamespace(unfreeze=lambda: done.append("unfreeze"), **passed)
    monkeypatch.setattr("napari_medsamq.ui.dock.gc", collector)
    window.close_dock()
    window.open_dock()
    window.open(phantom.volume.path)
    assert done == ["collect", "freeze"]
    choose(window, "Close volume")
    assert set(done[2:]) == {"unfreeze"}


@pytest.mark.canvas
@pytest.mark.parametrize("how", ["button", "bin"])
def test_a_closed_volume_is_gone_and_its_work_kept(drawn, phantom, monkeypatch, how):
    voxels = int(drawn.session.label.sum())
    assert voxels > 0
    if how == "button":
        choose(drawn, "Close volume")
    else:
        delete(drawn, drawn.workspace.image)
    assert len(drawn.viewer.layers) == 0
    assert drawn.dock.workspaces == []
    assert drawn.dock.controller is None
    assert "phantom was closed. What was done to it is kept" in drawn.dock.status
    assert not drawn.entry("Close volume").isEnabled()
    # Keys and the dock itself go on without one.
    drawn.press(Qt.Key.Key_B)
    drawn.close_dock()
    drawn.open_dock()
    drawn.wait()
    assert len(drawn.viewer.layers) == 0, "it stays away"
    asked = []

    def go_on(box):
        asked.append(box.text())
        (answer,) = [own for own in box.buttons() if own.text() == "Go on"]
        monkeypatch.setattr(QMessageBox, "clickedButton", lambda _: answer)

    monkeypatch.setattr(QMessageBox, "exec", go_on)
    drawn.open(phantom.volume.path)
    assert len(asked) == 1
    assert int(drawn.session.label.sum()) == voxels
    assert in_order(drawn)


def test_layers_that_were_removed_come_back_in_their_order(drawn):
    for numbers in ((1,), (4, 1), (4,)):
        for number in numbers:
            layer = drawn.workspace.layers[number]
            layer.locked = False
            drawn.viewer.layers.remove(layer)
        drawn.close_dock()
        drawn.open_dock()
        drawn.wait()
        assert in_order(drawn), numbers


def test_the_layer_of_clicks_comes_with_the_first_one(window, engine, phantom):
    window.open(phantom.volume.path)
    workspace, layers = window.workspace, window.viewer.layers
    window.viewer.dims.set_point(0, 12 * 3.0)
    window.press(Qt.Key.Key_B)
    # That of the preview is there, as its coming would halt a drag.
    assert list(layers) == [workspace.image, workspace.labels, workspace.preview, workspace.boxes]
    window.drag(*BOX)
    window.wait()
    window.click((12, 30, 40))
    window.wait()
    assert list(layers) == list(workspace.layers)
    assert layers.selection.active is workspace.boxes
    assert all(layer.locked for layer in layers if layer is not workspace.image)


@pytest.mark.canvas
def test_a_volume_whose_work_is_not_recorded_is_not_closed_unasked(drawn, monkeypatch):
    drawn.workspace._recorder = None
    delete(drawn, drawn.workspace.image)
    assert drawn.workspace.image in drawn.viewer.layers
    assert in_order(drawn)
    assert "is not recorded, so the volume stays" in drawn.dock.status
    answers = [QMessageBox.StandardButton.No, QMessageBox.StandardButton.Yes]
    monkeypatch.setattr(QMessageBox, "question", lambda *_: answers.pop(0))
    choose(drawn, "Close volume")
    assert drawn.session.label.any()
    choose(drawn, "Close volume")
    assert drawn.dock.controller is None
    assert len(drawn.viewer.layers) == 0


def test_an_image_of_someone_else_stays_when_its_volume_is_closed(engine, window):
    window.wait()
    grey = np.random.default_rng(1).integers(0, 200, (6, 40, 50)).astype(np.uint16)
    layer = window.viewer.add_image(grey, name="theirs")
    window.dock.form.volume.layer_requested.emit(layer)
    window.wait()
    choose(window, "Close volume")
    assert list(window.viewer.layers) == [layer]


def test_no_layer_is_no_choice_while_a_volume_is_open(drawn):
    layer = drawn.dock.form.volume._layer
    assert layer.value is drawn.workspace.image
    layer.value = None
    drawn.wait()
    assert layer.value is drawn.workspace.image
    assert drawn.dock.controller is not None


def test_closing_in_the_middle_of_a_mask_writes_nothing(drawn, engine):
    session = drawn.session
    before = session.label.copy()
    engine.open.clear()
    drawn.viewer.dims.set_point(0, 6 * 3.0)
    drawn.drag((6, 16, 24), (6, 47, 55))
    drawn.entry("Close volume").trigger()
    QTest.qWait(20)
    engine.open.set()
    drawn.wait()
    np.testing.assert_array_equal(session.label, before)


def sliders(window):
    bars = window.viewer.window._qt_window.findChildren(QScrollBar)
    central, flat = window.viewer.window._qt_window.centralWidget(), Qt.Orientation.Horizontal
    return [
        b for b in bars if b.isVisible() and central.isAncestorOf(b) and b.orientation() == flat
    ]


@pytest.mark.shown
def test_the_slider_counts_the_slices_of_the_volume_in_hand(dock):
    first = dock.workspace
    dock.open(SAMPLES / "mr.nrrd")
    second = dock.workspace
    for wanted, count in ((second, 25), (first, 24)):
        if dock.workspace is not wanted:
            dock.dock.form.volume.layer_requested.emit(wanted.image)
            dock.wait()
        assert dock.workspace is wanted
        QTest.qWait(20)
        assert [(bar.minimum(), bar.maximum()) for bar in sliders(dock)] == [(0, count - 1)]
        dock.viewer.dims.set_point(0, 10 * wanted.session.volume.spacing[0])
        for index in (11, 12, 13):
            dock.press(Qt.Key.Key_Right)
            assert dock.viewer.dims.current_step[0] == index, "one press, one slice"
            assert dock.dock.controller.view.index == index
            assert sliders(dock)[0].value() == index
    # What is in the viewer besides still counts.
    dock.viewer.add_image(np.zeros((40, 64, 80)), scale=(3, 0.7, 0.5))
    assert [bar.maximum() for bar in sliders(dock)] == [39]
    dock.drag((13, 16, 24), (13, 47, 55))
    choose(dock, "Close volume")
    assert dock.workspace is second
    kinds = [layer for layer in dock.viewer.layers if isinstance(layer, Image)]
    assert first.image not in kinds
    assert second.image in kinds
