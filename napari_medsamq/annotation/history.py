"""The label as a sequence of edits that can be undone, and the prompts they came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import scipy
from psygnal import Signal

from napari_medsamq.annotation.acceptance import Acceptance, kept_voxels, still_accepted
from napari_medsamq.array_types import Bool, Label, Voxels
from napari_medsamq.inference.network_state import NetworkState
from napari_medsamq.io.label_format import MAX_LABEL_ID, Segment
from napari_medsamq.prompts import BoxPrompt, BoxPrompt3D


@dataclass(frozen=True)
class LabelStyle(Segment):
    """How a label is called and shown, and whether it is finished.

    Attributes
    ----------
    locked : bool
        Whether no other label may take its voxels.
    visible : bool
    """

    locked: bool = False
    visible: bool = True


@dataclass(frozen=True, eq=False)
class Prompt:
    """A committed box and the voxels that its mask covers.

    Attributes
    ----------
    box : BoxPrompt or BoxPrompt3D
    label_id : int
    voxels : (n,) int64
        Flat indices into the label of all voxels of the mask, ascending.
    start : (m,) int64 or None
        The same of a mask that it improved, where that did not come from the box.
    """

    box: BoxPrompt | BoxPrompt3D
    label_id: int
    voxels: Voxels
    start: Voxels | None = None


@dataclass(frozen=True, eq=False)
class LabelPart:
    """The voxels of a label as they were at one moment: a copy, to be read in any thread.

    Attributes
    ----------
    place : (3,) slice
        A part of the volume that holds them all.
    mask : bool
        Which voxels of that part they are.
    """

    place: tuple[slice, ...]
    mask: Bool


@dataclass(frozen=True)
class StyleChange:
    """What an edit does to the style of a label; None is that of a label that was given none."""

    label_id: int
    before: LabelStyle | None
    after: LabelStyle | None


@dataclass(frozen=True)
class LabelMarks:
    """What an edit says of masks and labels, besides their voxels.

    Attributes
    ----------
    accepted : sequence of Acceptance
    styles : mapping of int to LabelStyle
        By label id.
    """

    accepted: Sequence[Acceptance] = ()
    styles: Mapping[int, LabelStyle] = field(default_factory=dict)


_NO_MARKS = LabelMarks()


@dataclass(frozen=True, eq=False)
class Edit:
    """One step of the history.

    Attributes
    ----------
    name : str
        What was done, for the user.
    voxels : (n,) int64
        Flat indices of the voxels that changed, each once.
    before, after : (n,) uint16
        Their label ids.
    prompts_before, prompts_after : tuple of Prompt
        The committed prompts, oldest first.
    by_hand : bool
        Whether a person set the voxels one by one, with a brush say.
    group : object or None
        Edits that follow each other and have the same are undone and done again together.
    network_state : NetworkState or None
        With which the network was asked; where it was not, the one in hand at the time; None where
        there is none.
    accepted : tuple of Acceptance
        What was accepted that was not before.
    styles : tuple of StyleChange
        How labels are called and shown since then that were called and shown otherwise before.
    """

    name: str
    voxels: Voxels
    before: Label
    after: Label
    prompts_before: tuple[Prompt, ...]
    prompts_after: tuple[Prompt, ...]
    by_hand: bool = False
    group: object | None = None
    network_state: NetworkState | None = None
    accepted: tuple[Acceptance, ...] = ()
    styles: tuple[StyleChange, ...] = ()


class History:
    """A label (z, y, x) uint16, the prompts it came from, and the way back.

    Parameters
    ----------
    shape : (3,) int
        Of the label, which starts empty.

    Attributes
    ----------
    label : (z, y, x) uint16
        One array for good, so that a layer can show it; changed in place.
    prompts : tuple of Prompt
        The committed prompts, oldest first.
    accepted : set of Acceptance
    styles : dict of int to LabelStyle
        Of the labels that were given any. What the user sets is no edit; what an edit sets, undo
        takes back.
    changed : signal of str and Edit
        "edit", "undo" or "redo" after each, and the edit; a group is told by its last one.
    """

    changed = Signal(str, Edit)

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.label: Label = np.zeros(shape, np.uint16)
        self.prompts: tuple[Prompt, ...] = ()
        self.accepted: set[Acceptance] = set()
        self.styles: dict[int, LabelStyle] = {}
        self._counts = np.zeros(MAX_LABEL_ID + 1, np.int64)
        self._versions = np.zeros_like(self._counts)
        # Lowest and highest index on each axis between which a label's voxels lie: grows with them,
        # and is gone with the last one.
        self._extents: dict[int, npt.NDArray[np.int64]] = {}
        self._undo: list[Edit] = []
        self._redo: list[Edit] = []

    @property
    def voxel_counts(self) -> dict[int, int]:
        """Voxels of each label id that has any, in ascending order."""
        return {
            int(label_id): int(self._counts[label_id]) for label_id in self._counts.nonzero()[0]
        }

    def version(self, label_id: int) -> int:
        """Return a number that grows whenever voxels of a label id come or go."""
        return int(self._versions[label_id])

    def part(self, label_id: int) -> LabelPart | None:
        """Copy the voxels of a label id; None where it has none."""
        extent = self._extents.get(label_id)
        if extent is None:
            return None
        place = tuple(slice(int(low), int(high) + 1) for low, high in extent)
        return LabelPart(place, self.label[place] == label_id)

    @property
    def edits(self) -> tuple[Edit, ...]:
        """All that has been done and not taken back, oldest first."""
        return tuple(self._undo)

    @property
    def undo_name(self) -> str | None:
        """What `undo` would take back; None at the beginning of the history."""
        return self._undo[-1].name if self._undo else None

    @property
    def redo_name(self) -> str | None:
        """What `redo` would do again; None at the end of the history."""
        return self._redo[-1].name if self._redo else None

    def change(
        self,
        name: str,
        voxels: Voxels,
        values: Label,
        prompts: tuple[Prompt, ...] | None = None,
        *,
        by_hand: bool = False,
        group: object | None = None,
        marks: LabelMarks = LabelMarks(),
        network_state: NetworkState | None = None,
    ) -> Edit:
        """Set voxels (flat indices, each once), and prompts if given, as one edit; see `Edit`."""
        before = self.label.reshape(-1)[voxels]
        changed = before != values
        edit = Edit(
            name,
            voxels[changed],
            before[changed],
            values[changed],
            self.prompts,
            self.prompts if prompts is None else prompts,
            by_hand,
            group,
            network_state,
            tuple(own for own in marks.accepted if own not in self.accepted),
            tuple(StyleChange(n, self.styles.get(n), style) for n, style in marks.styles.items()),
        )
        self._redo.clear()
        self._apply(edit)
        self._undo.append(edit)
        self.changed.emit("edit", edit)
        return edit

    def record(
        self,
        name: str,
        voxels: Voxels,
        before: Label,
        *,
        recount: bool = False,
        network_state: NetworkState | None = None,
    ) -> Edit:
        """Enter an edit by hand that the label already shows, a brush stroke say.

        Parameters
        ----------
        name : str
        voxels : (n,) int64
            Flat indices, each once.
        before : (n,) uint16
            Their label ids before the edit.
        recount : bool
            Whether another edit came in since it began, which took its voxels for counted ones.
        network_state : NetworkState, optional
        """
        flat = self.label.reshape(-1)
        after = flat[voxels]
        flat[voxels] = before
        if recount:
            self.recount()
        return self.change(name, voxels, after, by_hand=True, network_state=network_state)

    def recount(self) -> None:
        """Count the voxels of all label ids anew, after changes past the history."""
        self._counts[:] = 0
        for plane in self.label:
            self._counts += np.bincount(plane.reshape(-1), minlength=self._counts.size)
        self._counts[0] = 0
        self._extents = {
            label_id: np.array([[own.start, own.stop - 1] for own in place])
            for label_id, place in enumerate(scipy.ndimage.find_objects(self.label), 1)
            if place is not None
        }

    def undo(self) -> Edit | None:
        """Take back the last edit, with its group, and return it; None if there is none."""
        return self._step("undo", self._undo, self._redo)

    def redo(self) -> Edit | None:
        """Make the last undone edit again, with its group, and return it; None if there is none."""
        return self._step("redo", self._redo, self._undo)

    def without(self, prompt: Prompt) -> tuple[Voxels, Label, tuple[Prompt, ...]]:
        """Return what taking back one prompt would leave.

        Voxels that other prompts cover go to the latest of those, the rest becomes background;
        voxels that no longer hold the prompt's label stay as they are.

        Returns
        -------
        voxels : (n,) int64
            Flat indices of the prompt's voxels.
        values : (n,) uint16
            Their new label ids.
        prompts : tuple of Prompt
            The others.
        """
        owned = prompt.voxels[self.label.reshape(-1)[prompt.voxels] == prompt.label_id]
        values = np.zeros(owned.size, np.uint16)
        others = tuple(other for other in self.prompts if other is not prompt)
        for other in others:
            values[np.isin(owned, other.voxels, assume_unique=True)] = other.label_id
        return owned, values, others

    def voxels_released(
        self, replaces: Prompt | None, began: Voxels | None, label_id: int
    ) -> tuple[Voxels, Label, tuple[Prompt, ...]]:
        """Return what a new prompt frees, as `without` does for the prompt that it replaces.

        Parameters
        ----------
        replaces : Prompt or None
        began : (n,) int64 or None
            Flat indices of the mask that it improves, where that came from no prompt.
        label_id : int
        """
        if replaces is not None:
            return self.without(replaces)
        freed = np.zeros(0, np.int64)
        if began is not None:
            freed = began[self.label.reshape(-1)[began] == label_id]
        return freed, np.zeros(freed.size, np.uint16), self.prompts

    def anchors(self, axis: int, label_id: int) -> dict[int, Bool]:
        """Return what a label is carried from: its masks on the slices of `anchor_indices`.

        Parameters
        ----------
        axis : int
            Array axis normal to the slices.
        label_id : int

        Returns
        -------
        masks : dict of int to (H, W) bool
            By slice, ascending; copies.
        """
        planes = np.moveaxis(self.label, axis, 0)
        indices = sorted(self.anchor_indices(axis, label_id))
        return {index: planes[index] == label_id for index in indices}

    def known_indices(self, axis: int, label_id: int) -> set[int]:
        """Return on which slices across an axis a person had a hand in a label.

        Where a box of it was drawn on such a slice, where a brush changed it since it was last
        removed as a whole, or where its mask was accepted.
        """
        boxes = self._boxes(axis, label_id)
        indices = {box.index for box in boxes if isinstance(box, BoxPrompt)}
        brushed: set[int] = set()
        left = 0
        for edit in self._undo:
            lost, gained = edit.before == label_id, edit.after == label_id
            left += int(gained.sum()) - int(lost.sum())
            if edit.by_hand:
                own = edit.voxels[lost | gained]
                brushed.update(np.unravel_index(own, self.label.shape)[axis].tolist())
            elif left == 0 and lost.any():
                brushed.clear()
        indices.update(brushed)
        indices.update(still_accepted(self.label, self.accepted, axis, label_id))
        return indices

    def anchor_indices(self, axis: int, label_id: int) -> set[int]:
        """Return from which slices across an axis a label is carried.

        The known ones; and if there are any, those in the middle of its 3D boxes, as far as it has
        a mask there.
        """
        known = self.known_indices(axis, label_id)
        if not known:
            return known
        planes = np.moveaxis(self.label, axis, 0)
        middles = {box.middle_slice for box in self.boxes_3d(axis, label_id)}
        return known | {index for index in middles if (planes[index] == label_id).any()}

    def boxes_3d(self, axis: int, label_id: int) -> list[BoxPrompt3D]:
        """Return the 3D boxes of a label across an axis, within which it is known to lie."""
        return [box for box in self._boxes(axis, label_id) if isinstance(box, BoxPrompt3D)]

    def _boxes(self, axis: int, label_id: int) -> list[BoxPrompt | BoxPrompt3D]:
        owned = [prompt.box for prompt in self.prompts if prompt.label_id == label_id]
        return [box for box in owned if box.axis == axis]

    def settled(self, label_id: int) -> Bool:
        """Return the voxels (z, y, x) bool that are not to be changed when a label is made anew.

        These are all of its known slices, across every axis, and the accepted masks of others.
        """
        found = kept_voxels(self.label, self.accepted, 0, label_id)
        for axis in range(found.ndim):
            np.moveaxis(found, axis, 0)[[*self.known_indices(axis, label_id)]] = True
        return found

    def carried(self, label_id: int) -> Bool:
        """Return the voxels (z, y, x) bool of a label that a propagation gave last."""
        found = np.zeros(self.label.size, bool)
        for edit in self._undo:
            found[edit.voxels] = edit.group is not None
        carried: Bool = found.reshape(self.label.shape) & (self.label == label_id)
        return carried

    def _step(self, way: str, source: list[Edit], target: list[Edit]) -> Edit | None:
        edit: Edit | None = None
        while source and (edit is None or _together(edit, source[-1])):
            edit = source.pop()
            self._apply(edit, back=way == "undo")
            target.append(edit)
        if edit is not None:
            self.changed.emit(way, edit)
        return edit

    def _apply(self, edit: Edit, *, back: bool = False) -> None:
        expected, values = (edit.after, edit.before) if back else (edit.before, edit.after)
        # A voxel that was changed past the history keeps what it was given last.
        flat = self.label.reshape(-1)
        untouched = flat[edit.voxels] == expected
        voxels, expected, values = edit.voxels[untouched], expected[untouched], values[untouched]
        flat[voxels] = values
        for ids, sign in ((expected, -1), (values, 1)):
            counted = np.bincount(ids, minlength=self._counts.size)
            self._counts += sign * counted
            self._versions += counted > 0
        self._counts[0] = 0
        self._stretch(voxels, values)
        for label_id in [own for own in self._extents if not self._counts[own]]:
            del self._extents[label_id]
        self.prompts = edit.prompts_before if back else edit.prompts_after
        if back:
            self.accepted.difference_update(edit.accepted)
        else:
            self.accepted.update(edit.accepted)
        for own in edit.styles:
            old, new = (own.after, own.before) if back else (own.before, own.after)
            # A label that the user has named since keeps that.
            if self.styles.get(own.label_id) != old:
                continue
            if new is None:
                self.styles.pop(own.label_id, None)
            else:
                self.styles[own.label_id] = new

    def _stretch(self, voxels: Voxels, values: Label) -> None:
        used = values > 0
        if not used.any():
            return
        voxels, values = voxels[used], values[used]
        order = np.argsort(values, kind="stable")
        ids, first = np.unique(values[order], return_index=True)
        places = np.unravel_index(voxels[order], self.label.shape)
        lows = np.stack([np.minimum.reduceat(own, first) for own in places], 1)
        highs = np.stack([np.maximum.reduceat(own, first) for own in places], 1)
        for label_id, low, high in zip(ids.tolist(), lows, highs, strict=True):
            known = self._extents.get(label_id, np.stack([low, high], 1))
            self._extents[label_id] = np.stack(
                [np.minimum(known[:, 0], low), np.maximum(known[:, 1], high)], 1
            )


def _together(edit: Edit, other: Edit) -> bool:
    return edit.group is not None and edit.group is other.group
