"""Removes the weakest channels of layers.

By the magnitude of their weights (Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017),
and only between layers that follow each other, so that all that is outside stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


def prune_hidden(layers: Sequence[Any], width: int) -> None:
    """Remove hidden channels of a chain: a layer that makes them, filters of each, one that reads.

    A channel's strength is the product of the norms of its weights in all layers: it does not
    depend on how a scale is shared among them, and one layer of zeros silences a channel.

    Parameters
    ----------
    layers : sequence of nn.Conv2d or nn.Linear
        Changed in place; those between the first and the last are depthwise.
    width : int
        How many of the strongest channels stay; all if there are not as many.
    """
    first, *filters, last = layers
    strength = norms(last.weight.transpose(0, 1))
    for layer in (first, *filters):
        strength = strength * norms(layer.weight)
    kept = strongest(strength, width)
    for layer in (first, *filters):
        keep_outputs(layer, kept)
    for layer in filters:
        layer.groups = layer.in_channels = len(kept)
    keep_inputs(last, kept)


def strongest(strength: Tensor, count: int) -> Tensor:
    """Return the indices of the strongest, in their order; all if there are not as many."""
    return strength.topk(min(count, len(strength))).indices.sort().values


def norms(weight: Tensor) -> Tensor:
    """Return the norm of each row of a weight (rows, ...)."""
    found: Tensor = torch.linalg.vector_norm(weight.detach().flatten(1), dim=1)
    return found


def keep_outputs(layer: nn.Conv2d | nn.Linear, kept: Tensor) -> None:
    """Remove all output channels of a layer but some, in place."""
    layer.weight = nn.Parameter(layer.weight.detach()[kept].clone())
    if layer.bias is not None:
        layer.bias = nn.Parameter(layer.bias.detach()[kept].clone())
    name = "out_features" if isinstance(layer, nn.Linear) else "out_channels"
    setattr(layer, name, len(kept))


def keep_inputs(layer: nn.Conv2d | nn.Linear, kept: Tensor) -> None:
    """Remove all input channels of a layer but some, in place."""
    layer.weight = nn.Parameter(layer.weight.detach()[:, kept].clone())
    setattr(layer, "in_features" if isinstance(layer, nn.Linear) else "in_channels", len(kept))
