"""Keeps the numbers of the labels up to date, in the background."""

from __future__ import annotations

from functools import partial

from napari_medsamq.analysis.statistics import LabelStatistics, measure_part
from napari_medsamq.annotation.acceptance import all_accepted
from napari_medsamq.annotation.history import LabelPart
from napari_medsamq.io.volume import Volume
from napari_medsamq.ui.forms.measure_form import BINS, NOTHING, Bars
from napari_medsamq.ui.tools.tool import BackgroundTool, Job, Then, ToolContext

# Edits that follow each other at once are measured once.
_REST_MS = 20

Found = dict[int, tuple[LabelStatistics, Bars]]


class MeasureTool(BackgroundTool):
    """Measures the labels of a workspace whenever they change, and only those that have.

    Not in the network's thread, which would let the numbers wait.

    Parameters
    ----------
    context : ToolContext
    """

    def __init__(self, context: ToolContext) -> None:
        super().__init__(context, context.files, _REST_MS)
        self._form = self._dock.measure
        self._stale = False
        # What was found, and of which version of each label along which axis.
        self._found: Found = {}
        self._measured: dict[int, tuple[int, int]] = {}
        # What is shown may be another volume's.
        self._form.clear()
        self.follow(self.refresh, self._workspace.changed, self._view.plane_changed)
        self.follow(self._say, self._form.said)
        self.refresh()

    def refresh(self) -> None:
        """Measure again: the labels, the label in hand or the plane have changed."""
        self._stale = True
        super().refresh()

    def _next_job(self) -> tuple[Job, Then] | None:
        if not self._stale:
            return None
        self._stale = False
        axis, history = self._view.axis, self._session.history
        wanted = {used: (history.version(used), axis) for used in history.voxel_counts}
        parts = {
            used: history.part(used)
            for used, key in wanted.items()
            if self._measured.get(used) != key
        }
        job = partial(_measure, self._session.volume, parts, axis)
        return job, partial(self._on_found, self._workspace.label_id, wanted)

    def _on_found(self, label_id: int, wanted: dict[int, tuple[int, int]], found: Found) -> None:
        both = self._found | found
        self._found = {used: both[used] for used in wanted if used in both}
        self._measured = {used: key for used, key in wanted.items() if used in self._found}
        session = self._session
        named = {used: (session.style(used).name, own) for used, (own, _) in self._found.items()}
        unit = "HU" if session.volume.hounsfield else "grey value"
        bars = self._found[label_id][1] if label_id in self._found else NOTHING
        history = session.history
        # It is said beside the change since a prior scan.
        accepted = not self._workspace.prior or all_accepted(
            history.label, history.accepted, label_id
        )
        color = session.style(label_id).color
        self._form.show_statistics(named, label_id, unit, bars, color, accepted=accepted)


def _measure(volume: Volume, parts: dict[int, LabelPart | None], axis: int) -> Found:
    found: Found = {}
    for used, part in parts.items():
        measured = None if part is None else measure_part(volume, part.place, part.mask, axis)
        # In the middle of a brush stroke there may be nothing left of a label.
        if measured is not None:
            statistics, intensities = measured
            found[used] = statistics, intensities.histogram(BINS)
    return found
