"""A case is run where the batch's folder is seen, and again when what it depends on changes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cohorts import BOX, make_image, names_of
from scripted_engine import ScriptedEngine, load_instead

from napari_medsamq.cohort import case_runner
from napari_medsamq.cohort.case_runner import CaseRunner, Task, describe_program
from napari_medsamq.cohort.results import opened
from napari_medsamq.cohort.table import CohortCase
from napari_medsamq.errors import CohortError


@pytest.fixture(autouse=True)
def engine(monkeypatch: pytest.MonkeyPatch) -> ScriptedEngine:
    held = ScriptedEngine()
    load_instead(monkeypatch, held)
    return held


@pytest.fixture
def task(tmp_path: Path) -> Iterator[Task]:
    """A case of an open folder, that has not been run."""
    image = make_image(tmp_path / "image.nii.gz")
    case = CohortCase(
        "one",
        2,
        image,
        boxes=(BOX,),
        labels=((1, "Liver"),),
        modality="CT",
        window="100,200",
    )
    with opened(tmp_path / "out") as token:
        yield Task(case, tmp_path / "out", token, describe_program(), "CPU", 1)


def test_a_worker_that_sees_another_folder_writes_nothing(task: Task) -> None:
    with pytest.raises(CohortError, match="does not see the batch's folder"):
        CaseRunner().run(replace(task, token="that of another batch"))
    assert names_of(task.output) == set()
    # Nor where one lies there that is none of this program's.
    (task.output / "batch.json").write_text("{}")
    with pytest.raises(CohortError, match="does not see the batch's folder"):
        CaseRunner().run(task)
    assert names_of(task.output) == set()


@pytest.mark.parametrize("key", ["version", "openvino", "instructions", "models"])
def test_a_worker_of_another_program_writes_nothing(task: Task, key: str) -> None:
    assert key in task.program
    with pytest.raises(CohortError, match=rf"not like the others.*{key}: "):
        CaseRunner().run(replace(task, program={**task.program, key: "another"}))
    assert names_of(task.output) == set()


CHANGES: dict[str, dict[str, Any]] = {
    "boxes": {"boxes": ("2,5,3,8,12,6",)},
    "label": {"labels": ((2, "Liver"),)},
    "name": {"labels": ((1, "Spleen"),)},
    "axis": {"axis": 1},
    "modality": {"modality": "MR"},
    "window": {"window": "100,210"},
    "model": {"model": "litemedsam-float"},
    "volume": {"volume": 1},
    "series": {"series": "1.2.3"},
    "resample": {"resample": True},
    "zoom": {"zoom": False},
}


@pytest.fixture
def done(task: Task, engine: ScriptedEngine) -> Task:
    """The same, that has been run."""
    assert CaseRunner().run(task).error == ""
    engine.images.clear()
    return task


def runs_again(task: Task, engine: ScriptedEngine) -> bool:
    """Tell whether the network is asked, or why not is told: the old result is not given."""
    found = CaseRunner().run(task)
    return bool(engine.images) or bool(found.error)


def test_masks_are_asked_about_once_more_only_where_that_is_wanted(
    done: Task, engine: ScriptedEngine
) -> None:
    checked = replace(done, checked=True)
    assert runs_again(checked, engine)
    found = CaseRunner().run(checked)
    assert found.result["report"]["confidence"] == pytest.approx(0.9 * (1 - 0.5 * 0.25))
    engine.images.clear()
    assert not runs_again(done, engine)
    assert not runs_again(checked, engine)


@pytest.mark.parametrize("change", CHANGES)
def test_a_case_is_run_again_when_its_line_says_something_else(
    done: Task, engine: ScriptedEngine, change: str
) -> None:
    assert not runs_again(done, engine)
    assert runs_again(replace(done, case=replace(done.case, **CHANGES[change])), engine)


def test_a_result_of_one_device_is_not_that_of_another(done: Task, engine: ScriptedEngine) -> None:
    assert runs_again(replace(done, device="GPU"), engine)
    engine.images.clear()
    assert not runs_again(replace(done, device="GPU"), engine)
    assert runs_again(done, engine)


def test_a_result_of_another_program_is_none(
    done: Task, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = {**done.program, "version": "99"}
    monkeypatch.setattr(case_runner, "describe_program", lambda: newer)
    assert runs_again(replace(done, program=newer), engine)


def test_where_an_image_lies_and_on_how_many_threads_make_no_difference(
    done: Task, engine: ScriptedEngine, tmp_path: Path
) -> None:
    moved = done.case.image.rename(tmp_path / "moved.nii.gz")
    case = replace(done.case, image=moved, line=7)
    assert not runs_again(replace(done, case=case, threads=2), engine)
    make_image(moved, 99)
    assert runs_again(replace(done, case=case), engine)


def test_what_a_box_file_holds_counts(done: Task, engine: ScriptedEngine, tmp_path: Path) -> None:
    file = tmp_path / "boxes.json"
    task = replace(done, case=replace(done.case, boxes=(), box_file=file))
    for last, again in ((7, True), (7, False), (6, True)):
        corners = [int(index) for index in BOX.split(",")][:-1]
        file.write_text(json.dumps({"boxes": [{"box": [*corners, last], "label": 1}]}))
        engine.images.clear()
        assert runs_again(task, engine) == again
