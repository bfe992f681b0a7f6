"""Two labels are compared on the canvas, and the view is as before; the labels always are."""

import nibabel as nib
import numpy as np
import pytest
from napari.layers import Labels
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QPushButton

from napari_medsamq.analysis.comparison import compare_masks
from napari_medsamq.io.label_writer import write_label

SHIFT = Qt.KeyboardModifier.ShiftModifier


@pytest.fixture
def drawn(dock):
    """Label 1 on slices 8 to 15; label 2, drawn over it, has slices 12 to 17 of the same block."""
    label = np.zeros(dock.session.label.shape, np.uint16)
    label[8:16, 20:40, 25:50] = 1
    label[14:18, 20:40, 25:50] = 2
    voxels = np.flatnonzero(label)
    dock.session.history.change("drawn", voxels, label.reshape(-1)[voxels], ())
    dock.workspace.refresh()
    dock.wait()
    return dock


def reader(window, *, shift=2, label_id=1):
    """A labels layer with label 1 as another reader saw it, a few voxels to the left."""
    data = np.zeros(window.session.label.shape, np.uint16)
    data[8:16, 20:40, 25 + shift : 50 + shift] = label_id
    layer = Labels(data, name="reader", scale=window.workspace.labels.scale)
    window.viewer.add_layer(layer)
    return layer


def form(window):
    return window.dock.form.compare


def button(window, words):
    (found,) = [
        b for b in form(window).findChildren(QPushButton) if b.text().split("  ")[0] == words
    ]
    return found


def caption(window):
    (found,) = window.native.findChildren(QLabel, "comparison")
    return found.text() if found.isVisibleTo(window.native) else ""


def begin(window, a, b):
    form(window).choose(a, b)
    window.press(Qt.Key.Key_D)
    window.wait()


def shown(window):
    return window.dock.controller.compare.overlay


def seen(window):
    """The colours of the comparison's voxels in view, as what they stand for."""
    colors = shown(window).layer.colormap.color_dict
    return {code for code in range(1, 6) if colors[code][3] > 0}


def look(window):
    """All that leaving has to restore."""
    viewer, camera = window.viewer, window.viewer.scene.camera
    return {
        "layers": [(layer.name, layer.visible) for layer in viewer.layers],
        "active": viewer.layers.selection.active,
        "selection": set(viewer.layers.selection),
        "mode": window.workspace.boxes.mode,
        "dims": (viewer.dims.point, viewer.dims.order, viewer.dims.ndisplay),
        "camera": (camera.center, camera.zoom, camera.angles, camera.orientation2d),
        "clicking": window.dock.controller.click.active,
    }


def test_numbers_of_before_are_grey_until_the_new_ones_are_there(drawn, monkeypatch):
    begin(drawn, 1, 2)
    table, show, enabled = form(drawn)._table, form(drawn).show_agreement, []
    assert table.isEnabled()

    def look_then_show(rows):
        enabled.append(table.isEnabled())
        show(rows)

    monkeypatch.setattr(form(drawn), "show_agreement", look_then_show)
    drawn.press(Qt.Key.Key_Escape)
    begin(drawn, 2, 1)
    assert enabled == [False]
    assert table.isEnabled()


def test_one_key_leads_through_four_states_and_escape_gives_the_view_back(drawn):
    drawn.workspace.boxes.mode = "add_rectangle"
    drawn.viewer.scene.camera.zoom *= 1.3
    before, label = look(drawn), drawn.session.label.copy()
    begin(drawn, 1, 2)
    assert not drawn.workspace.labels.visible
    assert drawn.workspace.boxes.mode == "pan_zoom"
    states = []
    for _ in range(5):
        states.append((shown(drawn).state, caption(drawn).split(":")[0], seen(drawn)))
        assert [b.isChecked() for b in form(drawn).findChildren(QPushButton)].count(True) == 1
        drawn.press(Qt.Key.Key_D)
    assert states == [
        ("A", "A", {1, 2, 5}),
        ("B", "B", {3, 4, 5}),
        ("Both", "A and B", {1, 2, 3, 4, 5}),
        ("Differences", "Differences", {1, 2, 3, 4}),
        ("A", "A", {1, 2, 5}),
    ]
    # What is seen elsewhere meanwhile is no part of the view before.
    drawn.press(Qt.Key.Key_F3)
    drawn.press(Qt.Key.Key_K)
    drawn.viewer.scene.camera.zoom *= 2
    drawn.press(Qt.Key.Key_Escape)
    assert look(drawn) == before
    assert caption(drawn) == ""
    np.testing.assert_array_equal(drawn.session.label, label)
    assert drawn.dock.controller.view.plane.axis == 0


def test_buttons_do_what_the_key_does(drawn):
    form(drawn).choose(1, 2)
    button(drawn, "Compare").click()
    drawn.wait()
    button(drawn, "Differences").click()
    assert shown(drawn).state == "Differences"
    button(drawn, "Differences").click()
    assert button(drawn, "Differences").isChecked()
    button(drawn, "B").click()
    assert shown(drawn).state == "B"
    assert not button(drawn, "Differences").isChecked()
    button(drawn, "Leave").click()
    assert not shown(drawn).active
    assert not button(drawn, "B").isEnabled()


def test_the_next_slice_that_differs_is_a_key_away(drawn):
    layer = reader(drawn)
    layer.data[10:12] = 0
    layer.data[10:12][drawn.session.label[10:12] == 1] = 1
    layer.data[14:16] = 0
    begin(drawn, 1, layer)
    axis = 0
    at = []
    drawn.viewer.dims.set_point(axis, 0)
    for _ in range(6):
        drawn.press(Qt.Key.Key_K)
        at.append(round(drawn.viewer.dims.point[axis] / 3.0))
    # On 10 and 11 both are the same; 13 is the last one, as label 2 has what follows.
    assert at == [8, 9, 12, 13, 13, 13]
    assert "No slice above" in drawn.dock.status
    drawn.press(Qt.Key.Key_K, SHIFT)
    assert round(drawn.viewer.dims.point[axis] / 3.0) == 12


def test_patterns_tell_who_has_a_voxel_alone(drawn):
    layer = reader(drawn)
    begin(drawn, 1, layer)
    codes = shown(drawn).layer.data
    one, two = drawn.session.label == 1, layer.data == 1
    np.testing.assert_array_equal(np.isin(codes, (1, 2)), one & ~two)
    np.testing.assert_array_equal(np.isin(codes, (3, 4)), two & ~one)
    np.testing.assert_array_equal(codes == 5, one & two)
    for index, axis in ((10, 0), (30, 1), (25, 2), (51, 2)):
        # In each plane both halves of the pattern are there.
        alone = np.unique(np.moveaxis(codes, axis, 0)[index])
        assert set(alone) & {1, 3}
        assert set(alone) & {2, 4}


@pytest.mark.shown
def test_numbers_are_those_of_all_labels_of_another_reader(drawn):
    layer = reader(drawn)
    layer.data[14:18, 20:40, 25:50] = 2
    layer.data[0, 0, :5] = 9
    begin(drawn, 1, layer)
    drawn.wait()
    own = compare_masks(
        drawn.session.label == 1, layer.data == 1, drawn.session.volume.spacing.tolist(), 2.0
    )
    names, scores = zip(*((row[0], row[1:]) for row in form(drawn).rows), strict=True)
    assert names == ("1 Label 1", "2 Label 2", "9 Label 9", "mean of 2")
    assert scores[0][:2] == [f"{own.dsc:.3f}", f"{own.nsd:.3f}"]
    assert scores[1][:2] == ["1.000", "1.000"]
    assert scores[2][2] == "only B"
    assert scores[3][0] == f"{(own.dsc + 1) / 2:.3f}"
    # All columns are in sight at the usual width of the dock.
    assert form(drawn)._table.horizontalScrollBar().maximum() == 0
    assert f"DSC {own.dsc:.3f}, NSD {own.nsd:.3f} at 2 mm" in drawn.dock.status


def test_a_label_file_is_brought_onto_the_grid(drawn, tmp_path):
    other = np.roll(drawn.session.label, 1, axis=2)
    path = write_label(tmp_path / "reader.nii.gz", other, drawn.session.volume).path
    form(drawn).file_requested.emit(path)
    drawn.wait()
    assert shown(drawn).pair.b == "reader.nii.gz, label 1"
    assert np.array_equal(shown(drawn).layer.data > 2, other == 1)
    drawn.press(Qt.Key.Key_Escape)
    # Twice as coarse, along the file's own axes.
    image = nib.load(path)
    coarse = nib.Nifti1Image(
        np.asarray(image.dataobj)[::2, ::2], image.affine @ np.diag([2, 2, 1, 1])
    )
    nib.save(coarse, tmp_path / "coarse.nii.gz")
    form(drawn).file_requested.emit(tmp_path / "coarse.nii.gz")
    drawn.wait()
    assert "was resampled" in drawn.dock.status
    assert shown(drawn).pair.agreement.dsc > 0.85
    form(drawn).file_requested.emit(tmp_path / "none.nii.gz")
    drawn.wait()
    assert "no such file" in drawn.dock.status


@pytest.mark.parametrize("how", ["draw", "click", "undo"])
def test_work_on_the_label_ends_the_comparison_where_one_looks(drawn, how):
    begin(drawn, 1, 2)
    drawn.press(Qt.Key.Key_K)
    point = drawn.viewer.dims.point
    keys = {"draw": Qt.Key.Key_B, "click": Qt.Key.Key_C, "undo": Qt.Key.Key_Z}
    control = Qt.KeyboardModifier.ControlModifier
    drawn.press(keys[how], control if how == "undo" else Qt.KeyboardModifier.NoModifier)
    assert not shown(drawn).active
    assert drawn.workspace.labels.visible
    assert drawn.workspace.boxes.visible
    assert drawn.viewer.dims.point == point
    assert "comparison" not in [layer.name for layer in drawn.viewer.layers]
    assert drawn.dock.controller.drawing == (how == "draw")
    assert drawn.dock.controller.click.active == (how == "click")


def test_clicks_and_drags_meanwhile_change_nothing(drawn):
    drawn.press(Qt.Key.Key_C)
    before, label = look(drawn), drawn.session.label.copy()
    assert before["clicking"]
    begin(drawn, 1, 2)
    drawn.click((12, 30, 30))
    drawn.drag((12, 10, 10), (12, 50, 60))
    drawn.workspace.labels.mode = "paint"
    drawn.click((12, 30, 30))
    drawn.wait()
    np.testing.assert_array_equal(drawn.session.label, label)
    drawn.press(Qt.Key.Key_Escape)
    assert look(drawn)["clicking"]
    assert look(drawn)["layers"] == before["layers"]


def test_what_cannot_be_compared_is_told(dock, drawn):
    begin(drawn, 1, 1)
    assert "same label" in drawn.dock.status
    elsewhere = Labels(np.ones((3, 4, 5), np.uint8), name="elsewhere")
    other = reader(drawn)
    other.data[...] = 0
    other.data[:2, 0, 0] = 7, 8
    drawn.viewer.add_layer(elsewhere)
    begin(drawn, 1, elsewhere)
    assert "a file says where it lies" in drawn.dock.status
    begin(drawn, 1, other)
    assert "has no label 1 (Label 1); its labels are: 7, 8" in drawn.dock.status
    drawn.press(Qt.Key.Key_K)
    assert "Press 'Compare' first" in drawn.dock.status
    # A reader with one structure may have numbered it otherwise.
    other.data[1, 0, 0] = 0
    begin(drawn, 1, other)
    assert shown(drawn).pair.b == "reader, label 7"
    drawn.viewer.layers.remove(other)
    assert not shown(drawn).active
    drawn.press(Qt.Key.Key_V)
    begin(drawn, 1, 2)
    assert "Show slices first" in drawn.dock.status


def test_closing_the_dock_gives_the_view_back(drawn):
    layers = [(layer.name, layer.visible) for layer in drawn.viewer.layers]
    begin(drawn, 1, 2)
    drawn.close_dock()
    assert [(layer.name, layer.visible) for layer in drawn.viewer.layers] == layers
