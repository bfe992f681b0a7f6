"""A label on a volume: names, locks, and everything that changes it, with the way back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace

import numpy as np
from psygnal import Signal

from napari_medsamq.annotation.acceptance import not_accepted
from napari_medsamq.annotation.history import Edit, History, LabelMarks, LabelStyle, Prompt
from napari_medsamq.annotation.mask_operations import Operation, check_change
from napari_medsamq.array_types import Bool, Label, Voxels
from napari_medsamq.errors import PromptError
from napari_medsamq.geometry import slice_voxels
from napari_medsamq.inference.network_state import NetworkState
from napari_medsamq.inference.prompt_decoder import click_area, with_clicks
from napari_medsamq.inference.slice_predictor import SliceMask
from napari_medsamq.io.label_format import MAX_LABEL_ID
from napari_medsamq.io.volume import Volume
from napari_medsamq.palettes import OKABE_ITO
from napari_medsamq.prompts import BoxPrompt, BoxPrompt3D, Click


class LabelModel:
    """The label of a volume. All belongs to the thread that owns it.

    Parameters
    ----------
    volume : Volume
    palette : sequence of str
        Colours of labels that are given none.

    Attributes
    ----------
    volume, palette
        As given.
    history : History
        The label and how it came about.
    event : signal of str and dict
        What else is done, in a word and in what JSON can hold: label styles, propagations, saves.
    """

    event = Signal(str, dict)

    def __init__(self, volume: Volume, palette: Sequence[str] = OKABE_ITO) -> None:
        self.volume = volume
        self.palette = palette
        self.history = History(volume.data.shape[:3])

    @property
    def label(self) -> Label:
        """The label (z, y, x) uint16."""
        return self.history.label

    def style(self, label_id: int) -> LabelStyle:
        """Return name and colour of a label id (1..65535)."""
        if not 1 <= label_id <= MAX_LABEL_ID:
            raise ValueError(f"a label id is a number from 1 to {MAX_LABEL_ID}, not {label_id}")
        return self.history.styles.get(label_id) or LabelStyle.default(label_id, self.palette)

    @property
    def styles(self) -> dict[int, LabelStyle]:
        """Name, colour and so on of the label ids that have voxels or were given any; a copy."""
        return {**{n: self.style(n) for n in self.history.voxel_counts}, **self.history.styles}

    def set_style(self, label_id: int, style: LabelStyle) -> None:
        """Name, colour, lock or hide a label id (1..65535); not part of the history."""
        self.history.styles[label_id] = style
        self.event.emit("style", {"label": label_id, "style": asdict(style)})

    def restore(self, history: History, styles: Mapping[int, LabelStyle]) -> None:
        """Go on with an earlier session's history and styles.

        Raises
        ------
        ValueError
            If the history is that of another shape.
        """
        if history.label.shape != self.label.shape:
            raise ValueError(f"a history of {history.label.shape} for {self.label.shape} voxels")
        self.history = history
        history.styles = dict(styles)

    def network_state(self) -> NetworkState | None:
        """Return what the network in hand is and sees; None where there is none."""
        return None

    def slice(self, axis: int, index: int) -> Label:
        """Return the label on the slice across an array axis: (H, W) uint16, a view."""
        plane: Label = np.moveaxis(self.label, axis, 0)[index]
        return plane

    @property
    def locked_ids(self) -> list[int]:
        """The label ids whose voxels no other label may take."""
        return [label_id for label_id, style in self.history.styles.items() if style.locked]

    def locked_against(self, label_id: int) -> list[int]:
        """The other label ids, whose voxels a label may not take."""
        return [other for other in self.locked_ids if other != label_id]

    def owners(self, voxels: Voxels) -> str:
        """Return the names of the labels that voxels (flat indices) have."""
        ids = np.unique(self.label.reshape(-1)[voxels])
        return ", ".join(self.style(int(label_id)).name for label_id in ids if label_id)

    def overlap(self, masks: Iterable[SliceMask], label_id: int) -> Counter[int]:
        """Count the voxels of masks for a label that other labels have, by label id."""
        counts = Counter[int]()
        for mask in masks:
            under = self.slice(mask.axis, mask.index)[mask.mask]
            ids, found = np.unique(under[(under != 0) & (under != label_id)], return_counts=True)
            counts.update(dict(zip(ids.tolist(), found.tolist(), strict=True)))
        return counts

    def describe_overlap(self, counts: Counter[int], *, committed: bool) -> str:
        """Say what becomes, or became, of voxels of other labels: a sentence for each label."""
        text = ""
        for label_id, count in counts.items():
            style = self.style(label_id)
            if style.locked:
                text += f" {count:,} voxels of {style.name} stay{'ed' * committed}: it is locked."
            elif committed:
                text += f" {count:,} voxels were taken from {style.name}; undo gives them back."
            else:
                text += f" {count:,} voxels would be taken from {style.name}."
        return text

    def without_locked(self, mask: SliceMask, label_id: int) -> SliceMask:
        """Return a mask for a label without the voxels that other, locked labels keep."""
        locked = self.locked_against(label_id)
        if not locked:
            return mask
        kept = np.isin(self.slice(mask.axis, mask.index), locked)
        return replace(mask, mask=mask.mask & ~kept)

    def record(self, name: str, voxels: Voxels, before: Label, *, recount: bool = False) -> Voxels:
        """Enter what the label shows already, a brush stroke say, but for what is locked.

        Parameters are those of `History.record`.

        Returns
        -------
        given_back : (m,) int64
            Flat indices of what was taken from locked labels.
        """
        flat = self.label.reshape(-1)
        taken = np.isin(before, self.locked_ids) & (flat[voxels] != before)
        flat[voxels[taken]] = before[taken]
        if np.any(flat[voxels] != before):
            state = self.network_state()
            self.history.record(name, voxels, before, recount=recount, network_state=state)
        elif recount:
            self.history.recount()
        given_back: Voxels = voxels[taken]
        return given_back

    def commit(
        self,
        box: BoxPrompt | BoxPrompt3D,
        masks: Iterable[SliceMask],
        label_id: int,
        replaces: Prompt | None = None,
        start: Bool | None = None,
    ) -> Edit:
        """Write the masks of a box into the label as one step of the history.

        Parameters
        ----------
        box : BoxPrompt or BoxPrompt3D
        masks : iterable of SliceMask
            What `segment` gave for the box.
        label_id : int
            From 1 to 65535.
        replaces : Prompt, optional
            A committed prompt that this box takes the place of.
        start : (H, W) bool, optional
            The mask that `segment` was given; what it had and the new one has not is freed.

        Raises
        ------
        PromptError
            If all masks are empty, or lie in locked labels, or a locked label would lose voxels;
            the session stays as it is.
        """
        shape = self.label.shape
        clicks = () if isinstance(box, BoxPrompt3D) else box.clicks
        corrects = start is not None or clicks
        drawn = "lasso" if isinstance(box, BoxPrompt) and box.lasso else "box"
        name = f"{'correction of' if corrects else f'{drawn} for'} {self.style(label_id).name}"
        answers = list(masks)
        found = np.unique(np.concatenate([mask.voxels(shape) for mask in answers]))
        # Clicks may take away all that there was.
        if found.size == 0 and not clicks:
            raise PromptError(
                f"The network found nothing in this {drawn}. Draw it closer around the structure, "
                "or change the window so that the structure stands out."
            )
        voxels = self._takeable(found, label_id)
        if voxels.size == 0 and found.size:
            raise PromptError(
                f"All that the network found belongs to {self.owners(found)}, which is locked. "
                "Unlock it, or draw the box elsewhere."
            )
        began = None
        if start is not None and isinstance(box, BoxPrompt):
            began = slice_voxels(start, shape, box.axis, box.index)
        freed, left, prompts = self.history.voxels_released(replaces, began, label_id)
        # The new mask comes first, so that it wins where both say something.
        touched, first = np.unique(np.concatenate([voxels, freed]), return_index=True)
        values = np.concatenate([np.full(voxels.size, label_id, np.uint16), left])[first]
        away = self._clicked_away(box, fresh_clicks(box, replaces), label_id, touched, values)
        away = away[~np.isin(away, voxels)]
        touched, first = np.unique(np.concatenate([away, touched]), return_index=True)
        values = np.concatenate([np.zeros(away.size, np.uint16), values])[first]
        self._keep_locked(touched, values)
        prompt = Prompt(box, label_id, voxels, began)
        return self.history.change(
            name,
            touched,
            values,
            (*prompts, prompt),
            network_state=answers[0].network_state or self.network_state(),
        )

    def commit_carried(
        self, mask: SliceMask, label_id: int, group: object, kept: Bool | None = None
    ) -> Edit:
        """Let a carried mask take the place of what the label has on its slice.

        Parameters
        ----------
        mask : SliceMask
        label_id : int
        group : object
            The same for all slices that one undo takes back.
        kept : (z, y, x) bool, optional
            What stays as it is; see `acceptance.kept_voxels`.

        Raises
        ------
        PromptError
            If the label is locked and would lose voxels.
        """
        shape = self.label.shape
        found = self._takeable(mask.voxels(shape), label_id)
        old = self.slice(mask.axis, mask.index) == label_id
        old_voxels = slice_voxels(old, shape, mask.axis, mask.index)
        voxels = np.union1d(found, old_voxels)
        if kept is not None:
            voxels = voxels[~kept.reshape(-1)[voxels]]
        values = np.where(np.isin(voxels, found), label_id, 0).astype(np.uint16)
        return self._change_carried(label_id, voxels, values, group, mask.network_state)

    def commit_nothing(
        self,
        axis: int,
        label_id: int,
        indices: Iterable[int],
        group: object,
        kept: Bool,
        network_state: NetworkState | None = None,
    ) -> Edit | None:
        """Take away what an earlier propagation gave a label where a later one finds nothing.

        What boxes cover stays, and what `kept` says.

        Parameters
        ----------
        axis, label_id : int
        indices : iterable of int
            The slices that were made anew without a mask.
        group : object
            That of the masks that the later one has found.
        kept : (z, y, x) bool
            As in `commit_carried`.
        network_state : NetworkState, optional
            With which the network was asked.

        Returns
        -------
        edit : Edit or None
            None where there is nothing to be taken away.

        Raises
        ------
        PromptError
            If the label is locked and would lose voxels.
        """
        carried = np.moveaxis(self.history.carried(label_id), axis, 0)
        gone = np.zeros(self.label.shape, bool)
        slices = [index for index in indices if carried[index].any()]
        # With all that they hold, as a mask that is found takes the place of all that.
        np.moveaxis(gone, axis, 0)[slices] = True
        gone &= (self.label == label_id) & ~kept
        for prompt in self.history.prompts:
            if prompt.label_id == label_id:
                gone.reshape(-1)[prompt.voxels] = False
        voxels = np.flatnonzero(gone)
        if not voxels.size:
            return None
        values = np.zeros(voxels.size, np.uint16)
        return self._change_carried(label_id, voxels, values, group, network_state)

    def _change_carried(
        self,
        label_id: int,
        voxels: Voxels,
        values: Label,
        group: object,
        network_state: NetworkState | None,
    ) -> Edit:
        self._keep_locked(voxels, values)
        name = f"propagation of {self.style(label_id).name}"
        state = network_state or self.network_state()
        return self.history.change(name, voxels, values, group=group, network_state=state)

    def accept(self, axis: int, label_id: int, masks: Mapping[int, bytes]) -> Edit:
        """Accept masks of a label, as one step of the history.

        They count as known from then on, and no propagation changes them. A mask that is changed
        otherwise is no longer accepted.

        Parameters
        ----------
        axis : int
            Array axis normal to the slices.
        label_id : int
        masks : mapping of int to bytes
            `mask_key` by slice.

        Raises
        ------
        PromptError
            If there is none that has not been accepted yet.
        """
        called = self.style(label_id).name
        fresh = not_accepted(self.history.accepted, axis, label_id, masks, called)
        name = f"acceptance of {called}, {len(fresh)} slice{'' if len(fresh) == 1 else 's'}"
        return self.history.change(
            name,
            np.zeros(0, np.int64),
            np.zeros(0, np.uint16),
            marks=LabelMarks(accepted=fresh),
            network_state=self.network_state(),
        )

    def require_unlocked(self, label_id: int) -> None:
        """Refuse to change a label that is locked.

        Raises
        ------
        PromptError
        """
        if label_id in self.locked_ids:
            raise PromptError(f"{self.style(label_id).name} is locked. Unlock it to change it.")

    def operate(
        self, label_id: int, name: str, operation: Operation, *, takes: bool = False
    ) -> Edit:
        """Change a label's mask as a whole, as one step of the history; see `mask_operations`.

        Parameters
        ----------
        label_id : int
        name : str
            What is done, for the user: "fill holes".
        operation : callable
            Turns the label's mask (z, y, x) bool into another one.
        takes : bool
            Whether the mask may grow into other labels, which give way unless they are locked.

        Raises
        ------
        PromptError
            If the label is locked or has no voxels, nothing would change, or nothing would be left
            of it.
        """
        self.require_unlocked(label_id)
        called = self.style(label_id).name
        mask = self.label == label_id
        if not mask.any():
            raise PromptError(
                f"{called} has no voxels, so '{name}' has nothing to work on. Choose a label that "
                "has, or draw a box."
            )
        changed = operation(mask)
        gained = np.flatnonzero(changed & ~mask)
        if takes:
            gained = self._takeable(gained, label_id)
        else:
            gained = gained[self.label.reshape(-1)[gained] == 0]
        lost = np.flatnonzero(mask & ~changed)
        check_change(gained.size, lost.size, int(mask.sum()), name, called)
        values = np.repeat([label_id, 0], [gained.size, lost.size]).astype(np.uint16)
        voxels = np.concatenate([gained, lost])
        return self.history.change(
            f"{name}: {called}", voxels, values, network_state=self.network_state()
        )

    def remove_prompt(self, prompt: Prompt) -> Edit:
        """Take back one committed box; what other boxes cover stays theirs.

        Raises
        ------
        PromptError
            If its label is locked and would lose voxels.
        """
        voxels, values, others = self.history.without(prompt)
        self._keep_locked(voxels, values)
        return self.history.change(
            "remove box", voxels, values, others, network_state=self.network_state()
        )

    def remove_label(self, label_id: int) -> Edit:
        """Clear all voxels and boxes of a label id.

        Raises
        ------
        PromptError
            If it is locked.
        """
        self.require_unlocked(label_id)
        voxels = np.flatnonzero(self.label == label_id)
        prompts = tuple(p for p in self.history.prompts if p.label_id != label_id)
        values = np.zeros(voxels.size, np.uint16)
        name = f"remove {self.style(label_id).name}"
        return self.history.change(
            name, voxels, values, prompts, network_state=self.network_state()
        )

    def _clicked_away(
        self,
        box: BoxPrompt | BoxPrompt3D,
        clicks: Iterable[Click],
        label_id: int,
        voxels: Voxels,
        values: Label,
    ) -> Voxels:
        """Return the label's voxels (flat indices) around clicks that still would not be away.

        Other boxes or a brush put them there. `values` is what `voxels` are about to get.
        """
        shape, found = self.label.shape, [np.zeros(0, np.int64)]
        for click in clicks:
            if not isinstance(box, BoxPrompt) or click.positive or not click.binding:
                continue
            height, width = self.slice(box.axis, box.index).shape
            place = np.ravel_multi_index(box.voxel(click.y, click.x), shape)
            after = values[voxels == place]
            if (after if after.size else self.label.reshape(-1)[place]) == label_id:
                around = with_clicks(box.xyxy, box.clicks)
                size = self.volume.pixel_size(box.axis)
                disc = click_area(around, click, (height, width), size)
                found.append(slice_voxels(disc, shape, box.axis, box.index))
        area = np.unique(np.concatenate(found))
        own: Voxels = area[self.label.reshape(-1)[area] == label_id]
        return own

    def _takeable(self, voxels: Voxels, label_id: int) -> Voxels:
        """Return those voxels (flat indices) that no other, locked label keeps."""
        kept = np.isin(self.label.reshape(-1)[voxels], self.locked_against(label_id))
        takeable: Voxels = voxels[~kept]
        return takeable

    def _keep_locked(self, voxels: Voxels, values: Label) -> None:
        """Refuse values for voxels (flat indices) that would take any from a locked label."""
        ids = self.label.reshape(-1)[voxels]
        lost = voxels[np.isin(ids, self.locked_ids) & (ids != values)]
        if lost.size:
            raise PromptError(
                f"This would take {lost.size:,} voxels from {self.owners(lost)}, which is locked. "
                "Unlock it to change it."
            )


def fresh_clicks(box: BoxPrompt | BoxPrompt3D, replaces: Prompt | None) -> tuple[Click, ...]:
    """Return the clicks, one by one, of a box that the prompt which it replaces has not."""
    if not isinstance(box, BoxPrompt):
        return ()
    before = replaces.box.clicks if replaces and isinstance(replaces.box, BoxPrompt) else ()
    return tuple(own for click in box.clicks[len(before) :] for own in click.parts)
