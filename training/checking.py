"""Whether confidence finds the slices that are wrong, and what mending the worst one brings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr

from napari_medsamq.metrics import dsc
from napari_medsamq.review import DOUBTFUL, SURE
from napari_medsamq.session import Session
from napari_medsamq.slice_network import SliceMask
from training.protocol import Label, Target, reference_box
from training.scores import Score

Bool = npt.NDArray[np.bool_]

# A slice with less has to be found, by looking at the least sure ones.
BAD_DSC = 0.7
LOOKED_AT = 0.2
# Of the slices that are called sure, so many have to have at least this DSC.
GOOD_DSC, GOOD_SHARE = 0.85, 0.9


def check_slices(session: Session, masks: Sequence[SliceMask]) -> list[float]:
    """Return the confidence of each mask, as the plugin shows it."""
    return [session.sureness(mask.axis, mask.index, mask.mask) for mask in masks]


def pair_checks(
    masks: Sequence[SliceMask], sure: Sequence[float], target: Target, label: Label
) -> tuple[tuple[float, float], ...]:
    """Return the confidence and the DSC of each slice of a volume's object that has a mask."""
    return tuple(
        (confidence, dsc(label[mask.index] == target.label_id, mask.mask))
        for mask, confidence in zip(masks, sure, strict=True)
        if mask.mask.any()
    )


def mend_worst(
    session: Session,
    masks: Sequence[SliceMask],
    sure: Sequence[float],
    target: Target,
    label: Label,
    seed: int,
) -> list[SliceMask]:
    """Do what a user does about the least sure slice: box it anew, and carry on from there.

    Where the reference has nothing, the mask is erased. The first of `masks` stays an anchor, too.
    """
    first = masks[0]
    worst = masks[int(np.argmin(sure))]
    box = reference_box(target, label, worst.index, seed)
    if box is None:
        mended = SliceMask(worst.axis, worst.index, np.zeros_like(worst.mask), 0.0, 0.0, 0.0)
    else:
        (mended,) = session.segment(box)
    known = {first.index: first.mask, worst.index: mended.mask}
    if not known[first.index].any() and not mended.mask.any():
        return [mended]
    found = session.carry(0, known, 0, len(label) - 1)
    carried = [mask for mask in found if isinstance(mask, SliceMask)]
    anchors = {mask.index: mask for mask in (first, mended)}
    return [*anchors.values(), *carried]


def describe_checks(scores: Sequence[Score]) -> dict[str, float]:
    """Sum up how well confidence tells good slices from bad ones.

    Returns
    -------
    found : dict
        `spearman`: rank correlation of confidence and DSC over all slices. `found`: what part of
        the slices below `BAD_DSC` is among the least sure `LOOKED_AT` of all. `bad`: what part of
        all slices is below it. `slices`: how many there are. `doubtful`, `sure`: what part of all
        the plugin calls so; `caught`: what part of those below `BAD_DSC` are doubtful, and `good`:
        what part of the sure ones have at least `GOOD_DSC`. `doubtful_below`: the confidence of the
        least sure `LOOKED_AT` of all; `sure_from`: the least one from which on `GOOD_SHARE` have at
        least `GOOD_DSC`, above 1 where there is none.
    """
    pairs = np.array([pair for score in scores for pair in score.checks])
    sure, right = pairs.T
    bad = right < BAD_DSC
    order = np.argsort(sure, kind="stable")
    looked_at = order[: round(LOOKED_AT * len(order))]
    doubtful, certain, good = sure < DOUBTFUL, sure >= SURE, right >= GOOD_DSC
    # From each confidence on, the most sure slices counted first.
    shares = np.cumsum(good[order[::-1]]) / np.arange(1, len(order) + 1)
    enough = np.flatnonzero(shares >= GOOD_SHARE)
    return {
        "spearman": float(spearmanr(sure, right).statistic),
        "found": float(bad[looked_at].sum() / max(bad.sum(), 1)),
        "bad": float(bad.mean()),
        "slices": len(pairs),
        "doubtful": float(doubtful.mean()),
        "caught": float(bad[doubtful].sum() / max(bad.sum(), 1)),
        "sure": float(certain.mean()),
        "good": float(good[certain].sum() / max(certain.sum(), 1)),
        "doubtful_below": float(np.quantile(sure, LOOKED_AT)),
        "sure_from": float(sure[order[::-1]][enough[-1]]) if enough.size else 1.01,
    }
