"""The quantised network inside a model directory: the export names its tensors, here they are read.

Checkpoints are not shipped; training goes on from a shipped model because its IR holds every number
of the network that was run: integers and scales of weights, limits of activations, and the rest.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import openvino as ov
import torch
from torch import Tensor, nn

from napari_medsamq.errors import ModelError
from napari_medsamq.inference.backend import openvino_core
from napari_medsamq.inference.model_spec import ModelSpec
from training.checkpoints.network_file import StoredNetwork, empty_network, read_network
from training.conversion.naming import STACKS, TURNED
from training.conversion.ov_graph import MOVES, constant, nodes
from training.models.prompt_encoder import add_carried_kinds
from training.quantization.quantized_network import QuantConfig

with warnings.catch_warnings():
    # Brevitas 0.13 warns at import of an optional kernel that nothing here uses.
    warnings.simplefilter("ignore")
    from brevitas.proxy import ActQuantProxyFromInjector

# In the checkpoint, but never run.
_UNUSED = re.compile(r"mask_decoder\.output_hypernetworks_mlps\.[123]\.")
_THRESHOLD = ".fused_activation_quant_proxy.tensor_quant.scaling_impl.value"

Tensors = dict[str, np.ndarray]


def restore_network(directory: Path) -> StoredNetwork:
    """Rebuild the quantised network of a model directory.

    What was stored as FP16 is restored as rounded; quantised weights are exactly those that run.

    Raises
    ------
    ModelError
        If the directory is damaged, or holds no quantised model of this program.
    """
    spec = ModelSpec.read(directory)
    spec.verify(directory)
    settings = spec.provenance.get("quantisation")
    if settings is None:
        raise ModelError(
            f"{directory} must hold a quantised model, but model.json does not say how it is "
            "quantised. Give the directory of an int8 model."
        )
    quant = QuantConfig(**json.loads(settings))
    net = empty_network(spec.provenance, quant)
    found: Tensors = {}
    core = openvino_core()
    for part in ("encoder", "decoder"):
        found |= _read_tensors(core.read_model(directory / f"{part}.xml"), quant)
    state = net.state_dict()
    for name, module in net.named_modules():
        if isinstance(module, ActQuantProxyFromInjector) and module.is_quant_enabled:
            state[f"{name}{_THRESHOLD}"] = torch.ones(())  # of its magnitude before calibration
    try:
        for name, tensor in state.items():
            if not _UNUSED.match(name):
                state[name] = _fit(found, name, tensor, net)
    except KeyError as error:
        raise ModelError(
            f"{directory} must hold every tensor of the network, but lacks {error}. Export the "
            "model again with `python -m training.export`."
        ) from error
    net.load_state_dict(state)
    provenance = {k: v for k, v in spec.provenance.items() if k not in ("quantisation", "versions")}
    return StoredNetwork(net.eval(), quant, provenance)


def read_start(path: Path) -> StoredNetwork:
    """Read a network file, or the directory of an int8 model.

    Raises
    ------
    ModelError
        If it is missing or damaged.
    """
    if not path.exists():
        raise ModelError(f"There is no {path}. Give a network file or a model directory.")
    return restore_network(path) if path.is_dir() else read_network(path)


def _read_tensors(model: ov.Model, quant: QuantConfig) -> Tensors:
    """Read all that has a name: weights in floating point, and thresholds of activations."""
    tensors: Tensors = {}
    for node in nodes(model, "Constant"):
        values = np.array(node.data, np.float32)
        for name in node.get_friendly_name().split(";"):
            if name.endswith(TURNED):
                tensors[name.removesuffix(TURNED)] = values.T
            else:
                tensors[name] = values
        if node.get_element_type() == ov.Type.i8:
            tensors[node.get_friendly_name()] = values * _scale_of(node)
    for stack, names in STACKS.items():
        if stack in tensors:
            rows = list(tensors[stack])
            for name in names:
                count = 4 if "mask_tokens" in name else 1
                own, rows = rows[:count], rows[count:]
                if own:
                    tensors[name] = np.stack(own)
    add_carried_kinds(tensors, "prompt_encoder.")
    for name, quantizer in _quantizers(model):
        step = -float(constant(quantizer.input_value(1)).ravel()[0]) / 128
        layer = name.removesuffix(".input_quant").removesuffix(".act_quant")
        tensors[f"{name}{_THRESHOLD}"] = np.float32(step * 2 ** (quant.bits_of(layer) - 1))
    return tensors


def _quantizers(model: ov.Model) -> Iterator[tuple[str, ov.Node]]:
    """Yield each rounding under the names of the quantisers that it stands for.

    Layers that round the same input in the same way share one, so it is looked for behind them.
    """
    for node in nodes(model, "FakeQuantize"):
        yield node.get_friendly_name(), node
    for node in nodes(model, "Constant"):
        if node.get_element_type() != ov.Type.i8:
            continue
        product = _reader(_reader(_reader(node).get_node()).get_node()).get_node()
        above = product.input_value(0).get_node()
        while above.get_type_name() in MOVES:
            above = above.input_value(0).get_node()
        if above.get_type_name() == "FakeQuantize":
            layer = node.get_friendly_name().partition("@")[0].removesuffix(".weight")
            yield f"{layer}.input_quant", above


def _scale_of(integers: ov.Node) -> np.ndarray:
    """Find the scale of integer weights, which are converted and multiplied by it."""
    scaling = _reader(_reader(integers).get_node())
    return constant(scaling.get_node().input_value(1 - scaling.get_index()))


def _reader(node: ov.Node) -> ov.Input:
    (reader,) = node.output(0).get_target_inputs()
    return reader


def _fit(found: Tensors, name: str, like: Tensor, net: nn.Module) -> Tensor:
    """Return the tensor of this name in the shape that the network has it."""
    if f"{name}@0" in found:  # queries, keys and values, each a layer of its own
        attention = net.get_submodule(name.rpartition(".qkv.")[0])
        parts = [
            found[f"{name}@{i}"].reshape(attention.heads, -1, *like.shape[1:]) for i in range(3)
        ]
        values = np.concatenate(parts, axis=1)
    elif name not in found and name.endswith(("bias", "biases")):
        return torch.zeros_like(like)  # OpenVINO leaves out the addition of nothing but zeros
    else:
        values = found[name]
    if values.size == 4 * like.numel():  # the bias of a transposed convolution, for four pixels
        values = values.ravel()[: like.numel()]
    elif like.ndim == 4 and values.ndim == 2:  # its weights
        values = values.reshape(2, 2, like.shape[1], like.shape[0]).transpose(3, 2, 0, 1)
    return torch.from_numpy(np.array(values)).reshape(like.shape).to(like.dtype)
