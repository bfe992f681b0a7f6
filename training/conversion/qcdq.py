"""From a quantised network to an OpenVINO model that runs in 8-bit integers.

Brevitas writes each rounding as QuantizeLinear, Clip and DequantizeLinear (QCDQ) in an ONNX graph.
OpenVINO only turns a layer into an integer kernel if its weights are integers times a scale and
nothing else, and its input is a FakeQuantize of 256 levels: the clean-up here makes them so.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import openvino as ov
from onnx import numpy_helper
from openvino import opset13 as ops
from torch import Tensor, nn

from training.conversion.ov_graph import constant, nodes, replace

with warnings.catch_warnings():
    # Brevitas 0.13 warns at import of an optional kernel that nothing here uses.
    warnings.simplefilter("ignore")
    from brevitas.export.onnx.standard.qcdq.manager import StdQCDQONNXManager
    from brevitas.proxy import ActQuantProxyFromInjector

_OPSET = 17

Constants = dict[str, np.ndarray]


class _Manager(StdQCDQONNXManager):  # type: ignore[misc]
    """Brevitas' own, without its rehearsal of the network, which takes most of the time."""

    @classmethod
    def _cache_inp_out(cls, *_args: object, **_options: object) -> None:
        # What is remembered here are the quantisers of a bias, and no bias is quantised.
        return


def is_quantized(net: nn.Module) -> bool:
    """Tell whether any layer of a network is quantised."""
    return any(isinstance(module, ActQuantProxyFromInjector) for module in net.modules())


def convert_quantized(
    net: nn.Module,
    example: Mapping[str, Tensor],
    shapes: Mapping[str, Sequence[int]],
    outputs: Sequence[str],
) -> ov.Model:
    """Trace a quantised network into an OpenVINO model.

    Parameters
    ----------
    net : nn.Module
        In evaluation mode.
    example : dict of str to Tensor
        Inputs by name, in the order of `net.forward`.
    shapes : dict of str to sequence of int
        Shape of each input; sizes of -1 are dynamic.
    outputs : sequence of str
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        write_qcdq(path, net, example, shapes, outputs)
        model = onnx.load(path)
        clean_qcdq(model)
        onnx.save(model, path)
        converted = ov.convert_model(path)
    _separate_norms(converted)
    return converted


def write_qcdq(
    path: Path,
    net: nn.Module,
    example: Mapping[str, Tensor],
    shapes: Mapping[str, Sequence[int]],
    outputs: Sequence[str],
) -> None:
    """Write a quantised network as Brevitas does, in QCDQ ONNX; arguments as above."""
    dynamic = {
        name: [axis for axis, size in enumerate(shape) if size == -1]
        for name, shape in shapes.items()
    }
    # The exporter names dynamic axes by itself, and warns that it does.
    named = {
        name: {axis: f"{name}_{axis}" for axis in axes} for name, axes in dynamic.items() if axes
    }
    with warnings.catch_warnings():
        # PyTorch 2.9 and later announce that this exporter, the one Brevitas has, gets old.
        warnings.simplefilter("ignore")
        _Manager.export(
            net,
            args=tuple(example.values()),
            export_path=str(path),
            dynamo=False,
            opset_version=_OPSET,
            input_names=list(example),
            output_names=list(outputs),
            dynamic_axes=named,
        )


def clean_qcdq(model: onnx.ModelProto) -> None:
    """Rewrite a QCDQ graph so that OpenVINO finds its integers, in place; no number changes.

    - Weights are clipped here rather than by a node.
    - An activation of fewer than 8 bits is clipped before it is rounded, not after.
    - Zero points that are zero go, except those that say the type of a QuantizeLinear.
    """
    graph = model.graph
    constants = {init.name: numpy_helper.to_array(init) for init in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    quantizers = {node.output[0]: node for node in graph.node if node.op_type == "QuantizeLinear"}
    renamed: dict[str, str] = {}
    kept: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.op_type == "Clip" and node.input[0] in constants:
            _clip_weights(graph, node, constants)
        elif node.op_type == "Clip" and node.input[0] in quantizers:
            renamed[node.output[0]] = node.input[0]
            kept.insert(
                kept.index(quantizers[node.input[0]]),
                _clip_before(graph, node, quantizers[node.input[0]], constants),
            )
        else:
            kept.append(node)
    for node in kept:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        if node.op_type == "DequantizeLinear" and not constants[node.input[2]].any():
            del node.input[2]
    del graph.node[:]
    graph.node.extend(kept)


def _clip_weights(graph: onnx.GraphProto, clip: onnx.NodeProto, constants: Constants) -> None:
    """Put the clipped weights into the graph under the name of the node's output."""
    values, least, most = (constants[name] for name in clip.input)
    clipped = np.clip(values, least, most).astype(values.dtype)
    graph.initializer.append(numpy_helper.from_array(clipped, clip.output[0]))


def _clip_before(
    graph: onnx.GraphProto, clip: onnx.NodeProto, quantizer: onnx.NodeProto, constants: Constants
) -> onnx.NodeProto:
    """Return a node that clips what `quantizer` rounds, and make it its input."""
    scale = constants[quantizer.input[1]]
    limits = []
    for name in clip.input[1:3]:
        limits.append(f"{clip.output[0]}_{len(limits)}")
        value = np.asarray(constants[name] * scale, np.float32)
        graph.initializer.append(numpy_helper.from_array(value, limits[-1]))
    node = onnx.helper.make_node(
        "Clip", [quantizer.input[0], *limits], [f"{clip.output[0]}_before"], name=clip.name
    )
    quantizer.input[0] = node.output[0]
    return node


def _separate_norms(model: ov.Model) -> None:
    """Undo that the conversion folds a scale and shift per channel into the limits of a rounding.

    OpenVINO does that again when it compiles; until then a network's tensors are those it had.
    """
    for node in nodes(model, "FakeQuantize"):
        below, above, least, most = (constant(node.input_value(i)) for i in range(1, 5))
        if below.size == least.size:
            continue
        weight = (most - least) / (above - below)
        y = ops.multiply(node.input_value(0), ops.constant(weight.astype(np.float32)))
        shift = (least - below * weight).astype(np.float32)
        if np.abs(shift).max() > 1e-5 * np.abs(least).max():  # else only a scale was folded
            y = ops.add(y, ops.constant(shift))
        limits = [ops.constant(limit) for limit in (least, most, least, most)]
        fresh = ops.fake_quantize(y, *limits, node.get_attributes()["levels"])
        fresh.set_friendly_name(node.get_friendly_name())
        replace(node.output(0), fresh.output(0))
