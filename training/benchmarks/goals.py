"""What the models have to reach in time and size, and whether they do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from napari_medsamq.inference.model_spec import FAST_MODEL, FLOAT_MODEL, INT8_MODEL
from training.latency import LAPTOP

TORCH = "litemedsam-torch"


class Goal(NamedTuple):
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


def list_goals(found: Mapping[str, Any]) -> list[Goal]:
    """Compare a benchmark with its goals, as far as it was run.

    Parameters
    ----------
    found : mapping
        From `training.benchmark.run_benchmark`.
    """
    return [*_speed(found), *_cases(found["native"]), *_decoders(found), *_files(found)]


def _speed(found: Mapping[str, Any]) -> Iterator[Goal]:
    for name, other, native, laptop in (
        (FAST_MODEL, TORCH, 40, 30),
        (INT8_MODEL, FLOAT_MODEL, 2.3, 1.7),
    ):
        for place, goal in (("native", native), (LAPTOP, laptop)):
            times = found[place]
            if name in times:
                ratio = times[other]["encode"] / times[name]["encode"]
                yield Goal(f"{name}: encoder, times as fast as {other}, {place}", ratio, goal, True)


def _cases(native: Mapping[str, Any]) -> Iterator[Goal]:
    for name, goal in ((FAST_MODEL, 25), (INT8_MODEL, 6)):
        if "case" in native.get(name, {}):
            ratio = native[TORCH]["case"] / native[name]["case"]
            yield Goal(f"{name}: a case, times as fast as {TORCH}", ratio, goal, True)


def _decoders(found: Mapping[str, Any]) -> Iterator[Goal]:
    native = found["native"]
    for name in (FAST_MODEL, INT8_MODEL):
        if name in native:
            one, five = native[name]["decode"], native[name]["decode5"]
            ratio = one / native[FLOAT_MODEL]["decode"]
            yield Goal(f"{name}: decoder, one box, of {FLOAT_MODEL}'s time", ratio, 0.5, False)
            yield Goal(
                f"{name}: five boxes at once, of five calls' time", five / one / 5, 0.75, False
            )


def _files(found: Mapping[str, Any]) -> Iterator[Goal]:
    for name in (FAST_MODEL, INT8_MODEL):
        loads = found.get("loads", {}).get(name)
        if loads is not None:
            yield Goal(f"{name}: load from cache, ms", loads["load_cached"], 400, False)
            yield Goal(f"{name}: load the first time, ms", loads["load_cold"], 3000, False)
    if FAST_MODEL in found["sizes"]:
        yield Goal(f"{FAST_MODEL}: files, MB", found["sizes"][FAST_MODEL], 12, False)


def format_goals(goals: list[Goal]) -> str:
    """Lay out goals as a Markdown table."""
    lines = ["| | value | goal | |", "|---|---|---|---|"]
    for goal in goals:
        sign = ">=" if goal.at_least else "<="
        verdict = "met" if goal.met else "**missed**"
        lines.append(f"| {goal.what} | {goal.value:.3g} | {sign} {goal.goal:g} | {verdict} |")
    return "\n".join(lines)
