"""One volume being segmented: prompts in, label out. Knows neither napari nor Qt."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_medsamq.embeddings import DEFAULT_BUDGET
from napari_medsamq.engine import Engine
from napari_medsamq.errors import PromptError
from napari_medsamq.geometry import Float64
from napari_medsamq.history import MAX_LABEL_ID, Edit, History, Label, LabelStyle, Prompt, Voxels
from napari_medsamq.preprocess import WindowLevel, default_window
from napari_medsamq.prompts import BoxPrompt, BoxPrompt3D, check_inside
from napari_medsamq.propagation import Carrier, Stop, propagate
from napari_medsamq.slice_network import Lens, SliceMask, SliceNetwork
from napari_medsamq.stop_rules import Sight
from napari_medsamq.views import Zoom
from napari_medsamq.volume_io import SaveReceipt, Volume, write_label

Bool = npt.NDArray[np.bool_]


class Session:
    """A volume, an engine, and the label that grows from prompts.

    `segment` only computes and may run in one other thread; everything else belongs to the thread
    that owns the session.

    Parameters
    ----------
    volume : Volume
    engine : Engine
    window : WindowLevel, optional
        What the network sees; `default_window(volume)` if not given.
    zoom : Zoom, optional
        How small boxes are zoomed in on; without it the network is shown whole slices.
    embedding_budget : int
        Bytes that embeddings kept for later boxes may take.

    Attributes
    ----------
    volume, engine, window, zoom
        As given; all but the volume's voxels may be changed between prompts.
    standard_window : WindowLevel
        The window it began with; for another modality, that modality's own.
    history : History
        The label and how it came about.
    watch : callable
        Told what else is done, in a word and in what JSON can hold: label styles, propagations,
        saves.
    """

    def __init__(
        self,
        volume: Volume,
        engine: Engine,
        window: WindowLevel | None = None,
        *,
        zoom: Zoom | None = None,
        embedding_budget: int = DEFAULT_BUDGET,
    ) -> None:
        self.volume = volume
        self.engine = engine
        self.zoom = zoom
        self.window = self.standard_window = window or default_window(volume)
        self.history = History(volume.data.shape[:3])
        self.watch: Callable[[str, dict[str, Any]], None] = lambda _kind, _content: None
        self._styles: dict[int, LabelStyle] = {}
        self._network = SliceNetwork(volume, embedding_budget)

    @property
    def label(self) -> Label:
        """The label (z, y, x) uint16."""
        return self.history.label

    def style(self, label_id: int) -> LabelStyle:
        """Return name and colour of a label id (1..65535)."""
        if not 1 <= label_id <= MAX_LABEL_ID:
            raise ValueError(f"a label id is a number from 1 to {MAX_LABEL_ID}, not {label_id}")
        return self._styles.get(label_id) or LabelStyle.default(label_id)

    def set_style(self, label_id: int, style: LabelStyle) -> None:
        """Name, colour, lock or hide a label id (1..65535); not part of the history."""
        self._styles[label_id] = style
        self.watch("style", {"label": label_id, "style": asdict(style)})

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
        self._styles = dict(styles)

    @property
    def locked_ids(self) -> list[int]:
        """The label ids whose voxels no other label may take."""
        return [label_id for label_id, style in self._styles.items() if style.locked]

    def locked_against(self, label_id: int) -> list[int]:
        """The other label ids, whose voxels a label may not take."""
        return [other for other in self.locked_ids if other != label_id]

    def owners(self, voxels: Voxels) -> str:
        """Return the names of the labels that voxels (flat indices) have."""
        ids = np.unique(self.label.reshape(-1)[voxels])
        return ", ".join(self.style(int(label_id)).name for label_id in ids if label_id)

    def segment(
        self, box: BoxPrompt | BoxPrompt3D, start: Bool | None = None, *, preview: bool = False
    ) -> Iterator[SliceMask]:
        """Ask the network for the masks of a box, slice by slice; nothing is committed.

        Parameters
        ----------
        box : BoxPrompt or BoxPrompt3D
            On one slice, with its clicks, or carried through a range of slices.
        start : (H, W) bool, optional
            A mask of the slice that box and clicks are to improve.
        preview : bool
            Whether to do without zoom, which encodes each box anew.

        Yields
        ------
        SliceMask

        Raises
        ------
        PromptError
            If the box leaves the volume.
        ModelError
            If the network fails.
        """
        check_inside(box, self.label.shape)
        lens = self._lens(box.axis)
        if preview:
            lens = replace(lens, zoom=None)
        ask = partial(self._network.segment, lens)
        if isinstance(box, BoxPrompt):
            yield ask(box.index, box.xyxy, box.clicks, start)
            return
        answers: list[SliceMask] = []

        def segment_slice(index: int, xyxy: Float64) -> Bool:
            answers.append(ask(index, xyxy))
            return answers[-1].mask

        for _ in propagate(segment_slice, box, partial(self._network.view, lens)):
            yield answers.pop()

    def carry(
        self, axis: int, anchors: Mapping[int, Bool], first: int, last: int
    ) -> Iterator[SliceMask | Stop]:
        """Carry a structure from slices where it is known through the volume; nothing is committed.

        Runs where `segment` runs; see `Carrier.carry`.

        Parameters
        ----------
        axis : int
            Array axis normal to the slices.
        anchors : mapping of int to (H, W) bool
            Known masks by slice, as `History.known_slices` gives them; an empty one is a wall.
        first, last : int
            Where to stop at the latest, both included.

        Yields
        ------
        SliceMask
            Of each slice between and around the anchors.
        Stop
            Why it ends, once upwards and once downwards.

        Raises
        ------
        PromptError
            If nothing is known, or something beyond first and last.
        ModelError
            If the network fails.
        """
        count = self.label.shape[axis]
        known = [index for index, mask in anchors.items() if mask.any()]
        if not known:
            raise PromptError(
                "There is no mask to carry on. Draw a box around the structure on this plane first."
            )
        if not 0 <= first <= min(known) <= max(known) <= last < count:
            raise PromptError(
                f"The slices {first} to {last} have to hold those that are known, {min(known)} to "
                f"{max(known)}, and lie within 0 to {count - 1}. Choose others."
            )
        network, lens = self._network, self._lens(axis)
        answers: list[SliceMask] = []

        def segment(index: int, xyxy: Float64) -> tuple[Bool, Sight]:
            answer, sight = network.segment_and_see(lens, index, xyxy)
            answers.append(answer)
            return answer.mask, sight

        carrier = Carrier(segment, partial(network.look, lens), partial(network.view, lens))
        for found in carrier.carry(anchors, first, last):
            yield found if isinstance(found, Stop) else answers[-1]
            answers.clear()

    def is_ready(self, axis: int, index: int) -> bool:
        """Tell whether a slice has its embedding at hand; may be asked in any thread."""
        return self._network.is_ready(self._lens(axis), index)

    def prepare(self, axis: int, index: int) -> None:
        """Encode a slice, so that a box on it need not wait; runs where `segment` runs.

        Raises
        ------
        ModelError
            If the network fails.
        """
        self._network.prepare(self._lens(axis), index)

    @property
    def slices_kept(self) -> int:
        """How many slices there is room to keep the embeddings of."""
        return self._network.slices_kept

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
            If all masks are empty, or lie in locked labels; the session stays as it is.
        """
        corrects = start is not None or (isinstance(box, BoxPrompt) and box.clicks)
        name = f"{'correction of' if corrects else 'box for'} {self.style(label_id).name}"
        found = np.unique(np.concatenate([self._flat_indices(mask) for mask in masks]))
        if found.size == 0:
            raise PromptError(
                "The network found nothing in this box. Draw it closer around the structure, or "
                "change the window so that the structure stands out."
            )
        voxels = self._takeable(found, label_id)
        if voxels.size == 0:
            raise PromptError(
                f"All that the network found belongs to {self.owners(found)}, which is locked. "
                "Unlock it, or draw the box elsewhere."
            )
        began = None
        if start is not None and isinstance(box, BoxPrompt):
            began = self._flat_indices(SliceMask(box.axis, box.index, start, 0, 0, 0))
        freed, left, prompts = self.history.given_up(replaces, began, label_id)
        # The new mask comes first, so that it wins where both say something.
        touched, first = np.unique(np.concatenate([voxels, freed]), return_index=True)
        values = np.concatenate([np.full(voxels.size, label_id, np.uint16), left])[first]
        prompt = Prompt(box, label_id, voxels, began)
        return self.history.change(name, touched, values, (*prompts, prompt))

    def commit_carried(self, mask: SliceMask, label_id: int, group: object) -> Edit:
        """Let a carried mask take the place of what the label has on its slice.

        Parameters
        ----------
        mask : SliceMask
        label_id : int
        group : object
            The same for all slices that one undo takes back.
        """
        found = self._takeable(self._flat_indices(mask), label_id)
        planes = np.moveaxis(self.label, mask.axis, 0)
        old = self._flat_indices(replace(mask, mask=planes[mask.index] == label_id))
        voxels = np.union1d(found, old)
        values = np.where(np.isin(voxels, found), label_id, 0).astype(np.uint16)
        name = f"propagation of {self.style(label_id).name}"
        return self.history.change(name, voxels, values, self.history.prompts, group=group)

    def remove_prompt(self, prompt: Prompt) -> Edit:
        """Take back one committed box; what other boxes cover stays theirs."""
        return self.history.change("remove box", *self.history.without(prompt))

    def remove_label(self, label_id: int) -> Edit:
        """Clear all voxels and boxes of a label id.

        Raises
        ------
        PromptError
            If it is locked.
        """
        if label_id in self.locked_ids:
            raise PromptError(f"{self.style(label_id).name} is locked. Unlock it to remove it.")
        voxels = np.flatnonzero(self.label == label_id)
        prompts = tuple(p for p in self.history.prompts if p.label_id != label_id)
        values = np.zeros(voxels.size, np.uint16)
        name = f"remove {self.style(label_id).name}"
        return self.history.change(name, voxels, values, prompts)

    def save(self, path: Path, label: Label | None = None) -> SaveReceipt:
        """Write the label, or an earlier copy of it, on the source's grid; see `write_label`."""
        return write_label(path, self.label if label is None else label, self.volume)

    def _takeable(self, voxels: Voxels, label_id: int) -> Voxels:
        """Return those voxels (flat indices) that no other, locked label keeps."""
        kept = np.isin(self.label.reshape(-1)[voxels], self.locked_against(label_id))
        takeable: Voxels = voxels[~kept]
        return takeable

    def _flat_indices(self, mask: SliceMask) -> Voxels:
        position: list[Voxels] = list(np.nonzero(mask.mask))
        position.insert(mask.axis, np.full(position[0].size, mask.index))
        return np.ravel_multi_index(tuple(position), self.label.shape)

    def _lens(self, axis: int) -> Lens:
        """Return what slices are seen through now; the owner may change it meanwhile."""
        return Lens(self.engine, self.window, axis, self.zoom)
