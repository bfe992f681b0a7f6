"""The ablation's numbers as one summary, as Markdown, and as tables for the terminal."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table

from training.ablation.folder import RowScores
from training.ablation.rows import TABLES, Row
from training.evaluation.scores import Score, summarise

Cells = list[str]


def summarise_rows(
    rows: Sequence[Row],
    scores: Mapping[str, RowScores],
    models: Mapping[str, Mapping[str, Any]],
    tables: Collection[str],
    rarest: str,
    seed: int,
) -> dict[str, Any]:
    """Sum up scored rows.

    Parameters
    ----------
    rows : sequence of Row
        The first of them is what the others are compared to.
    scores : mapping of str to RowScores
        By row.
    models : mapping of str to mapping
        By row: `encode` and `decode` in ms, `mb`, `bits`, and the `training` of its model.
    tables : collection of str
        Which tables are wanted.
    rarest : str
        The modality with the fewest slices.
    seed : int
        Of the bootstrap.

    Returns
    -------
    summary : dict
        What JSON can hold: `rarest`, `first`, `objects`, `data_sets`, `tables`: name -> names of
        its rows, and `rows`: name -> values.
        Rows are compared on the objects that all of them have.
    """
    whole = summarise(_common({row.name: scores[row.name].objects for row in rows}), seed)
    rare = {row.name: scores[row.name].rare for row in rows if scores[row.name].rare}
    rare_whole = summarise(_common(rare), seed) if rare else {"models": {}, "differences": {}}
    first = rows[0].name
    sets = whole["models"][first]["datasets"]
    times = {row.name: models[row.name]["encode"] + models[row.name]["decode"] for row in rows}
    found = {}
    for row in rows:
        macro = whole["models"][row.name]["macro"]
        found[row.name] = {
            "label": row.label,
            "method": row.method,
            "dsc": macro["dsc"],
            "nsd": macro["nsd"],
            "difference": whole["differences"].get(row.name, {}).get("macro"),
            "modalities": whole["models"][row.name]["modalities"],
            "rarest": _rare_values(rare_whole, row.name, rarest),
            "ms": times[row.name],
            "ms_ratio": times[row.name] / times[first],
            **models[row.name],
        }
    return {
        "rarest": rarest,
        "first": first,
        "objects": sum(own["n"] for own in sets.values()),
        "data_sets": len(sets),
        "tables": {
            table: [row.name for row in rows if table in row.tables]
            for table in TABLES
            if table in tables
        },
        "rows": found,
    }


def _common(scores: Mapping[str, Sequence[Score]]) -> dict[str, list[Score]]:
    """Keep the objects that all rows have."""
    shared = set.intersection(*({score.target for score in own} for own in scores.values()))
    return {
        name: [score for score in own if score.target in shared] for name, own in scores.items()
    }


def _rare_values(summary: Mapping[str, Any], name: str, rarest: str) -> dict[str, Any] | None:
    if name not in summary["models"]:
        return None
    own = summary["models"][name]["modalities"][rarest]
    difference = summary["differences"].get(name, {}).get("modalities", {}).get(rarest)
    return {"dsc": own["dsc"], "nsd": own["nsd"], "n": own["n"], "difference": difference}


def markdown(summary: Mapping[str, Any], failed: Mapping[str, str]) -> str:
    """Write all tables as Markdown.

    Parameters
    ----------
    summary : mapping
        From `summarise_rows`.
    failed : mapping of str to str
        By row, why it is not there.
    """
    parts = [f"{_caption(summary)}\n"]
    for table, (header, lines) in _tables(summary):
        rule = ["---", *["---:"] * (len(header) - 1)]
        text = "\n".join(f"| {' | '.join(line)} |" for line in (header, rule, *lines))
        parts.append(f"### {TABLES[table]}\n\n{text}\n")
    made = "\n".join(f"- {row['label']}: {row['training']}" for row in summary["rows"].values())
    parts.append(f"### How the rows were made\n\n{made}\n")
    if failed:
        reasons = "\n".join(f"- {name}: {reason}" for name, reason in failed.items())
        parts.append(f"### Not made\n\n{reasons}\n")
    return "\n".join(parts)


def terminal_tables(summary: Mapping[str, Any]) -> Iterator[Table]:
    """Lay out all tables for the terminal."""
    for table, (header, lines) in _tables(summary):
        laid_out = Table(title=TABLES[table])
        for number, column in enumerate(header):
            laid_out.add_column(column, justify="right" if number else "left", overflow="fold")
        for line in lines:
            laid_out.add_row(*line)
        yield laid_out


def _caption(summary: Mapping[str, Any]) -> str:
    return (
        f"{summary['objects']} objects of {summary['data_sets']} data sets; DSC and NSD are means "
        "over data sets, brackets hold the paired 95 % interval of the difference. ms: to encode "
        "a slice and decode one box, medians of models that take turns, on 2 threads. MB: of the "
        "OpenVINO files. Where not said otherwise, 8 bits of encoder and decoder are meant, with "
        "a scale per output channel."
    )


def _tables(summary: Mapping[str, Any]) -> Iterator[tuple[str, tuple[Cells, list[Cells]]]]:
    """Yield the name, the header and the lines of each table."""
    first = summary["rows"][summary["first"]]["label"]
    for table, names in summary["tables"].items():
        rows = [summary["rows"][name] for name in names]
        header = ["", "DSC", "NSD", f"DSC minus {first}", "ms", "MB"]
        lines = [_line(row) for row in rows]
        if table == "subset":
            rare = [row["rarest"] for row in rows]
            header.insert(4, f"DSC of {summary['rarest']}")
            for line, own in zip(lines, rare, strict=True):
                line.insert(4, _rare_cell(own))
        yield table, (header, lines)


def _line(row: Mapping[str, Any]) -> Cells:
    difference = "" if row["difference"] is None else _difference(row["difference"]["dsc"])
    time = f"{row['ms']:.0f} ({row['ms_ratio']:.0%})"
    cells = [f"{row['dsc']:.3f}", f"{row['nsd']:.3f}", difference, time, f"{row['mb']:.1f}"]
    return [row["label"], *cells]


def _rare_cell(rare: Mapping[str, Any] | None) -> str:
    return "" if rare is None else f"{rare['dsc']:.3f} (n = {rare['n']})"


def _difference(value: Mapping[str, Any]) -> str:
    if value["ci95"] is None:
        return f"{value['mean']:+.3f}"
    return "{:+.3f} [{:+.3f}, {:+.3f}]".format(value["mean"], *value["ci95"])
