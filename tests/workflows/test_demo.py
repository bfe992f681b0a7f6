"""The demo as a stranger runs it: no network, no torch, twice, and not over their own files."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import nibabel as nib
import numpy as np
import pytest
from scripted_engine import ScriptedEngine, load_instead

from napari_medsamq.errors import SaveError
from napari_medsamq.inference.model_choice import default_model
from napari_medsamq.plugin import SAMPLES
from napari_medsamq.workflows.demo import run_demo

OFFLINE = """
import socket, sys

def refuse(*arguments, **options):
    print("REACHED FOR THE NETWORK", file=sys.stderr)
    raise OSError("no network here")

socket.socket.connect = socket.socket.connect_ex = refuse
socket.create_connection = socket.getaddrinfo = socket.gethostbyname = refuse
sys.modules["torch"] = None

from napari_medsamq.cli.main import app
app(["demo", "-o", sys.argv[1]])
"""
FILES = ["image.nii.gz", "label.nii.gz", "label.provenance.json", "overlay.png", "report.json"]
SAMPLE = SAMPLES / "ct.nii.gz"


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    folder = tmp_path_factory.mktemp("demo") / "a" / "b"
    command = [sys.executable, "-c", OFFLINE, str(folder)]
    # As on a user's computer: where these are set, OpenVINO sends no telemetry anyway.
    quiet = ("CI", "TF_BUILD", "JENKINS_URL")
    env = {name: value for name, value in os.environ.items() if name not in quiet}
    return subprocess.run(command, capture_output=True, encoding="utf-8", env=env)


@pytest.fixture(scope="module")
def folder(done: subprocess.CompletedProcess[str]) -> Path:
    assert done.returncode == 0, done.stderr
    return Path(done.args[-1])


@pytest.fixture(scope="module")
def report(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return content


def test_the_demo_needs_neither_network_nor_torch(
    done: subprocess.CompletedProcess[str], folder: Path
) -> None:
    assert "NETWORK" not in done.stderr
    assert sorted(path.name for path in folder.iterdir()) == FILES
    assert "1 Liver: " in done.stdout
    assert f"Look at {folder / 'overlay.png'}" in done.stdout


def test_its_label_lies_on_the_image(folder: Path) -> None:
    image, label = nib.load(folder / "image.nii.gz"), nib.load(folder / "label.nii.gz")
    np.testing.assert_array_equal(label.affine, image.affine)
    assert label.shape == image.shape
    ids = np.asarray(label.dataobj)
    hu = image.get_fdata()
    # Contrast-enhanced liver and spleen, the liver on the patient's right (RAS: +x).
    centres = [label.affine @ [*np.argwhere(ids == i).mean(axis=0), 1] for i in (1, 2)]
    assert centres[0][0] > centres[1][0] + 100
    for label_id in (1, 2):
        assert 60 <= np.median(hu[ids == label_id]) <= 180


def test_its_report_says_what_was_found_and_how_long_it_took(
    folder: Path, report: dict[str, Any]
) -> None:
    label = nib.load(folder / "label.nii.gz")
    voxels = np.bincount(np.asarray(label.dataobj).reshape(-1))
    voxel_ml = abs(np.linalg.det(label.affine[:3, :3])) / 1000
    liver, spleen = report["labels"]["1"], report["labels"]["2"]
    for found, name, count in ((liver, "Liver", voxels[1]), (spleen, "Spleen", voxels[2])):
        assert found["name"] == name
        assert found["voxels"] == count
        assert found["millilitres"] == pytest.approx(count * voxel_ml)
    # The sample holds 40 mm of both, out of about 1500 and 200 to 300 mL.
    assert 600 <= liver["millilitres"] <= 850
    assert 200 <= spleen["millilitres"] <= 320
    assert report["slices"] == 40
    ms = report["ms"]
    assert {"load_model", "encode_per_slice", "decode_per_slice", "save"} <= set(ms)
    assert all(value > 0 for value in ms.values())
    assert (report["model"], report["modality"]) == (default_model("CT").name, "CT")
    sha256 = hashlib.sha256((folder / "label.nii.gz").read_bytes()).hexdigest()
    assert report["label_sha256"] == sha256


def test_its_picture_shows_three_slices_in_colour(folder: Path) -> None:
    picture = cv2.imread(str(folder / "overlay.png")).astype(int)
    assert picture.shape == (512, 3 * 512, 3)
    coloured = np.ptp(picture, axis=2) > 20
    for third in np.hsplit(coloured, 3):
        assert 0.05 < third.mean() < 0.5


# -- where it may write, with an engine that answers at once --------------------------------------


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    load_instead(monkeypatch, ScriptedEngine())


@pytest.mark.usefixtures("quick")
def test_a_second_run_replaces_the_first(folder: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    shutil.copytree(folder, again)
    assert run_demo(again).session.model == "fake"
    assert json.loads((again / "report.json").read_text())["model"] == "fake"


@pytest.mark.usefixtures("quick")
def test_a_run_that_was_interrupted_can_be_repeated(tmp_path: Path) -> None:
    shutil.copyfile(SAMPLE, tmp_path / "image.nii.gz")
    (tmp_path / "notes.txt").write_text("mine")
    assert run_demo(tmp_path).statistics
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.usefixtures("quick")
def test_a_run_that_found_the_disk_full_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Path.write_bytes

    def half(path: Path, content: bytes) -> None:
        write(path, content[:1000])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(SaveError, match=r"cannot be written \(No space left"):
        run_demo(tmp_path)
    monkeypatch.undo()
    assert not list(tmp_path.iterdir())
    load_instead(monkeypatch, ScriptedEngine())
    assert run_demo(tmp_path).statistics


@pytest.mark.parametrize("name", FILES)
@pytest.mark.usefixtures("quick")
def test_files_of_other_origin_are_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(SaveError, match=f"holds a {name} of other origin. Name an empty folder"):
        run_demo(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


@pytest.mark.usefixtures("quick")
def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SaveError, match="cannot write to"):
        run_demo(tmp_path / "file")
    with pytest.raises(SaveError, match="cannot write to"):
        run_demo(tmp_path / "file" / "below")
