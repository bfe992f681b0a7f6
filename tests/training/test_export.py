from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import openvino as ov
import pytest
from typer.testing import CliRunner

pytest.importorskip("torch")

import torch
import typer

from napari_medsamq.errors import ModelError
from napari_medsamq.inference.backend import openvino_core
from napari_medsamq.inference.engine import OpenVINOEngine, box_points
from napari_medsamq.inference.model_choice import MODELS
from napari_medsamq.inference.model_spec import ModelSpec
from napari_medsamq.inference.preprocess import BoxRule
from napari_medsamq.prompts import CarryPrompt
from training.checkpoints.network_file import StoredNetwork
from training.checkpoints.published import SHA256
from training.checkpoints.released import build_lite_medsam
from training.conversion import model_directory
from training.conversion.compact import store_half
from training.conversion.model_directory import box_rule, write_model
from training.conversion.to_openvino import convert_lite_medsam
from training.export import main
from training.models.sam import LiteMedSAM

DATA = Path(__file__).parents[1] / "data"
F32 = {"INFERENCE_PRECISION_HINT": "f32"}
FILES = {"encoder.xml", "encoder.bin", "decoder.xml", "decoder.bin", "model.json"}
Models = tuple[ov.Model, ov.Model]


@pytest.fixture(scope="module")
def net() -> LiteMedSAM:
    torch.manual_seed(0)
    return build_lite_medsam().requires_grad_(False)


@pytest.fixture(scope="module")
def models(net: LiteMedSAM) -> Models:
    return convert_lite_medsam(net)


@pytest.fixture(scope="module")
def decoder(models: Models) -> ov.CompiledModel:
    return openvino_core().compile_model(models[1], "CPU", F32)


def _write(directory: Path, models: Models, name: str = "test", *, force: bool = False) -> None:
    write_model(directory, *models, name=name, bits=32, provenance={"source": "x"}, force=force)


def _assert_equal(found: np.ndarray, expected: torch.Tensor) -> None:
    wanted = expected.numpy()
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= 1e-4 * np.abs(wanted).max()


def test_the_encoder_equals_the_network(net: LiteMedSAM, models: Models) -> None:
    image = torch.rand(1, 3, 256, 256)
    encoder = openvino_core().compile_model(models[0], "CPU", F32)
    found = encoder({"image": image.numpy()})
    _assert_equal(found["image_embedding"], net.image_encoder(image))


# 3 of either stand in the example that the network is traced with.
@pytest.mark.parametrize(("prompts", "points"), [(1, 2), (1, 5), (3, 3), (4, 2)])
def test_the_decoder_equals_the_network_for_any_number_of_prompts_and_points(
    net: LiteMedSAM, decoder: ov.CompiledModel, prompts: int, points: int
) -> None:
    torch.manual_seed(10 * prompts + points)
    inputs = {
        "image_embedding": torch.randn(1, 256, 64, 64),
        "point_coords": torch.rand(prompts, points, 2) * 256,
        "point_labels": torch.randint(-1, 4, (prompts, points)).float(),
        "mask_input": torch.randn(prompts, 1, 256, 256),
        "has_mask_input": torch.ones(1),
    }
    one_mask = {**inputs, "mask_input": inputs["mask_input"][:1], "has_mask_input": torch.zeros(1)}
    for given in (inputs, one_mask):
        logits, iou = net.decoder()(**given)
        found = decoder({name: tensor.numpy() for name, tensor in given.items()})
        _assert_equal(found["logits"], logits)
        _assert_equal(found["iou"], iou)


def test_a_written_model_is_one_the_engine_accepts(models: Models, tmp_path: Path) -> None:
    _write(tmp_path / "model", models, name="mine")
    assert {path.name for path in (tmp_path / "model").iterdir()} == FILES
    assert list(tmp_path.iterdir()) == [tmp_path / "model"]
    engine = OpenVINOEngine(tmp_path / "model")
    assert (engine.spec.name, engine.spec.bits) == ("mine", 32)


def test_a_written_model_is_small_and_names_no_place(models: Models, tmp_path: Path) -> None:
    _write(tmp_path / "model", models)
    for path in (tmp_path / "model").iterdir():
        assert path.stat().st_size < 25e6
    for part in ("encoder", "decoder"):
        text = (tmp_path / "model" / f"{part}.xml").read_text()
        for place in (Path.home(), Path.cwd(), tmp_path, Path(torch.__file__).parent):
            assert str(place) not in text


def test_what_16_bits_cannot_hold_keeps_32() -> None:
    x = ov.opset13.parameter([2], np.float32)
    large = ov.opset13.constant(np.array([1e6, 1], np.float32))
    small = ov.opset13.constant(np.array([0.1, 1], np.float32))
    model = ov.Model([ov.opset13.add(ov.opset13.add(x, large), small)], [x])
    store_half(model)
    types = [op.get_element_type() for op in model.get_ops() if op.get_type_name() == "Constant"]
    assert sorted(map(str, types)) == ["<Type: 'float16'>", "<Type: 'float32'>"]


def test_a_directory_in_use_is_kept_unless_forced(models: Models, tmp_path: Path) -> None:
    card = tmp_path / "README.md"
    card.write_text("model card")
    with pytest.raises(ModelError, match="not empty"):
        _write(tmp_path, models)
    assert list(tmp_path.iterdir()) == [card]
    for name in ("first", "second"):
        _write(tmp_path, models, name=name, force=True)
        assert ModelSpec.read(tmp_path).name == name
        assert {path.name for path in tmp_path.iterdir()} == FILES | {"README.md"}
    assert card.read_text() == "model card"


def test_a_failed_export_leaves_the_old_model(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(tmp_path / "model", models, name="old")

    def fail(*_args: object, **_options: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(ov, "save_model", fail)
    with pytest.raises(OSError, match="disk full"):
        _write(tmp_path / "model", models, force=True)
    assert list(tmp_path.iterdir()) == [tmp_path / "model"]
    spec = ModelSpec.read(tmp_path / "model")
    spec.verify(tmp_path / "model")
    assert spec.name == "old"


def test_the_command_writes_a_model_with_its_provenance(
    net: LiteMedSAM, models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The conversion takes seconds and is the same for this network.
    monkeypatch.setattr(model_directory, "convert_lite_medsam", lambda _net: models)
    torch.save(net.state_dict(), tmp_path / "tuned.pth")
    app = typer.Typer()
    app.command()(main)
    out = tmp_path / "my-model"
    arguments = ["--checkpoint", str(tmp_path / "tuned.pth"), "--out", str(out)]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    spec = ModelSpec.read(out)
    spec.verify(out)
    assert spec.name == "my-model"
    assert spec.provenance["source"] == "LiteMedSAM network, tuned.pth"
    assert spec.preprocessing.box is BoxRule.far_edge
    assert set(spec.provenance) >= {"checkpoint_sha256", "licence", "versions"}
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 1
    assert "--force" in again.stderr


def test_the_command_writes_a_carrier_with_the_same_encoder_only(
    net: LiteMedSAM, models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_directory, "convert_lite_medsam", lambda _net: models)
    monkeypatch.setattr(model_directory, "convert_decoder", lambda _net: models[1])
    weights, out = net.state_dict(), tmp_path / "my-model"
    torch.save(weights, tmp_path / "start.pth")
    first = next(name for name in weights if name.startswith("image_encoder."))
    for name, changed in (("other", first), ("carrier", "mask_decoder.iou_token.weight")):
        torch.save({**weights, changed: weights[changed] + 1}, tmp_path / f"{name}.pth")
    app = typer.Typer()
    app.command()(main)

    def export(*arguments: str) -> Any:
        start = ("--checkpoint", str(tmp_path / "start.pth"), "--out", str(out))
        return CliRunner().invoke(app, [*start, *arguments])

    refused = export("--carrier", str(tmp_path / "other.pth"))
    assert refused.exit_code == 1
    assert "another encoder" in refused.stderr
    assert not out.exists()
    assert export("--carrier", str(tmp_path / "carrier.pth")).exit_code == 0
    assert ModelSpec.read(out).provenance["carrier"] == ""
    ModelSpec.read(out).verify(out)
    assert ModelSpec.read(out).carry_prompt is CarryPrompt.carried
    # One without takes its place as a whole.
    assert export("--force").exit_code == 0
    assert {path.name for path in out.iterdir()} == FILES
    assert ModelSpec.read(out).carry_prompt is not CarryPrompt.carried


def test_the_published_weights_alone_get_boxes_as_published(net: LiteMedSAM) -> None:
    story = {"checkpoint_sha256": SHA256}
    trained = {**story, "training": "decoder: 8 steps"}
    networks = (StoredNetwork(net, None, own) for own in (story, trained, {}))
    assert [box_rule(network) for network in networks] == [
        BoxRule.published,
        BoxRule.far_edge,
        BoxRule.far_edge,
    ]


@pytest.mark.parametrize("case", ["ct_abdomen", "mr_sarcoma"])
def test_the_shipped_float_model_gives_the_published_masks(case: str) -> None:
    directory = MODELS / "litemedsam-float"
    assert ModelSpec.read(directory).provenance["checkpoint_sha256"] == SHA256
    reference = np.load(DATA / f"{case}_slice.npz")
    engine = OpenVINOEngine(directory)
    embedding = engine.encode(np.repeat(reference["image"][None, None], 3, axis=1))
    logits, iou = engine.decode(embedding, *box_points(reference["boxes256"]))
    np.testing.assert_allclose(iou, reference["iou"], atol=0.01)
    (height, width), shape = reference["frame"], reference["slice"].shape
    for found, mask in zip(logits, reference["masks"], strict=True):
        resized = cv2.resize(found[:height, :width], shape[::-1], interpolation=cv2.INTER_LINEAR)
        overlap = 2 * np.sum((resized > 0) & mask) / (np.sum(resized > 0) + np.sum(mask))
        assert overlap >= 0.995
