"""What every rewrite of an OpenVINO model needs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import openvino as ov
from openvino import opset13 as ops

# These only move numbers: it is the same whether they are rounded before or after.
MOVES = {"Reshape", "Transpose", "StridedSlice", "Slice", "Squeeze", "Unsqueeze"}


def nodes(model: ov.Model, kind: str) -> Iterator[ov.Node]:
    """Yield the nodes of one type, in the order of their computation."""
    return (node for node in model.get_ordered_ops() if node.get_type_name() == kind)


def is_constant(value: ov.Output) -> bool:
    """Tell whether a value is a constant."""
    return bool(value.get_node().get_type_name() == "Constant")


def constant(value: ov.Output) -> np.ndarray:
    """Return a copy of the numbers of a constant."""
    return np.array(value.get_node().data)


def replace(old: ov.Output, new: ov.Output) -> None:
    """Let everything that reads `old` read `new`."""
    for reader in old.get_target_inputs():
        reader.replace_source_output(new)


def quantize_like(quantizer: ov.Node, source: ov.Output) -> ov.Node:
    """Round `source` as a FakeQuantize does whose limits are one number each."""
    limits = [constant(quantizer.input_value(i)).reshape(()) for i in range(1, 5)]
    levels = quantizer.get_attributes()["levels"]
    node = ops.fake_quantize(source, *(ops.constant(limit) for limit in limits), levels)
    node.set_friendly_name(quantizer.get_friendly_name())
    return node
