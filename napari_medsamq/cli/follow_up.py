"""`medsamq followup`: the labels of a prior scan on a new one, and what has changed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from napari_medsamq.cli.common import (
    LABEL_HELP,
    Axis,
    CsvFile,
    Device,
    JsonFile,
    Modality,
    Model,
    Resample,
    Series,
    VolumeNumber,
    check_reports,
    say,
    table,
    user_errors,
    write_csv,
)
from napari_medsamq.errors import ChoiceError, SaveError, UnevenSlicesError, VolumeError
from napari_medsamq.geometry import PLANE_NAMES
from napari_medsamq.inference.backend import CPU
from napari_medsamq.io.files import write_json
from napari_medsamq.io.label_writer import check_target
from napari_medsamq.io.labels import read_label_file
from napari_medsamq.io.volume import Volume, read_volume
from napari_medsamq.workflows.follow_up import find_motion, follow_up, prior_labels
from napari_medsamq.workflows.labels import check_new
from napari_medsamq.workflows.open_session import open_session, with_known_modality


def followup(
    prior_label: Annotated[Path, typer.Argument(help="The label of the prior scan.")],
    new_image: Annotated[Path, typer.Argument(help="The new scan, in any format.")],
    output: Annotated[Path, typer.Option("-o", "--output", help=LABEL_HELP)],
    prior_image: Annotated[
        Path | None,
        typer.Option(help="The prior scan: the motion of the patient since then is found by it."),
    ] = None,
    margin: Annotated[
        float, typer.Option(min=0, help="Enlarge the boxes by so many mm on all sides.")
    ] = 0.0,
    axis: Annotated[Axis, typer.Option(help="Direction of the boxes.")] = Axis.axial,
    window: Annotated[
        str | None,
        typer.Option(help="LEVEL,WIDTH in the image's unit, or a preset: lung, bone, brain..."),
    ] = None,
    modality: Annotated[
        Modality | None, typer.Option(help="What the new scan is, where the file does not say.")
    ] = None,
    series: Series = None,
    volume_number: VolumeNumber = None,
    resample: Resample = False,
    prior_series: Annotated[
        str | None, typer.Option(help="As --series, for the prior image.")
    ] = None,
    prior_volume: Annotated[
        int | None, typer.Option(min=1, help="As --volume, for the prior image.")
    ] = None,
    prior_resample: Annotated[
        bool, typer.Option("--prior-resample", help="As --resample, for the prior image.")
    ] = False,
    model: Model = None,
    device: Device = CPU,
    zoom: Annotated[bool, typer.Option(help="Show the network small structures enlarged.")] = True,
    csv_file: CsvFile = None,
    json_file: JsonFile = None,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing output file.")] = False,
) -> None:
    """Segment on a new scan what a prior scan has labels of, and tell what has changed.

    Each label of the prior scan becomes a 3D box in the patient, which is
    segmented where it lies on the new scan.
    """
    with user_errors():
        check_new(output, overwrite)
        inputs = [path for path in (prior_label, new_image, prior_image) if path is not None]
        check_reports([csv_file, json_file], [*inputs, output])
        prior = read_label_file(prior_label)
        for path in inputs:
            check_target(output, path)
        _check_outside(output, prior_label, prior_image)
        new = read_volume(new_image, series=series, volume=volume_number, resample=resample)
        check_target(output, new.path, new.source)
        new = with_known_modality(new, modality)
        motion = None
        if prior_image is not None:
            scan = _prior_scan(prior_image, prior_series, prior_volume, prior_resample)
            prior = prior.laid_on(scan)
            motion, said = find_motion(prior, scan, new)
            say(said)
        else:
            prior = prior.laid_on(new)
        if prior.notes:
            say(f"Note: {prior_label.name}: {' '.join(prior.notes)}")
        labels = prior_labels(
            prior, new, motion.matrix if motion else None, margin, PLANE_NAMES.index(axis.value)
        )
        session = open_session(new, window=window, zoom=zoom, model=model, device=device)
        found = follow_up(labels, session, output)
        cells = [
            [
                f"{label_id} {own.name}",
                f"{own.prior_ml:,.2f}",
                f"{own.new_ml:,.2f}",
                f"{own}{f'  Note: {own.note}.' if own.note else ''}",
            ]
            for label_id, own in found.changes.items()
        ]
        say(*table(["", "prior mL", "new mL", "change"], cells))
        say(f"Model {found.model}. Saved and verified: {found.saved.receipt.path}")
        if found.saved.problem:
            say(f"Note: {found.saved.problem}")
        rows: list[dict[str, Any]] = [
            {"label": label_id, **change.as_dict()} for label_id, change in found.changes.items()
        ]
        if csv_file is not None:
            write_csv(csv_file, rows)
        if json_file is not None:
            content = {
                "prior_label": str(prior_label),
                "new_image": str(new_image),
                "motion": None if motion is None else motion.matrix.tolist(),
                "model": found.model,
                "labels": rows,
                "label_file": str(found.saved.receipt.path),
                "label_sha256": found.saved.receipt.sha256,
            }
            write_json(json_file, content)


def _check_outside(output: Path, *priors: Path | None) -> None:
    """Refuse to replace a file in the folder of a prior scan."""
    for prior in priors:
        if prior is not None and output.exists() and prior.resolve() in output.resolve().parents:
            raise SaveError(
                f"{output} lies in {prior}, whose files stay as they are. Choose another name."
            )


def _prior_scan(path: Path, series: str | None, volume: int | None, resample: bool) -> Volume:
    try:
        return read_volume(path, series=series, volume=volume, resample=resample)
    except (ChoiceError, UnevenSlicesError) as error:
        raise VolumeError(
            f"{error}\n  For the prior image these options are --prior-series, --prior-volume and "
            "--prior-resample."
        ) from error
