"""Quantised networks stay close to the float ones, and say exactly what is quantised."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
pytest.importorskip("brevitas")

import brevitas.nn as qnn
import torch
from torch import nn

from napari_medsamq.inference.model_spec import FLOAT_BITS
from training.config import load_config
from training.errors import ConfigError
from training.models.layers import LayerNorm2d
from training.models.mask_decoder import CrossAttention
from training.models.tiny_vit import MBConv, TransformerBlock
from training.quantization.quantized_network import (
    QuantConfig,
    calibrate,
    fold_batch_norm,
    quantize,
)
from training.quantization.smoothing import insert_scales, smooth


class SmallNet(nn.Module):
    """The blocks of LiteMedSAM under its names, on a 14 x 14 grid."""

    def __init__(self) -> None:
        super().__init__()
        self.image_encoder = nn.ModuleDict(
            {
                "conv": MBConv(16),
                "block": TransformerBlock(16, heads=2, window=7, side=14),
                "neck": nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), LayerNorm2d(16)),
            }
        )
        self.prompt_encoder = nn.Linear(16, 16)
        self.mask_decoder = nn.ModuleDict(
            {"attend": CrossAttention(16, 16), "up": nn.ConvTranspose2d(16, 8, 2, stride=2)}
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        encoder, decoder = self.image_encoder, self.mask_decoder
        tokens = encoder["block"](encoder["conv"](x).flatten(2).transpose(1, 2))
        grid = encoder["neck"](tokens.transpose(1, 2).reshape(-1, 16, 14, 14))
        pixels = grid.flatten(2).transpose(1, 2)
        query = self.prompt_encoder(pixels[:, :8])
        pixels = pixels + decoder["attend"](pixels, query, query)
        return decoder["up"](pixels.transpose(1, 2).reshape(-1, 16, 14, 14))


def small_net() -> SmallNet:
    torch.manual_seed(0)
    net = SmallNet()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    return net.eval()


def images(count: int = 4) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(1, 16, 14, 14, generator=generator) for _ in range(count)]


def quantised(**config: object) -> SmallNet:
    net = quantize(small_net(), QuantConfig(**config))  # type: ignore[arg-type]
    calibrate(net, net, images(), correct_bias=False)
    return net


def error(net: nn.Module) -> float:
    """Mean squared error of the output, as a fraction of its variance."""
    reference, samples = small_net(), images(8)[4:]
    with torch.no_grad():
        wanted = torch.cat([reference(x) for x in samples])
        return float(
            torch.cat([net(x) for x in samples]).sub(wanted).square().mean() / wanted.var()
        )


def layers(net: nn.Module, kind: type[nn.Module]) -> set[str]:
    return {name for name, module in net.named_modules() if isinstance(module, kind)}


QUANTISED = (qnn.QuantConv2d, qnn.QuantConvTranspose2d, qnn.QuantLinear, qnn.QuantIdentity)


def test_folding_batch_norm_changes_no_output() -> None:
    net = small_net()
    fold_batch_norm(net)
    assert not layers(net, nn.BatchNorm2d)
    assert error(net) < 1e-10


def test_eight_bits_are_close_and_fewer_bits_are_worse() -> None:
    errors = [error(quantised(bits=bits)) for bits in (8, 6, 4)]
    assert errors[0] < 0.01
    assert errors[0] < errors[1] < errors[2]


def test_a_scale_per_channel_is_better_than_one_per_tensor() -> None:
    per_tensor = quantised(weights="per_tensor")
    assert 0 < error(quantised(weights="per_channel")) < error(per_tensor)


@pytest.mark.parametrize(
    ("parts", "prefixes"),
    [
        ("encoder", {"image_encoder"}),
        ("decoder", {"mask_decoder"}),
        ("both", {"image_encoder", "mask_decoder"}),
    ],
)
def test_only_the_named_parts_are_quantised_and_those_wholly(
    parts: str, prefixes: set[str]
) -> None:
    net = quantised(parts=parts)
    found = {name for kind in QUANTISED for name in layers(net, kind)}
    assert {name.split(".")[0] for name in found} == prefixes
    left = layers(net, nn.Conv2d) | layers(net, nn.Linear) | layers(net, nn.ConvTranspose2d)
    assert not {name for name in left - found if name.split(".")[0] in prefixes}
    if "image_encoder" in prefixes:
        # Queries, keys, weights and values of the attention products too.
        assert sum(name.startswith("image_encoder.block.attn.attention.") for name in found) >= 4


def test_overrides_set_bits_by_name_and_leave_layers_float() -> None:
    net = quantised(overrides={"image_encoder.*": 4, "image_encoder.neck.*": 32})
    assert type(net.image_encoder["neck"][0]) is nn.Conv2d
    conv = net.image_encoder["conv"].conv1
    assert int(conv.c.quant_weight().bit_width) == 4
    assert int(net.mask_decoder["up"].quant_weight().bit_width) == 8


def test_shares_among_the_places_of_the_image_stay_float() -> None:
    block = "mask_decoder.transformer.layers.0.cross_attn_"
    weights = f"{block}token_to_image.attention.weights"
    assert QuantConfig().bits_of(weights) == FLOAT_BITS
    assert QuantConfig(overrides={"*.weights": 8}).bits_of(weights) == 8
    for other in ("image_to_token.attention.weights", "token_to_image.attention.value"):
        assert QuantConfig().bits_of(block + other) == 8


def test_correcting_the_bias_keeps_the_mean_of_the_output() -> None:
    def shift(net: nn.Module) -> float:
        reference, samples = small_net(), images()
        with torch.no_grad():
            difference = torch.cat([net(x) - reference(x) for x in samples])
        return float(difference.mean(dim=(0, 2, 3)).abs().mean())

    corrected = quantize(small_net(), QuantConfig(bits=4))
    calibrate(corrected, corrected, images())
    assert shift(corrected) < shift(quantised(bits=4))


def uneven_net() -> SmallNet:
    """A small network in which channels of ranges a hundredfold apart matter alike."""
    net = small_net()
    conv1, conv2 = net.image_encoder["conv"].conv1, net.image_encoder["conv"].conv2
    factors = torch.logspace(-1, 1, len(conv1.bn.weight))
    with torch.no_grad():
        conv1.bn.weight *= factors
        conv1.bn.bias *= factors
        conv2.c.weight /= factors[:, None, None, None]
    return net


def test_scaling_channels_changes_no_output_and_makes_depthwise_inputs_alike() -> None:
    net, samples = uneven_net(), images()
    fold_batch_norm(net)
    names = [f"image_encoder.conv.conv{number}" for number in (1, 2, 3)]
    inputs: list[torch.Tensor] = []
    with torch.no_grad():
        wanted = [net(x) for x in samples]
        insert_scales(net, names, per_channel=True)
        smooth(net, lambda: [net(x) for x in samples])
        conv2 = net.image_encoder["conv"].conv2
        conv2.c.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
        for x, before in zip(samples, wanted, strict=True):
            torch.testing.assert_close(net(x), before, rtol=1e-4, atol=1e-4)
    largest = torch.cat(inputs).abs().amax(dim=(0, 2, 3))
    torch.testing.assert_close(largest, torch.ones_like(largest))


def test_scaling_channels_keeps_small_channels_from_being_rounded_away() -> None:
    def squared(*, smooth: bool) -> float:
        net, reference = uneven_net(), uneven_net()
        quantize(net, QuantConfig(smooth=smooth, parts="encoder"))
        calibrate(net, net, images(), correct_bias=False)
        with torch.no_grad():
            return sum(float((net(x) - reference(x)).square().mean()) for x in images(8)[4:])

    assert 0 < squared(smooth=True) < 0.5 * squared(smooth=False)


def test_gradients_reach_weights_and_scales() -> None:
    net = quantised()
    net.train()
    net(images(1)[0]).square().mean().backward()
    conv = net.image_encoder["conv"].conv1.c
    assert conv.weight.grad.abs().sum() > 0
    (scale,) = [p for name, p in conv.named_parameters() if "input_quant" in name]
    assert scale.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("bits=9", "`bits`: .* less than or equal to 8, not 9"),
        ("parts=neck", "'encoder', 'decoder' or 'both', not 'neck'"),
        ("overrides={image_encoder.neck.*: 16}", "16 bits"),
    ],
)
def test_bad_configurations_are_refused(override: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_config(QuantConfig, overrides=[override])


def test_an_override_that_matches_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"image_encoder\.nock"):
        quantize(small_net(), QuantConfig(overrides={"image_encoder.nock.*": 32}))
