"""Makes many cases with several processes: what is done is kept, what fails is reported."""

from __future__ import annotations

import hashlib
import io
import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from napari_medsamq.errors import MedSAMQError
from training.data.convert import Limits, convert_pair
from training.data.pairing import ScanPair
from training.errors import DataError
from training.files import path_sha256, write_file

MANIFEST = "manifest.jsonl"
# Of the preprocessing: another number makes all cases again.
VERSION = 1

_DIED = "its process died, most likely for lack of memory. Run again with --workers 1."

_LIMITS = Limits()

Record = dict[str, Any]


def prepare_cases(
    pairs: Sequence[ScanPair],
    out: Path,
    *,
    limits: Limits = _LIMITS,
    workers: int = 1,
    report: Callable[[Record], None] = lambda record: None,
) -> list[Record]:
    """Make the cases of pairs, several at a time; what is done already is kept.

    Parameters
    ----------
    pairs : sequence of ScanPair
    out : Path
        Gets <modality>/<data set>/<case>.npz, and a line of JSON for each in `manifest.jsonl`.
    limits : Limits
    workers : int
        Processes.
    report : callable
        Told of each case when it is done.

    Returns
    -------
    records : list of dict
        As in the manifest, in the order of the pairs: `case`, `status` ("done", "kept" or
        "failed"), `reason` of a failure, `made_from` and `sha256` of what went in and came out.

    Raises
    ------
    OSError, SaveError
        If the manifest cannot be written. A bad case is a record, not an error.
    """
    out.mkdir(parents=True, exist_ok=True)
    known = _read_manifest(out)
    made: dict[str, Record] = {}
    with (out / MANIFEST).open("a", encoding="utf-8") as manifest:
        for record in _run(pairs, out, limits, known, workers):
            made[record["case"]] = record
            if record["status"] != "kept":
                manifest.write(json.dumps(record) + "\n")
                manifest.flush()
            report(record)
    for case, record in made.items():
        known[case] = {**record, "status": "done"} if record["status"] == "kept" else record
    text = "".join(json.dumps(known[case]) + "\n" for case in sorted(known))
    write_file(out / MANIFEST, text)
    return [made[pair.target.as_posix()] for pair in pairs]


def prepare_pair(pair: ScanPair, out: Path, limits: Limits, known: Record | None) -> Record:
    """Make one case, unless it was made of the same files in the same way before.

    Parameters
    ----------
    pair : ScanPair
    out : Path
    limits : Limits
    known : dict, optional
        The case's record in the manifest.
    """
    try:
        return _prepare(pair, out / pair.target, limits, known)
    except (MedSAMQError, MemoryError) as error:
        return _failure(pair, known, str(error) or "not enough memory; use fewer --workers.")
    except OSError as error:
        return _failure(
            pair, known, f"{error}. Check the free space and that you may use the file."
        )


def _prepare(pair: ScanPair, target: Path, limits: Limits, known: Record | None) -> Record:
    made_from = {
        "version": VERSION,
        "image": pair.image.name,
        "image_sha256": path_sha256(pair.image),
        "label": pair.label.name,
        "label_sha256": path_sha256(pair.label),
        "modality": pair.modality,
        "window": pair.window and [pair.window.level, pair.window.width],
        "components": "all" if pair.components.every else list(pair.components.ids),
        **asdict(limits),
    }
    there = path_sha256(target) if target.exists() else None
    if known and there and known.get("sha256") == there and known.get("made_from") == made_from:
        return {**known, "status": "kept", "reason": None}
    content = io.BytesIO()
    arrays: dict[str, Any] = {**convert_pair(pair, limits)}
    np.savez_compressed(content, **arrays)
    sha256 = hashlib.sha256(content.getbuffer()).hexdigest()
    if there not in (None, sha256, (known or {}).get("sha256")):
        raise DataError(
            f"{target}: is there already and was not made by this command, or was altered since. "
            "Move it away, or give another folder."
        )
    write_file(target, content.getvalue())
    return {
        "case": pair.target.as_posix(),
        "status": "done",
        "reason": None,
        "made_from": made_from,
        "sha256": sha256,
        "shape": list(arrays["imgs"].shape),
        "objects": len(arrays["boxes"]),
    }


def _run(
    pairs: Sequence[ScanPair], out: Path, limits: Limits, known: dict[str, Record], workers: int
) -> Iterator[Record]:
    """Yield records as they come; a process that dies takes its own case with it at most."""
    waiting = deque((pair, known.get(pair.target.as_posix())) for pair in pairs)
    while waiting:
        running: dict[Future[Record], tuple[ScanPair, Record | None]] = {}
        # Fresh processes: those forked from one that has threads can hang.
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            try:
                while waiting or running:
                    while waiting and len(running) < workers:
                        pair, old = waiting[0]
                        running[pool.submit(prepare_pair, pair, out, limits, old)] = pair, old
                        waiting.popleft()
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        record = _outcome(future, *running[future])
                        del running[future]
                        yield record
            except BrokenProcessPool:
                for pair, old in running.values():
                    yield _failure(pair, old, _DIED)


def _outcome(future: Future[Record], pair: ScanPair, known: Record | None) -> Record:
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, BrokenProcessPool):
        raise error
    return _failure(pair, known, f"{pair.image}: an error of this program ({error!r}). Report it.")


def _failure(pair: ScanPair, known: Record | None, reason: str) -> Record:
    # What an earlier run made is still there, and still ours to replace.
    return {
        **(known or {}),
        "case": pair.target.as_posix(),
        "status": "failed",
        "reason": reason,
    }


def _read_manifest(out: Path) -> dict[str, Record]:
    path = out / MANIFEST
    known = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            # A run was stopped while it wrote this line; the case is made again.
            continue
        known[record["case"]] = record
    return known
