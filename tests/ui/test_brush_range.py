"""A brush that says what it did, and may paint some values of the image only, by the mouse."""

import re

import numpy as np
import pytest
from qtpy.QtCore import QEvent, Qt
from qtpy.QtWidgets import QSpinBox

from napari_medsamq.workflows.replay import replay_journal

SHIFT, CONTROL = Qt.KeyboardModifier.ShiftModifier, Qt.KeyboardModifier.ControlModifier
# Across tissue of 40 HU, the fat around it (-100 HU), and into the air, on the slice in view.
TISSUE, AIR, FAT = (12, 30, 40), (12, 30, 2), (12, 30, 14)


@pytest.fixture
def brush(dock):
    dock.press(Qt.Key.Key_G)
    dock.workspace.labels.brush_size = 6
    values = dock.session.volume.data
    assert [values[place] for place in (TISSUE, FAT, AIR)] == [40, -100, -1000]
    return dock


def painted(window):
    """The values of what is painted."""
    return sorted(np.unique(window.session.volume.data[window.session.label > 0]).tolist())


def hold(window, words):
    """Choose from the menu of the brush's button."""
    (entry,) = [own for own in window.button("Brush").menu().actions() if words in own.text()]
    entry.trigger()
    assert entry.isChecked()


def test_it_paints_everything_at_first(brush):
    brush.drag(TISSUE, AIR)
    assert painted(brush) == [-1000, -100, 40]


@pytest.mark.parametrize(
    ("words", "start", "stop", "wanted"),
    [
        ("within the window", TISSUE, AIR, [-100, 40]),
        ("within the window", AIR, TISSUE, [-100, 40]),
        ("where the stroke begins", TISSUE, AIR, [40]),
        ("where the stroke begins", FAT, TISSUE, [-100]),
        ("where the stroke begins", AIR, TISSUE, [-1000]),
        ("all values", TISSUE, AIR, [-1000, -100, 40]),
    ],
)
def test_a_stroke_paints_values_of_its_range_alone(brush, words, start, stop, wanted):
    hold(brush, words)
    brush.drag(start, stop)
    assert painted(brush) == wanted
    # As one step.
    assert len(brush.session.history.edits) == 1
    brush.press(Qt.Key.Key_Z, CONTROL)
    assert painted(brush) == []
    brush.press(Qt.Key.Key_Z, CONTROL | SHIFT)
    assert painted(brush) == wanted


def test_the_window_is_that_of_the_picture_as_the_stroke_begins(brush):
    hold(brush, "within the window")
    brush.workspace.image.contrast_limits = (0, 100)
    brush.drag(TISSUE, AIR)
    assert painted(brush) == [40]
    assert brush.session.history.undo_name == "brush stroke on values 0 to 100"


def test_other_planes_know_the_range_too(brush):
    hold(brush, "where the stroke begins")
    brush.press(Qt.Key.Key_F3)
    brush.viewer.dims.set_point(1, 30 * 0.7)
    brush.drag((12, 30, 40), (12, 30, 2))
    assert painted(brush) == [40]


def test_what_is_out_of_range_is_not_shown_in_the_middle_of_a_stroke(brush):
    hold(brush, "where the stroke begins")
    start, stop = brush.pixel(TISSUE), brush.pixel(AIR)
    brush.mouse(QEvent.Type.MouseButtonPress, start)
    for share in np.linspace(0, 1, 6):
        brush.mouse(QEvent.Type.MouseMove, start + share * (stop - start), Qt.MouseButton.NoButton)
        assert painted(brush) == [40]
    assert brush.session.history.edits == ()
    brush.mouse(QEvent.Type.MouseButtonRelease, stop, buttons=Qt.MouseButton.NoButton)
    assert painted(brush) == [40]
    assert len(brush.session.history.edits) == 1


def test_what_other_structures_have_out_of_range_stays_theirs(brush):
    brush.drag(TISSUE, AIR)
    before = brush.session.label.copy()
    brush.workspace.show_label(2)
    hold(brush, "where the stroke begins")
    brush.drag(TISSUE, AIR)
    values, label = brush.session.volume.data, brush.session.label
    np.testing.assert_array_equal(label[values != 40], before[values != 40])
    assert set(label[(values == 40) & (before > 0)].tolist()) == {2}


def test_a_stroke_on_nothing_of_its_range_is_no_step(brush):
    brush.workspace.image.contrast_limits = (500, 900)
    hold(brush, "within the window")
    brush.drag(TISSUE, AIR)
    assert painted(brush) == []
    assert brush.session.history.edits == ()


def test_the_eraser_wipes_everything(brush):
    brush.drag(TISSUE, AIR)
    hold(brush, "where the stroke begins")
    brush.press(Qt.Key.Key_X)
    brush.workspace.labels.brush_size = 12
    brush.drag(TISSUE, AIR)
    assert painted(brush) == []


def test_a_key_goes_through_the_ranges(brush):
    assert brush.workspace.strokes.range is None
    brush.press(Qt.Key.Key_G, SHIFT)
    assert "values within the window, -160 to 240 HU" in brush.dock.status
    brush.press(Qt.Key.Key_G, SHIFT)
    assert "where the stroke begins, by up to 50 HU more or less" in brush.dock.status
    brush.drag(TISSUE, AIR)
    assert painted(brush) == [40]
    brush.press(Qt.Key.Key_G, SHIFT)
    assert brush.dock.status == "The brush paints all values."
    brush.drag(TISSUE, AIR)
    assert painted(brush) == [-1000, -100, 40]


def test_it_is_said_what_a_stroke_has_changed(brush):
    def said(name, sign):
        """The millilitres that a structure has gained by the last stroke, and all of it."""
        gained, total = re.search(
            rf"{name}: ({sign}[\d.]+) mL, ([\d.]+) mL in all", brush.dock.status
        ).groups()
        return float(gained), float(total)

    def ml(label_id):
        return np.count_nonzero(brush.session.label == label_id) * 3 * 0.7 * 0.5 / 1000

    brush.drag(TISSUE, FAT)
    assert said("Label 1", r"\+") == pytest.approx((ml(1), ml(1)), abs=0.005)
    whole = ml(1)
    brush.workspace.show_label(2)
    brush.drag(TISSUE, AIR)
    assert brush.dock.status.startswith("Label 2: +")
    assert said("Label 2", r"\+") == pytest.approx((ml(2), ml(2)), abs=0.005)
    assert said("Label 1", "-") == pytest.approx((ml(1) - whole, ml(1)), abs=0.005)
    brush.press(Qt.Key.Key_X)
    whole = ml(2)
    brush.drag(FAT, AIR)
    assert said("Label 2", "-") == pytest.approx((ml(2) - whole, ml(2)), abs=0.005)
    brush.press(Qt.Key.Key_Z, CONTROL)
    assert brush.dock.status == "Undone: brush stroke."


def test_its_size_has_a_field_and_keys(brush):
    field, labels = brush.dock.form.rail.findChild(QSpinBox), brush.workspace.labels
    assert field.value() == 6
    brush.press(Qt.Key.Key_BracketRight)
    assert field.value() == labels.brush_size == 7
    field.setValue(20)
    assert labels.brush_size == 20
    brush.drag(TISSUE, TISSUE)
    columns = brush.session.label[12].any(0)
    assert np.count_nonzero(columns) == pytest.approx(20, abs=1)


def test_its_strokes_are_in_the_journal_like_others(brush, tmp_path):
    hold(brush, "where the stroke begins")
    brush.drag(TISSUE, AIR)
    hold(brush, "within the window")
    brush.drag((12, 40, 40), (12, 40, 2))
    brush.wait()
    (path,) = (tmp_path / "journals").glob("*.journal")
    replayed = replay_journal(path, brush.session.volume)
    np.testing.assert_array_equal(replayed.model.label, brush.session.label)
    assert [edit.name for edit in replayed.model.history.edits] == [
        "brush stroke on values -10 to 90",
        "brush stroke on values -160 to 240",
    ]
