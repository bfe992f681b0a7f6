"""Training learns, resumes exactly, and does not depend on how many processes share a batch."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import time
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("brevitas")
pytest.importorskip("tensorboard")

import torch
from brevitas.graph.calibrate import quantization_status_manager
from small_run import KEYS, SmallEncoder, small_net, small_network, write_cases
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from typer.testing import CliRunner

from napari_medsamq.errors import ModelError, SaveError
from training import train as command
from training.average import average
from training.checkpoints.network_file import (
    StoredNetwork,
    encoder_alone,
    in_floating_point,
    read_network,
    write_network,
)
from training.checkpoints.released import build_lite_medsam, build_medsam
from training.checkpoints.tensor_files import read_tensors
from training.config import load_config
from training.data.dataset import SliceDataset
from training.data.simulated_clicks import next_click, worsen
from training.errors import ConfigError
from training.learning.calibration import CalibrationConfig, quantize_network
from training.learning.click_rounds import correct
from training.learning.config import TrainConfig
from training.learning.losses import distillation_loss
from training.learning.processes import Processes
from training.learning.run_folder import RunFolder
from training.learning.teachers import Teacher, torch_encoder
from training.learning.trainer import Trainer, choose_parameters, learning_rate
from training.learning.training_run import train
from training.models.sam import ENCODERS, PUBLISHED, build_fast_medsam
from training.models.vit import Attention
from training.quantization.quantized_network import QuantConfig, calibrate, quantize

SCRIPT = Path(__file__).parents[1] / "helpers/small_run.py"
ALONE = Processes(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cases(tmp_path_factory.mktemp("cases"))


def config(cases: Path, *keys: str) -> TrainConfig:
    return load_config(TrainConfig, overrides=[f"data={cases}", *KEYS, *keys])


def trainer(cases: Path, *keys: str, one_look: bool = True) -> Trainer:
    settings = config(cases, *keys)
    teacher = None
    if settings.distill_weight:
        net = small_net(one_look=True)
        teacher = Teacher(net, ALONE.device, torch_encoder(net.image_encoder))
    frozen = None
    network = small_network(one_look=one_look)
    if settings.trains == "decoder":
        frozen = torch_encoder(network.net.image_encoder)
    return Trainer(settings, network.net, SliceDataset(settings), teacher, frozen, ALONE)


def run_script(*arguments: object, launcher: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    words = [sys.executable, *launcher, str(SCRIPT), *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", env=environment
    )


def finish(process: subprocess.Popen[str]) -> None:
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output


def losses(folder: Path) -> list[float]:
    with (folder / "log.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


@pytest.mark.parametrize(
    ("trains", "one_look"),
    [("encoder", True), ("decoder", True), ("both", True), ("both", False)],
)
def test_each_stage_learns_and_changes_only_its_part(
    cases: Path, trains: str, one_look: bool
) -> None:
    distil = "distill_weight=0" if trains == "decoder" else "distill_weight=1"
    epochs = "epochs=2" if one_look else "epochs=1"
    keys = (f"trains={trains}", distil, "learning_rate=1e-3", epochs, "flip=0")
    used = trainer(cases, *keys, one_look=one_look)
    before = {name: value.clone() for name, value in used._net.state_dict().items()}
    seen = list(used.run())
    assert len(seen) == used.steps == (6 if one_look else 3)
    third = len(seen) // 3
    first, last = (sum(step["dice"] for step in part) for part in (seen[:third], seen[-third:]))
    assert last < first
    changed = {
        name.split(".")[0]
        for name, value in used._net.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert (
        changed
        == {
            "encoder": {"image_encoder"},
            "decoder": {"mask_decoder"},
            "both": {"image_encoder", "mask_decoder"},
        }[trains]
    )


@pytest.mark.slow
def test_clicks_are_learnt_from_and_drawn_alike_each_time(cases: Path) -> None:
    asked = ("trains=decoder", "distill_weight=0", "clicks=2", "learning_rate=1e-3", "flip=0")
    seen = list(trainer(cases, *asked, "epochs=2", one_look=False).run())
    mean = [sum(step["dice"] for step in part) / 3 for part in (seen[:3], seen[-3:])]
    assert mean[1] < mean[0]
    again = list(islice(trainer(cases, *asked, "epochs=2", one_look=False).run(), 2))
    assert [step["loss"] for step in again] == [step["loss"] for step in seen[:2]]
    without = next(trainer(cases, *asked, "clicks=0", "epochs=2", one_look=False).run())
    assert without["dice"] != seen[0]["dice"]


def test_points_and_masks_are_learnt_only_with_clicks(cases: Path) -> None:
    asked = ("trains=decoder", "distill_weight=0")
    for clicks, learns in ((0, False), (1, True)):
        net = small_network(one_look=True).net
        names = choose_parameters(net, config(cases, *asked, f"clicks={clicks}"))
        assert any(name.startswith("prompt_encoder") for name in names) == learns


def test_a_mask_to_begin_with_is_a_little_wrong(cases: Path) -> None:
    mask = np.zeros((256, 256), bool)
    mask[80:160, 100:170] = True
    rng = np.random.default_rng(0)
    worse = [worsen(mask, rng) for _ in range(40)]
    overlap = [2 * (w & mask).sum() / (w.sum() + mask.sum()) for w in worse]
    assert min(overlap) > 0.5
    assert np.median(overlap) < 0.95
    assert min(w.sum() for w in worse) < mask.sum() < max(w.sum() for w in worse)
    assert not worsen(np.zeros_like(mask), rng).any()
    speck = np.zeros_like(mask)
    speck[5, 5] = True
    assert all(1 <= worsen(speck, rng).sum() <= 9 for _ in range(20))
    asked = ("trains=decoder", "distill_weight=0", "clicks=1", "flip=0")
    first = [next(trainer(cases, *asked, f"starts={share}").run())["dice"] for share in (0, 1)]
    assert first[0] != first[1]


def test_a_decoder_learns_in_floating_point_and_is_quantised_again(
    cases: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENCODERS, PUBLISHED, SmallEncoder)
    given = small_network()
    decoders = {"image_encoder.*": 8, "mask_decoder.iou*": 7, "*.final_attn*": 6}
    alone = encoder_alone(QuantConfig(overrides=decoders), given.net)
    assert alone == QuantConfig(parts="encoder", overrides={"image_encoder.*": 8})
    before = {name: value.clone() for name, value in given.net.state_dict().items()}
    freed = in_floating_point(given, "decoder")
    assert freed.quant == QuantConfig(parts="encoder")
    assert in_floating_point(freed, "decoder") == freed
    weight = "mask_decoder.transformer.layers.0.mlp.lin1.weight"
    assert torch.equal(freed.net.state_dict()[weight], before[weight])
    assert not any("quant" in name for name, _ in freed.net.mask_decoder.named_modules())
    settings = CalibrationConfig(data=(cases,), samples=1, clicks=1)
    again = quantize_network(settings, freed)
    assert again.quant == QuantConfig()
    after = again.net.state_dict()
    assert set(after) == set(before)
    encoder = [name for name in before if name.startswith("image_encoder")]
    assert all(torch.equal(after[name], before[name]) for name in encoder)
    assert again.provenance["training"].startswith("post-training quantisation of the decoder")
    with pytest.raises(ModelError, match="encoder alone is quantised"):
        quantize_network(settings, again)


def test_a_rounded_network_goes_on_in_floating_point_as_if_it_were_not_rounded(
    tmp_path: Path,
) -> None:
    published = build_fast_medsam(build_lite_medsam())
    image, box = torch.rand(1, 3, 256, 256), torch.tensor([[60.0, 60, 180, 180]])
    net = quantize(published, QuantConfig())
    calibrate(net, lambda _: net(image, box), [0], correct_bias=False)
    with (
        torch.no_grad(),
        quantization_status_manager(net, disable_act_quant=True, disable_weight_quant=True),
    ):
        wanted, _ = net(image, box)
    story = {"architecture": "medsamq-fast"}
    freed = in_floating_point(StoredNetwork(net, QuantConfig(), story))
    assert freed.quant is None
    assert in_floating_point(freed) == freed
    assert not any("quant" in name for name, _ in freed.net.named_modules())
    write_network(tmp_path / "float.pth", freed)
    with torch.no_grad():
        found, _ = read_network(tmp_path / "float.pth").net(image, box)
    assert torch.allclose(found, wanted, atol=1e-3)


def test_the_mean_of_the_weights_follows_them(cases: Path) -> None:
    plain, mean = (
        trainer(cases, "learning_rate=1e-2", "epochs=1", *keys) for keys in ((), ("average=0.9",))
    )
    name = "mask_decoder.place.weight"
    path = [small_network(one_look=True).net.state_dict()[name]]
    for _ in plain.run():
        path.append(plain.weights()[name].clone())
    list(mean.run())
    assert torch.equal(mean._net.state_dict()[name], path[-1])  # the weights themselves are alike
    wanted = path[0]
    for step, weights in enumerate(path[1:]):
        wanted = wanted.lerp(weights, 9 / (10 + step))
    assert torch.allclose(mean.weights()[name], wanted)
    assert not torch.equal(wanted, path[-1])


def test_the_mean_lies_between_a_network_before_and_after_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(ENCODERS, PUBLISHED, SmallEncoder)
    before, after = small_network(), in_floating_point(small_network(), "decoder")
    weight = "image_encoder.conv.weight"
    ends = [own.net.state_dict()[weight].clone() for own in (before, after)]
    ends[1] += 1
    after.net.load_state_dict({**after.net.state_dict(), weight: ends[1]})
    mean = average(before, after, 0.25)
    assert mean.quant == QuantConfig(parts="encoder")  # as after has its decoder
    assert torch.allclose(mean.net.state_dict()[weight], ends[0] + 0.25)
    assert mean.provenance["training"] == "25% of these weights, the rest of before"
    with pytest.raises(ConfigError, match="have no mean"):
        average(small_network("decoder", one_look=True), small_network(one_look=True), 0.5)


def test_a_click_hits_the_middle_of_the_largest_error() -> None:
    wanted = np.zeros((40, 40), bool)
    wanted[5:25, 5:25] = True
    found = wanted.copy()
    found[5:25, 5:12] = False  # missing: 20 x 7
    found[30:35, 30:35] = True  # too much: 5 x 5
    assert next_click(found, wanted) == (8, pytest.approx(14, abs=6), True)
    found[28:40, 10:40] = True
    x, y, positive = next_click(found, wanted)
    assert not positive
    assert found[y, x]
    assert not wanted[y, x]
    assert next_click(wanted, wanted) is None
    rng = np.random.default_rng(0)
    drawn = {next_click(found, wanted, rng) for _ in range(30)}
    assert len(drawn) > 5
    assert all(found[y, x] and not wanted[y, x] for x, y, _ in drawn)


def test_where_nothing_is_wrong_a_click_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch holds samples with and without errors; the padding changes nothing."""
    net = small_net()
    embedding = torch.randn(2, 256, 64, 64)
    boxes = torch.tensor([[20.0, 20, 90, 90], [40, 40, 200, 200]])
    with torch.no_grad():
        first = net.segment(embedding, boxes)[0] > 0
        wanted = first.float()
        wanted[1, 100:140, 100:140] = 1 - wanted[1, 100:140, 100:140]
        alone, clicked = correct(net, embedding, boxes, wanted, 1, np.random.default_rng(0))
        padded = net.segment(
            embedding[:1], boxes[:1], previous=torch.where(first[:1, None], 6.0, -6.0)
        )
    torch.testing.assert_close(alone[0][0] > 0, first[0])
    assert clicked[0].shape == (2, 256, 256)
    assert torch.isfinite(clicked[0]).all()
    # SAM's padding is a token of its own.
    assert padded[0].shape == (1, 256, 256)


def test_samples_may_have_fewer_clicks_than_others() -> None:
    net = small_net()
    embedding, wanted = torch.randn(3, 256, 64, 64), torch.zeros(3, 256, 256)
    wanted[:, 60:120, 60:120] = 1
    boxes = torch.tensor([[40.0, 40, 130, 130]]).repeat(3, 1)

    def corrected(*clicks: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        rng = np.random.default_rng(0)
        with torch.no_grad():
            return correct(net, embedding, boxes, wanted, torch.tensor(clicks), rng)

    answers = corrected(0, 2, 1)
    for part in (0, 1):
        changed = [
            [not torch.equal(*own) for own in zip(before[part], after[part], strict=True)]
            for before, after in pairwise(answers)
        ]
        assert changed == [[False, True, True], [False, True, False]]
    assert len(corrected(0, 0, 0)) == 1


def test_the_teacher_is_followed_only_as_far_as_it_segments(cases: Path) -> None:
    step = next(trainer(cases, "trains=encoder", "distill_weight=1").run())
    assert step["distill"] > 0
    # An untrained teacher's masks are poor, so that its weight is far from 1.
    used = trainer(cases, "trains=encoder", "distill_weight=1")
    batch = [used._data[draw] for draw in list(used.sampler)[:2]]
    image, box, mask = (torch.stack([s[k] for s in batch]) for k in ("image", "box", "mask"))
    shown = used._teacher(image, box)
    with torch.no_grad():
        embedding = used._net.image_encoder(image)
    found, wanted = shown[1] > 0, mask > 0
    iou = (found & wanted).sum(dim=(1, 2)) / (found | wanted).sum(dim=(1, 2))
    far = (embedding - shown[0]).square().mean(dim=(1, 2, 3))
    assert step["distill"] == pytest.approx(float((far * iou).mean()), rel=1e-3)


def test_embeddings_alone_are_taught_without_a_decoder(
    cases: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = trainer(cases, "trains=encoder", "mask_weight=0", "iou_weight=0", "distill_weight=1")
    net = small_network(one_look=True).net
    monkeypatch.setattr(type(used._net), "segment", lambda *_: pytest.fail("decoded"))
    batch = [used._data[draw]["image"] for draw in list(used.sampler)[:2]]
    step = next(used.run())
    assert set(step) == {"loss", "distill", "learning_rate", "seconds"}
    far = distillation_loss(
        net.image_encoder(torch.stack(batch)), small_net().image_encoder(torch.stack(batch))
    )
    assert step["loss"] == step["distill"] == pytest.approx(float(far.mean()), rel=1e-3)


@pytest.mark.parametrize(("logits", "epochs"), [((6.0, 6.0), 6), ((6.0, 0.5), 1), ((0.5, 0.5), 2)])
def test_a_teacher_answers_where_no_mask_is_known_if_it_is_sure(
    cases: Path, tmp_path: Path, logits: tuple[float, float], epochs: int
) -> None:
    """Of its masks even and odd columns may be sure; if but one kind is, it is not sure enough."""
    for path in sorted(cases.glob("CT/A/*.npz")):
        bare = tmp_path / path.relative_to(cases)
        bare.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(bare, imgs=np.load(path)["imgs"], spacing=np.ones(3))
    keys = ("trains=both", "unlabelled=true", "anywhere=true", "answer_weight=1", "clicks=1")
    settings = config(tmp_path, *keys, "learning_rate=1e-3", f"epochs={epochs}")
    asked: list[torch.Tensor] = []

    def teacher(image: torch.Tensor, boxes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        asked.append(boxes)
        answer = torch.where(image[:, 0] > 0.6, torch.tensor(logits).repeat(128), -6.0)
        return image.new_zeros(len(image), 256, 64, 64), answer

    net = small_network(one_look=True).net
    used = Trainer(settings, net, SliceDataset(settings), teacher, None, ALONE)
    seen = list(used.run())
    boxes = torch.cat(asked)
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= 255).all()
    assert len(boxes.unique(dim=0)) == len(boxes)  # each one drawn anew, and not the whole slice
    if min(logits) > 1:
        assert seen[-1]["answer"] < seen[0]["answer"]
        assert seen[-1]["dice"] < seen[0]["dice"]
    else:  # its masks, or half of them, come and go with the threshold
        assert all(step["answer"] == step["dice"] == step["iou"] == 0 for step in seen)


def test_batch_norms_measure_anew_only_where_that_is_wanted(cases: Path) -> None:
    settings = config(cases, "trains=encoder", "distill_weight=0")
    for wanted in ("frozen", "trained"):
        net = build_fast_medsam(build_lite_medsam())
        before = net.image_encoder.patch_embed.seq[0].bn.running_mean.clone()
        keys = settings.model_copy(update={"batch_norm": wanted})
        used = Trainer(keys, net, SliceDataset(keys), None, None, ALONE)
        next(used.run())
        after = used._net.image_encoder.patch_embed.seq[0].bn.running_mean
        assert torch.equal(before, after) == (wanted == "frozen")
    with pytest.raises(ValueError, match="the network has none"):
        trainer(cases, "trains=encoder", "distill_weight=0", "batch_norm=trained")


def test_frozen_layers_stay(cases: Path) -> None:
    net = small_network(one_look=True).net
    learns = choose_parameters(
        net, config(cases, "trains=both", "frozen=[image_encoder.conv.*, mask_decoder.iou*]")
    )
    assert "image_encoder.neck.0.weight" in learns
    assert not any(name.startswith(("image_encoder.conv", "mask_decoder.iou")) for name in learns)
    with pytest.raises(ValueError, match=r"image_encoder\.stem"):
        choose_parameters(net, config(cases, "frozen=image_encoder.stem.*"))


def test_the_learning_rate_warms_up_falls_and_stays() -> None:
    keys = ("data=x", "trains=encoder", "epochs=16", "warmup_epochs=5", "last_epochs=1")
    paper = load_config(TrainConfig, overrides=[*keys, "learning_rate=1e-2", "batch_size=2"])
    rates = [learning_rate(paper, step, 10) for step in range(160)]
    assert rates[0] == pytest.approx(1e-4)
    assert rates[50] == pytest.approx(1e-2)
    assert rates[100] == pytest.approx(5e-3, rel=0.01)
    assert rates[150] == rates[159] == pytest.approx(1e-5)
    assert rates[:50] == sorted(rates[:50])
    assert rates[50:] == sorted(rates[50:], reverse=True)


def test_small_parts_of_a_batch_give_the_gradient_of_the_whole(cases: Path) -> None:
    whole, parts = (
        trainer(cases, "trains=both", "batch_size=4", f"micro_batch={size}", "optimizer=sgd")
        for size in (4, 2)
    )
    a, b = next(whole.run()), next(parts.run())
    assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)
    one, other = (
        torch.cat([p.grad.flatten() for p in used._net.parameters() if p.grad is not None])
        for used in (whole, parts)
    )
    assert float((one - other).norm()) < 0.02 * float(one.norm())


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_as_if_it_had_not_been(cases: Path, tmp_path: Path) -> None:
    whole = run_script(cases, tmp_path / "whole", "epochs=2", "average=0.9")
    finish(whole)
    killed = run_script(cases, tmp_path / "killed", "epochs=2", "average=0.9")
    checkpoint = tmp_path / "killed/checkpoint.pth"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    killed.kill()
    killed.communicate()
    assert checkpoint.exists()
    assert not (tmp_path / "killed/network.pth").exists()
    finish(run_script(cases, tmp_path / "killed", "epochs=2", "average=0.9", "--resume"))
    a, b = (
        read_tensors(tmp_path / name / "network.pth")["weights"] for name in ("whole", "killed")
    )
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert losses(tmp_path / "whole") == losses(tmp_path / "killed")
    assert len(losses(tmp_path / "whole")) == 6
    events = EventAccumulator(str(tmp_path / "killed/events")).Reload()
    assert [event.step for event in events.Scalars("loss")] == list(range(1, 7))


@pytest.mark.slow
def test_two_processes_learn_what_one_does(cases: Path, tmp_path: Path) -> None:
    finish(run_script(cases, tmp_path / "one", "trains=both", "epochs=1"))
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    finish(run_script(cases, tmp_path / "two", "trains=both", "epochs=1", launcher=torchrun))
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert len(one) == len(two) == 3
    assert one == pytest.approx(two, rel=1e-3)
    assert one[0] != one[-1]


def test_a_run_never_replaces_another(cases: Path, tmp_path: Path) -> None:
    settings = config(cases, "epochs=1")
    run = RunFolder(tmp_path / "run", settings, resume=False, leads=True)
    train(settings, run, small_network(one_look=True), ALONE)
    network = read_tensors(tmp_path / "run/network.pth")
    assert "decoder: 3 steps of 2 samples" in network["provenance"]
    with pytest.raises(ConfigError, match="--resume"):
        RunFolder(tmp_path / "run", settings, resume=False, leads=True)
    with pytest.raises(ConfigError, match="another epochs"):
        RunFolder(tmp_path / "run", config(cases, "epochs=2"), resume=True, leads=True)
    with pytest.raises(ConfigError, match="holds no run"):
        RunFolder(tmp_path / "other", settings, resume=True, leads=True)


def test_a_full_disk_is_an_error_and_the_old_checkpoint_stays(
    cases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(cases, "epochs=1")
    run = RunFolder(tmp_path / "run", settings, resume=False, leads=True)
    run.write_checkpoint({"step": 1})

    def full(_content: Any, path: Path) -> None:
        path.write_bytes(b"half")
        raise RuntimeError("PytorchStreamWriter failed writing file: No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(SaveError, match=r"checkpoint\.pth.*Free space"):
        run.write_checkpoint({"step": 2})
    assert run.read_checkpoint() == {"step": 1}
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["checkpoint.pth"]


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (("distill_weight=1",), "has to be 0"),
        (("batch_size=3", "micro_batch=2"), "multiple of `micro_batch`"),
        (("epochs=2", "warmup_epochs=3"), "cannot be more"),
        (("unlabelled=true",), "need a teacher"),
        (("iou_weight=0", "mask_weight=0"), "nothing is learnt"),
        (("batch_norm=trained",), "has to be frozen"),
        (("learning_rate=0",), "`learning_rate`: .* greater than 0, not 0"),
        (("starts=0.5",), "nothing is corrected"),
        (("momentum=-1",), "`momentum`"),
        (("sampels=3",), "no key `sampels`"),
    ],
)
def test_impossible_configurations_are_refused(
    cases: Path, keys: tuple[str, ...], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        config(cases, *keys)


def test_shipped_configurations_can_be_read() -> None:
    folder = Path(command.__file__).parent / "configs"
    trains = {
        "cpu/1-encoder": "encoder",
        "cpu/2-decoder": "decoder",
        "cpu/3-joint": "both",
        "cpu/4-clicks": "decoder",
        "cpu/6-crops": "both",
        "cpu/7-crops-decoder": "decoder",
        "cpu/8-decoder": "decoder",
        "fast/1-distill": "encoder",
        "fast/2-masks": "both",
        "fast/4-qat": "both",
        "fast/5-clicks": "decoder",
        "fast/7-qat-clicks": "decoder",
        "fast/8-carry": "decoder",
        "fast/9-qat-carry": "decoder",
        "fast/recipe": "both",
        "cpu/recipe": "both",
        "paper/1-encoder": "encoder",
        "paper/2-decoder": "decoder",
        "paper/3-joint": "both",
    }
    for name, part in trains.items():
        assert load_config(TrainConfig, folder / f"{name}.yaml").trains == part
    ptq = ("cpu/0-ptq", "cpu/5-ptq-clicks", "fast/3-ptq", "fast/6-ptq-clicks")
    for name in ptq:
        assert load_config(CalibrationConfig, folder / f"{name}.yaml").bits == 8
    found = {path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml")}
    others = {"cpu/ablate", "paper/ablate", "sources", "folds", "adapt", "patients"}
    assert found == {*trains, *ptq, *others}


def test_network_files_say_what_is_wrong_with_them(tmp_path: Path) -> None:
    path = tmp_path / "network.pth"
    write_network(path, small_network())
    wanted = r"exactly the weights of a quantised litemedsam, .* image_encoder\.neck"
    with pytest.raises(ModelError, match=wanted):
        read_network(path)
    torch.save({"format": "other"}, path)
    with pytest.raises(ModelError, match="Give a file that"):
        read_network(path)
    torch.save({"format": Path("code")}, path)
    with pytest.raises(ModelError, match="without any code"):
        read_network(path)
    with pytest.raises(ModelError, match="cannot be read"):
        read_network(tmp_path / "none.pth")


def test_the_command_reports_errors_in_one_line(cases: Path, tmp_path: Path) -> None:
    import typer

    app = typer.Typer()
    app.command()(command.main)
    path = tmp_path / "stage.yaml"
    path.write_text("trains: decoder\nlearning_rate: 1\nepochs: 1\nbatch_size: 1\n")
    arguments = [str(path), "--out", str(tmp_path / "run"), f"data={cases}", "distill_weight=0"]
    for more, words in (
        ([], "Give --init-from"),
        (["--init-from", str(tmp_path / "none.pth")], "There is no"),
        (["epoch=3"], "Did you mean `epochs`"),
    ):
        result = CliRunner().invoke(app, [*arguments, *more])
        assert result.exit_code == 1
        assert words in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1


def test_medsam_has_the_published_parameters(tmp_path: Path) -> None:
    weights = build_medsam_weights()
    # And the corners of carried boxes, which are made of those of drawn ones.
    assert len(weights) == 314 + 2
    assert weights["image_encoder.pos_embed"].shape == (1, 64, 64, 768)
    assert weights["image_encoder.blocks.2.attn.rel_pos_h"].shape == (127, 64)
    assert weights["image_encoder.blocks.11.mlp.lin1.weight"].shape == (3072, 768)
    assert weights["image_encoder.blocks.0.attn.rel_pos_w"].shape == (27, 64)
    path = tmp_path / "lite.pth"
    torch.save(build_lite_medsam().state_dict(), path)
    with pytest.raises(ModelError, match="MedSAM ViT-B"):
        build_medsam(path)


def build_medsam_weights() -> dict[str, torch.Tensor]:
    from training.models.sam import LiteMedSAM
    from training.models.vit import ImageEncoderViT

    with torch.device("meta"):
        encoder = ImageEncoderViT()
    return LiteMedSAM(encoder).state_dict()


def test_attention_adds_the_biases_of_row_and_column_distance() -> None:
    torch.manual_seed(0)
    attention = Attention(3)
    for table in (attention.rel_pos_h, attention.rel_pos_w):
        torch.nn.init.normal_(table)
    query = torch.randn(1, 12, 9, 64)
    bias = attention._bias(query, 3)
    for token, other in ((0, 0), (5, 7), (8, 1)):
        (y, x), (v, u) = divmod(token, 3), divmod(other, 3)
        wanted = query[0, 4, token] @ (
            attention.rel_pos_h[y - v + 2] + attention.rel_pos_w[x - u + 2]
        )
        assert float(bias[0, 4, token, other]) == pytest.approx(float(wanted), abs=1e-4)
