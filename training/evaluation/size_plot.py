"""DSC by the size of the objects, model beside model, as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from training.files import replace_file

_COLORS = ("#999999", "#56B4E9", "#009E73", "#E69F00", "#0072B2", "#D55E00")


def plot_sizes(summary: Mapping[str, Any], path: Path) -> None:
    """Draw bars with 95 % intervals.

    Parameters
    ----------
    summary : mapping
        As `training.evaluation.scores.summarise` returns it, of objects in slices.
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
