"""Encodes the slices around the one in view before they are needed."""

from __future__ import annotations

from functools import partial

from qtpy.QtCore import QObject, QTimer, Signal

from napari_medsamq.annotation.session import Session
from napari_medsamq.errors import ModelError
from napari_medsamq.inference.embeddings import nearest_slices
from napari_medsamq.ui.worker import Worker

# Scrolling redraws the canvas, and both want the same cores.
_REST_MS = 40


class Prefetch(QObject):
    """Keeps the compute thread busy with slices near the view while nothing else is asked of it.

    Parameters
    ----------
    parent : QObject
    session : Session
    compute : Worker

    Attributes
    ----------
    paused : bool
        Set it while the mouse draws a box.
    """

    changed = Signal()  # another slice is ready, or others are wanted

    def __init__(self, parent: QObject, session: Session, compute: Worker) -> None:
        super().__init__(parent)
        self._session = session
        self._compute = compute
        self._axis = self._index = 0
        self._forwards = True
        self._running = False
        self.paused = False
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(_REST_MS)
        self._rest.timeout.connect(self._run)

    def look_at(self, axis: int, index: int) -> None:
        """Prefer the slices around one, and wait until the user rests there."""
        if axis == self._axis and index != self._index:
            self._forwards = index > self._index
        self._axis, self._index = axis, index
        self.wake()

    def wake(self) -> None:
        """Look again for what is to be encoded: window, model or embeddings have changed."""
        self.changed.emit()
        self._rest.start()

    def close(self) -> None:
        """Encode no more."""
        self._rest.stop()
        self.paused = True

    def _run(self) -> None:
        if self.paused or self._running or not self._compute.running:
            return
        if self._compute.busy:  # boxes come first
            self._rest.start()
            return
        axis, session = self._axis, self._session
        count, most = session.label.shape[axis], session.slices_kept
        predictor = session.predictor(axis)
        wanted = nearest_slices(self._index, count, self._forwards, most)
        index = next((one for one in wanted if not predictor.is_ready(one)), None)
        if index is None:
            self.changed.emit()  # boxes may have made slices ready, too
            return
        self._running = True
        self._compute.submit(
            partial(predictor.prepare, index, wanted),
            self._on_ready,
            self._on_failure,
        )

    def _on_ready(self, _: None) -> None:
        self._running = False
        self.changed.emit()
        if not self._rest.isActive():
            self._run()

    def _on_failure(self, error: BaseException) -> None:
        # A box on that slice will say so; there is no use in trying the others.
        self._running = False
        self.paused = True
        if not isinstance(error, ModelError):
            raise error
