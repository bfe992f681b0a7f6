"""Masks are carried from slice to slice in training: through which slices, by which prompts."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("brevitas")
pytest.importorskip("tensorboard")

import torch
from small_run import KEYS, small_network, write_cases
from torch import Tensor

from napari_medsamq.inference.crop import tight_box
from napari_medsamq.inference.prompt_decoder import MASK_LOGIT
from training.config import load_config
from training.data.config import DataConfig
from training.data.dataset import SliceDataset
from training.data.runs import RunDataset
from training.errors import DataError
from training.learning.carried_rounds import carry, drift
from training.learning.config import TrainConfig
from training.learning.losses import emptiness_loss
from training.learning.processes import Processes
from training.learning.run_folder import RunFolder
from training.learning.teachers import torch_encoder
from training.learning.trainer import Trainer
from training.learning.training_run import train

ALONE = Processes(0, 1, torch.device("cpu"))
PLAIN: dict[str, Any] = {"flip": 0.0, "crop": 0.0, "min_pixels": 20}


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bright block that moves by a pixel from slice to slice, on the middle 12 of 20 slices."""
    folder = tmp_path_factory.mktemp("volumes")
    image, label = np.full((20, 64, 64), 20, np.uint8), np.zeros((20, 64, 64), np.uint8)
    for z in range(4, 16):
        label[z, 10 + z : 30 + z, 20:44] = 1
    image[label == 1] = 200
    for name in ("CT/A", "MR/B"):
        path = folder / name / "moving.npz"
        path.parent.mkdir(parents=True)
        np.savez_compressed(path, imgs=image, gts=label, spacing=np.ones(3))
    return folder


def runs(volumes: Path, slices: int = 3, **keys: Any) -> RunDataset:
    return RunDataset([volumes], DataConfig(data=(volumes,), **{**PLAIN, **keys}), slices)


def test_a_run_follows_one_structure_and_ends_with_it(volumes: Path) -> None:
    drawn = [runs(volumes)[number] for number in range(40)]
    ends = 0
    for run in drawn:
        start, masks = run["start"] > 0, run["mask"] > 0
        assert start.any()
        bright = run["image"][:, 0] > 0.5
        for before, mask, seen in zip([start, *masks], masks, bright, strict=False):
            ends += not mask.any()
            torch.testing.assert_close(mask, seen)
            if mask.any() and before.any():
                moved = np.subtract(tight_box(mask.numpy()), tight_box(before.numpy()))
                assert {abs(moved[1]), abs(moved[3])} <= {4, 8, 12}, "one to three slices"
    assert 5 < ends < 80
    again = runs(volumes)[7]
    assert all(torch.equal(again[key], drawn[7][key]) for key in ("image", "mask", "start"))


def test_what_is_done_to_a_slice_is_done_to_all_of_its_run(volumes: Path) -> None:
    varied = runs(volumes, flip=0.5, turn=0.5, crop=1.0, intensity=1.0)
    shapes = set()
    for number in range(20):
        run = varied[number]
        for mask, image in zip(run["mask"] > 0, run["image"][:, 0], strict=True):
            if mask.any():
                assert image[mask].min() > image[~mask].max(), "it lies where its mask says"
        if run["mask"][0].any():
            shapes.add(tuple(np.ptp(np.nonzero(run["mask"][0].numpy()), axis=1)))
    assert len(shapes) > 5, "parts of slices are of all sizes"


def test_pictures_and_sets_that_are_left_out_give_no_runs(volumes: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"hold no volume .* Add cases of volumes"):
        runs(write_cases(tmp_path))
    with pytest.raises(DataError, match="hold no volume"):
        runs(volumes, left_out=("CT/A", "MR/B"))
    assert list(runs(volumes, left_out=("CT/A",))._sets) == ["MR/B"]


class Asked:
    """A network that answers as it is told to, and notes what it is asked."""

    def __init__(self, *answers: np.ndarray) -> None:
        self.answers = list(answers)
        self.boxes: list[list[float]] = []
        self.previous: list[np.ndarray | None] = []

    def segment(
        self, embedding: Tensor, boxes: Tensor, *, previous: Tensor | None, carried: bool
    ) -> tuple[Tensor, Tensor]:
        assert carried
        self.boxes.append(boxes[0].tolist())
        self.previous.append(None if previous is None else previous[0, 0].numpy())
        answer = torch.from_numpy(self.answers.pop(0))[None].float()
        return answer * 10 - 5, torch.ones(1)


def square(left: int, side: int = 60) -> np.ndarray:
    mask = np.zeros((256, 256), bool)
    mask[80 : 80 + side, left : left + side] = True
    return mask


def ask(start: np.ndarray, wanted: list[np.ndarray], answers: list[np.ndarray]) -> Asked:
    net = Asked(*answers)
    masks = torch.from_numpy(np.stack(wanted))[None].float()
    embeddings = torch.zeros(1, len(wanted), 256, 64, 64)
    # Seed 1 neither worsens the first mask nor asks by boxes alone.
    rng = np.random.default_rng(1)
    carry(net, embeddings, torch.from_numpy(start)[None].float(), masks, rng)  # type: ignore[arg-type]
    return net


def test_each_slice_is_asked_by_the_answer_before_it() -> None:
    wanted = [square(74), square(78), square(82)]
    found = [square(76), square(79), square(82)]
    net = ask(square(70), wanted, found)
    for box, previous, before in zip(net.boxes, net.previous, [square(70), *found], strict=False):
        margins = np.abs(np.subtract(box, tight_box(before)))
        assert ((margins >= 2) & (margins <= 13)).all()
        np.testing.assert_array_equal(previous, np.where(before, MASK_LOGIT, -MASK_LOGIT))


def test_a_lost_structure_is_gone_on_with_as_it_is() -> None:
    nothing = np.zeros((256, 256), bool)
    net = ask(square(70), [square(74), square(78)], [square(170, 20), square(78)])
    np.testing.assert_array_equal(net.previous[1] > 0, square(74))
    # Beyond the end, the last mask is asked with again.
    net = ask(square(70), [nothing, nothing], [square(70), nothing])
    np.testing.assert_array_equal(net.previous[1] > 0, square(70))


def test_a_mask_that_drifts_stays_near() -> None:
    rng = np.random.default_rng(3)
    mask, shares = square(90), []
    for _ in range(50):
        drifted = drift(mask, rng)
        shares.append((drifted & mask).sum() / (drifted | mask).sum())
        assert drifted.any()
    assert 0.3 < min(shares) < 0.6
    assert max(shares) < 1


def test_where_nothing_is_wanted_less_is_better() -> None:
    logits = torch.full((3, 256, 256), -9.0)
    logits[1, :16, :16], logits[2, :64, :64] = 9, 9
    none, some, much = emptiness_loss(logits).tolist()
    assert none < 0.01
    assert some == pytest.approx(0.5, abs=0.01)
    assert 0.9 < much < 1


def settings(volumes: Path, cases: Path, *keys: str) -> TrainConfig:
    own = (f"data={cases}", f"volumes={volumes}", "runs=1", "run_slices=2", "min_pixels=20")
    return load_config(TrainConfig, overrides=[*KEYS, *own, *keys])


def test_runs_teach_the_kinds_of_points_that_they_are_asked_by(
    volumes: Path, tmp_path: Path
) -> None:
    config = settings(volumes, write_cases(tmp_path), "clicks=0", "learning_rate=1e-3", "drifts=1")
    network = small_network(one_look=True)
    before = {name: value.clone() for name, value in network.net.state_dict().items()}
    used = Trainer(
        config,
        network.net,
        SliceDataset(config),
        None,
        torch_encoder(network.net.image_encoder),
        ALONE,
        RunDataset(config.volumes, config, config.run_slices),
    )
    (values,) = islice(used.run(), 1)
    assert {"run_dice", "run_bce", "run_iou"} < set(values)
    changed = [
        kind
        for kind in range(6)
        if not torch.equal(
            network.net.state_dict()[f"prompt_encoder.point_embeddings.{kind}.weight"],
            before[f"prompt_encoder.point_embeddings.{kind}.weight"],
        )
    ]
    assert changed == [4, 5]


def test_a_network_tells_by_what_it_was_taught_ever_after(volumes: Path, tmp_path: Path) -> None:
    cases = write_cases(tmp_path / "cases")
    config = settings(volumes, cases, "epochs=1", "samples_per_epoch=2", "strategy=power")
    run = RunFolder(tmp_path / "run", config, resume=False, leads=True)
    network = train(config, run, small_network(one_look=True), ALONE)
    assert "1 runs of 2 slices" in network.provenance["training"]
    clicks = config.model_copy(update={"runs": 0, "volumes": (), "clicks": 1})
    run = RunFolder(tmp_path / "more", clicks, resume=False, leads=True)
    assert "1 runs of 2 slices" in train(clicks, run, network, ALONE).provenance["training"]
