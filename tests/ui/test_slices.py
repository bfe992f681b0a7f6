"""Slices are turned by wheel, keys and the bar below the picture, and counted from one."""

import numpy as np
import pytest
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

NONE, CONTROL = Qt.KeyboardModifier.NoModifier, Qt.KeyboardModifier.ControlModifier


def turn(window, notches, held=NONE):
    middle = QPointF(window.native.rect().center())
    delta = QPoint(0, round(-120 * notches))
    event = QWheelEvent(
        middle,
        QPointF(window.native.mapToGlobal(middle.toPoint())),
        QPoint(),
        delta,
        Qt.MouseButton.NoButton,
        held,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(window.native, event)


def view(window):
    return window.dock.controller.view


def bar(window):
    return window.dock.controller.slices.bar


def test_the_wheel_shows_other_slices(dock):
    assert view(dock).index == 12
    turn(dock, 1)
    assert view(dock).index == 13
    turn(dock, -3)
    assert view(dock).index == 10
    for _ in range(4):
        turn(dock, 0.25)
    assert view(dock).index == 11, "a wheel without notches"
    turn(dock, 100)
    assert view(dock).index == 23
    turn(dock, 1)
    assert view(dock).index == 23


def test_the_wheel_zooms_with_control(dock):
    camera = dock.viewer.scene.camera
    before = camera.zoom
    turn(dock, -1, CONTROL)
    assert camera.zoom > before
    assert view(dock).index == 12
    turn(dock, 1)
    assert view(dock).index == 13


def test_a_preference_has_the_wheel_zoom(engine, window, phantom, settings):
    settings.display.wheel = "zooms"
    window.open(phantom.volume.path)
    window.viewer.dims.set_point(0, 12 * 3.0)
    before = window.viewer.scene.camera.zoom
    turn(window, -1)
    assert window.viewer.scene.camera.zoom > before
    assert view(window).index == 12
    turn(window, 1, CONTROL)
    assert view(window).index == 13


def test_keys_turn_slices(dock):
    dock.press(Qt.Key.Key_PageDown)
    assert view(dock).index == 13
    dock.press(Qt.Key.Key_PageUp)
    dock.press(Qt.Key.Key_PageUp)
    assert view(dock).index == 11


def test_the_bar_counts_from_one_and_says_where_it_is(dock):
    volume = dock.session.volume
    normal = volume.affine[:3, 0] / 3.0
    place = round(float(normal @ (volume.affine[:3, 3] + 12 * volume.affine[:3, 0])))
    assert bar(dock).text == f"13 of 24 · {place} mm"
    dock.press(Qt.Key.Key_PageDown)
    assert bar(dock).text.startswith("14 of 24")
    dock.press(Qt.Key.Key_F3)
    assert " of 64" in bar(dock).text


def test_a_drag_along_the_bar_shows_the_slices(dock):
    QTest.mousePress(bar(dock), Qt.MouseButton.LeftButton, pos=bar(dock).cell(3).center())
    assert view(dock).index == 3
    for index in range(24):
        assert bar(dock).slice_at(bar(dock).cell(index).center().x()) == index


def test_the_bar_fills_while_a_propagation_is_on_its_way(dock):
    dock.drag((12, 16, 24), (12, 47, 55))
    dock.wait()
    seen = []
    tool = dock.dock.controller.propagate
    tool.carried.connect(lambda found: seen.append(bar(dock)._stop.isVisibleTo(bar(dock))))
    dock.press(Qt.Key.Key_P)
    dock.qtbot.waitUntil(lambda: not tool.active, timeout=60_000)
    dock.wait()
    assert seen
    assert all(seen)
    assert not bar(dock)._stop.isVisibleTo(bar(dock))


def test_the_bar_stops_a_propagation(dock, engine):
    dock.drag((12, 16, 24), (12, 47, 55))
    dock.wait()
    tool = dock.dock.controller.propagate
    engine.open.clear()
    dock.press(Qt.Key.Key_P)
    assert tool.active
    bar(dock)._stop.click()
    assert not tool.active
    assert not bar(dock)._stop.isVisibleTo(bar(dock))
    engine.open.set()
    dock.wait()
    assert "you stopped it" in dock.dock.status


@pytest.mark.canvas
def test_a_finer_layer_of_someone_else_is_drawn_beside(dock):
    """As napari cannot draw between the slices of a layer."""
    voxels = np.zeros((40, 64, 80), np.uint8)
    dock.viewer.add_labels(voxels, scale=(2.0, 0.7, 0.5), translate=(-1.0, 0, 0))
    for index in (13, 14):
        dock.viewer.dims.set_point(0, index * 3.0)
        assert dock.dock.controller.view.index == index
        dock.viewer.layers.selection.active = dock.workspace.boxes
        dock.drag((index, 16, 24), (index, 47, 55))
        dock.wait()
    assert [own.box.index for own in dock.session.history.prompts] == [13, 14]
    dock.press(Qt.Key.Key_Right)
    assert dock.dock.controller.view.index == 15, "one press, one slice"
