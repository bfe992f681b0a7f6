"""Prompts to embeddings: the prompt encoder of SAM.

Kirillov et al., "Segment Anything", ICCV 2023.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from training.models.layers import LayerNorm2d
from training.models.tiny_vit import EMBEDDING_CHANNELS, GRID_SIDE, IMAGE_SIDE


class PositionEncoding(nn.Module):
    """Random Fourier features of a position (Tancik et al., NeurIPS 2020)."""

    grid: Tensor
    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, dim // 2))
        self.register_buffer("grid", self._encode_grid(), persistent=False)
        self.register_load_state_dict_post_hook(_refresh_grid)  # type: ignore[no-untyped-call]

    def forward(self, position: Tensor) -> Tensor:
        """Encode positions (..., 2), x and y as fractions of the image, to (..., dim)."""
        phase = (2 * position - 1) @ self.positional_encoding_gaussian_matrix
        phase = 2 * math.pi * phase
        return torch.cat([phase.sin(), phase.cos()], dim=-1)

    def _encode_grid(self) -> Tensor:
        matrix = self.positional_encoding_gaussian_matrix
        centre = (torch.arange(GRID_SIDE, device=matrix.device) + 0.5) / GRID_SIDE
        y, x = torch.meshgrid(centre, centre, indexing="ij")
        encoding: Tensor = self(torch.stack([x, y], dim=-1))
        return encoding.flatten(0, 1)[None]


def _refresh_grid(module: PositionEncoding, _keys: object) -> None:
    # `grid` (1, 4096, dim) is derived from the matrix, and stale as soon as another is loaded.
    module.grid = module._encode_grid()


# Kinds of points, and which kind each was learnt from that LiteMedSAM does not have: corners of a
# box that was carried over from a neighbouring slice.
POINT_KINDS = 6
_LEARNT_FROM = {4: 2, 5: 3}


def add_carried_kinds(state: dict[str, Any], prefix: str) -> None:
    """Let a network of before there were carried boxes start with the corners of drawn ones.

    Parameters
    ----------
    state : dict of str to tensor
        Weights by name, in place.
    prefix : str
        Of the prompt encoder's names, with its dot.
    """
    for kind, other in _LEARNT_FROM.items():
        names = [f"{prefix}point_embeddings.{number}.weight" for number in (other, kind)]
        if names[0] in state:
            state.setdefault(names[1], state[names[0]])


def _add_to_loaded(_: nn.Module, state: dict[str, Any], prefix: str, *_others: object) -> None:
    add_carried_kinds(state, prefix)


class PromptEncoder(nn.Module):
    """Turn points, box corners and a previous mask into embeddings."""

    def __init__(self) -> None:
        super().__init__()
        dim = EMBEDDING_CHANNELS
        self.pe_layer = PositionEncoding(dim)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, dim) for _ in range(POINT_KINDS))
        self.not_a_point_embed = nn.Embedding(1, dim)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, 4, 2, stride=2),
            LayerNorm2d(4),
            nn.GELU(),
            nn.Conv2d(4, 16, 2, stride=2),
            LayerNorm2d(16),
            nn.GELU(),
            nn.Conv2d(16, dim, 1),
        )
        self.no_mask_embed = nn.Embedding(1, dim)
        self.register_load_state_dict_pre_hook(_add_to_loaded)

    def embed_points(self, point_coords: Tensor, point_labels: Tensor) -> Tensor:
        """Embed N prompts of P points as tokens.

        Parameters
        ----------
        point_coords : (N, P, 2) float32 Tensor
            x, y in pixels of the 256 px frame.
        point_labels : (N, P) float32 Tensor
            0/1 negative/positive point, 2/3 the corners of a box, 4/5 of a carried one, -1 padding.

        Returns
        -------
        (N, P, 256) float32 Tensor
        """
        embeddings = [self.not_a_point_embed, *self.point_embeddings]
        table = torch.cat([embedding.weight for embedding in embeddings])
        kind = table[point_labels.long() + 1]
        # Coordinates name pixels; the encoding wants their centres.
        position = self.pe_layer((point_coords + 0.5) / IMAGE_SIDE)
        is_point = (point_labels != -1).to(position.dtype)[..., None]
        embedded: Tensor = position * is_point + kind
        return embedded

    def embed_mask(self, mask_input: Tensor, has_mask_input: Tensor) -> Tensor:
        """Embed the logits of a previous mask, or its absence.

        Parameters
        ----------
        mask_input : (N, 1, 256, 256) float32 Tensor
        has_mask_input : (1,) float32 Tensor
            1 uses `mask_input`, 0 the embedding learnt for no mask.

        Returns
        -------
        (N, 256, 64, 64) float32 Tensor
        """
        mask = self.mask_downscaling(mask_input)
        no_mask = self.no_mask_embed.weight[..., None, None]
        blended: Tensor = has_mask_input * mask + (1 - has_mask_input) * no_mask
        return blended
