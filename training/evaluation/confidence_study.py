"""Whether confidence finds the slices that are wrong, and what mending the worst one brings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import spearmanr

from napari_medsamq.analysis.metrics import dsc
from napari_medsamq.annotation.review import DOUBTFUL, SURE
from napari_medsamq.annotation.session import AnnotationSession
from napari_medsamq.inference.confidence import slice_confidence
from napari_medsamq.inference.slice_predictor import SliceMask
from training.evaluation.protocol import Label, Target, reference_box
from training.evaluation.score_summary import Score

# A slice with less has to be found, by looking at the least sure ones.
BAD_DSC = 0.7
LOOKED_AT = 0.2
# Of the slices that are called sure, so many should not be below it.
GOOD_SHARE = 0.9


def check_slices(session: AnnotationSession, masks: Sequence[SliceMask]) -> list[float]:
    """Return the confidence of each mask, as the plugin shows it; the first one was drawn."""
    found = [mask for mask in masks if mask.mask.any()]
    largest = max((int(mask.mask.sum()) for mask in found), default=0)
    indices = [mask.index for mask in found]
    extent = max(indices, default=0) - min(indices, default=0)
    return [
        slice_confidence(
            session.predictor(mask.axis).check_mask(mask.index, mask.mask),
            mask.mask.sum() / largest,
            abs(mask.index - masks[0].index) / max(extent, 1),
        )
        if mask.mask.any()
        else 1.0
        for mask in masks
    ]


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
    session: AnnotationSession,
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
        what part of the sure ones are not below it. `doubtful_to`: the highest confidence up to
        which most are below `BAD_DSC`, 0 where there is none; `sure_from`: the least one from which
        on `GOOD_SHARE` are not, above 1 where there is none.
    """
    pairs = np.array([pair for score in scores for pair in score.checks])
    sure, right = pairs.T
    bad = right < BAD_DSC
    order = np.argsort(sure, kind="stable")
    looked_at = order[: round(LOOKED_AT * len(order))]
    doubtful, certain = sure < DOUBTFUL, sure >= SURE
    counts = np.arange(1, len(order) + 1)
    # Up to each confidence, the least sure slices counted first, and from each on.
    mostly_bad = np.flatnonzero(np.cumsum(bad[order]) / counts > 0.5)
    mostly_good = np.flatnonzero(np.cumsum(~bad[order[::-1]]) / counts >= GOOD_SHARE)
    return {
        "spearman": float(spearmanr(sure, right).statistic),
        "found": float(bad[looked_at].sum() / max(bad.sum(), 1)),
        "bad": float(bad.mean()),
        "slices": len(pairs),
        "doubtful": float(doubtful.mean()),
        "caught": float(bad[doubtful].sum() / max(bad.sum(), 1)),
        "sure": float(certain.mean()),
        "good": float((~bad)[certain].sum() / max(certain.sum(), 1)),
        "doubtful_to": float(sure[order][mostly_bad[-1]]) if mostly_bad.size else 0.0,
        "sure_from": float(sure[order[::-1]][mostly_good[-1]]) if mostly_good.size else 1.01,
    }
