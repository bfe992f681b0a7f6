"""What a mask or a brush stroke would take from other labels, and what locked ones keep."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from napari_medsamq.annotation.session import Session
from napari_medsamq.array_types import Label, Voxels
from napari_medsamq.inference.slice_predictor import SliceMask


def overlap(session: Session, masks: Iterable[SliceMask], label_id: int) -> Counter[int]:
    """Count the voxels of masks for a label that other labels have, by label id."""
    counts = Counter[int]()
    for mask in masks:
        under = _slice(session, mask)[mask.mask]
        ids, found = np.unique(under[(under != 0) & (under != label_id)], return_counts=True)
        counts.update(dict(zip(ids.tolist(), found.tolist(), strict=True)))
    return counts


def without_locked(session: Session, mask: SliceMask, label_id: int) -> SliceMask:
    """Return a mask for a label without the voxels that other, locked labels keep."""
    locked = session.locked_against(label_id)
    if not locked:
        return mask
    return replace(mask, mask=mask.mask & ~np.isin(_slice(session, mask), locked))


def keep_locked(session: Session, voxels: Voxels, before: Label) -> Voxels:
    """Give back what an edit past the history, a brush stroke say, took from locked labels.

    Parameters
    ----------
    session : Session
        Its label shows the edit.
    voxels : (n,) int64
        Flat indices of what the edit changed.
    before : (n,) uint16
        Their label ids before.

    Returns
    -------
    given_back : (m,) int64
    """
    flat = session.label.reshape(-1)
    taken = np.isin(before, session.locked_ids) & (flat[voxels] != before)
    flat[voxels[taken]] = before[taken]
    given_back: Voxels = voxels[taken]
    return given_back


def describe_overlap(session: Session, counts: Counter[int], *, committed: bool) -> str:
    """Say what becomes, or became, of voxels that other labels have: a sentence for each label."""
    text = ""
    for label_id, count in counts.items():
        style = session.style(label_id)
        if style.locked:
            text += f" {count:,} voxels of {style.name} stay{'ed' * committed}: it is locked."
        elif committed:
            text += f" {count:,} voxels were taken from {style.name}; undo gives them back."
        else:
            text += f" {count:,} voxels would be taken from {style.name}."
    return text


def _slice(session: Session, mask: SliceMask) -> npt.NDArray[np.uint16]:
    plane: npt.NDArray[np.uint16] = np.moveaxis(session.label, mask.axis, 0)[mask.index]
    return plane
