"""From a float network to a quantised one, by one map of layer classes.

Weights and activations are rounded to integers of a bit width, as Jacob et al., "Quantization and
Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference" (CVPR 2018) describe:
weights with a scale per output channel or tensor, activations signed with one scale per tensor that
is first measured and then trained.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Sequence
from fnmatch import fnmatch
from typing import Any, Literal, Self, TypeVar

import torch
from pydantic import Field, model_validator
from torch import nn

from napari_medsamq.inference.model_spec import FLOAT_BITS
from training.config import Config, require
from training.models.layers import ConvNorm, MatmulOperand
from training.quantization.quantizers import SignedActivation
from training.quantization.smoothing import has_scales, insert_scales, smooth

with warnings.catch_warnings():
    # Brevitas 0.13 warns at import of an optional kernel that nothing here uses.
    warnings.simplefilter("ignore")
    import brevitas.nn as qnn
    from brevitas.graph.calibrate import (
        bias_correction_mode,
        calibration_mode,
        quantization_status_manager,
    )
    from brevitas.graph.quantize import layerwise_quantize
    from brevitas.quant import Int8WeightPerChannelFloat, Int8WeightPerTensorFloat


Net = TypeVar("Net", bound=nn.Module)
T = TypeVar("T")

# What of the network a configuration means by its name.
PARTS = {
    "encoder": ("image_encoder",),
    "decoder": ("mask_decoder",),
    "both": ("image_encoder", "mask_decoder"),
}

# Layers behind a GELU or a block's sum, whose channels differ most: half of all that rounding does
# to an embedding was done at the two widest of them.
_SMOOTHED = ("image_encoder.patch_embed.seq.2", "image_encoder.*.conv[123]")
# Shares of one among the image's 4096 places: most are less than half a step of 8 bits, and all
# that rounding the decoder took from a mask was taken here.
_LEFT_FLOAT = "mask_decoder.*token_to_image.attention.weights"


class QuantConfig(Config):
    """Which layers are quantised, and how.

    Attributes
    ----------
    bits : int
        Bit width of weights and activations, 2 to 8.
    parts : "encoder", "decoder" or "both"
        The prompt encoder stays float, as in the paper (arXiv 2412.11186).
    weights : "per_channel" or "per_tensor"
        What shares one scale.
    overrides : dict of str to int
        Bit widths of layers by name pattern (`image_encoder.neck.*`), the last match wins; 32
        leaves a layer float, as the weights are by which a prompt attends to the image.
    percentile : float
        Of an activation's magnitude, in percent: where its range ends before it is trained.
    smooth : bool
        Whether the encoder's convolutions get their channels in like ranges.
    """

    bits: int = Field(default=8, ge=2, le=8)
    parts: Literal["encoder", "decoder", "both"] = "both"
    weights: Literal["per_channel", "per_tensor"] = "per_channel"
    overrides: dict[str, int] | None = None
    percentile: float = Field(default=99.999, gt=0, le=100)
    smooth: bool = True

    @model_validator(mode="after")
    def _overrides_are_possible(self) -> Self:
        for pattern, bits in (self.overrides or {}).items():
            require(
                2 <= bits <= 8 or bits == FLOAT_BITS,
                f"`overrides` gives `{pattern}` {bits} bits; 2 to 8 are possible, or 32 for float",
            )
        return self

    def bits_of(self, name: str) -> int:
        """Return the bit width of the layer of this name."""
        bits = FLOAT_BITS if fnmatch(name, _LEFT_FLOAT) else self.bits
        for pattern, own in (self.overrides or {}).items():
            if fnmatch(name, pattern):
                bits = own
        return bits


def fold_batch_norm(net: nn.Module) -> None:
    """Fold each batch norm into the convolution before it, in place.

    Quantised weights have to be those that run, and the network is in evaluation mode when it runs.
    """
    for module in net.modules():
        if isinstance(module, ConvNorm) and isinstance(module.bn, nn.BatchNorm2d):
            module.c = nn.utils.fuse_conv_bn_eval(module.c.eval(), module.bn.eval())
            module.bn = nn.Identity()


def quantize(net: Net, config: QuantConfig) -> Net:
    """Replace the layers of a float LiteMedSAM by quantised ones, in place.

    Batch norms are folded first. The scales of the activations are not known before `calibrate`
    or the first steps of training.

    Raises
    ------
    ValueError
        If an override matches no layer.
    """
    fold_batch_norm(net)
    layer_map = _layer_map(config)
    names = [
        name
        for name, module in net.named_modules()
        if name.split(".")[0] in PARTS[config.parts] and type(module) in layer_map
    ]
    for pattern in config.overrides or {}:
        require(
            any(fnmatch(name, pattern) for name in names),
            f"`overrides` names `{pattern}`, which matches no layer of the quantised parts",
        )
    quantised = {name for name in names if config.bits_of(name) != FLOAT_BITS}
    for name in quantised:
        _give_bias(net.get_submodule(name))
    if config.smooth:
        layers = [name.removesuffix(".c") for name in names if name in quantised]
        smoothed = [x for x in layers if any(fnmatch(x, p) for p in _SMOOTHED)]
        insert_scales(net, smoothed, per_channel=config.weights == "per_channel")
    left_float = [
        name
        for name, module in net.named_modules()
        if type(module) in layer_map and name not in quantised
    ]
    layerwise_quantize(net, compute_layer_map=layer_map, name_blacklist=left_float)
    return net


def _give_bias(layer: nn.Module) -> None:
    """Give a layer without bias one of zeros, as `calibrate` corrects biases."""
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear) and layer.bias is None:
        layer.register_parameter("bias", nn.Parameter(layer.weight.new_zeros(_outputs(layer))))


def _outputs(layer: nn.Conv2d | nn.ConvTranspose2d | nn.Linear) -> int:
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels


def calibrate(
    net: nn.Module,
    run: Callable[[T], object],
    samples: Sequence[T],
    *,
    correct_bias: bool = True,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Measure the activations' scales on samples (post-training quantisation), in place.

    Channels are brought to like ranges before, where `quantize` made room for that.

    Parameters
    ----------
    net : nn.Module
        From `quantize`.
    run : callable
        Runs `net` forwards on one sample.
    samples : sequence
    correct_bias : bool
        Also shift the biases so that the mean of every layer's output is that of the float layer
        (Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction",
        ICCV 2019).
    report : callable
        Told how many runs of how many are done.
    """
    net.eval()
    scaled = has_scales(net)
    done, total = itertools.count(1), (scaled + 1 + correct_bias) * len(samples)

    def run_all() -> None:
        for sample in samples:
            run(sample)
            report(next(done), total)

    with torch.no_grad():
        if scaled:
            with quantization_status_manager(
                net, disable_act_quant=True, disable_weight_quant=True, disable_bias_quant=True
            ):
                smooth(net, run_all)
        with calibration_mode(net):
            run_all()
        if correct_bias:
            with bias_correction_mode(net):
                run_all()
    # Brevitas takes the measured ranges for parameters once they are loaded, not before; those of
    # layers that never run are left out.
    net.load_state_dict(net.state_dict(), strict=False)
    net.eval()


def _layer_map(
    config: QuantConfig,
) -> dict[type[nn.Module], tuple[type[nn.Module], dict[str, Any]]]:
    per_channel = config.weights == "per_channel"
    layer = {
        "input_quant": SignedActivation,
        "input_high_percentile_q": config.percentile,
        "weight_quant": Int8WeightPerChannelFloat if per_channel else Int8WeightPerTensorFloat,
        # Brevitas asks a lambda of these two arguments for each layer's own value.
        "input_bit_width": lambda _module, name: config.bits_of(name),
        "weight_bit_width": lambda _module, name: config.bits_of(name),
        "bias_quant": None,
        "return_quant_tensor": False,
    }
    operand = {
        "act_quant": SignedActivation,
        "high_percentile_q": config.percentile,
        "bit_width": lambda _module, name: config.bits_of(name),
        "return_quant_tensor": False,
    }
    return {
        nn.Conv2d: (qnn.QuantConv2d, layer),
        nn.ConvTranspose2d: (qnn.QuantConvTranspose2d, layer),
        nn.Linear: (qnn.QuantLinear, layer),
        MatmulOperand: (qnn.QuantIdentity, operand),
    }
