"""Encoders that do not learn: the teacher's, and the student's own while its decoder learns.

On a CPU they are run by OpenVINO, several times as fast there as PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import openvino as ov
import torch
from torch import Tensor, nn

from napari_medsamq.engine import openvino_core
from training.models.sam import LiteMedSAM

Encoder = Callable[[Tensor], Tensor]


class Teacher:
    """A float network that shows embeddings and masks.

    Parameters
    ----------
    net : LiteMedSAM
        Or one with another image encoder for images of `side` pixels.
    device : torch.device
    encoder : callable
        Images (B, 3, 256, 256) to embeddings (B, 256, 64, 64).
    """

    def __init__(self, net: LiteMedSAM, device: torch.device, encoder: Encoder) -> None:
        self._net = net.eval().requires_grad_(False).to(device)
        self._encoder = encoder

    def __call__(self, image: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Return embeddings (B, 256, 64, 64) and logits (B, 256, 256) of one box for each image."""
        with torch.no_grad():
            embedding = self._encoder(image)
            logits, _ = self._net.segment(embedding, boxes)
        return embedding, logits


def torch_encoder(encoder: nn.Module) -> Encoder:
    """Run an encoder in PyTorch, without gradients."""

    def encode(image: Tensor) -> Tensor:
        with torch.no_grad():
            embedding: Tensor = encoder(image)
        return embedding

    return encode


def openvino_encoder(model: ov.Model) -> Encoder:
    """Run an encoder of one image at a time by OpenVINO, in FP32 and int8."""
    compiled = openvino_core().compile_model(
        model, "CPU", {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    )
    request = compiled.create_infer_request()

    def encode(image: Tensor) -> Tensor:
        found = [request.infer([one[None].numpy()])[0] for one in image]
        return torch.from_numpy(np.concatenate(found))

    return encode
