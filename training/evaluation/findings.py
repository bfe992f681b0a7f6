"""What a protocol tells besides means: clicks, ghosts, what a prompt adds, and confidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from napari_medsamq.prompts import CarryPrompt
from training.evaluation.confidence_study import BAD_DSC, LOOKED_AT, describe_checks
from training.evaluation.interactive import area_under_curve
from training.evaluation.model_run import CLICKS, ModelMode
from training.evaluation.protocol import Protocol
from training.evaluation.score_summary import (
    METRICS,
    Score,
    clicks_needed,
    ghost_share,
    missed_share,
    summarise,
)

WANTED_DSC = 0.9
# What one scribble is to gain, as a multiple of a click's gain; and a lasso alone beside a box.
STROKE_GOAL, LASSO_GOAL = 1.5, 0.02

Scores = Mapping[ModelMode, Sequence[Score]]
# What JSON can hold, and the same as lines of text.
Findings = tuple[dict[str, Any], list[str]]


def list_findings(scores: Scores, protocol: Protocol, seed: int) -> Findings:
    """Return what the scores of a protocol tell besides means.

    Parameters
    ----------
    scores : mapping of ModelMode to sequence of Score
    protocol : Protocol
    seed : int
        Of the bootstrap.

    Returns
    -------
    values : dict
        What JSON can hold.
    lines : list of str
        The same in words.
    """
    values: dict[str, Any] = {}
    lines: list[str] = []
    found = {
        "clicks_needed": _clicks(scores) if protocol is Protocol.clicks else ({}, []),
        "strokes": _strokes(scores) if protocol is Protocol.scribbles else ({}, []),
        "slices": ({}, []) if protocol.of_slices else _ghosts(scores),
        "areas": _areas(scores) if protocol is Protocol.interactive else ({}, []),
        "prompts": _prompts(scores, seed),
        "confidence": _confidence(scores) if protocol is Protocol.confidence else ({}, []),
    }
    for what, (own, text) in found.items():
        values |= {what: own} if own else {}
        lines += text
    return values, lines


def _clicks(scores: Scores) -> Findings:
    """Count how many clicks each model needs."""
    found, lines = {}, []
    for mode in scores:
        if mode.clicks == 0:
            own = [scores[replace(mode, clicks=count)] for count in CLICKS]
            found[mode.name] = clicks, failed = clicks_needed(own, WANTED_DSC)
            lines.append(
                f"{mode.name}: {clicks:.2f} clicks to a DSC of {WANTED_DSC:.2f}; {failed:.0%} do "
                f"not reach it with {CLICKS[-1]}"
            )
    return found, lines


def _strokes(scores: Scores) -> Findings:
    """Compare what one scribble gains with what one click does, and a lasso with a box."""
    found, lines = {}, []
    for mode in scores:
        if mode.clicks == 0 and not mode.stroke:
            click, scribble = replace(mode, clicks=1), replace(mode, stroke="scribble", clicks=1)
            modes = {"": mode, "click": click, "scribble": scribble}
            modes["lasso"] = replace(mode, stroke="lasso")
            models = summarise({name: scores[own] for name, own in modes.items()}, 0)["models"]
            dsc = {name: own["macro"]["dsc"] for name, own in models.items()}
            found[mode.name] = gains = {name: dsc[name] - dsc[""] for name in modes if name}
            ratio = gains["scribble"] / gains["click"] if gains["click"] > 0 else float("inf")
            lines.append(
                f"{mode.name}: one scribble gains {gains['scribble']:+.4f} DSC, {ratio:.2f} times "
                f"what one click gains ({gains['click']:+.4f}; goal >= {STROKE_GOAL}); a lasso "
                f"alone {gains['lasso']:+.4f} more than the box alone (goal >= {LASSO_GOAL})"
            )
    return found, lines


def _ghosts(scores: Scores) -> Findings:
    found = {
        str(mode): {"ghosts": ghost_share(own), "missed": missed_share(own)}
        for mode, own in scores.items()
    }
    lines = [
        f"{mode}: {own['ghosts']:.1%} of its slices have no reference; {own['missed']:.1%} of the "
        "reference's slices are missed"
        for mode, own in found.items()
    ]
    return found, lines


def _areas(scores: Scores) -> Findings:
    """Sum up five clicks as the field does: areas under the scores after 1 to 5, and the last."""
    found, lines = {}, []
    for mode in scores:
        if mode.clicks == 0:
            own = [
                summarise({"": scores[replace(mode, clicks=n)]}, 0)["models"][""] for n in CLICKS
            ]
            found[mode.name] = values = {
                f"{metric}_{what}": value
                for metric in METRICS
                for what, value in (
                    ("auc", area_under_curve([one["macro"][metric] for one in own[1:]])),
                    ("final", own[-1]["macro"][metric]),
                )
            }
            text = ", ".join(
                f"{key.replace('dsc', 'DSC').replace('nsd', 'NSD')} {value:.3f}"
                for key, value in values.items()
            )
            lines.append(f"{mode.name}: {text} (areas are 4 at most)")
    return found, lines


def _prompts(scores: Scores, seed: int) -> Findings:
    """Compare the mask before, as a prompt, with the box around it alone where both are known."""
    found, lines = {}, []
    for mode in scores:
        alone = replace(mode, prompt=CarryPrompt.box)
        if mode.prompt is CarryPrompt.box_and_mask and alone in scores:
            both = {key: scores[key] for key in (alone, mode)}
            found[str(mode)] = compared = summarise(both, seed)["differences"][str(mode)]
            gains = (f"{key.upper()} {_gain(value)}" for key, value in compared["macro"].items())
            lines.append(f"{mode} minus {alone}: {', '.join(gains)}")
    return found, lines


def _gain(value: Mapping[str, Any]) -> str:
    interval = "" if value["ci95"] is None else " ({:+.3f} to {:+.3f})".format(*value["ci95"])
    return f"{value['mean']:+.3f}{interval}"


def _confidence(scores: Scores) -> Findings:
    """Tell how well the confidence of slices finds those that are wrong."""
    found = {
        str(mode): describe_checks(own)
        for mode, own in scores.items()
        if any(score.checks for score in own)
    }
    lines = []
    for name, own in found.items():
        lines += [
            f"{name}: Spearman correlation of confidence and DSC {own['spearman']:.2f} (goal >= "
            f"0.5); the least sure {LOOKED_AT:.0%} of slices hold {own['found']:.0%} of those "
            f"below {BAD_DSC} (goal >= 50 %), which are {own['bad']:.0%} of {own['slices']:.0f}",
            f"  doubtful: {own['doubtful']:.0%} of slices, {own['caught']:.0%} of those below "
            f"{BAD_DSC}; sure: {own['sure']:.0%}, of which {own['good']:.0%} are not below it; by "
            f"these slices, doubtful were those up to {own['doubtful_to']:.2f}, and sure those "
            f"from {own['sure_from']:.2f} on",
        ]
    return found, lines
