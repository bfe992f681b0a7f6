"""`medsamq benchmark`: how long models and window take on this computer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_medsamq.cli.common import MODEL_HELP, no_window, say, user_errors
from napari_medsamq.errors import SaveError
from napari_medsamq.inference.model_choice import find_model
from napari_medsamq.io.files import write_json
from napari_medsamq.io.volume import read_volume

benchmark = typer.Typer(
    help="Time the models on this computer, in turns: medians in ms. `gui` times the window.",
    invoke_without_command=True,
    add_completion=False,
)
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write the numbers here.")]


@benchmark.callback()
def models(
    context: typer.Context,
    model: Annotated[
        list[str] | None,
        typer.Option(help=f"{MODEL_HELP} All that come along if none is given. Repeatable."),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of each model.")] = 2,
    rounds: Annotated[int, typer.Option(min=1, help="Each step is run so many times.")] = 7,
    quick: Annotated[bool, typer.Option("--quick", help="Encoding and decoding alone.")] = False,
    json_file: JsonFile = None,
) -> None:
    """Time the models on this computer, in turns: medians in ms. `gui` times the window."""
    if context.invoked_subcommand is not None:
        return
    from napari_medsamq.diagnostics.model_benchmark import format_times, time_models

    with user_errors():
        _check(json_file)
        directories = [find_model(name) for name in model or []]
        times = time_models(directories, threads=threads, rounds=rounds, quick=quick)
        say(*format_times(times).splitlines())
        if json_file is not None:
            write_json(json_file, times)


@benchmark.command()
def gui(
    volume: Annotated[
        Path | None, typer.Option(help="A CT or MR volume; a made-up one if none is named.")
    ] = None,
    trace: Annotated[
        bool,
        typer.Option("--trace", help="Show instead what takes the time of each step, in tables."),
    ] = False,
    json_file: JsonFile = None,
) -> None:
    """Time the window: real moves of the mouse, propagation, memory; with goals.

    It opens napari's window several times, and takes a minute or two. Leave the
    mouse alone meanwhile, or run it under xvfb-run.
    """
    with user_errors():
        _check(json_file)
        try:
            from napari_medsamq.ui.benchmark.gui import format_goals, measure_all, phantom_volume
            from napari_medsamq.ui.benchmark.trace import format_trace, trace_all
        except ImportError as error:
            raise no_window(error) from error
        chosen = phantom_volume() if volume is None else read_volume(volume)
        if trace:
            say(*format_trace(trace_all(chosen)).splitlines())
            return
        found = measure_all(chosen)
        say(*format_goals(found).splitlines())
        if json_file is not None:
            write_json(json_file, found)


def _check(json_file: Path | None) -> None:
    if json_file is not None and not json_file.parent.is_dir():
        raise SaveError(f"There is no folder {json_file.parent} for the numbers. Make it first.")
