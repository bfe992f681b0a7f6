"""`medsamq replay`: the label of a journal, and whether the network would answer the same again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_medsamq.annotation.label_model import Labelling
from napari_medsamq.cli.common import (
    LABEL_HELP,
    Model,
    Resample,
    Series,
    VolumeNumber,
    WithName,
    chosen_model,
    say,
    told_to_user,
)
from napari_medsamq.errors import SaveError
from napari_medsamq.io.label_writer import check_target
from napari_medsamq.io.volume import Volume, read_volume, volume_hash
from napari_medsamq.records.journal import check_volume
from napari_medsamq.records.journal_format import Content, read_journal
from napari_medsamq.records.provenance import Work, save_work
from napari_medsamq.records.recording import Restored, restore
from napari_medsamq.records.verification import Verdict, Verifier


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
    with told_to_user():
        if output.exists() and not overwrite:
            raise SaveError(f"{output} exists. Choose another name, or add --overwrite.")
        volume = read_volume(image, series, volume_number, resample)
        check_target(output, volume.path, volume.source)
        content = read_journal(journal)
        check_volume(journal, content, volume_hash(volume))
        restored = restore(content.records, volume.data.shape[:3], str(journal))
        labelling = Labelling(volume)
        labelling.restore(restored.history, restored.styles)
        saved = save_work(output, Work.of(labelling), names=with_name)
        say(*_describe(restored, content))
        say(f"Saved and verified: {saved.receipt.path}")
        if saved.problem:
            say(f"Note: {saved.problem}")
        if verify and not _verify(volume, content, chosen_model(model), restored):
            raise typer.Exit(1)


def _describe(restored: Restored, content: Content) -> list[str]:
    counts = restored.history.voxel_counts
    lines = [
        f"{label_id} {_name(restored, label_id)}: {count:,} voxels"
        for label_id, count in counts.items()
    ]
    if content.damaged:
        lines.append("Note: the end of the journal was cut off or altered; all before it is there.")
    return lines or ["The journal ends with an empty label."]


def _name(restored: Restored, label_id: int) -> str:
    style = restored.styles.get(label_id)
    return f"Label {label_id}" if style is None else style.name


def _verify(volume: Volume, content: Content, model: Path | None, restored: Restored) -> bool:
    verifier = Verifier(volume, model)
    for record in content.records:
        verifier.apply(record)
    verdict = verifier.verdict
    say(f"{verdict.identical} of {verdict.masks} masks are the same, voxel by voxel.")
    for label_id, dsc in verdict.dsc().items():
        say(f"{label_id} {_name(restored, label_id)}: DSC {dsc:.4f}")
    return _is_right(verdict)


def _is_right(verdict: Verdict) -> bool:
    if verdict.others:
        others = "; ".join(sorted(verdict.others))
        say(f"Not as when the journal was written: {others}. So masks may differ.")
        return True
    return verdict.identical == verdict.masks
