"""What a script, the command line and a batch do with a volume: prompts in, a label out.

Everything here is in voxels (i, j, k) of the volume's own file. The window works on the anatomical
array below it, an `AnnotationSession`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal, overload

import numpy as np
import numpy.typing as npt

from napari_medsamq.annotation.click_target import correction, describe_clicks
from napari_medsamq.annotation.propagation_snapshot import PropagationSnapshot
from napari_medsamq.annotation.session import AnnotationSession
from napari_medsamq.array_types import Bool, Label
from napari_medsamq.errors import PromptError, VolumeError
from napari_medsamq.inference.backend import CPU
from napari_medsamq.inference.preprocess import WindowLevel
from napari_medsamq.inference.propagation import Stop, gaps
from napari_medsamq.inference.slice_predictor import SliceMask
from napari_medsamq.io.label_format import MAX_LABEL_ID
from napari_medsamq.io.labels import label_of_array
from napari_medsamq.io.volume import Order, Volume
from napari_medsamq.prompts import BoxPrompt, BoxPrompt3D, Click, box_between
from napari_medsamq.workflows.notebook import described, session_html, session_png
from napari_medsamq.workflows.parsing import (
    checked_label_id,
    checked_voxel,
    lasso_of_voxels,
    path_on_slice,
    plane_axis,
)


@dataclass(frozen=True, repr=False)
class SegmentedSlices:
    """The slices that one call of a session has segmented, in the order in which it did.

    Attributes
    ----------
    axis : "i", "j" or "k"
        Axis of the file across which the slices lie.
    slices : tuple of int
        Their indices on it.
    encode_ms, decode_ms : tuple of float
        Time that the network took for each; `encode_ms` is 0 where it had seen the slice before.
    zoomed : tuple of bool
        Whether the network was shown a part of the slice, enlarged.
    notes : tuple of str
        What the user should know: why a structure was carried no further, say.
    """

    axis: Literal["i", "j", "k"]
    slices: tuple[int, ...]
    encode_ms: tuple[float, ...]
    decode_ms: tuple[float, ...]
    zoomed: tuple[bool, ...]
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        ms = sum(self.encode_ms) + sum(self.decode_ms)
        found = f"{self.axis} {','.join(map(str, self.slices)) or 'none'} in {ms:.0f} ms"
        return f"<Slices {'; '.join([found, *self.notes])}>"


class Session:
    """A volume, a model, and the label that grows from prompts; made by `open_session`.

    Voxels are indices (i, j, k) of the volume's file, from 0, and arrays have its axes. A label is
    named by its id, 1 to 65535, or by its name: a new name gets the next free id. Each call that
    changes the label is one step of `undo`; one that fails changes nothing.

    Parameters
    ----------
    annotation : AnnotationSession
    device : str
        OpenVINO device name.
    load_ms : float
        How long it took to load the model.

    Attributes
    ----------
    annotation : AnnotationSession
        The same in anatomical array order (z, y, x), as the window uses it.
    device, load_ms
        As given.
    """

    def __init__(
        self, annotation: AnnotationSession, *, device: str = CPU, load_ms: float = 0.0
    ) -> None:
        self.annotation = annotation
        self.device = device
        self.load_ms = load_ms

    @property
    def volume(self) -> Volume:
        """The volume that is segmented."""
        return self.annotation.volume

    @property
    def model(self) -> str:
        """The name of the model that answers."""
        return self.annotation.engine.spec.name

    @property
    def window(self) -> WindowLevel:
        """The window of intensities that the model sees."""
        return self.annotation.window

    @property
    def label_names(self) -> dict[int, str]:
        """The name of each label id that has voxels or was given a name, in ascending order."""
        return {number: style.name for number, style in sorted(self.annotation.styles.items())}

    @overload
    def label_array(self, label: None = None, order: Order = "file") -> Label: ...
    @overload
    def label_array(self, label: int | str, order: Order = "file") -> Bool: ...
    def label_array(self, label: int | str | None = None, order: Order = "file") -> Label | Bool:
        """Return the label as an array of its own.

        Parameters
        ----------
        label : int or str, optional
            The voxels of this label alone.
        order : "file" or "anatomical"
            Axes of the volume's file, or (z, y, x) towards S, P and L, as `Volume.data` has them.

        Returns
        -------
        array : (i, j, k) or (z, y, x) uint16
            Label ids, 0 where there is none; bool if a label is named.

        Raises
        ------
        PromptError
            If there is no such label.
        """
        array = self.annotation.label
        if label is None:
            return self.volume.in_order(array, order)
        return self.volume.in_order(array == self._known_id(label), order)

    def add_box(
        self,
        lower: Sequence[int],
        upper: Sequence[int],
        label: int | str = 1,
        plane: str | None = None,
    ) -> SegmentedSlices:
        """Segment what a box is drawn around, and add it to a label.

        Parameters
        ----------
        lower, upper : (3,) int
            Two opposite corners, voxels (i, j, k), both included. Equal in one index: a box on
            that slice. Equal in none: a box through slices, carried from its middle.
        label : int or str
            Voxels of other labels give way.
        plane : "axial", "coronal" or "sagittal", optional
            On which a box through slices is carried from slice to slice; axial if not given.

        Raises
        ------
        PromptError
            If a corner lies outside the volume, the box encloses nothing or the network finds
            nothing in it, or there can be no such label or plane.
        ModelError
            If the network fails.
        """
        axis = 0 if plane is None else plane_axis(plane)
        corners = self.volume.box_from_source(checked_voxel(lower), checked_voxel(upper))
        return self.add_prompt(box_between(*corners, axis), label)

    def add_prompt(self, prompt: BoxPrompt | BoxPrompt3D, label: int | str = 1) -> SegmentedSlices:
        """Do as `add_box` for a box in array order (z, y, x)."""
        with self._label(label) as label_id:
            masks = list(self.annotation.segment(prompt))
            try:
                self.annotation.commit(prompt, masks, label_id)
            except PromptError as error:
                name = self.annotation.style(label_id).name
                raise PromptError(f"Label {label_id} ({name}): {error}") from error
        return self._segmented(prompt.axis, masks)

    def add_click(
        self,
        ijk: Sequence[int],
        positive: bool = True,
        label: int | str | None = None,
        plane: str | None = None,
    ) -> SegmentedSlices:
        """Correct the mask of a label on the slice of a voxel.

        Parameters
        ----------
        ijk : (3,) int
            The voxel.
        positive : bool
            Whether it belongs to the structure; if not, it is taken away.
        label : int or str, optional
            May be left out if there is one alone.
        plane : "axial", "coronal" or "sagittal", optional
            Of the slice; that of the label's last box if not given.

        Returns
        -------
        slices : SegmentedSlices
            Its notes say whether the network has not followed the click.

        Raises
        ------
        PromptError
            If the voxel lies outside the volume, the label has no mask on its slice, or it is not
            clear which label is meant.
        ModelError
            If the network fails.
        """
        return self.add_scribble([ijk], positive, label, plane)

    def add_scribble(
        self,
        path: Sequence[Sequence[int]],
        positive: bool = True,
        label: int | str | None = None,
        plane: str | None = None,
    ) -> SegmentedSlices:
        """Correct the mask of a label along a scribble on one slice, as one step.

        Parameters
        ----------
        path : sequence of (3,) int
            Voxels (i, j, k), in the order in which they were drawn; lines lie between them.
        positive, label
            As `add_click` takes them.
        plane : "axial", "coronal" or "sagittal", optional
            Of the slice; the one that the path lies on if not given.

        Raises
        ------
        PromptError, ModelError
            As of `add_click`; also if the path has no voxel, or does not lie on one slice.
        """
        label_id = self._known_id(label)
        usual = self._axis(label_id, plane)
        axis, index, pixels = path_on_slice("scribble", path, self.volume, usual, plane)
        click = Click.along(pixels, positive)
        session = self.annotation
        found = correction(session, axis, index, click, label_id)
        masks = list(session.segment(found.box, found.start))
        edit = session.commit(found.box, masks, label_id, found.replaces, found.start)
        said = describe_clicks(session, found.box, found.replaces, label_id, masks, edit).strip()
        where = f"{session.style(label_id).name}, slice {self._mirrored(axis, index)}"
        return self._segmented(axis, masks, (f"{where}: {said}",) if said else ())

    def add_lasso(
        self,
        outline: Sequence[Sequence[int]],
        label: int | str = 1,
        plane: str | None = None,
    ) -> SegmentedSlices:
        """Segment what an outline on one slice is drawn around, and add it to a label.

        Parameters
        ----------
        outline : sequence of (3,) int
            Its corners, voxels (i, j, k); the last one is joined with the first.
        label : int or str
            Voxels of other labels give way.
        plane : "axial", "coronal" or "sagittal", optional
            Of the slice; the one that the outline lies on if not given.

        Raises
        ------
        PromptError
            If a corner lies outside the volume, the outline does not lie on one slice, has fewer
            than three corners, encloses nothing or crosses itself, the network finds nothing in
            it, or there can be no such label or plane.
        ModelError
            If the network fails.
        """
        return self.add_prompt(lasso_of_voxels(outline, self.volume, plane), label)

    def add_mask(self, mask: npt.ArrayLike, label: int | str) -> None:
        """Add voxels to a label, as if they were drawn by hand: a propagation leaves them.

        Parameters
        ----------
        mask : (i, j, k) bool, or whole numbers 0 and 1
        label : int or str
            Voxels of other labels give way, unless those are locked.

        Raises
        ------
        VolumeError
            If the mask is not of the volume's shape, or holds other numbers.
        PromptError
            If it has no voxels, or there can be no such label.
        """
        array = label_of_array(mask, self.volume).label
        voxels = np.flatnonzero(array)
        if array.max() > 1:
            raise VolumeError(f"The mask holds {array.max()}; in a mask there is 0 or 1.")
        if not voxels.size:
            raise PromptError("The mask has no voxels, so there is nothing to add.")
        session = self.annotation
        with self._label(label) as label_id:
            kept = np.isin(session.label.reshape(-1)[voxels], session.locked_against(label_id))
            values = np.full(np.count_nonzero(~kept), label_id, np.uint16)
            name, state = f"mask of {session.style(label_id).name}", session.network_state()
            session.history.change(name, voxels[~kept], values, by_hand=True, network_state=state)

    def propagate(
        self,
        label: int | str,
        *,
        first: int | None = None,
        last: int | None = None,
        plane: str | None = None,
    ) -> SegmentedSlices:
        """Carry a label from the slices where it was drawn to those around and between them.

        Known are slices with a box, the middle one of a 3D box, and those of `add_mask`; they stay
        as they are. From a slice in a 3D box it is carried to the ends of that one, within its
        sides.

        Parameters
        ----------
        label : int or str
        first, last : int, optional
            Slices of the file, both included, beyond which it is not carried; both ways, until the
            structure ends, if not given.
        plane : "axial", "coronal" or "sagittal", optional
            Of the slices; that of the label's last box if not given.

        Returns
        -------
        slices : SegmentedSlices
            Its notes say why the structure was carried no further.

        Raises
        ------
        PromptError
            If nothing of the label is known on the plane, or there is no such slice.
        ModelError
            If the network fails.
        """
        label_id = self._known_id(label)
        axis = self._axis(label_id, plane)
        session = self.annotation
        state = session.network_state()
        snapshot = PropagationSnapshot.of(session.history, axis, label_id)
        known, kept = snapshot.known, snapshot.kept
        drawn = [index for index, mask in known.items() if mask.any()]
        ends = [0, self.volume.slice_count(axis) - 1]
        for end, index in enumerate((first, last)):
            if index is not None:
                ends[end ^ self.volume.source.flips[axis]] = self._mirrored(axis, index)
        low, high = min([*drawn, ends[0]]), max([*drawn, ends[1]])
        found = list(session.carry(axis, known, low, high, within=snapshot.within))
        masks = [item for item in found if isinstance(item, SliceMask)]
        stops = [item for item in found if isinstance(item, Stop)]
        anew = {index for own in gaps(known, low, high) for index in range(own[0] + 1, own[1])}
        left = anew.difference(known, (mask.index for mask in masks))
        group, history = object(), session.history
        try:
            for mask in masks:
                session.commit_carried(mask, label_id, group, kept)
            session.commit_nothing(axis, label_id, sorted(left), group, kept, state)
        except PromptError:
            if history.edits[-1].group is group:
                history.undo()
            raise
        notes = (
            f"It ends before slice {self._mirrored(axis, stop.index)}: {stop.reason}."
            for stop in stops
            if stop.reason
        )
        return self._segmented(axis, masks, tuple(notes))

    def undo(self) -> str | None:
        """Take back the last step, and return what it was; None if there is none."""
        edit = self.annotation.history.undo()
        return None if edit is None else edit.name

    def redo(self) -> str | None:
        """Do the step again that was taken back last, and return what it was; None without one."""
        edit = self.annotation.history.redo()
        return None if edit is None else edit.name

    def __repr__(self) -> str:
        told = [f"{self.volume.name}, {self.model}", *described(self.annotation)]
        return f"<Session {'; '.join(told)}>"

    def _repr_png_(self) -> bytes:
        return session_png(self.annotation)

    def _repr_html_(self) -> str:
        return session_html(self.annotation)

    @contextmanager
    def _label(self, label: int | str) -> Iterator[int]:
        """Give the id of a label that may be a new one; its name is no more if this fails."""
        styles = self.annotation.history.styles
        known = {name: number for number, name in self.label_names.items()}
        if isinstance(label, str) and label not in known:
            label_id = next(n for n in range(1, MAX_LABEL_ID + 1) if n not in known.values())
            before = styles.get(label_id)
            self.name_label(label_id, label)
        else:
            label_id = known[label] if isinstance(label, str) else checked_label_id(label)
            before = styles.get(label_id)
        try:
            yield label_id
        except BaseException:
            if before is None:
                styles.pop(label_id, None)
            raise

    def name_label(self, label: int, name: str, color: str | None = None) -> None:
        """Name a label id, with or without voxels, and colour it (#RRGGBB).

        Raises
        ------
        PromptError
            If there can be no such label, name or colour.
        """
        label_id = checked_label_id(label)
        if not name.strip() or re.fullmatch("#[0-9A-Fa-f]{6}", color or "#000000") is None:
            raise PromptError(
                f"A label needs a name and a colour #RRGGBB, not {name!r}, {color!r}."
            )
        style = self.annotation.style(label_id)
        self.annotation.set_style(label_id, replace(style, name=name, color=color or style.color))

    def _known_id(self, label: int | str | None) -> int:
        """Return the id of a label that is there already, of the only one if none is named."""
        names = self.label_names
        if label is None and len(names) == 1:
            return next(iter(names))
        found = [n for n, name in names.items() if label == (name if isinstance(label, str) else n)]
        if label is None or isinstance(label, bool) or not found:
            there = ", ".join(f"{n} {name}" for n, name in names.items()) or "none yet"
            said = "Say which label is meant" if label is None else f"There is no label {label!r}"
            raise PromptError(f"{said}. Those that are there: {there}.")
        return found[0]

    def _axis(self, label_id: int, plane: str | None) -> int:
        """Return the array axis across a plane, without one across that of the label's last box."""
        if plane is not None:
            return plane_axis(plane)
        prompts = reversed(self.annotation.history.prompts)
        return next((own.box.axis for own in prompts if own.label_id == label_id), 0)

    def _segmented(
        self, axis: int, masks: Sequence[SliceMask], notes: tuple[str, ...] = ()
    ) -> SegmentedSlices:
        return SegmentedSlices(
            ("i", "j", "k")[self.volume.source.axes[axis]],
            tuple(self._mirrored(axis, mask.index) for mask in masks),
            tuple(mask.encode_ms for mask in masks),
            tuple(mask.decode_ms for mask in masks),
            tuple(mask.zoomed for mask in masks),
            notes,
        )

    def _mirrored(self, axis: int, index: int) -> int:
        """Turn the index of a slice across an array axis into that in the file, and back."""
        last = self.volume.slice_count(axis) - 1
        if not -1 <= index <= last + 1:  # a structure may end beyond the first or last slice
            letter = "ijk"[self.volume.source.axes[axis]]
            raise PromptError(f"The slices {letter} run from 0 to {last}; there is no {index}.")
        return last - index if self.volume.source.flips[axis] else index
