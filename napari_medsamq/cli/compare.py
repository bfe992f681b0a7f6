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
    told_to_user,
    write_csv,
)
from napari_medsamq.io.files import write_json
from napari_medsamq.io.labels import on_common_grid, read_label_file
from napari_medsamq.plain_text import plain


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
    with told_to_user():
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
    called = {label_id: plain(f"{label_id} {names[label_id]}") for label_id in found}
    mean = mean_agreement(found)
    both = sum(own.only_in is None for own in found.values())
    last = f"mean of {both}"
    width = max(map(len, (*called.values(), last)))
    head = f"{'':{width}}  {'DSC':>6} {'NSD':>6} {'HD95 mm':>8} {'A mL':>10} {'B mL':>10}  B - A"
    lines = [head]
    for label_id, own in found.items():
        start = f"{called[label_id]:{width}}  "
        volumes = f"{own.a_ml:10,.2f} {own.b_ml:10,.2f}"
        if own.only_in:
            lines.append(f"{start}{'only in ' + own.only_in:>22} {volumes}")
            continue
        change = describe_change(own.difference_ml, own.difference_percent)
        scores = f"{own.dsc:6.3f} {own.nsd:6.3f} {own.hausdorff95_mm:8.2f}"
        lines.append(f"{start}{scores} {volumes}  {change}")
    if mean is not None:
        scores = f"{mean['dsc']:6.3f} {mean['nsd']:6.3f} {mean['hausdorff95_mm']:8.2f}"
        lines.append(f"{last:{width}}  {scores}")
    lines.append(
        f"NSD at {tolerance:g} mm. The mean is that of labels which both have."
        if mean is not None
        else "No label is in both."
    )
    return lines
