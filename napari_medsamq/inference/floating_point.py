"""8-bit networks computed in floating point, for processors where that is faster.

The weights stay what they are: integers times a scale. The roundings between the layers are left
out, and with them the reason to compute the decoder's attention layer by layer. A handful of prompt
tokens attends to the image's 4096 places and back, so that what projects the image to queries, keys
or values of the attention, and the result to the image, is multiplied into the few tokens instead:
with q the tokens, X the image and W a head's projection, q (X W)^T = (q W^T) X^T. That is less than
half the arithmetic, and no head's share of the image is moved.
"""

from __future__ import annotations

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from napari_medsamq.array_types import Float32

_PLACES = 4096
_Linear = tuple[ov.Output, Float32, Float32]


def in_floating_point(model: ov.Model) -> ov.Model:
    """Take the roundings to 8 bits out of a network, and turn integer weights into what they mean.

    OpenVINO refuses to compile integer weights without roundings on some processors.
    """
    for node in model.get_ordered_ops():
        if node.get_type_name() == "FakeQuantize":
            node.output(0).replace(node.input_value(0))
        elif node.get_type_name() == "Multiply" and _is_integer(node.input_value(0)):
            integers = node.input_value(0).get_node().input_value(0)
            weights = _constant(integers) * _constant(node.input_value(1))
            node.output(0).replace(ops.constant(weights).output(0))
    for node in model.get_ordered_ops():
        if node.get_type_name() == "Softmax":
            try:
                _absorb_projections(node)
            except LookupError:
                continue  # another kind of attention
    model.validate_nodes_and_infer_types()
    return model


def _absorb_projections(softmax: ov.Node) -> None:
    """Rewrite one attention between tokens and image; LookupError if it is none."""
    scaled = _above(softmax.input_value(0), "Multiply")
    scores = _above(scaled.input_value(0), "MatMul")
    (query, wq, bq), heads = _projection(scores.input_value(0))
    (key, wk, bk), _ = _projection(scores.input_value(1))
    product = _below(softmax, "MatMul")
    (value, wv, bv), _ = _projection(product.input_value(1))
    end = _below(_below(_below(_below(product, "Transpose"), "Reshape"), "MatMul"), "Add")
    _, wo, bo = _linear(end.output(0))
    scale = _constant(scaled.input_value(1)).ravel()[0]
    inner, channels = wq.shape
    per_head = (heads, inner // heads, channels)

    def tokens(source: ov.Output, weights: Float32, bias: Float32) -> ov.Node:
        """Project (N, T, channels) to (N, heads, T, inner / heads)."""
        y = ops.add(ops.matmul(source, weights, False, True), bias)
        return _transpose(_reshape(y, 0, 0, heads, inner // heads))

    if _places(key) == _PLACES == _places(value):
        # Keys' biases add the same to all scores of a query; those of values come out whole.
        y = ops.matmul(tokens(query, wq * scale, bq * scale), wk.reshape(per_head), False, False)
        y = ops.matmul(key, _reshape(y, 0, -1, channels), False, True)
        # Along the places, which stand first: the product above is faster that way round, and
        # OpenVINO would make one slow kernel of all three.
        y = ops.matmul(ops.softmax(y, 1), value, True, False)
        y = ops.matmul(_reshape(y, 0, heads, -1, channels), wv.reshape(per_head), False, True)
        y = ops.matmul(_reshape(_transpose(y), 0, 0, inner), wo, False, True)
        y = ops.add(y, bo + wo @ bv)
    elif _places(query) == _PLACES:
        keys = tokens(key, wk * scale, bk * scale)
        y = _reshape(ops.matmul(keys, wq.reshape(per_head), False, False), 0, -1, channels)
        bias = ops.matmul(keys, bq.reshape(heads, -1, 1), False, False)
        y = ops.add(ops.matmul(query, y, False, True), _reshape(bias, 0, 1, -1))
        y = _reshape(ops.softmax(_reshape(y, 0, 0, heads, -1), -1), 0, 0, -1)
        back = wo.reshape(channels, heads, -1).transpose(1, 2, 0)
        values = ops.matmul(tokens(value, wv, bv), np.ascontiguousarray(back), False, False)
        y = ops.add(ops.matmul(y, _reshape(values, 0, -1, channels), False, False), bo)
    else:
        raise LookupError
    end.output(0).replace(y.output(0))


def _projection(value: ov.Output) -> tuple[_Linear, int]:
    """Return the layer that makes the operand (N, heads, T, channels) of a product, and heads."""
    reshape = _above(_above(value, "Transpose").input_value(0), "Reshape")
    return _linear(reshape.input_value(0)), reshape.output(0).get_partial_shape()[2].get_length()


def _linear(value: ov.Output) -> _Linear:
    """Return what a linear layer reads, its weights (out, in) and its bias (out)."""
    bias, product = sorted(
        _above(value, "Add").input_values(), key=lambda x: x.get_node().get_type_name() == "MatMul"
    )
    layer = _above(product, "MatMul")
    if not layer.get_attributes()["transpose_b"]:
        raise LookupError
    return layer.input_value(0), _constant(layer.input_value(1)), _constant(bias).ravel()


def _places(value: ov.Output) -> int | None:
    size = value.get_partial_shape()[1]
    return size.get_length() if size.is_static else None


def _above(value: ov.Output, kind: str) -> ov.Node:
    node = value.get_node()
    if node.get_type_name() != kind:
        raise LookupError
    return node


def _below(node: ov.Node, kind: str) -> ov.Node:
    readers = [reader.get_node() for reader in node.output(0).get_target_inputs()]
    if [reader.get_type_name() for reader in readers] != [kind]:
        raise LookupError
    return readers[0]


def _constant(value: ov.Output) -> Float32:
    """Return a constant, which may be stored in 16 bits."""
    node = value.get_node()
    if node.get_type_name() == "Convert":
        node = node.input_value(0).get_node()
    if node.get_type_name() != "Constant":
        raise LookupError
    return np.asarray(node.get_data(), np.float32)


def _is_integer(value: ov.Output) -> bool:
    node = value.get_node()
    return bool(
        node.get_type_name() == "Convert"
        and node.input_value(0).get_node().get_type_name() == "Constant"
        and node.input_value(0).get_element_type() == ov.Type.i8
    )


def _reshape(value: ov.Node, *shape: int) -> ov.Node:
    """Give a new shape; 0 keeps a size, -1 takes what is left."""
    return ops.reshape(value, ops.constant(np.array(shape, np.int64)), True)


def _transpose(value: ov.Node) -> ov.Node:
    """Swap the second and the third of four axes."""
    return ops.transpose(value, ops.constant(np.array([0, 2, 1, 3], np.int64)))
