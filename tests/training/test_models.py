from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from training.checkpoints.released import build_lite_medsam
from training.models.sam import LiteMedSAM

DATA = Path(__file__).parents[1] / "data"
NO_MASK = torch.zeros(1, 1, 256, 256), torch.zeros(1)


@pytest.fixture(scope="module")
def net() -> LiteMedSAM:
    torch.manual_seed(0)
    return build_lite_medsam().requires_grad_(False)


@pytest.fixture(scope="module")
def embedding() -> torch.Tensor:
    return torch.randn(1, 256, 64, 64, generator=torch.Generator().manual_seed(1))


def _points(*points: tuple[float, float, int]) -> tuple[torch.Tensor, torch.Tensor]:
    table = torch.tensor([points], dtype=torch.float32)
    return table[..., :2], table[..., 2]


def _largest_difference(found: torch.Tensor, expected: np.ndarray) -> float:
    """Relative to the largest expected value."""
    return float(np.abs(found.numpy() - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("case", ["ct_abdomen", "mr_sarcoma"])
def test_the_network_equals_the_published_one(checkpoint: Path, case: str) -> None:
    reference = np.load(DATA / f"{case}_slice.npz")
    published = build_lite_medsam(checkpoint).requires_grad_(False)
    image = torch.from_numpy(reference["image"]).expand(1, 3, -1, -1)
    embedding = published.image_encoder(image)
    logits, iou = published(image, torch.from_numpy(reference["boxes256"]))
    assert _largest_difference(embedding[0, ::16], reference["embedding"]) <= 1e-4
    assert _largest_difference(logits, reference["logits"]) <= 1e-4
    assert _largest_difference(iou, reference["iou"]) <= 1e-4
    found = np.array([embedding.mean(), embedding.std()])
    np.testing.assert_allclose(found, reference["embedding_mean"], atol=1e-6)


def test_prompts_in_one_batch_equal_prompts_alone(net: LiteMedSAM, embedding: torch.Tensor) -> None:
    coords = torch.rand(3, 4, 2) * 256
    labels = torch.tensor([[2.0, 3, -1, -1], [2, 3, 1, 0], [1, 0, 1, -1]])
    masks = torch.randn(3, 1, 256, 256)
    decoder = net.decoder()
    logits, iou = decoder(embedding, coords, labels, masks, torch.ones(1))
    assert logits.shape == (3, 256, 256)
    assert iou.shape == (3,)
    for i in range(3):
        one = slice(i, i + 1)
        alone = decoder(embedding, coords[one], labels[one], masks[one], torch.ones(1))
        torch.testing.assert_close(logits[one], alone[0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(iou[one], alone[1], rtol=1e-4, atol=1e-5)


def test_a_box_is_two_points_labelled_2_and_3(net: LiteMedSAM) -> None:
    image = torch.rand(1, 3, 256, 256)
    by_box = net(image, torch.tensor([[30.0, 40, 120, 200]]))
    points = _points((30, 40, 2), (120, 200, 3))
    by_points = net.decoder()(net.image_encoder(image), *points, *NO_MASK)
    assert torch.equal(by_box[0], by_points[0])


def test_every_label_means_something_else(net: LiteMedSAM, embedding: torch.Tensor) -> None:
    answers = [
        net.decoder()(embedding, *_points((60, 70, label)), *NO_MASK)[0]
        for label in (-1, 0, 1, 2, 3)
    ]
    for i, answer in enumerate(answers):
        assert not any(torch.allclose(answer, other) for other in answers[:i])


def test_coordinates_count_except_for_padding(net: LiteMedSAM) -> None:
    embed = net.prompt_encoder.embed_points
    assert torch.equal(embed(*_points((1, 2, -1))), embed(*_points((90, 17, -1))))
    assert not torch.allclose(embed(*_points((1, 2, 1))), embed(*_points((90, 17, 1))))


def test_points_lie_at_pixel_centres_of_the_grid(net: LiteMedSAM) -> None:
    # The centre of a cell of the grid, 4 px wide, is 1.5 px from the centre of its first pixel.
    row, column = 5, 40
    position = net.prompt_encoder.embed_points(*_points((4 * column + 1.5, 4 * row + 1.5, 1)))
    expected = (
        net.prompt_encoder.pe_layer.grid[:, 64 * row + column]
        + net.state_dict()["prompt_encoder.point_embeddings.1.weight"]
    )
    torch.testing.assert_close(position[0], expected, rtol=0, atol=1e-4)


def test_a_mask_counts_only_when_it_is_said_to_be_there(
    net: LiteMedSAM, embedding: torch.Tensor
) -> None:
    points = _points((60, 70, 1))
    mask = torch.randn(1, 1, 256, 256)
    decoder = net.decoder()
    without = decoder(embedding, *points, *NO_MASK)[0]
    assert torch.equal(without, decoder(embedding, *points, mask, torch.zeros(1))[0])
    assert not torch.allclose(without, decoder(embedding, *points, mask, torch.ones(1))[0])


def test_loading_another_position_matrix_renews_the_grid(net: LiteMedSAM) -> None:
    other = build_lite_medsam()
    assert not torch.allclose(other.prompt_encoder.pe_layer.grid, net.prompt_encoder.pe_layer.grid)
    other.load_state_dict(net.state_dict(), strict=True)
    assert torch.equal(other.prompt_encoder.pe_layer.grid, net.prompt_encoder.pe_layer.grid)


def test_gradients_reach_the_embedding_and_all_that_takes_part(embedding: torch.Tensor) -> None:
    decoder = build_lite_medsam().decoder()
    leaf = embedding.clone().requires_grad_()
    logits, iou = decoder(leaf, *_points((60, 70, 1)), *NO_MASK)
    (logits.mean() + iou.mean()).backward()
    idle = {name for name, parameter in decoder.named_parameters() if parameter.grad is None}
    assert leaf.grad is not None
    heads = tuple(f"mask_decoder.output_hypernetworks_mlps.{i}." for i in (1, 2, 3))
    assert all(name.startswith(heads) for name in idle)
