"""The ablation's numbers as one summary, as Markdown, and as tables for the terminal."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.table import Table

from training.ablation.folder import RowScores
from training.ablation.rows import TABLES, AblationRow
from training.console import markdown_table
from training.evaluation.score_summary import Score, summarise
from training.files import replace_file

Cells = list[str]


def summarise_rows(
    rows: Sequence[AblationRow],
    scores: Mapping[str, RowScores],
    models: Mapping[str, Mapping[str, Any]],
    tables: Collection[str],
    rarest: str,
    seed: int,
) -> dict[str, Any]:
    """Sum up scored rows.

    Parameters
    ----------
    rows : sequence of AblationRow
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
        parts.append(f"### {TABLES[table]}\n\n{markdown_table(header, lines)}\n")
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


# Okabe and Ito, "Color Universal Design" (2008), by how a row is made.
COLOURS = {
    "float": "#000000",
    "ptq": "#0072B2",
    "qat": "#D55E00",
    "pruned": "#009E73",
    "shallow": "#CC79A7",
}
METHODS = {"float": "float", "ptq": "PTQ", "qat": "QAT", "pruned": "pruned", "shallow": "distilled"}
MB_AREA = 9.0  # square points for each MB
RARE_COLOUR = "#E69F00"


def write_plot(path: Path, summary: Mapping[str, Any]) -> None:
    """Draw a summary as a PNG.

    Parameters
    ----------
    path : Path
    summary : mapping
        From `training.ablation.results.summarise_rows`.
    """
    rows = summary["rows"]
    subset = [rows[name] for name in summary["tables"].get("subset", ())]
    points = [row for row in rows.values() if row["method"] in COLOURS]
    panels = 2 if len(subset) > 1 else 1
    with mpl.rc_context({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(5.2 * panels, 3.6), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, panels, squeeze=False)[0]
        _draw_methods(axes[0], points, summary)
        if panels == 2:
            _draw_subsets(axes[1], subset, summary["rarest"])
        replace_file(path, lambda temporary: figure.savefig(temporary, format="png", dpi=110))


def _draw_methods(
    axes: Axes, points: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]
) -> None:
    for row in points:
        colour = COLOURS[row["method"]]
        axes.scatter(row["ms"], row["dsc"], MB_AREA * row["mb"], colour, alpha=0.6, lw=0)
    _label(axes, points)
    for method in dict.fromkeys(row["method"] for row in points):
        axes.scatter([], [], 40, COLOURS[method], alpha=0.6, lw=0, label=METHODS[method])
    axes.set_xlim(left=0)
    axes.set_xlabel("ms to encode a slice and decode a box")
    axes.set_ylabel(f"DSC, mean of {summary['data_sets']} data sets")
    axes.set_title("Accuracy against time; areas are MB", loc="left", fontsize=9)
    axes.legend(loc="lower left", frameon=False)


def _label(axes: Axes, points: Sequence[Mapping[str, Any]]) -> None:
    """Write the names in a column at the right, in the points' order, joined to them by lines."""
    ordered = sorted(points, key=lambda row: row["dsc"])
    for number, row in enumerate(ordered):
        colour = COLOURS[row["method"]]
        axes.annotate(
            row["label"],
            (row["ms"], row["dsc"]),
            (1.03, (number + 0.5) / len(ordered)),
            textcoords="axes fraction",
            va="center",
            fontsize=7,
            color=colour,
            arrowprops={"arrowstyle": "-", "lw": 0.5, "color": colour, "relpos": (0, 0.5)},
            annotation_clip=False,
        )


def _draw_subsets(axes: Axes, rows: Sequence[Mapping[str, Any]], rarest: str) -> None:
    for place, row in enumerate(reversed(rows)):
        ends = row["dsc"], row["rarest"]["dsc"]
        axes.plot(ends, [place, place], color="0.75", lw=1.5, zorder=1)
        axes.scatter(ends[0], place, 30, COLOURS["ptq"], zorder=2)
        axes.scatter(ends[1], place, 30, RARE_COLOUR, marker="D", zorder=2)
    axes.set_yticks(range(len(rows)), [row["label"] for row in reversed(rows)])
    axes.scatter([], [], 30, COLOURS["ptq"], label="all data sets")
    axes.scatter([], [], 30, RARE_COLOUR, marker="D", label=f"{rarest}, the rarest")
    axes.set_xlabel("DSC")
    axes.set_title("Subset that the decoder is trained on", loc="left", fontsize=9)
    axes.set_ylim(-1.2, len(rows) - 0.5)  # the legend lies below the rows
    axes.legend(loc="lower center", ncol=2, frameon=False)
