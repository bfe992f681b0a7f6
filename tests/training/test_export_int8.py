"""Quantised networks become models that mean the same, run in integers, and can be restored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from reference import dsc
from typer.testing import CliRunner

pytest.importorskip("torch")
pytest.importorskip("brevitas")

import torch
import typer
from torch import nn

from napari_medsamq.errors import ModelError
from napari_medsamq.inference.backend import openvino_core
from napari_medsamq.inference.engine import OpenVINOEngine, box_points
from napari_medsamq.inference.model_choice import MODELS
from napari_medsamq.inference.model_spec import ModelSpec
from training import export
from training.checkpoints.network_file import StoredNetwork, write_network
from training.conversion import model_directory, to_openvino
from training.conversion.int8_coverage import (
    LEAST_INT8_SHARE,
    Layer,
    format_coverage,
    int8_share,
    read_coverage,
)
from training.conversion.model_directory import write_model
from training.conversion.naming import quantizer_name
from training.conversion.ov_graph import nodes, replace
from training.conversion.qcdq import convert_quantized
from training.conversion.restore import restore_network
from training.conversion.rewrites import optimise
from training.conversion.to_openvino import convert_lite_medsam, example_inputs
from training.export import main
from training.models.fast_vit import FastViT
from training.models.layers import ConvNorm, LayerNorm2d
from training.models.sam import ENCODERS, PUBLISHED, LiteMedSAM
from training.models.tiny_vit import MBConv, PatchMerging, TransformerStage
from training.quantization.quantized_network import QuantConfig, calibrate, quantize

F32 = {"INFERENCE_PRECISION_HINT": "f32"}
BOXES = np.array([[60, 60, 180, 180], [20, 100, 90, 220], [100, 30, 240, 120]], np.float32)
Models = tuple[ov.Model, ov.Model]


class SmallEncoder(nn.Module):
    """Every kind of block of the TinyViT, few and narrow, on the same grid of 64 x 64."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 4, stride=4), MBConv(16))
        merge = PatchMerging(32, 48, stride=1)
        self.stage = TransformerStage(32, depth=2, heads=2, window=14, side=64, downsample=merge)
        self.widen = ConvNorm(16, 32)
        self.neck = nn.Sequential(
            nn.Conv2d(48, 256, 1, bias=False),
            LayerNorm2d(256),
            nn.Conv2d(256, 256, 1, bias=False),
            LayerNorm2d(256),
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        _, x = self.stage(self.widen(self.stem(image)))
        y: torch.Tensor = self.neck(x)
        return y


def float_net() -> LiteMedSAM:
    torch.manual_seed(0)
    net = LiteMedSAM(SmallEncoder()).eval()
    for name, parameter in net.named_parameters():  # no two alike, and few that are zero
        if name.endswith(("bias", "biases")) and "stage.blocks.1.attn" not in name:
            nn.init.normal_(parameter, std=0.1)
    for module in net.modules():
        if isinstance(module, nn.LayerNorm | LayerNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return net


def image() -> torch.Tensor:
    rows, columns = torch.meshgrid(torch.arange(256), torch.arange(256), indexing="ij")
    disc = ((rows - 120) ** 2 + (columns - 120) ** 2 < 3600).float()
    noise = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(1))
    return 0.5 * disc + 0.3 * noise + 0.1 * (columns / 256)


def network(**config: Any) -> StoredNetwork:
    quant = QuantConfig(**config)
    net = quantize(float_net(), quant)
    boxes = torch.from_numpy(BOXES)
    calibrate(net, lambda _: net(image(), boxes), [0], correct_bias=False)
    return StoredNetwork(net.requires_grad_(False), quant, {"source": "test"})


@pytest.fixture(scope="module")
def quantised() -> StoredNetwork:
    return network()


@pytest.fixture(scope="module")
def conversion(quantised: StoredNetwork) -> tuple[Models, Models]:
    """Encoder and decoder as they are converted, before anything is rewritten; and the models."""
    plain = []

    def convert(*arguments: Any) -> ov.Model:
        model = convert_quantized(*arguments)
        plain.append(model.clone())
        return model

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(to_openvino, "convert_quantized", convert)
        models = convert_lite_medsam(quantised.net)
    encoder, decoder = plain
    return (encoder, decoder), models


@pytest.fixture(scope="module")
def models(conversion: tuple[Models, Models]) -> Models:
    return conversion[1]


@pytest.fixture(scope="module")
def directory(
    quantised: StoredNetwork, models: Models, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return write(tmp_path_factory.mktemp("models") / "int8", quantised, models)


def write(path: Path, network: StoredNetwork, models: Models | None = None) -> Path:
    provenance = {**network.provenance, "quantisation": json.dumps(network.quant.model_dump())}
    encoder, decoder = models or convert_lite_medsam(network.net)
    bits = network.quant.bits
    write_model(path, encoder, decoder, name="int8", bits=bits, provenance=provenance)
    return path


def answers(path: Path) -> tuple[np.ndarray, np.ndarray]:
    engine = OpenVINOEngine(path)
    embedding = engine.encode(image().numpy())
    return embedding, engine.decode(embedding, *box_points(BOXES))[0]


def assert_same_masks(found: np.ndarray, wanted: np.ndarray, least: float = 0.95) -> None:
    """Compare masks: a rounding that falls on the other side moves logits, and all that follow."""
    for one, other in zip(found > np.median(wanted), wanted > np.median(wanted), strict=True):
        assert dsc(one, other) >= least


def error(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.mean((found - wanted) ** 2) / np.var(wanted))


def test_a_quantised_model_answers_as_its_network(
    quantised: StoredNetwork, directory: Path
) -> None:
    embedding, logits = answers(directory)
    assert error(embedding, quantised.net.image_encoder(image()).numpy()) < 0.01
    given = torch.from_numpy(embedding)
    wanted, _ = quantised.net.segment(given, torch.from_numpy(BOXES))
    assert_same_masks(logits, wanted.numpy())


@pytest.mark.parametrize(("prompts", "points", "masks"), [(1, 2, 1), (3, 5, 1), (2, 1, 2)])
def test_any_number_of_prompts_and_points_is_answered(
    quantised: StoredNetwork, models: Models, prompts: int, points: int, masks: int
) -> None:
    torch.manual_seed(0)
    given = {
        "image_embedding": quantised.net.image_encoder(image()),
        "point_coords": torch.rand(prompts, points, 2) * 256,
        "point_labels": torch.randint(-1, 4, (prompts, points)).float(),
        "mask_input": torch.randn(masks, 1, 256, 256),
        "has_mask_input": torch.tensor([float(masks > 1)]),
    }
    decoder = openvino_core().compile_model(models[1], "CPU", F32)
    found = decoder({name: tensor.numpy() for name, tensor in given.items()})
    logits, iou = quantised.net.decoder()(**given)
    assert found["iou"].shape == tuple(iou.shape)
    assert_same_masks(found["logits"], logits.numpy(), 0.9)


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_rewrites_change_no_number(conversion: tuple[Models, Models], part: str) -> None:
    """Without the roundings, which amplify any difference, both compute the same."""
    example = example_inputs(getattr(to_openvino, f"{part.upper()}_INPUTS"))
    plain = conversion[0][part == "decoder"].clone()
    rewritten = plain.clone()
    optimise(rewritten)
    torch.manual_seed(0)
    given = {name: torch.rand(tensor.shape).numpy() for name, tensor in example.items()}
    found = []
    for model in (plain, rewritten):
        for rounding in list(nodes(model, "FakeQuantize")):
            replace(rounding.output(0), rounding.input_value(0))
        # Else OpenVINO rounds what is multiplied by integer weights, by itself.
        exactly = {**F32, "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}
        found.append(openvino_core().compile_model(model, "CPU", exactly)(given)[0])
    assert np.abs(found[0] - found[1]).max() <= 1e-4 * np.abs(found[0]).max()


def test_everything_quantised_runs_in_integers(directory: Path) -> None:
    encoder = read_coverage(directory / "encoder.xml")
    assert {layer.precision for layer in encoder} <= {"i8", "u8"}
    kinds = {layer.kind for layer in encoder}
    assert kinds == {"Convolution", "GroupConvolution", "MatMul"}
    decoder = read_coverage(directory / "decoder.xml")
    float_layers = [layer for layer in decoder if not layer.is_int8]
    assert all("mask_downscaling" in x.name or "pe_layer" in x.name for x in float_layers)
    assert {layer.reason for layer in float_layers} == {"float in the network"}
    assert int8_share(decoder) >= LEAST_INT8_SHARE["decoder"]


def test_a_quantised_model_is_small(directory: Path) -> None:
    """Nothing but integers, FP16, and scales; no table of all pairs of tokens."""
    core = openvino_core()
    for part in ("encoder", "decoder"):
        constants = list(nodes(core.read_model(directory / f"{part}.xml"), "Constant"))
        wide = [x for x in constants if x.get_element_type() == ov.Type.f32]
        assert all(x.data.size <= 2048 for x in wide)
        assert not [x for x in constants if list(x.shape)[-2:] == [196, 196] and x.data.ndim > 2]


@pytest.mark.parametrize(
    "config",
    [
        {
            "parts": "encoder",
            "overrides": {"*.qkv": 32, "*.attention.*": 32, "*.mlp.*": 6, "*.neck.*": 32},
        },
        {
            "parts": "decoder",
            "bits": 6,
            "weights": "per_tensor",
            "overrides": {"mask_decoder.output_upscaling.0": 32},
        },
    ],
    ids=["encoder of mixed bits", "decoder of 6 bits but for a layer"],
)
def test_every_configuration_becomes_a_model_and_a_network_again(
    tmp_path: Path, config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENCODERS, PUBLISHED, SmallEncoder)
    given = network(**config)
    embedding, logits = answers(write(tmp_path / "model", given))
    assert error(embedding, given.net.image_encoder(image()).numpy()) < 0.02
    wanted, _ = given.net.segment(torch.from_numpy(embedding), torch.from_numpy(BOXES))
    assert_same_masks(logits, wanted.numpy(), 0.9)
    restored = restore_network(tmp_path / "model")
    assert restored.quant == given.quant
    assert restored.provenance == {"source": "test"}
    assert_same_weights(restored.net, given.net)


def assert_same_weights(restored: nn.Module, given: nn.Module) -> None:
    for name, module in given.named_modules():
        if ".output_hypernetworks_mlps." in name and ".mlps.0" not in name:
            continue
        other = restored.get_submodule(name)
        if hasattr(module, "quant_weight"):
            assert torch.equal(module.quant_weight().int(), other.quant_weight().int()), name
        own = other.named_parameters(recurse=False)
        for (kind, one), (_, two) in zip(module.named_parameters(recurse=False), own, strict=True):
            if not (kind == "weight" and hasattr(module, "quant_weight")):
                assert torch.allclose(one, two, rtol=2e-3, atol=1e-6), f"{name}.{kind}"


def test_only_quantised_models_can_be_restored(models: Models, tmp_path: Path) -> None:
    write_model(tmp_path / "a", *models, name="a", bits=32, provenance={})
    with pytest.raises(ModelError, match="directory of an int8 model"):
        restore_network(tmp_path / "a")


def test_the_command_exports_a_network_file_and_reports(
    quantised: StoredNetwork, models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "read_start", lambda _path: quantised)
    monkeypatch.setattr(model_directory, "convert_lite_medsam", lambda _net: models)
    write_network(tmp_path / "network.pth", quantised)
    app = typer.Typer()
    app.command()(main)
    out = tmp_path / "mine"
    arguments = ["--checkpoint", str(tmp_path / "network.pth"), "--out", str(out), "--report"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    spec = ModelSpec.read(out)
    assert (spec.name, spec.bits) == ("mine", 8)
    assert spec.provenance["source"] == "test"
    assert QuantConfig(**json.loads(spec.provenance["quantisation"])) == quantised.quant
    assert "brevitas" in spec.provenance["versions"]
    assert "encoder: 100.00% of" in done.stdout
    assert "float in the network" in done.stdout


def test_a_report_names_what_stays_float() -> None:
    layers = [
        Layer("a", "MatMul", 3_000_000, "i8", "brgemm_avx512_i8", ""),
        Layer("long name", "Convolution", 1_000_000, "f32", "jit", "float in the network"),
    ]
    assert int8_share(layers) == 0.75
    *lines, total = format_coverage("encoder", layers).splitlines()
    assert lines[1].split() == [
        "long",
        "name",
        "1.00",
        "M",
        "f32",
        "jit",
        "float",
        "in",
        "the",
        "network",
    ]
    assert total.startswith("encoder: 75.00% of 0.00 G")


@pytest.mark.parametrize(
    ("scope", "name"),
    [
        (
            "/layers/layers.0/conv1/c/weight_quant/export_handler/Clip",
            "layers.0.conv1.c.weight_quant",
        ),
        ("/seq/seq.2/c/input_quant/export_handler/Div", "seq.2.c.input_quant"),
        ("/layers/layers.1/blocks.0/mlp/Add", None),
    ],
)
def test_a_scope_names_its_quantiser(scope: str, name: str | None) -> None:
    assert quantizer_name(scope) == name


@pytest.mark.parametrize(("name", "megabytes"), [("medsamq-int8", 16), ("medsamq-fast", 12)])
def test_a_shipped_int8_model_runs_in_integers_and_is_small(name: str, megabytes: float) -> None:
    directory = MODELS / name
    for part, share in LEAST_INT8_SHARE.items():
        assert int8_share(read_coverage(directory / f"{part}.xml")) >= share
    files = [f"{part}.{kind}" for part in ("encoder", "decoder") for kind in ("xml", "bin")]
    assert sum((directory / file).stat().st_size for file in files) <= megabytes * 1e6


def test_the_fast_model_can_be_trained_on(tmp_path: Path) -> None:
    network = restore_network(MODELS / "medsamq-fast")
    assert isinstance(network.net.image_encoder, FastViT)
    image = np.random.default_rng(0).random((1, 3, 256, 256), np.float32)
    with torch.inference_mode():
        found = network.net.image_encoder(torch.from_numpy(image)).numpy()
    wanted = OpenVINOEngine(MODELS / "medsamq-fast").encode(image)
    # Roundings of the two fall apart here and there.
    assert np.abs(found - wanted).mean() < 0.1 * wanted.std()
