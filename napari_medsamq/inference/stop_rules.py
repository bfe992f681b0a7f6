"""Tells where a structure ends while it is carried from slice to slice.

A mask beyond the end of a structure is rarely empty: the network finds something in any box. But
its edge is less sharp (the stability of Kirillov et al., "Segment Anything", ICCV 2023), and what
lies within looks different and is smaller. A logistic regression weighs these against each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log

import numpy as np
import numpy.typing as npt

from napari_medsamq.array_types import Bool, Float32

_GRID = 64
_OPERATIONS = (np.logical_and, np.logical_or)
# Of brightness, on the scale from 0 to 1, so that noise is not divided by nothing.
_LEAST_SD = 0.02


@dataclass(frozen=True, eq=False)
class SliceEvidence:
    """What is seen of a structure on one slice.

    Attributes
    ----------
    mask : (256, 256) bool
        In the frame that shows the whole slice.
    pixels : int
        Of the mask in the frame that the network saw, which may show a part of the slice.
    stability : float
        Intersection over union of the masks at logits of +1 and -1.
    appearance : (256,) float32
        Mean of the embedding within the mask, of length 1.
    brightness, spread : float
        Mean and standard deviation of the windowed intensities within the mask, from 0 to 1.
    """

    mask: Bool
    pixels: int
    stability: float
    appearance: Float32
    brightness: float
    spread: float

    @property
    def area(self) -> int:
        """Pixels of `mask`."""
        return int(np.count_nonzero(self.mask))


def gather_evidence(
    mask: Bool, seen: Bool, stability: float, embedding: Float32, grey: Float32
) -> SliceEvidence:
    """Gather what the rules look at.

    Parameters
    ----------
    mask : (256, 256) bool
        In the frame that shows the whole slice.
    seen : (256, 256) bool
        The same in the frame that the network saw.
    stability : float
    embedding : (1, 256, 64, 64) float32
    grey : (n,) float32
        Windowed intensities of the mask's pixels, from 0 to 1.
    """
    cells = seen.reshape(_GRID, 4, _GRID, 4).mean((1, 3), dtype=np.float32).reshape(-1)
    appearance = cells @ embedding[0].transpose(1, 2, 0).reshape(_GRID * _GRID, -1)
    length = float(np.linalg.norm(appearance))
    known = grey.size > 0
    return SliceEvidence(
        mask,
        int(np.count_nonzero(seen)),
        stability,
        appearance / length if length > 0 else appearance,
        float(grey.mean()) if known else 0.0,
        float(grey.std()) if known else 0.0,
    )


def stability_of(logits: Float32) -> float:
    """Return the stability of logits (256, 256)."""
    inner, outer = (int(np.count_nonzero(logits > limit)) for limit in (1, -1))
    return inner / max(1, outer)


@dataclass(frozen=True)
class StopRules:
    """When to stop; fitted to 144 ends of structures in CT, MR and PET of the training data.

    Attributes
    ----------
    least_area : int
        Pixels in the frame that the network saw, below which a structure has vanished.
    most_growth : float
        How much larger than on the slice before a mask may be before it is taken for a leak.
    most_shift : float
        How far its centre may move, in square roots of the area before.
    least_overlap : float
        Intersection over union with the mask before.
    most_doubt : float
        Probability that the structure has ended.
    """

    least_area: int = 8
    most_growth: float = 2.0
    most_shift: float = 0.6
    least_overlap: float = 0.2
    most_doubt: float = 0.40

    def reason(
        self, now: SliceEvidence, before: SliceEvidence, anchor: SliceEvidence
    ) -> str | None:
        """Say why to stop before a slice; None to go on.

        Parameters
        ----------
        now, before, anchor : SliceEvidence
            On that slice, on the one before, and where the structure is known.
        """
        if now.pixels < self.least_area:
            return "nothing was found"
        growth = now.area / max(1, before.area)
        if growth > self.most_growth:
            return f"the mask leaked to {growth:.1f} times its area"
        common, either = (int(np.sum(op(now.mask, before.mask))) for op in _OPERATIONS)
        shift = float(np.linalg.norm(_centre(now.mask) - _centre(before.mask)))
        if shift > self.most_shift * before.area**0.5 or common < self.least_overlap * either:
            return "the mask jumped to another place"
        log_odds = _log_odds(now, before, anchor)
        doubt = 1 / (1 + exp(-_BIAS - sum(log_odds.values())))
        if doubt <= self.most_doubt:
            return None
        # The strongest evidence, of how it differs from what is usual within a structure.
        return max(log_odds, key=lambda words: log_odds[words] - _USUAL[words])


_EDGE, _APPEARANCE = "the mask has no clear edge any more", "it does not look like the structure"
_SIZE = "the mask is much smaller than where it was drawn"
_BRIGHT, _CHANGE = "its brightness is another one", "its brightness changed at once"
_BIAS = 5.13
# Medians of the evidence within structures.
_USUAL = {_EDGE: -1.85, _APPEARANCE: -5.23, _SIZE: 0.19, _BRIGHT: 0.08, _CHANGE: 0.07}


def _log_odds(now: SliceEvidence, before: SliceEvidence, anchor: SliceEvidence) -> dict[str, float]:
    """Return by its words what each observation adds to the log-odds of the end."""
    size = max(-2.0, min(2.0, log(max(now.area / max(1, anchor.area), 0.02))))
    return {
        _EDGE: -2.31 * now.stability,
        _APPEARANCE: -5.28 * float(now.appearance @ anchor.appearance),
        _SIZE: -1.10 * size,
        _BRIGHT: 0.52 * _difference(now, anchor),
        _CHANGE: 1.17 * _difference(now, before),
    }


def _difference(now: SliceEvidence, other: SliceEvidence) -> float:
    return min(abs(now.brightness - other.brightness) / (other.spread + _LEAST_SD), 3.0)


def _centre(mask: Bool) -> npt.NDArray[np.float64]:
    rows, columns = np.nonzero(mask)
    return np.array([rows.mean(), columns.mean()]) if rows.size else np.zeros(2)
