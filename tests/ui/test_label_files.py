"""Labels are saved in a format of choice, and label files are loaded, in the dock."""

from dataclasses import replace

import numpy as np
import pytest
from dicom_series import write_series
from qtpy.QtWidgets import QFileDialog, QInputDialog, QMessageBox

from napari_medsamq.io.label_format import Segment
from napari_medsamq.io.label_writer import write_label
from napari_medsamq.io.labels import read_label

BOX = ((12, 16, 24), (12, 47, 55))


def formats(suggested):
    """The formats that a dialog offered."""
    return [known.rsplit(" (", 1)[0] for known in suggested.split(";;")]


@pytest.fixture
def answer(monkeypatch):
    """Answer the file dialogs with a path, and return what they suggested."""
    suggested = []

    def prepare(path, number=0):
        def ask(_parent, _title, suggestion, patterns):
            suggested.append((suggestion, patterns))
            return str(path), patterns.split(";;")[number]

        monkeypatch.setattr(QFileDialog, "getSaveFileName", ask)
        monkeypatch.setattr(QFileDialog, "getOpenFileName", ask)
        return suggested

    return prepare


def test_a_label_is_saved_for_slicer_and_loaded_again(dock, tmp_path, answer, capsys):
    dock.drag(*BOX)
    dock.wait()
    drawn = dock.session.label.copy()
    dock.session.set_style(1, replace(dock.session.style(1), name="Liver"))
    suggested = answer(tmp_path / "liver.nii.gz", 1)
    dock.entry("Save label").trigger()
    dock.wait()
    assert suggested[0][0].endswith("phantom_label.nii.gz")
    assert formats(suggested[0][1]) == ["NIfTI", "3D Slicer segmentation"]
    assert "Saved and verified" in dock.dock.status
    path = tmp_path / "liver.seg.nrrd"
    assert read_label(path, dock.session.volume).segments[1].name == "Liver"
    # Beside what is there: another number, and one undo takes it back.
    answer(path)
    dock.session.history.undo()
    dock.session.set_style(1, dock.session.style(1).default(1))
    dock.entry("Load label").trigger()
    dock.wait()
    np.testing.assert_array_equal(dock.session.label, drawn)
    assert dock.session.style(1).name == "Liver"
    assert f"Loaded Liver: {np.count_nonzero(drawn):,} voxels." in dock.dock.status
    dock.entry("Load label").trigger()
    dock.wait()
    assert "Liver is number 2, as 1 was taken." in dock.dock.status
    assert list(dock.session.history.voxel_counts) == [2]
    dock.dock.controller.undo.undo()
    assert list(dock.session.history.voxel_counts) == [1]


def test_a_file_that_is_no_label_of_the_volume_changes_nothing(dock, tmp_path, answer, capsys):
    path = tmp_path / "notes.nii"
    path.write_text("not a label")
    answer(path)
    dock.entry("Load label").trigger()
    dock.wait()
    assert "cannot be read as NIfTI" in dock.dock.status
    assert dock.session.history.undo_name is None
    answer("")
    dock.entry("Load label").trigger()
    dock.wait()
    assert "cannot be read as NIfTI" in dock.dock.status


def test_a_series_can_be_labelled_in_dicom(engine, window, tmp_path, answer):
    voxels = np.zeros((40, 36, 6), np.int16)
    voxels[8:30, 8:28] = 100
    window.open(write_series(tmp_path / "series", voxels, np.diag([1.0, 1, 3, 1])))
    session = window.session
    label = (session.volume.data > 50).astype(np.uint8)
    given = tmp_path / "given.dcm"
    write_label(given, label, session.volume, {1: Segment("Spleen", "#0072B2")})
    answer(given)
    window.entry("Load label").trigger()
    window.wait()
    assert "Loaded Spleen" in window.dock.status
    for index in (2, 3):
        suggested = answer(tmp_path / "out", index)
        window.entry("Save label").trigger()
        window.wait()
        assert formats(suggested[-1][1])[2:] == [
            "DICOM structure set (RTSTRUCT)",
            "DICOM segmentation (SEG)",
        ]
    assert (tmp_path / "out.rtstruct.dcm").exists()
    np.testing.assert_array_equal(read_label(tmp_path / "out.dcm", session.volume).label, label)


def test_a_label_that_is_opened_as_an_image_is_asked_about(dock, phantom, tmp_path, monkeypatch):
    path = write_label(tmp_path / "kidney.nii.gz", phantom.reference, phantom.volume).path
    asked, answers = [], ["Cancel", "Load it on phantom", "Open it as an image"]

    def ask(box):
        asked.append(box.text())
        (answer,) = [own for own in box.buttons() if own.text() == answers[0]]
        answers.pop(0)
        monkeypatch.setattr(QMessageBox, "clickedButton", lambda _: answer)

    monkeypatch.setattr(QMessageBox, "exec", ask)
    monkeypatch.setattr(QInputDialog, "getItem", lambda *_: ("CT", True))
    dock.open(path)
    assert not dock.session.label.any()
    dock.open(path)
    assert int((dock.session.label > 0).sum()) == int(phantom.reference.sum())
    assert dock.session.volume.path == phantom.volume.path
    dock.open(path)
    assert dock.session.volume.path == path
    assert asked == ["kidney looks like a label."] * 3


def test_a_label_without_its_image_is_told(engine, window, phantom, tmp_path, monkeypatch):
    monkeypatch.setattr(QInputDialog, "getItem", lambda *_: ("CT", True))
    path = write_label(tmp_path / "kidney.nii.gz", phantom.reference, phantom.volume).path
    window.open(path)
    assert "kidney looks like a label: open its image, then load it." in window.dock.status
    assert window.session.volume.path == path
