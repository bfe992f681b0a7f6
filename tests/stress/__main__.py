"""`python -m tests.stress COMMAND`: each command prints values beside their goals."""

from __future__ import annotations

import typer

from tests.stress.batch import batch

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
app.command("batch")(batch)


@app.callback()
def main() -> None:
    """Long runs that print values beside their goals; exit status 1 if one is missed."""


if __name__ == "__main__":
    app()
