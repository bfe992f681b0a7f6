"""Makes the tables of the ablation: what each choice costs in DSC, NSD, milliseconds and MB.

python -m training.ablate DATA_TRAIN... --val VAL_DIR --out DIR [--table NAME ...] [key=value ...]
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import openvino as ov
import torch
import typer

from training.ablation.comparison import AblationOutcome, run_rows, write_results
from training.ablation.examination import Examination, rarest_modality
from training.ablation.folder import AblationFolder
from training.ablation.methods import NetworkFactory
from training.ablation.results import terminal_tables
from training.ablation.rows import TABLES, AblationConfig, choose_rows
from training.checkpoints.published import describe_checkpoint, lite_medsam_checkpoint
from training.checkpoints.released import build_lite_medsam
from training.config import as_overrides, load_config
from training.console import error_message, print_tables, progress_bar
from training.data.dataset import SliceDataset
from training.errors import ConfigError
from training.learning.processes import join_processes, keep_memory

DEFAULT_CONFIG = Path(__file__).parent / "configs/cpu/ablate.yaml"


def _print(summary: Mapping[str, Any], outcome: AblationOutcome) -> dict[str, str]:
    """Print the tables and what is missing; return the cases that could not be scored."""
    print_tables(terminal_tables(summary))
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
        settings = load_config(AblationConfig, config, as_overrides(data_train))
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
            factory = NetworkFactory(settings, folder, data, build, provenance, processes)
            limits = settings.limit, settings.rare_limit, settings.seed
            examination = Examination(val, rarest, *limits)
            outcome = run_rows(rows, factory, folder, examination)
            summary = write_results(
                rows, outcome, folder, examination, settings.rounds, table or TABLES
            )
    unscored = _print(summary, outcome)
    typer.echo(folder.path / "ablation.md")
    if outcome.failed or unscored:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
