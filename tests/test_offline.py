"""The whole work without a network, by the models that come along."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from offline import REACHED, run_offline

from napari_medsamq.plugin import SAMPLES
from napari_medsamq.records.provenance import read_provenance

CT = SAMPLES / "ct.nii.gz"
COMMANDS = """
import sys
from napari_medsamq.cli.main import app

image, folder = sys.argv[1:]
for command in (
    ["segment", image, "-o", f"{folder}/cli.nii.gz", "--box", "110,192,10,268,384,10",
     "--point", "160,290,10,+"],
    ["report", f"{folder}/cli.nii.gz", "--image", image],
    ["replay", f"{folder}/a.journal", image, "-o", f"{folder}/replay.nii.gz", "--verify"],
    ["doctor"],
):
    app(command, standalone_mode=False)
"""
SESSION = """
import sys
from pathlib import Path
from napari_medsamq.inference.engine import Engines
from napari_medsamq.records.journal import Journal
from napari_medsamq.records.report import make_report, write_report
from napari_medsamq.prompts import BoxPrompt
from napari_medsamq.records.provenance import LabelSnapshot, save_with_provenance
from napari_medsamq.records.recording import Recorder
from napari_medsamq.annotation.session import AnnotationSession
from napari_medsamq.inference.slice_predictor import SliceMask
from napari_medsamq.io.volume import read_volume, volume_hash

volume, folder = read_volume(sys.argv[1]), Path(sys.argv[2])
session = AnnotationSession(volume, Engines().for_modality(volume.modality))
journal = Journal(folder / "a.journal", volume, volume_hash(volume), None, lambda error: None)
recorder = Recorder(session, journal, None)
box = BoxPrompt(0, 10, 110, 192, 268, 384)
session.commit(box, list(session.segment(box)), 1)
group, known = object(), session.history.anchors(0, 1)
session.event.emit("carry", {"label": 1, "axis": 0, "first": 9, "last": 11, "group": group})
for found in session.carry(0, known, 9, 11):
    if isinstance(found, SliceMask):
        session.commit_carried(found, 1, group)
recorder.close()
saved = save_with_provenance(folder / "session.nii.gz", LabelSnapshot.of(session))
write_report(folder / "session.html", make_report(saved.receipt.path, volume))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("offline")


@pytest.fixture(scope="module")
def output(folder: Path) -> str:
    """What a session and then the commands say, with a display that is not there."""
    done = run_offline(SESSION + COMMANDS, str(CT), str(folder), DISPLAY="", WAYLAND_DISPLAY="")
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_nothing_reaches_for_the_network(output: str) -> None:
    assert REACHED not in output
    assert "Nothing keeps the program from working" in output


@pytest.mark.usefixtures("output")
def test_labels_and_reports_are_there(folder: Path) -> None:
    for name, page, slices in (("cli", "cli.report", 1), ("session", "session", 3)):
        label = np.asarray(nib.load(folder / f"{name}.nii.gz").dataobj)
        assert np.count_nonzero(label.any(axis=(0, 1))) == slices
        assert label[160, 290, 10] == 1
        origin = read_provenance(folder / f"{name}.nii.gz")["labels"][0]["origin"]
        assert origin["share"]["model"] == 1
        assert "Pictures" in (folder / f"{page}.html").read_text(encoding="utf-8")


def test_the_journal_leads_to_the_same_voxels(folder: Path, output: str) -> None:
    assert "3 of 3 masks are the same" in output
    first, second = (
        json.loads((folder / f"{name}.provenance.json").read_text())["label"]["sha256"]
        for name in ("session", "replay")
    )
    assert first == second


@pytest.mark.parametrize(
    "code",
    [
        "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9')",
        "import socket; socket.getaddrinfo('example.org', 80)",
        "import socket\ntry: socket.create_connection(('127.0.0.1', 9))\nexcept Exception: pass",
    ],
)
def test_a_program_that_would_is_found_out(code: str) -> None:
    assert REACHED in run_offline(code).stderr
