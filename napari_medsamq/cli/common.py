"""What the commands of `medsamq` have in common."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from napari_medsamq.errors import MedSAMQError, SaveError
from napari_medsamq.inference.model_choice import find_model
from napari_medsamq.io.files import write_table
from napari_medsamq.plain_text import plain

LABEL_HELP = "The label: .nii.gz, .nii, .seg.nrrd, .dcm (DICOM SEG) or .rtstruct.dcm."
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

WithName = Annotated[
    bool, typer.Option("--with-name", help="Write the image's name into the provenance file.")
]
CsvFile = Annotated[Path | None, typer.Option("--csv", help="Write the table here, as CSV.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write the numbers here.")]


class Modality(StrEnum):
    """What a volume can be said to be."""

    ct = "ct"
    mr = "mr"
    other = "other"


class Axis(StrEnum):
    """The plane whose slices a 3D box is carried through."""

    axial = "axial"
    coronal = "coronal"
    sagittal = "sagittal"


@contextmanager
def user_errors() -> Iterator[None]:
    """Print an error in one line, and end the program with status 1."""
    try:
        yield
    except MedSAMQError as error:
        say(f"Error: {error}", error=True)
        raise typer.Exit(1) from error
    except OSError as error:
        if error.filename is None:
            raise
        # Whether a file is there cannot be told if its name is too long or its folder is closed.
        text = f"{error.filename}: {error.strerror}. Check the name, and that you may use it."
        say(f"Error: {text}", error=True)
        raise typer.Exit(1) from error


def say(*lines: str, error: bool = False, warning: bool = False) -> None:
    """Print lines, whatever the names in them hold; errors and warnings beside what is asked for.

    Parameters
    ----------
    lines : str
        Lists within one begin their lines with two blanks; see `plain_text.plain`.
    error, warning : bool
        Whether they go to the standard error, an error in red.
    """
    encoding = (sys.stderr if error or warning else sys.stdout).encoding or "utf-8"
    for line in lines:
        # Not all terminals know all letters.
        text = plain(line, lists=True).encode(encoding, "backslashreplace").decode(encoding)
        typer.secho(text, fg=typer.colors.RED if error else None, err=error or warning)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lay out cells as lines: the first and the last column to the left, numbers to the right."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, pad_edge=False, header_style="")
    for number, name in enumerate(head):
        side: Literal["left", "right"] = "left" if number in (0, len(head) - 1) else "right"
        grid.add_column(name, justify=side, no_wrap=True)
    for row in rows:
        grid.add_row(*(Text(plain(cell)) for cell in row))
    # Wide enough for any name, also in a pipe.
    console = Console(file=io.StringIO(), width=10_000, color_system=None)
    with console.capture() as captured:
        console.print(grid)
    return [line.rstrip() for line in captured.get().splitlines()]


def no_window(error: ImportError) -> MedSAMQError:
    """Return what to tell the user where napari or Qt cannot be imported."""
    return MedSAMQError(
        f"The window needs napari and Qt, which are not installed ({error}). Install them with: "
        'pip install "napari-medsamq[app]"'
    )


def chosen_model(name: str | None) -> Path | None:
    """Return the directory of a model that was named; None if none was."""
    return None if name is None else find_model(name)


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows that have the same columns to a file; errors as of `write_whole`."""
    write_table(path, list(rows[0]) if rows else [], [list(row.values()) for row in rows])


def check_reports(reports: Sequence[Path | None], others: Sequence[Path]) -> None:
    """Refuse files for numbers that cannot be written or would replace another one of the command.

    Of a folder that the command reads, any file may be one.

    Raises
    ------
    SaveError
    """
    taken = {path.resolve() for path in others}
    for path in reports:
        if path is None:
            continue
        if not path.parent.is_dir():
            raise SaveError(f"There is no folder {path.parent} for the numbers. Make it first.")
        place = path.resolve()
        inside = path.exists() and not taken.isdisjoint(place.parents)
        if path.is_dir() or place in taken or inside:
            raise SaveError(f"{path} cannot take the numbers: it is in use. Choose another name.")
        taken.add(place)
