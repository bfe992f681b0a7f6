"""Makes the files of a model small: short tables, and FP16 for what is not an integer."""

from __future__ import annotations

import numpy as np
import openvino as ov
from openvino import opset13 as ops
from torch import nn

from training.conversion.ov_graph import is_constant, nodes, replace
from training.models.tiny_vit import WindowAttention


def gather_biases(model: ov.Model, net: nn.Module, prefix: str) -> None:
    """Replace biases of each pair of tokens by a look-up of each distance, in place.

    A window of 14 x 14 has 38416 pairs and 196 distances; OpenVINO looks up when it compiles.
    """
    constants = {node.get_name(): node for node in nodes(model, "Constant") if node.data.ndim >= 3}
    for name, module in net.named_modules():
        if not isinstance(module, WindowAttention):
            continue
        table = module.attention_biases.detach().numpy()
        expanded = table[:, module.bias_index.numpy()]
        for key, node in list(constants.items()):
            if node.data.size == expanded.size and np.array_equal(
                node.data.ravel(), expanded.ravel()
            ):
                short = ops.constant(table)
                short.set_friendly_name(f"{prefix}{name}.attention_biases")
                index = ops.convert(
                    ops.constant(module.bias_index.numpy().astype(np.uint8)), np.int32
                )
                pairs = ops.gather(short, index, ops.constant(np.int64(1)))
                shape = ops.constant(np.array(node.shape, np.int64))
                replace(node.output(0), ops.reshape(pairs, shape, False).output(0))
                del constants[key]
                break


def store_half(model: ov.Model) -> None:
    """Store what is not an integer as FP16, in place.

    Scales and limits of roundings stay as they are, and so does what FP16 cannot hold.
    """
    for node in nodes(model, "Constant"):
        readers = list(node.output(0).get_target_inputs())
        kept = any(_sets_a_scale(reader) for reader in readers)
        if node.get_element_type() != ov.Type.f32 or node.data.size == 1 or kept:
            continue
        if np.abs(node.data).max() > np.finfo(np.float16).max:
            continue
        half = ops.constant(node.data.astype(np.float16))
        half.set_friendly_name(node.get_friendly_name())
        replace(node.output(0), ops.convert(half, np.float32).output(0))


def _sets_a_scale(reader: ov.Input) -> bool:
    node = reader.get_node()
    if node.get_type_name() == "FakeQuantize":
        return True
    others = [value.get_node() for value in node.input_values()]
    return node.get_type_name() == "Multiply" and any(
        other.get_type_name() == "Convert" and is_constant(other.input_value(0)) for other in others
    )
