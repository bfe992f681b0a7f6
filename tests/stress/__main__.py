"""`python -m tests.stress COMMAND`: each command prints values beside their goals."""

from __future__ import annotations

import typer

from tests.stress.faults import faults

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
app.command("faults")(faults)

if __name__ == "__main__":
    app()
