"""Smaller float encoders, as what quantisation competes with: narrower, or with fewer blocks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache, partial
from statistics import median

import numpy as np
import openvino as ov
import torch
from torch import nn

from napari_medsamq.diagnostics.model_benchmark import THREADS
from napari_medsamq.inference.backend import openvino_core
from training.evaluation.latency import time_in_turns
from training.models.pruning import keep_inputs, keep_outputs, norms, prune_hidden, strongest
from training.models.tiny_vit import MBConv, Mlp, PatchMerging, TinyViT, WindowAttention
from training.quantization.quantized_network import fold_batch_norm

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


def _prune(layers: Sequence[nn.Module], share: float) -> None:
    width = len(layers[0].get_parameter("weight"))
    prune_hidden(layers, max(_WIDTH, _WIDTH * round(width * (1 - share) / _WIDTH)))


def _prune_heads(module: WindowAttention, share: float) -> None:
    """Remove the heads that are weakest by the same product of norms."""
    made = module.qkv.weight.reshape(module.heads, -1)
    read = module.proj.weight.transpose(0, 1).reshape(module.heads, -1)
    kept = strongest(norms(made) * norms(read), max(1, round(module.heads * (1 - share))))
    channels = torch.arange(3 * module.head_dim * module.heads).reshape(module.heads, -1)
    keep_outputs(module.qkv, channels[kept].flatten())
    channels = torch.arange(module.head_dim * module.heads).reshape(module.heads, -1)
    keep_inputs(module.proj, channels[kept].flatten())
    module.attention_biases = nn.Parameter(module.attention_biases.detach()[kept].clone())
    module.heads = len(kept)


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
    runs = {number: partial(request.infer, [image]) for number, request in enumerate(requests)}
    times = time_in_turns(runs, rounds)
    return median(times[0]) / median(times[1])


def count_parameters(net: nn.Module) -> int:
    """Return how many parameters a network has."""
    return sum(torch.numel(parameter) for parameter in net.parameters())
