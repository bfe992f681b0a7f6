"""A label says truthfully how it came about, and nothing about whom it is of."""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from dicom_slices import write_slices_of
from grids import grid_affine
from scripted_engine import ScriptedEngine, load_instead
from sources import names_in
from typer.testing import CliRunner

from napari_medsamq.annotation.label_import import import_label
from napari_medsamq.annotation.mask_operations import fill_holes
from napari_medsamq.annotation.session import AnnotationSession
from napari_medsamq.cli.main import app, parse_box
from napari_medsamq.errors import ProvenanceError
from napari_medsamq.inference.model_spec import ModelSpec
from napari_medsamq.inference.preprocess import IDENTITY, WindowLevel
from napari_medsamq.inference.slice_predictor import SliceMask
from napari_medsamq.io.files import write_whole
from napari_medsamq.io.labels import read_label
from napari_medsamq.io.volume import read_volume, volume_hash
from napari_medsamq.prompts import BoxPrompt, BoxPrompt3D
from napari_medsamq.records import provenance
from napari_medsamq.records.journal import Journal
from napari_medsamq.records.journal_format import read_journal
from napari_medsamq.records.provenance import (
    LabelSnapshot,
    Saved,
    read_provenance,
    save_with_provenance,
)
from napari_medsamq.records.recording import Recorder, restore
from napari_medsamq.records.report import make_report, write_report
from napari_medsamq.records.voxel_origins import OriginCounts, count_origins

pytestmark = pytest.mark.usefixtures("same_process")

BOX = BoxPrompt(0, 3, 3, 5, 10, 12)
PATIENT = "doe^jane-1970"


@pytest.fixture
def session(tmp_path: Path) -> AnnotationSession:
    voxels = np.full((14, 16, 6), 10, np.int16)
    voxels[3:11, 5:13, 1:5] = 200
    folder = tmp_path / PATIENT
    folder.mkdir()
    image = nib.Nifti1Image(voxels, np.diag([-1.0, -1, 1, 1]))
    image.header["descrip"] = PATIENT.encode()
    nib.save(image, folder / f"{PATIENT}.nii.gz")
    volume = read_volume(folder / f"{PATIENT}.nii.gz").with_modality("CT")
    return AnnotationSession(volume, ScriptedEngine(), IDENTITY)


def box(
    session: AnnotationSession, prompt: BoxPrompt | BoxPrompt3D = BOX, label_id: int = 1
) -> None:
    session.commit(prompt, list(session.segment(prompt)), label_id)


def carry(session: AnnotationSession, label_id: int = 1) -> None:
    group, known = object(), session.history.anchors(0, label_id)
    for found in session.carry(0, known, 0, 5):
        if isinstance(found, SliceMask):
            session.commit_carried(found, label_id, group)


def stroke(session: AnnotationSession, place: Any, label_id: int) -> int:
    """Paint voxels as napari's brush does, and return how many changed."""
    touched = np.zeros(session.label.shape, bool)
    touched[place] = True
    voxels = np.flatnonzero(touched)
    before = session.label.reshape(-1)[voxels]
    session.label.reshape(-1)[voxels] = label_id
    session.history.record("brush stroke", voxels, before)
    return int(np.count_nonzero(before != label_id))


def origins(session: AnnotationSession) -> dict[int, OriginCounts]:
    return count_origins(session.history.edits, session.label)


def save(session: AnnotationSession, path: Path, **options: Any) -> dict[str, Any]:
    saved = save_with_provenance(path, LabelSnapshot.of(session), **options)
    assert saved.problem == ""
    return read_provenance(path)


# -- origins ---------------------------------------------------------------------------------------


def test_voxels_are_counted_by_who_set_them(session: AnnotationSession) -> None:
    box(session)
    assert origins(session) == {1: OriginCounts(64, 0, 0, 0, 0)}
    carry(session)
    assert origins(session) == {1: OriginCounts(256, 0, 0, 0, 0)}
    erased = stroke(session, np.s_[3, 5:8, 3:5], 0)
    painted = stroke(session, np.s_[2, 13:15, 3:6], 1)
    assert (erased, painted) == (6, 6)
    assert origins(session) == {1: OriginCounts(250, 6, 0, 0, 6)}
    session.history.undo()
    session.history.undo()
    assert origins(session) == {1: OriginCounts(256, 0, 0, 0, 0)}
    session.history.redo()
    assert origins(session) == {1: OriginCounts(250, 0, 0, 0, 6)}


def test_what_is_painted_back_is_by_hand_and_not_removed(session: AnnotationSession) -> None:
    box(session)
    stroke(session, np.s_[3, 5:8, 3:5], 0)
    stroke(session, np.s_[3, 5:7, 3:5], 1)
    assert origins(session) == {1: OriginCounts(58, 4, 0, 0, 2)}


def test_what_the_network_gives_again_is_its_own(session: AnnotationSession) -> None:
    box(session)
    stroke(session, np.s_[3, 5:8, 3:5], 0)
    box(session)
    assert origins(session) == {1: OriginCounts(64, 0, 0, 0, 0)}


def test_what_the_network_gives_another_label_was_not_removed(session: AnnotationSession) -> None:
    box(session)
    stroke(session, np.s_[3, 5:8, 3:5], 0)
    box(session, replace(BOX, y1=8), 2)
    assert origins(session) == {1: OriginCounts(32, 0, 0, 0, 0), 2: OriginCounts(32, 0, 0, 0, 0)}


def test_an_operation_is_told_from_a_hand_and_from_the_network(session: AnnotationSession) -> None:
    box(session)
    stroke(session, np.s_[3, 8:10, 5:7], 0)
    session.operate(1, "fill holes", partial(fill_holes, axis=0))
    assert origins(session) == {1: OriginCounts(60, 0, 4, 0, 0)}


def test_voxels_that_another_label_takes_by_hand_are_removed(session: AnnotationSession) -> None:
    box(session)
    stroke(session, np.s_[3, 5:7, 3:5], 2)
    assert origins(session) == {1: OriginCounts(60, 0, 0, 0, 4), 2: OriginCounts(0, 4, 0, 0, 0)}


def test_what_a_box_takes_from_a_label_was_not_removed_by_the_user(
    session: AnnotationSession,
) -> None:
    box(session)
    box(session, replace(BOX, y1=8), 2)
    assert origins(session) == {1: OriginCounts(32, 0, 0, 0, 0), 2: OriginCounts(32, 0, 0, 0, 0)}


def test_a_box_that_is_taken_back_leaves_what_others_cover(session: AnnotationSession) -> None:
    box(session)
    box(session, replace(BOX, y1=8))
    session.remove_prompt(session.history.prompts[0])
    assert origins(session) == {1: OriginCounts(32, 0, 0, 0, 0)}


def test_voxels_past_the_history_are_of_unknown_origin(session: AnnotationSession) -> None:
    box(session)
    session.label[0, 0, :3] = 5
    session.label[3, 5, 3:5] = 5
    assert origins(session) == {1: OriginCounts(62, 0, 0, 0, 0), 5: OriginCounts(0, 0, 0, 5, 0)}


def test_what_is_drawn_over_voxels_past_the_history_is_of_who_drew_it(
    session: AnnotationSession,
) -> None:
    box(session)
    session.label[3, 5, 3:7] = 5
    session.label[3, 6, 3:7] = 0
    stroke(session, np.s_[3, 5:7, 3:5], 1)
    # Whoever took the network's voxels away before, it was not the brush.
    assert origins(session) == {1: OriginCounts(56, 4, 0, 0, 0), 5: OriginCounts(0, 0, 0, 2, 0)}
    session.label[3, 5, 3:5] = 7
    session.history.undo()
    session.history.redo()
    unknown = OriginCounts(0, 0, 0, 2, 0)
    assert origins(session) == {1: OriginCounts(56, 2, 0, 0, 0), 5: unknown, 7: unknown}


def test_what_was_removed_and_then_changed_past_the_history_is_not_told_of(
    session: AnnotationSession,
) -> None:
    box(session)
    stroke(session, np.s_[3, 5:8, 3:5], 0)
    session.label[3, 5, 3:5] = 5
    assert origins(session) == {1: OriginCounts(58, 0, 0, 0, 4), 5: OriginCounts(0, 0, 0, 2, 0)}


def test_shares_add_up_to_one(session: AnnotationSession) -> None:
    box(session)
    stroke(session, np.s_[3, 5:8, 3:5], 0)
    stroke(session, np.s_[2, 0, 0:3], 1)
    session.label[0, 0, :3] = 1
    found = origins(session)[1].as_dict()["share"]
    assert found["unknown"] == pytest.approx(3 / 64)
    assert sum(found[key] for key in ("model", "hand", "operation", "unknown")) == pytest.approx(1)
    assert found["removed"] == pytest.approx(6 / 64)


def test_a_journal_gives_the_same_shares(session: AnnotationSession, tmp_path: Path) -> None:
    key = volume_hash(session.volume)
    journal = Journal(tmp_path / "a.journal", session.volume, key, None, lambda error: None)
    recorder = Recorder(session, journal, None)
    box(session)
    stroke(session, np.s_[3, 5:8, 3:5], 0)
    carry(session)
    stroke(session, np.s_[2, 0, 0:3], 1)
    session.history.undo()
    recorder.close()
    history = restore(read_journal(tmp_path / "a.journal").records, session.label.shape).history
    assert count_origins(history.edits, history.label) == origins(session)
    assert [edit.network_state for edit in history.edits] == [session.network_state()] * len(
        history.edits
    )


# -- the file -------------------------------------------------------------------------------------


def test_the_file_beside_a_label_says_how_it_came_about(
    session: AnnotationSession, tmp_path: Path
) -> None:
    session.set_style(1, replace(session.style(1), name="Liver"))
    box(session)
    carry(session)
    stroke(session, np.s_[2, 0, 0:3], 1)
    found = save(session, tmp_path / "liver.nii.gz")
    assert names_in(tmp_path) == [PATIENT, "liver.nii.gz", "liver.provenance.json"]
    sha256 = hashlib.sha256((tmp_path / "liver.nii.gz").read_bytes()).hexdigest()
    assert found["label"]["sha256"] == sha256
    assert found["image"]["voxels_sha256"] == volume_hash(session.volume)
    assert found["image"]["shape"] == [14, 16, 6]
    (label,) = found["labels"]
    assert (label["id"], label["name"], label["statistics"]["voxels"]) == (1, "Liver", 259)
    assert label["origin"]["voxels"] == {
        "model": 256,
        "hand": 3,
        "operation": 0,
        "unknown": 0,
        "removed": 0,
    }
    assert found["settings"] == [
        {
            "model": "fake",
            "model_sha256": {},
            "window": [127.5, 255.0],
            "zoom": None,
            "modality": "CT",
            "carry_prompt": "box",
            "box_rule": "the last pixel up to its far edge",
        }
    ]
    assert [(step["name"], step["by"], step["times"]) for step in found["steps"]] == [
        ("box for Liver", "model", 1),
        ("propagation of Liver", "model", 3),
        ("brush stroke", "hand", 1),
    ]
    assert {"napari-medsamq", "openvino", "numpy", "python"} <= set(found["software"])
    assert found["cpu"]["name"]


def test_what_is_drawn_while_a_label_is_saved_is_not_in_it(
    session: AnnotationSession, tmp_path: Path
) -> None:
    box(session)
    snapshot, before = LabelSnapshot.of(session), session.label.copy()
    box(session, replace(BOX, index=2), 2)
    stroke(session, np.s_[3, 5:8, 3:5], 3)
    session.set_style(1, replace(session.style(1), name="Liver"))
    saved = save_with_provenance(tmp_path / "l.nii", snapshot)
    assert saved.receipt.counts == {1: 64}
    np.testing.assert_array_equal(read_label(tmp_path / "l.nii", session.volume).label, before)
    found = read_provenance(tmp_path / "l.nii")
    (label,) = found["labels"]
    assert (label["name"], label["origin"]["voxels"]["model"]) == ("Label 1", 64)
    assert len(found["prompts"]) == len(found["steps"]) == 1


@pytest.mark.parametrize(("axes", "signs"), [((0, 1, 2), (1, 1, 1)), ((2, 0, 1), (-1, 1, -1))])
def test_prompts_are_what_the_command_line_takes(
    tmp_path: Path, axes: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    voxels = np.full((12, 16, 14), 10, np.int16)
    voxels[2:9, 5:13, 3:8] = 200
    nib.save(nib.Nifti1Image(voxels, grid_affine(axes, signs, sizes=(1, 1, 1))), tmp_path / "a.nii")
    session = AnnotationSession(
        read_volume(tmp_path / "a.nii").with_modality("CT"), ScriptedEngine(), IDENTITY
    )
    boxes = [parse_box(text, session.volume, 0) for text in ("2,5,3,8,12,7", "1,6,4,9,6,9")]
    for prompt in boxes:
        box(session, prompt)
    found = save(session, tmp_path / "label.nii")["prompts"]
    texts = [",".join(map(str, entry["box"])) for entry in found]
    assert texts == ["2,5,3,8,12,7", "1,6,4,9,6,9"]
    assert [parse_box(text, session.volume, 0) for text in texts] == boxes


def test_what_tells_volumes_apart_is_said_unless_it_may_name_the_patient(tmp_path: Path) -> None:
    voxels = np.arange(3 * 6 * 8, dtype=np.int16).reshape(3, 6, 8)
    for name, number in ((PATIENT, 1), ("other", 2)):
        for echo in (2.5, 5.0):
            uid = f"1.2.3.{number}"
            write_slices_of(
                tmp_path / "a" / name,
                voxels,
                str(echo),
                SeriesInstanceUID=uid,
                EchoTime=str(echo),
                PatientID=name,
            )
    volume = read_volume(tmp_path / "a", series="1.2.3.1", volume=2)
    assert volume.name == f"a [1 of 2: Patient ID {PATIENT}] [2 of 2: EchoTime 5.0]"
    snapshot = LabelSnapshot(volume, np.ones(voxels.shape, np.uint16), (), (), {})
    for names in (False, True):
        save_with_provenance(tmp_path / "l.nii", snapshot, names=names)
        image = read_provenance(tmp_path / "l.nii")["image"]
        assert image["volume"] == "2 of 2: EchoTime 5.0"
        assert image["series"] == ("1 of 2: Patient ID " + PATIENT if names else "1 of 2")
        assert (PATIENT in str(image)) == names
    journal = Journal(tmp_path / "j", volume, "0", None, lambda error: None)
    journal.close()
    said = read_journal(tmp_path / "j").records[0].content
    assert (said["series"], said["volume"]) == ("1.2.3.1", 2)
    assert said["name"] == volume.name


def test_each_prompt_names_the_model_and_window_of_its_time(
    session: AnnotationSession, tmp_path: Path
) -> None:
    box(session)
    session.engine, session.window = ScriptedEngine(), WindowLevel(100, 200)
    session.engine.spec = ModelSpec("other", 8, {"encoder.bin": "ab"}, {})  # type: ignore[misc]
    box(session, replace(BOX, index=2))
    found = save(session, tmp_path / "label.nii")
    used = [found["settings"][prompt["setting"]] for prompt in found["prompts"]]
    assert [(network_state["model"], network_state["window"]) for network_state in used] == [
        ("fake", [127.5, 255.0]),
        ("other", [100, 200]),
    ]


def test_nothing_says_whose_image_it_is_unless_asked(
    session: AnnotationSession, tmp_path: Path
) -> None:
    box(session)
    save(session, tmp_path / "label.nii")
    text = (tmp_path / "label.provenance.json").read_text()
    assert PATIENT not in text
    assert str(tmp_path) not in text
    assert "name" not in json.loads(text)["image"]
    assert save(session, tmp_path / "label.nii", names=True)["image"]["name"] == PATIENT
    assert str(tmp_path) not in (tmp_path / "label.provenance.json").read_text()


def test_nothing_says_whose_label_was_loaded(session: AnnotationSession, tmp_path: Path) -> None:
    """Not the name of its file either, and not where journals of before have it."""
    path = tmp_path / f"{PATIENT}_seg.nii.gz"
    drawn = np.zeros(session.label.shape, np.uint8)
    drawn[2, 3:6, 4:7] = 1
    nib.save(nib.Nifti1Image(session.volume.to_source(drawn), np.diag([-1.0, -1, 1, 1])), path)
    journal_path = tmp_path / "a.journal"
    journal = Journal(journal_path, session.volume, volume_hash(session.volume), None, pytest.fail)
    recorder = Recorder(session, journal, None)
    import_label(session, read_label(path, session.volume))
    recorder.close()
    content = read_journal(journal_path)
    assert [r.content["path"] for r in content.records if r.content["kind"] == "load"] == [
        str(path)
    ]
    (edit,) = [r.content for r in content.records if r.content["kind"] == "edit"]
    assert PATIENT not in json.dumps(edit)
    edit["name"] = f"load {path.name}"
    del edit["styles"]
    past = restore(content.records, session.label.shape)
    assert past.history.undo_name == session.history.undo_name == "load label file"
    again = AnnotationSession(session.volume, ScriptedEngine(), IDENTITY)
    again.restore(past.history, past.styles)
    for own in (session, again):
        found = save(own, tmp_path / "label.nii")
        assert found["steps"][0]["name"] == "load label file"
        write_report(tmp_path / "page.html", make_report(tmp_path / "label.nii"))
        for written in ("label.provenance.json", "page.html"):
            assert PATIENT not in (tmp_path / written).read_text(encoding="utf-8")


def test_the_same_label_has_one_file_beside_it(session: AnnotationSession, tmp_path: Path) -> None:
    for count in (64, 128):
        box(session, replace(BOX, index=count // 32))
        assert save(session, tmp_path / "a.nii.gz")["labels"][0]["statistics"]["voxels"] == count
    assert names_in(tmp_path) == ["a.nii.gz", "a.provenance.json", PATIENT]


# -- what goes wrong ------------------------------------------------------------------------------


def is_saved(saved: Saved, session: AnnotationSession) -> None:
    """The label is whole, and what is wrong with the file beside it is told."""
    assert saved.provenance is None
    assert "The label is saved, its provenance is not" in saved.problem
    voxels = np.asarray(nib.load(saved.receipt.path).dataobj)
    np.testing.assert_array_equal(session.volume.from_source(voxels), session.label)


def test_a_file_of_other_origin_is_kept_and_the_label_saved(
    session: AnnotationSession, tmp_path: Path
) -> None:
    box(session)
    (tmp_path / "label.provenance.json").write_text('{"mine": 1}')
    saved = save_with_provenance(tmp_path / "label.nii", LabelSnapshot.of(session))
    is_saved(saved, session)
    assert "stays as it is" in saved.problem
    assert (tmp_path / "label.provenance.json").read_text() == '{"mine": 1}'


def test_each_format_of_a_label_has_its_own(session: AnnotationSession, tmp_path: Path) -> None:
    image, slicer = tmp_path / "liver.nii.gz", tmp_path / "liver.seg.nrrd"
    box(session)
    save(session, image)
    session.set_style(1, replace(session.style(1), name="Liver"))
    box(session, replace(BOX, index=2))
    for _ in range(2):
        saved = save_with_provenance(slicer, LabelSnapshot.of(session))
        assert saved.provenance == tmp_path / "liver.seg.nrrd.provenance.json"
    # What was not saved by this program is not taken for what was.
    plain = tmp_path / "liver.nii"
    plain.write_bytes(gzip.decompress(image.read_bytes()))
    with pytest.raises(ProvenanceError, match=r"liver\.nii\.provenance\.json cannot be read"):
        read_provenance(plain)
    for path, name in ((image, "Label 1"), (slicer, "Liver")):
        content = read_provenance(path)
        assert content["label"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert [entry["name"] for entry in content["labels"]] == [name]
    # It stays the label's own when another program has changed that, and goes with it.
    image.write_bytes(image.read_bytes() + b"\0")
    save(session, plain)
    assert read_provenance(image)["label"]["ending"] == ".nii.gz"
    image.unlink()
    (tmp_path / "liver.nii.provenance.json").unlink()
    saved = save_with_provenance(plain, LabelSnapshot.of(session))
    assert saved.provenance == tmp_path / "liver.provenance.json"
    assert read_provenance(slicer)["label"]["ending"] == ".seg.nrrd"


@pytest.mark.parametrize("ending", [".nii", "/../a", "\0", ".x" * 200, 7, None])
def test_damaged_endings_do_no_harm(
    session: AnnotationSession, tmp_path: Path, ending: object
) -> None:
    box(session)
    content = {"format": "medsamq-provenance", "label": {"ending": ending}}
    (tmp_path / "label.provenance.json").write_text(json.dumps(content, indent=1))
    saved = save_with_provenance(tmp_path / "label.nii.gz", LabelSnapshot.of(session))
    assert saved.provenance == tmp_path / "label.provenance.json"


def test_a_full_disk_loses_no_label(
    session: AnnotationSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box(session)
    save(session, tmp_path / "label.nii")
    before = (tmp_path / "label.provenance.json").read_text()
    box(session, replace(BOX, index=2))

    def full(path: Path, content: bytes, mark: str) -> None:
        def fail(_: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fail)
            write_whole(path, content, mark)

    monkeypatch.setattr(provenance, "write_whole", full)
    saved = save_with_provenance(tmp_path / "label.nii", LabelSnapshot.of(session))
    is_saved(saved, session)
    assert "No space left" in saved.problem
    assert (tmp_path / "label.provenance.json").read_text() == before
    assert names_in(tmp_path) == [PATIENT, "label.nii", "label.provenance.json"]


def test_too_little_memory_loses_no_label(
    session: AnnotationSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    box(session)
    monkeypatch.setattr(provenance, "count_origins", fail)
    saved = save_with_provenance(tmp_path / "label.nii", LabelSnapshot.of(session))
    is_saved(saved, session)
    assert "memory" in saved.problem


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read.*save it again"),
        ("{", "is damaged"),
        ("[" * 10**5, "is damaged"),
        ("[]", "another program's"),
        ('{"format": "other"}', "another program's"),
        ('{"format": "medsamq-provenance", "version": 9}', "is of version 9"),
    ],
)
def test_what_cannot_be_read_is_told(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "a.provenance.json").write_text(content)
    with pytest.raises(ProvenanceError, match=f"(?s)a.provenance.json.*{message}"):
        read_provenance(tmp_path / "a.nii.gz")


# -- the command line -----------------------------------------------------------------------------


def test_segment_and_replay_write_it(
    session: AnnotationSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_instead(monkeypatch, ScriptedEngine())
    image, label = str(session.volume.path), tmp_path / "label.nii.gz"
    boxes = ["--box", "3,5,3,10,12,3", "--window", "127.5,255", "--modality", "ct"]
    command = ["segment", image, "-o", str(label), *boxes]
    assert CliRunner().invoke(app, command).exit_code == 0
    (found,) = read_provenance(label)["labels"]
    assert found["origin"]["share"]["model"] == 1
    assert PATIENT not in (tmp_path / "label.provenance.json").read_text()
    result = CliRunner().invoke(app, [*command, "--overwrite", "--with-name"])
    assert result.exit_code == 0
    assert read_provenance(label)["image"]["name"] == PATIENT

    key = volume_hash(session.volume)
    journal = Journal(tmp_path / "a.journal", session.volume, key, None, lambda error: None)
    recorder = Recorder(session, journal, None)
    box(session)
    stroke(session, np.s_[2, 0, 0:3], 1)
    recorder.close()
    replayed = tmp_path / "replayed.nii.gz"
    command = ["replay", str(tmp_path / "a.journal"), image, "-o", str(replayed)]
    assert CliRunner().invoke(app, command).exit_code == 0
    (found,) = read_provenance(replayed)["labels"]
    assert found["origin"]["voxels"]["hand"] == 3
    assert read_provenance(replayed)["settings"][0]["model"] == "fake"


def test_segment_tells_that_it_could_not_be_written(
    session: AnnotationSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_instead(monkeypatch, ScriptedEngine())
    (tmp_path / "label.provenance.json").mkdir()
    boxes = ["--box", "3,5,3,10,12,3", "--modality", "ct"]
    command = ["segment", str(session.volume.path), "-o", str(tmp_path / "label.nii.gz"), *boxes]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0
    assert "Note: The label is saved, its provenance is not" in result.stdout
    assert (tmp_path / "label.nii.gz").exists()
