"""`medsamq compare`: how two labels of one patient agree."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from napari_medsamq.analysis.comparison import (
    DEFAULT_TOLERANCE_MM,
    Agreement,
    compare_labels,
    describe_change,
    mean_agreement,
)
from napari_medsamq.cli.common import (
    CsvFile,
    JsonFile,
    check_reports,
    say,
    table,
    user_errors,
    write_csv,
)
from napari_medsamq.io.files import write_json
from napari_medsamq.io.labels import on_common_grid, read_label_file


def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="A label file, the reference say.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another one of the same image.")],
    tolerance: Annotated[
        float, typer.Option(min=0, help="Distance in mm up to which surfaces agree.")
    ] = DEFAULT_TOLERANCE_MM,
    csv_file: CsvFile = None,
    json_file: JsonFile = None,
) -> None:
    """Compare two labels: DSC, NSD, Hausdorff distance and volumes, by label.

    All voxels of both count, however far either file reaches. Where their voxels
    differ in size or place, the coarser label is brought onto the grid of the
    finer one by nearest neighbours, if both files say how the patient lies in them.
    """
    with user_errors():
        check_reports([csv_file, json_file], [a, b])
        one, two = read_label_file(a), read_label_file(b)
        pair = on_common_grid(one, two)
        said = pair.said
        found = compare_labels(pair.a, pair.b, pair.spacing, tolerance)
        names = {
            label_id: (one if label_id in one.named else two).segment(label_id).name
            for label_id in found
        }
        say(*_table(found, names, tolerance))
        if said:
            say(f"Note: {said}")
        rows: list[dict[str, Any]] = [
            {"label": label_id, "name": names[label_id], **own.as_dict()}
            for label_id, own in found.items()
        ]
        if csv_file is not None:
            write_csv(csv_file, rows)
        if json_file is not None:
            content = {
                "a": str(a),
                "b": str(b),
                "tolerance_mm": tolerance,
                "note": said,
                "labels": rows,
                "mean": mean_agreement(found),
            }
            write_json(json_file, content)


def _table(found: Mapping[int, Agreement], names: Mapping[int, str], tolerance: float) -> list[str]:
    if not found:
        return ["Both labels are empty."]
    rows = [[f"{label_id} {names[label_id]}", *_cells(own)] for label_id, own in found.items()]
    mean = mean_agreement(found)
    if mean is None:
        last = "No label is in both."
    else:
        both = sum(own.only_in is None for own in found.values())
        rows.append([f"mean of {both}", *_scores(**mean)])
        last = f"NSD at {tolerance:g} mm. The mean is that of labels which both have."
    return [*table(["", "DSC", "NSD", "HD95 mm", "A mL", "B mL", "B - A"], rows), last]


def _cells(own: Agreement) -> list[str]:
    volumes = [f"{own.a_ml:,.2f}", f"{own.b_ml:,.2f}"]
    if own.only_in:
        return ["", "", f"only in {own.only_in}", *volumes]
    change = describe_change(own.difference_ml, own.difference_percent)
    return [*_scores(own.dsc, own.nsd, own.hausdorff95_mm), *volumes, change]


def _scores(dsc: float, nsd: float, hausdorff95_mm: float) -> list[str]:
    return [f"{dsc:.3f}", f"{nsd:.3f}", f"{hausdorff95_mm:.2f}"]
