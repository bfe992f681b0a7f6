"""Rewrites a quantised OpenVINO model into one that means the same and runs faster.

OpenVINO moves integers through a layer only if the rounding stands right behind it. So roundings
are lifted over everything that only moves numbers, and the one linear layer that makes queries,
keys and values, which have a scale each, becomes three.
"""

from __future__ import annotations

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from training.conversion.ov_graph import MOVES, constant, is_constant, nodes, quantize_like, replace
from training.conversion.upscaling import rewrite_upscaling


def optimise(model: ov.Model) -> None:
    """Apply all rewrites, in place."""
    rewrite_upscaling(model)
    split_projections(model)
    lift_quantizers(model)
    model.validate_nodes_and_infer_types()


def lift_quantizers(model: ov.Model) -> None:
    """Round before numbers are moved, in place: a quarter of the bytes is moved then."""
    for quantizer in list(nodes(model, "FakeQuantize")):
        top = quantizer.input_value(0)
        while top.get_node().get_type_name() in MOVES and len(top.get_target_inputs()) == 1:
            top = top.get_node().input_value(0)
        source = quantizer.input_value(0)
        if top == source or len(top.get_target_inputs()) > 1:
            continue
        replace(quantizer.output(0), source)
        _insert(top, quantize_like(quantizer, top))


def split_projections(model: ov.Model) -> None:
    """Replace a linear layer whose output is split among heads, and then in parts, in place.

    The layer's (L, heads * (q + k + v)) becomes three of (L, heads * q) and so on.
    """
    for split in list(nodes(model, "VariadicSplit")):
        reshape = split.input_value(0).get_node()
        layer = _linear(reshape.input_value(0).get_node())
        if reshape.get_type_name() == "Reshape" and layer is not None:
            _split_projection(split, reshape, *layer)


def _linear(add: ov.Node) -> tuple[ov.Node, ov.Output] | None:
    """Return the product and the bias of a linear layer of integer weights, if `add` ends one."""
    if add.get_type_name() != "Add":
        return None
    bias, product = sorted(add.input_values(), key=lambda value: not is_constant(value))
    node = product.get_node()
    if not is_constant(bias) or node.get_type_name() != "MatMul":
        return None
    weights = node.input_value(1).get_node()
    if weights.get_type_name() != "Multiply" or not node.get_attributes()["transpose_b"]:
        return None
    return node, bias


def _split_projection(split: ov.Node, reshape: ov.Node, product: ov.Node, bias: ov.Output) -> None:
    weights = product.input_value(1).get_node()  # integers -> Convert -> times a scale
    integers = weights.input_value(0).get_node().input_value(0)
    scale = constant(weights.input_value(1))
    shape = list(reshape.output(0).get_shape())
    lengths = [int(n) for n in constant(split.input_value(2))]
    rows = np.arange(shape[-2] * shape[-1]).reshape(shape[-2], shape[-1])
    parts = np.split(rows, np.cumsum(lengths)[:-1], axis=1)
    for index, (output, part) in enumerate(zip(split.outputs(), parts, strict=True)):
        chosen = part.ravel()
        own = ops.multiply(
            ops.convert(_piece(integers, constant(integers)[chosen], index), np.float32),
            ops.constant(scale[chosen] if scale.size > 1 else scale),
        )
        own_bias = _piece(bias, constant(bias).ravel()[chosen].reshape(1, 1, -1), index)
        part_product = ops.matmul(product.input_value(0), own, False, True)
        part_product.set_friendly_name(f"{product.get_friendly_name()}@{index}")
        y = ops.add(part_product, own_bias)
        target = np.array([*shape[:-1], part.shape[1]], np.int64)
        replace(output, ops.reshape(y, ops.constant(target), False).output(0))


def _piece(whole: ov.Output, values: np.ndarray, index: int) -> ov.Node:
    node = ops.constant(values)
    node.set_friendly_name(f"{whole.get_node().get_friendly_name()}@{index}")
    return node


def _insert(source: ov.Output, node: ov.Node) -> None:
    """Put `node`, which reads `source`, between it and all its other readers."""
    for reader in source.get_target_inputs():
        if reader.get_node() != node:
            reader.replace_source_output(node.output(0))
