"""Quantised networks as files: weights, scales, how they were quantised, where they come from.

Written by the training and read by the export; such a file holds no code.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from napari_medsamq.errors import ModelError
from training.models.sam import LiteMedSAM
from training.quantized import QuantConfig, quantize
from training.tensor_files import load_weights, read_tensors, write_tensors

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
    wanted, cure = "LiteMedSAM quantised in this way", "Give a file of it, or make it again."
    load_weights(path, net, content["weights"], wanted, cure)
    return QuantizedNetwork(net.eval(), quant, json.loads(content["provenance"]))
