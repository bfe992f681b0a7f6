"""Scores model directories on cases with a reference, through the plugin's own session.

python -m training.evaluate DATA_DIR --model A --model B --json OUT.json --csv OUT.csv
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from napari_medsamq.errors import ModelError, SaveError
from napari_medsamq.inference.engine import Engine, OpenVINOEngine
from napari_medsamq.inference.model_list import size_mb
from napari_medsamq.io.files import write_whole
from napari_medsamq.prompts import CarryPrompt
from training.console import error_message, print_tables, progress_bar
from training.errors import ConfigError
from training.evaluation.findings import list_findings
from training.evaluation.latency import LAPTOP, goals, measure_apart
from training.evaluation.model_run import list_modes, score_models
from training.evaluation.protocol import Protocol
from training.evaluation.score_summary import record_scores, summarise
from training.evaluation.tables import (
    difference_table,
    goal_table,
    plot_sizes,
    score_csv,
    score_table,
)

TIMING_ROUNDS = 15


def main(
    data_dir: Annotated[
        Path, typer.Argument(help="Folder with <modality>/<data set>/<case>.npz (imgs, gts).")
    ],
    model: Annotated[
        list[Path],
        typer.Option(help="Model directory. Repeatable; the first is what others are compared to."),
    ],
    protocol: Annotated[
        Protocol,
        typer.Option(
            help="2d: objects in single slices. loose: the same, by boxes that are 0 to 20 % "
            "larger. clicks: the same, corrected by 1 to 5 clicks where the mask is wrong. "
            "scribbles: the same by one scribble beside one click, and by a lasso in place of the "
            "box. 3d: "
            "volumes, by the case's 3D boxes. interactive: the same, corrected by 1 to 5 clicks, "
            "each in the middle of the largest error. propagate: volumes, by a box on the middle "
            "slice, beside 3d. confidence: the same, with the confidence of each slice, and with "
            "the least sure one boxed anew."
        ),
    ] = Protocol.slices,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Draw at most so many objects of each data set.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the boxes, the drawn objects and intervals.")] = 0,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write means, times and intervals to this file.")
    ] = None,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", help="Write one line per object and model to this file.")
    ] = None,
    record: Annotated[
        bool,
        typer.Option(
            "--record",
            help="Write the scores into each model's model.json, where the plugin finds them.",
        ),
    ] = False,
    zoom: Annotated[
        bool, typer.Option("--zoom", help="Also score each model as it zooms in on small boxes.")
    ] = False,
    tight: Annotated[
        bool,
        typer.Option(
            "--tight",
            help="Also score each model by tight boxes, beside those that are looser (2d).",
        ),
    ] = False,
    prompt: Annotated[
        list[CarryPrompt] | None,
        typer.Option(
            help="What each slice of a propagation is asked with: the box around the mask before "
            "alone, or that mask as well. Repeatable, to compare them; without it, as the plugin "
            "does."
        ),
    ] = None,
    refine: Annotated[
        bool,
        typer.Option(
            "--refine",
            help="Also score propagations after all three planes were asked about them.",
        ),
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(help="Draw the DSC by size of the objects as a picture (2D protocols)."),
    ] = None,
    latency: Annotated[
        bool,
        typer.Option(
            help="Also time the models side by side, on this computer's instructions and on a "
            "laptop's, and compare times and sizes with what an int8 model has to reach."
        ),
    ] = False,
) -> None:
    """Score models on cases whose reference is known: DSC, NSD and milliseconds.

    Masks come from the plugin's own session. In 2D, each label id of at least
    100 pixels in a slice is an object, prompted by its tight box with each side
    moved outwards by 0 to 5 pixels; in 3D, each label id of a volume, prompted
    by the case's own box. NSD tolerates 2 mm, or 2 pixels where the spacing is
    unknown. A data set's value is the mean of its objects, a modality's the
    mean of its data sets, macro the mean of all data sets; ms is the median
    time to encode and decode one object, in 3D with all its slices. The same
    seed gives the same boxes and the same scores.

    A case that cannot be scored is reported, and the others go on; the exit
    status is then 1.

    Example: python -m training.evaluate cases --model float --model int8
    """
    with error_message():
        of_slices = protocol is Protocol.slices
        for asked, possible, refusal in (
            (
                record,
                of_slices and limit is None,
                "--record is for the scores of all objects in 2D",
            ),
            (
                plot is not None,
                protocol.of_slices,
                "--plot is for protocols of single slices, whose objects have a size",
            ),
            (tight, of_slices, "--tight is for --protocol 2d, whose boxes are 0 to 5 pixels loose"),
            (
                prompt is not None,
                protocol is Protocol.propagate,
                "--prompt is for --protocol propagate, which carries masks on",
            ),
            (
                refine,
                protocol is Protocol.propagate,
                "--refine is for --protocol propagate, which carries masks on",
            ),
        ):
            if asked and not possible:
                raise ConfigError(f"{refusal}.")
        for path in (json_file, csv_file, plot):
            _check_target(path)
        engines = _engines(model)
        prompts: list[CarryPrompt | None] = list(dict.fromkeys(prompt or [])) or [None]
        modes = list_modes(
            engines, protocol, zoom=zoom, tight=tight, prompts=prompts, refines=refine
        )
        with progress_bar("objects") as report:
            evaluation = score_models(data_dir, engines, modes, seed, limit, report)
        summary = summarise(evaluation.scores, seed)
        found, lines = list_findings(evaluation.scores, protocol, seed)
        _print(summary, evaluation.failed, lines)
        if record and not evaluation.failed:
            for directory in model:
                record_scores(directory, summary["models"][directory.resolve().name])
        timed = _time(model) if latency else {}
        if json_file:
            head = {"protocol": protocol.value, "seed": seed, "limit": limit}
            whole = {**head, **summary, **found, **timed, "failed": evaluation.failed}
            write_whole(json_file, json.dumps(whole, indent=2, allow_nan=False) + "\n")
        if plot:
            plot_sizes(summary, plot)
        if csv_file:
            write_whole(csv_file, score_csv(evaluation.scores))
    if evaluation.failed:
        raise typer.Exit(1)


def _engines(directories: Sequence[Path]) -> dict[str, Engine]:
    engines: dict[str, Engine] = {}
    for directory in directories:
        name = directory.resolve().name
        if name in engines:
            raise ModelError(
                f"{directory}: another model is called {name!r} too, and results are listed by the "
                "name of the model directory. Rename one of them."
            )
        engines[name] = OpenVINOEngine(directory)
    return engines


def _print(summary: Mapping[str, Any], failed: Mapping[str, str], findings: Sequence[str]) -> None:
    first = next(iter(summary["models"]))
    differences = summary["differences"].items()
    tables = [difference_table(name, difference, first) for name, difference in differences]
    print_tables([score_table(summary), *tables])
    for error in failed.values():
        typer.echo(f"Not scored: {error}", err=True)
    for line in findings:
        typer.echo(line)


def _time(directories: Sequence[Path]) -> dict[str, Any]:
    """Print what models take and weigh, next to their goals; return it for the JSON file."""
    first, *others = [directory.resolve() for directory in directories]
    native = measure_apart(directories, TIMING_ROUNDS)
    laptop = measure_apart(directories, TIMING_ROUNDS, LAPTOP)
    reached = {}
    for other in others:
        rows = goals(other.name, first.name, native, laptop, size_mb(other))
        print_tables([goal_table(other.name, rows, first.name)])
        reached[other.name] = {
            name: {"value": value, "at_most": most} for name, value, most in rows
        }
    return {"latency_ms": {"native": native, LAPTOP: laptop}, "latency_goals": reached}


def _check_target(path: Path | None) -> None:
    if path is not None and (path.is_dir() or not path.parent.is_dir()):
        raise SaveError(
            f"{path}: cannot be written: it is a folder, or its folder does not exist. Give a file "
            "name in an existing folder."
        )


if __name__ == "__main__":
    typer.run(main)
