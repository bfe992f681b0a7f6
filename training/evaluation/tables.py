"""An evaluation as tables for the terminal and the CSV file, and as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.table import Table

from napari_medsamq.io.files import table_text
from training.evaluation.model_run import ModelMode
from training.evaluation.score_summary import METRICS, Score
from training.files import replace_file

# What another model may at least have more than the first one. A goal is missed only where the
# whole 95 % interval of the difference lies below it.
GOALS = {"macro": 0.0, "modality": -0.01}


def score_table(summary: Mapping[str, Any]) -> Table:
    """Lay out data sets, modalities and macro, one column of DSC, NSD and ms for each model.

    Parameters
    ----------
    summary : mapping
        As `training.evaluation.score_summary.summarise` returns it.
    """
    models = summary["models"]
    table = Table(title="Mean DSC, mean NSD, median ms to encode and decode")
    table.add_column("data set", overflow="fold")
    table.add_column("n", justify="right")
    for name in models:
        table.add_column(name, justify="right", overflow="fold")
    first = next(iter(models.values()))
    for level in ("datasets", "modalities", "sources", "sizes"):
        for key, row in first[level].items():
            cells = [_cell(model[level][key]) for model in models.values()]
            table.add_row(key, str(row["n"]), *cells)
        table.add_section()
    objects = sum(row["n"] for row in first["datasets"].values())
    macro = [_cell(model["macro"]) for model in models.values()]
    table.add_row("macro (mean of data sets)", str(objects), *macro, style="bold")
    return table


def difference_table(name: str, difference: Mapping[str, Any], first: str) -> Table:
    """Lay out what a model has more than the first one, with its goals.

    Parameters
    ----------
    name, first : str
        Both models.
    difference : mapping
        The model's entry in `differences` of the summary.
    """
    table = Table(
        title=f"{name} minus {first}, paired by case",
        caption="open: below the goal, but the interval reaches it; missed: it does not",
    )
    for column in ("", "", "difference", "95 % interval", "goal", ""):
        table.add_column(column, justify="right" if column else "left")
    rows = {"macro": difference["macro"]}
    for level in ("modalities", "sources", "sizes"):
        rows |= difference[level]
    for key, row in rows.items():
        goal = GOALS["modality" if key in difference["modalities"] else "macro"]
        for metric in METRICS:
            value = row[metric]
            verdict = _verdict(value, goal)
            style = "bold red" if verdict == "missed" else None
            cells = [f"{value['mean']:+.3f}", _interval(value), f">= {goal:g}", verdict]
            table.add_row(key if metric == METRICS[0] else "", metric.upper(), *cells, style=style)
    return table


def goal_table(name: str, rows: Sequence[tuple[str, float, float]], first: str) -> Table:
    """Lay out what a model has to stay below.

    Parameters
    ----------
    name, first : str
        The model, and the one its times are divided by.
    rows : sequence of (str, float, float)
        What is measured, its value, and the most it may be.
    """
    table = Table(title=f"{name}: time (of {first}'s) and size")
    for column in ("", "value", "goal", ""):
        table.add_column(column, justify="right" if column else "left")
    for what, value, most in rows:
        met = value <= most
        style = None if met else "bold red"
        table.add_row(what, f"{value:.2f}", f"<= {most:g}", "met" if met else "missed", style=style)
    return table


def score_csv(scores: Mapping[ModelMode, Sequence[Score]]) -> str:
    """Write one line for each object and model; volumes leave `slice` empty."""
    head = ["model", "modality", "data_set", "case", "slice", "label_id", "dsc", "nsd", "ms"]
    rows: list[list[Any]] = []
    for mode, own in scores.items():
        for score in own:
            target, case = score.target, score.target.case
            place = [case.modality, case.data_set, case.name, target.index, target.label_id]
            values = [f"{score.dsc:.6f}", f"{score.nsd:.6f}", f"{score.ms:.2f}"]
            rows.append([str(mode), *place, *values])
    return table_text(head, rows)


def _cell(row: Mapping[str, Any]) -> str:
    return f"{row['dsc']:.3f} {row['nsd']:.3f} {row['ms']:5.0f}"


def _interval(value: Mapping[str, Any]) -> str:
    return "one case" if value["ci95"] is None else "{:+.3f} {:+.3f}".format(*value["ci95"])


def _verdict(value: Mapping[str, Any], goal: float) -> str:
    if value["mean"] >= goal:
        return "met"
    return "missed" if value["ci95"] is not None and value["ci95"][1] < goal else "open"


_COLORS = ("#999999", "#56B4E9", "#009E73", "#E69F00", "#0072B2", "#D55E00")


def plot_sizes(summary: Mapping[str, Any], path: Path) -> None:
    """Draw bars with 95 % intervals.

    Parameters
    ----------
    summary : mapping
        As `training.evaluation.score_summary.summarise` returns it, of objects in slices.
    path : Path
        Of the PNG.
    """
    models = summary["models"]
    sizes = list(next(iter(models.values()))["sizes"])
    figure = Figure(figsize=(7, 3.2), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    width = 0.8 / len(models)
    for number, (name, own) in enumerate(models.items()):
        rows = [own["sizes"][size] for size in sizes]
        means = np.array([row["dsc"] for row in rows])
        ends = np.array([row["ci95"]["dsc"] or [row["dsc"]] * 2 for row in rows])
        axes.bar(
            np.arange(len(sizes)) + (number - (len(models) - 1) / 2) * width,
            means,
            width,
            yerr=np.abs(ends.T - means),
            label=name,
            color=_COLORS[number % len(_COLORS)],
            error_kw={"elinewidth": 1, "ecolor": "#333333"},
        )
    counts = [next(iter(models.values()))["sizes"][size]["n"] for size in sizes]
    named = [f"{size}\n{count} objects" for size, count in zip(sizes, counts, strict=True)]
    axes.set_xticks(range(len(sizes)), named)
    axes.set_ylim(0.5, 1.0)
    axes.set_ylabel("DSC")
    axes.grid(axis="y", alpha=0.3)
    figure.legend(fontsize=8, ncols=4, loc="outside upper center")
    replace_file(path, lambda temporary: figure.savefig(temporary, format="png"))
