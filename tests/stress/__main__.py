"""`python -m tests.stress COMMAND`: each command prints values beside their goals."""

from __future__ import annotations

import typer

from tests.stress.bad_files import bad_files
from tests.stress.batch import batch
from tests.stress.dicom.command import dicom
from tests.stress.faults import faults
from tests.stress.geometry import geometry
from tests.stress.mutants.command import mutants
from tests.stress.walk import walk

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
app.command("bad-files")(bad_files)
app.command("batch")(batch)
app.command("dicom")(dicom)
app.command("faults")(faults)
app.command("geometry")(geometry)
app.command("mutants")(mutants)
app.command("walk")(walk)

if __name__ == "__main__":
    app()
