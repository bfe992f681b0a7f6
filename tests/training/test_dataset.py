from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("scipy")
pytest.importorskip("yaml")

import torch
import typer
from torch.utils.data import DataLoader
from typer.testing import CliRunner

from napari_medsamq.errors import MedSAMQError
from napari_medsamq.inference.preprocess import ResizeLongestSide, prepare_slice
from napari_medsamq.io.volume import read_volume
from training import cache
from training.data.cases import DecodedCases, find_cases
from training.data.config import DataConfig
from training.data.dataset import Draw, SliceDataset, TrainingSample
from training.data.packed_cache import pack_cache
from training.data.sampler import BalancedSampler
from training.data.slice_cache import cache_cases
from training.data.slices import frame_label
from training.errors import DataError

SPACING = (0.8, 0.8, 2.5)  # x, y, z in mm
PLAIN: dict[str, Any] = {"box_jitter": 0, "flip": 0.0}


def write_case(path: Path, seed: int = 0, shape: tuple[int, ...] = (6, 60, 90)) -> Path:
    """Write a volume of noise with two blocks, ids 2 and 7, that leave the last slice empty."""
    images = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    labels = np.zeros(shape, np.uint8)
    labels[:-1, 10:30, 20:60] = 2
    labels[1:-1, 40:52, 5:15] = 7
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, imgs=images, gts=labels, spacing=np.array(SPACING))
    return path


def write_picture(path: Path, seed: int = 0, size: tuple[int, int] = (320, 200)) -> Path:
    images = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    labels = np.zeros(size, np.uint16)
    labels[100:180, 50:150] = 300
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, imgs=images, gts=labels)
    return path


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    """Two CT volumes, one MR volume and three pictures."""
    folder = tmp_path / "cases"
    write_case(folder / "CT/A/one.npz", 1)
    write_case(folder / "CT/B/two.npz", 2, (8, 300, 280))
    write_case(folder / "MR/A/one.npz", 3)
    for number in range(3):
        write_picture(folder / f"US/C/{number}.npz", number)
    return folder


def dataset(*folders: Path, **keys: Any) -> SliceDataset:
    return SliceDataset(DataConfig(data=folders, **keys))


def samples(data: SliceDataset, epoch: int = 0) -> list[TrainingSample]:
    return [data[Draw(epoch, item)] for item in range(len(data))]


def same(a: TrainingSample, b: TrainingSample) -> bool:
    return all(
        torch.equal(a[key], b[key]) if key in ("image", "mask", "box") else a[key] == b[key]
        for key in a
    )


def test_a_sample_is_what_the_program_sees(tmp_path: Path) -> None:
    path = write_case(tmp_path / "CT/A/one.npz", shape=(6, 300, 400))
    volume = read_volume(path)
    transform = ResizeLongestSide(300, 400)
    found = samples(dataset(tmp_path, **PLAIN))
    assert [sample["slice"] for sample in found] == [0, 1, 2, 3, 4]
    for sample in found:
        image = prepare_slice(volume.slice(0, sample["slice"]), transform)
        assert np.array_equal(sample["image"].numpy(), image[0])
        x0, y0, x1, y1 = (20, 10, 59, 29) if sample["label"] == 2 else (5, 40, 14, 51)
        box = transform.apply_box([x0, y0, x1, y1])
        assert np.array_equal(sample["box"].numpy(), box)
        mask = np.zeros((300, 400), bool)
        mask[y0 : y1 + 1, x0 : x1 + 1] = True
        assert sample["mask"].sum() == pytest.approx(mask.sum() * 0.64**2, rel=0.05)
    assert {key: found[0][key] for key in ("modality", "data_set", "case", "axis")} == {
        "modality": "CT",
        "data_set": "CT/A",
        "case": "one",
        "axis": 0,
    }


def test_other_axes_are_resampled_to_square_pixels(tmp_path: Path) -> None:
    path = write_case(tmp_path / "CT/A/one.npz")
    volume = read_volume(path)
    data = dataset(tmp_path, axes=("coronal",), min_pixels=1, **PLAIN)
    assert len(data) == 20 + 12
    transform = ResizeLongestSide(6, 90, volume.pixel_size(1))
    assert transform.frame == (53, 256)
    sample = data[Draw(0, 0)]
    image = prepare_slice(np.ascontiguousarray(volume.slice(1, 10)), transform)
    assert (sample["axis"], sample["slice"], sample["label"]) == (1, 10, 2)
    assert np.array_equal(sample["image"].numpy(), image[0])
    assert np.array_equal(sample["box"].numpy(), transform.apply_box([20, 0, 59, 4]))


def test_a_picture_has_one_slice_whatever_the_axes(tmp_path: Path) -> None:
    write_picture(tmp_path / "US/C/a.npz")
    data = dataset(tmp_path, axes=("sagittal", "coronal"), **PLAIN)
    assert len(data) == 1
    assert data[Draw(0, 0)]["label"] == 300


@pytest.mark.parametrize("size", [(192, 256), (96, 128), (48, 64)])
def test_mirroring_moves_image_mask_and_box_together(tmp_path: Path, size: tuple[int, int]) -> None:
    write_case(tmp_path / "CT/A/one.npz", shape=(6, *size))
    plain = samples(dataset(tmp_path, box_jitter=0, flip=0.0))
    flipped = samples(dataset(tmp_path, box_jitter=0, flip=1.0))
    for a, b in zip(plain, flipped, strict=True):
        assert torch.equal(a["image"][:, :192].flip(1, 2), b["image"][:, :192])
        assert torch.equal(a["mask"][:192].flip(0, 1), b["mask"][:192])
        rows, columns = torch.nonzero(b["mask"], as_tuple=True)
        tight = [columns.min(), rows.min(), columns.max(), rows.max()]
        assert b["box"].tolist() == [int(corner) for corner in tight]


@pytest.mark.parametrize("size", [(192, 256), (384, 512), (96, 128)])
def test_jitter_moves_the_sides_outwards_in_frame_pixels(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    write_case(tmp_path / "CT/A/one.npz", shape=(6, *size))
    plain, data = dataset(tmp_path, **PLAIN), dataset(tmp_path, box_jitter=4, flip=0.0)
    seen = set()
    for epoch in range(20):
        for a, b in zip(samples(plain, epoch), samples(data, epoch), strict=True):
            moved = (b["box"] - a["box"]) * torch.tensor([-1, -1, 1, 1])
            seen |= set(moved.tolist())
            assert b["box"].equal(b["box"].trunc())
    assert seen == {0, 1, 2, 3, 4}


def test_boxes_are_tight_or_enlarged_by_a_part_of_their_size(tmp_path: Path) -> None:
    write_picture(tmp_path / "US/C/one.npz")
    plain = samples(dataset(tmp_path, **PLAIN))[0]["box"]
    tight = samples(dataset(tmp_path, box_jitter=40, tight=1.0, loose=0.5, flip=0.0))
    assert all(torch.equal(own["box"], plain) for own in tight)
    sides = (plain[2:] - plain[:2]).repeat(2)
    data = dataset(tmp_path, box_jitter=0, loose=0.2, flip=0.0)
    outwards = torch.stack(
        [
            (data[Draw(epoch, 0)]["box"] - plain) * torch.tensor([-1, -1, 1, 1]) / sides
            for epoch in range(60)
        ]
    )
    assert outwards.min() == 0
    assert 0.15 < outwards.max() <= 0.2 + 1 / sides.min()
    assert 0.2 < (outwards == 0).all(dim=1).float().mean() < 0.8  # the others are jittered


def test_symmetric_jitter_moves_inwards_too_but_leaves_a_box(tmp_path: Path) -> None:
    write_case(tmp_path / "CT/A/one.npz", shape=(6, 192, 256))
    plain = dataset(tmp_path, **PLAIN)
    data = dataset(tmp_path, box_jitter=100, jitter="symmetric", flip=0.0)
    inwards = 0
    for epoch in range(20):
        for a, b in zip(samples(plain, epoch), samples(data, epoch), strict=True):
            x0, y0, x1, y1 = b["box"].tolist()
            assert 0 <= x0 < x1 <= 255
            assert 0 <= y0 < y1 <= 191
            width, height = (a["box"][2:] - a["box"][:2] + 1).tolist()
            assert x0 <= a["box"][0] + width / 4
            assert y1 >= a["box"][3] - height / 4 - 1
            inwards += x0 > a["box"][0]
    assert inwards > 20


def test_one_object_of_sufficient_size_is_drawn(tmp_path: Path) -> None:
    write_case(tmp_path / "CT/A/one.npz")
    drawn = Counter(dataset(tmp_path)[Draw(epoch, 2)]["label"] for epoch in range(60))
    assert set(drawn) == {2, 7}
    assert min(drawn.values()) > 15
    large = dataset(tmp_path, min_pixels=121)
    assert {large[Draw(epoch, 2)]["label"] for epoch in range(20)} == {2}


def test_a_frame_pixel_belongs_to_who_covers_half_of_it() -> None:
    label = np.zeros((512, 512), np.uint8)
    label[100:200, 101:201] = 3
    label[301, 301] = 9
    small = frame_label(label, ResizeLongestSide(512, 512))
    expected = np.zeros((256, 256), np.uint8)
    # Columns 50 and 100 are covered by half, and the single pixel keeps its place.
    expected[50:100, 50:101] = 3
    expected[150, 150] = 9
    assert np.array_equal(small, expected)


def test_samples_do_not_depend_on_workers_nor_on_other_randomness(cases: Path) -> None:
    data = dataset(cases, seed=5)
    sampler = BalancedSampler(data.groups, DataConfig(data=(cases,), strategy="all"))
    state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    alone = list(DataLoader(data, 4, sampler=sampler))
    assert np.array_equal(state, np.random.get_state()[1])  # noqa: NPY002
    # The loader itself draws a seed for its workers, so that only the data set is looked at.
    torch.set_rng_state(torch_state)
    samples(data)
    assert torch.equal(torch_state, torch.get_rng_state())
    np.random.seed(99)  # noqa: NPY002
    torch.manual_seed(99)
    shared = list(DataLoader(data, 4, sampler=sampler, num_workers=2))
    for a, b in zip(alone, shared, strict=True):
        assert a["case"] == b["case"]
        assert all(torch.equal(a[key], b[key]) for key in ("image", "mask", "box", "label"))


def test_epochs_seeds_and_repeats_vary_the_samples(cases: Path) -> None:
    data = dataset(cases)
    first = data[Draw(0, 0)]
    assert same(first, data[Draw(0, 0)])
    others = [data[Draw(1, 0)], data[Draw(0, 0, 1)], dataset(cases, seed=1)[Draw(0, 0)]]
    assert not any(same(first, other) for other in others)


@pytest.mark.parametrize("axes", [("axial",), ("axial", "coronal", "sagittal")])
def test_the_cache_gives_the_same_samples(cases: Path, tmp_path: Path, axes: Any) -> None:
    numbers = [("axial", "coronal", "sagittal").index(axis) for axis in axes]
    cache_cases(cases, tmp_path / "cache", axes=numbers)
    a = dataset(cases, axes=axes, min_pixels=110)
    b = dataset(tmp_path / "cache", axes=axes, min_pixels=110)
    assert len(a) == len(b) > 10
    for x, y in zip(samples(a), samples(b), strict=True):
        assert same(x, y)


@pytest.mark.parametrize("shape", [(6, 96, 128), (6, 60, 90)])
def test_parts_of_slices_have_the_tight_box_of_their_object(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    write_case(tmp_path / "cases/CT/A/one.npz", shape=shape)
    cache_cases(tmp_path / "cases", tmp_path / "cache")
    for folder in ("cases", "cache"):
        data = dataset(tmp_path / folder, crop=1.0, crop_most=3.0, box_jitter=0, flip=0.0)
        for epoch in range(3):
            for sample in samples(data, epoch):
                rows, columns = torch.nonzero(sample["mask"], as_tuple=True)
                tight = [columns.min(), rows.min(), columns.max(), rows.max()]
                np.testing.assert_allclose(sample["box"].tolist(), tight, atol=1)


def test_the_cache_is_small_and_says_what_it_was_made_of(cases: Path, tmp_path: Path) -> None:
    out = tmp_path / "cache"
    listed = cache_cases(cases, out)
    assert json.loads((out / "cache.json").read_text()) == listed
    assert listed[0]["case"] == "CT/A/one.npz"
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.npz")}
    write_case(cases / "CT/A/one.npz", seed=9)
    again = cache_cases(cases, out)
    changed = [path for path, time in before.items() if path.stat().st_mtime_ns != time]
    assert [path.relative_to(out).as_posix() for path in changed] == ["CT/A/one.npz"]
    assert again[0]["sha256"] != listed[0]["sha256"]
    assert again[1:] == listed[1:]


def test_a_cache_that_lacks_what_is_asked_for_is_refused(cases: Path, tmp_path: Path) -> None:
    cache_cases(cases, tmp_path / "cache", min_pixels=200)
    for asked in ({"min_pixels": 100}, {"min_pixels": 200, "axes": ("coronal",)}):
        with pytest.raises(DataError, match="Make the cache again"):
            dataset(tmp_path / "cache", **asked)


def test_a_packed_cache_has_its_size_and_something_of_each_set(cases: Path, tmp_path: Path) -> None:
    write_picture(cases / "US/C/large.npz", 9, (900, 640))
    cache_cases(cases, tmp_path / "full", full=True, axes=(0, 1))
    out = tmp_path / "packed"
    taken = pack_cache(tmp_path / "full", out, 0.9, side=320)
    size = sum(path.stat().st_size for path in out.rglob("*.npz"))
    assert 0.4e6 < size <= 0.9e6
    packed, full = (
        dataset(folder, **PLAIN, balance="data_set", axes=("axial", "coronal"))
        for folder in (out, tmp_path / "full")
    )
    assert set(packed.groups) == set(full.groups)
    assert len(packed) == taken < len(full)
    for sample in samples(packed):
        assert sample["mask"].sum() > 0
        y, x = np.nonzero(sample["mask"].numpy())
        tight = np.array([x.min(), y.min(), x.max(), y.max()])
        assert np.abs(sample["box"].numpy() - tight).max() <= 2
    with pytest.raises(DataError, match="holds something already"):
        pack_cache(tmp_path / "full", out, 0.9)
    app = typer.Typer()
    app.command()(cache.main)
    asked = [str(tmp_path / "full"), str(tmp_path / "b"), "--pack", "0.5"]
    found = CliRunner().invoke(app, asked)
    assert found.exit_code == 0
    assert f"{len(dataset(tmp_path / 'b', axes=('axial', 'coronal')))} slices" in found.output


def test_the_cache_never_replaces_cases(cases: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds the cases themselves"):
        cache_cases(cases, cases)
    write_case(tmp_path / "other/CT/A/one.npz")
    with pytest.raises(DataError, match="is no cache of a case"):
        cache_cases(cases, tmp_path / "other")


def test_the_cache_command_reports_size_and_errors(cases: Path, tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(cache.main)
    result = CliRunner().invoke(app, [str(cases), str(tmp_path / "cache")])
    assert result.exit_code == 0, result.output
    assert "20 slices of 6 cases" in result.output
    result = CliRunner().invoke(app, [str(tmp_path / "none"), str(tmp_path / "cache")])
    assert result.exit_code == 1
    assert str(tmp_path / "none") in result.output


def test_decoded_cases_stay_within_their_memory(tmp_path: Path) -> None:
    for number in range(4):
        write_case(tmp_path / f"CT/A/{number}.npz", number, (10, 256, 256))  # 1.25 MB with label
    decoded = DecodedCases(memory_mb=3)
    found = find_cases(tmp_path)
    first = decoded.read(found[0])
    assert decoded.read(found[0]) is first
    decoded.read(found[1])
    assert decoded.read(found[0]) is first
    decoded.read(found[2])
    assert decoded.read(found[0]) is first
    for case in found[1:]:
        decoded.read(case)
    assert decoded.read(found[0]) is not first


def test_cases_without_label_are_taken_on_request(cases: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    (bare / "CT/D").mkdir(parents=True)
    np.savez(bare / "CT/D/a.npz", imgs=np.arange(3 * 8 * 16, dtype=np.uint8).reshape(3, 8, 16))
    with pytest.raises(DataError, match=r"a\.npz: has no label .* `unlabelled: true`"):
        dataset(cases, bare)
    data = dataset(cases, bare, unlabelled=True, flip=0.0)
    assert len(data) == len(dataset(cases)) + 3
    sample = data[Draw(0, len(data) - 1)]
    assert (sample["label"], sample["slice"], float(sample["mask"].sum())) == (0, 2, 0)
    assert sample["box"].tolist() == [0, 0, 255, 127]
    cache_cases(bare, tmp_path / "cache")
    assert same(sample, dataset(tmp_path / "cache", unlabelled=True, flip=0.0)[Draw(0, 2)])


def spoil(path: Path, kind: str) -> None:
    with np.load(path) as arrays:
        case = dict(arrays)
    if kind == "cut off":
        path.write_bytes(path.read_bytes()[:-200])
        return
    if kind == "text":
        path.write_text("no case")
        return
    changed = {
        "no imgs": {"imgs": None},
        "16-bit imgs": {"imgs": case["imgs"].astype(np.int16)},
        "float gts": {"gts": case["gts"].astype(float)},
        "other shape": {"gts": case["gts"][1:]},
        "negative": {"gts": case["gts"].astype(np.int16) - 1},
        "nothing": {"gts": case["gts"] * 0},
        "no spacing": {"spacing": np.zeros(3)},
    }[kind]
    np.savez(path, **{key: a for key, a in {**case, **changed}.items() if a is not None})


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("cut off", "cannot be read as a MedSAM case"),
        ("text", "cannot be read as a MedSAM case"),
        ("no imgs", "imgs"),
        ("16-bit imgs", "`imgs` is int16"),
        ("float gts", "`gts` is float64"),
        ("other shape", "`gts` has the shape (5, 60, 90) and the image (6, 60, 90)"),
        ("negative", "`gts` holds ids from -1 to 6"),
        ("nothing", "`gts` labels no object"),
        ("no spacing", "`spacing`"),
    ],
)
def test_a_bad_case_is_one_error_with_its_name(cases: Path, kind: str, reason: str) -> None:
    path = cases / "CT/A/one.npz"
    spoil(path, kind)
    with pytest.raises(MedSAMQError) as caught:
        dataset(cases)
    assert str(path) in str(caught.value)
    assert reason in str(caught.value)


def test_a_modality_without_slices_and_a_wrong_folder_are_errors(cases: Path) -> None:
    with pytest.raises(DataError, match=r"`CT` gives no slice: in its 2 cases no object covers"):
        dataset(cases, min_pixels=5000)
    (cases / "PET").mkdir()
    with pytest.raises(DataError, match="`PET` gives no slice"):
        dataset(cases)
    write_case(cases / "Xray/A/one.npz")
    with pytest.raises(DataError, match="`Xray`, which is no modality"):
        dataset(cases)


def test_data_sets_can_be_left_out(cases: Path) -> None:
    without = dataset(cases, balance="data_set", left_out=("CT/A", "US/C"))
    assert set(without.groups) == {"CT/B", "MR/A"}


GROUPS = {"CT": np.arange(50), "MR": np.arange(50, 58), "XRay": np.arange(58, 61)}


def sampler(batch_size: int = 1, rank: int = 0, world_size: int = 1, **keys: Any) -> Any:
    config = DataConfig(data=(Path(),), **keys)
    return BalancedSampler(GROUPS, config, batch_size=batch_size, rank=rank, world_size=world_size)


def contribution(draws: list[Draw]) -> dict[str, int]:
    names = {int(item): name for name, items in GROUPS.items() for item in items}
    return dict(sorted(Counter(names[draw.item] for draw in draws).items()))


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"strategy": "min"}, {"CT": 3, "MR": 3, "XRay": 3}),
        ({"strategy": "fraction"}, {"CT": 5, "MR": 3, "XRay": 3}),
        ({"strategy": "fraction", "fraction": 0.5}, {"CT": 25, "MR": 4, "XRay": 3}),
        ({"strategy": "all"}, {"CT": 50, "MR": 8, "XRay": 3}),
        (
            {"strategy": "power", "samples_per_epoch": 30, "power": 0},
            {"CT": 10, "MR": 10, "XRay": 10},
        ),
        (
            {"strategy": "power", "samples_per_epoch": 61, "power": 1},
            {"CT": 50, "MR": 8, "XRay": 3},
        ),
        ({"strategy": "counts", "counts": {"CT": 4, "XRay": 7}}, {"CT": 4, "XRay": 7}),
    ],
)
def test_strategies_balance_the_epoch(keys: dict[str, Any], expected: dict[str, int]) -> None:
    draws = list(sampler(**keys))
    assert contribution(draws) == expected
    assert len(set(draws)) == len(draws) == len(sampler(**keys))


def test_no_slice_repeats_before_all_were_drawn() -> None:
    draws = list(sampler(strategy="counts", counts={"XRay": 7}))
    times = Counter(draw.item for draw in draws)
    assert sorted(times.values()) == [2, 2, 3]
    for item, count in times.items():
        assert sorted(draw.repeat for draw in draws if draw.item == item) == list(range(count))


def test_the_subset_is_drawn_anew_for_each_epoch_and_follows_the_seed() -> None:
    one, other = sampler(), sampler(seed=1)
    epochs = []
    for epoch in range(12):
        one.set_epoch(epoch)
        epochs.append([draw.item for draw in one])
        assert all(draw.epoch == epoch for draw in one)
    assert len({tuple(epoch) for epoch in epochs}) == 12
    assert len({item for epoch in epochs for item in epoch if item < 50}) > 20
    one.set_epoch(0)
    assert [draw.item for draw in one] == epochs[0] != [draw.item for draw in other]


def test_modalities_are_mixed() -> None:
    items = [draw.item for draw in sampler(strategy="all")]
    assert items != sorted(items)
    assert min(items[:20]) < 50 <= max(items[:20])


def test_processes_share_the_global_batches() -> None:
    whole = list(sampler(batch_size=4, strategy="all"))
    assert len(whole) == 60
    shards = [list(sampler(4, rank, 2, strategy="all")) for rank in range(2)]
    assert len(shards[0]) == len(shards[1]) == len(sampler(4, 1, 2, strategy="all")) == 30
    for start in range(0, 60, 4):
        of_batch = [draw for shard in shards for draw in shard[start // 2 : start // 2 + 2]]
        assert sorted(of_batch) == sorted(whole[start : start + 4])


def test_an_epoch_goes_on_after_the_batches_that_were_done() -> None:
    whole = list(sampler(4, 1, 2, strategy="all"))
    rest = sampler(4, 1, 2, strategy="all")
    rest.set_epoch(0, skip_batches=3)
    assert list(rest) == whole[6:]
    assert len(rest) == 24


def test_impossible_subsets_are_refused() -> None:
    with pytest.raises(DataError, match="asks for Fundus, of which there is no slice"):
        sampler(strategy="counts", counts={"Fundus": 3})
    with pytest.raises(DataError, match="has 9 slices, too few for one batch of 16"):
        sampler(batch_size=16)
    with pytest.raises(ValueError, match="cannot be split evenly"):
        sampler(batch_size=3, world_size=2)


def test_the_table_shows_what_each_modality_contributes(cases: Path) -> None:
    data = dataset(cases)
    assert {name: len(items) for name, items in data.groups.items()} == {"CT": 12, "MR": 5, "US": 3}
    lines = BalancedSampler(data.groups, DataConfig(data=(cases,))).table().splitlines()
    assert lines[1].split() == ["CT", "12", "3", "33.3%", "25.0%"]
    assert lines[3].split() == ["US", "3", "3", "33.3%", "100.0%"]
    assert lines[4].split() == ["all", "20", "9", "100.0%", "45.0%"]
    assert len({len(line) for line in lines}) == 1
    by_set = dataset(cases, balance="data_set").groups
    assert {name: len(items) for name, items in by_set.items()} == {
        "CT/A": 5,
        "CT/B": 7,
        "MR/A": 5,
        "US/C": 3,
    }
