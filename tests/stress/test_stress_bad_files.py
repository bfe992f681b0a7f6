"""The long run over damaged files does what it says, and a short one meets its goals."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("resource")  # limits of memory, which Windows has not


def test_a_short_run_over_damaged_files_meets_its_goals() -> None:
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.stress",
            *("bad-files", "--count", "60", "--seed", "7", "--processes", "1"),
        ],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "60 files" in run.stdout
    assert run.stdout.count("(goal 0) met") == 5
