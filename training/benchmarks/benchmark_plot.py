"""The benchmark as a picture: milliseconds of each step, by model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from napari_medsamq.diagnostics.model_benchmark import STEPS
from training.files import replace_file

_SHOWN = ("encode", "decode", "image", "case")


def write_plot(path: Path, times: Mapping[str, Mapping[str, float]]) -> None:
    """Draw one panel for each step, a bar for each model, as PNG."""
    steps = [step for step in _SHOWN if all(step in own for own in times.values())]
    figure = Figure(figsize=(9, 1.1 + 0.34 * len(times)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(steps), sharey=True, squeeze=False)[0]
    names = list(times)
    for panel, step in zip(panels, steps, strict=True):
        values = [times[name][step] for name in names]
        bars = panel.barh(names, values, color="#0072B2", height=0.7)
        panel.bar_label(
            bars,
            [f"{value:,.0f}" if value >= 100 else f"{value:.1f}" for value in values],
            padding=3,
            fontsize=8,
        )
        panel.set_title(f"{re.split('[,:]', STEPS[step])[0]}, ms", fontsize=9)
        panel.set_xlim(0, 1.35 * max(values))
        panel.set_xticks([])
        panel.spines[["top", "right", "bottom"]].set_visible(False)
    panels[0].invert_yaxis()
    replace_file(path, lambda temporary: figure.savefig(temporary, format="png"))
