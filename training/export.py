"""Writes model directories: traced networks as OpenVINO IR, and the `model.json` that vouches.

python -m training.export --checkpoint FILE --out DIR [--name NAME] [--force] [--report]
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import openvino as ov
import torch
import typer
from torch import Tensor, nn

from napari_medsamq.errors import ModelError
from napari_medsamq.inference.model_spec import FLOAT_BITS, ModelSpec
from napari_medsamq.inference.preprocess import BoxRule
from training.checkpoint import SHA256
from training.checkpoints.network_file import StoredNetwork
from training.console import error_message
from training.conversion.compact import gather_biases, store_half
from training.conversion.coverage import format_coverage, read_coverage
from training.conversion.qcdq import convert_quantized, is_quantized
from training.conversion.restore import name_tensors, read_start
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
        In evaluation mode; float, or quantised by `training.quantization.layer_map.quantize`.

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


def write_model(
    directory: Path,
    encoder: ov.Model,
    decoder: ov.Model,
    *,
    name: str,
    bits: int,
    provenance: dict[str, str],
    box: BoxRule = BoxRule.far_edge,
    force: bool = False,
) -> ModelSpec:
    """Write a model directory, whole or not at all.

    Parameters
    ----------
    directory : Path
        New or empty, unless `force` is given.
    encoder, decoder : openvino.Model
        With the names and shapes of `convert_lite_medsam`; weights are stored as FP16.
    name, bits, provenance
        As in `ModelSpec`.
    box : BoxRule
        By which the network is to be given boxes.
    force : bool
        Replace the model in `directory`; files of other names, such as a model card, stay.

    Raises
    ------
    ModelError
        If `directory` is a file, or holds something and `force` is not given.
    """
    _check_target(directory, force=force)
    directory.parent.mkdir(parents=True, exist_ok=True)
    # A neighbour of the target, so that moving it there is one step of the file system.
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".export-") as folder:
        fresh = Path(folder) / "new"
        fresh.mkdir()
        ov.save_model(encoder, fresh / "encoder.xml", compress_to_fp16=True)
        ov.save_model(decoder, fresh / "decoder.xml", compress_to_fp16=True)
        spec = ModelSpec.describe(fresh, name=name, bits=bits, provenance=provenance, box=box)
        spec.write(fresh)
        _replace_directory(directory, fresh, aside=Path(folder) / "old")
    return spec


def _check_target(directory: Path, *, force: bool) -> None:
    if directory.exists() and not directory.is_dir():
        raise ModelError(f"{directory} is a file; give a directory for the model.")
    if directory.is_dir() and any(directory.iterdir()) and not force:
        raise ModelError(
            f"{directory} is not empty. Give another directory, or --force to replace the model."
        )


def _replace_directory(old: Path, new: Path, aside: Path) -> None:
    """Put `new` where `old` is, with those files of `old` that `new` lacks."""
    if not old.exists():
        new.rename(old)
        return
    for path in old.iterdir():
        if path.is_file() and not (new / path.name).exists():
            shutil.copy2(path, new)
    old.rename(aside)
    try:
        new.rename(old)
    except OSError:
        aside.rename(old)
        raise


def _convert(net: nn.Module, inputs: Mapping[str, Sequence[int]], outputs: list[str]) -> ov.Model:
    if is_quantized(net):
        return convert_quantized(net, example_inputs(inputs), inputs, outputs)
    model = ov.convert_model(net, example_input=example_inputs(inputs), input=list(inputs.items()))
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


def box_rule(network: StoredNetwork) -> BoxRule:
    """Return by which rule a network is to be given boxes."""
    story = network.provenance
    published = story.get("checkpoint_sha256") == SHA256 and "training" not in story
    return BoxRule.published if published and network.quant is None else BoxRule.far_edge


def describe_network(network: StoredNetwork) -> tuple[int, dict[str, str]]:
    """Return a network's bits, and what `model.json` says about where it comes from."""
    versions = f"openvino {ov.__version__}, torch {torch.__version__}"
    story = {"training": "none: the float network as published", **network.provenance}
    if network.quant is None:
        story["training"] += ", weights stored as FP16"
        return FLOAT_BITS, {**story, "versions": versions}
    versions += f", brevitas {version('brevitas')}"
    settings = json.dumps(asdict(network.quant))
    return network.quant.bits, {**story, "quantisation": settings, "versions": versions}


def main(
    out: Annotated[Path, typer.Option(help="Model directory to write; new or empty.")],
    checkpoint: Annotated[
        Path,
        typer.Option(
            help="Float weights, a network file (.pth), or the directory of an int8 model."
        ),
    ],
    name: Annotated[str | None, typer.Option(help="Name of the model; default: of DIR.")] = None,
    force: Annotated[bool, typer.Option(help="Replace the model in DIR.")] = False,
    report: Annotated[
        bool, typer.Option("--report", help="Print what runs in 8-bit integers here.")
    ] = False,
) -> None:
    """Export a network, float or quantised, as a model directory."""
    with error_message():
        _check_target(out, force=force)
        network = read_start(checkpoint)
        bits, provenance = describe_network(network)
        encoder, decoder = convert_lite_medsam(network.net)
        write_model(
            out,
            encoder,
            decoder,
            name=name or out.resolve().name,
            bits=bits,
            provenance=provenance,
            box=box_rule(network),
            force=force,
        )
    typer.echo(out)
    if report:
        for part in ("encoder", "decoder"):
            typer.echo(format_coverage(part, read_coverage(out / f"{part}.xml")))


if __name__ == "__main__":
    typer.run(main)
