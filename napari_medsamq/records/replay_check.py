"""Asks the network again what it answered when a journal was written."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from napari_medsamq.annotation.propagation_snapshot import PropagationSnapshot
from napari_medsamq.annotation.session import AnnotationSession
from napari_medsamq.array_types import Bool
from napari_medsamq.errors import PromptError
from napari_medsamq.geometry import slice_mask
from napari_medsamq.inference.backend import environment
from napari_medsamq.inference.engine import Engines
from napari_medsamq.inference.model_choice import shipped_model
from napari_medsamq.inference.network_state import NetworkState
from napari_medsamq.inference.propagation import END_RULE
from napari_medsamq.inference.slice_predictor import SliceMask
from napari_medsamq.io.volume import Volume
from napari_medsamq.prompts import BoxPrompt
from napari_medsamq.records.journal_format import Record
from napari_medsamq.records.recording import BEGIN, CARRY, EDIT, Replay, read_box

# What `environment` tells.
_NAMES = {
    "openvino": "OpenVINO",
    "instructions": "the processor",
    "floating_point": "the parts of the network in floating point",
}


@dataclass
class Verdict:
    """What came of asking again.

    Attributes
    ----------
    masks : int
        How many masks were asked for again.
    identical : int
        How many of them are the same, voxel by voxel.
    others : set of str
        What is another one here than when the journal was written; where there is nothing, all
        masks have to be identical.
    common, either : dict of int to int
        By label: twice the voxels in both masks, and the voxels of both.
    """

    masks: int = 0
    identical: int = 0
    others: set[str] = field(default_factory=set)
    common: dict[int, int] = field(default_factory=dict)
    either: dict[int, int] = field(default_factory=dict)

    def compare(self, label_id: int, recorded: Bool, found: Bool) -> None:
        """Count a mask."""
        self.masks += 1
        self.identical += bool(np.array_equal(recorded, found))
        common = 2 * int(np.count_nonzero(recorded & found))
        either = int(np.count_nonzero(recorded)) + int(np.count_nonzero(found))
        self.common[label_id] = self.common.get(label_id, 0) + common
        self.either[label_id] = self.either.get(label_id, 0) + either

    def dsc(self) -> dict[int, float]:
        """Return the DSC of recorded and new masks, by label id."""
        return {
            label_id: self.common[label_id] / either if either else 1.0
            for label_id, either in self.either.items()
        }


class ReplayCheck:
    """Goes through a journal, and asks for every mask of a box or a propagation again.

    Parameters
    ----------
    volume : Volume
        The journal's.
    model : Path or None
        Asked in place of the models that the journal names.
    """

    def __init__(self, volume: Volume, model: Path | None) -> None:
        self._volume = volume
        self._model = model
        self._engines = Engines()
        self._replay = Replay(volume.data.shape[:3])
        # By group: where it began, and the masks that its edits are to bring.
        self._carried: dict[int, tuple[PropagationSnapshot, list[SliceMask]]] = {}
        self.verdict = Verdict()

    def apply(self, record: Record) -> None:
        """Follow a record, and compare the masks in it.

        Raises
        ------
        JournalError, ModelError
        """
        content = record.content
        if content["kind"] == BEGIN:
            here = environment()
            # Journals of before know of no part in floating point: there was none.
            then = {"floating_point": []} | content
            self.verdict.others |= {_NAMES[key] for key in here if then[key] != here[key]}
        elif content["kind"] == CARRY:
            self._carried[content["group"]] = self._carry(content)
        elif content["kind"] == EDIT:
            for fresh in content["fresh"]:
                self._compare_box(content, fresh, record)
        self._replay.apply(record)
        if content["kind"] == EDIT and content["group"] in self._carried:
            self._compare_edit(*self._carried[content["group"]], record)

    def _compare_edit(
        self, start: PropagationSnapshot, masks: list[SliceMask], record: Record
    ) -> None:
        """Compare what an edit of a propagation has left with what is found now on that slice."""
        changed, shape = record.arrays["voxels"], self._replay.history.label.shape
        # One that has changed nothing is of the next mask.
        wanted = masks[:1]
        if changed.size:
            index = np.unravel_index(changed[0], shape)[start.axis]
            wanted = [mask for mask in masks if mask.index == index]
        if wanted:
            masks.remove(wanted[0])
            start.keep_drawn(self._replay.history, self._replay.history.edits[-1].group)
            self._compare_carried(wanted[0], start.label_id, start.kept)
        elif (recorded := record.arrays["after"] == start.label_id).any():
            # A slice that the propagation no longer comes to; one that it has emptied is none.
            self.verdict.compare(start.label_id, recorded, np.zeros_like(recorded))

    def _session(self, content: dict[str, Any]) -> AnnotationSession:
        state = NetworkState.from_dict(content)
        engine = self._engines.load(self._model or shipped_model(state.model))
        spec = engine.spec
        if spec.sha256 != state.model_sha256:
            self.verdict.others.add(f"the weights ({state.model} then)")
        if spec.preprocessing.box != state.box_rule:
            self.verdict.others.add(f"the rule for boxes (then: {state.box_rule})")
        volume = self._volume.with_modality(state.modality)
        return AnnotationSession(
            volume, engine, state.window, zoom=state.zoom, carry_prompt=state.carry_prompt
        )

    def _compare_box(self, content: dict[str, Any], fresh: dict[str, Any], record: Record) -> None:
        shape, label_id = self._replay.history.label.shape, fresh["label"]
        found = np.zeros(shape, bool)
        box = read_box(fresh)
        start, began = record.arrays.get(f"start {fresh['number']}"), None
        if start is not None and isinstance(box, BoxPrompt):
            began = slice_mask(start, shape, box.axis, box.index)
        for mask in self._session(content).segment(box, began):
            np.moveaxis(found, mask.axis, 0)[mask.index] = mask.mask
        found &= ~self._locked(label_id)
        recorded = np.zeros(shape, bool)
        recorded.reshape(-1)[record.arrays[f"prompt {fresh['number']}"]] = True
        self.verdict.compare(label_id, recorded, found)

    def _carry(self, content: dict[str, Any]) -> tuple[PropagationSnapshot, list[SliceMask]]:
        axis, label_id = content["axis"], content["label"]
        start = PropagationSnapshot.of(self._replay.history, axis, label_id)
        # Journals of before there was any name no gap that was left.
        done = [(low, high) for low, high in content.get("done", ())]
        drawn = [index for index, mask in start.known.items() if mask.any()]
        # Journals of before name ends within the slices that are carried from now.
        ends = min([content["first"], *drawn]), max([content["last"], *drawn])
        if content.get("ends") != END_RULE:
            self.verdict.others.add("the rule for where a propagation ends")
        try:
            found = self._session(content).carry(axis, start.known, *ends, done, start.within)
        except PromptError:
            # Journals of before this was checked first name some of which nothing came.
            return start, []
        return start, [mask for mask in found if isinstance(mask, SliceMask)]

    def _compare_carried(self, mask: SliceMask, label_id: int, kept: Bool) -> None:
        planes = np.moveaxis(self._replay.history.label, mask.axis, 0)
        locked = np.moveaxis(self._locked(label_id), mask.axis, 0)[mask.index]
        free = ~np.moveaxis(kept, mask.axis, 0)[mask.index]
        recorded = planes[mask.index] == label_id
        self.verdict.compare(label_id, recorded & free, mask.mask & ~locked & free)

    def _locked(self, label_id: int) -> Bool:
        """Return the voxels (z, y, x) bool that labels other than one keep."""
        styles = self._replay.styles.items()
        ids = [other for other, style in styles if style.locked and other != label_id]
        locked: Bool = np.isin(self._replay.history.label, ids)
        return locked
