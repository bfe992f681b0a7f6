"""`medsamq batch`: many images, one after the other or on many workers."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_medsamq.cli.common import Axis, Device, Modality, Model, chosen_model, say, user_errors
from napari_medsamq.cohort.cluster import Connection, check_connection
from napari_medsamq.cohort.results import EARLIER, move_case, opened, write_tables
from napari_medsamq.cohort.table import (
    CohortCase,
    Failure,
    TableDefaults,
    cases_of_journals,
    read_table,
)
from napari_medsamq.errors import CohortError
from napari_medsamq.geometry import PLANE_NAMES
from napari_medsamq.inference.backend import CPU
from napari_medsamq.inference.model_choice import shipped_models
from napari_medsamq.io.modality import modality_of

if TYPE_CHECKING:
    from napari_medsamq.cohort.case_runner import CaseOutcome

_TOLD = 20


def batch(
    output: Annotated[Path, typer.Option("-o", "--output", help="A folder for the results.")],
    table: Annotated[
        Path | None,
        typer.Argument(
            help="CSV with columns image, boxes (or box_file, journal), and as needed case, "
            "labels, axis, modality, window, model, series, volume, resample. Paths are relative "
            "to it."
        ),
    ] = None,
    from_journals: Annotated[
        Path | None,
        typer.Option(
            help="Replay the journals in this folder: those of the table's images, or all."
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes on this computer; one if not given.")
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="CPU threads of each worker; by default cores / workers."),
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="A Dask scheduler: tls://HOST:PORT, tcp://HOST:PORT.")
    ] = None,
    tls_ca: Annotated[Path | None, typer.Option(help="Certificate authority, PEM.")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="This client's certificate, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key, PEM.")] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Allow a scheduler elsewhere without TLS.")
    ] = False,
    axis: Annotated[Axis, typer.Option(help="Direction of 3D boxes.")] = Axis.axial,
    window: Annotated[str | None, typer.Option(help="As for segment.")] = None,
    modality: Annotated[
        Modality | None, typer.Option(help="What images are, where the table does not say.")
    ] = None,
    model: Model = None,
    device: Device = CPU,
    zoom: Annotated[bool, typer.Option(help="Show the network small structures enlarged.")] = True,
    order: Annotated[
        bool,
        typer.Option(
            "--order", help="Ask about masks once more: on the page, the least sure first."
        ),
    ] = False,
) -> None:
    """Segment the images of a table, and make statistics and a page of pictures to review.

    Cases that fail are listed at the end and in errors.csv; the others go on, and
    the exit status is 1. Run again, finished cases are skipped as long as the
    image, its line in the table, model and program are the same.
    """
    with user_errors():
        # Dask takes a while to import, which the other commands need not wait for.
        from napari_medsamq.cohort.scheduling import Job, run_cluster, run_here, run_local

        if scheduler is not None and workers is not None:
            raise CohortError("--workers are processes on this computer; a scheduler has its own.")
        if scheduler is None and (tls_ca or tls_cert or tls_key or insecure):
            raise CohortError("--tls-ca, --tls-cert, --tls-key and --insecure need --scheduler.")
        connection = None
        if scheduler is not None:
            connection = Connection(scheduler, tls_ca, tls_cert, tls_key, insecure)
            check_connection(connection)
        defaults = TableDefaults(
            axis=PLANE_NAMES.index(axis.value),
            modality=None if modality is None else modality_of(modality),
            window=window,
            model=_named(model),
            zoom=zoom,
            journals=None if from_journals is None else from_journals.absolute(),
        )
        cases, failures = _read(table, defaults)
        with opened(output) as token:
            job = Job(cases, output.absolute(), token, device, threads, order)
            run = partial(run_here, job)
            if connection is not None:
                run = partial(run_cluster, job, connection)
            elif workers is not None:
                run = partial(run_local, job, workers)
            outcomes = _run(cases, run)
            results: list[dict[str, Any]] = []
            for case in cases:
                outcome = outcomes[case.name]
                if outcome.error:
                    failures.append(Failure(case.name, case.line, str(case.image), outcome.error))
                else:
                    results.append(outcome.result)
            failures.sort(key=lambda failed: failed.line)
            # What is in the folder is what the tables tell.
            for failed in failures:
                move_case(failed.name, output, output / EARLIER)
            write_tables(output, results, failures)
        skipped = sum(outcome.skipped for outcome in outcomes.values())
        _tell(output, len(results), skipped, failures)
    if failures:
        raise typer.Exit(1)


def _read(table: Path | None, defaults: TableDefaults) -> tuple[list[CohortCase], list[Failure]]:
    folder = defaults.journals
    if folder is not None and not folder.is_dir():
        raise CohortError(f"There is no folder {folder} with journals.")
    if table is not None:
        return read_table(table, defaults)
    if folder is None:
        raise CohortError("Name a table of cases, or a folder of journals by --from-journals.")
    return cases_of_journals(folder)


def _named(model: str | None) -> str | None:
    """Return a model as it is found from everywhere."""
    found = chosen_model(model)
    # Those that come along lie elsewhere on other computers.
    return model if found is None or found in shipped_models() else str(found.absolute())


def _run(
    cases: list[CohortCase], run: Callable[[Callable[[CohortCase, CaseOutcome], None]], None]
) -> dict[str, CaseOutcome]:
    outcomes: dict[str, CaseOutcome] = {}
    with typer.progressbar(length=len(cases), label="Cases", file=sys.stderr) as bar:

        def on_done(case: CohortCase, outcome: CaseOutcome) -> None:
            outcomes[case.name] = outcome
            failed = sum(bool(one.error) for one in outcomes.values())
            bar.label = f"Cases, {failed} failed" if failed else "Cases"
            bar.update(1)

        if cases:
            run(on_done)
    return outcomes


def _tell(output: Path, done: int, skipped: int, failures: list[Failure]) -> None:
    before = f" ({skipped} of them in earlier runs)" if skipped else ""
    say(f"{done} case{'' if done == 1 else 's'} done{before}, {len(failures)} failed.")
    say(f"Labels, statistics.csv, errors.csv and gallery.html are in {output}.")
    wide = max((len(failed.name) for failed in failures), default=0)
    for failed in failures[:_TOLD]:
        where = f"line {failed.line:<5} {failed.name:<{wide}}"
        say(f"{where} {failed.error}", error=True)
    if len(failures) > _TOLD:
        say(f"... and {len(failures) - _TOLD} more in errors.csv", warning=True)
