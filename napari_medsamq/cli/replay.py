"""`medsamq replay`: the label of a journal, and whether the network would answer the same again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_medsamq.cli.common import (
    LABEL_HELP,
    Model,
    Resample,
    Series,
    VolumeNumber,
    WithName,
    chosen_model,
    say,
    user_errors,
)
from napari_medsamq.io.label_writer import check_target
from napari_medsamq.io.volume import read_volume
from napari_medsamq.records.replay_check import ReplayCheck, Verdict
from napari_medsamq.workflows.labels import check_new, save
from napari_medsamq.workflows.replay import ReplayedJournal, replay_journal


def replay(
    journal: Annotated[Path, typer.Argument(help="A journal of the user's data folder.")],
    image: Annotated[Path, typer.Argument(help="The image that it was written for.")],
    output: Annotated[Path, typer.Option("-o", "--output", help=LABEL_HELP)],
    verify: Annotated[
        bool, typer.Option("--verify", help="Ask the network for every mask again, and compare.")
    ] = False,
    model: Model = None,
    series: Series = None,
    volume_number: VolumeNumber = None,
    resample: Resample = False,
    with_name: WithName = False,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing output file.")] = False,
) -> None:
    """Save the label that a journal leads to, without a network.

    With --verify each mask of a box or a propagation is asked for again. Where
    model, OpenVINO and the processor's instructions are those of the journal,
    every voxel has to be the same, else the exit status is 1; elsewhere it is
    said what is another one, and the DSC of each label is reported.
    """
    with user_errors():
        check_new(output, overwrite)
        volume = read_volume(image, series=series, volume=volume_number, resample=resample)
        check_target(output, volume.path, volume.source)
        replayed = replay_journal(journal, volume)
        saved = save(replayed.model, output, overwrite=True, with_name=with_name)
        found = replayed.model
        for label_id, count in found.history.voxel_counts.items():
            say(f"{label_id} {found.style(label_id).name}: {count:,} voxels")
        say(*(f"Note: {note}" for note in replayed.notes))
        say(f"Saved and verified: {saved.receipt.path}")
        if saved.problem:
            say(f"Note: {saved.problem}")
        if verify and not _verify(replayed, chosen_model(model)):
            raise typer.Exit(1)


def _verify(replayed: ReplayedJournal, model: Path | None) -> bool:
    check = ReplayCheck(replayed.model.volume, model)
    for record in replayed.records:
        check.apply(record)
    verdict = check.verdict
    say(f"{verdict.identical} of {verdict.masks} masks are the same, voxel by voxel.")
    for label_id, dsc in verdict.dsc().items():
        say(f"{label_id} {replayed.model.style(label_id).name}: DSC {dsc:.4f}")
    return _is_right(verdict)


def _is_right(verdict: Verdict) -> bool:
    if verdict.others:
        others = "; ".join(sorted(verdict.others))
        say(f"Not as when the journal was written: {others}. So masks may differ.")
        return True
    return verdict.identical == verdict.masks
