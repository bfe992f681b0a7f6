"""Writes model directories: OpenVINO models, and the `model.json` that vouches for them."""

from __future__ import annotations

import json
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path

import openvino as ov
import torch

from napari_medsamq.errors import ModelError
from napari_medsamq.inference.model_spec import FLOAT_BITS, ModelSpec
from napari_medsamq.inference.preprocess import BoxRule
from training.checkpoints.network_file import StoredNetwork
from training.checkpoints.published import SHA256
from training.conversion.to_openvino import convert_lite_medsam


def export_network(
    directory: Path, network: StoredNetwork, *, name: str, force: bool = False
) -> ModelSpec:
    """Write a network, float or quantised, as a model directory; arguments as of `write_model`.

    Raises
    ------
    ModelError
        As of `write_model`, before the network is converted.
    """
    _check_target(directory, force=force)
    bits, provenance = describe_network(network)
    return write_model(
        directory,
        *convert_lite_medsam(network.net),
        name=name,
        bits=bits,
        provenance=provenance,
        box=box_rule(network),
        force=force,
    )


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
    settings = json.dumps(network.quant.model_dump())
    return network.quant.bits, {**story, "quantisation": settings, "versions": versions}
