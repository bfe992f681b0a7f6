"""Parts of slices and other grey levels show the same object, and are the same every time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from training.data.augment import draw_crop, pretend_box, vary_colour, vary_intensity
from training.data.config import DataConfig
from training.data.dataset import Draw, SliceDataset, TrainingSample
from training.data.slice_cache import cache_cases


def generator(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("shape", [(300, 200), (64, 64), (30, 500)])
def test_a_crop_holds_the_box_and_lies_in_the_slice(shape: tuple[int, int]) -> None:
    sides = set()
    for seed in range(200):
        rng = generator(seed)
        y, x = (int(rng.integers(0, length - 8)) for length in shape)
        height, width = (int(rng.integers(4, min(40, length))) for length in (8, 40))
        box = np.array([x, y, min(x + width, shape[1]) - 1, min(y + height, shape[0]) - 1], float)
        crop = draw_crop(rng, shape, box, most=5.0)
        if crop is None:
            continue
        assert 0 <= crop.left <= box[0]
        assert box[2] < crop.right <= shape[1]
        assert 0 <= crop.top <= box[1]
        assert box[3] < crop.bottom <= shape[0]
        longer = max(box[2] - box[0], box[3] - box[1]) + 1
        side = max(crop.bottom - crop.top, crop.right - crop.left)
        assert side <= max(24, 5 * longer + 1)
        sides.add(side)
    assert len(sides) > 20  # of many sizes


def test_no_part_is_cut_where_the_object_fills_the_slice() -> None:
    assert draw_crop(generator(0), (40, 40), np.array([0.0, 0, 39, 39]), most=4.0) is None


def test_a_box_of_a_shrunk_slice_may_end_at_its_edge() -> None:
    for seed in range(20):
        crop = draw_crop(generator(seed), (256, 200), np.array([150.0, 200.5, 199.5, 255.5]), 2.0)
        assert crop is not None
        assert (crop.bottom, crop.right) == (256, 200)


def test_a_pretended_box_lies_in_the_slice() -> None:
    for seed in range(50):
        x0, y0, x1, y1 = pretend_box(generator(seed), (50, 20))
        assert 0 <= x0 < x1 <= 19
        assert 0 <= y0 < y1 <= 49


def test_intensities_keep_their_order() -> None:
    image = np.arange(20, 220, dtype=np.uint8).reshape(10, 20)
    assert (np.diff(vary_intensity(generator(0), image, 0.0).ravel().astype(int)) >= 0).all()
    varied = [vary_intensity(generator(seed), image, 1.0) for seed in range(5)]
    for one in varied:
        assert (np.diff(one.ravel().astype(int)) >= 0).all()
        assert (one.min(), one.max()) == (0, 255)
    assert not np.array_equal(varied[0], varied[1])


def test_other_colours_keep_the_order_in_each_channel() -> None:
    grey = np.arange(20, 220, dtype=np.uint8).reshape(10, 20)
    tinted = vary_colour(generator(0), grey)
    assert tinted.shape == (10, 20, 3)
    assert (np.diff(tinted.reshape(-1, 3).astype(int), axis=0) >= 0).all()
    assert not np.array_equal(tinted[..., 0], tinted[..., 1])
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 200
    shown = {int(np.argmax(vary_colour(generator(seed), red)[0, 0])) for seed in range(30)}
    assert shown == {0, 1, 2}


@pytest.fixture
def case(tmp_path: Path) -> Path:
    """A slice larger than the frame, with a bright ellipse on a gradient."""
    y, x = np.mgrid[:320, :400]
    label = (((y - 120) / 30) ** 2 + ((x - 250) / 45) ** 2 <= 1).astype(np.uint8)
    image = (x / 4 + 120 * label).astype(np.uint8)
    path = tmp_path / "cases/CT/A/one.npz"
    path.parent.mkdir(parents=True)
    np.savez(path, imgs=image[None], gts=label[None], spacing=np.array([0.7, 0.7, 3.0]))
    return tmp_path / "cases"


def config(folder: Path, **keys: object) -> DataConfig:
    views = {"crop": 1.0, "intensity": 0.5, "box_jitter": 0, "flip": 0.0}
    return DataConfig(data=(folder,), **{**views, **keys})  # type: ignore[arg-type]


def test_the_box_is_tight_around_the_mask_of_a_part(case: Path) -> None:
    data = SliceDataset(config(case))
    covered = []
    for epoch in range(30):
        sample = data[Draw(epoch, 0)]
        rows, columns = torch.nonzero(sample["mask"], as_tuple=True)
        tight = [int(columns.min()), int(rows.min()), int(columns.max()), int(rows.max())]
        # An enlarged pixel is several pixels wide; its box ends where it begins.
        assert sample["box"].tolist() == pytest.approx(tight, abs=4)
        covered.append(float(sample["mask"].mean()))
        inside, outside = (sample["image"][0][sample["mask"] == side] for side in (1, 0))
        assert inside.median() > outside.median()
    assert max(covered) > 4 * min(covered)


def test_a_turned_slice_turns_mask_and_box(case: Path) -> None:
    plain, turned = (
        SliceDataset(config(case, crop=0.0, intensity=0.0, turn=chance))[Draw(0, 0)]
        for chance in (0.0, 1.0)
    )
    assert torch.equal(turned["mask"], plain["mask"].T)
    assert turned["box"].tolist() == pytest.approx(plain["box"][[1, 0, 3, 2]].tolist())
    assert torch.equal(turned["image"], plain["image"].transpose(1, 2))


def equal(a: TrainingSample, b: TrainingSample) -> bool:
    return all(torch.equal(a[key], b[key]) for key in ("image", "mask", "box"))


def test_variants_come_again(case: Path) -> None:
    data = SliceDataset(config(case, variants=2))
    first, second, third = (data[Draw(epoch, 0)] for epoch in range(3))
    assert equal(first, third)
    assert not equal(first, second)


def test_a_full_cache_gives_the_same_parts(case: Path, tmp_path: Path) -> None:
    cache_cases(case, tmp_path / "full", full=True)
    cache_cases(case, tmp_path / "small")
    cases, full, small = (
        SliceDataset(config(folder))[Draw(3, 0)]
        for folder in (case, tmp_path / "full", tmp_path / "small")
    )
    assert equal(cases, full)
    # A part of a shrunk slice shows the same place, less sharply.
    assert float((small["mask"] != cases["mask"]).float().mean()) < 0.06


def test_views_leave_the_other_choices_as_they_are(case: Path) -> None:
    plain, viewed = (
        SliceDataset(config(case, crop=0.0, intensity=strength, box_jitter=9, flip=0.5))
        for strength in (0.0, 1.0)
    )
    for epoch in range(8):
        a, b = plain[Draw(epoch, 0)], viewed[Draw(epoch, 0)]
        assert torch.equal(a["box"], b["box"])
        assert torch.equal(a["mask"], b["mask"])
