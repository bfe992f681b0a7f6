"""One key carries a box through the volume; it can be watched, stopped and undone."""

import time
from types import SimpleNamespace

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from scripted_engine import ScriptedEngine, bright, load_instead
from test_clicks import click
from test_preview_and_prefetch import Drag

from napari_medsamq.annotation.repairs import REPAIRS
from napari_medsamq.inference.preprocess import WindowLevel
from napari_medsamq.io.volume import volume_from_slices
from napari_medsamq.plugin import SAMPLES, image_layer
from napari_medsamq.prompts import BoxPrompt3D
from napari_medsamq.records.provenance import read_provenance
from napari_medsamq.ui.forms.tool_rail import WAYS

PLAIN = Qt.KeyboardModifier.NoModifier
BOX = ((10, 192, 110), (10, 384, 268))


def slowly(image, box):
    """Take time, so that there is time to stop it."""
    time.sleep(0.03)
    return bright(image, box)


@pytest.fixture
def liver(window):
    """A box around the liver on the sample CT, with the network that ships."""
    window.open(SAMPLES / "ct.nii.gz")
    window.viewer.dims.set_point(0, 20.0)
    window.press(Qt.Key.Key_B)
    window.drag(*BOX)
    window.wait()
    return window


def slices(window):
    return np.unique(np.nonzero(window.session.label)[0]).tolist()


def settle(window):
    window.qtbot.waitUntil(lambda: not window.dock.controller.propagate.active, timeout=120_000)
    window.wait()


def bar(window, monkeypatch, answer, count):
    """Open so many slices of a bar, and draw a box on that in the middle; answered by a script."""
    engine = ScriptedEngine(answer)
    load_instead(monkeypatch, engine)
    window.close_dock()
    window.open_dock()
    array = np.full((count, 16, 14), 10, np.int16)
    array[:, 5:13, 3:11] = 200
    volume = volume_from_slices(array, (1, 1, 1), "bar").with_modality("CT")
    data, arguments, _ = image_layer(volume)
    window.wait()
    window.viewer.add_image(data, **arguments)
    window.wait()
    window.session.window = WindowLevel(127.5, 255)
    middle = count // 2
    window.viewer.dims.set_point(0, float(middle))
    window.press(Qt.Key.Key_B)
    window.drag((middle, 5, 3), (middle, 12, 10))
    window.wait()
    assert slices(window) == [middle]
    return window


@pytest.fixture
def quick(monkeypatch, window):
    """A bar, and a network that finds it at once."""
    return bar(window, monkeypatch, bright, 20)


@pytest.fixture
def slow(monkeypatch, window):
    """A long bar, and a network that takes its time."""
    return bar(window, monkeypatch, slowly, 60)


def test_one_key_fills_the_liver_and_one_undo_takes_it_back(liver):
    alone = liver.session.label.copy()
    liver.press(Qt.Key.Key_P)
    settle(liver)
    assert slices(liver) == list(range(20))
    areas = np.count_nonzero(liver.session.label, axis=(1, 2))
    assert areas.min() > 10_000
    assert "19 slices by propagation" in liver.dock.status
    liver.press(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    np.testing.assert_array_equal(liver.session.label, alone)
    assert len(liver.session.history.prompts) == 1


def test_boxes_on_two_planes_are_a_3d_box_and_one_undo_takes_it_back(dock):
    menu = dock.button("Propagate").menu()
    (whole,) = [own for own in menu.actions() if own.text().startswith("3D box")]
    dock.drag((12, 16, 24), (12, 47, 55))
    dock.wait()
    whole.trigger()
    assert "needs a box on this plane and one on another plane" in dock.dock.status
    dock.press(Qt.Key.Key_F3)
    dock.drag((6, 32, 30), (18, 32, 60))
    dock.wait()
    drawn = dock.session.label.copy()
    dock.press(Qt.Key.Key_F2)
    whole.trigger()
    dock.wait()
    assert [prompt.box for prompt in dock.session.history.prompts][-1] == BoxPrompt3D(
        (6, 16, 24), (18, 47, 60), 0
    )
    assert slices(dock) == list(range(6, 19))
    dock.press(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    np.testing.assert_array_equal(dock.session.label, drawn)


def test_a_corrected_slice_of_a_3d_box_is_carried_to_the_ends_of_that_box(dock):
    menu = dock.button("Propagate").menu()
    (whole,) = [own for own in menu.actions() if own.text().startswith("3D box")]
    dock.press(Qt.Key.Key_F3)
    dock.drag((10, 32, 30), (14, 32, 60))
    dock.wait()
    dock.press(Qt.Key.Key_F2)
    dock.drag((12, 16, 24), (12, 47, 55))
    dock.wait()
    whole.trigger()
    dock.wait()
    assert slices(dock) == list(range(10, 15))
    dock.press(Qt.Key.Key_C)
    click(dock, (13, 45, 50), Qt.MouseButton.RightButton)
    dock.wait()
    dock.press(Qt.Key.Key_P)
    settle(dock)
    assert slices(dock) == list(range(10, 15))
    assert "its 3D box ends there" in dock.dock.status


def test_anchors_on_two_planes_stay_whichever_is_carried(quick):
    quick.press(Qt.Key.Key_F3)
    quick.viewer.dims.set_point(1, 9.0)
    quick.drag((5, 9, 0), (15, 9, 6))
    quick.wait()
    quick.press(Qt.Key.Key_C)
    click(quick, (7, 9, 4), Qt.MouseButton.RightButton)
    quick.wait()
    drawn = quick.session.label.copy()
    across, axial = np.s_[5:16, 9, :7], np.s_[10]
    # The click has taken something away, which is not to be filled again.
    assert 20 < np.count_nonzero(drawn[across]) < 11 * 4
    for key in (Qt.Key.Key_F2, Qt.Key.Key_F3):
        quick.press(key)
        quick.press(Qt.Key.Key_P)
        settle(quick)
        label = quick.session.label
        np.testing.assert_array_equal(label[across], drawn[across])
        np.testing.assert_array_equal(label[axial], drawn[axial])
        assert label[:, 5:13, 3:11].mean() > 0.9
    for _ in range(2):
        quick.press(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    np.testing.assert_array_equal(quick.session.label, drawn)


def test_a_better_box_has_only_its_neighbourhood_made_anew(quick):
    asked = []
    quick.press(Qt.Key.Key_P)
    settle(quick)
    quick.press(Qt.Key.Key_P)
    assert "Nothing has changed since the last propagation" in quick.dock.status
    quick.session.event.connect(lambda _kind, content: asked.append(content))
    above = quick.session.label[11:].copy()
    quick.viewer.dims.set_point(0, 5.0)
    quick.drag((5, 6, 4), (5, 11, 9))
    quick.wait()
    quick.press(Qt.Key.Key_P)
    settle(quick)
    assert asked[-1]["done"] == [(10, 20)]
    assert "9 slices by propagation" in quick.dock.status
    np.testing.assert_array_equal(quick.session.label[11:], above)
    # What was undone has to be made anew.
    quick.press(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    quick.press(Qt.Key.Key_P)
    settle(quick)
    assert (5, 10) not in asked[-1]["done"]
    assert (10, 20) in asked[-1]["done"]


@pytest.mark.parametrize(
    ("way", "wanted"),
    [
        ("to the slice in view", range(10, 15)),
        pytest.param("up", range(10, 20), marks=pytest.mark.slow),
        pytest.param("down", range(11), marks=pytest.mark.slow),
    ],
)
def test_it_goes_where_it_is_asked_to(liver, way, wanted):
    liver.viewer.dims.set_point(0, 14 * 2.0)
    menu = liver.button("Propagate").menu()
    menu.actions()[WAYS.index(way)].trigger()
    settle(liver)
    assert slices(liver) == list(wanted)


def test_the_bar_forgets_it_once_another_structure_is_in_hand(quick):
    bar = quick.dock.controller.slices.bar

    def cells():
        painted = bar.grab().toImage()
        return {painted.pixel(bar.cell(index).center()) for index in range(20) if index != 10}

    empty = cells()
    quick.press(Qt.Key.Key_P)
    quick.button("+ New").click()
    QTest.keyClicks(quick.dock.form.label._name, "Spleen\r")
    settle(quick)
    assert slices(quick) == list(range(20))
    assert cells() == empty


def test_a_slice_corrected_with_the_brush_is_left_and_steers(quick):
    quick.press(Qt.Key.Key_P)
    settle(quick)
    labels = quick.workspace.labels
    quick.viewer.dims.set_point(0, 14.0)
    quick.viewer.layers.selection.active = labels
    labels.mode = "erase"
    labels.brush_size = 3
    quick.drag((14, 8, 5), (14, 8, 8))
    corrected = quick.session.label[14].copy()
    assert np.count_nonzero(corrected) > 0
    quick.press(Qt.Key.Key_P)
    settle(quick)
    np.testing.assert_array_equal(quick.session.label[14], corrected)
    assert slices(quick) == list(range(20))


def test_slices_appear_one_by_one_and_escape_stops_within_100_ms(slow):
    slow.press(Qt.Key.Key_P)
    slow.qtbot.waitUntil(lambda: len(slices(slow)) > 6, timeout=20_000)
    assert slow.dock.controller.propagate.active
    assert "Propagating" in slow.dock.status
    assert slow.button("Stop").isEnabled()
    # The window's own time, which other programs on the computer do not add to.
    begun = time.thread_time()
    slow.press(Qt.Key.Key_Escape)
    assert not slow.dock.controller.propagate.active
    assert time.thread_time() - begun < 0.1
    stopped = slices(slow)
    slow.wait()
    assert slices(slow) == stopped
    assert len(stopped) < 60
    assert "you stopped it" in slow.dock.status
    assert slow.button("Propagate").isEnabled()


def test_what_is_accepted_in_the_middle_stays(slow):
    session = slow.session
    older = np.zeros(session.label.shape, bool)
    older[31:56, 6:9, 4:8] = True
    voxels = np.flatnonzero(older)
    prompts = session.history.prompts
    session.history.change("drawn", voxels, np.ones(voxels.size, np.uint16), prompts)
    slow.workspace.refresh()
    before = session.label.copy()
    slow.viewer.dims.set_point(0, 55.0)
    slow.press(Qt.Key.Key_P)
    slow.qtbot.waitUntil(lambda: (session.label != before).any(), timeout=20_000)
    slow.press(Qt.Key.Key_A)
    accepted = session.label.copy()
    assert (accepted[55] == before[55]).all()
    assert "slice 56 accepted" in slow.dock.status
    assert "The propagation was stopped" in slow.dock.status
    slow.wait()
    np.testing.assert_array_equal(session.label, accepted)
    slow.press(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    slow.press(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    np.testing.assert_array_equal(session.label, before)


@pytest.fixture
def button(monkeypatch):
    """What Qt knows of the mouse's button, which events made up for one widget leave as it is."""
    held = SimpleNamespace(down=True)
    monkeypatch.setattr("napari_medsamq.ui.canvas.label_strokes._button_is_down", lambda: held.down)
    return held


def test_a_stroke_in_the_middle_is_kept_and_counted(slow, button):
    labels, session = slow.workspace.labels, slow.session
    slow.viewer.dims.set_point(0, 40.0)
    slow.viewer.layers.selection.active = labels
    labels.mode = "paint"
    labels.brush_size = 3
    slow.press(Qt.Key.Key_P)
    slow.qtbot.waitUntil(lambda: len(slices(slow)) > 3, timeout=20_000)
    assert not session.label[40].any()
    drag = Drag(slow, (40, 2, 2))
    drag.to((40, 2, 11), steps=4)
    reached = slices(slow)
    painted = session.label[40].copy()
    assert painted.any()
    assert not painted[5:].any()
    slow.qtbot.wait(1500)
    # The label is left alone while the button is down.
    assert slices(slow) == reached
    assert slow.dock.controller.propagate.active
    drag.release()
    settle(slow)
    assert slices(slow) == list(range(60))
    np.testing.assert_array_equal(session.label[40], painted)
    assert session.history.voxel_counts == {1: np.count_nonzero(session.label)}
    assert "58 slices by propagation" in slow.dock.status


def act(window, what, tmp_path):
    """Ask for something that changes label or history, or that takes both down."""
    controller = window.dock.controller
    if what == "save":
        controller.save_load.save(tmp_path / "label.nii.gz")
    elif what == "repair":
        controller.repair.repair(next(r for r in REPAIRS if r.title == "Shrink"), [1.0])
    elif what == "remove":
        window.dock.form.label.remove_requested.emit(1)
    else:
        keys = {"undo": "Z", "redo": "Z", "accept": "A", "propagate": "P"}
        control, shift = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier
        modifier = {"undo": control, "redo": control | shift}.get(what, PLAIN)
        window.press(getattr(Qt.Key, f"Key_{keys[what]}"), modifier)
    QTest.qWait(30)


def test_all_that_changes_the_label_waits_for_the_end_of_a_stroke(dock, button, tmp_path):
    """And finds the stroke in the history then."""
    labels, session = dock.workspace.labels, dock.session
    history = session.history
    for what in ["undo", "redo", "accept", "propagate", "repair", "remove", "save"]:
        while history.undo():
            pass
        dock.workspace.refresh()
        dock.viewer.layers.selection.active = dock.workspace.boxes
        dock.workspace.boxes.mode = "add_rectangle"
        dock.drag((12, 16, 24), (12, 47, 55))
        dock.wait()
        if what == "redo":
            dock.dock.controller.undo.undo()
        before, status = history.edits, dock.dock.status
        dock.viewer.layers.selection.active = labels
        labels.mode, labels.brush_size = "paint", 4
        dock.workspace.show_label(2)
        drag = Drag(dock, (12, 20, 20))
        drag.to((12, 20, 40), steps=4)
        dock.workspace.show_label(1)
        painted = session.label.copy()
        assert (painted == 2).any()
        act(dock, what, tmp_path)
        assert history.edits == before, what
        assert not dock.dock.controller.propagate.active
        np.testing.assert_array_equal(session.label, painted)
        assert dock.dock.status == status
        drag.release()
        dock.qtbot.waitUntil(lambda old=status: dock.dock.status != old)
        settle(dock)
        done = [edit.name for edit in history.edits]
        assert (
            done
            == {
                "undo": ["box for Label 1"],
                "redo": ["brush stroke"],
                "accept": ["box for Label 1", "brush stroke", "acceptance of Label 1, 1 slice"],
                # This network finds nothing on other slices.
                "propagate": ["box for Label 1", "brush stroke"],
                "repair": ["box for Label 1", "brush stroke", "shrink: Label 1"],
                "remove": ["box for Label 1", "brush stroke", "remove Label 1"],
                "save": ["box for Label 1", "brush stroke"],
            }[what]
        )
        assert (what == "propagate") == ("by propagation" in dock.dock.status)
        assert history.voxel_counts == {
            n: c for n, c in enumerate(np.bincount(session.label.reshape(-1)).tolist()) if n and c
        }
    (entry,) = [e for e in read_provenance(tmp_path / "label.nii.gz")["labels"] if e["id"] == 2]
    assert entry["origin"]["share"]["hand"] == 1
    while history.undo():
        assert history.voxel_counts.get(2, 0) == np.count_nonzero(session.label == 2)
    assert not session.label.any()


def test_a_stroke_that_ends_over_a_dialog_holds_nothing_up(slow, button):
    labels = slow.workspace.labels
    slow.viewer.dims.set_point(0, 40.0)
    slow.viewer.layers.selection.active = labels
    labels.mode = "paint"
    slow.press(Qt.Key.Key_P)
    Drag(slow, (40, 2, 2)).to((40, 2, 11), steps=4)
    slow.qtbot.wait(500)
    reached = slices(slow)
    slow.qtbot.wait(500)
    assert slices(slow) == reached
    button.down = False
    slow.qtbot.waitUntil(lambda: len(slices(slow)) > len(reached), timeout=5_000)


def test_undo_in_the_middle_takes_back_what_there_is(slow):
    slow.press(Qt.Key.Key_P)
    slow.qtbot.waitUntil(lambda: len(slices(slow)) > 4, timeout=20_000)
    slow.press(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    slow.wait()
    assert slices(slow) == [30]


@pytest.mark.canvas
def test_the_window_closed_in_the_middle_keeps_what_there_is(slow):
    slow.press(Qt.Key.Key_P)
    slow.qtbot.waitUntil(lambda: len(slices(slow)) > 4, timeout=20_000)
    slow.close_dock()
    slow.open_dock()
    slow.wait()
    assert 4 < len(slices(slow)) < 60


def test_a_box_on_another_plane_is_asked_for(slow):
    slow.dock.controller.show_plane(1)
    slow.press(Qt.Key.Key_P)
    slow.wait()
    assert "Draw a box" in slow.dock.status


def test_where_nothing_is_known_nothing_is_written_down(slow):
    asked = []
    slow.session.event.connect(asked.append, max_args=1)
    slow.dock.controller.show_plane(1)
    slow.press(Qt.Key.Key_P)
    slow.wait()
    assert "Draw a box" in slow.dock.status
    assert "carry" not in asked
    assert not slow.dock.controller.propagate.active


def test_a_window_moved_in_the_middle_is_not_that_of_the_propagation(slow):
    session, before = slow.session, slow.session.window
    slow.press(Qt.Key.Key_P)
    slow.qtbot.waitUntil(lambda: len(slices(slow)) > 4, timeout=20_000)
    session.window = WindowLevel(before.level + 1, before.width)
    settle(slow)
    assert slices(slow) == list(range(60))
    assert {edit.network_state.window for edit in session.history.edits} == {before}
    # Nothing has been made through the one that is in hand now.
    slow.press(Qt.Key.Key_P)
    assert slow.dock.controller.propagate.active
    slow.press(Qt.Key.Key_Escape)
    slow.wait()
