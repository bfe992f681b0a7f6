"""What the models have to reach in time and size, and whether they do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from napari_medsamq.diagnostics.model_benchmark import STEPS
from napari_medsamq.inference.model_choice import FAST_MODEL, FLOAT_MODEL, INT8_MODEL
from training.console import markdown_table
from training.evaluation.latency import LAPTOP
from training.files import replace_file

TORCH = "litemedsam-torch"


class BenchmarkGoal(NamedTuple):
    """A number, and what it has to be.

    Attributes
    ----------
    what : str
    value, goal : float
    at_least : bool
        Whether `value` has to be `goal` or more, rather than `goal` or less.
    """

    what: str
    value: float
    goal: float
    at_least: bool

    @property
    def met(self) -> bool:
        """Whether the goal is reached."""
        return self.value >= self.goal if self.at_least else self.value <= self.goal


def list_goals(found: Mapping[str, Any]) -> list[BenchmarkGoal]:
    """Compare a benchmark with its goals, as far as it was run.

    Parameters
    ----------
    found : mapping
        From `training.benchmarks.comparison.run_benchmark`.
    """
    return [*_speed(found), *_cases(found["native"]), *_decoders(found), *_files(found)]


def _speed(found: Mapping[str, Any]) -> Iterator[BenchmarkGoal]:
    for name, other, native, laptop in (
        (FAST_MODEL, TORCH, 40, 30),
        (INT8_MODEL, FLOAT_MODEL, 2.3, 1.7),
    ):
        for place, goal in (("native", native), (LAPTOP, laptop)):
            times = found[place]
            if name in times:
                ratio = times[other]["encode"] / times[name]["encode"]
                yield BenchmarkGoal(
                    f"{name}: encoder, times as fast as {other}, {place}", ratio, goal, True
                )


def _cases(native: Mapping[str, Any]) -> Iterator[BenchmarkGoal]:
    for name, goal in ((FAST_MODEL, 25), (INT8_MODEL, 6)):
        if "case" in native.get(name, {}):
            ratio = native[TORCH]["case"] / native[name]["case"]
            yield BenchmarkGoal(f"{name}: a case, times as fast as {TORCH}", ratio, goal, True)


def _decoders(found: Mapping[str, Any]) -> Iterator[BenchmarkGoal]:
    native = found["native"]
    for name in (FAST_MODEL, INT8_MODEL):
        if name in native:
            one, five = native[name]["decode"], native[name]["decode5"]
            ratio = one / native[FLOAT_MODEL]["decode"]
            yield BenchmarkGoal(
                f"{name}: decoder, one box, of {FLOAT_MODEL}'s time", ratio, 0.5, False
            )
            yield BenchmarkGoal(
                f"{name}: five boxes at once, of five calls' time", five / one / 5, 0.75, False
            )


def _files(found: Mapping[str, Any]) -> Iterator[BenchmarkGoal]:
    for name in (FAST_MODEL, INT8_MODEL):
        loads = found.get("loads", {}).get(name)
        if loads is not None:
            yield BenchmarkGoal(f"{name}: load from cache, ms", loads["load_cached"], 400, False)
            yield BenchmarkGoal(f"{name}: load the first time, ms", loads["load_cold"], 3000, False)
    if FAST_MODEL in found["sizes"]:
        yield BenchmarkGoal(f"{FAST_MODEL}: files, MB", found["sizes"][FAST_MODEL], 12, False)


def format_goals(goals: list[BenchmarkGoal]) -> str:
    """Lay out goals as a Markdown table."""
    rows = []
    for goal in goals:
        sign = ">=" if goal.at_least else "<="
        verdict = "met" if goal.met else "**missed**"
        rows.append([goal.what, f"{goal.value:.3g}", f"{sign} {goal.goal:g}", verdict])
    return markdown_table(["", "value", "goal", ""], rows)


_SHOWN = ("encode", "decode", "image", "case")


def plot_times(path: Path, times: Mapping[str, Mapping[str, float]]) -> None:
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
