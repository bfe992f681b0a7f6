"""A network to the two OpenVINO models of a model directory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import openvino as ov
import torch
from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder
from torch import Tensor, nn

from training.conversion.compact import gather_biases, store_half
from training.conversion.naming import name_tensors
from training.conversion.qcdq import convert_quantized, is_quantized
from training.conversion.rewrites import optimise
from training.models.sam import LiteMedSAM

# Sizes of -1 are dynamic; the engine refuses a model of other names or shapes.
ENCODER_INPUTS = {"image": [1, 3, 256, 256]}
ENCODER_OUTPUTS = ["image_embedding"]
DECODER_INPUTS = {
    "image_embedding": [1, 256, 64, 64],
    "point_coords": [-1, -1, 2],
    "point_labels": [-1, -1],
    "mask_input": [-1, 1, 256, 256],
    "has_mask_input": [1],
}
DECODER_OUTPUTS = ["logits", "iou"]


def convert_lite_medsam(net: LiteMedSAM) -> tuple[ov.Model, ov.Model]:
    """Trace a network into the two OpenVINO models of a model directory.

    Parameters
    ----------
    net : LiteMedSAM
        In evaluation mode; float, or quantised by `quantized_network.quantize`.

    Returns
    -------
    encoder : openvino.Model
        `image` (1, 3, 256, 256) -> `image_embedding` (1, 256, 64, 64).
    decoder : openvino.Model
        `image_embedding` (1, 256, 64, 64), `point_coords` (N, P, 2), `point_labels` (N, P),
        `mask_input` (N, 1, 256, 256), `has_mask_input` (1,) -> `logits` (N, 256, 256), `iou` (N,).
        `mask_input` may also have one row, which serves all prompts.
    """
    return convert_encoder(net), convert_decoder(net)


def convert_encoder(net: LiteMedSAM) -> ov.Model:
    """Trace the encoder alone, as `convert_lite_medsam` does."""
    model = _convert(net.image_encoder, ENCODER_INPUTS, ENCODER_OUTPUTS)
    if is_quantized(net):
        _finish(model, net.image_encoder, "image_encoder.")
    return model


def convert_decoder(net: LiteMedSAM) -> ov.Model:
    """Trace prompt encoder and mask decoder alone, as `convert_lite_medsam` does."""
    decoder = net.decoder().eval()
    model = _convert(decoder, DECODER_INPUTS, DECODER_OUTPUTS)
    if is_quantized(net):
        _finish(model, decoder, "")
    return model


def _convert(net: nn.Module, inputs: Mapping[str, Sequence[int]], outputs: list[str]) -> ov.Model:
    if is_quantized(net):
        return convert_quantized(net, example_inputs(inputs), inputs, outputs)
    # Without PyTorch's rehearsal of what it has traced, which takes two thirds of the time.
    traced = TorchScriptPythonDecoder(
        net, example_input=example_inputs(inputs), trace_kwargs={"check_trace": False}
    )
    model = ov.convert_model(traced, input=list(inputs.items()))
    # The names are the contract; the conversion leaves outputs without any.
    for port, name in zip(model.inputs, inputs, strict=True):
        port.get_tensor().set_names({name})
    for port, name in zip(model.outputs, outputs, strict=True):
        port.get_tensor().set_names({name})
    return model


def _finish(model: ov.Model, net: nn.Module, prefix: str) -> None:
    """Make a part of a quantised network restorable, small and fast."""
    name_tensors(model, net, prefix)
    gather_biases(model, net, prefix)
    if is_quantized(net):
        optimise(model)
    store_half(model)
    model.validate_nodes_and_infer_types()


def example_inputs(inputs: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
    """Make zeros of each shape; 3 stands for a dynamic size, as 1 could be taken for fixed."""
    return {
        name: torch.zeros([3 if size == -1 else size for size in shape])
        for name, shape in inputs.items()
    }
