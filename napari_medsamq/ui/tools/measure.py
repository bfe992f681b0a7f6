"""Keeps the numbers of the labels up to date, in the background."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from qtpy.QtCore import QObject, QTimer

from napari_medsamq.analysis.statistics import LabelStatistics, measure_part
from napari_medsamq.annotation.history import LabelPart
from napari_medsamq.io.volume import Volume
from napari_medsamq.ui.forms.measure_form import BINS, NOTHING, Bars, MeasureForm
from napari_medsamq.ui.worker import Worker
from napari_medsamq.ui.workspace import Workspace

# Edits that follow each other at once are measured once.
_REST_MS = 20

Found = dict[int, tuple[LabelStatistics, Bars]]


class Measuring(QObject):
    """Measures the labels of a workspace whenever they change, and only those that have.

    Parameters
    ----------
    parent : QObject
    workspace : Workspace
    worker : Worker
        Not that of the network, which would let the numbers wait.
    form : MeasureForm
    axis : callable
        Returns the array axis normal to the plane in view.
    fail : callable
    """

    def __init__(
        self,
        parent: QObject,
        workspace: Workspace,
        worker: Worker,
        form: MeasureForm,
        axis: Callable[[], int],
        fail: Callable[[BaseException], None],
    ) -> None:
        super().__init__(parent)
        self._workspace = workspace
        self._worker = worker
        self._form = form
        self._axis = axis
        self._fail = fail
        self._running = self._stale = self._closed = False
        # What was found, and of which version of each label along which axis.
        self._found: Found = {}
        self._measured: dict[int, tuple[int, int]] = {}
        # What is shown may be another volume's.
        form.clear()
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(_REST_MS)
        self._rest.timeout.connect(self._run)
        workspace.changed.connect(self.wake)

    def close(self) -> None:
        """Measure no more."""
        self._rest.stop()
        self._closed = True
        self._workspace.changed.disconnect(self.wake)

    def wake(self) -> None:
        """Measure again: the labels, the label in hand or the plane have changed."""
        self._stale = True
        self._rest.start()

    def _run(self) -> None:
        if self._running or self._closed or not self._stale or not self._worker.running:
            return
        self._running, self._stale = True, False
        workspace, axis = self._workspace, self._axis()
        history = workspace.session.history
        wanted = {used: (history.version(used), axis) for used in history.voxel_counts}
        parts = {
            used: history.part(used)
            for used, key in wanted.items()
            if self._measured.get(used) != key
        }
        job = partial(_measure, workspace.session.volume, parts, axis)
        then = partial(self._on_found, workspace.label_id, wanted)
        self._worker.submit(job, then, self._on_failure)

    def _on_found(self, label_id: int, wanted: dict[int, tuple[int, int]], found: Found) -> None:
        self._running = False
        if self._closed:
            return
        both = self._found | found
        self._found = {used: both[used] for used in wanted if used in both}
        self._measured = {used: key for used, key in wanted.items() if used in self._found}
        session = self._workspace.session
        named = {used: (session.style(used).name, own) for used, (own, _) in self._found.items()}
        unit = "HU" if session.volume.hounsfield else "grey value"
        bars = self._found[label_id][1] if label_id in self._found else NOTHING
        self._form.show_statistics(named, label_id, unit, bars, session.style(label_id).color)
        self._run()

    def _on_failure(self, error: BaseException) -> None:
        self._running = False
        if not self._closed:
            self._fail(error)


def _measure(volume: Volume, parts: dict[int, LabelPart | None], axis: int) -> Found:
    found: Found = {}
    for used, part in parts.items():
        measured = None if part is None else measure_part(volume, part.place, part.mask, axis)
        # In the middle of a brush stroke there may be nothing left of a label.
        if measured is not None:
            statistics, intensities = measured
            found[used] = statistics, intensities.histogram(BINS)
    return found
