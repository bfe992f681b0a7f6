"""The image encoder of MedSAM: the ViT-B of SAM, for a teacher.

Kirillov et al., "Segment Anything", ICCV 2023; Ma et al., "Segment anything in medical images",
Nature Communications 2024. Windows after Li et al., "Exploring Plain Vision Transformer Backbones
for Object Detection", ECCV 2022. The parameter names are those of `medsam_vit_b.pth`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 -- torch's own abbreviation
from torch import Tensor, nn

from training.models.layers import LayerNorm2d

SIDE = 1024
PATCH = 16
GRID = SIDE // PATCH
DIM = 768
HEADS = 12
WINDOW = 14
GLOBAL_BLOCKS = (2, 5, 8, 11)


class PatchEmbed(nn.Module):
    """Cut an image into patches of 16 pixels, each a token."""

    def __init__(self) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, DIM, PATCH, stride=PATCH)

    def forward(self, image: Tensor) -> Tensor:
        """Map images (B, 3, 1024, 1024) to tokens (B, 64, 64, 768)."""
        tokens: Tensor = self.proj(image).permute(0, 2, 3, 1)
        return tokens


class Attention(nn.Module):
    """Self-attention on a square grid, with learnt biases of the row and column distance."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(DIM, 3 * DIM)
        self.proj = nn.Linear(DIM, DIM)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * side - 1, DIM // HEADS))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * side - 1, DIM // HEADS))

    def forward(self, x: Tensor) -> Tensor:
        """Transform the tokens (B, side, side, 768)."""
        batch, side = x.shape[:2]
        qkv = self.qkv(x).reshape(batch, side * side, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        bias = self._bias(query, side)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        y: Tensor = self.proj(attended.transpose(1, 2).reshape(batch, side, side, DIM))
        return y

    def _bias(self, query: Tensor, side: int) -> Tensor:
        """Return the biases (B, heads, T, T) of all pairs of T = side * side tokens."""
        place = torch.arange(side, device=query.device)
        distance = place[:, None] - place[None, :] + side - 1
        grid = query.unflatten(2, (side, side))
        rows = torch.einsum("bnhwc,hkc->bnhwk", grid, self.rel_pos_h[distance])
        columns = torch.einsum("bnhwc,wkc->bnhwk", grid, self.rel_pos_w[distance])
        return (rows[..., :, None] + columns[..., None, :]).flatten(4).flatten(2, 3)


class Mlp(nn.Module):
    """The perceptron of a block."""

    def __init__(self) -> None:
        super().__init__()
        self.lin1 = nn.Linear(DIM, 4 * DIM)
        self.lin2 = nn.Linear(4 * DIM, DIM)

    def forward(self, x: Tensor) -> Tensor:
        """Transform tokens (..., 768)."""
        y: Tensor = self.lin2(F.gelu(self.lin1(x)))
        return y


class Block(nn.Module):
    """Attention among the tokens of windows, or of the whole grid, then a perceptron."""

    def __init__(self, *, windowed: bool) -> None:
        super().__init__()
        self.windowed = windowed
        self.norm1 = nn.LayerNorm(DIM, eps=1e-6)
        self.attn = Attention(WINDOW if windowed else GRID)
        self.norm2 = nn.LayerNorm(DIM, eps=1e-6)
        self.mlp = Mlp()

    def forward(self, x: Tensor) -> Tensor:
        """Transform the tokens (B, 64, 64, 768)."""
        attended = self.norm1(x)
        attended = self._in_windows(attended) if self.windowed else self.attn(attended)
        x = x + attended
        y: Tensor = x + self.mlp(self.norm2(x))
        return y

    def _in_windows(self, x: Tensor) -> Tensor:
        n = -(-GRID // WINDOW)
        margin = n * WINDOW - GRID
        padded = F.pad(x, (0, 0, 0, margin, 0, margin))
        windows = padded.reshape(-1, n, WINDOW, n, WINDOW, DIM).transpose(2, 3)
        attended = self.attn(windows.reshape(-1, WINDOW, WINDOW, DIM))
        grid = attended.reshape(-1, n, n, WINDOW, WINDOW, DIM).transpose(2, 3)
        return grid.reshape(-1, n * WINDOW, n * WINDOW, DIM)[:, :GRID, :GRID]


class ImageEncoderViT(nn.Module):
    """MedSAM's image encoder: 90 M parameters, images of 1024 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed()
        self.pos_embed = nn.Parameter(torch.zeros(1, GRID, GRID, DIM))
        self.blocks = nn.ModuleList(Block(windowed=i not in GLOBAL_BLOCKS) for i in range(12))
        self.neck = nn.Sequential(
            nn.Conv2d(DIM, 256, 1, bias=False),
            LayerNorm2d(256),
            nn.Conv2d(256, 256, 3, padding=1, bias=False),
            LayerNorm2d(256),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Encode images (B, 3, H, H) in [0, 1], enlarged to 1024 pixels, to (B, 256, 64, 64)."""
        image = F.interpolate(image, (SIDE, SIDE), mode="bilinear", align_corners=False)
        x = self.patch_embed(image) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        embedding: Tensor = self.neck(x.permute(0, 3, 1, 2))
        return embedding
