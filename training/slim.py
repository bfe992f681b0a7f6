"""Smaller float encoders, as what quantisation competes with: narrower, or with fewer blocks.

Channels go by the magnitude of their weights (Li et al., "Pruning Filters for Efficient ConvNets",
ICLR 2017), and only between two layers of a block, so that all that is outside stays as it is.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from functools import cache
from statistics import median
from typing import Any

import numpy as np
import openvino as ov
import torch
from torch import Tensor, nn

from napari_medsamq.networks import openvino_core
from training.latency import THREADS
from training.models.tiny_vit import MBConv, Mlp, PatchMerging, TinyViT, WindowAttention
from training.quantized import fold_batch_norm

# Widths are multiples of this, as vector units like them.
_WIDTH = 8

# The stage and the number of the blocks that go, in this order: late ones of a stage first, and
# those that cost most. Each is a residual, so that the others still fit each other.
BLOCKS = ((1, 1), (3, 1), (2, 5), (2, 3), (0, 1), (2, 1), (1, 0), (2, 4), (2, 2))


def prune_channels(encoder: nn.Module, share: float) -> None:
    """Remove the weakest hidden channels and heads of each block, in place; folds batch norms.

    Parameters
    ----------
    encoder : nn.Module
        Float, in evaluation mode.
    share : float
        What part of each block's hidden channels and attention heads goes, from 0 to below 1;
        widths are rounded to multiples of 8.
    """
    fold_batch_norm(encoder)
    for module in encoder.modules():
        if isinstance(module, MBConv | PatchMerging):
            blocks = module.conv1, module.conv2, module.conv3
            _prune([block.get_submodule("c") for block in blocks], share)
        elif isinstance(module, Mlp):
            _prune([module.fc1, module.fc2], share)
        elif isinstance(module, WindowAttention):
            _prune_heads(module, share)


def drop_blocks(encoder: TinyViT, count: int) -> None:
    """Remove the first `count` of `BLOCKS` from an encoder, in place."""
    gone = BLOCKS[:count]
    for number, stage in enumerate(encoder.layers):
        blocks = enumerate(stage.get_submodule("blocks").children())
        stage.blocks = nn.ModuleList(block for i, block in blocks if (number, i) not in gone)


def match_latency(ratio: Callable[[int], float], most: int) -> int:
    """Find the strength of a reduction at which a network takes as long as another one.

    Parameters
    ----------
    ratio : callable
        Strength to time, as a multiple of the other network's; falls with the strength. Asked
        once for each strength, and for few of them.
    most : int
        The largest strength; 0 is the smallest.

    Returns
    -------
    strength : int
        The one whose ratio is nearest to 1.
    """
    known = cache(ratio)
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if known(middle) > 1 else (low, middle)
    return min((low, high), key=lambda strength: abs(math.log(known(strength))))


def time_ratio(encoder: ov.Model, other: ov.Model, rounds: int) -> float:
    """Return an encoder's median time as a multiple of another one's; they take turns."""
    image = np.random.default_rng(0).random((1, 3, 256, 256), np.float32)
    config = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": THREADS,
    }
    requests = [
        openvino_core().compile_model(model, "CPU", config).create_infer_request()
        for model in (encoder, other)
    ]
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds + 1):
        for request, own in zip(requests, times, strict=True):
            start = time.perf_counter()
            request.infer([image])
            if number:  # the first round warms up
                own.append(time.perf_counter() - start)
    return median(times[0]) / median(times[1])


def _prune(layers: Sequence[Any], share: float) -> None:
    """Remove hidden channels of a chain: a layer that makes them, filters of each, one that reads.

    A channel's strength is the product of the norms of its weights in all layers: it does not
    depend on how a scale is shared among them, and one layer of zeros silences a channel.
    """
    first, *filters, last = layers
    strength = _norms(last.weight.transpose(0, 1))
    for layer in (first, *filters):
        strength = strength * _norms(layer.weight)
    width = len(strength)
    kept = _strongest(strength, max(_WIDTH, _WIDTH * round(width * (1 - share) / _WIDTH)))
    for layer in (first, *filters):
        _keep_outputs(layer, kept)
    for layer in filters:
        layer.groups = layer.in_channels = len(kept)
    _keep_inputs(last, kept)


def _prune_heads(module: WindowAttention, share: float) -> None:
    """Remove the heads that are weakest by the same product of norms."""
    made = module.qkv.weight.reshape(module.heads, -1)
    read = module.proj.weight.transpose(0, 1).reshape(module.heads, -1)
    kept = _strongest(_norms(made) * _norms(read), max(1, round(module.heads * (1 - share))))
    channels = torch.arange(3 * module.head_dim * module.heads).reshape(module.heads, -1)
    _keep_outputs(module.qkv, channels[kept].flatten())
    channels = torch.arange(module.head_dim * module.heads).reshape(module.heads, -1)
    _keep_inputs(module.proj, channels[kept].flatten())
    module.attention_biases = nn.Parameter(module.attention_biases.detach()[kept].clone())
    module.heads = len(kept)


def _strongest(strength: Tensor, count: int) -> Tensor:
    """Return the indices of the strongest, in their order; all if there are not as many."""
    return strength.topk(min(count, len(strength))).indices.sort().values


def _norms(weight: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(weight.detach().flatten(1), dim=1)
    return norms


def _keep_outputs(layer: nn.Conv2d | nn.Linear, kept: Tensor) -> None:
    layer.weight = nn.Parameter(layer.weight.detach()[kept].clone())
    if layer.bias is not None:
        layer.bias = nn.Parameter(layer.bias.detach()[kept].clone())
    name = "out_features" if isinstance(layer, nn.Linear) else "out_channels"
    setattr(layer, name, len(kept))


def _keep_inputs(layer: nn.Conv2d | nn.Linear, kept: Tensor) -> None:
    layer.weight = nn.Parameter(layer.weight.detach()[:, kept].clone())
    setattr(layer, "in_features" if isinstance(layer, nn.Linear) else "in_channels", len(kept))


def count_parameters(net: nn.Module) -> int:
    """Return how many parameters a network has."""
    return sum(torch.numel(parameter) for parameter in net.parameters())
