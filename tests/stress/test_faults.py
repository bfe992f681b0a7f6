"""A short run of the command that kills programs and breaks folders."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(os.name != "posix", reason="kill -9 and POSIX limits")
def test_kills_and_broken_folders_lose_nothing() -> None:
    # In a program of its own: what refuses to open files for writing cannot be taken back.
    code = "from tests.stress.faults import faults; faults(count=6, seed=1)"
    root = Path(__file__).parents[2]
    run = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.count("met") == 3
