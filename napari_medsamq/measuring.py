"""Keeps the numbers of the labels up to date, in the background."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import QObject, QTimer

from napari_medsamq.measure_form import MeasureForm
from napari_medsamq.session import Session
from napari_medsamq.statistics import LabelStatistics, intensities, measure
from napari_medsamq.worker import Worker
from napari_medsamq.workspace import Workspace

# Edits that follow each other at once are measured once.
_REST_MS = 20

Found = tuple[dict[int, LabelStatistics], npt.NDArray[np.generic]]


class Measuring(QObject):
    """Measures the labels of a workspace whenever they change.

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
        workspace = self._workspace
        # Counted here, as the history may be in the middle of an edit when the thread comes to it.
        ids = list(workspace.session.history.voxel_counts)
        job = partial(_measure, workspace.session, ids, workspace.label_id, self._axis())
        self._worker.submit(job, partial(self._on_found, workspace.label_id), self._on_failure)

    def _on_found(self, label_id: int, found: Found) -> None:
        self._running = False
        if self._closed:
            return
        session = self._workspace.session
        statistics, values = found
        named = {i: (session.style(i).name, own) for i, own in statistics.items()}
        unit = "HU" if session.volume.modality == "CT" else "grey value"
        color = session.style(label_id).color
        self._form.show_statistics(named, label_id, unit, values, color)
        self._run()

    def _on_failure(self, error: BaseException) -> None:
        self._running = False
        if not self._closed:
            self._fail(error)


def _measure(session: Session, ids: list[int], label_id: int, axis: int) -> Found:
    statistics: dict[int, LabelStatistics] = {}
    values: npt.NDArray[np.generic] = np.zeros(0)
    for used in ids:
        mask = session.label == used
        # The label may be edited meanwhile, and is measured once more then.
        if mask.any():
            statistics[used] = measure(session.volume, mask, axis)
            if used == label_id:
                values = intensities(session.volume, mask)
    return statistics, values
