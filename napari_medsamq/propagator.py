"""Carries a label through the volume while the window stays alive."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from time import perf_counter

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import QObject, Signal

from napari_medsamq.acceptance import kept_voxels, still_accepted
from napari_medsamq.errors import MedSAMQError
from napari_medsamq.propagation import Gap, Stop, gaps
from napari_medsamq.reports import report_carried, report_progress
from napari_medsamq.review import mask_key
from napari_medsamq.slice_network import SliceMask
from napari_medsamq.worker import Worker
from napari_medsamq.workspace import Workspace

# How long the compute thread goes on before it looks whether anything else is wanted.
_CHUNK_S = 0.06

Bool = npt.NDArray[np.bool_]
Found = SliceMask | Stop


@dataclass(eq=False)
class _Run:
    """A propagation on its way."""

    label_id: int
    axis: int
    gaps: list[Gap]
    found: Iterator[Found]
    kept: Bool  # what was accepted
    accepted: int  # slices of the label
    masks: list[SliceMask] = field(default_factory=list)
    stops: list[Stop] = field(default_factory=list)


class Propagator(QObject):
    """Runs one propagation at a time; each slice is in the label as soon as it is there.

    Parameters
    ----------
    parent : QObject
    workspace : Workspace
    compute : Worker
    say : callable
        Told in words how far it is, and what came of it.
    fail : callable
        Told why it cannot go on.
    """

    changed = Signal()  # it has begun or ended

    def __init__(
        self,
        parent: QObject,
        workspace: Workspace,
        compute: Worker,
        say: Callable[[str], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        super().__init__(parent)
        self._workspace = workspace
        self._compute = compute
        self._say = say
        self._fail = fail
        self._run: _Run | None = None
        # What each gap held when it was filled last, by axis, label and the slices around it.
        self._done: dict[tuple[int, ...], Hashable] = {}

    @property
    def active(self) -> bool:
        """Whether a propagation is on its way."""
        return self._run is not None

    def begin(self, axis: int, first: int, last: int) -> None:
        """Carry the label that is drawn for from its known slices to `first` and `last`.

        Known slices beyond `first` and `last` count as those next to them: a direction that is not
        wanted is cut off at the slices that are known. Gaps between slices that are known as they
        were at the last propagation are left as they are.
        """
        if self.active:
            return
        workspace, session = self._workspace, self._workspace.session
        label_id = workspace.label_id
        known = session.history.known_slices(axis, label_id)
        drawn = [index for index, mask in known.items() if mask.any()]
        if drawn:
            first, last = min(first, *drawn), max(last, *drawn)
        wanted = gaps(known, first, last) if drawn else []
        done = [gap for gap in wanted if self._is_done(known, axis, label_id, *gap)]
        if wanted and len(done) == len(wanted):
            self._say("Nothing has changed since the last propagation. Correct a slice first.")
            return
        label, accepted = session.label, session.history.accepted
        run = _Run(
            label_id,
            axis,
            wanted,
            session.carry(axis, known, first, last, done),
            kept_voxels(label, accepted, axis, label_id),
            sum(len(still_accepted(label, accepted, across, label_id)) for across in range(3)),
        )
        self._run = run
        asked = {"label": label_id, "axis": axis, "first": first, "last": last, "done": done}
        session.watch("carry", {**asked, "group": run})
        self.changed.emit()
        self._go_on(run)

    def stop(self) -> None:
        """Stop at once; what is there stays, and one undo takes it back."""
        if self._run is not None:
            self._end(self._run, stopped=True)

    def _go_on(self, run: _Run) -> None:
        self._compute.submit(
            partial(_take, run.found), partial(self._on_found, run), partial(self._on_failure, run)
        )

    def _on_found(self, run: _Run, found: list[Found]) -> None:
        if run is not self._run:
            return
        if found:
            self._go_on(run)  # the thread works on while the label is written
        for item in found:
            if isinstance(item, Stop):
                run.stops.append(item)
            else:
                run.masks.append(item)
                self._workspace.commit_carried(item, run.label_id, run, run.kept)
        name = self._workspace.session.style(run.label_id).name
        if found:
            self._say(report_progress(name, run.masks))
        else:
            self._end(run, stopped=False)

    def _on_failure(self, run: _Run, error: BaseException) -> None:
        if run is not self._run:
            return
        self._end(run, stopped=True)
        if not isinstance(error, MedSAMQError):
            raise error
        self._fail(error)

    @contextmanager
    def outlasting(self, label_id: int) -> Iterator[None]:
        """What is done to a label as a whole meanwhile leaves those gaps done that were."""
        axes = {place[0] for place in self._done if place[1] == label_id}
        kept = {
            axis: [gap for gap in self._gaps_done(axis, label_id) if self._is_done(known, *gap)]
            for axis, known in self._known(axes, label_id).items()
        }
        yield
        for axis, known in self._known(axes, label_id).items():
            for _, _, low, high in kept[axis]:
                # Slices that are known by now divide it.
                inside = [index for index in known if low < index < high]
                for part in pairwise([low, *inside, high]):
                    self._note_done(known, axis, label_id, *part)

    def _known(self, axes: Iterable[int], label_id: int) -> dict[int, Collection[int]]:
        history = self._workspace.session.history
        return {axis: history.known_slices(axis, label_id) for axis in axes}

    def _gaps_done(self, axis: int, label_id: int) -> list[tuple[int, ...]]:
        return [place for place in self._done if place[:2] == (axis, label_id)]

    def _is_done(self, known: Collection[int], *place: int) -> bool:
        return place in self._done and self._done[place] == self._key(known, *place)

    def _note_done(self, known: Collection[int], *place: int) -> None:
        self._done[place] = self._key(known, *place)

    def _key(
        self, known: Collection[int], axis: int, label_id: int, low: int, high: int
    ) -> Hashable:
        """Return what tells whether a gap, and the slices around it, are as they were."""
        session = self._workspace.session
        planes = np.moveaxis(session.label, axis, 0)
        return (
            (session.engine, session.window, session.zoom, session.carry_prompt),
            tuple(session.locked_against(label_id)),
            tuple(index for index in known if low <= index <= high),
            mask_key(planes[max(low, 0) : high + 1] == label_id),
        )

    def _end(self, run: _Run, *, stopped: bool) -> None:
        self._run = None
        if not stopped:
            # Asked anew, as a slice may have been corrected meanwhile.
            known = self._workspace.session.history.known_slices(run.axis, run.label_id)
            for gap in run.gaps:
                self._note_done(known, run.axis, run.label_id, *gap)
        self._workspace.refresh()
        name = self._workspace.session.style(run.label_id).name
        self._say(
            report_carried(name, run.masks, run.stops, stopped=stopped, accepted=run.accepted)
        )
        self.changed.emit()


def _take(found: Iterator[Found]) -> list[Found]:
    """Take what comes within a while; nothing means that there is no more."""
    end, taken = perf_counter() + _CHUNK_S, []
    for item in found:
        taken.append(item)
        if perf_counter() > end:
            break
    return taken
