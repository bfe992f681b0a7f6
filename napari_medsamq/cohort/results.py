"""The folder that a cohort's results are in, and its tables."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from filelock import BaseFileLock, FileLock, Timeout

from napari_medsamq import __version__
from napari_medsamq.analysis.statistics import LabelStatistics
from napari_medsamq.cohort.gallery import Card, page
from napari_medsamq.cohort.table import CohortCase, Failure
from napari_medsamq.errors import CohortError, SaveError
from napari_medsamq.io.files import (
    file_hash,
    provenance_path,
    write_json,
    write_table,
    write_whole,
)

LABELS, PICTURES, RESULTS = "labels", "gallery", "results"
# Where files of cases that have failed since are put, in folders of the same names.
EARLIER = "earlier"
_FOLDERS = (LABELS, PICTURES, RESULTS)
_MARK, _LOCK = "batch.json", ".lock"
FORMAT = 1


@contextmanager
def opened(output: Path) -> Iterator[str]:
    """Keep a folder for results for this program alone.

    Yields
    ------
    token : str
        By which other computers know that they see the same folder.

    Raises
    ------
    CohortError
        If the folder holds other things, or another batch is writing to it.
    SaveError
        If it cannot be written.
    """
    lock, token = _open(output)
    try:
        yield token
    finally:
        lock.release()


def _open(output: Path) -> tuple[BaseFileLock, str]:
    try:
        output.mkdir(parents=True, exist_ok=True)
        if not (output / _MARK).exists():
            other = next((path.name for path in output.iterdir() if path.name != _LOCK), None)
            # A kill may leave the mark half written.
            if other is not None and not other.startswith(f".{_MARK}."):
                raise CohortError(
                    f"{output} holds {other} and is not of an earlier batch. Name an empty folder."
                )
        lock = FileLock(output / _LOCK)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise CohortError(
            f"Another batch is writing to {output}. Wait for it, or name another folder."
        ) from error
    except OSError as error:
        raise _unwritable(output, error) from error
    token = uuid4().hex
    try:
        for name in _FOLDERS:
            (output / name).mkdir(exist_ok=True)
        _remove_parts(output)
        mark = {"format": FORMAT, "version": __version__, "token": token}
        write_json(output / _MARK, mark)
    except (OSError, SaveError) as error:
        lock.release()
        raise error if isinstance(error, SaveError) else _unwritable(output, error) from error
    return lock, token


def _unwritable(output: Path, error: OSError) -> SaveError:
    return SaveError(
        f"{output} cannot be written ({error.strerror or error}). Name another folder."
    )


def check_token(output: Path, token: str) -> None:
    """Check, on whichever computer, that a folder is the one that a batch was started for.

    Raises
    ------
    CohortError
        If it is not.
    """
    try:
        found = json.loads((output / _MARK).read_text(encoding="utf-8"))["token"]
    except (OSError, KeyError, TypeError, ValueError):
        found = None
    if found != token:
        raise CohortError(
            f"This worker does not see the batch's folder {output}. Workers need a file system "
            "that is shared with the computer that runs `medsamq batch`, under the same path."
        )


def paths_of(name: str) -> tuple[str, str, str]:
    """Return label, picture and result of a case of that name, relative to the folder."""
    return f"{LABELS}/{name}.nii.gz", f"{PICTURES}/{name}.jpg", f"{RESULTS}/{name}.json"


def move_case(name: str, here: Path, there: Path) -> None:
    """Move all files of a case from one folder for results to another.

    Raises
    ------
    SaveError
    """
    for path in _files_of(name, here):
        target = there / path.relative_to(here)
        try:
            if path.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                path.replace(target)
        except OSError as error:
            raise SaveError(
                f"{path}, which is of an earlier run, cannot be moved to {target} "
                f"({error.strerror or error}). Move it yourself."
            ) from error


def remove_case(name: str, folder: Path) -> None:
    """Remove all files of a case from a folder for results."""
    for path in _files_of(name, folder):
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _files_of(name: str, folder: Path) -> list[Path]:
    """Return where the files of a case lie in a folder for results, that of its result last."""
    label, picture, result = (folder / own for own in paths_of(name))
    return [provenance_path(label), label, picture, result]


def read_result(output: Path, case: CohortCase, key: str) -> dict[str, Any] | None:
    """Return the result of a case if it is that of a key and all of its files are as written."""
    try:
        found = json.loads((output / paths_of(case.name)[2]).read_text(encoding="utf-8"))
        if found["key"] != key or not found["files"]:
            return None
        whole = all(file_hash(output / name) == hashed for name, hashed in found["files"].items())
    except (OSError, AttributeError, KeyError, TypeError, ValueError):
        # Not there, or not ours: the case is run again, which replaces it.
        return None
    return dict(found) if whole else None


def write_tables(
    output: Path, results: Sequence[Mapping[str, Any]], failures: Sequence[Failure]
) -> None:
    """Write statistics.csv, errors.csv and gallery.html.

    Parameters
    ----------
    output : Path
    results : sequence of mapping
        As `cohort.run_case` gives them, in the order of the table.
    failures : sequence of Failure

    Raises
    ------
    SaveError
    """
    measures = LabelStatistics.columns()
    rows = [
        [result["case"], label_id, *(label[name] for name in ("name", *measures))]
        for result in results
        for label_id, label in result["report"]["labels"].items()
    ]
    write_table(output / "statistics.csv", ["case", "label", "name", *measures], rows)
    errors = [[failed.name, failed.line, failed.image, failed.error] for failed in failures]
    write_table(output / "errors.csv", ["case", "line", "image", "error"], errors)
    text = page(
        [_card_of(result) for result in results],
        [(failed.name, failed.error) for failed in failures],
    )
    write_whole(output / "gallery.html", text)


def _card_of(result: Mapping[str, Any]) -> Card:
    report = result["report"]
    label_file, picture = result["files"]
    return Card(
        name=result["case"],
        picture=picture,
        label_file=label_file,
        alt=result["alt"],
        labels=[
            (label["name"], label["color"], label["millilitres"])
            for label in report["labels"].values()
        ],
        seconds=result["seconds"],
        warnings=report["warnings"],
        confidence=report.get("confidence"),
    )


def _remove_parts(output: Path) -> None:
    # What a kill has left: nobody else writes here as long as the lock is held.
    for folder in (output, *(output / name for name in _FOLDERS)):
        for part in folder.glob(".*.part"):
            part.unlink(missing_ok=True)
