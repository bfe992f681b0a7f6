"""The rows of the ablation, made and scored, and the tables they give."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import typer

from napari_medsamq.errors import MedSAMQError, ModelError
from napari_medsamq.inference.model_list import size_mb
from napari_medsamq.inference.model_spec import ModelSpec
from training.ablation.examination import Examination
from training.ablation.folder import AblationFolder, RowScores
from training.ablation.methods import NetworkFactory
from training.ablation.results import markdown, summarise_rows, write_plot
from training.ablation.rows import TABLES, AblationRow
from training.evaluation.latency import measure
from training.files import write_file


@dataclass
class AblationOutcome:
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
    rows: Sequence[AblationRow],
    factory: NetworkFactory,
    folder: AblationFolder,
    examination: Examination,
) -> AblationOutcome:
    """Make and score what is not there yet; a row that fails does not keep others from it."""
    outcome, taken = AblationOutcome(), []
    for number, row in enumerate(rows, start=1):
        typer.echo(f"[{number}/{len(rows)}] {row.name}: {row.label}", err=True)
        start = time.perf_counter()
        try:
            fresh = not folder.is_made(row.name)
            if fresh:
                if row.start is not None and not folder.is_made(row.start):
                    raise ModelError(f"it starts from {row.start}, which could not be made")
                factory.make(row)
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


def _score(row: AblationRow, folder: AblationFolder, examination: Examination) -> RowScores:
    protocol = examination.protocol()
    scores = folder.read_scores(row.name, protocol)
    if scores is None:
        scores = examination.score(folder.model(row.name), rare="subset" in row.tables)
        folder.write_scores(row.name, protocol, scores)
    return scores


def write_results(
    rows: Sequence[AblationRow],
    outcome: AblationOutcome,
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
    write_file(folder.path / "ablation.json", json.dumps(whole, indent=2, allow_nan=False) + "\n")
    write_file(folder.path / "ablation.md", markdown(summary, outcome.failed))
    write_plot(folder.path / "ablation.png", summary)
    return summary
