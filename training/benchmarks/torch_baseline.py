"""LiteMedSAM in PyTorch as a process of the benchmark: the challenge's baseline procedure.

python -m training.benchmarks.torch_baseline THREADS

Like the reference inference of MedSAM's challenge (`CVPR24_LiteMedSAM_infer.py`), it encodes a
slice for every box anew.
"""

from __future__ import annotations

import sys

import torch

from napari_medsamq.array_types import Float32
from napari_medsamq.diagnostics.model_worker import serve
from napari_medsamq.inference.model_spec import ModelSpec
from training.checkpoints.published import lite_medsam_checkpoint
from training.checkpoints.released import build_lite_medsam
from training.models.sam import LiteMedSAM


class TorchEngine:
    """The float network in PyTorch, as a session runs it.

    Parameters
    ----------
    net : LiteMedSAM
        In evaluation mode.
    """

    spec = ModelSpec("litemedsam-torch", 32, {}, {})

    def __init__(self, net: LiteMedSAM) -> None:
        self._encoder, self._decoder = net.image_encoder, net.decoder().eval()

    def encode(self, image: Float32) -> Float32:
        """Turn an image (1, 3, 256, 256) into an embedding (1, 256, 64, 64)."""
        with torch.inference_mode():
            embedding: Float32 = self._encoder(torch.from_numpy(image)).numpy()
        return embedding

    def decode(
        self,
        embedding: Float32,
        point_coords: Float32,
        point_labels: Float32,
        mask_input: Float32 | None = None,
    ) -> tuple[Float32, Float32]:
        """Turn an embedding and N prompts into logits (N, 256, 256) and IoU (N,)."""
        mask = torch.zeros(1, 1, 256, 256) if mask_input is None else torch.from_numpy(mask_input)
        given = torch.tensor([float(mask_input is not None)])
        arrays = (torch.from_numpy(array) for array in (embedding, point_coords, point_labels))
        with torch.inference_mode():
            logits, iou = self._decoder(*arrays, mask, given)
        return logits.numpy(), iou.numpy()


def main() -> None:
    """Serve the published checkpoint."""
    torch.set_num_threads(int(sys.argv[1]))
    serve(
        lambda: TorchEngine(build_lite_medsam(lite_medsam_checkpoint())),
        embedding_budget=0,
    )


if __name__ == "__main__":
    main()
