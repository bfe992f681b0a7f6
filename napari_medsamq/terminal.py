"""What the commands of `medsamq` have in common."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import typer

from napari_medsamq import volume_io
from napari_medsamq.errors import MedSAMQError, PromptError, SaveError, VolumeError
from napari_medsamq.model_choice import find_model
from napari_medsamq.preprocess import WindowLevel
from napari_medsamq.volume_io import Volume, read_volume
from napari_medsamq.windows import named_window


class ModalityName(StrEnum):
    """What a volume can be said to be."""

    ct = "ct"
    mr = "mr"
    other = "other"


MODALITIES: dict[ModalityName, volume_io.Modality] = {
    ModalityName.ct: "CT",
    ModalityName.mr: "MR",
    ModalityName.other: "other",
}


class Axis(StrEnum):
    """The plane whose slices a 3D box is carried through."""

    axial = "axial"
    coronal = "coronal"
    sagittal = "sagittal"


MODEL_HELP = "A name that `medsamq models` lists, or a model directory."
Model = Annotated[str | None, typer.Option("--model", help=MODEL_HELP)]
Device = Annotated[
    str, typer.Option("--device", help="OpenVINO device: CPU, GPU, or AUTO for its choice.")
]
Series = Annotated[str | None, typer.Option(help="Series UID, for a folder with several series.")]
Modality = Annotated[
    ModalityName | None, typer.Option(help="What the image is, where the file does not say.")
]
Window = Annotated[
    str | None,
    typer.Option(help="LEVEL,WIDTH in the image's unit, or a preset: lung, bone, brain..."),
]
CsvFile = Annotated[Path | None, typer.Option("--csv", help="Write the table here, as CSV.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write the numbers here, as JSON.")]


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


def read_image(path: Path, series: str | None, modality: ModalityName | None) -> Volume:
    """Read an image whose modality the file or the user has to say.

    Raises
    ------
    VolumeError
        If it cannot be read, or neither says it and the intensities could be either.
    """
    volume = read_volume(path, series)
    if modality is not None:
        return volume.with_modality(MODALITIES[modality])
    if volume.modality_source == "ambiguous":
        raise VolumeError(
            f"{path} does not say whether it is CT or MR, and its intensities could be either."
            " Add --modality ct, mr or other; it decides the window."
        )
    return volume


def parse_window(text: str | None, volume: Volume) -> WindowLevel | None:
    """Read LEVEL,WIDTH or the name of a preset; None for none.

    Raises
    ------
    PromptError
        If it is neither.
    """
    if text is None:
        return None
    if text[:1].isalpha() and "," not in text:
        return named_window(text, volume)
    try:
        level, width = (float(part) for part in text.split(","))
        return WindowLevel(level, width)
    except ValueError as error:
        raise PromptError(
            f"A window is LEVEL,WIDTH with a positive width, e.g. 40,400, not {text!r}."
        ) from error


def check_reports(reports: Sequence[Path | None], others: Sequence[Path]) -> None:
    """Refuse files for numbers that cannot be written or would replace another one of the command.

    Raises
    ------
    SaveError
    """
    taken = {path.absolute() for path in others}
    for path in reports:
        if path is None:
            continue
        if not path.parent.is_dir():
            raise SaveError(f"There is no folder {path.parent} for the numbers. Make it first.")
        if path.is_dir() or path.absolute() in taken:
            raise SaveError(f"{path} cannot take the numbers: it is in use. Choose another name.")
        taken.add(path.absolute())


def write_json(path: Path, content: Any) -> None:
    """Write what JSON can hold to a file.

    Raises
    ------
    SaveError
        If it cannot be written.
    """
    _write(path, json.dumps(content, indent=1) + "\n")


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows that have the same columns to a file.

    Raises
    ------
    SaveError
        If it cannot be written.
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    _write(path, text.getvalue())


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:8]}.part")
    try:
        temporary.write_text(text, encoding="utf-8", newline="")
        temporary.replace(path)
    except OSError as error:
        raise SaveError(
            f"{path} cannot be written ({error.strerror}). Name a file in a folder that exists."
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
