"""From the scores of objects to tables: means, medians of time, and bootstrap intervals.

A data set's DSC and NSD are means over its objects, a modality's are means over its data sets, and
macro is the mean over all data sets. Times are medians over the objects themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np

from napari_medsamq.array_types import Float64
from napari_medsamq.inference.model_spec import ModelSpec
from training.data.cases import seeded_rng
from training.data.sources import read_sources
from training.evaluation.protocol import Target

DRAWS = 2000
METRICS = ("dsc", "nsd")
# Sizes of objects by what part of their slice they cover, which is less than this.
SIZES = {"small (< 1 %)": 0.01, "medium (1-5 %)": 0.05, "large (> 5 %)": 2.0}

# Data sets by whether the training takes something of their source.
SOURCES = ("sources of the training", "other sources")

# Data set -> values (DRAWS,) float64 of its mean, each with other cases drawn.
Draws = dict[str, Float64]


@dataclass(frozen=True)
class Score:
    """How well one model segmented one object.

    Attributes
    ----------
    target : Target
    dsc, nsd : float
        From 0 to 1.
    ms : float
        Encoding the object's slice and decoding its box, in milliseconds; in a volume, of all its
        slices. Each object carries its slice's whole encoding, also where others share it.
    ghosts, slices : int
        In a volume, slices with a mask where the reference has none, and all slices with a mask.
    missed, wanted : int
        In a volume, slices without a mask where the reference has at least 100 pixels, and all
        slices of the reference.
    share : float or None
        What part of its slice the object covers; None in a volume.
    checks : tuple of (float, float)
        In a volume whose slices were checked, the confidence and the DSC of each with a mask.
    """

    target: Target
    dsc: float
    nsd: float
    ms: float
    ghosts: int = 0
    slices: int = 0
    missed: int = 0
    wanted: int = 0
    share: float | None = None
    checks: tuple[tuple[float, float], ...] = ()

    @property
    def size(self) -> str | None:
        """How large the object is, in words; None in a volume."""
        if self.share is None:
            return None
        return next(name for name, most in SIZES.items() if self.share < most)


def summarise(by_model: Mapping[Any, Sequence[Score]], seed: int) -> dict[str, Any]:
    """Sum up the scores of models.

    Parameters
    ----------
    by_model : mapping to sequence of Score
        For each model or mode, which is listed by its text, of the same objects in the same order.
    seed : int
        Of the bootstrap.

    Returns
    -------
    summary : dict
        What JSON can hold. `models`: name -> `macro`, `modalities`, `datasets`, `sources` (those of
        the training and others, if there are both), `sizes` (of objects in slices), with means
        `dsc` and `nsd`, median `ms`, number of objects `n`, and `ci95`. `cases`: data set/case ->
        name -> the same means. `differences`: name -> `macro`, `modalities`, `sources`, `sizes`:
        mean and 95 % interval of what the model has more than the first
        one. Intervals come from a bootstrap over the cases of each data set; a set of one case adds
        no width, and None stands where all are such.
    """
    scores = {str(mode): own for mode, own in by_model.items()}
    draws = {name: _bootstrap(own, seed) for name, own in scores.items()}
    first = next(iter(scores))
    return {
        "models": {
            name: {**_model(own, draws[name]), "sizes": _sizes(own, seed)}
            for name, own in scores.items()
        },
        "cases": _cases(scores),
        "differences": {
            name: {
                **_differences(scores[first], own, draws[first], draws[name]),
                "sizes": _size_differences(scores[first], own, seed),
            }
            for name, own in scores.items()
            if name != first
        },
    }


def record_scores(directory: Path, scores: Mapping[str, Any]) -> None:
    """Write a model's macro scores, and those of its modalities, into its `model.json`."""
    own = {"all": scores["macro"], **scores["modalities"]}
    rounded = {name: {key: round(row[key], 4) for key in METRICS} for name, row in own.items()}
    replace(ModelSpec.read(directory), scores=rounded).write(directory)


def clicks_needed(scores: Sequence[Sequence[Score]], wanted: float) -> tuple[float, float]:
    """Return how many clicks it takes to a DSC, and how many objects never get there.

    Parameters
    ----------
    scores : sequence of sequence of Score
        After no click, one, two ...; of the same objects in the same order.
    wanted : float

    Returns
    -------
    clicks, failed : float
        Means over data sets; an object that does not get there counts with one click more than were
        tried, and in the share that failed.
    """
    tried = len(scores) - 1
    clicks: dict[str, list[int]] = {}
    for own in zip(*scores, strict=True):
        needed = (number for number, score in enumerate(own) if score.dsc >= wanted)
        clicks.setdefault(own[0].target.case.data_set, []).append(next(needed, tried + 1))
    return (
        fmean(fmean(own) for own in clicks.values()),
        fmean(fmean(number > tried for number in own) for own in clicks.values()),
    )


def ghost_share(scores: Sequence[Score]) -> float:
    """Return what part of the slices with a mask have none in the reference."""
    slices = sum(score.slices for score in scores)
    return sum(score.ghosts for score in scores) / slices if slices else 0.0


def missed_share(scores: Sequence[Score]) -> float:
    """Return what part of the slices of the reference are missed."""
    wanted = sum(score.wanted for score in scores)
    return sum(score.missed for score in scores) / wanted if wanted else 0.0


def _model(scores: Sequence[Score], draws: dict[str, Draws]) -> dict[str, Any]:
    macro = _row(scores, draws)
    by_set = _grouped(scores, lambda target: target.case.data_set)
    return {
        "macro": {key: macro[key] for key in (*METRICS, "ms")},
        "sources": {name: _row(own, draws) for name, own in _by_source(scores).items()},
        "modalities": {name: _row(own, draws) for name, own in _by_modality(scores).items()},
        "datasets": {name: _row(own, draws) for name, own in by_set.items()},
    }


def _row(scores: Sequence[Score], draws: dict[str, Draws]) -> dict[str, Any]:
    sets = _grouped(scores, lambda target: target.case.data_set)
    return {
        **_means(scores),
        "ms": median(score.ms for score in scores),
        "n": len(scores),
        "ci95": {
            metric: _interval([draws[metric][name] for name in sets], _has_pair(sets))
            for metric in METRICS
        },
    }


def _cases(scores: Mapping[str, Sequence[Score]]) -> dict[str, Any]:
    cases: dict[str, Any] = {}
    for model, own in scores.items():
        by_case = _grouped(own, lambda target: f"{target.case.data_set}/{target.case.name}")
        for case, group in by_case.items():
            row = {**_means(group), "ms": median(score.ms for score in group), "n": len(group)}
            cases.setdefault(case, {})[model] = row
    return cases


def _sizes(scores: Sequence[Score], seed: int) -> dict[str, Any]:
    return {size: _row(own, _bootstrap(own, seed)) for size, own in _by_size(scores).items() if own}


def _by_modality(scores: Sequence[Score]) -> dict[str, list[Score]]:
    return _grouped(scores, lambda target: target.case.modality)


def _by_source(scores: Sequence[Score]) -> dict[str, list[Score]]:
    """Split scores by whether the training knows the source; nothing where it knows all or none."""
    known = read_sources()
    parts = _grouped(scores, lambda target: SOURCES[not known.is_shared(target.case.data_set)])
    return {name: parts[name] for name in SOURCES} if len(parts) == len(SOURCES) else {}


def _size_differences(
    first: Sequence[Score], other: Sequence[Score], seed: int
) -> dict[str, dict[str, Any]]:
    before, after = _by_size(first), _by_size(other)
    return {
        size: _compare(own, after[size], _bootstrap(own, seed), _bootstrap(after[size], seed))
        for size, own in before.items()
        if own
    }


def _by_size(scores: Sequence[Score]) -> dict[str, list[Score]]:
    return {size: [score for score in scores if score.size == size] for size in SIZES}


def _compare(
    before: Sequence[Score],
    after: Sequence[Score],
    draws_before: dict[str, Draws],
    draws_after: dict[str, Draws],
) -> dict[str, Any]:
    sets = _grouped(before, lambda target: target.case.data_set)
    means = _means(before), _means(after)
    row = {}
    for metric in METRICS:
        more = [draws_after[metric][name] - draws_before[metric][name] for name in sets]
        mean = means[1][metric] - means[0][metric]
        row[metric] = {"mean": mean, "ci95": _interval(more, _has_pair(sets))}
    return row


def _differences(
    first: Sequence[Score],
    other: Sequence[Score],
    first_draws: dict[str, Draws],
    other_draws: dict[str, Draws],
) -> dict[str, Any]:
    def compared(group: Callable[[Sequence[Score]], dict[str, list[Score]]]) -> dict[str, Any]:
        before, after = group(first), group(other)
        return {
            name: _compare(own, after[name], first_draws, other_draws)
            for name, own in before.items()
        }

    return {
        "macro": _compare(first, other, first_draws, other_draws),
        "modalities": compared(_by_modality),
        "sources": compared(_by_source),
    }


def _means(scores: Sequence[Score]) -> dict[str, float]:
    """Return DSC and NSD as the mean over data sets of the mean over objects."""
    sets = _grouped(scores, lambda target: target.case.data_set).values()
    return {
        metric: fmean(fmean(getattr(score, metric) for score in own) for own in sets)
        for metric in METRICS
    }


def _bootstrap(scores: Sequence[Score], seed: int) -> dict[str, Draws]:
    """Return, by metric and data set, the means with the cases drawn with replacement.

    A data set's draws follow from the seed and its name: they are the same for all models.
    """
    draws: dict[str, Draws] = {metric: {} for metric in METRICS}
    for name, own in _grouped(scores, lambda target: target.case.data_set).items():
        cases = list(_grouped(own, lambda target: target.case.name).values())
        drawn = seeded_rng(seed, name, "bootstrap").integers(len(cases), size=(DRAWS, len(cases)))
        count = np.array([len(case) for case in cases])[drawn].sum(axis=1)
        for metric in METRICS:
            total = np.array([sum(getattr(score, metric) for score in case) for case in cases])
            draws[metric][name] = total[drawn].sum(axis=1) / count
    return draws


def _interval(draws: list[Float64], known: bool) -> list[float] | None:
    """Return the 95 % percentile interval of the mean over data sets."""
    if not known:
        return None
    return [float(end) for end in np.percentile(np.mean(draws, axis=0), (2.5, 97.5))]


def _has_pair(sets: dict[str, list[Score]]) -> bool:
    return any(len({score.target.case for score in own}) > 1 for own in sets.values())


def _grouped(scores: Sequence[Score], key: Callable[[Target], str]) -> dict[str, list[Score]]:
    groups: dict[str, list[Score]] = {}
    for score in scores:
        groups.setdefault(key(score.target), []).append(score)
    return groups
