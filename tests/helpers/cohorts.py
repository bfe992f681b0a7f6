"""Tables of small images, and what a batch makes of them; shared by the tests of cohorts."""

from __future__ import annotations

import csv
import json
import os
import sys
from pathlib import Path

import numpy as np
from sources import RAS, write_nifti
from typer.testing import CliRunner, Result

import napari_medsamq
from napari_medsamq.cli.main import app

SHAPE = (14, 16, 12)
# Bright in the file's own voxels (i, j, k), and the box around it.
BLOCK = np.s_[2:9, 5:13, 3:8]
BOX = "2,5,3,8,12,7"
ROOT = Path(napari_medsamq.__file__).parents[1]
# Processes that a test starts use this program, wherever they are started.
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
}
COMMAND = [sys.executable, "-c", "from napari_medsamq.cli.main import app; app()", "batch"]


def make_image(path: Path, seed: int = 0) -> Path:
    voxels = np.random.default_rng(seed).integers(0, 3, SHAPE).astype(np.int16)
    voxels[BLOCK] = 200
    return write_nifti(path, voxels, RAS @ np.diag([-1.0, -1, 1, 1]))


def make_table(folder: Path, count: int) -> Path:
    """Write images 0 to count - 1, and a table of them with one box each."""
    rows = []
    for number in range(count):
        make_image(folder / f"image{number}.nii.gz", number)
        rows.append({"image": f"image{number}.nii.gz", "boxes": BOX, "labels": "1=Liver"})
    return write_table(folder / "table.csv", rows)


def write_table(path: Path, rows: list[dict[str, str]]) -> Path:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


def arguments(table: Path | None, output: Path) -> list[str]:
    named = [] if table is None else [str(table)]
    return [*named, "-o", str(output), "--modality", "ct", "--window", "100,200"]


def batch(table: Path | None, output: Path, *more: str) -> Result:
    return CliRunner().invoke(app, ["batch", *arguments(table, output), *more])


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def result_of(output: Path, case: str) -> dict:
    found = json.loads((output / "results" / f"{case}.json").read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def names_of(output: Path) -> set[str]:
    return {
        path.name
        for folder in ("labels", "gallery", "results")
        for path in (output / folder).iterdir()
    }


def content(output: Path) -> dict[str, bytes]:
    """Files of a batch, but for times and which run made them; no part of any may be left."""
    assert not list(output.rglob("*.part"))
    files = {
        path.relative_to(output).as_posix(): path.read_bytes()
        for pattern in ("labels/*.nii.gz", "gallery/*.jpg", "results/*.json", "*.csv")
        for path in sorted(output.glob(pattern))
    }
    for name in files:
        if name.startswith("results/"):
            result = json.loads(files[name])
            for own in ("run", "seconds", "finished"):
                del result[own]
            del result["report"]["ms"]
            files[name] = json.dumps(result).encode()
    return files
