"""Scores model directories on cases with a reference, through the plugin's own session.

python -m training.evaluate DATA_DIR --model A --model B --json OUT.json --csv OUT.csv
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from napari_medsamq.errors import ModelError, SaveError
from napari_medsamq.inference.catalog import size_mb
from napari_medsamq.inference.engine import Engine, OpenVINOEngine
from napari_medsamq.inference.model_spec import ModelSpec
from napari_medsamq.prompts import CarryPrompt
from training.console import error_message, progress_bar
from training.errors import ConfigError
from training.evaluation.confidence_study import BAD_DSC, LOOKED_AT, describe_checks
from training.evaluation.protocol import Protocol
from training.evaluation.scores import METRICS, Score, clicks_needed, ghost_share, summarise
from training.evaluation.scoring import CLICKS, score_models
from training.evaluation.size_plot import plot_sizes
from training.evaluation.tables import difference_table, goal_table, score_csv, score_table
from training.files import replace_file
from training.latency import LAPTOP, goals, measure_apart

TIMING_ROUNDS = 15
WANTED_DSC = 0.9


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
            "larger. clicks: the same, corrected by 1 to 5 clicks where the mask is wrong. 3d: "
            "volumes, by the case's 3D boxes. propagate: volumes, by a box on the middle slice, "
            "beside 3d. confidence: the same, with the confidence of each slice, and with the "
            "least sure one boxed anew."
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
        if record and (limit is not None or protocol is not Protocol.slices):
            raise ConfigError("--record is for the scores of all objects in 2D.")
        if plot is not None and not protocol.of_slices:
            raise ConfigError(
                "--plot is for protocols of single slices, whose objects have a size."
            )
        if tight and protocol is not Protocol.slices:
            raise ConfigError("--tight is for --protocol 2d, whose boxes are 0 to 5 pixels loose.")
        if prompt is not None and protocol is not Protocol.propagate:
            raise ConfigError("--prompt is for --protocol propagate, which carries masks on.")
        for path in (json_file, csv_file, plot):
            _check_target(path)
        engines = _engines(model)
        with progress_bar("objects") as report:
            evaluation = score_models(
                data_dir,
                engines,
                protocol,
                seed,
                limit,
                report,
                zoom=zoom,
                tight=tight,
                prompts=list(dict.fromkeys(prompt or [None])),
            )
        summary = summarise(evaluation.scores, seed)
        head = {"protocol": protocol.value, "seed": seed, "limit": limit}
        _print(summary, evaluation.failed)
        if protocol is Protocol.clicks:
            summary["clicks_needed"] = _clicks_needed(evaluation.scores)
        ghosts = {name: ghost_share(own) for name, own in evaluation.scores.items()}
        if not protocol.of_slices:
            for name, share in ghosts.items():
                typer.echo(f"{name}: {share:.1%} of its slices have no reference")
            summary["ghosts"] = ghosts
        summary |= _prompts(evaluation.scores, seed)
        if protocol is Protocol.confidence:
            summary["confidence"] = _confidence(evaluation.scores)
        if record and not evaluation.failed:
            for directory in model:
                record_scores(directory, summary["models"][directory.resolve().name])
        timed = _time(model) if latency else {}
        if json_file:
            whole = {**head, **summary, **timed, "failed": evaluation.failed}
            _write(json_file, json.dumps(whole, indent=2, allow_nan=False) + "\n")
        if plot:
            plot_sizes(summary, plot)
        if csv_file:
            _write(csv_file, score_csv(evaluation.scores))
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


def _clicks_needed(scores: Mapping[str, Sequence[Score]]) -> dict[str, tuple[float, float]]:
    """Tell how many clicks each model needs, and return that."""
    found, names = {}, list(scores)
    for start in range(0, len(names), len(CLICKS)):
        own = names[start : start + len(CLICKS)]
        name = own[0].rpartition(",")[0]
        found[name] = clicks, failed = clicks_needed([scores[n] for n in own], WANTED_DSC)
        typer.echo(
            f"{name}: {clicks:.2f} clicks to a DSC of {WANTED_DSC:.2f}; {failed:.0%} do not reach "
            f"it with {CLICKS[-1]}"
        )
    return found


def _prompts(scores: Mapping[str, Sequence[Score]], seed: int) -> dict[str, Any]:
    """Tell what the mask before adds to the box around it, and return that where both are known."""
    found = {}
    for name, own in scores.items():
        bare = name.removesuffix(f", {CarryPrompt.box_and_mask}")
        alone = f"{bare}, {CarryPrompt.box}"
        if bare == name or alone not in scores:
            continue
        compared = summarise({alone: scores[alone], name: own}, seed)["differences"][name]
        found[name] = compared
        gains = (f"{key.upper()} {_gain(value)}" for key, value in compared["macro"].items())
        typer.echo(f"{name} minus {alone}: {', '.join(gains)}")
    return {"prompts": found} if found else {}


def _gain(value: Mapping[str, Any]) -> str:
    interval = "" if value["ci95"] is None else " ({:+.3f} to {:+.3f})".format(*value["ci95"])
    return f"{value['mean']:+.3f}{interval}"


def _confidence(scores: Mapping[str, Sequence[Score]]) -> dict[str, dict[str, float]]:
    """Tell how well the confidence of slices finds those that are wrong, and return that."""
    found = {
        name: describe_checks(own)
        for name, own in scores.items()
        if any(score.checks for score in own)
    }
    for name, own in found.items():
        typer.echo(
            f"{name}: Spearman correlation of confidence and DSC {own['spearman']:.2f} (goal >= "
            f"0.5); the least sure {LOOKED_AT:.0%} of slices hold {own['found']:.0%} of those "
            f"below {BAD_DSC} (goal >= 50 %), which are {own['bad']:.0%} of {own['slices']:.0f}"
        )
        typer.echo(
            f"  doubtful: {own['doubtful']:.0%} of slices, {own['caught']:.0%} of those below "
            f"{BAD_DSC}; sure: {own['sure']:.0%}, of which {own['good']:.0%} are not below it; by "
            f"these slices, doubtful were those up to {own['doubtful_to']:.2f}, and sure those "
            f"from {own['sure_from']:.2f} on"
        )
    return found


def record_scores(directory: Path, scores: Mapping[str, Any]) -> None:
    """Write a model's macro scores, and those of its modalities, into its `model.json`."""
    own = {"all": scores["macro"], **scores["modalities"]}
    rounded = {name: {key: round(row[key], 4) for key in METRICS} for name, row in own.items()}
    replace(ModelSpec.read(directory), scores=rounded).write(directory)


def _print(summary: Mapping[str, Any], failed: Mapping[str, str]) -> None:
    console = _console()
    console.print(score_table(summary))
    first = next(iter(summary["models"]))
    for name, difference in summary["differences"].items():
        console.print(difference_table(name, difference, first))
    for error in failed.values():
        typer.echo(f"Not scored: {error}", err=True)


def _time(directories: Sequence[Path]) -> dict[str, Any]:
    """Print what models take and weigh, next to their goals; return it for the JSON file."""
    first, *others = [directory.resolve() for directory in directories]
    native = measure_apart(directories, TIMING_ROUNDS)
    laptop = measure_apart(directories, TIMING_ROUNDS, LAPTOP)
    console = _console()
    reached = {}
    for other in others:
        rows = goals(other.name, first.name, native, laptop, size_mb(other))
        console.print(goal_table(other.name, rows, first.name))
        reached[other.name] = {
            name: {"value": value, "at_most": most} for name, value, most in rows
        }
    return {"latency_ms": {"native": native, LAPTOP: laptop}, "latency_goals": reached}


def _console() -> Console:
    # Where nobody's screen ends, tables need not fold.
    return Console(width=None if sys.stdout.isatty() else 200)


def _check_target(path: Path | None) -> None:
    if path is not None and (path.is_dir() or not path.parent.is_dir()):
        raise SaveError(
            f"{path}: cannot be written: it is a folder, or its folder does not exist. Give a file "
            "name in an existing folder."
        )


def _write(path: Path, text: str) -> None:
    try:
        replace_file(path, lambda part: part.write_text(text, encoding="utf-8"))
    except OSError as error:
        raise SaveError(
            f"{path}: cannot be written ({error.strerror or error}). Free space there, or give "
            "another file."
        ) from error


if __name__ == "__main__":
    typer.run(main)
