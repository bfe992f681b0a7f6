"""Writes model directories: OpenVINO models, and the `model.json` that vouches for them."""

from __future__ import annotations

import json
import shutil
import tempfile
from importlib.metadata import version
from itertools import takewhile
from pathlib import Path
from typing import get_args

import openvino as ov
import torch

from napari_medsamq.errors import ModelError
from napari_medsamq.inference.model_spec import FLOAT_BITS, ModelSpec, NetworkPart
from napari_medsamq.inference.preprocess import BoxRule
from training.checkpoints.network_file import StoredNetwork
from training.checkpoints.published import SHA256
from training.conversion.to_openvino import convert_decoder, convert_lite_medsam


def export_network(
    directory: Path,
    network: StoredNetwork,
    carrier: StoredNetwork | None = None,
    *,
    name: str,
    force: bool = False,
) -> ModelSpec:
    """Write a network, float or quantised, as a model directory; arguments as of `write_model`.

    Parameters
    ----------
    carrier : StoredNetwork, optional
        The same encoder with a decoder that has learnt to carry.

    Raises
    ------
    ModelError
        As of `write_model`, before the network is converted; or if the carrier has another encoder.
    """
    _check_target(directory, force=force)
    bits, provenance = describe_network(network)
    parts = convert_lite_medsam(network.net)
    if carrier is not None:
        _check_encoder(network, carrier)
        parts = *parts, convert_decoder(carrier.net)
        provenance["carrier"] = _story_since(provenance, describe_network(carrier)[1])
    return write_model(
        directory,
        *parts,
        name=name,
        bits=bits,
        provenance=provenance,
        box=box_rule(network),
        force=force,
    )


def write_model(
    directory: Path,
    *parts: ov.Model | Path,
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
    *parts : openvino.Model or Path
        Encoder, decoder and, of a network that has learnt to carry, carrier, with the names and
        shapes of `convert_lite_medsam`; weights are stored as FP16. Of a path, the .xml of another
        directory, the files are copied.
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
        for part, model in zip(get_args(NetworkPart), parts, strict=False):
            if isinstance(model, Path):
                for own in (model, model.with_suffix(".bin")):
                    shutil.copy2(own, fresh / f"{part}{own.suffix}")
            else:
                ov.save_model(model, fresh / f"{part}.xml", compress_to_fp16=True)
        spec = ModelSpec.describe(fresh, name=name, bits=bits, provenance=provenance, box=box)
        spec.write(fresh)
        _replace_directory(directory, fresh, aside=Path(folder) / "old")
    return spec


def _story_since(network: dict[str, str], carrier: dict[str, str]) -> str:
    """Return the steps of the carrier's training that are not the network's as well."""
    ours, theirs = (own["training"].split("; ") for own in (network, carrier))
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(ours, theirs, strict=False))
    return "; ".join(theirs[len([*pairs]) :])


def _check_encoder(network: StoredNetwork, carrier: StoredNetwork) -> None:
    encoder, other = (own.net.image_encoder.state_dict() for own in (network, carrier))
    if encoder.keys() != other.keys() or not all(
        torch.equal(value, other[name]) for name, value in encoder.items()
    ):
        raise ModelError(
            "The carrier has another encoder than the network, whose embeddings it could not read. "
            "Train both from one network, with `trains: decoder`."
        )


def _check_target(directory: Path, *, force: bool) -> None:
    if directory.exists() and not directory.is_dir():
        raise ModelError(f"{directory} is a file; give a directory for the model.")
    if directory.is_dir() and any(directory.iterdir()) and not force:
        raise ModelError(
            f"{directory} is not empty. Give another directory, or --force to replace the model."
        )


def _replace_directory(old: Path, new: Path, aside: Path) -> None:
    """Put `new` where `old` is, with those files of `old` that are no part of its network."""
    if not old.exists():
        new.rename(old)
        return
    for path in old.iterdir():
        ours = path.stem in get_args(NetworkPart) or (new / path.name).exists()
        if path.is_file() and not ours:
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
