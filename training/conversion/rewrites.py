"""Rewrites a quantised OpenVINO model into one that means the same and runs faster.

OpenVINO moves integers through a layer only if the rounding stands right behind it. So roundings
are lifted over everything that only moves numbers, and the one linear layer that makes queries,
keys and values, which have a scale each, becomes three.

The decoder's last layers get their channels last, as OpenVINO computes them fastest: a transposed
convolution of kernel 2 and stride 2 is a linear layer that makes four pixels of one. Written so,
from tokens to logits, nothing is transposed but the logits at the end, and products of integers
take the place of a convolution that has an integer kernel on few processors.
"""

from __future__ import annotations

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from training.conversion.ov_graph import MOVES, constant, is_constant, nodes, quantize_like, replace


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


# Rows of pixels: of the grid, of the first four, of the second four; then the columns likewise.
_PIXEL_ORDER = (0, 1, 3, 5, 2, 4, 6)
_GRID = 64


def rewrite_upscaling(model: ov.Model) -> None:
    """Rewrite what follows the decoder's transformer, in place; other models stay as they are."""
    convolutions = list(nodes(model, "ConvolutionBackpropData"))
    if len(convolutions) != 2:
        return
    first, second = convolutions
    y, above = _tokens(first)
    for node in reversed(above):
        y = _replay(node, y)
    y = _upscale(y, first)
    y = _replay_until(first, second, _reshape(y, _channels(first)))
    y = _upscale(y, second)
    product, side = _product(second)
    y = _replay_until(second, product, y)
    y = _reshape(y, _channels(second))
    weights = product.input_value(1 - side)  # (N, 1, channels)
    logits = ops.matmul(y, weights, False, True)
    logits.set_friendly_name(product.get_friendly_name())
    shape = ops.constant(np.array([-1, _GRID, _GRID, 2, 2, 2, 2], np.int64))
    pixels = ops.transpose(ops.reshape(logits, shape, False), ops.constant(np.array(_PIXEL_ORDER)))
    (reader,) = product.output(0).get_target_inputs()
    reader.replace_source_output(pixels.output(0))


def _tokens(first: ov.Node) -> tuple[ov.Output, list[ov.Node]]:
    """Find the tokens (N, 4096, C) that are made a map for `first`, and what happens between."""
    between = []
    value = first.input_value(0)
    while value.get_node().get_type_name() != "Transpose":
        between.append(value.get_node())
        value = value.get_node().input_value(0)
    return value.get_node().input_value(0), between


def _product(second: ov.Node) -> tuple[ov.Node, int]:
    """Find the product that makes logits, and which of its operands comes from `second`."""
    node = second
    while True:
        (reader,) = node.output(0).get_target_inputs()
        node = reader.get_node()
        if node.get_type_name() == "MatMul":
            return node, reader.get_index()


def _replay_until(start: ov.Node, end: ov.Node, y: ov.Output) -> ov.Output:
    """Apply what lies between two nodes to `y`, whose channels are its last axis.

    The bias of `start`, the first node behind it, is left out.
    """
    (reader,) = start.output(0).get_target_inputs()
    (reader,) = reader.get_node().output(0).get_target_inputs()
    while reader.get_node() != end:
        y = _replay(reader.get_node(), y)
        (reader,) = reader.get_node().output(0).get_target_inputs()
    return y


def _replay(node: ov.Node, y: ov.Output) -> ov.Output:
    """Apply what `node` does to a map (N, C, H, W) to `y`, whose channels are its last axis."""
    kind, attributes = node.get_type_name(), node.get_attributes()
    if kind == "Reshape":  # of the map's pixels, which have one axis here
        return y
    if kind == "FakeQuantize":
        return quantize_like(node, y).output(0)
    if kind == "Gelu":
        return ops.gelu(y, attributes["approximation_mode"]).output(0)
    if kind == "Clamp":
        return ops.clamp(y, attributes["min"], attributes["max"]).output(0)
    if kind == "MVN":
        axis = ops.constant(np.array([-1], np.int64))
        variance, eps, mode = (attributes[k] for k in ("normalize_variance", "eps", "eps_mode"))
        return ops.mvn(y, axis, variance, eps, mode).output(0)
    if kind in ("Add", "Multiply"):
        (value,) = (v for v in node.input_values() if is_constant(v))
        own = ops.constant(constant(value).reshape(1, 1, -1))
        own.set_friendly_name(value.get_node().get_friendly_name())
        return (ops.add if kind == "Add" else ops.multiply)(y, own).output(0)
    raise NotImplementedError(f"the upscaling has a {kind}, which is not expected there")


def _upscale(y: ov.Output, convolution: ov.Node) -> ov.Output:
    """Make (N, L, 4 * C) of (N, L, C'): the four pixels' channels beside each other."""
    weights = convolution.input_value(1).get_node()
    (reader,) = convolution.output(0).get_target_inputs()
    (bias,) = (v for v in reader.get_node().input_values() if is_constant(v))
    if weights.get_type_name() == "Multiply":  # integers -> Convert -> times a scale
        integers = weights.input_value(0).get_node().input_value(0)
        scale = constant(weights.input_value(1)).reshape(-1, 1)
        if len(scale) > 1:
            scale = np.tile(scale, (4, 1))
        rows = _named(_rows(constant(integers)), integers)
        matrix = ops.multiply(ops.convert(rows, np.float32), ops.constant(scale))
    else:
        matrix = _named(_rows(constant(convolution.input_value(1))), convolution.input_value(1))
    four = np.tile(constant(bias).reshape(1, 1, -1), 4)
    product = ops.matmul(y, matrix, False, True)
    product.set_friendly_name(reader.get_node().get_friendly_name())
    return ops.add(product, _named(four, bias)).output(0)


def _rows(weights: np.ndarray) -> np.ndarray:
    """Turn the weights (C', C, 2, 2) of a transposed convolution into rows (4 * C, C')."""
    return np.ascontiguousarray(weights.transpose(2, 3, 1, 0).reshape(-1, len(weights)))


def _named(values: np.ndarray, original: ov.Output) -> ov.Node:
    node = ops.constant(values)
    node.set_friendly_name(original.get_node().get_friendly_name())
    return node


def _channels(convolution: ov.Node) -> int:
    return int(convolution.output(0).get_partial_shape()[1].get_length())


def _reshape(y: ov.Output, channels: int) -> ov.Output:
    """Turn (N, L, 4 * channels) into (N, 4 * L, channels)."""
    shape = ops.constant(np.array([0, -1, channels], np.int64))
    return ops.reshape(y, shape, True).output(0)
