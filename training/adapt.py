"""Teaches a network that comes along by its user's finished work, and keeps it where it is better.

python -m training.adapt [LABELS ...] [--minutes N]
python -m training.adapt --benchmark DATA --val VAL --work FOLDER
"""

from __future__ import annotations

import hashlib
import shutil
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Annotated

import typer
from platformdirs import user_cache_path

from napari_medsamq.inference.model_choice import (
    FAST_MODEL,
    default_model,
    find_model,
    personal_folder,
)
from napari_medsamq.io.modality import modality_of
from napari_medsamq.records.journal import journal_folder
from training.adaptation.adaptation import TRAININGS, adapt, prepare
from training.adaptation.benchmark import run_benchmark, table
from training.adaptation.finished_work import gather, read_journals, read_saved
from training.adaptation.personal_model import Teaching
from training.console import error_message
from training.files import path_sha256
from training.learning.processes import asked_to_end, join_processes, keep_memory

_ENDED = "Ended; the same command goes on from there."


def main(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            help="Folders of labels that were saved with their provenance, and key=value in place "
            "of what configs/adapt.yaml says."
        ),
    ] = None,
    journals: Annotated[
        Path | None, typer.Option(help="Folder of journals. Default: that of the window.")
    ] = None,
    modality: Annotated[
        str | None, typer.Option(help="Learn from images of this kind alone: CT, MR or other.")
    ] = None,
    minutes: Annotated[
        float,
        typer.Option(
            min=0, help="Of all training together. Default: by how many slices there are."
        ),
    ] = 0,
    model: Annotated[
        str | None,
        typer.Option(help="Int8 model that is taught, by name or folder. Default: by modality."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Model directory. Default: mine-DATE, in the window's list.")
    ] = None,
    work: Annotated[
        Path | None,
        typer.Option(help="Folder for what is made on the way. Default: in the cache folder."),
    ] = None,
    benchmark: Annotated[
        Path | None,
        typer.Option(help="See what it brings on these cases, each data set divided by patient."),
    ] = None,
    data_set: Annotated[
        list[str] | None, typer.Option(help="Only these sets of the benchmark, as MR/Heart.")
    ] = None,
    val: Annotated[
        Path | None, typer.Option(help="Cases to compare the benchmark's models on as well.")
    ] = None,
) -> None:
    """Teach a network by your finished work, and keep the new one only where it is better.

    What teaches are slices that you have accepted, and labels as you saved
    them last. First each half of the images is judged by a network that the
    other half has taught: where the masks are not better there, by a paired
    95 % interval, nothing is kept. Else a network learns from all images. It is
    listed in the window beside those that come along, to which one click leads
    back. A run that is ended (Ctrl+C) is gone on with by the same command.

    Example: python -m training.adapt labels --modality CT
    """
    keep_memory()
    given = words or []
    overrides = [word for word in given if "=" in word]
    if minutes:
        overrides.append(f"minutes={minutes / TRAININGS}")
    with error_message(), join_processes("cpu") as processes, asked_to_end() as ends:
        place = work or user_cache_path("napari-medsamq") / "adapt"
        if benchmark is not None:
            teaching = Teaching(find_model(model or FAST_MODEL), processes, ends, (*overrides,))
            rows = run_benchmark(
                benchmark,
                place,
                teaching,
                sets=data_set or (),
                val=val,
                report=lambda row: typer.echo(table([row])),
            )
            typer.echo(table(rows) if rows else _ENDED)
            return
        folders = [Path(word) for word in given if "=" not in word]
        known = journals or journal_folder()
        found = [*read_saved(folders, known), *read_journals(known)]
        wanted = None if modality is None else modality_of(modality)
        finished = place / "finished"
        shutil.rmtree(finished, ignore_errors=True)
        kind, cases, notes = gather(found, wanted, finished)
        for note in notes:
            typer.echo(f"Left out: {note}")
        base = find_model(model) if model else default_model(kind)
        teaching = Teaching(base, processes, ends, (*overrides,))
        # The same work, taught in the same way, is gone on with; other work begins anew.
        said = [base.name, *overrides, *(path_sha256(case.path) for case in cases)]
        folder = place / hashlib.sha256("\n".join(said).encode()).hexdigest()[:16]
        prepare(folder, {case.name: [case] for case in cases}, kind, teaching)
        typer.echo(f"{base.name} learns from {len(cases)} images, and is judged on each.")
        outcome = adapt(folder, teaching, out or _fresh_name())
        if outcome is not None:
            shutil.rmtree(folder, ignore_errors=True)
        typer.echo(outcome or _ENDED)


def _fresh_name() -> Path:
    day = datetime.now().astimezone().strftime("mine-%Y-%m-%d")
    names = (day if number == 1 else f"{day}-{number}" for number in count(1))
    return next(path for path in map(personal_folder().joinpath, names) if not path.exists())


if __name__ == "__main__":
    typer.run(main)
