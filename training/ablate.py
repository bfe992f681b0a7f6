"""Makes the tables of the ablation: what each choice costs in DSC, NSD, milliseconds and MB.

python -m training.ablate DATA_TRAIN... --val VAL_DIR --out DIR [--table NAME ...] [key=value ...]
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import openvino as ov
import torch
import typer
from rich.console import Console

from napari_medsamq.errors import MedSAMQError, ModelError
from napari_medsamq.inference.catalog import size_mb
from napari_medsamq.inference.model_spec import ModelSpec
from training.ablation.ablation_plot import write_plot
from training.ablation.examination import Examination, rarest_modality
from training.ablation.folder import AblationFolder, RowScores
from training.ablation.methods import Workshop
from training.ablation.results import markdown, summarise_rows, terminal_tables
from training.ablation.rows import TABLES, AblationConfig, Row, choose_rows
from training.checkpoint import describe_checkpoint, lite_medsam_checkpoint
from training.config import load_config
from training.console import error_message, progress_bar
from training.data.dataset import SliceDataset
from training.errors import ConfigError
from training.latency import measure
from training.models.sam import build_lite_medsam
from training.processes import join_processes, keep_memory

DEFAULT_CONFIG = Path(__file__).parent / "configs/cpu/ablate.yaml"


@dataclass
class Outcome:
    """What became of the rows.

    Attributes
    ----------
    scores : dict of str to RowScores
        Of the rows that were made and scored, now or before.
    failed : dict of str to str
        Why the others were not.
    """

    scores: dict[str, RowScores] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def run_rows(
    rows: Sequence[Row], workshop: Workshop, folder: AblationFolder, examination: Examination
) -> Outcome:
    """Make and score what is not there yet; a row that fails does not keep others from it."""
    outcome, taken = Outcome(), []
    for number, row in enumerate(rows, start=1):
        typer.echo(f"[{number}/{len(rows)}] {row.name}: {row.label}", err=True)
        start = time.perf_counter()
        try:
            fresh = not folder.is_made(row.name)
            if fresh:
                if row.start is not None and not folder.is_made(row.start):
                    raise ModelError(f"it starts from {row.start}, which could not be made")
                workshop.make(row)
            outcome.scores[row.name] = _score(row, folder, examination)
        # Whatever Brevitas or OpenVINO cannot do with one row, the others may be fine.
        except (MedSAMQError, OSError, RuntimeError, ValueError) as error:
            outcome.failed[row.name] = f"{type(error).__name__}: {' '.join(str(error).split())}"
            typer.echo(f"Not made: {row.name}: {outcome.failed[row.name]}", err=True)
            continue
        if fresh:
            taken.append(time.perf_counter() - start)
            left = sum(not folder.is_made(other.name) for other in rows[number:])
            minutes = left * sum(taken) / len(taken) / 60
            typer.echo(f"took {taken[-1]:.0f} s; about {minutes:.0f} min left", err=True)
    return outcome


def _score(row: Row, folder: AblationFolder, examination: Examination) -> RowScores:
    protocol = examination.protocol()
    scores = folder.read_scores(row.name, protocol)
    if scores is None:
        scores = examination.score(folder.model(row.name), rare="subset" in row.tables)
        folder.write_scores(row.name, protocol, scores)
    return scores


def write_results(
    rows: Sequence[Row],
    outcome: Outcome,
    folder: AblationFolder,
    examination: Examination,
    rounds: int,
    tables: Collection[str] = TABLES,
) -> dict[str, Any]:
    """Time the models in turns; write `ablation.json`, `.md` and `.png`; return the summary.

    Raises
    ------
    ModelError
        If no row could be made.
    SaveError
        If a file cannot be written.
    """
    done = [row for row in rows if row.name in outcome.scores]
    if not done:
        raise ModelError(f"No row could be made. {'; '.join(outcome.failed.values())}")
    typer.echo(f"Timing {len(done)} models in {rounds} rounds", err=True)
    times = measure([folder.model(row.name) for row in done], rounds)
    models = {}
    for row in done:
        directory = folder.model(row.name)
        spec = ModelSpec.read(directory)
        steps = {step: times[row.name][step] for step in ("encode", "decode")}
        story = {"bits": spec.bits, "training": spec.provenance["training"]}
        models[row.name] = {**steps, "mb": size_mb(directory), **story}
    rarest, seed = examination.rarest, examination.seed
    summary = summarise_rows(done, outcome.scores, models, tables, rarest, seed)
    limits = {"limit": examination.limit, "rare_limit": examination.rare_limit}
    head = {"seed": seed, **limits, "rounds": rounds}
    whole = {**head, **summary, "failed": outcome.failed}
    folder.write_text("ablation.json", json.dumps(whole, indent=2, allow_nan=False) + "\n")
    folder.write_text("ablation.md", markdown(summary, outcome.failed))
    write_plot(folder.path / "ablation.png", summary)
    return summary


def _read_config(words: Sequence[str], config: Path) -> AblationConfig:
    """Tell folders from `key=value`; a folder with = in its name can be given as ./a=b."""
    overrides = [word for word in words if "=" in word and word.split("=")[0].isidentifier()]
    folders = [word for word in words if word not in overrides]
    given = [f"data={json.dumps(folders)}"] if folders else []
    return load_config(AblationConfig, config, [*overrides, *given])


def _print(summary: Mapping[str, Any], outcome: Outcome) -> dict[str, str]:
    """Print the tables and what is missing; return the cases that could not be scored."""
    # Where nobody's screen ends, tables need not fold.
    console = Console(width=None if sys.stdout.isatty() else 160)
    for printed in terminal_tables(summary):
        console.print(printed)
    unscored = {k: v for scores in outcome.scores.values() for k, v in scores.unscored.items()}
    for reason in unscored.values():
        typer.echo(f"Not scored: {reason}", err=True)
    for name, reason in outcome.failed.items():
        typer.echo(f"Not made: {name}: {reason}", err=True)
    return unscored


def main(
    data_train: Annotated[
        list[str],
        typer.Argument(
            metavar="DATA_TRAIN|key=value",
            help="Folders of labelled training cases or their cache; and in place of what the "
            "configuration says: training_samples, subset_samples, limit, seed, ...",
        ),
    ],
    val: Annotated[Path, typer.Option(help="Folder of cases to score on; never trained on.")],
    out: Annotated[Path, typer.Option(help="Folder of the results; given again, it goes on.")],
    table: Annotated[
        list[str] | None,
        typer.Option(help=f"Only this table, of {', '.join(TABLES)}. Repeatable."),
    ] = None,
    config: Annotated[
        Path,
        typer.Option(
            help="YAML file; by default the one shipped for CPUs.",
            show_default="configs/cpu/ablate.yaml",
        ),
    ] = DEFAULT_CONFIG,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Float weights (.pth). Default: the published LiteMedSAM.")
    ] = None,
    device: Annotated[
        str, typer.Option(help="cpu, cuda, or auto: CUDA if there is a GPU.")
    ] = "auto",
) -> None:
    """Make the ablation's tables: each row with DSC, NSD, milliseconds and MB.

    Every row becomes a model directory, by quantisation, training and export
    as they are shipped, and is scored through the plugin's own session. OUT
    gets the models, ablation.json, ablation.md and ablation.png. What is in
    OUT already is not made again; a row that fails is reported, the others go
    on, and the exit status is then 1.

    With the configuration for CPUs, 25 minutes on 2 cores; training is so
    short there that it shows directions, not what it can reach.

    Example: python -m training.ablate cases-256 --val val --out ablation
    """
    keep_memory()
    with error_message():
        rows = choose_rows(table or [])
        settings = _read_config(data_train, config)
        source = checkpoint or lite_medsam_checkpoint()
        versions = {"versions": f"openvino {ov.__version__}, torch {torch.__version__}"}
        with join_processes(device) as processes:
            if processes.count > 1:
                raise ConfigError("The ablation runs in one process; start it without torchrun.")
            with progress_bar("cases") as report:
                data = SliceDataset(settings, report)
            rarest = rarest_modality(data, val)
            folder = AblationFolder(out, settings)
            build = partial(build_lite_medsam, source)
            provenance = {**describe_checkpoint(source), **versions}
            workshop = Workshop(settings, folder, data, build, provenance, processes)
            limits = settings.limit, settings.rare_limit, settings.seed
            examination = Examination(val, rarest, *limits)
            outcome = run_rows(rows, workshop, folder, examination)
            summary = write_results(
                rows, outcome, folder, examination, settings.rounds, table or TABLES
            )
    unscored = _print(summary, outcome)
    typer.echo(folder.path / "ablation.md")
    if outcome.failed or unscored:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
