"""The image encoder of medsamq-fast: LiteMedSAM's blocks on a grid a quarter as fine.

A strided stem shrinks the image before the first block, where LiteMedSAM keeps all 256 x 256
pixels; skips from the stages at 64 x 64 and 32 x 32 give the embedding its detail back (Lin et al.,
"Feature Pyramid Networks for Object Detection", CVPR 2017). Blocks and their names are those of
`tiny_vit`, so that they start from the published weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch.nn.functional as F  # noqa: N812 -- torch's own abbreviation
from torch import Tensor, nn

from training.models.layers import ConvNorm, LayerNorm2d
from training.models.tiny_vit import (
    EMBEDDING_CHANNELS,
    GRID_SIDE,
    Activation,
    ConvStage,
    PatchMerging,
    TransformerStage,
)

_DIMS = (64, 128, 160, 320)
_HEADS = (4, 5, 10)


@dataclass(frozen=True)
class Design:
    """What the architecture search chooses from.

    Attributes
    ----------
    depths : (4,) tuple of int
        Blocks on the grids of 64, 32, 16 and 16 tokens a side.
    windows : (3,) tuple of int
        Sides of the attention windows on the last three, in tokens.
    neck : int
        Channels in which the stages are joined.
    fine : bool
        Whether the stage at 64 x 64 has a skip.
    stem_layers : int
        3 x 3 convolutions of the stem at 128 x 128; the first of them is strided.
    act : Activation
    """

    depths: tuple[int, int, int, int] = (2, 2, 6, 2)
    windows: tuple[int, int, int] = (8, 16, 16)
    neck: int = 128
    fine: bool = True
    stem_layers: int = 1
    act: Activation = nn.GELU


# Those that were tried, by name; the first is shipped.
DESIGNS = {
    "medsamq-fast": Design(),
    "fast-shallow": Design(depths=(1, 1, 4, 1)),
    "fast-wide-neck": Design(neck=256),
    "fast-no-fine-skip": Design(fine=False),
    "fast-relu": Design(act=nn.ReLU),
    "fast-small-windows": Design(windows=(8, 8, 8)),
    "fast-deep-stem": Design(stem_layers=2),
}


class StridedStem(nn.Module):
    """3 x 3 convolutions, two of them of stride 2."""

    def __init__(self, dim: int, layers: int, act: Activation) -> None:
        super().__init__()
        half = dim // 2
        parts = [ConvNorm(3, half, kernel=3, stride=2), act()]
        for _ in range(layers - 1):
            parts += [ConvNorm(half, half, kernel=3), act()]
        self.seq = nn.Sequential(*parts, ConvNorm(half, dim, kernel=3, stride=2))

    def forward(self, image: Tensor) -> Tensor:
        """Map an image (B, 3, H, W) to features (B, dim, H / 4, W / 4)."""
        features: Tensor = self.seq(image)
        return features


class SkipNeck(nn.Module):
    """Joins the stages at 64 x 64, if it is wanted, 32 x 32 and 16 x 16 into the embedding."""

    def __init__(self, design: Design) -> None:
        super().__init__()
        fine, middle, _, coarse = _DIMS
        width = design.neck
        self.coarse = ConvNorm(coarse, width)
        self.middle = ConvNorm(middle, width)
        self.fine = ConvNorm(fine, width) if design.fine else None
        self.act = design.act()
        self.mix = ConvNorm(width, width, kernel=3)
        self.out = nn.Conv2d(width, EMBEDDING_CHANNELS, 3, padding=1, bias=False)
        self.norm = LayerNorm2d(EMBEDDING_CHANNELS)

    def forward(self, fine: Tensor, middle: Tensor, coarse: Tensor) -> Tensor:
        """Join maps (B, 64, 64, 64), (B, 128, 32, 32) and (B, 320, 16, 16)."""
        x = self.middle(middle) + _doubled(self.coarse(coarse))
        x = _doubled(self.act(self.mix(self.act(x))))
        x = self.act(x if self.fine is None else self.fine(fine) + x)
        embedding: Tensor = self.norm(self.out(x))
        return embedding


class FastViT(nn.Module):
    """The encoder of medsamq-fast: 7.3 GFLOP per image.

    Parameters
    ----------
    design : Design
    """

    def __init__(self, design: Design) -> None:
        super().__init__()
        act, sides = design.act, (GRID_SIDE // 2, GRID_SIDE // 4, GRID_SIDE // 4)
        self.patch_embed = StridedStem(_DIMS[0], design.stem_layers, act)
        merge = partial(PatchMerging, act=act)
        downsamples = [
            merge(_DIMS[0], _DIMS[1], stride=2),
            merge(_DIMS[1], _DIMS[2], stride=2),
            merge(_DIMS[2], _DIMS[3], stride=1),
            nn.Identity(),
        ]
        first: nn.Module = ConvStage(
            _DIMS[0], depth=design.depths[0], downsample=downsamples[0], act=act
        )
        others = (
            TransformerStage(
                _DIMS[number],
                depth=design.depths[number],
                heads=_HEADS[number - 1],
                window=design.windows[number - 1],
                side=sides[number - 1],
                downsample=downsamples[number],
                act=act,
            )
            for number in range(1, len(_DIMS))
        )
        self.layers = nn.ModuleList([first, *others])
        self.neck = SkipNeck(design)

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
