"""The fast network starts from the published weights, and what a teacher says is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("brevitas")

import torch
import typer
from torch import Tensor, nn
from typer.testing import CliRunner

from training import student
from training.checkpoints.network_file import read_network
from training.checkpoints.released import build_lite_medsam
from training.learning.teachers import EmbeddingStore
from training.models.fast_vit import DESIGNS, FastViT
from training.models.sam import FAST, FAST_HIDDEN, LiteMedSAM, build_fast_medsam
from training.models.tiny_vit import WindowAttention, spread_biases


@pytest.fixture(scope="module")
def published() -> LiteMedSAM:
    torch.manual_seed(1)
    return build_lite_medsam()


def test_blocks_and_decoder_have_the_published_weights(published: LiteMedSAM) -> None:
    weights, own = published.state_dict(), build_fast_medsam(published).state_dict()
    taken = {name for name in own if name in weights and torch.equal(own[name], weights[name])}
    decoder = {name for name in own if name.startswith(("mask_decoder", "prompt_encoder"))}
    assert all(".mlp.lin" in name for name in decoder - taken)
    assert "image_encoder.layers.0.blocks.1.conv2.c.weight" in taken
    assert "image_encoder.layers.3.blocks.0.attn.qkv.weight" in taken
    apart = {name for name in own if name.startswith("image_encoder.")} - taken
    assert {name.split(".")[1] for name in apart} == {"patch_embed", "neck", "layers"}
    assert all(
        "attention_biases" in name or "num_batches" in name
        for name in apart
        if name.startswith("image_encoder.layers")
    )


def test_the_decoder_keeps_the_strongest_hidden_channels(published: LiteMedSAM) -> None:
    mlp = published.mask_decoder.transformer.layers[0].mlp
    slim = build_fast_medsam(published).mask_decoder.transformer.layers[0].mlp
    strength = mlp.lin1.weight.norm(dim=1) * mlp.lin2.weight.norm(dim=0)
    kept = strength.argsort(descending=True)[:FAST_HIDDEN].sort().values
    assert torch.equal(slim.lin1.weight, mlp.lin1.weight[kept])
    assert torch.equal(slim.lin1.bias, mlp.lin1.bias[kept])
    assert torch.equal(slim.lin2.weight, mlp.lin2.weight[:, kept])
    assert len(mlp.lin1.weight) == 2048  # the published network is as it was


@pytest.mark.slow
@pytest.mark.parametrize("name", DESIGNS)
def test_every_design_gives_embeddings(published: LiteMedSAM, name: str) -> None:
    encoder = build_fast_medsam(published, name).image_encoder
    with torch.inference_mode():
        assert encoder(torch.rand(1, 3, 256, 256)).shape == (1, 256, 64, 64)


def test_a_window_as_large_as_the_grid_attends_to_all_of_it() -> None:
    whole = WindowAttention(8, heads=2, window=4, side=4).eval()
    nn.init.normal_(whole.attention_biases)
    x = torch.rand(2, 16, 8)
    query, key, value = whole.qkv(whole.norm(x)).reshape(2, 16, 2, 12).transpose(1, 2).split(4, -1)
    scores = query @ key.transpose(-2, -1) / 2 + whole.attention_biases[:, whole.bias_index]
    wanted = whole.proj((scores.softmax(-1) @ value).transpose(1, 2).flatten(2))
    assert torch.allclose(whole(x), wanted, atol=1e-6)


def test_embeddings_have_the_shape_of_the_contract(published: LiteMedSAM) -> None:
    net = build_fast_medsam(published)
    assert isinstance(net.image_encoder, FastViT)
    with torch.inference_mode():
        embedding = net.image_encoder(torch.rand(2, 3, 256, 256))
        logits, iou = net.segment(embedding, torch.tensor([[10.0, 10, 90, 90]] * 2))
    assert embedding.shape == (2, 256, 64, 64)
    assert logits.shape == (2, 256, 256)
    assert iou.shape == (2,)


def test_a_wider_window_keeps_the_biases_of_the_narrow_one() -> None:
    narrow = torch.arange(2 * 9.0).reshape(2, 9)
    wide = spread_biases(narrow, 16).reshape(2, 4, 4)
    assert torch.equal(wide[:, :3, :3], narrow.reshape(2, 3, 3))
    assert torch.equal(wide[:, 3, 3], narrow[:, 8])
    assert torch.equal(spread_biases(wide.flatten(1), 9), narrow)


def test_the_command_writes_the_same_network_every_time(
    tmp_path: Path, published: LiteMedSAM
) -> None:
    torch.save(published.state_dict(), tmp_path / "lite.pth")
    app = typer.Typer()
    app.command()(student.main)
    networks = []
    for name in ("one.pth", "two.pth"):
        arguments = ["--out", tmp_path / name, "--checkpoint", tmp_path / "lite.pth"]
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exit_code == 0, result.output
        networks.append(read_network(tmp_path / name))
    assert networks[0].quant is None
    assert networks[0].provenance["architecture"] == FAST
    for name, tensor in networks[0].net.state_dict().items():
        assert torch.equal(tensor, networks[1].net.state_dict()[name]), name
    result = CliRunner().invoke(app, ["--out", str(tmp_path / "one.pth")])
    assert result.exit_code == 1
    assert "--force" in result.stderr


class Counting:
    """An encoder that counts the images it is given."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, image: Tensor) -> Tensor:
        self.count += len(image)
        return image.mean() + torch.linspace(0, 1, 256 * 64 * 64).reshape(1, 256, 64, 64)


def test_an_image_is_encoded_once(tmp_path: Path) -> None:
    encoder = Counting()
    store = EmbeddingStore(tmp_path, encoder, "weights", most_gb=1)
    images = torch.rand(3, 3, 256, 256)
    first = store(images)
    again = EmbeddingStore(tmp_path, encoder, "weights", most_gb=1)(images[[2, 0, 1]])
    assert encoder.count == 3
    assert torch.equal(again, first[[2, 0, 1]])  # rounded the first time, too
    EmbeddingStore(tmp_path, encoder, "other weights", most_gb=1)(images[:1])
    assert encoder.count == 4


def test_a_full_store_keeps_no_more(tmp_path: Path) -> None:
    encoder = Counting()
    store = EmbeddingStore(tmp_path, encoder, "weights", most_gb=0.0045)  # two embeddings
    images = torch.rand(3, 3, 256, 256)
    first, second = store(images), store(images)
    assert torch.equal(first, second)
    assert len(list(tmp_path.rglob("*.npy"))) == 2
    assert encoder.count == 4
    # A store that is opened again knows what it holds.
    EmbeddingStore(tmp_path, encoder, "weights", most_gb=0.0045)(images)
    assert len(list(tmp_path.rglob("*.npy"))) == 2
