"""Networks with the weights that others released."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from napari_medsamq.errors import ModelError
from training.checkpoints.tensor_files import load_weights, read_tensors
from training.models.sam import LiteMedSAM
from training.models.vit import ImageEncoderViT


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a checkpoint of named tensors; anything else in the file is refused.

    Raises
    ------
    ModelError
        If the file is missing, damaged, or holds more than tensors by name.
    """
    weights = read_tensors(path)
    if not all(isinstance(value, Tensor) for value in weights.values()):
        raise ModelError(
            f"{path} must hold tensors by name and nothing else. Save a network's state_dict() "
            "alone."
        )
    return weights


def build_lite_medsam(checkpoint: Path | None = None) -> LiteMedSAM:
    """Build the float network, in evaluation mode.

    Parameters
    ----------
    checkpoint : Path, optional
        Weights with LiteMedSAM's names; without them the weights are random.

    Raises
    ------
    ModelError
        If the file cannot be read safely or is not a LiteMedSAM checkpoint.
    """
    net = LiteMedSAM()
    if checkpoint is not None:
        cure = "Give the file that `python -m training.checkpoint` names."
        load_weights(checkpoint, net, read_weights(checkpoint), "LiteMedSAM", cure)
    return net.eval()


def build_medsam(checkpoint: Path) -> LiteMedSAM:
    """Build MedSAM, the float network with SAM's ViT-B as encoder, in evaluation mode.

    Raises
    ------
    ModelError
        If the file cannot be read safely or is not a MedSAM ViT-B checkpoint.
    """
    net = LiteMedSAM(ImageEncoderViT())
    cure = "Give the file medsam_vit_b.pth of the MedSAM authors."
    load_weights(checkpoint, net, read_weights(checkpoint), "MedSAM ViT-B", cure)
    return net.eval()
