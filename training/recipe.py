"""Trains one of the networks that come along further, within so many minutes.

python -m training.recipe fast CACHE ... --out RUNS --minutes N [--device cuda]
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from statistics import fmean
from typing import Annotated

import typer

from napari_medsamq.inference.model_choice import FAST_MODEL, INT8_MODEL, MODELS
from training.checkpoints.network_file import in_floating_point
from training.config import as_overrides, load_config
from training.console import error_message
from training.conversion.restore import read_start
from training.data.cases import find_cases
from training.data.sources import NOT_FOR_RELEASE, read_sources
from training.files import write_file
from training.learning.config import TrainConfig
from training.learning.processes import Processes, asked_to_end, join_processes, keep_memory
from training.learning.recipe import RecipeStage, known_folds, list_stages, score_fold
from training.learning.run_folder import CONFIG, RunFolder
from training.learning.training_run import train

_CONFIGS = Path(__file__).parent / "configs"
# What a GPU is kept busy by; a rate that fits larger batches.
_GPU = (
    *("batch_size=64", "micro_batch=32", "workers=14", "samples_per_epoch=8192", "save_steps=500"),
    *("bf16=true", "teacher_bf16=true"),
)
_GPU_RATE = 2.0


class Recipe(StrEnum):
    """Which network is trained."""

    fast = "fast"
    int8 = "int8"


_STARTS = {
    Recipe.fast: (FAST_MODEL, _CONFIGS / "fast/recipe.yaml"),
    Recipe.int8: (INT8_MODEL, _CONFIGS / "cpu/recipe.yaml"),
}


def main(
    recipe: Annotated[Recipe, typer.Argument(help="Network: fast or int8.")],
    data: Annotated[
        list[str], typer.Argument(help="Folders of cases or of their cache, and key=value.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the runs.")],
    minutes: Annotated[float, typer.Option(min=0.01, help="For all stages together.")],
    device: Annotated[
        str, typer.Option(help="cpu, cuda, or auto: CUDA if there is a GPU.")
    ] = "auto",
    init_from: Annotated[
        Path | None,
        typer.Option(help="Network file or model directory. Default: the model that comes along."),
    ] = None,
    fold: Annotated[
        list[int] | None,
        typer.Option(help="Leave out this fold alone, and train no network of all."),
    ] = None,
    folds: Annotated[bool, typer.Option(help="Judge the recipe by networks of folds.")] = True,
    release: Annotated[
        bool, typer.Option("--release", help="Take only sets whose licences allow to pass it on.")
    ] = False,
) -> None:
    """Train a network in floating point, and see how it does on sources it has not seen.

    After the network of all data, for each fold that they hold something of,
    one learns without it for a quarter of the time, and is scored on it beside
    the network that both start from. What a teacher is wanted for, the int8
    model's weights teach in floating point. A run that is asked to end (Ctrl+C) ends with the
    network it has; the same command goes on from there. all/network.pth in OUT
    is what `python -m training.quantize` and `training.export` take, card.md
    what the model's card has to say of its data.

    Example: python -m training.recipe fast cases-full --out runs --minutes 90
    """
    keep_memory()
    with error_message(), join_processes(device) as processes, asked_to_end() as ends:
        model, path = _STARTS[recipe]
        settings = load_config(TrainConfig, path, [*_for_gpu(path, processes), *as_overrides(data)])
        if settings.taught and settings.teacher is None:
            settings = settings.model_copy(update={"teacher": MODELS / INT8_MODEL})
        sets = {case.data_set for folder in settings.data for case in find_cases(folder)}
        if release:
            read_sources().require_release(sets)
        stages = list_stages(
            minutes, fold or (known_folds(settings.data) if folds else []), whole=not fold
        )
        start = init_from or MODELS / model
        for stage, config in [(own, own.config(settings)) for own in stages]:
            if not ends():
                _run(stage, config, start, out / stage.name, processes, ends)
        if processes.leads:
            card = read_sources().table(sets) if release else f"{NOT_FOR_RELEASE}\n"
            write_file(out / "card.md", card)
    typer.echo(out)


def _for_gpu(path: Path, processes: Processes) -> list[str]:
    if processes.device.type != "cuda":
        return []
    rate = load_config(TrainConfig, path).learning_rate
    return [*_GPU, f"learning_rate={_GPU_RATE * rate}"]


def _run(
    stage: RecipeStage,
    settings: TrainConfig,
    start: Path,
    folder: Path,
    processes: Processes,
    ends: Callable[[], bool],
) -> None:
    """Run a stage, or what is left of it, and print what it did."""
    begun = (folder / CONFIG).exists()
    run = RunFolder(folder, settings, resume=begun, leads=processes.leads)
    network = run.read_start() if begun else in_floating_point(read_start(start))
    judges = stage.fold is not None and processes.leads
    before = score_fold(network, settings, stage.fold, processes) if judges else {}
    trained = train(settings, run, network, processes, ends)
    if not processes.leads:
        return
    typer.echo(f"{stage.name}: {trained.provenance['training'].rpartition('; ')[2]}")
    if judges:
        after = score_fold(trained, settings, stage.fold, processes)
        for name, value in before.items():
            typer.echo(f"  {name}: DSC {value:.3f} before, {after[name]:.3f} after")
        means = [fmean(values.values()) for values in (before, after)]
        typer.echo("  mean of data sets: DSC {:.3f} before, {:.3f} after".format(*means))


if __name__ == "__main__":
    typer.run(main)
