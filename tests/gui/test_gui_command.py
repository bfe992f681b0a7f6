"""`medsamq gui` as it is typed: a window with volume, box and mask, or an error and no window."""

import subprocess
import sys
from functools import partial

import cv2
import nibabel as nib
import numpy as np

from napari_medsamq.window import _steps

COMMAND = [sys.executable, "-c", "from napari_medsamq.cli import app; app()", "gui"]


def run(*arguments):
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, encoding="utf-8", timeout=240, check=False
    )


def test_the_picture_shows_box_and_mask(tmp_path):
    target = tmp_path / "window.png"
    box = "110,192,10,268,384,10"
    done = run("--sample", "ct", "--box", box, "--screenshot", str(target))
    assert done.returncode == 0, done.stderr
    picture = cv2.imread(str(target)).astype(int)
    assert picture.shape[0] > 600
    assert picture.shape[1] > 1000
    # The first label's orange, blended with the grey of the liver, lies left of the middle only.
    blue, green, red = np.moveaxis(picture, 2, 0)
    orange = (red > 150) & (red - blue > 60) & (green > blue)
    canvas = orange[:, 350:1050]
    assert canvas[:, :400].sum() > 10_000
    assert canvas[:, 500:].sum() < 500


def test_a_bad_box_closes_the_window_and_says_why(tmp_path):
    target = tmp_path / "window.png"
    done = run("--sample", "mr", "--box", "0,0,0,999,999,0", "--screenshot", str(target))
    assert done.returncode == 1
    assert "Error: " in done.stderr
    assert "999" in done.stderr
    assert not target.exists()


def test_a_file_that_cannot_be_opened_closes_the_window_and_says_why(tmp_path):
    missing = tmp_path / "nowhere.nii.gz"
    target = tmp_path / "window.png"
    done = run(str(missing), "--screenshot", str(target))
    assert done.returncode == 1
    assert str(missing) in done.stderr


def test_a_picture_of_an_ambiguous_file_needs_its_modality(tmp_path):
    values = np.random.default_rng(0).normal(0, 50, (20, 20, 5)).astype(np.float32)
    path, target = tmp_path / "who_knows.nii.gz", tmp_path / "window.png"
    nib.save(nib.Nifti1Image(values, np.diag([1.0, 1, 3, 1])), path)
    done = run(str(path), "--screenshot", str(target))
    assert done.returncode == 1
    assert "--modality" in done.stderr
    done = run(str(path), "--screenshot", str(target), "--modality", "mr")
    assert done.returncode == 0, done.stderr
    assert target.exists()


def test_boxes_are_for_the_labels_that_they_name(engine, window, phantom):
    boxes = [("24,16,12,55,47,12", (3, "Spleen")), ("24,16,10,55,47,10", (1, ""))]
    read = partial(window.dock.open_path, phantom.volume.path, modality="CT")
    for _ in _steps(window.viewer, window.dock, read, boxes, 0, None):
        window.wait()
    assert [prompt.label_id for prompt in window.session.history.prompts] == [3, 1]
    assert [window.session.style(label_id).name for label_id in (3, 1)] == ["Spleen", "Label 1"]
