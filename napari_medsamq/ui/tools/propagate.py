"""Carries a label through the volume while the window stays alive."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from time import perf_counter

import numpy as np
from qtpy.QtCore import Signal

from napari_medsamq.annotation.acceptance import mask_key, still_accepted
from napari_medsamq.annotation.propagation_snapshot import PropagationSnapshot
from napari_medsamq.errors import MedSAMQError, PromptError
from napari_medsamq.inference.network_state import NetworkState
from napari_medsamq.inference.propagation import Gap, Stop, gaps
from napari_medsamq.inference.slice_predictor import SliceMask
from napari_medsamq.ui.forms.guide import PROPAGATE
from napari_medsamq.ui.forms.tool_rail import BOTH_WAYS, DOWN, TO_VIEW, UP
from napari_medsamq.ui.messages import describe_masks, report_carried, report_progress
from napari_medsamq.ui.tools.tool import Tool, ToolContext
from napari_medsamq.ui.worker import CHUNK_S

Found = SliceMask | Stop


@dataclass(eq=False)
class _Run:
    """A propagation on its way."""

    snapshot: PropagationSnapshot
    gaps: list[Gap]
    found: Iterator[Found]
    accepted: int  # slices of the label
    anew: frozenset[int]  # slices that are made anew, with a mask or without
    network_state: NetworkState  # with which the network is asked
    masks: list[SliceMask] = field(default_factory=list)
    stops: list[Stop] = field(default_factory=list)
    emptied: int = 0  # slices that had the mask of an earlier one

    @property
    def left(self) -> frozenset[int]:
        """The slices that it has not come to, or on which it has found nothing."""
        return self.anew.difference(mask.index for mask in self.masks)


@dataclass(frozen=True)
class LabelGap:
    """The slices between two known ones, or beyond the last, that a label is carried through.

    Attributes
    ----------
    axis : int
        Array axis normal to the slices.
    label_id : int
    low, high : int
        The slices on its two sides.
    """

    axis: int
    label_id: int
    low: int
    high: int


class PropagateTool(Tool):
    """Runs one propagation at a time; each slice is in the label as soon as it is there.

    Parameters
    ----------
    context : ToolContext

    Attributes
    ----------
    label_id : int or None
        What was carried last, or is.
    """

    changed = Signal()  # it has begun or ended
    carried = Signal(list)  # the slices that have come last

    def __init__(self, context: ToolContext) -> None:
        super().__init__(context)
        self._run: _Run | None = None
        self.label_id: int | None = None
        # What each gap held when it was filled last.
        self._done: dict[LabelGap, tuple[object, ...]] = {}
        self.follow(self.start, self._dock.rail.propagate_requested)
        self.follow(self.stop, self._dock.rail.stop_requested)

    def close(self) -> None:
        """Stop, and begin no more."""
        self.stop()
        super().close()

    @property
    def active(self) -> bool:
        """Whether a propagation is on its way."""
        return self._run is not None

    def start(self, way: str = BOTH_WAYS) -> None:
        """Carry the label that is drawn for across the plane in view; see `tool_rail.WAYS`."""
        axis, shown = self._view.axis, self._view.index
        last = self._session.label.shape[axis] - 1
        if last == 0:
            self._say("This is a single slice: there are no others to carry the mask to.")
            return
        ends = {UP: (last, last), DOWN: (0, 0), TO_VIEW: (shown, shown)}
        first, last = ends.get(way, (0, last))
        self._workspace.strokes.after_stroke(partial(self._start, axis, first, last), self._compute)

    def _start(self, axis: int, first: int, last: int) -> None:
        try:
            self.begin(axis, first, last)
        except MedSAMQError as error:
            self._fail(error)

    def begin(self, axis: int, first: int, last: int) -> None:
        """Carry the label that is drawn for from its known slices to `first` and `last`.

        Known slices beyond `first` and `last` count as those next to them: a direction that is not
        wanted is cut off at the slices that are known. Gaps between slices that are known as they
        were at the last propagation are left as they are.

        Raises
        ------
        PromptError
            If nothing is known, or the label is locked and might lose voxels.
        """
        if self.active:
            return
        session, label_id = self._session, self._workspace.label_id
        snapshot = PropagationSnapshot.of(session.history, axis, label_id)
        known = snapshot.known
        drawn = [index for index, mask in known.items() if mask.any()]
        if drawn:
            first, last = min(first, *drawn), max(last, *drawn)
        wanted = gaps(known, first, last) if drawn else []
        done = [gap for gap in wanted if self.is_done(LabelGap(axis, label_id, *gap), known)]
        if wanted and len(done) == len(wanted):
            self._say("Nothing has changed since the last propagation. Correct a slice first.")
            return
        label, accepted = session.label, session.history.accepted
        run = _Run(
            snapshot,
            wanted,
            session.carry(axis, known, first, last, done, snapshot.within),
            sum(len(still_accepted(label, accepted, across, label_id)) for across in range(3)),
            frozenset(
                index
                for low, high in wanted
                if (low, high) not in done
                for index in range(low + 1, high)
            ).difference(known),
            session.network_state(),
        )
        self._refuse_locked(run, done)
        self._run, self.label_id = run, label_id
        self._dock.guide.done(PROPAGATE)
        asked = {"label": label_id, "axis": axis, "first": first, "last": last, "done": done}
        session.event.emit("carry", {**asked, "group": run})
        self.changed.emit()
        self._go_on(run)

    def _refuse_locked(self, run: _Run, done: Collection[Gap]) -> None:
        """Refuse to carry a locked label to slices where it has voxels, as it may lose some."""
        session, snapshot = self._session, run.snapshot
        if snapshot.label_id not in session.locked_ids:
            return
        planes = np.moveaxis(
            (session.label == snapshot.label_id) & ~snapshot.kept, snapshot.axis, 0
        )
        if any(planes[low + 1 : high].any() for low, high in run.gaps if (low, high) not in done):
            raise PromptError(
                f"{session.style(snapshot.label_id).name} is locked, and the propagation would "
                "make slices anew on which it has voxels. Unlock it to propagate."
            )

    def stop(self) -> None:
        """Stop at once; what is there stays, and one undo takes it back.

        Slices that it has not come to keep what an earlier one gave them.
        """
        if self._run is not None:
            self._end(self._run, stopped=True)

    def _go_on(self, run: _Run) -> None:
        self._compute.submit(
            partial(_take, run.found),
            partial(self._on_found, run),
            partial(self._on_failure, run),
            self._workspace.strokes,
        )

    def _on_found(self, run: _Run, found: list[Found]) -> None:
        if run is not self._run:
            return
        if found:
            self._go_on(run)  # the thread works on while the label is written
        session, snapshot = self._session, run.snapshot
        drawn = snapshot.keep_drawn(session.history, run)
        for item in found:
            if isinstance(item, Stop):
                run.stops.append(item)
                continue
            try:
                self._workspace.commit_carried(item, snapshot.label_id, run, snapshot.kept)
            except MedSAMQError as error:  # the label was locked meanwhile
                self._on_failure(run, error)
                return
            if item.index not in drawn:
                run.masks.append(item)
        name = session.style(snapshot.label_id).name
        if found:
            self.carried.emit([item.index for item in found if isinstance(item, SliceMask)])
            self._say(report_progress(name, run.masks))
        else:
            try:
                edit = session.commit_nothing(
                    snapshot.axis,
                    snapshot.label_id,
                    run.left,
                    run,
                    snapshot.kept,
                    run.network_state,
                )
            except MedSAMQError as error:
                self._on_failure(run, error)
                return
            if edit is not None:
                places = np.unravel_index(edit.voxels, session.label.shape)
                run.emptied = np.unique(places[snapshot.axis]).size
            self._end(run, stopped=False)

    def _on_failure(self, run: _Run, error: BaseException) -> None:
        if run is not self._run:
            return
        self._end(run, stopped=True)
        if not isinstance(error, MedSAMQError):
            raise error
        self._fail(error)

    @contextmanager
    def keep_gaps_done(self, label_id: int) -> Iterator[None]:
        """Leave those gaps of a label done that were, whatever is done to it as a whole."""
        ours = [gap for gap in self._done if gap.label_id == label_id]
        before = self._known({gap.axis for gap in ours}, label_id)
        kept = [gap for gap in ours if self.is_done(gap, before[gap.axis])]
        yield
        now = self._known({gap.axis for gap in kept}, label_id)
        for gap in kept:
            # Slices that are known by now divide it.
            inside = [index for index in sorted(now[gap.axis]) if gap.low < index < gap.high]
            for low, high in pairwise([gap.low, *inside, gap.high]):
                self.note_done(replace(gap, low=low, high=high), now[gap.axis])

    def _known(self, axes: Iterable[int], label_id: int) -> dict[int, Collection[int]]:
        history = self._session.history
        return {axis: history.anchor_indices(axis, label_id) for axis in axes}

    def is_done(self, gap: LabelGap, known: Collection[int]) -> bool:
        """Tell whether a gap, with the known slices, is as it was when it was filled last."""
        return gap in self._done and self._done[gap] == self._key(gap, known)

    def note_done(
        self, gap: LabelGap, known: Collection[int], network_state: NetworkState | None = None
    ) -> None:
        """Take a gap for filled as it is, in the network's state of then, or that in hand."""
        self._done[gap] = self._key(gap, known, network_state)

    def _key(
        self, gap: LabelGap, known: Collection[int], network_state: NetworkState | None = None
    ) -> tuple[object, ...]:
        """Return what tells whether a gap, and the slices around it, are as they were.

        The network's state is that in which the gap was asked about; without it, the one in hand.
        """
        session = self._session
        planes = np.moveaxis(session.label, gap.axis, 0)
        return (
            network_state or session.network_state(),
            tuple(session.locked_against(gap.label_id)),
            tuple(session.history.boxes_3d(gap.axis, gap.label_id)),
            tuple(index for index in sorted(known) if gap.low <= index <= gap.high),
            mask_key(planes[max(gap.low, 0) : gap.high + 1] == gap.label_id),
        )

    def _end(self, run: _Run, *, stopped: bool) -> None:
        self._run = None
        axis, label_id = run.snapshot.axis, run.snapshot.label_id
        if not stopped:
            # Asked anew, as a slice may have been corrected meanwhile.
            known = self._session.history.anchor_indices(axis, label_id)
            for gap in run.gaps:
                self.note_done(LabelGap(axis, label_id, *gap), known, run.network_state)
        self._workspace.refresh()
        name = self._session.style(label_id).name
        self._say(
            report_carried(
                name,
                run.masks,
                run.stops,
                stopped=stopped,
                accepted=run.accepted,
                emptied=run.emptied,
                older=self._older(run),
            ),
            describe_masks(run.masks),
        )
        self.changed.emit()

    def _older(self, run: _Run) -> int:
        """Count the slices that were to be made anew, and have what they had before."""
        session, snapshot = self._session, run.snapshot
        drawn = snapshot.keep_drawn(session.history, run)
        planes = np.moveaxis(session.label, snapshot.axis, 0)
        return sum(bool((planes[n] == snapshot.label_id).any()) for n in run.left - drawn)


def _take(found: Iterator[Found]) -> list[Found]:
    """Take what comes within a while; nothing means that there is no more."""
    end, taken = perf_counter() + CHUNK_S, []
    for item in found:
        taken.append(item)
        if perf_counter() > end:
            break
    return taken
