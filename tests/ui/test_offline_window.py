"""The window without a network, but for the sockets of its screen."""

from __future__ import annotations

import cv2
from offline import REACHED, run_offline

from napari_medsamq.plugin import SAMPLES

CODE = """
import sys
from napari_medsamq.cli.main import app

app(["gui", sys.argv[1], "--box", "110,192,10,268,384,10", "--screenshot", sys.argv[2]])
"""


def test_a_box_in_the_window_needs_no_network(tmp_path):
    picture = tmp_path / "window.png"
    home = str(tmp_path / "data")
    done = run_offline(CODE, str(SAMPLES / "ct.nii.gz"), str(picture), XDG_DATA_HOME=home)
    assert done.returncode == 0, done.stderr
    assert REACHED not in done.stderr
    assert cv2.imread(str(picture)).size > 0
