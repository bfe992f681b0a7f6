"""From raw volumes with labels to a model that the plugin loads, as training/README.md says.

About three minutes: `python -m pytest -m slow`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("brevitas")

from napari_medsamq.inference.engine import OpenVINOEngine
from napari_medsamq.plugin import SAMPLES
from training import train as command

CONFIGS = Path(command.__file__).parent / "configs/cpu"


def run(name: str, *arguments: object) -> str:
    words = [sys.executable, "-m", f"training.{name}", *map(str, arguments)]
    done = subprocess.run(words, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_raw_volumes_become_the_model_that_the_plugin_loads(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    source = nib.load(SAMPLES / "ct.nii.gz")
    voxels = np.asarray(source.dataobj)
    # Bone, a label that needs nobody to draw it.
    label = nib.Nifti1Image((voxels > 200).astype(np.uint8), source.affine)
    nib.save(source, tmp_path / "images/a.nii.gz")
    nib.save(label, tmp_path / "labels/a.nii.gz")

    cases, cache = tmp_path / "cases", tmp_path / "cases-256"
    folders = ("--images", tmp_path / "images", "--labels", tmp_path / "labels")
    run("prepare", cases, *folders, "--modality", "CT", "--dataset", "Bone")
    run("cache", cases, cache)
    small = (f"data=[{cache}]", "unlabelled=false")
    network = tmp_path / "ptq.pth"
    run("quantize", "--config", CONFIGS / "0-ptq.yaml", "--out", network, *small, "samples=1")
    one_step = ("strategy=counts", "counts={CT/Bone: 1}", "batch_size=1", "epochs=1")
    for stage in ("1-encoder", "2-decoder", "3-joint"):
        keys = small[:1] if stage == "2-decoder" else small
        out = tmp_path / stage
        start = ("--out", out, "--init-from", network)
        run("train", CONFIGS / f"{stage}.yaml", *start, *keys, *one_step)
        assert len((out / "log.csv").read_text().splitlines()) == 2
        network = out / "network.pth"

    model = tmp_path / "medsamq-mine"
    report = run("export", "--checkpoint", network, "--out", model, "--report")
    assert "encoder: 99.98% of 37.14 G multiply-accumulates in 8-bit integers" in report
    assert OpenVINOEngine(model).spec.bits == 8
    # A shipped int8 model can be trained on, too.
    again = ("--out", tmp_path / "again", "--init-from", model)
    run("train", CONFIGS / "2-decoder.yaml", *again, *small[:1], *one_step)
    scores = tmp_path / "scores.json"
    run("evaluate", cases, "--model", model, "--limit", 2, "--json", scores)
    found = json.loads(scores.read_text())["models"]["medsamq-mine"]
    assert found["datasets"]["CT/Bone"]["n"] == 2
    assert 0 < found["macro"]["dsc"] < 1
