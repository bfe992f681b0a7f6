"""Quantised networks as files: weights, scales, how they were quantised, where they come from.

Written by the training and read by the export; such a file holds no code.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from napari_medsamq.errors import ModelError, SaveError
from training.files import replace_file
from training.models.sam import LiteMedSAM
from training.quantized import QuantConfig, quantize

FORMAT = "quantised LiteMedSAM, 1"


@dataclass(frozen=True)
class QuantizedNetwork:
    """A quantised LiteMedSAM and its story.

    Attributes
    ----------
    net : LiteMedSAM
        In evaluation mode.
    quant : QuantConfig
    provenance : dict of str to str
        What `model.json` will say about the weights.
    """

    net: LiteMedSAM
    quant: QuantConfig
    provenance: dict[str, str]


def write_network(path: Path, network: QuantizedNetwork) -> None:
    """Write a quantised network, whole or not at all."""
    content = {
        "format": FORMAT,
        "quant": json.dumps(asdict(network.quant)),
        "provenance": json.dumps(network.provenance),
        "weights": network.net.state_dict(),
    }
    write_tensors(path, content)


def read_network(path: Path) -> QuantizedNetwork:
    """Read a quantised network.

    Raises
    ------
    ModelError
        If the file is missing, damaged, carries code, or holds another network.
    """
    content = read_tensors(path)
    if content.get("format") != FORMAT:
        raise ModelError(
            f"{path} is no {FORMAT}. Give a file that `python -m training.quantize` or "
            "`python -m training.train` wrote."
        )
    quant = QuantConfig(**json.loads(content["quant"]))
    net = quantize(LiteMedSAM(), quant)
    load_weights(path, net, content["weights"])
    return QuantizedNetwork(net.eval(), quant, json.loads(content["provenance"]))


def read_tensors(path: Path) -> dict[str, Any]:
    """Read a file of torch.save that holds a mapping of tensors and plain values.

    Raises
    ------
    ModelError
        If it is missing or damaged, or holds anything else, code above all.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        raise ModelError(
            f"{path} cannot be read as a checkpoint ({type(error).__name__}): it must be a file "
            "of tensors written by torch.save, without any code. Give another file, or make it "
            "again."
        ) from error
    if not isinstance(content, dict):
        raise ModelError(
            f"{path} must hold tensors by name, but holds a {type(content).__name__}. Give another "
            "file."
        )
    return content


def write_tensors(path: Path, content: Mapping[str, Any]) -> None:
    """Write a mapping of tensors and plain values, whole or not at all.

    Raises
    ------
    SaveError
        If it cannot be written; an older file of this name is still there.
    """
    try:
        replace_file(path, lambda temporary: torch.save(dict(content), temporary))
    except (OSError, RuntimeError) as error:  # PyTorch's writer has RuntimeError for a full disk
        raise SaveError(
            f"{path}: cannot be written ({error}). Free space there, or use another folder; an "
            "older file of this name is unharmed."
        ) from error


def load_weights(path: Path, net: torch.nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Load all weights of a network.

    Raises
    ------
    ModelError
        If they are not exactly those of this network; `path` is named as their source.
    """
    try:
        net.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise ModelError(
            f"{path} must hold exactly the weights of this network: {error}. Give a file of the "
            "same architecture and the same quantisation."
        ) from error
