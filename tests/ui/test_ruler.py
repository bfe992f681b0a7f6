"""Distances on the picture: lines that the mouse draws, moves and removes."""

import numpy as np
import pytest
from qtpy.QtCore import QEvent, Qt

from napari_medsamq.ui.canvas.rulers import RulerOverlay

RIGHT = Qt.MouseButton.RightButton
SHIFT = Qt.KeyboardModifier.ShiftModifier


def overlay(window):
    (found,) = window.dock_frame.parentWidget().findChildren(RulerOverlay)
    return found


def texts(window):
    """What is read at the lines of the slice in view."""
    own = overlay(window)
    return [] if own.isHidden() else own.texts


def right_click(window, voxel):
    spot = window.pixel(voxel)
    window.mouse(QEvent.Type.MouseButtonPress, spot, RIGHT, RIGHT)
    window.mouse(QEvent.Type.MouseButtonRelease, spot, RIGHT, Qt.MouseButton.NoButton)


@pytest.fixture
def ruler(dock):
    dock.press(Qt.Key.Key_L)
    return dock


def test_a_drag_is_a_distance_in_mm_and_nothing_else(ruler):
    assert ruler.dock.form.rail.tool == "ruler"
    edits, sidecar = ruler.session.history.edits, ruler.session.label.copy()
    ruler.drag((12, 20, 20), (12, 20, 60))
    ruler.drag((12, 10, 20), (12, 40, 60))
    # Spacing (3, 0.7, 0.5) mm.
    assert texts(ruler) == ["20.0 mm", f"{np.hypot(30 * 0.7, 40 * 0.5):.1f} mm"]
    assert ruler.dock.status.startswith("29.0 mm")
    assert ruler.session.history.edits == edits
    np.testing.assert_array_equal(ruler.session.label, sidecar)
    assert len(ruler.workspace.boxes.data) == 0
    assert not ruler.workspace.unsaved


def test_distances_of_other_planes_are_those_in_the_patient(ruler):
    ruler.press(Qt.Key.Key_F3)
    index = ruler.dock.controller.view.index
    ruler.drag((4, index, 20), (14, index, 20))
    assert texts(ruler) == ["30.0 mm"]


def test_slices_that_are_tilted_against_each_other_are_measured_as_they_lie(ruler):
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([(0, 1, 3), (0, 1, 0), (1, 0, 0)])
    ruler.press(Qt.Key.Key_F4)
    index = ruler.dock.controller.view.index
    ruler.drag((4, 20, index), (8, 20, index))
    (line,) = ruler.workspace.rulers
    assert line.length(affine) == pytest.approx(4 * np.sqrt(10), rel=0.01)


def test_a_line_belongs_to_its_slice(ruler):
    ruler.drag((12, 20, 20), (12, 20, 60))
    ruler.press(Qt.Key.Key_PageDown)
    assert texts(ruler) == []
    ruler.press(Qt.Key.Key_PageUp)
    assert texts(ruler) == ["20.0 mm"]
    ruler.press(Qt.Key.Key_F3)
    assert texts(ruler) == []


def test_an_end_is_moved_and_a_click_draws_nothing(ruler):
    ruler.drag((12, 20, 20), (12, 20, 60))
    ruler.click((12, 50, 50))
    assert texts(ruler) == ["20.0 mm"]
    ruler.drag((12, 20, 60), (12, 20, 40))
    assert texts(ruler) == ["10.0 mm"]
    ruler.drag((12, 20, 20), (12, 20, 30))
    assert texts(ruler) == ["5.0 mm"]


def test_a_right_click_removes_the_line_under_it_and_a_key_those_of_the_slice(ruler):
    for row in (10, 20, 30):
        ruler.drag((12, row, 20), (12, row, 20 + row))
    right_click(ruler, (12, 20, 35))
    assert texts(ruler) == ["5.0 mm", "15.0 mm"]
    right_click(ruler, (12, 50, 35))
    assert texts(ruler) == ["5.0 mm", "15.0 mm"]
    ruler.press(Qt.Key.Key_PageDown)
    ruler.drag((13, 20, 20), (13, 20, 60))
    ruler.press(Qt.Key.Key_L, SHIFT)
    assert texts(ruler) == []
    ruler.press(Qt.Key.Key_PageUp)
    assert texts(ruler) == ["5.0 mm", "15.0 mm"]


@pytest.mark.parametrize("key", ["B", "C", "G", "M"])
def test_another_tool_puts_it_away_and_the_lines_stay(ruler, key):
    ruler.drag((12, 20, 20), (12, 20, 60))
    ruler.press(getattr(Qt.Key, f"Key_{key}"))
    assert not ruler.dock.controller.ruler.active
    ruler.drag((12, 40, 20), (12, 50, 60))
    assert texts(ruler) == ["20.0 mm"]
    ruler.press(Qt.Key.Key_L)
    ruler.drag((12, 50, 20), (12, 50, 40))
    assert texts(ruler) == ["20.0 mm", "10.0 mm"]


@pytest.mark.canvas
def test_lines_are_there_again_with_the_dock(ruler):
    ruler.drag((12, 20, 20), (12, 20, 60))
    ruler.close_dock()
    assert ruler.native.findChildren(RulerOverlay) == []
    ruler.open_dock()
    ruler.wait()
    assert texts(ruler) == ["20.0 mm"]
    assert ruler.dock.form.rail.tool != "ruler"


@pytest.mark.shown
def test_lines_are_drawn_where_the_mouse_drew_them(ruler):
    ruler.drag((12, 20, 20), (12, 40, 60))
    own = overlay(ruler)
    (line,) = ruler.workspace.rulers
    wanted = [ruler.pixel((12, 20, 20)), ruler.pixel((12, 40, 60))]
    found = [(spot.x(), spot.y()) for spot in own.ends(line)]
    np.testing.assert_allclose(found, wanted, atol=2)
    middle = np.mean(found, axis=0)
    assert own.grab().toImage().pixelColor(*middle.round().astype(int).tolist()).lightness() > 150
