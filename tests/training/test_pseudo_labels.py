"""Unlabelled slices get the objects that a teacher finds however it is asked, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("brevitas")

import torch
from scipy import ndimage
from torch import Tensor
from typer import Typer
from typer.testing import CliRunner, Result

from training import cache as command
from training.checkpoints.network_file import StoredNetwork
from training.data.config import DataConfig
from training.data.dataset import Draw, SliceDataset
from training.data.slice_cache import cache_cases
from training.learning import pseudo_labels
from training.learning.pseudo_labels import find_objects, paint_label

BLOCKS = ((20, 30, 60, 70), (120, 100, 50, 90))  # y, x, height, width


class BrightParts:
    """Segments the bright part that a box meets; unsure of those it is told to doubt."""

    def __init__(self, *, doubts: bool = False) -> None:
        self._doubts = doubts

    def segment(self, embedding: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        parts, _ = ndimage.label(embedding[0, 0].numpy() > 0.5)
        logits = torch.full((len(boxes), 256, 256), -6.0)
        sure = torch.zeros(len(boxes))
        for number, (x0, y0, x1, y1) in enumerate(boxes.int().tolist()):
            met = np.bincount(parts[y0 : y1 + 1, x0 : x1 + 1].ravel(), minlength=2)[1:]
            if met.any():
                found = parts == met.argmax() + 1
                if self._doubts:
                    found[:, :128] = False  # of a slice, not of the mirrored one
                logits[number][torch.from_numpy(found)] = 6.0
                sure[number] = 0.9
        return logits, sure


def picture() -> np.ndarray:
    image = np.random.default_rng(0).integers(0, 60, (256, 200), np.uint8)
    for y, x, height, width in BLOCKS:
        image[y : y + height, x : x + width] = 220
    return image


def frame() -> Tensor:
    image = torch.zeros(3, 256, 256)
    image[:, :, :200] = torch.from_numpy(picture() / 255).float()
    return image


def test_what_is_found_both_ways_is_an_object() -> None:
    found = find_objects(BrightParts(), lambda image: image, frame(), (256, 200), seed=1)
    assert len(found) == 2
    label = paint_label(found, (512, 400))
    assert set(np.unique(label)) == {0, 1, 2}
    wanted = np.repeat(np.repeat(picture() > 200, 2, 0), 2, 1)
    assert ((label > 0) != wanted).mean() < 0.01
    again = find_objects(BrightParts(), lambda image: image, frame(), (256, 200), seed=1)
    assert all(np.array_equal(one, two) for one, two in zip(found, again, strict=True))


def test_doubtful_answers_and_empty_slices_give_nothing() -> None:
    doubted = BrightParts(doubts=True)
    assert find_objects(doubted, lambda image: image, frame(), (256, 200), seed=1) == []
    assert find_objects(BrightParts(), lambda image: image, frame() * 0, (256, 200), seed=1) == []


def label(*arguments: object) -> Result:
    app = Typer()
    app.command()(command.main)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_labelled_cache_is_data_to_train_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.stack([picture()[::2, ::2], np.zeros((128, 100), np.uint8)])
    for name in ("a", "b"):
        path = tmp_path / f"cases/MR/Plain/{name}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, imgs=images, spacing=np.ones(3))
    cache_cases(tmp_path / "cases", tmp_path / "cache", full=True, min_pixels=40)
    monkeypatch.setattr(command, "read_start", lambda _: None)
    teacher = StoredNetwork(BrightParts(), None, {"training": "by nobody"})
    monkeypatch.setattr(command, "in_floating_point", lambda _: teacher)
    monkeypatch.setattr(pseudo_labels, "fast_encoder", lambda *_: lambda image: image)
    asked = (tmp_path / "cache", tmp_path / "out", "--teacher", "teacher.pth")
    found = label(*asked, "--slices", 4)
    assert found.exit_code == 0, found.output
    assert ": 4 objects, " in found.output.replace("\n", "")
    data = SliceDataset(DataConfig(data=(tmp_path / "out",), box_jitter=0, flip=0.0, min_pixels=40))
    assert len(data) == 2  # the black slices are left out
    sample = data[Draw(0, 0)]
    assert sample["label"] in (1, 2)
    assert sample["image"][0][sample["mask"] > 0].min() > 0.9
    assert "0 objects" in label(*asked, "--slices", 4).output  # they are there already
    refused = label(tmp_path / "out", tmp_path / "other", "--teacher", "teacher.pth")
    assert refused.exit_code == 1
    assert "has no slice without a label" in refused.output.replace("\n", " ")
