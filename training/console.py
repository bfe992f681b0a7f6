"""What every command shows: a progress bar, tables, and one line where it has to end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from napari_medsamq.cli.common import say
from napari_medsamq.errors import MedSAMQError


@contextmanager
def error_message() -> Iterator[None]:
    """Show an error that its reader can cure as one line, and end the command with status 1."""
    try:
        yield
    except (MedSAMQError, OSError) as error:
        say(f"Error: {error}", error=True)
        raise typer.Exit(1) from error


@contextmanager
def progress_bar(unit: str, *, shown: bool = True) -> Iterator[Callable[[int, int], None]]:
    """Show a bar with the time remaining on standard error.

    Parameters
    ----------
    unit : str
        What is counted.
    shown : bool

    Yields
    ------
    report : callable
        To be told how many of how many are done.
    """
    columns = (TextColumn(unit), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not shown) as progress:
        task = progress.add_task("", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def print_tables(tables: Iterable[Table]) -> None:
    """Print tables; where nobody's screen ends, they need not fold."""
    console = Console(width=None if sys.stdout.isatty() else 200)
    for table in tables:
        console.print(table)


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay out a table as Markdown, numbers to the right of the first column."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, rule, *rows))
