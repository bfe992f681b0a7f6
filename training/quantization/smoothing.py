"""Channels brought to like ranges before they are rounded, and back by the weights that read them.

One scale per tensor rounds away channels that are small beside others. Dividing the channels by
factors that the weights are multiplied by changes nothing in floating point (Xiao et al.,
"SmoothQuant", ICML 2023). The division costs nothing: it is fused with the rounding when it runs.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn

from training.models.layers import ConvNorm


class ChannelScale(nn.Module):
    """Multiplies each channel of a map by a factor that is no parameter of the training.

    Parameters
    ----------
    channels : int
    share : float
        How much of the channels' differences goes over to the weights, 0 to 1.
    """

    def __init__(self, channels: int, share: float) -> None:
        super().__init__()
        self.share = share
        self.factor: Tensor
        self.register_buffer("factor", torch.ones(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Scale a map (B, C, H, W)."""
        return x * self.factor


def insert_scales(net: nn.Module, names: Iterable[str], *, per_channel: bool) -> None:
    """Put a `ChannelScale` of ones before each named `ConvNorm`, in place.

    Parameters
    ----------
    net : nn.Module
    names : iterable of str
    per_channel : bool
        Whether weights will be rounded with a scale per output channel. A depthwise layer then
        loses nothing by weights of whatever range, and its channels become equal.
    """
    for name in names:
        layer = net.get_submodule(name)
        assert isinstance(layer, ConvNorm)
        parent, _, own = name.rpartition(".")
        equal = per_channel and layer.c.groups > 1
        scale = ChannelScale(layer.c.in_channels, share=1.0 if equal else 0.5)
        scaled = nn.Sequential(OrderedDict(scale=scale, c=layer.c, bn=layer.bn))
        setattr(net.get_submodule(parent), own, scaled)


def has_scales(net: nn.Module) -> bool:
    """Tell whether a network has channels to be scaled."""
    return any(_pairs(net))


def smooth(net: nn.Module, run: Callable[[], object]) -> None:
    """Choose the factors of all scales by samples, in place; what `net` computes stays the same.

    Parameters
    ----------
    net : nn.Module
        From `insert_scales`, computing in floating point.
    run : callable
        Runs `net` forwards on the samples.
    """
    largest: dict[str, Tensor] = {}
    hooks = [scale.register_forward_hook(_record(name, largest)) for name, scale, _ in _pairs(net)]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    with torch.no_grad():
        for name, scale, layer in _pairs(net):
            reads = layer.weight if layer.groups > 1 else layer.weight.transpose(0, 1)
            weights = reads.abs().flatten(1).amax(dim=1).clamp(min=1e-5)
            activations = largest[name].clamp(min=1e-5)
            divisor = activations**scale.share / weights ** (1 - scale.share)
            scale.factor /= divisor[:, None, None]
            reads *= divisor[:, None, None, None]


def _record(
    name: str, largest: dict[str, Tensor]
) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
    def hook(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen = output.detach().abs().amax(dim=(0, 2, 3)).float()
        largest[name] = torch.maximum(largest[name], seen) if name in largest else seen

    return hook


def _pairs(net: nn.Module) -> Iterator[tuple[str, ChannelScale, nn.Conv2d]]:
    """Yield each scale by name, and the layer behind it."""
    for name, module in net.named_modules():
        scale = getattr(module, "scale", None)
        if isinstance(scale, ChannelScale):
            yield name, scale, module.get_submodule("c")  # type: ignore[misc]
