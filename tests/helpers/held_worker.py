"""A worker whose jobs wait until a test lets them run, each in another thread."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any


class HeldWorker:
    """Takes the place of a `Worker`: a test decides what comes before, within and after a job."""

    def __init__(self) -> None:
        self.running = True
        self.waiting: list[tuple[Any, ...]] = []

    @property
    def busy(self) -> bool:
        return bool(self.waiting)

    def submit(
        self,
        job: Callable[[], Any],
        then: Callable[..., None],
        fail: Callable[..., None],
        gate: Any = None,
    ) -> None:
        self.waiting.append((job, then, fail, gate))

    def compute(self) -> Callable[[], None]:
        """Run the oldest job in a thread, and return what delivers its answer."""
        job, then, fail, gate = self.waiting.pop(0)
        with ThreadPoolExecutor(1, thread_name_prefix="held worker") as thread:
            done = thread.submit(job)
        error = done.exception()
        if error is not None:
            return partial(fail, error)
        answer = partial(then, done.result())
        return answer if gate is None else partial(gate.after_stroke, answer, self)

    def run(self) -> None:
        """Run the oldest job, and deliver its answer."""
        self.compute()()

    def run_all(self) -> None:
        """Run all jobs, those that come of answers too."""
        while self.waiting:
            self.run()
