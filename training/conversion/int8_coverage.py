"""What of a model runs in 8-bit integers: read from the compiled model, not from the file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openvino as ov

from napari_medsamq.inference.backend import openvino_core
from training.conversion.ov_graph import constant

# The shapes of the decoder for one box.
ONE_BOX = {
    "image_embedding": [1, 256, 64, 64],
    "point_coords": [1, 2, 2],
    "point_labels": [1, 2],
    "mask_input": [1, 1, 256, 256],
    "has_mask_input": [1],
}
# Of the multiply-accumulates of each part of an int8 model, what has to run in 8-bit integers.
LEAST_INT8_SHARE = {"encoder": 0.97, "decoder": 0.85}
_PRODUCTS = {"Convolution", "GroupConvolution", "ConvolutionBackpropData", "MatMul"}
_INTEGERS = {"i8", "u8"}


@dataclass(frozen=True)
class Layer:
    """A product of the model, and how this computer's processor computes it.

    Attributes
    ----------
    name, kind : str
        In the IR.
    macs : int
        Multiply-accumulates for one image or one box.
    precision : str
        `i8`, `u8` or `f32`, of the node of the compiled model that computes it.
    kernel : str
        OpenVINO's name of the implementation.
    reason : str
        Why it does not run in 8-bit integers; empty if it does.
    """

    name: str
    kind: str
    macs: int
    precision: str
    kernel: str
    reason: str

    @property
    def is_int8(self) -> bool:
        """Whether it is computed in 8-bit integers."""
        return self.precision in _INTEGERS


def read_coverage(path: Path) -> list[Layer]:
    """Compile an encoder or decoder, and return its convolutions and matrix products.

    Parameters
    ----------
    path : Path
        `encoder.xml` or `decoder.xml` of a model directory.
    """
    core = openvino_core()
    model = core.read_model(path)
    if len(model.inputs) > 1:
        model.reshape(ONE_BOX)
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    running = {}
    for node in compiled.get_runtime_model().get_ordered_ops():
        info = {key: value.astype(str) for key, value in node.get_rt_info().items()}
        for name in info["originalLayersNames"].split(","):
            running[name] = (info["runtimePrecision"], info["primitiveType"])
    layers = []
    for node in model.get_ordered_ops():
        if node.get_type_name() in _PRODUCTS and not _is_folded(node):
            precision, kernel = _find(node, running)
            reason = "" if precision in _INTEGERS else _reason(node)
            name = node.get_friendly_name().strip("/")
            kind = node.get_type_name()
            layers.append(Layer(name, kind, count_macs(node), precision, kernel, reason))
    return layers


def int8_share(layers: list[Layer]) -> float:
    """Return the share of multiply-accumulates that are computed in 8-bit integers."""
    return sum(layer.macs for layer in layers if layer.is_int8) / sum(x.macs for x in layers)


def format_coverage(part: str, layers: list[Layer]) -> str:
    """Lay out the layers of a part as a table, and its share below."""
    width = max(len(layer.name) for layer in layers)
    lines = [
        f"{layer.name:<{width}}  {layer.macs / 1e6:9.2f} M  {layer.precision:<4} "
        f"{layer.kernel}  {layer.reason}".rstrip()
        for layer in layers
    ]
    total = sum(layer.macs for layer in layers)
    lines.append(
        f"{part}: {int8_share(layers):.2%} of {total / 1e9:.2f} G multiply-accumulates in 8-bit "
        f"integers; the goal is {LEAST_INT8_SHARE[part]:.0%}"
    )
    return "\n".join(lines)


def count_macs(node: ov.Node) -> int:
    """Count the multiply-accumulates of a convolution or matrix product of static shapes."""
    out = int(np.prod(node.output(0).get_shape()))
    first, second = (list(node.input_value(i).get_shape()) for i in range(2))
    kind = node.get_type_name()
    if kind == "MatMul":
        return out * first[-2 if node.get_attributes()["transpose_a"] else -1]
    if kind == "Convolution":  # weights (out, in, height, width)
        return out * int(np.prod(second[1:]))
    if kind == "GroupConvolution":  # (groups, out, in, height, width)
        return out * int(np.prod(second[2:]))
    return int(np.prod(first)) * int(np.prod(second[1:]))  # transposed: (in, out, height, width)


def _find(node: ov.Node, running: dict[str, tuple[str, str]]) -> tuple[str, str]:
    """Find what computes a node: it may have been merged into one that follows."""
    name = node.get_friendly_name()
    for known in (name, f"{name}/DequantizationMultiply"):
        if known in running:
            return running[known]
    readers = node.output(0).get_target_inputs()
    if len(readers) != 1:
        return "unknown", "unknown"
    return _find(next(iter(readers)).get_node(), running)


def _is_folded(node: ov.Node) -> bool:
    """Tell whether a product is of constants alone, and computed when the model is compiled."""
    return all(value.get_node().get_type_name() == "Constant" for value in node.input_values())


def _reason(node: ov.Node) -> str:
    weights = node.input_value(1).get_node()
    while weights.get_type_name() in ("Convert", "Multiply", "Reshape", "Transpose"):
        weights = weights.input_value(0).get_node()
    if weights.get_type_name() == "Constant" and constant(weights.output(0)).dtype == np.int8:
        return "quantised, but OpenVINO has no 8-bit kernel for it on this processor"
    return "float in the network"
