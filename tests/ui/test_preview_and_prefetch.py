"""The mask moves with the mouse, and slices are ready before they are needed."""

import numpy as np
import pytest
from qtpy.compat import isalive
from qtpy.QtCore import QEvent, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QListView

from napari_medsamq.inference.embeddings import EMBEDDING_BYTES
from napari_medsamq.inference.preprocess import WindowLevel
from napari_medsamq.ui.canvas import canvas_widget
from napari_medsamq.ui.canvas.preview_layer import striped

BOX = ((12, 16, 24), (12, 47, 55))
NONE = Qt.MouseButton.NoButton


class Drag:
    """A drag whose moves are made one by one."""

    def __init__(self, window, start):
        self.window = window
        begin = window.pixel(start)
        window.mouse(QEvent.Type.MouseMove, begin, NONE, NONE)
        window.mouse(QEvent.Type.MouseButtonPress, begin)
        self.place = begin

    def to(self, voxel, steps=1):
        target = self.window.pixel(voxel)
        for place in np.linspace(self.place, target, steps + 1)[1:]:
            QTest.qWait(15)
            self.window.mouse(QEvent.Type.MouseMove, place, NONE)
        self.place = target

    def release(self):
        QTest.qWait(15)
        self.window.mouse(QEvent.Type.MouseButtonRelease, self.place, buttons=NONE)
        QTest.qWait(15)


def shown(window):
    """The voxels of the preview, in the volume's own places; empty while it is hidden."""
    layer = window.workspace.preview
    found = np.zeros(window.session.label.shape, bool)
    if layer.visible:
        place = (layer.translate - window.workspace.labels.translate) / layer.scale
        start = np.rint(place).astype(int)
        places = zip(start, layer.data.shape, strict=True)
        found[tuple(slice(at, at + size) for at, size in places)] = layer.data > 0
    return found


def extent(mask):
    return [(int(where.min()), int(where.max())) for where in np.nonzero(mask)]


@pytest.mark.shown
def test_the_mask_moves_with_the_mouse_and_gives_way_to_the_label(dock):
    drag = Drag(dock, BOX[0])
    drag.to((12, 30, 40), steps=4)
    dock.wait()
    assert extent(shown(dock)) == [(12, 12), (16, 30), (24, 40)]
    assert "Preview of Label 1" in dock.dock.status
    assert "ms" in dock.dock.form.messages.line.toolTip()
    assert not dock.session.label.any(), "nothing is written before the button is released"
    drag.to(BOX[1], steps=4)
    dock.wait()
    assert extent(shown(dock)) == [(12, 12), (16, 47), (24, 55)]
    drag.release()
    dock.wait()
    assert not shown(dock).any()
    assert np.count_nonzero(dock.session.label) == 32 * 32


@pytest.mark.shown
def test_a_preview_is_striped_within_an_outline(dock):
    mask = np.zeros((74, 160), bool)
    mask[40:70, 70:110] = True
    corner, part = striped(mask)
    assert corner == (32, 64)
    assert part.shape == (42, 64), "little more of the slice than the mask reaches"
    drawn = np.zeros_like(mask)
    drawn[32:74, 64:128] = part > 0
    assert not drawn[~mask].any()
    assert drawn[40, 70:110].all()
    assert drawn[40:70, 109].all()
    assert 0.4 < drawn[41:69, 71:109].mean() < 0.6
    again, other = striped(np.roll(mask, (3, -5), (0, 1)))
    assert (again, other.shape) == (corner, part.shape), "not moved by each move of the mouse"


@pytest.mark.shown
def test_a_box_is_painted_once_with_its_mask(engine, window, phantom, monkeypatch):
    # Held for as long as it takes, on a slow computer too.
    monkeypatch.setattr(canvas_widget, "_MOST_HELD_MS", 10_000)
    window.close_dock()
    window.open_dock()
    window.open(phantom.volume.path)
    window.viewer.dims.set_point(0, 12 * 3.0)
    window.press(Qt.Key.Key_B)
    drag = Drag(window, BOX[0])
    drag.to((12, 30, 40), steps=2)
    window.wait()
    QTest.qWait(100)
    painted, seen, layer = [], [], window.workspace.preview
    paint = type(window.native).paintGL

    def note(self):
        paint(self)
        column = np.flatnonzero(layer.data.any((0, 1)))[-1]
        painted.append(round(layer.translate[2] / layer.scale[2]) + column)

    monkeypatch.setattr(type(window.native), "paintGL", note)
    window.dock.controller.preview.shown.connect(seen.append)
    for count, column in enumerate(range(45, 55)):
        drag.to((12, 40, column))
        window.qtbot.waitUntil(lambda count=count: len(painted) > count)
        window.wait()
    assert painted == [box.x1 for box in seen] == list(range(45, 55))
    drag.release()
    window.wait()


def test_nothing_is_marked_while_boxes_are_drawn(dock):
    marked = []
    dock.workspace.boxes.events.highlight.connect(lambda: marked.append(True))
    dock.drag(*BOX)
    dock.wait()
    assert marked == []
    dock.workspace.boxes.mode = "select"
    dock.workspace.boxes.selected_data = {0}
    assert marked
    dock.workspace.boxes.mode = "add_rectangle"
    assert dock.workspace.boxes.selected_data == set()


@pytest.mark.canvas
def test_the_list_of_layers_follows_once_the_hand_rests(dock, monkeypatch):
    monkeypatch.setattr(canvas_widget, "_REST_MS", 1_000)
    lists = dock.native.window().findChildren(QListView)
    (layers,) = [view for view in lists if view.inherits("QtLayerList")]
    assert layers.updatesEnabled()
    drag = Drag(dock, BOX[0])
    drag.to(BOX[1], steps=3)
    assert not layers.updatesEnabled()
    drag.release()
    dock.qtbot.waitUntil(layers.updatesEnabled)
    drag = Drag(dock, BOX[0])
    drag.to(BOX[1], steps=3)
    assert not layers.updatesEnabled()
    dock.close_dock()
    assert layers.updatesEnabled()


def test_boxes_that_came_too_late_are_never_asked_for(dock, engine):
    engine.open.clear()  # the encoding of the slice stands still
    drag = Drag(dock, BOX[0])
    for column in range(26, 56, 2):
        drag.to((12, 40, column))
    assert engine.decoded == 0
    engine.open.set()
    dock.wait()
    assert engine.decoded == 2, "the first box and the newest one"
    assert extent(shown(dock))[2] == (24, 54)
    drag.release()
    dock.wait()
    assert engine.encoded == 1


def test_an_answer_after_the_mouse_let_go_is_not_shown(dock, engine):
    engine.open.clear()
    drag = Drag(dock, BOX[0])
    drag.to(BOX[1], steps=3)
    drag.release()
    dock.qtbot.waitUntil(lambda: dock.dock.status == "Segmenting…")
    engine.open.set()
    dock.wait()
    assert not shown(dock).any()
    assert np.count_nonzero(dock.session.label) == 32 * 32


@pytest.mark.canvas
def test_moving_a_box_shows_where_its_mask_will_be(dock):
    dock.drag(*BOX)
    dock.wait()
    dock.workspace.boxes.mode = "select"
    dock.workspace.boxes.selected_data = {0}
    drag = Drag(dock, (12, 30, 40))
    drag.to((12, 36, 50), steps=5)
    dock.wait()
    moved = extent(shown(dock))
    assert moved[1][0] == pytest.approx(22, abs=1)
    assert moved[2][0] == pytest.approx(34, abs=1)
    before = dock.session.label.copy()
    assert extent(before)[1][0] == 16, "the label waits for the release"
    drag.release()
    dock.wait()
    assert extent(dock.session.label)[1:] == moved[1:]


@pytest.mark.parametrize(("name", "axis"), [("Coronal", 1), ("Sagittal", 2)])
def test_previews_lie_on_the_other_planes(dock, name, axis):
    dock.dock.controller.show_plane(axis)
    point = [12, 32, 40]
    dock.viewer.dims.set_point(axis, point[axis] * dock.session.volume.spacing[axis])
    start, stop = [4, 16, 24], [19, 47, 55]
    start[axis] = stop[axis] = point[axis]
    drag = Drag(dock, tuple(start))
    drag.to(tuple(stop), steps=4)
    dock.wait()
    found = extent(shown(dock))
    assert found[axis] == (point[axis],) * 2
    for other in {0, 1, 2} - {axis}:
        assert found[other] == (start[other], stop[other])
    drag.release()
    dock.wait()


@pytest.mark.shown
def test_the_window_closed_in_mid_drag_leaves_no_thread(dock, engine):
    engine.open.clear()
    drag = Drag(dock, BOX[0])
    drag.to(BOX[1], steps=2)
    dock.close_dock()
    engine.open.set()
    drag.release()
    QTest.qWait(100)
    dock.open_dock()
    dock.wait()
    assert not shown(dock).any()


@pytest.fixture
def ahead(engine, window, phantom):
    """The phantom in a dock that encodes ahead, on its middle slice."""
    window.close_dock()
    window.open_dock(prefetch=True)
    window.open(phantom.volume.path)
    window.viewer.dims.set_point(0, 12 * 3.0)
    settle(window)
    return window


def settle(window):
    """Wait until every slice that there is room for has been encoded."""
    QTest.qWait(100)
    window.wait()
    QTest.qWait(100)
    window.wait()


def ready(window, axis=0):
    count = window.session.label.shape[axis]
    return [index for index in range(count) if window.session.predictor(axis).is_ready(index)]


def test_all_slices_are_ready_before_a_box_is_drawn(ahead, engine):
    assert ready(ahead) == list(range(24))
    assert engine.encoded == 24
    ahead.press(Qt.Key.Key_B)
    ahead.drag(*BOX)
    ahead.wait()
    assert engine.encoded == 24
    assert "encode 0 ms" in ahead.dock.form.messages.line.toolTip()


def test_the_slice_in_view_comes_first_and_more_lie_ahead(engine, window, phantom):
    window.close_dock()
    window.open_dock(prefetch=True, memory=5 * EMBEDDING_BYTES)
    window.open(phantom.volume.path)
    window.viewer.dims.set_point(0, 9 * 3.0)
    window.viewer.dims.set_point(0, 10 * 3.0)
    settle(window)
    assert ready(window) == [9, 10, 11, 12, 13]
    window.viewer.dims.set_point(0, 6 * 3.0)
    settle(window)
    assert ready(window) == [3, 4, 5, 6, 7]


def test_no_slice_is_encoded_twice_for_a_step_or_a_small_box(engine, window, phantom):
    window.close_dock()
    window.open_dock(prefetch=True, memory=9 * EMBEDDING_BYTES)
    window.open(phantom.volume.path)
    window.viewer.dims.set_point(0, 12 * 3.0)
    settle(window)
    window.viewer.dims.set_point(0, 13 * 3.0)
    settle(window)
    wanted, encoded = ready(window), engine.encoded
    assert len(wanted) == window.session.slices_kept == 8
    window.viewer.dims.set_point(0, 14 * 3.0)
    settle(window)
    assert ready(window) == [index + 1 for index in wanted]
    assert engine.encoded == encoded + 1
    # One more for the part that is shown enlarged, which is still there when it is clicked on.
    window.press(Qt.Key.Key_B)
    window.drag((14, 30, 40), (14, 38, 48))
    settle(window)
    assert engine.encoded == encoded + 2
    window.press(Qt.Key.Key_C)
    window.click((14, 34, 44))
    settle(window)
    assert len(window.session.history.prompts[0].box.clicks) == 1
    assert engine.encoded == encoded + 2


def test_another_window_or_plane_is_prepared_anew(ahead, engine):
    ahead.workspace.image.contrast_limits = (-100, 200)
    assert ready(ahead) == []
    settle(ahead)
    assert ready(ahead) == list(range(24))
    ahead.dock.controller.show_plane(1)
    settle(ahead)
    assert 32 in ready(ahead, axis=1)
    assert len(ready(ahead, axis=1)) + len(ready(ahead)) == ahead.session.slices_kept


def test_nothing_is_encoded_ahead_during_a_drag(engine, window, phantom):
    window.close_dock()
    window.open_dock(prefetch=True)
    window.open(phantom.volume.path)
    window.press(Qt.Key.Key_B)
    drag = Drag(window, BOX[0])
    drag.to((12, 40, 50), steps=3)
    window.wait()
    before = engine.encoded
    QTest.qWait(200)
    assert engine.encoded == before
    drag.release()
    settle(window)
    assert ready(window) == list(range(24))


@pytest.mark.shown
def test_the_bar_of_slices_shows_what_is_ready(ahead):
    bar = ahead.dock.controller.slices.bar
    assert bar.ready.tolist() == [True] * 24
    assert bar.isVisible()
    picture = bar.grab().toImage()
    cell = bar.cell(18)
    assert picture.pixelColor(cell.center().x(), 3).name().upper() == "#56B4E9"
    ahead.dock.controller.show_plane(1)
    settle(ahead)
    assert bar.ready.size == 64
    ahead.close_dock()
    assert not isalive(bar)


@pytest.mark.shown
def test_the_canvas_is_not_kept_from_painting_for_long(dock, engine):
    engine.open.clear()
    drag = Drag(dock, BOX[0])
    drag.to(BOX[1], steps=3)
    QTest.qWait(100)
    assert dock.native.updatesEnabled(), "the box follows the mouse, whatever the network does"
    drag.to((12, 40, 40))
    dock.close_dock()
    assert dock.native.updatesEnabled()
    engine.open.set()


def test_a_window_moved_while_a_box_is_asked_about_is_not_that_of_its_mask(dock, engine):
    """Also for a box that waits in the queue behind it."""
    session = dock.session
    before = session.window
    engine.open.clear()
    for columns in ((4, 9), (12, 18)):
        dock.drag((12, 5, columns[0]), (12, 15, columns[1]))
    assert len(dock.workspace.prompts.waiting) == 2
    session.window = WindowLevel(before.level + 1, before.width)
    engine.open.set()
    dock.wait()
    assert [edit.network_state.window for edit in session.history.edits] == [before] * 2
