"""The names that tensors of a network have in its OpenVINO model: `restore` reads them by these."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import openvino as ov
import torch
from torch import Tensor, nn

from training.conversion.ov_graph import nodes
from training.models.prompt_encoder import POINT_KINDS

# Tables that the networks stack of parameters before they are used.
STACKS = {
    "mask_decoder.tokens": ("mask_decoder.iou_token.weight", "mask_decoder.mask_tokens.weight"),
    "prompt_encoder.kinds": (
        "prompt_encoder.not_a_point_embed.weight",
        *(f"prompt_encoder.point_embeddings.{kind}.weight" for kind in range(POINT_KINDS)),
    ),
}
TURNED = "^T"
_SCOPE = "/export_handler/"


def quantizer_name(scope: str) -> str | None:
    """Turn the scope of an ONNX node into the name of the module whose quantiser made it.

    >>> quantizer_name("/layers/layers.0/conv1/c/weight_quant/export_handler/Clip")
    'layers.0.conv1.c.weight_quant'
    """
    path, found, _ = scope.partition(_SCOPE)
    if not found:
        return None
    # The exporter repeats the name of a container in those of its items.
    return re.sub(r"(\w+)/\1\.", r"\1.", path.strip("/")).replace("/", ".")


def name_tensors(model: ov.Model, net: nn.Module, prefix: str) -> None:
    """Give constants and roundings of a traced network the names they have in it, in place.

    Constants are known by their values: the conversion reshapes them and forgets their names.

    Parameters
    ----------
    model : openvino.Model
        As converted, before any rewrite.
    net : nn.Module
        What was traced.
    prefix : str
        Of the names of `net` in the whole network.
    """
    _name_quantizers(model, prefix)
    candidates: dict[int, list[ov.Node]] = {}
    for node in nodes(model, "Constant"):
        if node.get_element_type() == ov.Type.f32:
            candidates.setdefault(node.data.size, []).append(node)
    named: set[str] = set()
    for name, tensor in _stacked(net.state_dict(), prefix).items():
        values = tensor.detach().cpu().numpy()
        equal = [n for n in candidates.get(values.size, []) if values.ndim and _equal(n, values)]
        # Equal tensors find a constant each, or the one that the conversion made of them.
        for node in [n for n in equal if n.get_name() not in named] or equal:
            others = f"{node.get_friendly_name()};" if node.get_name() in named else ""
            turned = values.ndim == 2 and node.data.shape[-1] != values.shape[-1]
            node.set_friendly_name(f"{others}{name}{TURNED if turned else ''}")
            named.add(node.get_name())
            break


def _name_quantizers(model: ov.Model, prefix: str) -> None:
    for node in model.get_ordered_ops():
        name = quantizer_name(node.get_friendly_name())
        # The conversion has moved some before the transposition that follows, which took the name.
        while name and node.get_type_name() in ("Transpose", "Reshape"):
            node = node.input_value(0).get_node()
        if name and node.get_type_name() == "FakeQuantize":
            node.set_friendly_name(f"{prefix}{name}")
        elif name and node.get_type_name() == "Multiply":  # of integers, a Convert and a scale
            integers = node.input_value(0).get_node().input_value(0).get_node()
            integers.set_friendly_name(f"{prefix}{name.removesuffix('_quant')}")


def _stacked(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors by their full names, those of `STACKS` as the stacks they are."""
    tensors = {f"{prefix}{name}": tensor for name, tensor in state.items()}
    for stack, names in STACKS.items():
        if all(name in tensors for name in names):
            tensors[stack] = torch.cat([tensors.pop(name) for name in names])
    return tensors


def _equal(node: ov.Node, values: np.ndarray) -> bool:
    """Tell whether a constant is this tensor, or its transpose, up to errors of rounding."""
    error = 1e-5 * np.abs(values).max()
    return any(
        np.abs(node.data.ravel() - turned.ravel()).max() <= error
        for turned in ((values, values.T) if values.ndim == 2 else (values,))
    )
