"""Enters into the history what napari's own tools do to the label layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from napari.layers import Labels
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QApplication

from napari_medsamq.annotation.history import Edit
from napari_medsamq.annotation.session import AnnotationSession
from napari_medsamq.array_types import Label, Voxels
from napari_medsamq.errors import MedSAMQError, PromptError, VolumeError
from napari_medsamq.io.label_format import MAX_LABEL_ID
from napari_medsamq.ui.canvas.brush_range import BrushRange, HeldStroke
from napari_medsamq.ui.worker import Worker

if TYPE_CHECKING:
    from napari.components import ViewerModel

_STROKES = ("paint", "erase", "fill")
# How often it is looked whether a stroke has ended unseen while an answer waits for that.
_LOOK_MS = 100


class LabelStrokes:
    """Follows the brush, and arrays that something else gives the layer.

    Parameters
    ----------
    session : AnnotationSession
    layer : Labels
        Shows the session's label.
    changed : callable
        Called after an edit.
    refuse : callable
        Told why an edit was not, or not wholly, allowed.

    Attributes
    ----------
    range : BrushRange or None
        Which values the brush paints; all without it. Other tools of the layer know none.
    """

    def __init__(
        self,
        session: AnnotationSession,
        layer: Labels,
        changed: Callable[[], None],
        refuse: Callable[[MedSAMQError], None],
    ) -> None:
        self._session = session
        self._layer = layer
        self._changed = changed
        self._refuse = refuse
        self.range: BrushRange | None = None
        self._limited: HeldStroke | None = None
        self._stroking = False
        self._held: list[tuple[Callable[[], None], Worker | None]] = []
        self._look = QTimer()
        self._look.setSingleShot(True)
        self._look.setInterval(_LOOK_MS)
        self._look.timeout.connect(self._deliver)
        # What had been done before the stroke.
        self._met: tuple[Edit, ...] | None = None
        self._come_last()
        layer.events.mode.connect(self._come_last)
        layer.events.paint.connect(self._on_paint)
        layer.events.data.connect(self._on_data)

    def follow(self, viewer: ViewerModel, event: Any) -> Iterator[None]:
        """Note when a tool in hand begins and ends a stroke: a mouse callback of the viewer's.

        Not of the layer's, as another one may be in hand when the button is let go.
        """
        layer = self._layer
        if viewer.layers.selection.active is not layer or layer.mode not in _STROKES:
            return
        self._stroking = True
        if self._met is None:
            self._met = self._session.history.edits
        self._limited = self._limit(viewer, event)
        yield
        while event.type == "mouse_move":
            yield
        self._stroking = False
        # The layer hears of the end only after the viewer.
        QTimer.singleShot(0, self._deliver)

    def _limit(self, viewer: ViewerModel, event: Any) -> HeldStroke | None:
        """Hold the stroke that begins to the range."""
        axis = viewer.dims.order[-3] - (viewer.dims.ndim - 3)
        if self.range is None or self._layer.mode != "paint" or axis < 0:
            return None
        place = np.array(self._layer.world_to_data(event.position), float)[-3:]
        low, high = self.range.limits(axis, place)
        index = int(np.clip(np.rint(place[axis]), 0, self._session.label.shape[axis] - 1))
        plane = self._session.slice(axis, index)
        values = np.moveaxis(self._session.volume.data, axis, 0)[index]
        return HeldStroke((low, high), plane, plane.copy(), (values < low) | (values > high))

    def _come_last(self) -> None:
        # After the brush, which each mode brings anew.
        callbacks = self._layer.mouse_drag_callbacks
        if self._restrain in callbacks:
            callbacks.remove(self._restrain)
        callbacks.append(self._restrain)

    def _restrain(self, layer: Labels, event: Any) -> Iterator[None]:
        """Take back, after each step of the brush, what it must not paint; the end does so, too."""
        self._show_limited()
        yield
        while event.type == "mouse_move":
            self._show_limited()
            yield

    def _show_limited(self) -> None:
        # What something else did in the middle of a stroke is not to be taken for the stroke's.
        if (
            self._limited is not None
            and self._session.history.edits == self._met
            and self._limited.take_back()
        ):
            self._layer.refresh(thumbnail=False, extent=False, highlight=False)

    def after_stroke(self, action: Callable[[], None], worker: Worker | None = None) -> None:
        """Do what changes label or history, or takes the one for what the other says.

        In the middle of a stroke, whose voxels the history does not know yet, it waits for the end;
        nothing is done if a worker was given that has been stopped by then.
        """
        if self._held or self.active:
            self._held.append((action, worker))
            self._look.start()
        else:
            action()

    @property
    def active(self) -> bool:
        """Whether a stroke is on its way."""
        if self._stroking and not _button_is_down():
            # It was let go over a dialog that came up in the middle, and the canvas was not told.
            self._stroking = False
        return self._stroking

    def _deliver(self) -> None:
        while self._held and not self.active:
            action, worker = self._held.pop(0)
            if worker is None or worker.running:
                action()
        if self._held:
            self._look.start()

    def _on_paint(self, event: Any) -> None:
        voxels, before = stroke_edit(event.value, self._session.label.shape)
        # A stroke that encircles goes on without a button, so that nothing waits for its end.
        met, self._met = self._met, None
        limited, self._limited = self._limited, None
        edits = self._session.history.edits
        undone, done = _apart(edits if met is None else met, edits)
        _take_over(undone, done, voxels, before)
        recount = any(_overlap(edit.voxels, voxels) for edit in (*undone, *done))
        name = "brush stroke"
        if limited is not None:
            low, high = limited.limits
            values = self._session.volume.data[np.unravel_index(voxels, self._session.label.shape)]
            outside = (values < low) | (values > high)
            self._session.label.reshape(-1)[voxels[outside]] = before[outside]
            voxels, before = voxels[~outside], before[~outside]
            name = f"brush stroke on values {low:g} to {high:g}"
        self._record(name, voxels, before, recount=recount)

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

    def _record(self, name: str, voxels: Voxels, before: Label, *, recount: bool = False) -> None:
        kept = self._session.record(name, voxels, before, recount=recount)
        self._changed()
        if kept.size:
            owners = self._session.owners(kept)
            self._refuse(
                PromptError(f"{kept.size:,} voxels stay with {owners}, locked. Unlock it first.")
            )


def stroke_edit(
    atoms: Iterable[Any], shape: tuple[int, ...]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint16]]:
    """Read the value of a Labels layer's `paint` event.

    Parameters
    ----------
    atoms : iterable
        What napari reports of one stroke: (indices, ids before, id after), or since napari 0.9.2
        (slices, mask or None, ids before, id after).
    shape : (3,) int
        Of the label.

    Returns
    -------
    voxels : (n,) int64
        Flat indices into the label, each once.
    before : (n,) uint16
        Their label ids before the stroke.
    """
    voxels: list[npt.NDArray[np.int64]] = []
    before: list[npt.NDArray[np.uint16]] = []
    for atom in atoms:
        if len(atom) == 4:
            slices, mask, old, _ = atom
            starts = [part.indices(size)[0] for part, size in zip(slices, shape, strict=True)]
            inside = np.nonzero(np.ones(old.shape, bool) if mask is None else mask)
            indices = tuple(part + start for part, start in zip(inside, starts, strict=True))
        else:
            indices, old, _ = atom
        voxels.append(np.ravel_multi_index(indices, shape).ravel())
        before.append(np.asarray(old, np.uint16).ravel())
    # A voxel that the brush passed twice had its first value before the stroke.
    unique, first = np.unique(np.concatenate(voxels), return_index=True)
    return unique, np.concatenate(before)[first]


def _button_is_down() -> bool:
    return QApplication.mouseButtons() != Qt.MouseButton.NoButton


def _apart(
    before: tuple[Edit, ...], now: tuple[Edit, ...]
) -> tuple[tuple[Edit, ...], tuple[Edit, ...]]:
    """Return the edits that have been taken back, and those that have been made instead."""
    same = sum(
        1 for _ in takewhile(lambda pair: pair[0] is pair[1], zip(before, now, strict=False))
    )
    return before[same:], now[same:]


def _take_over(
    undone: tuple[Edit, ...], done: tuple[Edit, ...], voxels: Voxels, before: Label
) -> None:
    """Do to the label ids that a stroke met what was done to the label under it meanwhile."""
    steps = [(edit.voxels, edit.after, edit.before) for edit in reversed(undone)]
    steps += [(edit.voxels, edit.before, edit.after) for edit in done]
    for changed, expected, values in steps:
        _, own, other = np.intersect1d(voxels, changed, assume_unique=True, return_indices=True)
        met = before[own] == expected[other]
        before[own[met]] = values[other[met]]


def _overlap(one: Voxels, other: Voxels) -> bool:
    if not one.size or not other.size or one.max() < other.min() or other.max() < one.min():
        return False
    return bool(np.isin(one, other).any())
