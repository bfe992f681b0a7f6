"""One case of a cohort, from its line in the table to its files; whichever process runs it.

A case is done when its result is there, which is written after its label and its picture. It is
skipped in later runs as long as the image, what the table says of it, the model and the program
are the same, and its files are as they were written.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from threading import BoundedSemaphore, Lock
from typing import Any

import cv2
import numpy as np

from napari_medsamq import __version__
from napari_medsamq.annotation.session import AnnotationSession
from napari_medsamq.cohort.boxes import boxes_of
from napari_medsamq.cohort.gallery import thumbnail
from napari_medsamq.cohort.results import (
    EARLIER,
    FORMAT,
    check_token,
    move_case,
    paths_of,
    read_result,
    remove_case,
)
from napari_medsamq.cohort.table import CohortCase
from napari_medsamq.errors import CohortError, JournalError, MedSAMQError, VolumeError
from napari_medsamq.inference.backend import environment
from napari_medsamq.inference.confidence import slice_confidence
from napari_medsamq.inference.engine import Engines
from napari_medsamq.inference.model_choice import default_model, find_model
from napari_medsamq.inference.model_spec import ModelSpec
from napari_medsamq.inference.preprocess import WindowLevel, default_window
from napari_medsamq.io.files import file_hash, write_json, write_whole
from napari_medsamq.io.modality import MODALITIES
from napari_medsamq.io.readers import files_of
from napari_medsamq.io.volume import Volume, read_volume, volume_hash
from napari_medsamq.records.journal import journal_path
from napari_medsamq.workflows.labels import save
from napari_medsamq.workflows.open_session import open_session, with_known_modality
from napari_medsamq.workflows.replay import replay_journal
from napari_medsamq.workflows.segment import LabelReport, SegmentReport, segment_boxes

# A header and its data; of more files, only the reader knows which of them are meant.
_PAIR = 2
# Slices of a label that are asked about once more.
_CHECKED = 9


@dataclass(frozen=True)
class Task:
    """A case, and how it is run.

    Attributes
    ----------
    case : CohortCase
    output : Path
        The folder for results; absolute.
    token : str
        That the folder is known by; see `cohort_files.opened`.
    program : dict
        As `describe_program` gives it on all workers.
    device : str
        OpenVINO device name.
    threads : int or None
        CPU threads of the network; None takes one per physical core.
    checked : bool
        Whether masks of boxes are asked about once more, to see how sure they are.
    """

    case: CohortCase
    output: Path
    token: str
    program: Mapping[str, Any]
    device: str
    threads: int | None
    checked: bool = False


@dataclass(frozen=True)
class CaseOutcome:
    """What came of a case.

    Attributes
    ----------
    result : dict
        What JSON can hold; empty if it failed.
    error : str
        Why it failed; empty if it did not.
    skipped : bool
        Whether the result is that of an earlier run.
    """

    result: dict[str, Any]
    error: str = ""
    skipped: bool = False


def describe_program() -> dict[str, Any]:
    """Return what, besides the table, decides about masks here: versions, instructions, models."""
    models = {modality: _model_hash(default_model(modality)) for modality in MODALITIES}
    return {"version": __version__, **environment(), "models": models}


class CaseRunner:
    """Runs cases in this process, with models that they share; from several threads, too."""

    def __init__(self) -> None:
        # While the network looks at one case, another is read or saved; more would take memory
        # alone.
        self._room = BoundedSemaphore(2)
        self._lock = Lock()
        self._engines: dict[tuple[str | None, str, int | None], Engines] = {}

    def run(self, task: Task) -> CaseOutcome:
        """Segment a case, or replay its journal, unless that is done already.

        Raises
        ------
        CohortError
            If this process is not fit to run any case; what is wrong with one is in its outcome.
        """
        with self._room:
            try:
                return self._run(task)
            except CohortError:
                raise
            except MedSAMQError as error:
                return CaseOutcome({}, str(error))
            except MemoryError:
                return CaseOutcome({}, "This computer's memory is too small. Use fewer workers.")
            except Exception as error:  # noqa: BLE001 (one case must not end the others; it is reported)
                text = f"Unexpected {type(error).__name__}: {error}. Please report this."
                return CaseOutcome({}, text)

    def _run(self, task: Task) -> CaseOutcome:
        case, output = task.case, task.output
        check_token(output, task.token)
        check_program(task.program, describe_program())
        key = _key(task)
        earlier = read_result(output, case, key)
        if earlier is None and read_result(output / EARLIER, case, key) is not None:
            move_case(case.name, output / EARLIER, output)
            earlier = read_result(output, case, key)
        if earlier is not None and (not task.checked or "confidence" in earlier["report"]):
            # One of this very run was lost on its way: its worker ended before it told of it.
            ours = earlier.get("run") == task.token
            return CaseOutcome({**earlier, "case": case.name}, skipped=not ours)
        start = time.perf_counter()
        volume = _image(case)
        if case.modality is not None:
            volume = volume.with_modality(case.modality)
        # Out of the way as long as it is not known whether something new comes in its place.
        move_case(case.name, output, output / EARLIER)
        try:
            result = self._result(task, volume, key)
            result["seconds"] = time.perf_counter() - start
            write_json(output / paths_of(case.name)[2], result)
        except BaseException:
            remove_case(case.name, output)
            raise
        remove_case(case.name, output / EARLIER)
        return CaseOutcome(json.loads(json.dumps(result)))

    def _result(self, task: Task, volume: Volume, key: str) -> dict[str, Any]:
        """Write label and picture of a case, and return what is said of it."""
        case, output = task.case, task.output
        label_file, picture_file, _ = paths_of(case.name)
        report: LabelReport
        if case.journal is None:
            report, window = self._segment(task, volume, output / label_file)
        else:
            report, window = _replay(case, volume, output / label_file)
        model = report.model
        picture, alt = thumbnail(volume, model.label, window, model.styles, case.axis)
        write_whole(output / picture_file, picture)
        told = report.as_dict()
        if task.checked:
            boxed = report.session.annotation if isinstance(report, SegmentReport) else None
            told["confidence"] = None if boxed is None else _confidence(boxed)
        labels = {n: {**own, "color": model.style(n).color} for n, own in told["labels"].items()}
        # Results are told by paths within their folder, which may be moved.
        return {
            "format": FORMAT,
            "key": key,
            "run": task.token,
            "case": case.name,
            "files": {
                label_file: report.saved.receipt.sha256,
                picture_file: file_hash(output / picture_file),
            },
            "alt": alt,
            "report": {**told, "labels": labels, "label_file": label_file},
            "finished": time.time(),
        }

    def _segment(
        self, task: Task, volume: Volume, output: Path
    ) -> tuple[SegmentReport, WindowLevel]:
        case = task.case
        volume = with_known_modality(volume)
        boxes, names, notes = boxes_of(case, volume)
        engines = self._shared_engines(case.model, task.device, task.threads)
        session = open_session(
            volume, window=case.window, zoom=case.zoom, model=engines, device=task.device
        )
        report = segment_boxes(session, boxes, output, names=names)
        return replace(report, notes=(*report.notes, *notes)), session.window

    def _shared_engines(self, model: str | None, device: str, threads: int | None) -> Engines:
        """Return the engines that all cases of this process share."""
        with self._lock:
            wanted = model, device, threads
            if wanted not in self._engines:
                if threads is not None:
                    # Its pictures are small: more threads would take from other workers.
                    cv2.setNumThreads(threads)
                directory = None if model is None else find_model(model)
                self._engines[wanted] = Engines(directory, device, threads)
            return self._engines[wanted]


def _confidence(session: AnnotationSession) -> float:
    """Return the mean confidence in some slices of the label whose masks are the least sure."""
    found = []
    for label_id in session.history.voxel_counts:
        mask = session.label == label_id
        # Across the axis on which it lies on the fewest slices, as a mask of one slice does.
        axis = min(range(3), key=lambda own: mask.any(tuple({0, 1, 2} - {own})).sum())
        planes = np.moveaxis(mask, axis, 0)
        pixels = planes.sum((1, 2))
        used = np.flatnonzero(pixels)
        places = np.linspace(0, len(used) - 1, min(len(used), _CHECKED)).round().astype(int)
        predictor = session.predictor(axis)
        found.append(
            fmean(
                slice_confidence(
                    predictor.check_mask(index, planes[index]), pixels[index] / pixels.max(), None
                )
                for index in used[places].tolist()
            )
        )
    return min(found)


def check_program(expected: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Check that a worker's program is the one that the others have.

    Raises
    ------
    CohortError
        If it is not, so that its masks might differ.
    """
    other = [name for name in expected if found.get(name) != expected[name]]
    if other:
        differences = "; ".join(
            f"{name}: {found.get(name)}, not {expected[name]}" for name in other
        )
        raise CohortError(
            f"This worker is not like the others, so that its masks might differ ({differences}). "
            "Use workers with one version of napari-medsamq and OpenVINO, and processors of one "
            "kind."
        )


def _image(case: CohortCase) -> Volume:
    return read_volume(case.image, series=case.series, volume=case.volume, resample=case.resample)


def _replay(case: CohortCase, volume: Volume, output: Path) -> tuple[LabelReport, WindowLevel]:
    replayed = replay_journal(_journal(case, volume_hash(volume)), volume)
    saved = save(replayed.model, output, overwrite=True)
    report = LabelReport(replayed.model, saved, replayed.notes)
    return report, replayed.window or default_window(volume)


def _journal(case: CohortCase, key: str) -> Path:
    path = case.journal
    if path is None:
        raise ValueError("the case has no journal")
    if not path.is_dir():
        return path
    found = journal_path(path, key)
    if not found.exists():
        raise JournalError(f"{path} holds no journal of {case.image} ({found.name}).")
    return found


def _key(task: Task) -> str:
    """Return the hash of all that a result depends on."""
    case = task.case
    # What files hold counts, not where they lie.
    said = replace(case, name="", line=0, image=Path(), box_file=None, journal=None, model=None)
    content: dict[str, Any] = {
        **asdict(said),
        "format": FORMAT,
        "program": task.program,
        "device": task.device,
        "image": _content(case.image, case),
        "box_file": None if case.box_file is None else _content(case.box_file),
        "journal": None,
        "model": None if case.model is None else _model_hash(find_model(case.model)),
    }
    if case.journal is not None:
        path = case.journal
        if path.is_dir():
            path = _journal(case, volume_hash(_image(case)))
        content["journal"] = _content(path)
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _content(path: Path, image_of: CohortCase | None = None) -> Any:
    """Return the hashes of a file and of those with its voxels, or of all files in a folder."""
    try:
        if not path.is_dir():
            parts = files_of(path)
            if len(parts) > _PAIR:
                volume = read_volume(path) if image_of is None else _image(image_of)
                return [file_hash(path), volume_hash(volume)]
            return [file_hash(part) for part in parts]
        files = sorted(file for file in path.rglob("*") if file.is_file())
        return [[file.relative_to(path).as_posix(), file_hash(file)] for file in files]
    except OSError as error:
        raise VolumeError(
            f"{path}: cannot be opened ({error.strerror or error}). Check that it is there and may "
            "be read."
        ) from error


def _model_hash(directory: Path) -> dict[str, str]:
    return ModelSpec.read(directory).sha256
