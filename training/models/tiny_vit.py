"""The image encoder of LiteMedSAM: a TinyViT that keeps a 64 x 64 grid.

TinyViT is due to Wu et al., "TinyViT: Fast Pretraining Distillation for Small Vision
Transformers", ECCV 2022. LiteMedSAM's variant (Ma et al., "Segment anything in medical images",
Nature Communications 2024; release LiteMedSAM) starts from a stem that does not reduce the
256 x 256 image, and does not halve the grid before the last stage.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 -- torch's own abbreviation
from torch import Tensor, nn

from training.models.layers import ConvNorm, DotProductAttention, LayerNorm2d

IMAGE_SIDE = 256
GRID_SIDE = 64
EMBEDDING_CHANNELS = 256

Activation = type[nn.Module]


class PatchEmbed(nn.Module):
    """The stem: two 1 x 1 convolutions at the resolution of the image."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.seq = nn.Sequential(ConvNorm(3, dim // 2), nn.GELU(), ConvNorm(dim // 2, dim))

    def forward(self, image: Tensor) -> Tensor:
        """Map an image (B, 3, H, W) to features (B, dim, H, W)."""
        features: Tensor = self.seq(image)
        return features


class MBConv(nn.Module):
    """Inverted residual block: widen four times, filter each channel, narrow, add."""

    def __init__(self, dim: int, act: Activation = nn.GELU) -> None:
        super().__init__()
        hidden = 4 * dim
        self.conv1 = ConvNorm(dim, hidden)
        self.act1 = act()
        self.conv2 = ConvNorm(hidden, hidden, kernel=3, groups=hidden)
        self.act2 = act()
        self.conv3 = ConvNorm(hidden, dim)
        self.act3 = act()

    def forward(self, x: Tensor) -> Tensor:
        """Transform a map (B, dim, H, W) into one of the same shape."""
        widened = self.act1(self.conv1(x))
        filtered = self.act2(self.conv2(widened))
        y: Tensor = self.act3(self.conv3(filtered) + x)
        return y


class PatchMerging(nn.Module):
    """Change the number of channels and reduce the grid by `stride`."""

    def __init__(
        self, dim_in: int, dim_out: int, *, stride: int, act: Activation = nn.GELU
    ) -> None:
        super().__init__()
        self.conv1 = ConvNorm(dim_in, dim_out)
        self.act1 = act()
        self.conv2 = ConvNorm(dim_out, dim_out, kernel=3, stride=stride, groups=dim_out)
        self.act2 = act()
        self.conv3 = ConvNorm(dim_out, dim_out)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, dim_in, H, W) to (B, dim_out, H / stride, W / stride)."""
        y: Tensor = self.conv3(self.act2(self.conv2(self.act1(self.conv1(x)))))
        return y


class ConvStage(nn.Module):
    """MBConv blocks, then a change of grid."""

    def __init__(
        self, dim: int, *, depth: int, downsample: nn.Module, act: Activation = nn.GELU
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(MBConv(dim, act) for _ in range(depth))
        self.downsample = downsample

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Transform a map (B, dim, H, W); returns it after the blocks, and on the next grid."""
        for block in self.blocks:
            x = block(x)
        return x, self.downsample(x)


class WindowAttention(nn.Module):
    """Self-attention among the tokens of a square window, with a learnt bias per distance.

    The bias depends on the absolute row and column distance of two tokens (Graham et al.,
    "LeViT", ICCV 2021), so a window of side w has w * w of them per head.

    Parameters
    ----------
    dim, heads : int
        Channels, and the number of heads they are shared by.
    window : int
        Side of the window in tokens.
    side : int
        Side of the square token grid; known beforehand, so that a trace is static.
    """

    def __init__(self, dim: int, *, heads: int, window: int, side: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = dim // heads
        self.window = window
        self.side = side
        self.windows = -(-side // window)
        self.norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.attention = DotProductAttention(self.head_dim)
        self.proj = nn.Linear(dim, dim)
        self.attention_biases = nn.Parameter(torch.zeros(heads, window * window))
        row = torch.arange(window).repeat_interleave(window)
        column = torch.arange(window).repeat(window)
        distance = window * _pairwise(row) + _pairwise(column)
        self.bias_index: Tensor
        self.register_buffer("bias_index", distance, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Transform the tokens (B, side * side, dim) of a grid."""
        # The published weights were trained with these zeros taking part in the attention.
        margin = self.windows * self.window - self.side
        grid = x.reshape(-1, self.side, self.side, x.shape[-1])
        padded = F.pad(grid, (0, 0, 0, margin, 0, margin)).flatten(1, 2)
        qkv = self.qkv(self.norm(padded))
        # Windows and heads are split at once, and joined before `proj`: every transposition of
        # these large tensors costs as much as a layer.
        query, key, value = self._split(qkv)
        bias = self.attention_biases[:, self.bias_index]
        y: Tensor = self.proj(self._join(self.attention(query, key, value, bias)))
        return y

    def _split(self, qkv: Tensor) -> tuple[Tensor, ...]:
        """Cut (B, L, 3 * dim) into three of (B * windows ** 2, heads, window ** 2, head_dim)."""
        n, w = self.windows, self.window
        if n == 1:
            parts = qkv.reshape(-1, w * w, self.heads, 3 * self.head_dim)
            return tuple(part.transpose(1, 2) for part in parts.split(self.head_dim, dim=-1))
        parts = qkv.reshape(-1, n, w, n, w, self.heads, 3 * self.head_dim)
        return tuple(
            part.permute(0, 1, 3, 5, 2, 4, 6).reshape(-1, self.heads, w * w, self.head_dim)
            for part in parts.split(self.head_dim, dim=-1)
        )

    def _join(self, x: Tensor) -> Tensor:
        """Turn (B * windows ** 2, heads, T, head_dim) into tokens (B, side * side, dim)."""
        n, w = self.windows, self.window
        if n == 1:
            return x.transpose(1, 2).flatten(2)
        parts = x.reshape(-1, n, n, self.heads, w, w, self.head_dim).permute(0, 1, 4, 2, 5, 3, 6)
        grid = parts.reshape(-1, n * w, n * w, self.heads * self.head_dim)
        return grid[:, : self.side, : self.side].flatten(1, 2)


class Mlp(nn.Module):
    """Layer norm and a perceptron with one hidden layer, applied to every token."""

    def __init__(self, dim: int, act: Activation = nn.GELU) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.act = act()
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Transform tokens (..., dim)."""
        y: Tensor = self.fc2(self.act(self.fc1(self.norm(x))))
        return y


class TransformerBlock(nn.Module):
    """Window attention, a depthwise 3 x 3 convolution, and a perceptron.

    Parameters
    ----------
    dim, heads, window, side : int
        As in `WindowAttention`.
    act : Activation
        Of the perceptron.
    """

    def __init__(
        self, dim: int, *, heads: int, window: int, side: int, act: Activation = nn.GELU
    ) -> None:
        super().__init__()
        self.side = side
        self.attn = WindowAttention(dim, heads=heads, window=window, side=side)
        self.local_conv = ConvNorm(dim, dim, kernel=3, groups=dim)
        self.mlp = Mlp(dim, act)

    def forward(self, x: Tensor) -> Tensor:
        """Transform the tokens (B, side * side, dim) of a grid."""
        x = x + self.attn(x)
        x = to_tokens(self.local_conv(_to_map(x, self.side)))
        y: Tensor = x + self.mlp(x)
        return y


class TransformerStage(nn.Module):
    """Transformer blocks on a grid of `side` x `side`, then a change of grid."""

    def __init__(
        self,
        dim: int,
        *,
        depth: int,
        heads: int,
        window: int,
        side: int,
        downsample: nn.Module,
        act: Activation = nn.GELU,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            TransformerBlock(dim, heads=heads, window=window, side=side, act=act)
            for _ in range(depth)
        )
        self.side = side
        self.downsample = downsample

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Transform a map (B, dim, side, side); returns two as `ConvStage` does."""
        tokens = to_tokens(x)
        for block in self.blocks:
            tokens = block(tokens)
        x = _to_map(tokens, self.side)
        return x, self.downsample(x)


class TinyViT(nn.Module):
    """LiteMedSAM's image encoder: 5.7 M parameters, 75 GFLOP per image."""

    def __init__(self) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(64)
        self.layers = nn.ModuleList(
            [
                ConvStage(64, depth=2, downsample=PatchMerging(64, 128, stride=2)),
                TransformerStage(
                    128,
                    depth=2,
                    heads=4,
                    window=7,
                    side=IMAGE_SIDE // 2,
                    downsample=PatchMerging(128, 160, stride=2),
                ),
                TransformerStage(
                    160,
                    depth=6,
                    heads=5,
                    window=14,
                    side=GRID_SIDE,
                    downsample=PatchMerging(160, 320, stride=1),
                ),
                TransformerStage(
                    320, depth=2, heads=10, window=7, side=GRID_SIDE, downsample=nn.Identity()
                ),
            ]
        )
        self.neck = nn.Sequential(
            nn.Conv2d(320, EMBEDDING_CHANNELS, 1, bias=False),
            LayerNorm2d(EMBEDDING_CHANNELS),
            nn.Conv2d(EMBEDDING_CHANNELS, EMBEDDING_CHANNELS, 3, padding=1, bias=False),
            LayerNorm2d(EMBEDDING_CHANNELS),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Encode images.

        Parameters
        ----------
        image : (B, 3, 256, 256) float32 Tensor in [0, 1]

        Returns
        -------
        image_embedding : (B, 256, 64, 64) float32 Tensor
        """
        x = self.patch_embed(image)
        for stage in self.layers:
            _, x = stage(x)
        embedding: Tensor = self.neck(x)
        return embedding


def spread_biases(biases: Tensor, count: int) -> Tensor:
    """Turn the biases (heads, w * w) of a window's distances into those of another window.

    Distances that a smaller window does not have take the bias of its largest one.
    """
    old, new = round(biases.shape[1] ** 0.5), round(count**0.5)
    nearest = torch.arange(new).clamp(max=old - 1)
    return biases.unflatten(1, (old, old))[:, nearest][:, :, nearest].flatten(1)


def _pairwise(position: Tensor) -> Tensor:
    """Return the distances (T, T) between T positions on an axis."""
    return (position[:, None] - position[None, :]).abs()


# Written so that a map whose channels lie last in memory is not copied by either.
def to_tokens(x: Tensor) -> Tensor:
    """Turn a map (B, C, H, W) into tokens (B, H * W, C)."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def _to_map(x: Tensor, side: int) -> Tensor:
    """Turn tokens (B, side * side, C) into a map (B, C, side, side)."""
    return x.reshape(-1, side, side, x.shape[-1]).permute(0, 3, 1, 2)
