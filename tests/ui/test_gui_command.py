"""`medsamq gui` as it is typed: a window with volume, box and mask, or an error and no window."""

import cv2
import nibabel as nib
import numpy as np
import pytest
from offline import REACHED, run_offline
from qtpy.QtCore import QElapsedTimer, Qt, QTimer
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QMessageBox
from typer.testing import CliRunner

from napari_medsamq.cli.main import app
from napari_medsamq.errors import MedSAMQError
from napari_medsamq.io.source import Selection
from napari_medsamq.ui import app as window
from napari_medsamq.ui.app import _steps

COMMAND = """
import sys
from napari_medsamq.cli.main import app

app(["gui", *sys.argv[1:]])
"""


@pytest.fixture
def run(qapp, engine):
    """Run the command in this process, which spares it the start of another."""
    return lambda *arguments: CliRunner().invoke(app, ["gui", *arguments])


def test_the_picture_shows_box_and_mask_and_needs_no_network(tmp_path):
    """With the sockets of the screen alone; and on black in a light theme, too."""
    target, config = tmp_path / "window.png", tmp_path / "settings.yaml"
    config.write_text("appearance:\n  theme: light\n")
    arguments = "--sample", "ct", "--box", "110,192,10,268,384,10", "--screenshot", str(target)
    folders = {"NAPARI_CONFIG": str(config), "XDG_DATA_HOME": str(tmp_path / "data")}
    done = run_offline(COMMAND, *arguments, **folders)
    assert done.returncode == 0, done.stderr
    assert REACHED not in done.stderr
    picture = cv2.imread(str(target)).astype(int)
    height, width = picture.shape[:2]
    assert height > 600
    assert width > 1000
    # The first label's orange, blended with the grey of the liver, lies left of the middle only.
    blue, green, red = np.moveaxis(picture, 2, 0)
    orange = (red > 150) & (red - blue > 60) & (green > blue)
    canvas = orange[:, 350:1050]
    assert canvas[:, :400].sum() > 10_000
    assert canvas[:, 500:].sum() < 500
    assert picture[height // 2, 60].max() < 10
    assert picture[4 * height // 5, width - 60].min() > 200, "the forms are light"


def test_a_bad_box_closes_the_window_and_says_why(tmp_path, run):
    target = tmp_path / "window.png"
    done = run("--sample", "mr", "--box", "0,0,0,999,999,0", "--screenshot", str(target))
    assert done.exit_code == 1
    assert "Error: " in done.stderr
    assert "999" in done.stderr
    assert not target.exists()


def test_a_file_that_cannot_be_opened_closes_the_window_and_says_why(tmp_path, run):
    missing = tmp_path / "nowhere.nii.gz"
    target = tmp_path / "window.png"
    done = run(str(missing), "--screenshot", str(target))
    assert done.exit_code == 1
    assert str(missing) in done.stderr


def test_a_picture_of_an_ambiguous_file_needs_its_modality(tmp_path, run):
    values = np.random.default_rng(0).normal(0, 50, (20, 20, 5)).astype(np.float32)
    path, target = tmp_path / "who_knows.nii.gz", tmp_path / "window.png"
    nib.save(nib.Nifti1Image(values, np.diag([1.0, 1, 3, 1])), path)
    done = run(str(path), "--screenshot", str(target))
    assert done.exit_code == 1
    assert "--modality" in done.stderr
    done = run(str(path), "--screenshot", str(target), "--modality", "mr")
    assert done.exit_code == 0, done.stderr
    assert target.exists()


@pytest.fixture
def start(qapp, engine, phantom, monkeypatch):
    """Start the window as `medsamq gui FILE` does, answer as a user, and close it."""

    def start(words, boxes=()):
        """Return what came of it: the labels' voxels, and how long the question was open, say."""
        found = {"voxels": None, "open for": None, "status": "", "error": None}

        def look():
            (dock,) = docks
            asked = QApplication.activeModalWidget()
            if not dock._compute.running:
                QApplication.quit()
            elif isinstance(asked, QMessageBox):
                # Left open, the window looks several times whether it has anything to do.
                if not clock.isValid():
                    clock.start()
                elif clock.elapsed() > 6 * window._POLL_MS:
                    found["open for"] = clock.elapsed()
                    answers = {button.text(): button for button in asked.buttons()}
                    if words == "Esc":
                        QTest.keyClick(asked, Qt.Key.Key_Escape)
                    elif words == "close":
                        dock._viewer.close()
                    else:
                        QTest.mouseClick(answers[words], Qt.MouseButton.LeftButton)
            elif not dock.busy and (dock.controller or dock.status.startswith("phantom")):
                if dock.controller is not None:
                    found["voxels"] = int(dock.controller.session.label.astype(bool).sum())
                found["status"] = dock.status
                if not boxes or found["voxels"]:
                    found["kept"] = len(dock._viewer.layers)
                    dock._viewer.close()

        docks, clock, timer = [], QElapsedTimer(), QTimer()
        real = window.MedSAMQWidget

        def dock(*arguments, **options):
            docks.append(real(*arguments, **options))
            return docks[0]

        monkeypatch.setattr(window, "MedSAMQWidget", dock)
        timer.timeout.connect(look)
        timer.start(20)
        try:
            window.run(phantom.volume.path, boxes, 0, None, None, "CPU", None, Selection())
        except MedSAMQError as error:
            found["error"] = str(error)
        timer.stop()
        monkeypatch.setattr(window, "MedSAMQWidget", real)
        # The journal is given back with its session.
        for workspace in docks[0].workspaces:
            workspace._recorder.close()
        return found

    return start


def test_a_second_start_asks_and_waits_for_the_answer(start):
    first = start("", [("24,16,12,55,47,12", (1, ""))])
    assert first["open for"] is None
    assert first["voxels"] > 0
    again = start("Go on")
    assert again["error"] is None
    assert again["open for"] is not None, "it was asked, and the question stayed"
    assert again["voxels"] == first["voxels"]
    for words in ("Cancel", "Esc"):
        left = start(words)
        assert left["error"] is None
        assert left["open for"] is not None
        assert left["voxels"] is None
        assert "was not opened; what was done to it before stays as it was" in left["status"]
        assert left["kept"] == 0
    assert start("close")["voxels"] is None, "the window was closed with the question open"
    anew = start("Start anew")
    assert anew["open for"] is not None
    assert anew["voxels"] == 0


def test_boxes_are_for_the_labels_that_they_name(engine, window, phantom):
    boxes = [("24,16,12,55,47,12", (3, "Spleen")), ("24,16,10,55,47,10", (1, ""))]
    window.dock.open_path(phantom.volume.path, modality="CT")  # before the network is there
    window.wait()
    for _ in _steps(window.viewer, window.dock, True, boxes, 0, None):
        window.wait()
    assert [prompt.label_id for prompt in window.session.history.prompts] == [3, 1]
    assert [window.session.style(label_id).name for label_id in (3, 1)] == ["Spleen", "Label 1"]
