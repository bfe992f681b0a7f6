"""Runs the cases of a cohort on Dask: in this process, in several, or on a cluster."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Empty, Queue
from time import monotonic
from typing import TYPE_CHECKING, Any

from dask import config
from dask.base import compute
from dask.callbacks import Callback
from dask.delayed import delayed
from dask.system import CPU_COUNT

from napari_medsamq import __version__
from napari_medsamq.cohort.case_runner import CaseOutcome, CaseRunner, Task, describe_program
from napari_medsamq.cohort.cluster import (
    Connection,
    check_connection,
    check_reach,
    dask_distributed,
)
from napari_medsamq.cohort.results import check_token
from napari_medsamq.cohort.table import CohortCase
from napari_medsamq.errors import CohortError

if TYPE_CHECKING:
    from distributed import Client

# One case is read or saved while the network looks at the other.
_AT_ONCE = 2
_POLL_S = 5.0
_PAGES = "127.0.0.1:0"
_CONNECT_S = 30.0
# How long a cluster may be without workers; new ones take a while to start.
_PATIENCE_S = 120.0

OnDone = Callable[[CohortCase, CaseOutcome], None]


@dataclass(frozen=True)
class Job:
    """Cases, and how they are to be run.

    Attributes
    ----------
    cases : sequence of CohortCase
    output : Path
        Absolute.
    token : str
        As `cohort_files.opened` gives it.
    device : str
        OpenVINO device name.
    threads : int or None
        CPU threads of each worker; None shares the cores among them.
    checked : bool
        As in `Task`.
    """

    cases: Sequence[CohortCase]
    output: Path
    token: str
    device: str
    threads: int | None
    checked: bool = False

    def tasks(self, program: Mapping[str, Any]) -> list[Task]:
        """Return the tasks of all cases, for workers that have a program."""
        return [
            Task(case, self.output, self.token, program, self.device, self.threads, self.checked)
            for case in self.cases
        ]


def run_here(job: Job, on_done: OnDone) -> None:
    """Run cases in this process, two at a time.

    Parameters
    ----------
    job : Job
    on_done : callable
        Told, in this thread, what came of each case.
    """
    by_key, lazy, runner = {}, [], CaseRunner()
    for task in job.tasks(describe_program()):
        # Nothing in a task is to be looked for collections of Dask's.
        waiting = delayed(runner.run, pure=False)(delayed(task, traverse=False))
        by_key[waiting.key] = task.case
        lazy.append(waiting)

    def tell(key: Any, result: Any, *_: Any) -> None:
        if key in by_key:
            on_done(by_key[key], result)

    with Callback(posttask=tell):
        compute(*lazy, scheduler="threads", num_workers=_AT_ONCE, optimize_graph=False)


def run_local(job: Job, workers: int, on_done: OnDone) -> None:
    """Run cases in processes of this computer; the rest is as in `run_here`.

    Raises
    ------
    CohortError
        If they cannot be run.
    """
    distributed = dask_distributed()
    threads = job.threads or max(1, CPU_COUNT // workers)
    # A worker takes a case when it is free for it, so that one that dies takes no other along.
    with (
        config.set({"distributed.scheduler.worker-saturation": 1.0}),
        distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            # Dask serves pages about itself in any case: let nobody else reach them.
            dashboard_address=_PAGES,
            worker_dashboard_address=_PAGES,
            # By default Dask pauses workers at a part of the memory, for ever with a large volume.
            memory_limit=0,
            silence_logs=logging.CRITICAL,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        _run_on(client, replace(job, threads=threads), on_done)


def run_cluster(job: Job, connection: Connection, on_done: OnDone) -> None:
    """Run cases on the workers of a scheduler; the rest is as in `run_here`.

    Raises
    ------
    CohortError
        If it cannot be reached, may not be used, or its workers are not fit.
    """
    distributed = dask_distributed()
    security, address = check_connection(connection), connection.address
    # What ends a batch is told in a line; Dask would add pages of its own.
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
    try:
        client = distributed.Client(
            address, security=security, timeout=_CONNECT_S, set_as_default=False
        )
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        raise CohortError(
            f"The scheduler {address} cannot be reached ({error or type(error).__name__}). "
            "Start it with `dask scheduler`, and check address and certificates."
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=_CONNECT_S)
        except TimeoutError as error:
            raise CohortError(
                f"The scheduler {address} has no workers. Start some with `dask worker "
                f"{address} --nthreads 1 --nworkers N` on the machines that are to work."
            ) from error
        _check_workers(client, connection)
        _run_on(client, job, on_done)


def _check_workers(client: Client, connection: Connection) -> None:
    for worker in client.nthreads():
        check_reach(worker, connection)


def _run_on(client: Client, job: Job, on_done: OnDone) -> None:
    program = _agreed_program(client, job)
    tasks = job.tasks(program)
    keys = [f"medsamq-{job.token}-{task.case.name}" for task in tasks]
    cases = {key: task.case for key, task in zip(keys, tasks, strict=True)}
    finished: Queue[Any] = Queue()
    futures = client.map(run_on_worker, tasks, key=keys, pure=False)
    for future in futures:
        future.add_done_callback(finished.put)
    # From now on each is kept as long as it runs.
    waiting = {future.key: future for future in futures}
    futures.clear()
    seen = monotonic()
    while waiting:
        try:
            future = finished.get(timeout=_POLL_S)
        except Empty:
            seen = _check_alive(client, seen)
            continue
        seen = monotonic()
        outcome = _outcome_of(future)
        del waiting[future.key]
        on_done(cases[future.key], outcome)


def run_on_worker(task: Task) -> CaseOutcome:
    """Run a case on a worker of Dask's; by default with as many CPU threads as the worker has."""
    from distributed import get_worker  # not there where only one process is used

    worker = get_worker()
    runner: CaseRunner = vars(worker).setdefault("medsamq_runner", CaseRunner())
    return runner.run(replace(task, threads=task.threads or worker.state.nthreads))


def _agreed_program(client: Client, job: Job) -> dict[str, Any]:
    """Return the program that all workers have."""
    found = client.run(describe_program, on_error="return")
    for worker, program in found.items():
        if isinstance(program, BaseException):
            raise CohortError(
                f"The worker {worker} cannot run napari-medsamq ({program!r}). Install "
                f"napari-medsamq {__version__} and its models there."
            )
        if program["version"] != __version__:
            raise CohortError(
                f"The worker {worker} has napari-medsamq {program['version']}, this computer has "
                f"{__version__}. Install {__version__} there."
            )
    first, expected = next(iter(found.items()))
    for worker, program in found.items():
        other = [name for name in expected if program[name] != expected[name]]
        if other:
            differences = "; ".join(f"{name}: {program[name]}, {expected[name]}" for name in other)
            raise CohortError(
                f"The workers {worker} and {first} differ, so that their masks might "
                f"({differences}). Use one version of OpenVINO, and processors of one kind."
            )
    seen = client.run(check_token, job.output, job.token, on_error="return")
    for worker, answer in seen.items():
        if isinstance(answer, BaseException):
            raise CohortError(f"{worker}: {answer}")
    return dict(expected)


def _check_alive(client: Client, seen: float) -> float:
    """Return when workers were seen last."""
    try:
        if client.status == "running" and client.nthreads():
            return monotonic()
    except (OSError, TimeoutError):
        pass  # counts as not seen
    if client.status == "closed" or monotonic() - seen > _PATIENCE_S:
        raise _lost()
    return seen


def _outcome_of(future: Any) -> CaseOutcome:
    from distributed import CancelledError, KilledWorker

    try:
        outcome: CaseOutcome = future.result(timeout=_PATIENCE_S)
    except KilledWorker:
        return CaseOutcome(
            {},
            "Several workers died while they had this case. Their memory may be too small: run it "
            "again with fewer workers.",
        )
    except (CancelledError, OSError, TimeoutError) as error:
        raise _lost() from error
    except (ImportError, AttributeError, TypeError) as error:
        raise CohortError(
            f"A worker cannot run napari-medsamq {__version__} ({error!r}). Install it there."
        ) from error
    return outcome


def _lost() -> CohortError:
    return CohortError(
        "The scheduler or all of its workers are gone. Finished cases are kept: start them, and "
        "run the same command again."
    )
