"""Networks as files: weights, how they are quantised, where they come from.

Written by the training and read by the export; such a file holds no code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from napari_medsamq.errors import ModelError
from training.checkpoints.published import describe_checkpoint
from training.checkpoints.released import build_lite_medsam
from training.checkpoints.tensor_files import load_weights, read_tensors, write_tensors
from training.models.sam import (
    ENCODERS,
    FAST,
    PUBLISHED,
    LiteMedSAM,
    build_fast_medsam,
    build_network,
)
from training.quantization.quantized_network import PARTS, QuantConfig, quantize

FORMAT = "network of napari-medsamq, 2"


@dataclass(frozen=True)
class StoredNetwork:
    """A network and its story.

    Attributes
    ----------
    net : LiteMedSAM
        In evaluation mode.
    quant : QuantConfig or None
        How it is quantised; None for a float network.
    provenance : dict of str to str
        What `model.json` will say about the weights; its `architecture` names the encoder.
    """

    net: LiteMedSAM
    quant: QuantConfig | None
    provenance: dict[str, str]


def write_network(path: Path, network: StoredNetwork) -> None:
    """Write a network, whole or not at all."""
    content = {
        "format": FORMAT,
        "quant": json.dumps(network.quant and network.quant.model_dump()),
        "provenance": json.dumps(network.provenance),
        "weights": network.net.state_dict(),
    }
    write_tensors(path, content)


def read_network(path: Path) -> StoredNetwork:
    """Read a network that this program wrote, or a checkpoint of the published LiteMedSAM.

    Raises
    ------
    ModelError
        If the file is missing, damaged, carries code, or holds another network.
    """
    content = read_tensors(path)
    if "format" not in content:
        return StoredNetwork(build_lite_medsam(path), None, describe_checkpoint(path))
    if content["format"] != FORMAT:
        raise ModelError(
            f'{path} says it is "{content["format"]}"; this program reads "{FORMAT}". Give a file '
            "that `python -m training.quantize` or `python -m training.train` wrote."
        )
    settings = json.loads(content["quant"])
    quant = None if settings is None else QuantConfig(**settings)
    provenance = json.loads(content["provenance"])
    net = empty_network(provenance, quant)
    kind = "float" if quant is None else "quantised"
    wanted = f"a {kind} {provenance.get('architecture', PUBLISHED)}"
    cure = "Give another file, or make it again."
    load_weights(path, net, content["weights"], wanted, cure)
    return StoredNetwork(net.eval(), quant, provenance)


def empty_network(provenance: Mapping[str, str], quant: QuantConfig | None) -> LiteMedSAM:
    """Build the network that a story is about, with random weights.

    Raises
    ------
    ModelError
        If its encoder is none of this program's.
    """
    architecture = provenance.get("architecture", PUBLISHED)
    if architecture not in ENCODERS:
        raise ModelError(
            f"The architecture `{architecture}` is not known; there are {', '.join(ENCODERS)}. "
            "Update napari-medsamq."
        )
    net = build_network(architecture)
    return net if quant is None else quantize(net, quant)


def in_floating_point(
    network: StoredNetwork, part: Literal["decoder", "both"] = "both"
) -> StoredNetwork:
    """Give a quantised network's decoder, or all of it, layers in floating point, in place.

    They start from the same weights; what is in floating point already stays as it is. Biases that
    only rounding gave to a layer are dropped with it.
    """
    quant = network.quant
    if quant is None or (part == "decoder" and quant.parts == "encoder"):
        return network
    float_net = empty_network(network.provenance, None)
    for name in PARTS[part]:
        _load_folded(float_net.get_submodule(name), network.net.get_submodule(name).state_dict())
        setattr(network.net, name, float_net.get_submodule(name))
    if part == "both" or quant.parts == "decoder":
        return replace(network, quant=None)
    return replace(network, quant=encoder_alone(quant, network.net))


def _load_folded(part: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load weights into which batch norms are folded: those of `part` only add the biases then."""
    found = dict(weights)
    for name, factor in weights.items():
        if name.endswith(".scale.factor"):  # of the channels that a layer reads
            layer = f"{name.removesuffix('scale.factor')}c.weight"
            depthwise = found[layer].shape[1] == 1
            found[layer] = found[layer] * (factor[..., None] if depthwise else factor)
    for name, norm in part.named_modules():
        if isinstance(norm, nn.BatchNorm2d):
            found |= {
                f"{name}.{key}": value for key, value in nn.BatchNorm2d(1).state_dict().items()
            }
            found[f"{name}.weight"] = torch.full_like(norm.weight, (1 + norm.eps) ** 0.5)
            found[f"{name}.bias"] = found[f"{name.removesuffix('bn')}c.bias"]
    part.load_state_dict(
        {name: found[name].expand(own.shape) for name, own in part.state_dict().items()}
    )
    part.eval()


def encoder_alone(quant: QuantConfig, net: LiteMedSAM) -> QuantConfig:
    """Return how a network is quantised as far as its encoder goes."""
    names = [name for name, _ in net.named_modules() if name.startswith("image_encoder")]
    overrides = {
        pattern: bits
        for pattern, bits in (quant.overrides or {}).items()
        if any(fnmatch(name, pattern) for name in names)
    }
    return quant.model_copy(update={"parts": "encoder", "overrides": overrides or None})


def continue_story(provenance: Mapping[str, str], chapter: str) -> dict[str, str]:
    """Add in one line what was done to a network, after what was done before."""
    before = provenance.get("training")
    return {**provenance, "training": f"{before}; {chapter}" if before else chapter}


_SEED = 0


def student_network(checkpoint: Path, design: str = FAST) -> StoredNetwork:
    """Build a fast network before its training, the same one every time.

    Parameters
    ----------
    checkpoint : Path
        Float weights with LiteMedSAM's names.
    design : str
        One of `DESIGNS`.

    Raises
    ------
    ModelError
        If the file is not a LiteMedSAM checkpoint.
    """
    torch.manual_seed(_SEED)
    net = build_fast_medsam(build_lite_medsam(checkpoint), design)
    story = "published blocks on a coarser grid, with a random stem and neck, slimmed decoder"
    provenance = {**describe_checkpoint(checkpoint), "architecture": design, "training": story}
    return StoredNetwork(net, None, provenance)
