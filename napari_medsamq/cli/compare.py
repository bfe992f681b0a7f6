"""`medsamq compare`: how two labels of one patient agree, or several with what they agree on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from napari_medsamq.errors import SaveError, VolumeError
from napari_medsamq.io.files import write_json
from napari_medsamq.io.label_writer import check_target
from napari_medsamq.io.labels import LabelFile, on_common_grid, read_label_file
from napari_medsamq.workflows.consensus import Consensus, find_consensus
from napari_medsamq.workflows.labels import check_new, save


def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="A label file, the reference say.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another one of the same image.")],
    more: Annotated[
        list[Path] | None, typer.Argument(metavar="C", help="More of them: other readers'.")
    ] = None,
    tolerance: Annotated[
        float, typer.Option(min=0, help="Distance in mm up to which surfaces agree.")
    ] = DEFAULT_TOLERANCE_MM,
    majority: Annotated[
        Path | None, typer.Option(help="Save what more than half of the readers have, as a label.")
    ] = None,
    staple: Annotated[
        Path | None, typer.Option(help="Save what they agree on by STAPLE, as a label.")
    ] = None,
    csv_file: CsvFile = None,
    json_file: JsonFile = None,
    overwrite: Annotated[bool, typer.Option(help="Replace existing label files.")] = False,
) -> None:
    """Compare labels of one image: DSC, NSD, Hausdorff distance and volumes, by label.

    All voxels of both count, however far either file reaches. Where their voxels
    differ in size or place, the coarser label is brought onto the grid of the
    finer one by nearest neighbours, if both files say how the patient lies in them.

    Three files or more are compared with what they agree on, by majority and by
    STAPLE, and have to be of the same voxels.
    """
    with user_errors():
        paths = [a, b, *(more or [])]
        targets = {
            name: path for name, path in (("majority", majority), ("STAPLE", staple)) if path
        }
        check_reports([csv_file, json_file], [*paths, *targets.values()])
        if len(paths) > 2:
            _check_files(paths, targets, overwrite)
        elif targets:
            raise VolumeError(
                "What readers agree on takes three files or more, and these are two. Name another "
                "one, or leave --majority and --staple out."
            )
        readers = [read_label_file(path) for path in paths]
        if len(readers) > 2:
            found = find_consensus(readers, tolerance)
            agreed = {name: found.on_image_grid(name) for name in targets}
            rows, content = _compare_readers(paths, found, tolerance)
            for name, target in targets.items():
                receipt = save(agreed[name], target, overwrite=overwrite).receipt
                say(f"Consensus ({name}) saved and verified: {receipt.path}")
                content[name.lower()] = {"file": str(receipt.path), "sha256": receipt.sha256}
        else:
            rows, content = _compare_two(paths, readers, tolerance)
        if csv_file is not None:
            write_csv(csv_file, rows)
        if json_file is not None:
            write_json(json_file, content)


def _check_files(paths: list[Path], targets: Mapping[str, Path], overwrite: bool) -> None:
    """Refuse a reader who would vote twice, and names that no consensus can be saved under."""
    known: dict[Path, Path] = {}
    for path in paths:
        other = known.setdefault(path.resolve(), path)
        if other is not path:
            raise VolumeError(
                f"{path} is named twice, and would count as two readers. Name each file once."
            )
    taken: set[Path] = set()
    for target in targets.values():
        check_new(target, overwrite)
        for path in paths:
            check_target(target, path)
        if target.resolve() in taken:
            raise SaveError(f"{target} cannot take both labels. Choose another name for one.")
        taken.add(target.resolve())


def _compare_two(
    paths: Sequence[Path], readers: Sequence[LabelFile], tolerance: float
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Say how two labels agree; return the same as rows of a table, and as JSON can hold it."""
    pair = on_common_grid(*readers)
    one, two = pair.labels
    found = compare_labels(one, two, pair.spacing, tolerance)
    mean = mean_agreement(found)
    if found:
        names = {label_id: f"{label_id} {pair.segment(label_id).name}" for label_id in found}
        last = "No label is in both." if mean is None else _meaning(tolerance)
        say(*table(_head("A", "B"), _lines(found, names, "A", "B")), last)
    else:
        say("Both labels are empty.")
    if pair.said:
        say(f"Note: {pair.said}")
    rows = [
        {"label": label_id, "name": pair.segment(label_id).name, **own.as_dict()}
        for label_id, own in found.items()
    ]
    return rows, {
        **dict(zip("ab", map(str, paths), strict=True)),
        "tolerance_mm": tolerance,
        "note": pair.said,
        "labels": rows,
        "mean": mean,
    }


def _compare_readers(
    paths: Sequence[Path], found: Consensus, tolerance: float
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Say how readers agree with their consensus; return the same as `_compare_two` does."""
    numbers = [str(n) for n in range(1, len(paths) + 1)]
    say(*(f"Reader {number}: {path}" for number, path in zip(numbers, paths, strict=True)))
    names = {label_id: own.name for label_id, own in found.segments.items()}
    volumes = {label_id: found.volumes(label_id) for label_id in names}
    cells = []
    for label_id, (by_reader, agreed) in volumes.items():
        low, high = min(by_reader), max(by_reader)
        spread = describe_change(high - low, 100 * (high - low) / low if low else None)
        mls = [f"{ml:,.2f}" for ml in (*by_reader, *agreed.values())]
        cells.append([f"{label_id} {names[label_id]}", *mls, spread])
    say(*table(["mL", *numbers, *found.labels, "largest - smallest"], cells))
    rows: list[dict[str, Any]] = []
    means: list[dict[str, Any]] = []
    for method, agreements in found.agreements.items():
        lines = []
        for number, path, own in zip(numbers, paths, agreements, strict=True):
            titles = {n: f"{n} {names[n]}, reader {number}" for n in own}
            lines += _lines(own, titles, method, "reader", f", reader {number}")
            who = {"consensus": method, "reader": int(number), "file": str(path)}
            means.append({**who, **(mean_agreement(own) or {})})
            rows += [
                {"label": n, "name": names[n], **who, **_named_row(agreement)}
                for n, agreement in own.items()
            ]
        say("", *table(_head(method, "reader"), lines))
    say(_meaning(tolerance))
    if found.readers.said:
        say(f"Note: {found.readers.said}")
    return rows, {
        "readers": [str(path) for path in paths],
        "tolerance_mm": tolerance,
        "note": found.readers.said,
        "volumes": [
            {"label": n, "name": names[n], "readers_ml": by_reader, "consensus_ml": agreed}
            for n, (by_reader, agreed) in volumes.items()
        ],
        "labels": rows,
        "means": means,
    }


def _named_row(own: Agreement) -> dict[str, Any]:
    """Return an agreement's numbers with A as the consensus and B as the reader."""
    row = {
        {"a_ml": "consensus_ml", "b_ml": "reader_ml"}.get(key, key): value
        for key, value in own.as_dict().items()
    }
    return row | {"only_in": own.only_in and {"A": "consensus", "B": "reader"}[own.only_in]}


def _head(a: str, b: str) -> list[str]:
    return ["", "DSC", "NSD", "HD95 mm", f"{a} mL", f"{b} mL", f"{b} - {a}"]


def _lines(
    found: Mapping[int, Agreement], titles: Mapping[int, str], a: str, b: str, whose: str = ""
) -> list[list[str]]:
    """Return a line of cells for each label, and one for the mean of those that both have."""
    lines = []
    for label_id, own in found.items():
        volumes = [f"{own.a_ml:,.2f}", f"{own.b_ml:,.2f}"]
        if own.only_in:
            cells = ["", "", f"only in {a if own.only_in == 'A' else b}", *volumes]
        else:
            change = describe_change(own.difference_ml, own.difference_percent)
            cells = [*_scores(own.dsc, own.nsd, own.hausdorff95_mm), *volumes, change]
        lines.append([titles[label_id], *cells])
    mean = mean_agreement(found)
    if mean is not None:
        both = sum(own.only_in is None for own in found.values())
        lines.append([f"mean of {both}{whose}", *_scores(**mean)])
    return lines


def _meaning(tolerance: float) -> str:
    return f"NSD at {tolerance:g} mm. The mean is that of labels which both have."


def _scores(dsc: float, nsd: float, hausdorff95_mm: float) -> list[str]:
    return [f"{dsc:.3f}", f"{nsd:.3f}", f"{hausdorff95_mm:.2f}"]
