"""`python -m tests.stress COMMAND`: one module for each command, one line for each here."""

from __future__ import annotations

import typer

from tests.stress.bad_files import bad_files

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.callback()
def main() -> None:
    """Long runs that print values next to their goals; exit status 1 if one is missed."""


app.command()(bad_files)

if __name__ == "__main__":
    app()
