"""A network learns from finished work alone, and is kept only where it is better."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from scripted_engine import ScriptedEngine
from typer import Typer
from typer.testing import CliRunner, Result

pytest.importorskip("torch")
pytest.importorskip("brevitas")
pytest.importorskip("tensorboard")

import torch
from small_run import KEYS, small_network, write_cases

from napari_medsamq.annotation.acceptance import mask_key
from napari_medsamq.annotation.session import AnnotationSession
from napari_medsamq.inference.model_choice import FAST_MODEL, MODELS
from napari_medsamq.inference.model_spec import ModelSpec
from napari_medsamq.inference.preprocess import IDENTITY
from napari_medsamq.io.volume import Volume, read_volume, volume_from_slices, volume_hash
from napari_medsamq.prompts import BoxPrompt
from napari_medsamq.records.journal import Journal, journal_path
from napari_medsamq.records.provenance import LabelSnapshot, save_with_provenance
from napari_medsamq.records.recording import Recorder
from training import adapt as command
from training.adaptation import adaptation, benchmark, judgement, personal_model
from training.adaptation.adaptation import Outcome, adapt, deal, prepare
from training.adaptation.benchmark import Row, divide, patients_of, table
from training.adaptation.finished_work import FinishedLabel, gather, read_journals, read_saved
from training.adaptation.judgement import Judgement, judge
from training.adaptation.personal_model import Teaching
from training.checkpoints.network_file import StoredNetwork
from training.config import load_config
from training.data.cases import NpzCase, find_cases, read_case
from training.errors import ConfigError, DataError
from training.evaluation.model_run import Evaluation, ModelMode
from training.evaluation.protocol import Target
from training.evaluation.score_summary import Score
from training.learning.config import TrainConfig
from training.learning.losses import batch_losses
from training.learning.processes import Processes
from training.learning.run_folder import RunFolder
from training.learning.training_run import train

ALONE = Processes(0, 1, torch.device("cpu"))
BASE = MODELS / FAST_MODEL
BETTER = Judgement(3, 9, 0.8, 0.9, [0.05, 0.15])
WORSE = Judgement(3, 9, 0.8, 0.81, [-0.01, 0.03])


def named(*names: str) -> list[NpzCase]:
    return [NpzCase(Path(f"{name}.npz"), "CT", "CT/A", name) for name in names]


# -- what teaches ----------------------------------------------------------------------------------


@pytest.fixture
def image(tmp_path: Path) -> Volume:
    array = np.full((6, 40, 50), 10, np.uint8)
    array[:, 10:30, 10:30] = 200
    path = tmp_path / "scans/case.npz"
    path.parent.mkdir()
    np.savez(path, imgs=array, spacing=np.array([1.0, 1, 3]))
    return read_volume(path).with_modality("CT")


def segmented(image: Volume) -> AnnotationSession:
    session = AnnotationSession(image, ScriptedEngine(), IDENTITY)
    for index in (1, 2, 3):
        box = BoxPrompt(0, index, 10, 10, 29, 29)
        session.commit(box, list(session.segment(box)), 1)
    return session


def test_of_a_journal_the_accepted_slices_teach(image: Volume, tmp_path: Path) -> None:
    folder, key = tmp_path / "journals", volume_hash(image)
    session = AnnotationSession(image, ScriptedEngine(), IDENTITY)
    journal = Journal(journal_path(folder, key), image, key, None, pytest.fail)
    recorder = Recorder(session, journal, None)
    for index in (1, 2, 3):
        box = BoxPrompt(0, index, 10, 10, 29, 29)
        session.commit(box, list(session.segment(box)), 1)
    masks = {index: mask_key(session.label[index] == 1) for index in (1, 2)}
    session.accept(0, 1, masks)
    session.history.change("x", np.array([2 * 40 * 50 + 15 * 50 + 15]), np.zeros(1, np.uint16), ())
    recorder.close()
    (found,) = read_journals(folder)
    assert isinstance(found, FinishedLabel)
    assert found.indices.tolist() == [1], "what was changed after it was accepted is left out"
    assert (found.modality, found.spacing.tolist()) == ("CT", [3, 1, 1])
    kind, (case,), notes = gather([found], None, tmp_path / "cases")
    assert (kind, notes) == ("CT", [])
    content = read_case(case)
    np.testing.assert_array_equal(content.label[0], session.label[1])
    np.testing.assert_array_equal(content.image[0], image.data[1])


def test_a_label_teaches_as_it_was_saved_last(image: Volume, tmp_path: Path) -> None:
    saved = save_with_provenance(
        tmp_path / "scans/label.nii.gz", LabelSnapshot.of(segmented(image))
    )
    (found,) = read_saved([tmp_path / "scans"], tmp_path / "none")
    assert isinstance(found, FinishedLabel)
    assert found.indices.tolist() == [1, 2, 3]
    path = saved.receipt.path
    path.write_bytes(path.read_bytes() + b" ")
    (said,) = read_saved([tmp_path / "scans"], tmp_path / "none")
    assert "changed by another program" in str(said)
    with pytest.raises(DataError, match="no label"):
        list(read_saved([tmp_path / "none"], tmp_path / "none"))


def test_voxels_of_unknown_origin_do_not_teach(image: Volume, tmp_path: Path) -> None:
    session = segmented(image)
    session.label[4, 5:9, 5:9] = 1
    save_with_provenance(tmp_path / "scans/label.nii.gz", LabelSnapshot.of(session))
    (said,) = read_saved([tmp_path / "scans"], tmp_path / "none")
    assert "does not know" in str(said)


def finished(name: str, mask: slice, modality: str = "CT", image: str = "") -> FinishedLabel:
    volume = volume_from_slices(np.eye(20, dtype=np.int16)[None], (1, 1, 1), name)
    label = np.zeros((1, 20, 20), np.uint16)
    label[0, mask, 4:9] = 1
    volume = replace(volume, modality=modality)
    return FinishedLabel.of(volume, image or name, IDENTITY, label, 0)


def test_images_of_another_kind_and_contradictions_are_told(tmp_path: Path) -> None:
    ct, mr = finished("a", slice(2, 8)), finished("b", slice(2, 8), "MR")
    with pytest.raises(DataError, match="several kinds"):
        gather([ct, mr], None, tmp_path)
    kind, cases, notes = gather([ct, mr, "said"], "MR", tmp_path)
    assert (kind, len(cases)) == ("MR", 1)
    assert notes[0] == "said"
    assert "another kind, CT" in notes[1]
    twice = finished("c", slice(2, 9), image="a")
    assert len(gather([ct, twice], None, tmp_path)[1]) == 1
    with pytest.raises(DataError, match="contradict"):
        gather([ct, finished("c", slice(6, 14), image="a")], None, tmp_path)


def test_too_few_cases_and_a_full_disk_are_told_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = find_cases(write_cases(tmp_path / "cases"))
    own, teaching = {case.name: [case] for case in cases}, Teaching(BASE, ALONE)
    with pytest.raises(DataError, match="too few"):
        deal(dict(list(own.items())[:3]))
    full = adaptation.shutil.disk_usage(tmp_path)._replace(free=10**8)
    monkeypatch.setattr(adaptation.shutil, "disk_usage", lambda _: full)
    with pytest.raises(DataError, match="are free"):
        prepare(tmp_path / "work", own, "CT", teaching)
    assert list((tmp_path / "work").iterdir()) == []


# -- what is kept ----------------------------------------------------------------------------------


def begin(tmp_path: Path, *keys: str) -> tuple[Path, Teaching]:
    cases = find_cases(write_cases(tmp_path / "cases"))
    teaching, work = Teaching(BASE, ALONE, overrides=keys), tmp_path / "work"
    prepare(work, {case.name: [case] for case in cases}, "CT", teaching)
    return work, teaching


def test_no_patient_is_in_two_parts() -> None:
    patients = {str(n): named(*(f"{n}-{k}" for k in range(n))) for n in range(1, 9)}
    parts = [{case.name for case in part} for part in deal(patients)]
    assert sum(map(len, parts)) == len(parts[0] | parts[1]) == 36
    assert abs(len(parts[0]) - len(parts[1])) <= 1
    first, second = ({name.split("-")[0] for name in part} for part in parts)
    assert not first & second


@pytest.mark.parametrize("judged", [BETTER, WORSE])
def test_a_model_is_kept_only_where_cases_that_did_not_teach_are_better(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, judged: Judgement
) -> None:
    taught_by: list[set[str]] = []
    write = adaptation.write_personal

    def teach(cases: list[Path], run: Path, _: Teaching) -> StoredNetwork:
        run.mkdir(parents=True)
        own = [case for folder in cases for case in find_cases(folder)]
        taught_by.append({case.name for case in own})
        return small_network(one_look=True)

    def write_own(out: Path, base: Path, network: StoredNetwork) -> None:
        if out.name == "mine":
            write(out, base, network)
        else:
            out.mkdir(parents=True)

    def judge_all(before: Path, models: dict[Path, Path], limit: int) -> Judgement:
        own = [{case.name for case in find_cases(cases)} for cases in models]
        assert set().union(*own) == set("012345")
        for part, taught in zip(own, taught_by, strict=True):
            assert not part & taught, "it has seen what it is judged on"
        assert (before, limit) == (BASE, 60)
        return judged

    monkeypatch.setattr(personal_model, "_SAMPLES", ("mr.nrrd",))
    monkeypatch.setattr(adaptation, "teach", teach)
    monkeypatch.setattr(adaptation, "write_personal", write_own)
    monkeypatch.setattr(adaptation, "load_pair", lambda *_: {})
    monkeypatch.setattr(adaptation, "judge", judge_all)
    monkeypatch.setattr(adaptation, "kept_alike", lambda *_: 0.99)
    work, teaching = begin(tmp_path)
    outcome = adapt(work, teaching, tmp_path / "mine")
    assert outcome is not None
    assert outcome.kept == (judged is BETTER) == (tmp_path / "mine").exists()
    if not outcome.kept:
        assert len(taught_by) == 2, "nothing is taught that would not be kept"
        return
    assert taught_by[2] == {*"012345", "sample-MR"}
    spec = ModelSpec.read(tmp_path / "mine")
    spec.verify(tmp_path / "mine")
    shipped = ModelSpec.read(BASE)
    same = {name for name, sha in spec.sha256.items() if shipped.sha256[name] == sha}
    assert same == {"encoder.xml", "encoder.bin", "carrier.xml", "carrier.bin"}
    assert spec.provenance["carrier"] == shipped.provenance["carrier"]
    assert "+0.100 (+0.050 to +0.150)" in (tmp_path / "mine/README.md").read_text()


@pytest.mark.parametrize(("gains", "better"), [((0.1, 0.02), True), ((0.2, -0.1), False)])
def test_the_interval_is_over_the_cases_of_all_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gains: tuple[float, float], better: bool
) -> None:
    gain = {tmp_path / "0": gains[0], tmp_path / "1": gains[1]}

    def score(cases: Path, engines: object, modes: list[ModelMode], *_: object) -> Evaluation:
        found: dict[ModelMode, list[Score]] = {}
        for mode, more in zip(modes, (0.0, gain[cases]), strict=True):
            found[mode] = [
                Score(Target(case, 1, BoxPrompt(0, 0, 1, 1, 9, 9)), 0.5 + more, 0.5, 1.0, share=0.1)
                for case in named(*(f"{cases.name}-{number}" for number in range(5)))
            ]
        return Evaluation(found, {})

    monkeypatch.setattr(judgement, "load_pair", lambda *_: {})
    monkeypatch.setattr(judgement, "score_models", score)
    judged = judge(BASE, dict.fromkeys(gain, BASE))
    assert (judged.cases, judged.objects) == (10, 10)
    assert judged.after - judged.before == pytest.approx(sum(gains) / 2)
    assert judged.better == better


def test_the_network_as_it_was_teaches_what_is_not_to_be_forgotten(tmp_path: Path) -> None:
    cases = write_cases(tmp_path / "cases")
    memory = tmp_path / "cases/CT/memory/0.npz"
    memory.parent.mkdir()
    np.savez(memory, imgs=np.arange(64 * 64, dtype=np.uint8).reshape(1, 64, 64))
    asked = (*KEYS, "epochs=1", "unlabelled=true", "anywhere=true", "answer_weight=1")
    kept = ("remembers=true", f"teacher_cache={tmp_path / 'kept'}")
    settings = load_config(TrainConfig, overrides=[f"data={cases}", *asked, *kept])
    run = RunFolder(tmp_path / "run", settings, resume=False, leads=True)
    train(settings, run, small_network("decoder", one_look=True), ALONE)
    answers = np.genfromtxt(tmp_path / "run/log.csv", delimiter=",", names=True)["answer"]
    assert (answers > 0).any()
    assert len(list(tmp_path.glob("kept/*/*.npy"))) == 6
    with pytest.raises(ConfigError, match="remembers"):
        load_config(TrainConfig, overrides=["data=x", *KEYS, "remembers=true"])


def test_where_the_user_says_what_is_right_the_answers_of_before_do_not_count() -> None:
    wanted, before = torch.ones(1, 8, 8), torch.full((1, 8, 8), -5.0)
    said = (torch.zeros(1, 1), [(torch.full((1, 8, 8), 5.0), torch.ones(1))])
    mine, memory = (
        batch_losses(said, wanted, labelled, (torch.zeros(1, 1), before), remembers=True)
        for labelled in (torch.ones(1), torch.zeros(1))
    )
    assert mine["answer"] == 0 < memory["answer"]
    assert memory["dice"] == 0 < mine["dice"]


@pytest.mark.slow
def test_a_shipped_model_is_taught_rounded_and_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(personal_model, "_MEASURED", 1)
    monkeypatch.setattr(personal_model, "_SAMPLES", ("mr.nrrd",))
    monkeypatch.setattr(judgement, "_ASKED", 2)
    keys = ("counts={mine: 1, memory: 1}", "batch_size=2", "micro_batch=2", "epochs=1")
    work, teaching = begin(tmp_path, *keys)
    outcome = adapt(work, teaching, tmp_path / "mine")
    assert outcome is not None
    assert outcome.judged.cases == 6
    assert outcome.judged.after == pytest.approx(outcome.judged.before, abs=0.05)
    assert (tmp_path / "mine").exists() == outcome.kept
    assert outcome.alike is None or outcome.alike > 0.8


def run(tmp_path: Path, *more: str) -> Result:
    app = Typer()
    app.command()(command.main)
    options = ["--journals", str(tmp_path), "--work", str(tmp_path / "work"), *more]
    return CliRunner().invoke(app, options)


@pytest.mark.parametrize(("slices", "mine", "memory"), [(4, 4, 2), (5, 5, 3), (500, 100, 60)])
def test_few_slices_do_not_come_again_and_again(slices: int, mine: int, memory: int) -> None:
    found = personal_model.samples_of({"mine": 100, "memory": 60}, slices)
    assert found == {"mine": mine, "memory": memory}


def test_a_bad_command_says_what_is_wrong(tmp_path: Path) -> None:
    found = run(tmp_path)
    assert found.exit_code == 1
    assert "too few" in " ".join(found.output.split())


def test_the_same_work_is_gone_on_with_and_other_work_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels, begun = [finished(name, slice(2, 8)) for name in "abcd"], []
    monkeypatch.setattr(command, "read_journals", lambda _: labels)
    monkeypatch.setattr(command, "prepare", lambda folder, *_: folder.mkdir(exist_ok=True))
    monkeypatch.setattr(command, "adapt", lambda folder, *_: begun.append(folder))
    assert "goes on from there" in run(tmp_path).output
    run(tmp_path)
    run(tmp_path, "epochs=1")
    labels.append(finished("e", slice(2, 8)))
    run(tmp_path)
    assert begun[0] == begun[1]
    assert len(set(begun)) == 3
    monkeypatch.setattr(command, "adapt", lambda *_: Outcome(WORSE, None))
    assert "Not kept" in run(tmp_path).output
    assert not begun[3].exists()


# -- the benchmark ---------------------------------------------------------------------------------


def test_patients_are_told_by_names_or_gaps_between_numbers() -> None:
    assert [*patients_of(named("x_p1-2", "x_p1-3", "x_p2-1"), r"_(p\d+)-")] == ["p1", "p2"]
    found = patients_of(named("x_1", "x_30", "x_71", "x_80"), 40)
    assert {name: len(own) for name, own in found.items()} == {"1": 2, "71": 2}
    with pytest.raises(DataError, match="does not tell"):
        patients_of(named("x"), r"_(p\d+)-")


def test_no_patient_both_teaches_and_tests() -> None:
    patients = {str(n): named(*(f"{n}-{k}" for k in range(n))) for n in range(1, 9)}
    taught, tests = divide(patients, 6)
    assert sum(map(len, taught.values())) == 6
    assert not {case.name.split("-")[0] for case in tests} & set(taught)
    assert set(patients) >= {case.name.split("-")[0] for case in tests}


def test_the_table_counts_a_model_that_is_not_kept_as_no_change() -> None:
    rows = [
        Row("CT/A", BETTER, BETTER, WORSE, 0.98, 4.0),
        Row("MR/B", WORSE, None, None, None, 5.0),
    ]
    assert [Row.of_text(json.dumps(asdict(row))) for row in rows] == rows
    text = table(rows)
    gain = "+0.100 (+0.050 to +0.150)"
    assert f"| CT/A | 3 | {gain} | yes | 9 of 3 | 0.800 | 0.900 | {gain} | 4.0 |" in text
    assert "mean +0.050, least +0.000" in text
    assert "On val: mean +0.010" in text


def test_sets_without_patients_are_not_used(tmp_path: Path) -> None:
    write_cases(tmp_path)
    with pytest.raises(DataError, match="none of these data sets"):
        benchmark.run_benchmark(tmp_path, tmp_path / "work", Teaching(BASE, ALONE))
