"""Compares designs of the fast encoder by what they score and how long they take.

python -m training.search DATA... --val VAL_DIR --out DIR
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from training.ablation.designs import compare, make_model, markdown, write_plot
from training.checkpoints.network_file import student_network
from training.checkpoints.published import lite_medsam_checkpoint
from training.config import as_overrides
from training.console import error_message
from training.errors import ConfigError
from training.files import write_file
from training.learning.processes import join_processes, keep_memory
from training.models.fast_vit import DESIGNS


def main(
    data_train: Annotated[
        list[str],
        typer.Argument(
            metavar="DATA|key=value",
            help="Caches of training cases (`training.cache --full`, all axes); and in place of "
            "what the stages' configurations say: counts, teacher_cache, ...",
        ),
    ],
    val: Annotated[Path, typer.Option(help="Folder of cases to score on; never trained on.")],
    out: Annotated[Path, typer.Option(help="Folder of the results; given again, it goes on.")],
    design: Annotated[
        list[str] | None,
        typer.Option(help=f"Only this design, of {', '.join(DESIGNS)}. Repeatable."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Score at most so many objects of each data set.")
    ] = 5,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Float weights (.pth). Default: the published LiteMedSAM.")
    ] = None,
) -> None:
    """Train each design of the fast encoder shortly, and compare them.

    Every design starts from the published weights and gets one epoch of
    medsamq-fast's first two stages, by the same samples, then post-training
    quantisation. OUT gets the models, search.json, search.md and search.png.

    2 CPU cores: 6 minutes for each design.

    Example: python -m training.search cases-full/train cases-full/images
    --val val --out search
    """
    keep_memory()
    with error_message():
        names = design or list(DESIGNS)
        unknown = sorted(set(names) - set(DESIGNS))
        if unknown:
            raise ConfigError(
                f"There is no design {', '.join(unknown)}; there are {', '.join(DESIGNS)}."
            )
        overrides = as_overrides(data_train)
        source = checkpoint or lite_medsam_checkpoint()
        with join_processes("cpu") as processes:
            directories = {}
            for number, name in enumerate(names, start=1):
                typer.echo(f"[{number}/{len(names)}] {name}", err=True)
                start = student_network(source, name)
                directories[name] = make_model(name, start, out, overrides, processes)
        rows = compare(directories, val, limit)
        write_file(out / "search.json", json.dumps(rows, indent=1) + "\n")
        write_file(out / "search.md", markdown(rows))
        write_plot(out / "search.png", rows)
    typer.echo(markdown(rows))


if __name__ == "__main__":
    typer.run(main)
