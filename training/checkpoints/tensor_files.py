"""Files of tensors by name: read without running any code, written whole or not at all."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from napari_medsamq.errors import ModelError, SaveError
from training.files import replace_file


def read_tensors(path: Path) -> dict[str, Any]:
    """Read a file of torch.save that holds a mapping of tensors and plain values.

    Raises
    ------
    ModelError
        If it is missing or damaged, or holds anything else, code above all.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        raise ModelError(
            f"{path} cannot be read as a checkpoint ({type(error).__name__}): it must be a file "
            "of tensors written by torch.save, without any code. Give another file, or make it "
            "again."
        ) from error
    if not isinstance(content, dict):
        raise ModelError(
            f"{path} must hold tensors by name, but holds a {type(content).__name__}. Give another "
            "file."
        )
    return content


def write_tensors(path: Path, content: Mapping[str, Any]) -> None:
    """Write a mapping of tensors and plain values, whole or not at all.

    Raises
    ------
    SaveError
        If it cannot be written; an older file of this name is still there.
    """
    try:
        replace_file(path, lambda temporary: torch.save(dict(content), temporary))
    except (OSError, RuntimeError) as error:  # PyTorch's writer has RuntimeError for a full disk
        raise SaveError(
            f"{path}: cannot be written ({error}). Free space there, or use another folder; an "
            "older file of this name is unharmed."
        ) from error


def load_weights(
    path: Path, net: torch.nn.Module, weights: Mapping[str, torch.Tensor], wanted: str, cure: str
) -> None:
    """Load all weights of a network.

    Parameters
    ----------
    path : Path
        Where the weights come from.
    net : nn.Module
    weights : mapping of str to Tensor
    wanted, cure : str
        What network the weights have to be of, and a sentence that says where to get such a file.

    Raises
    ------
    ModelError
        If they are not exactly those of this network.
    """
    try:
        lacking, unknown = net.load_state_dict(weights, strict=False)
    except RuntimeError as error:  # torch lists every tensor of another shape, one a line
        found = [str(error).splitlines()[1].strip("\t .")]
    else:
        unlike = {"lacking": lacking, "not known": unknown}
        found = [f"{len(names)} {what} (`{names[0]}`)" for what, names in unlike.items() if names]
    if found:
        raise ModelError(
            f"{path} must hold exactly the weights of {wanted}, and differs: {', '.join(found)}. "
            f"{cure}"
        )
