"""Enters into the history what napari's own tools do to the label layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from napari.layers import Labels

from napari_medsamq.errors import MedSAMQError, PromptError, VolumeError
from napari_medsamq.history import MAX_LABEL_ID, Label, Voxels
from napari_medsamq.layers import stroke_edit
from napari_medsamq.locks import keep_locked
from napari_medsamq.session import Session


class LabelEdits:
    """Follows the brush, and arrays that something else gives the layer.

    Parameters
    ----------
    session : Session
    layer : Labels
        Shows the session's label.
    changed : callable
        Called after an edit.
    refuse : callable
        Told why an edit was not, or not wholly, allowed.
    """

    def __init__(
        self,
        session: Session,
        layer: Labels,
        changed: Callable[[], None],
        refuse: Callable[[MedSAMQError], None],
    ) -> None:
        self._session = session
        self._layer = layer
        self._changed = changed
        self._refuse = refuse
        layer.events.paint.connect(self._on_paint)
        layer.events.data.connect(self._on_data)

    def _on_paint(self, event: Any) -> None:
        voxels, before = stroke_edit(event.value, self._session.label.shape)
        self._record("brush stroke", voxels, before)

    def _on_data(self) -> None:
        data = np.asarray(self._layer.data)
        label = self._session.label
        if np.shares_memory(data, label):
            return
        # napari gave the layer another array, by a change of its data type say: what it shows is
        # taken over, and the layer goes on showing the session's label.
        fits = data.shape == label.shape and data.min() >= 0 and data.max() <= MAX_LABEL_ID
        self._layer.data = label
        if fits:
            changed = np.flatnonzero(data != label)
            before = label.reshape(-1)[changed]
            label.reshape(-1)[changed] = data.reshape(-1)[changed]
            self._record("edit of the layer", changed, before)
        else:
            self._refuse(
                VolumeError(
                    f"The label layer was given data of shape {data.shape} that is no label for "
                    f"{label.shape} voxels. The label stays as it was."
                )
            )

    def _record(self, name: str, voxels: Voxels, before: Label) -> None:
        kept = keep_locked(self._session, voxels, before)
        if np.any(self._session.label.reshape(-1)[voxels] != before):
            self._session.history.record(name, voxels, before)
        self._changed()
        if kept.size:
            owners = self._session.owners(kept)
            self._refuse(
                PromptError(f"{kept.size:,} voxels stay with {owners}, locked. Unlock it first.")
            )
