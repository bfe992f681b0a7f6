"""What saving leaves beside a label: how it came about, and a report if the box is ticked."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QFileDialog

from napari_medsamq.errors import SaveError

BOX = ((12, 15, 20), (12, 45, 60))


@pytest.fixture
def drawn(dock, tmp_path, monkeypatch):
    """A dock with a box drawn, and a file dialog that answers `liver.nii.gz`."""
    dock.drag(*BOX)
    dock.wait()
    target = tmp_path / "liver.nii.gz"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(target), ""))
    return dock


def push(dock, text):
    dock.entry(text).trigger()
    dock.wait()


def beside(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in tmp_path.glob("liver*"))


def test_a_saved_label_says_how_it_came_about(drawn, tmp_path):
    push(drawn, "Save label")
    assert beside(tmp_path) == ["liver.nii.gz", "liver.provenance.json"]
    found = json.loads((tmp_path / "liver.provenance.json").read_text())
    (label,) = found["labels"]
    assert label["origin"]["voxels"]["model"] == np.count_nonzero(drawn.session.label) > 0
    (prompt,) = found["prompts"]
    assert prompt["plane"] == "axial"
    assert prompt["box"][2] == prompt["box"][5] == 12
    assert found["settings"][prompt["setting"]]["model"] == "fake"


def test_a_stroke_counts_as_by_hand(drawn, tmp_path):
    layer = drawn.workspace.labels
    drawn.viewer.layers.selection.active = layer
    layer.mode = "paint"
    drawn.drag((12, 4, 6), (12, 4, 12))
    push(drawn, "Save label")
    found = json.loads((tmp_path / "liver.provenance.json").read_text())
    voxels = found["labels"][0]["origin"]["voxels"]
    assert voxels["hand"] > 0
    assert voxels["unknown"] == 0
    assert voxels["model"] + voxels["hand"] == np.count_nonzero(drawn.session.label)


def test_a_report_is_written_where_the_box_is_ticked(drawn, tmp_path):
    push(drawn, "Save with a report")
    push(drawn, "Save label")
    assert beside(tmp_path) == ["liver.nii.gz", "liver.provenance.json", "liver.report.html"]
    assert "Report: liver.report.html" in drawn.dock.status
    text = (tmp_path / "liver.report.html").read_text(encoding="utf-8")
    assert text.count("<figure>") == 1
    push(drawn, "Save label")
    assert "Report: liver.report.html" in drawn.dock.status


def test_another_programs_page_is_kept_and_told(drawn, tmp_path):
    (tmp_path / "liver.report.html").write_text("mine")
    push(drawn, "Save with a report")
    push(drawn, "Save label")
    assert "Saved and verified" in drawn.dock.status
    assert "There is no report" in drawn.dock.status
    assert (tmp_path / "liver.report.html").read_text() == "mine"


def test_a_label_is_saved_also_where_its_provenance_cannot_be(drawn, tmp_path):
    (tmp_path / "liver.provenance.json").write_text("{}")
    push(drawn, "Save label")
    assert "Saved and verified" in drawn.dock.status
    assert "its provenance is not" in drawn.dock.status
    saved = np.asarray(nib.load(tmp_path / "liver.nii.gz").dataobj)
    np.testing.assert_array_equal(drawn.session.volume.from_source(saved), drawn.session.label)
    assert (tmp_path / "liver.provenance.json").read_text() == "{}"


@pytest.fixture
def asked(drawn, tmp_path, monkeypatch):
    """How often where to save was asked; napari's own dialog counts, too."""
    questions = []

    def answer(*words):
        questions.append(words[1])
        return str(tmp_path / "liver.nii.gz"), ""

    monkeypatch.setattr(QFileDialog, "getSaveFileName", answer)
    drawn.viewer.window._qt_window.activateWindow()
    drawn.qtbot.waitUntil(lambda: QApplication.activeWindow() is not None)
    return questions


def save_by_key(window):
    QTest.keyClick(QApplication.focusWidget(), Qt.Key.Key_S, Qt.KeyboardModifier.ControlModifier)
    window.wait()


def saved(window, path):
    return window.session.volume.from_source(np.asarray(nib.load(path).dataobj))


@pytest.mark.shown
def test_the_key_saves_the_label_and_again_to_the_same_file(drawn, asked, tmp_path):
    name, box = drawn.dock.form.label._name, drawn.button("Box")
    for index, place in ((12, drawn.native), (6, name), (9, box)):
        if index != 12:
            drawn.viewer.dims.set_point(0, index * 3.0)
            drawn.drag((index, 15, 20), (index, 45, 60))
            drawn.wait()
        if place is name:
            drawn.button("+ New").click()
        place.setFocus()
        save_by_key(drawn)
        assert asked == ["Save the label"]
        assert "Saved and verified" in drawn.dock.status
        np.testing.assert_array_equal(saved(drawn, tmp_path / "liver.nii.gz"), drawn.session.label)
        assert saved(drawn, tmp_path / "liver.nii.gz")[index].any()


@pytest.mark.shown
def test_a_label_that_was_not_saved_is_asked_about_again(drawn, asked, tmp_path):
    (tmp_path / "liver.nii.gz").mkdir()
    save_by_key(drawn)
    assert "Saved" not in drawn.dock.status
    save_by_key(drawn)
    assert len(asked) == 2


@pytest.mark.canvas
@pytest.mark.parametrize("kind", ["boxes", "marks"])
def test_napari_saves_the_label_of_boxes_and_clicks_as_nifti(drawn, tmp_path, kind):
    layer = getattr(drawn.workspace, kind)
    target = tmp_path / "napari.nii.gz"
    assert layer.save(str(target)) == [str(target)]
    np.testing.assert_array_equal(saved(drawn, target), drawn.session.label)


def test_shapes_of_someone_else_are_no_label(drawn, tmp_path):
    layer = drawn.viewer.add_shapes([[[0, 0], [5, 5]]], name="theirs")
    with pytest.raises(SaveError, match=r"theirs is no label"):
        layer.save(str(tmp_path / "napari.nii.gz"))
    assert not (tmp_path / "napari.nii.gz").exists()


@pytest.mark.canvas
def test_what_napari_saves_of_the_boxes_is_told_from_the_label(drawn, monkeypatch):
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_, **__: ("", ""))
    (action,) = [
        own
        for own in drawn.viewer.window.file_menu.actions()
        if own.text().startswith("Save Selected")
    ]
    assert drawn.viewer.layers.selection.active is drawn.workspace.boxes
    action.trigger()
    assert "is no label" in drawn.dock.status
    assert "Ctrl+S on the picture saves the label" in drawn.dock.status
