"""Encoders that do not learn: the teacher's, and the student's own while its decoder learns.

On a CPU they are run by OpenVINO, several times as fast there as PyTorch; what a teacher said can
be kept on disk.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import openvino as ov
import torch
from torch import Tensor, nn

from napari_medsamq.inference.backend import openvino_core
from training.conversion.to_openvino import convert_encoder
from training.files import write_file
from training.learning.processes import Processes
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

    def __call__(self, image: Tensor, boxes: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return embeddings (B, 256, 64, 64), and logits (B, 256, 256) of one box on each image."""
        with torch.no_grad():
            embedding = self._encoder(image)
            return embedding, None if boxes is None else self._net.segment(embedding, boxes)[0]


def torch_encoder(encoder: nn.Module, *, bf16: bool = False) -> Encoder:
    """Run an encoder in PyTorch, without gradients; with `bf16`, as autocast computes it."""

    def encode(image: Tensor) -> Tensor:
        with torch.no_grad(), torch.autocast(image.device.type, torch.bfloat16, enabled=bf16):
            embedding: Tensor = encoder(image)
        return embedding

    return encode


def openvino_encoder(model: ov.Model, *, bf16: bool = False) -> Encoder:
    """Run an encoder of one image at a time by OpenVINO.

    In FP32 and int8; with `bf16`, in bfloat16 what is FP32, which needs a processor that can.
    """
    precision = "bf16" if bf16 else "f32"
    compiled = openvino_core().compile_model(
        model, "CPU", {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
    )
    request = compiled.create_infer_request()

    def encode(image: Tensor) -> Tensor:
        found = [request.infer([one[None].numpy()])[0] for one in image]
        return torch.from_numpy(np.concatenate(found))

    return encode


class EmbeddingStore:
    """An encoder whose embeddings are kept on disk, found again by the image.

    Parameters
    ----------
    folder : Path
        Several processes may share it.
    encoder : callable
        Images (B, 3, 256, 256) to embeddings (B, 256, 64, 64).
    name : str
        Of the encoder's weights; others do not get its embeddings.
    most_gb : float
        When the folder holds so much (10^9 bytes) for this process, it keeps no more. An embedding
        takes 2 MB.

    Raises
    ------
    SaveError
        When an embedding cannot be written.
    """

    def __init__(self, folder: Path, encoder: Encoder, name: str, most_gb: float) -> None:
        self._folder, self._encoder, self._name = folder, encoder, name
        self._left = most_gb * 1e9 - sum(file.stat().st_size for file in folder.rglob("*.npy"))

    def __call__(self, image: Tensor) -> Tensor:
        """Encode images (B, 3, 256, 256)."""
        return torch.cat([self._encode(one[None]) for one in image])

    def _encode(self, image: Tensor) -> Tensor:
        content = image.cpu().numpy().tobytes() + self._name.encode()
        key = hashlib.blake2b(content, digest_size=16).hexdigest()
        path = self._folder / key[:2] / f"{key}.npy"
        if path.exists():
            half = np.load(path)
        else:
            half = self._encoder(image).half().cpu().numpy()
            if half.nbytes <= self._left:
                self._left -= half.nbytes
                packed = io.BytesIO()
                np.save(packed, half)
                write_file(path, packed.getvalue())
        # Rounded the first time too, so that a run that goes on is taught the same.
        return torch.from_numpy(half).to(image.device).float()


def fast_encoder(
    net: LiteMedSAM, processes: Processes, model: ov.Model | None = None, *, bf16: bool = False
) -> Encoder:
    """Return the fastest way to run a network's encoder without gradients.

    Parameters
    ----------
    net : LiteMedSAM
    processes : Processes
    model : openvino.Model, optional
        Its encoder as OpenVINO has it, if it was converted before.
    bf16 : bool
        Whether it computes in bfloat16.
    """
    if processes.device.type == "cpu":
        return openvino_encoder(model or convert_encoder(net), bf16=bf16)
    return torch_encoder(net.image_encoder.eval().to(processes.device), bf16=bf16)
