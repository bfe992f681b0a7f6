"""What the commands of `medsamq` have in common."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from napari_medsamq.errors import MedSAMQError, SaveError
from napari_medsamq.model_choice import find_model

MODEL_HELP = "A name that `medsamq models` lists, or a model directory."
Model = Annotated[str | None, typer.Option("--model", help=MODEL_HELP)]
Device = Annotated[
    str, typer.Option("--device", help="OpenVINO device: CPU, GPU, or AUTO for its choice.")
]
Series = Annotated[
    str | None, typer.Option("--series", help="Series UID, for a folder with several series.")
]
VolumeNumber = Annotated[
    int | None,
    typer.Option(
        "--volume", min=1, help="Which volume, from 1, where there are several: times, echoes."
    ),
]
Resample = Annotated[
    bool,
    typer.Option("--resample", help="Bring uneven or tilted DICOM slices to an even grid."),
]


@contextmanager
def told_to_user() -> Iterator[None]:
    """Print an error in one line, and end the program with status 1."""
    try:
        yield
    except MedSAMQError as error:
        typer.secho(f"Error: {error}", fg=typer.colors.RED, err=True)
        raise typer.Exit(1) from error


def no_window(error: ImportError) -> MedSAMQError:
    """Return what to tell the user where napari or Qt cannot be imported."""
    return MedSAMQError(
        f"The window needs napari and Qt, which are not installed ({error}). Install them with: "
        'pip install "napari-medsamq[app]"'
    )


def chosen_model(name: str | None) -> Path | None:
    """Return the directory of a model that was named; None if none was."""
    return None if name is None else find_model(name)


def write_json(path: Path, content: Any) -> None:
    """Write what JSON can hold to a file.

    Raises
    ------
    SaveError
        If it cannot be written.
    """
    try:
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise SaveError(
            f"{path} cannot be written ({error.strerror}). Name a file in a folder that exists."
        ) from error
