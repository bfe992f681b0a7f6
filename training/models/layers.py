"""Building blocks that the image encoder and the mask decoder share.

Every weight sits in an `nn.Linear`, `nn.Conv2d` or `nn.ConvTranspose2d`, and every operand of a
matrix product passes through a `MatmulOperand`, so that quantisation can replace layers by class.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn


class ConvNorm(nn.Sequential):
    """A convolution without bias followed by batch norm; keeps the resolution at stride 1.

    Parameters
    ----------
    channels_in, channels_out : int
    kernel : int
        Odd side of the kernel; the padding is half of it.
    stride, groups : int
        As in `nn.Conv2d`.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        groups: int = 1,
    ) -> None:
        convolution = nn.Conv2d(
            channels_in, channels_out, kernel, stride, kernel // 2, groups=groups, bias=False
        )
        super().__init__(OrderedDict(c=convolution, bn=nn.BatchNorm2d(channels_out)))


class LayerNorm2d(nn.Module):
    """Layer norm over the channels of a map (B, C, H, W), at every pixel on its own."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise a map (B, C, H, W)."""
        # Spelt out: `layer_norm` wants the channels last, and OpenVINO then transposes the map.
        x = x - x.mean(dim=1, keepdim=True)
        x = x / (x.square().mean(dim=1, keepdim=True) + 1e-6).sqrt()
        return self.weight[:, None, None] * x + self.bias[:, None, None]


class MatmulOperand(nn.Identity):
    """Marks an operand of a matrix product; does nothing in a float network."""


class DotProductAttention(nn.Module):
    """Softmax attention of Vaswani et al. (2017), spelt out as two matrix products.

    Parameters
    ----------
    head_dim : int
        Channels of a head; scores are divided by its square root.
    """

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        self.scale = head_dim**-0.5
        self.query = MatmulOperand()
        self.key = MatmulOperand()
        self.weights = MatmulOperand()
        self.value = MatmulOperand()

    def forward(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
        """Attend from Q queries to K keys; the batch of either side may be 1 and is broadcast.

        Parameters
        ----------
        query : (B, heads, Q, head_dim) Tensor
        key, value : (B, heads, K, head_dim) Tensor
        bias : (heads, Q, K) Tensor or None
            Added to the scaled scores.

        Returns
        -------
        (B, heads, Q, head_dim) Tensor
        """
        scores = (self.query(query) @ self.key(key).transpose(-2, -1)) * self.scale
        if bias is not None:
            scores = scores + bias
        attended: Tensor = self.weights(scores.softmax(dim=-1)) @ self.value(value)
        return attended
