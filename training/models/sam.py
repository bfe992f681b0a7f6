"""LiteMedSAM, whole and in the two parts that are exported.

Ma et al., "Segment anything in medical images", Nature Communications 2024; release LiteMedSAM.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from training.models.fast_vit import DESIGNS, FastViT
from training.models.mask_decoder import HIDDEN, MaskDecoder
from training.models.prompt_encoder import PromptEncoder
from training.models.pruning import prune_hidden
from training.models.tiny_vit import IMAGE_SIDE, TinyViT, spread_biases, to_tokens

PUBLISHED, FAST = "litemedsam", "medsamq-fast"
# What builds the image encoders of networks, by the name of the whole.
ENCODERS: dict[str, Callable[[], nn.Module]] = {
    PUBLISHED: TinyViT,
    **{name: partial(FastViT, design) for name, design in DESIGNS.items()},
}
# Of 2048 hidden channels, as many serve seven tokens as well, and the file is 1.3 MB smaller.
FAST_HIDDEN = 768


class PromptedDecoder(nn.Module):
    """Prompt encoder and mask decoder in one, with the inputs of SAM's ONNX export."""

    def __init__(self, prompt_encoder: PromptEncoder, mask_decoder: MaskDecoder) -> None:
        super().__init__()
        self.prompt_encoder = prompt_encoder
        self.mask_decoder = mask_decoder

    def forward(
        self,
        image_embedding: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Decode N prompts of P points; the batch of the first and fourth may be 1.

        Parameters
        ----------
        image_embedding : (1, 256, 64, 64) float32 Tensor
        point_coords : (N, P, 2) float32 Tensor
            x, y in pixels of the 256 px frame.
        point_labels : (N, P) float32 Tensor
            0/1 negative/positive point, 2/3 the corners of a box, 4/5 of a carried one, -1 padding.
        mask_input : (N, 1, 256, 256) float32 Tensor
        has_mask_input : (1,) float32 Tensor

        Returns
        -------
        logits : (N, 256, 256) float32 Tensor
            Before the threshold at 0.
        iou : (N,) float32 Tensor
            Predicted intersection over union.
        """
        prompt = self.prompt_encoder.embed_points(point_coords, point_labels)
        dense = self.prompt_encoder.embed_mask(mask_input, has_mask_input)
        image_pe = self.prompt_encoder.pe_layer.grid
        # Tokens first, sum second: an embedding whose channels lie last is then copied by neither.
        image = to_tokens(image_embedding) + to_tokens(dense)
        logits, iou = self.mask_decoder(image, image_pe, prompt)
        return logits, iou


class LiteMedSAM(nn.Module):
    """The whole network: 9.8 M parameters.

    Parameters
    ----------
    image_encoder : nn.Module, optional
        In place of the TinyViT, for networks of the same embeddings.
    hidden : int
        As in `MaskDecoder`.
    """

    def __init__(self, image_encoder: nn.Module | None = None, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.image_encoder = TinyViT() if image_encoder is None else image_encoder
        self.prompt_encoder = PromptEncoder()
        self.mask_decoder = MaskDecoder(hidden)

    def decoder(self) -> PromptedDecoder:
        """Return prompt encoder and mask decoder as one network that shares their weights."""
        return PromptedDecoder(self.prompt_encoder, self.mask_decoder)

    def forward(self, image: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Segment boxes: N of one image, or one of each of N images.

        Parameters
        ----------
        image : (1 or N, 3, 256, 256) float32 Tensor in [0, 1]
        boxes : (N, 4) float32 Tensor
            XYXY in pixels of the 256 px frame.

        Returns
        -------
        logits : (N, 256, 256) float32 Tensor
        iou : (N,) float32 Tensor
        """
        return self.segment(self.image_encoder(image), boxes)

    def segment(
        self,
        embedding: Tensor,
        boxes: Tensor,
        points: Tensor | None = None,
        point_labels: Tensor | None = None,
        previous: Tensor | None = None,
        *,
        carried: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Segment boxes on embeddings (1 or N, 256, 64, 64); the rest is as in `forward`.

        Parameters
        ----------
        embedding, boxes : Tensor
        points, point_labels : (N, P, 2) and (N, P) float32 Tensor, optional
            Further points of each box; 0/1 negative/positive, -1 padding.
        previous : (N, 1, 256, 256) float32 Tensor, optional
            Logits of the mask that is corrected.
        carried : bool
            Whether boxes, and `previous`, are those of a neighbouring slice.
        """
        corners = boxes.reshape(-1, 2, 2)
        labels = boxes.new_tensor([4, 5] if carried else [2, 3]).expand(len(boxes), -1)
        if points is not None and point_labels is not None:
            corners = torch.cat([corners, points], dim=1)
            labels = torch.cat([labels, point_labels], dim=1)
        has_mask = boxes.new_full((1,), previous is not None)
        if previous is None:
            previous = boxes.new_zeros(1, 1, IMAGE_SIDE, IMAGE_SIDE)
        logits, iou = self.decoder()(embedding, corners, labels, previous, has_mask)
        return logits, iou


def build_network(architecture: str) -> LiteMedSAM:
    """Build one of `ENCODERS` with its decoder and random weights."""
    hidden = HIDDEN if architecture == PUBLISHED else FAST_HIDDEN
    return LiteMedSAM(ENCODERS[architecture](), hidden)


def build_fast_medsam(published: LiteMedSAM, design: str = FAST) -> LiteMedSAM:
    """Build the float network with a fast encoder, in evaluation mode, from the published one.

    Prompt encoder, mask decoder and all blocks of the encoder get its weights, and so do the norms
    of the stem; its convolutions and the neck, which are of another shape, are random. The
    decoder's perceptrons lose their weakest channels; `published` itself stays as it is.
    """
    net = build_network(design)
    published = copy.deepcopy(published)
    for block in published.mask_decoder.transformer.layers:
        prune_hidden(
            [block.get_submodule("mlp.lin1"), block.get_submodule("mlp.lin2")], FAST_HIDDEN
        )
    weights = published.state_dict()
    for name, own in net.state_dict().items():
        other = weights.get(name)
        if name.endswith("attention_biases") and other is not None:
            other = spread_biases(other, own.shape[1])
        if other is not None and other.shape == own.shape:
            own.copy_(other)
    return net.eval()
