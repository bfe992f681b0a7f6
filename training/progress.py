"""The progress bar of every long command."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


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
