"""The image encoder of medsamq-fast: LiteMedSAM's blocks on a grid a quarter as fine.

A strided stem shrinks the image before the first block, where LiteMedSAM keeps all 256 x 256
pixels; skips from the stages at 64 x 64 and 32 x 32 give the embedding its detail back (Lin et al.,
"Feature Pyramid Networks for Object Detection", CVPR 2017). Blocks and their names are those of
`tiny_vit`, so that they start from the published weights.
"""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812 -- torch's own abbreviation
from torch import Tensor, nn

from training.models.layers import ConvNorm, LayerNorm2d
from training.models.tiny_vit import (
    EMBEDDING_CHANNELS,
    GRID_SIDE,
    ConvStage,
    PatchMerging,
    TransformerStage,
)

_DIMS = (64, 128, 160, 320)
_NECK = 128


class StridedStem(nn.Module):
    """Two 3 x 3 convolutions of stride 2."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.seq = nn.Sequential(
            ConvNorm(3, dim // 2, kernel=3, stride=2),
            nn.GELU(),
            ConvNorm(dim // 2, dim, kernel=3, stride=2),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Map an image (B, 3, H, W) to features (B, dim, H / 4, W / 4)."""
        features: Tensor = self.seq(image)
        return features


class SkipNeck(nn.Module):
    """Joins the stages at 64 x 64, 32 x 32 and 16 x 16 into the embedding."""

    def __init__(self) -> None:
        super().__init__()
        fine, middle, _, coarse = _DIMS
        self.coarse = ConvNorm(coarse, _NECK)
        self.middle = ConvNorm(middle, _NECK)
        self.fine = ConvNorm(fine, _NECK)
        self.act = nn.GELU()
        self.mix = ConvNorm(_NECK, _NECK, kernel=3)
        self.out = nn.Conv2d(_NECK, EMBEDDING_CHANNELS, 3, padding=1, bias=False)
        self.norm = LayerNorm2d(EMBEDDING_CHANNELS)

    def forward(self, fine: Tensor, middle: Tensor, coarse: Tensor) -> Tensor:
        """Join maps (B, 64, 64, 64), (B, 128, 32, 32) and (B, 320, 16, 16)."""
        x = self.middle(middle) + _doubled(self.coarse(coarse))
        x = self.act(self.mix(self.act(x)))
        x = self.act(self.fine(fine) + _doubled(x))
        embedding: Tensor = self.norm(self.out(x))
        return embedding


class FastViT(nn.Module):
    """The encoder of medsamq-fast: 7.3 GFLOP per image."""

    def __init__(self) -> None:
        super().__init__()
        fine, middle, low, coarse = _DIMS
        side = GRID_SIDE
        self.patch_embed = StridedStem(fine)
        self.layers = nn.ModuleList(
            [
                ConvStage(fine, depth=2, downsample=PatchMerging(fine, middle, stride=2)),
                TransformerStage(
                    middle,
                    depth=2,
                    heads=4,
                    window=8,
                    side=side // 2,
                    downsample=PatchMerging(middle, low, stride=2),
                ),
                TransformerStage(
                    low,
                    depth=6,
                    heads=5,
                    window=16,
                    side=side // 4,
                    downsample=PatchMerging(low, coarse, stride=1),
                ),
                TransformerStage(
                    coarse,
                    depth=2,
                    heads=10,
                    window=16,
                    side=side // 4,
                    downsample=nn.Identity(),
                ),
            ]
        )
        self.neck = SkipNeck()

    def forward(self, image: Tensor) -> Tensor:
        """Encode images.

        Parameters
        ----------
        image : (B, 3, 256, 256) float32 Tensor in [0, 1]

        Returns
        -------
        image_embedding : (B, 256, 64, 64) float32 Tensor
        """
        first, second, *others = self.layers
        fine, x = first(self.patch_embed(image))
        middle, coarse = second(x)
        for stage in others:
            _, coarse = stage(coarse)
        embedding: Tensor = self.neck(fine, middle, coarse)
        return embedding


def _doubled(x: Tensor) -> Tensor:
    """Repeat each pixel of a map (B, C, H, W) twice along both axes."""
    return F.interpolate(x, scale_factor=2, mode="nearest")
