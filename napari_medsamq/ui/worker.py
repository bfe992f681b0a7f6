"""One thread that computes, and the way of its answers back to the GUI thread."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from threading import RLock
from typing import Any, Protocol

from napari.utils.notifications import show_error
from qtpy.QtCore import QObject, Qt, Signal

from napari_medsamq.plain_text import unguessed

# How long a job of many steps goes on before it lets others in.
CHUNK_S = 0.06


class Gate(Protocol):
    """Holds back what changes the label, while a brush is at work on it say."""

    def after_stroke(self, action: Callable[[], None], worker: Worker) -> None:
        """Do something once it may be done, unless the worker has been stopped by then."""


class Worker(QObject):
    """Runs jobs one after the other in a thread of its own.

    Jobs return values and touch neither layers nor widgets; `then` gets the value, or `fail` the
    exception, in the thread that made the worker.

    Nor do jobs read what that thread writes, as it may be in the middle of writing. Whoever submits
    one hands over what it needs, as it is then:

    - of the label, a copy: `History.part`, a mask or slice by comparison, or all of it by
      `LabelSnapshot.of`;
    - of what was done, edits and prompts, whose arrays are never changed;
    - what the network is and sees: `AnnotationSession.predictor`;
    - which model is wanted: `Engines.directory`;
    - volumes, of which another modality is another object.

    What is left are words to stop early, `running` for one, which are set once.

    Parameters
    ----------
    name : str
        Of the thread.
    parent : QObject
        Deletes the worker, in its own thread; `stop` has to come before.

    Attributes
    ----------
    running : bool
        Until `stop`.
    """

    _done = Signal(object)

    def __init__(self, name: str, parent: QObject) -> None:
        # With a parent, as the job's thread may be the last to know the worker, and an object of
        # Qt's must not end there.
        super().__init__(parent)
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._open = 0
        self.running = True
        # No answer may be on its way through Qt while `stop` allows Qt to delete the worker.
        self._answering = RLock()
        # Queued even where a job is done before its callback is set, so that an answer never comes
        # in the middle of the asking.
        self._done.connect(self._deliver, Qt.ConnectionType.QueuedConnection)

    @property
    def busy(self) -> bool:
        """Whether a job waits or runs, or an answer has not been delivered."""
        return self._open > 0

    def submit(
        self,
        job: Callable[[], Any],
        then: Callable[[Any], None],
        fail: Callable[[BaseException], None],
        gate: Gate | None = None,
    ) -> None:
        """Queue a job; after `stop` it is forgotten.

        Parameters
        ----------
        job : callable
            Runs in the thread.
        then, fail : callable
            Given its value, or the exception.
        gate : Gate, optional
            To be passed before `then`, where that changes the label.
        """
        if not self.running:
            return
        self._open += 1
        future = self._executor.submit(job)
        future.add_done_callback(partial(self._answer, then, fail, gate))

    def stop(self, *, drop_waiting: bool) -> None:
        """Deliver no more answers; the thread ends when its jobs are done.

        Parameters
        ----------
        drop_waiting : bool
            Forget the jobs that have not begun; those of a thread that saves must not be.
        """
        with self._answering:
            self.running = False
        self._open = 0
        self._executor.shutdown(wait=False, cancel_futures=drop_waiting)

    def _answer(
        self,
        then: Callable[[Any], None],
        fail: Callable[[BaseException], None],
        gate: Gate | None,
        future: Future[Any],
    ) -> None:
        # In the worker's thread, or in whichever dropped the job.
        with self._answering:
            heard = self.running
            if heard:
                self._done.emit((then, fail, gate, future))
        if not heard and not future.cancelled() and future.exception() is not None:
            # Nobody is left to tell it to but napari itself.
            show_error(unguessed(str(future.exception())))

    def _deliver(self, answer: tuple[Any, ...]) -> None:
        if not self.running:
            return
        self._open -= 1
        then, fail, gate, future = answer
        error = future.exception()
        if error is not None:
            fail(error)
        elif gate is None:
            then(future.result())
        else:
            gate.after_stroke(partial(then, future.result()), self)
