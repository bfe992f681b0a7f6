"""The ablation as a picture: what accuracy costs in time and size, and what subsets do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from training.files import replace_file

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
