"""Embeddings to logits: the mask decoder of SAM.

Kirillov et al., "Segment Anything", ICCV 2023. Prompt tokens and image attend to each other twice,
then one token becomes the weights of the mask. Batches broadcast: what does not depend on the
prompt keeps a batch of 1, and is computed once, until the image first attends to the prompt.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from training.models.layers import DotProductAttention, LayerNorm2d, MatmulOperand
from training.models.tiny_vit import EMBEDDING_CHANNELS, GRID_SIDE, IMAGE_SIDE

HEADS = 8
MASK_TOKENS = 4
HIDDEN = 2048  # channels of the two-way blocks' perceptrons, as published


class CrossAttention(nn.Module):
    """Multi-head attention between two sets of tokens, `inner` channels wide."""

    def __init__(self, dim: int, inner: int) -> None:
        super().__init__()
        self.q_proj = nn.Linear(dim, inner)
        self.k_proj = nn.Linear(dim, inner)
        self.v_proj = nn.Linear(dim, inner)
        self.attention = DotProductAttention(inner // HEADS)
        self.out_proj = nn.Linear(inner, dim)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend from (B, Q, dim) to (B, K, dim); returns (B, Q, dim)."""
        attended = self.attention(
            _split_heads(self.q_proj(query)),
            _split_heads(self.k_proj(key)),
            _split_heads(self.v_proj(value)),
            None,
        )
        y: Tensor = self.out_proj(attended.transpose(1, 2).flatten(2))
        return y


def _split_heads(x: Tensor) -> Tensor:
    """Turn tokens (B, T, C) into (B, HEADS, T, C / HEADS)."""
    return x.reshape(x.shape[0], x.shape[1], HEADS, -1).transpose(1, 2)


class Perceptron(nn.Module):
    """Linear layers with ReLU between them."""

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))

    def forward(self, x: Tensor) -> Tensor:
        """Transform tokens (..., sizes[0]) to (..., sizes[-1])."""
        for layer in self.layers[:-1]:
            x = layer(x).relu()
        y: Tensor = self.layers[-1](x)
        return y


class TokenMlp(nn.Module):
    """The perceptron of a two-way block."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.lin1 = nn.Linear(dim, hidden)
        self.act = nn.ReLU()
        self.lin2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Transform tokens (..., dim)."""
        y: Tensor = self.lin2(self.act(self.lin1(x)))
        return y


class TwoWayBlock(nn.Module):
    """Tokens attend to each other and to the image, then the image to the tokens.

    Parameters
    ----------
    first : bool
        The first block's tokens are still their own position encoding: its self-attention
        replaces them instead of adding to them.
    """

    def __init__(self, dim: int, hidden: int, *, first: bool) -> None:
        super().__init__()
        self.first = first
        self.self_attn = CrossAttention(dim, dim)
        self.norm1 = nn.LayerNorm(dim)
        self.cross_attn_token_to_image = CrossAttention(dim, dim // 2)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = TokenMlp(dim, hidden)
        self.norm3 = nn.LayerNorm(dim)
        self.norm4 = nn.LayerNorm(dim)
        self.cross_attn_image_to_token = CrossAttention(dim, dim // 2)

    def forward(
        self, tokens: Tensor, image: Tensor, token_pe: Tensor, image_pe: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Update tokens (N, T, dim) and image (N or 1, 4096, dim)."""
        if self.first:
            tokens = self.self_attn(tokens, tokens, tokens)
        else:
            placed = tokens + token_pe
            tokens = tokens + self.self_attn(placed, placed, tokens)
        tokens = self.norm1(tokens)
        placed_image = image + image_pe
        tokens = tokens + self.cross_attn_token_to_image(tokens + token_pe, placed_image, image)
        tokens = self.norm2(tokens)
        tokens = self.norm3(tokens + self.mlp(tokens))
        image = image + self.cross_attn_image_to_token(placed_image, tokens + token_pe, tokens)
        return tokens, self.norm4(image)


class TwoWayTransformer(nn.Module):
    """Two two-way blocks and a last look of the tokens at the image."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TwoWayBlock(dim, hidden, first=n == 0) for n in range(2))
        self.final_attn_token_to_image = CrossAttention(dim, dim // 2)
        self.norm_final_attn = nn.LayerNorm(dim)

    def forward(self, token_pe: Tensor, image: Tensor, image_pe: Tensor) -> tuple[Tensor, Tensor]:
        """Update tokens, which start as `token_pe` (N, T, dim), and image (N or 1, 4096, dim)."""
        tokens = token_pe
        for layer in self.layers:
            tokens, image = layer(tokens, image, token_pe, image_pe)
        attended = self.final_attn_token_to_image(tokens + token_pe, image + image_pe, image)
        return self.norm_final_attn(tokens + attended), image


class MaskDecoder(nn.Module):
    """Predict one mask and its IoU per prompt.

    The checkpoint holds four mask tokens; LiteMedSAM uses the first, so only its head runs, while
    all four take part in the attention.

    Parameters
    ----------
    hidden : int
        Channels of the two-way blocks' perceptrons.
    """

    def __init__(self, hidden: int = HIDDEN) -> None:
        super().__init__()
        dim = EMBEDDING_CHANNELS
        self.transformer = TwoWayTransformer(dim, hidden)
        self.iou_token = nn.Embedding(1, dim)
        self.mask_tokens = nn.Embedding(MASK_TOKENS, dim)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(dim, dim // 4, 2, stride=2),
            LayerNorm2d(dim // 4),
            nn.GELU(),
            nn.ConvTranspose2d(dim // 4, dim // 8, 2, stride=2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(
            Perceptron(dim, dim, dim, dim // 8) for _ in range(MASK_TOKENS)
        )
        self.mask_weights = MatmulOperand()
        self.mask_features = MatmulOperand()
        self.iou_prediction_head = Perceptron(dim, dim, dim, MASK_TOKENS)

    def forward(self, image: Tensor, image_pe: Tensor, prompt: Tensor) -> tuple[Tensor, Tensor]:
        """Decode N prompts.

        Parameters
        ----------
        image : (N or 1, 4096, 256) Tensor
            Image embedding plus mask embedding, as tokens.
        image_pe : (1, 4096, 256) Tensor
            Position encoding of the grid.
        prompt : (N, P, 256) Tensor
            Embedded points.

        Returns
        -------
        logits : (N, 256, 256) Tensor
        iou : (N,) Tensor
        """
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        tokens = torch.cat([own.expand(prompt.shape[0], -1, -1), prompt], dim=1)
        tokens, pixels = self.transformer(tokens, image, image_pe)
        features = self.output_upscaling(
            pixels.transpose(1, 2).reshape(-1, EMBEDDING_CHANNELS, GRID_SIDE, GRID_SIDE)
        )
        weights = self.output_hypernetworks_mlps[0](tokens[:, 1:2])
        logits = self.mask_weights(weights) @ self.mask_features(features.flatten(2))
        iou = self.iou_prediction_head(tokens[:, 0])[:, 0]
        return logits.reshape(-1, IMAGE_SIDE, IMAGE_SIDE), iou
