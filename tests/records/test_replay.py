"""A journal gives the same label again, and the network the same masks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scripted_engine import ScriptedEngine, load_instead
from typer.testing import CliRunner, Result

from napari_medsamq.annotation.acceptance import kept_voxels, mask_key
from napari_medsamq.annotation.click_target import correction
from napari_medsamq.annotation.propagation_snapshot import PropagationSnapshot
from napari_medsamq.annotation.session import AnnotationSession
from napari_medsamq.cli.main import app
from napari_medsamq.errors import PromptError
from napari_medsamq.inference.crop import Zoom
from napari_medsamq.inference.lasso import lasso_prompt
from napari_medsamq.inference.network_state import NetworkState
from napari_medsamq.inference.preprocess import IDENTITY, WindowLevel
from napari_medsamq.inference.slice_predictor import SliceMask
from napari_medsamq.io.label_format import Segment
from napari_medsamq.io.labels import read_label
from napari_medsamq.io.volume import Volume, read_volume, volume_hash
from napari_medsamq.prompts import BoxPrompt, BoxPrompt3D, CarryPrompt, Click
from napari_medsamq.records import recording, replay_check
from napari_medsamq.records.journal import Journal
from napari_medsamq.records.recording import Recorder
from napari_medsamq.workflows.replay import replay_journal

BOX = BoxPrompt(0, 3, 3, 5, 10, 12)


class Work:
    """An image on disk, and a journal of boxes, a propagation, a stroke, undo and redo."""

    def __init__(self, folder: Path) -> None:
        voxels = np.full((14, 16, 6), 10, np.int16)
        voxels[3:11, 5:13, 1:5] = 200
        self.image, self.journal = folder / "image.nii.gz", folder / "a.journal"
        nib.save(nib.Nifti1Image(voxels, np.diag([-1.0, -1, 1, 1])), self.image)
        volume: Volume = read_volume(self.image).with_modality("CT")
        self.session = session = AnnotationSession(volume, ScriptedEngine(), IDENTITY)
        journal = Journal(self.journal, volume, volume_hash(volume), None, lambda error: None)
        recorder = Recorder(session, journal, None)
        session.commit(BOX, list(session.segment(BOX)), 1)
        group, known = object(), session.history.anchors(0, 1)
        asked = {"label": 1, "axis": 0, "first": 0, "last": 5, "group": group}
        session.event.emit("carry", asked)
        for found in session.carry(0, known, 0, 5):
            if isinstance(found, SliceMask):
                session.commit_carried(found, 1, group)
        session.set_style(1, replace(session.style(1), name="Liver", locked=True))
        other = replace(BOX, x1=12)
        session.commit(replace(other, y1=14), [self.mask()], 2)
        session.history.undo()
        session.history.redo()
        stroke = np.arange(4)
        session.label.reshape(-1)[stroke] = 3
        session.history.record("brush stroke", stroke, np.zeros(4, np.uint16))
        recorder.close()

    def mask(self) -> SliceMask:
        """What the network finds, and a column beside it."""
        found = next(self.session.segment(replace(BOX, index=2)))
        grown = found.mask | np.roll(found.mask, 1, 1)
        return replace(found, mask=grown)


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Work:
    load_instead(monkeypatch, ScriptedEngine())
    monkeypatch.setattr(replay_check, "shipped_model", lambda name: Path(name))
    return Work(tmp_path)


def run(work: Work, *arguments: str) -> Result:
    output = work.image.with_name("out.nii.gz")
    command = ["replay", str(work.journal), str(work.image), "-o", str(output), *arguments]
    return CliRunner().invoke(app, command)


def test_the_label_is_that_of_the_session(work: Work) -> None:
    result = run(work)
    assert result.exit_code == 0, result.output
    assert "1 Liver:" in result.stdout
    saved = np.asarray(nib.load(work.image.with_name("out.nii.gz")).dataobj)
    np.testing.assert_array_equal(
        work.session.volume.from_source(saved), work.session.label.astype(saved.dtype)
    )
    assert "add --overwrite" in run(work).stderr
    assert run(work, "--overwrite").exit_code == 0


def test_names_and_colours_of_the_journal_are_saved_where_the_format_has_them(work: Work) -> None:
    path = work.image.with_name("out.seg.nrrd")
    command = ["replay", str(work.journal), str(work.image), "-o", str(path)]
    assert CliRunner().invoke(app, command).exit_code == 0
    found = read_label(path, work.session.volume)
    np.testing.assert_array_equal(found.label, work.session.label)
    style = work.session.style(1)
    assert found.segments[1] == Segment(style.name, style.color)


def test_a_mask_that_the_network_would_not_give_again_is_found(work: Work) -> None:
    result = run(work, "--verify")
    assert result.exit_code == 1
    # The box and the three slices of the propagation are; the mask that was tampered with is not.
    assert "4 of 5 masks are the same" in result.stdout
    assert "1 Liver: DSC 1.0000" in result.stdout


@pytest.mark.parametrize("prompt", [replace(BOX, y1=14), BoxPrompt3D((1, 5, 3), (4, 12, 10), 0)])
def test_a_mask_is_asked_for_again_as_a_locked_label_let_it_be(
    work: Work, prompt: BoxPrompt | BoxPrompt3D
) -> None:
    volume = work.session.volume
    work.journal = work.journal.with_name("b.journal")
    journal = Journal(work.journal, volume, volume_hash(volume), None, pytest.fail)
    session = AnnotationSession(volume, ScriptedEngine(), IDENTITY)
    recorder = Recorder(session, journal, None)
    half = replace(BOX, x1=6)
    session.commit(half, list(session.segment(half)), 1)
    session.set_style(1, replace(session.style(1), locked=True))
    session.commit(prompt, list(session.segment(prompt)), 2)
    recorder.close()
    assert session.history.voxel_counts[1] == 32
    result = run(work, "--verify")
    assert result.exit_code == 0, result.output
    assert "2 of 2 masks are the same" in result.stdout


@pytest.mark.parametrize(("axis", "index", "top"), [(0, 2, 6), (1, 6, 1), (2, 5, 1)])
def test_strokes_are_asked_for_again_and_come_back_as_they_were_drawn(
    work: Work, axis: int, index: int, top: int
) -> None:
    volume = work.session.volume
    work.journal = work.journal.with_name("b.journal")
    journal = Journal(work.journal, volume, volume_hash(volume), None, pytest.fail)
    session = AnnotationSession(volume, ScriptedEngine(), IDENTITY)
    recorder = Recorder(session, journal, None)
    corners = [(5, top), (9, top), (9, top + 3), (5, top + 3)]
    lasso = lasso_prompt(axis, index, corners, session.slice(axis, index).shape)
    session.commit(lasso, list(session.segment(lasso)), 1)
    for way, positive in (([(5, top), (5, top + 3)], False), ([(8, top), (10, top)], True)):
        found = correction(session, axis, index, Click.along(way, positive), 1)
        session.commit(found.box, list(session.segment(found.box)), 1, found.replaces)
    recorder.close()
    assert not session.slice(axis, index)[top : top + 4, 5].any()
    result = run(work, "--verify")
    assert result.exit_code == 0, result.output
    assert "3 of 3 masks are the same" in result.stdout
    replayed = replay_journal(work.journal, volume).model
    np.testing.assert_array_equal(replayed.label, session.label)
    assert replayed.history.prompts[0].box == session.history.prompts[0].box
    (prompt,) = json.loads(work.image.with_name("out.provenance.json").read_text())["prompts"]
    assert len(prompt["lasso"]) == 4
    assert [click[3] for click in prompt["clicks"]] == ["-", "+"]
    assert [len(click[4]) for click in prompt["clicks"]] == [4, 3]
    for _ in range(3):
        replayed.history.undo()
    assert not replayed.label.any()


def test_a_slice_that_a_propagation_no_longer_comes_to_is_found(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    carry = AnnotationSession.carry
    monkeypatch.setattr(
        AnnotationSession,
        "carry",
        lambda *asked: [next(carry(*asked))],  # it stops at once
    )
    result = run(work, "--verify")
    assert result.exit_code == 1
    assert "2 of 5 masks are the same" in result.stdout
    assert "1 Liver: DSC 0.6" in result.stdout


def test_on_another_computer_differences_are_reported_alone(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay_check, "environment", lambda: {"openvino": "2030.1"})
    result = run(work, "--verify")
    assert result.exit_code == 0
    assert "4 of 5" in result.stdout
    assert "masks may differ" in result.stdout


def test_another_image_is_refused(work: Work) -> None:
    voxels = np.asarray(nib.load(work.image).dataobj).copy()
    voxels[0, 0, 0] += 1
    nib.save(nib.Nifti1Image(voxels, np.diag([-1.0, -1, 1, 1])), work.image)
    result = run(work)
    assert result.exit_code == 1
    assert "not of this image" in result.stderr
    assert not work.image.with_name("out.nii.gz").exists()


def test_a_cut_off_journal_gives_what_it_has(work: Work) -> None:
    work.journal.write_bytes(work.journal.read_bytes()[:-3])
    result = run(work)
    assert result.exit_code == 0
    assert "cut off" in result.stdout
    assert "Label 3" not in result.stdout


def test_the_environment_is_written_down(work: Work) -> None:
    from napari_medsamq.records.journal_format import read_journal

    kinds = [record.content["kind"] for record in read_journal(work.journal).records]
    assert kinds[:3] == ["volume", "begin", "edit"]
    assert kinds[3] == recording.CARRY
    assert kinds[-3:] == ["undo", "redo", "edit"]


def test_a_propagation_is_asked_for_again_from_what_was_accepted(work: Work) -> None:
    """Slice 2 counts as known, and an accepted coronal slice stays as it is."""
    journal_path = work.journal.with_name("b.journal")
    volume = work.session.volume
    journal = Journal(journal_path, volume, volume_hash(volume), None, pytest.fail)
    session = AnnotationSession(volume, ScriptedEngine(), IDENTITY)
    recorder = Recorder(session, journal, None)
    session.commit(BOX, list(session.segment(BOX)), 1)
    drawn = np.zeros(session.label.shape, bool)
    drawn[1:4, 6:9, 5:9] = True
    voxels = np.flatnonzero(drawn & (session.label == 0))
    values = np.full(voxels.size, 1, np.uint16)
    session.history.change("drawn", voxels, values, session.history.prompts)
    for axis, index in ((0, 2), (1, 7)):
        mask = np.moveaxis(session.label, axis, 0)[index] == 1
        session.accept(axis, 1, {index: mask_key(mask)})
    history, before = session.history, session.label.copy()
    known, group = history.anchors(0, 1), object()
    assert sorted(known) == [2, 3]
    kept = kept_voxels(session.label, history.accepted, 0, 1)
    session.event.emit("carry", {"label": 1, "axis": 0, "first": 0, "last": 5, "group": group})
    for found in session.carry(0, known, 0, 5):
        if isinstance(found, SliceMask):
            session.commit_carried(found, 1, group, kept)
    recorder.close()
    np.testing.assert_array_equal(session.label[:, 7], before[:, 7])
    np.testing.assert_array_equal(session.label[2], before[2])
    assert (session.label != before).any()
    work.journal = journal_path
    result = run(work, "--verify")
    assert result.exit_code == 0, result.output
    count = int(result.stdout.split(" of ")[0].splitlines()[-1])
    assert f"{count} of {count} masks are the same" in result.stdout
    assert count > 2


def test_a_propagation_is_asked_for_again_within_its_3d_box(work: Work) -> None:
    """What moves away between slices is found again by the sides of the box alone."""
    voxels = np.full((14, 16, 6), 10, np.int16)
    voxels[3:11, 5:9, 1:4] = voxels[3:11, 12:15, 4:] = 200
    nib.save(nib.Nifti1Image(voxels, np.diag([-1.0, -1, 1, 1])), work.image)
    volume = read_volume(work.image).with_modality("CT")
    work.journal = work.journal.with_name("b.journal")
    journal = Journal(work.journal, volume, volume_hash(volume), None, pytest.fail)
    session = AnnotationSession(volume, ScriptedEngine(), IDENTITY)
    recorder = Recorder(session, journal, None)
    whole, first = BoxPrompt3D((1, 5, 3), (5, 14, 10)), BoxPrompt(0, 2, 3, 5, 10, 8)
    # What another label takes of it, it takes back.
    for box, label_id in ((whole, 1), (BoxPrompt(0, 5, 3, 12, 10, 14), 2), (first, 1)):
        session.commit(box, list(session.segment(box)), label_id)
    group, start = object(), PropagationSnapshot.of(session.history, 0, 1)
    assert sorted(start.known) == [2, 3]
    session.event.emit("carry", {"label": 1, "axis": 0, "first": 0, "last": 5, "group": group})
    found = [*session.carry(0, start.known, 0, 5, within=start.within)]
    masks = [answer for answer in found if isinstance(answer, SliceMask)]
    assert [answer.index for answer in masks] == [5, 1]
    for answer in masks:
        session.commit_carried(answer, 1, group, start.kept)
    recorder.close()
    result = run(work, "--verify")
    assert result.exit_code == 0, result.output
    count = int(result.stdout.split(" of ")[0].splitlines()[-1])
    assert f"{count} of {count} masks are the same" in result.stdout


def test_a_slice_drawn_while_a_propagation_was_at_work_is_not_compared(work: Work) -> None:
    work.journal = work.journal.with_name("b.journal")
    volume = work.session.volume
    journal = Journal(work.journal, volume, volume_hash(volume), None, pytest.fail)
    session = AnnotationSession(volume, ScriptedEngine(), IDENTITY)
    recorder = Recorder(session, journal, None)
    session.commit(BOX, list(session.segment(BOX)), 1)
    history, group = session.history, object()
    start = PropagationSnapshot.of(history, 0, 1)
    session.event.emit("carry", {"label": 1, "axis": 0, "first": 0, "last": 5, "group": group})
    masks = [m for m in session.carry(0, start.known, 0, 5) if isinstance(m, SliceMask)]
    session.commit_carried(masks[0], 1, group, start.kept)
    assert start.keep_drawn(history, group) == set()
    place = np.array([np.ravel_multi_index((masks[1].index, 0, 0), session.label.shape)])
    session.label.reshape(-1)[place] = 1
    history.record("brush stroke", place, np.zeros(1, np.uint16))
    assert start.keep_drawn(history, group) == {masks[1].index}
    for mask in masks[1:]:
        session.commit_carried(mask, 1, group, start.kept)
    recorder.close()
    assert np.count_nonzero(session.label[masks[1].index]) == 1
    result = run(work, "--verify")
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("prompt", "written", "status"),
    [
        (CarryPrompt.box_and_mask, True, 0),
        (CarryPrompt.box, True, 0),
        # As journals of before there was a choice, which were all written by boxes.
        (CarryPrompt.box, False, 0),
        (CarryPrompt.box_and_mask, False, 1),
    ],
)
def test_a_propagation_is_asked_for_again_by_its_prompt(
    work: Work, monkeypatch: pytest.MonkeyPatch, prompt: CarryPrompt, written: bool, status: int
) -> None:
    load_instead(monkeypatch, ScriptedEngine(led=True))
    if not written:
        whole = NetworkState.as_dict

        def as_before(network_state: NetworkState) -> dict[str, object]:
            return {k: v for k, v in whole(network_state).items() if k != "carry_prompt"}

        monkeypatch.setattr(NetworkState, "as_dict", as_before)
    volume = work.session.volume
    work.journal = work.journal.with_name("b.journal")
    journal = Journal(work.journal, volume, volume_hash(volume), None, pytest.fail)
    session = AnnotationSession(volume, ScriptedEngine(led=True), IDENTITY, carry_prompt=prompt)
    recorder = Recorder(session, journal, None)
    session.commit(BOX, list(session.segment(BOX)), 1)
    # A hole, which a box alone does not carry on.
    voxels = np.array([np.ravel_multi_index((3, 8, 6), session.label.shape)])
    session.label.reshape(-1)[voxels] = 0
    session.history.record("eraser", voxels, np.ones(1, np.uint16))
    group, known = object(), session.history.anchors(0, 1)
    session.event.emit("carry", {"label": 1, "axis": 0, "first": 0, "last": 5, "group": group})
    for found in session.carry(0, known, 0, 5):
        if isinstance(found, SliceMask):
            session.commit_carried(found, 1, group)
    recorder.close()
    result = run(work, "--verify")
    assert result.exit_code == status, result.output


class Begun:
    """A journal with a box on slice 3 of an image."""

    def __init__(self, work: Work) -> None:
        work.journal = work.journal.with_name("b.journal")
        volume = work.session.volume
        self.journal = Journal(work.journal, volume, volume_hash(volume), None, pytest.fail)
        self.session = AnnotationSession(volume, ScriptedEngine(), IDENTITY)
        self.recorder = Recorder(self.session, self.journal, None)
        self.session.commit(BOX, list(self.session.segment(BOX)), 1)

    def ask_to_carry(self, axis: int = 0) -> object:
        """Write down that a propagation begins."""
        group = object()
        last = self.session.label.shape[axis] - 1
        asked = {"label": 1, "axis": axis, "first": 0, "last": last, "group": group}
        self.session.event.emit("carry", asked)
        return group


# What the network would find nothing through, and what it would see other parts of slices by.
CHANGES = {"window": WindowLevel(2000, 10), "zoom": Zoom(4, 0.9)}


@pytest.mark.parametrize("changed", CHANGES)
@pytest.mark.parametrize("asked", ["box", "box in 3D", "improved mask", "propagation"])
def test_a_mask_goes_with_what_the_network_was_asked_with(
    work: Work, changed: str, asked: str
) -> None:
    begun = Begun(work)
    session = begun.session
    before = session.network_state()
    box = BoxPrompt3D((1, 5, 3), (4, 12, 10)) if asked == "box in 3D" else replace(BOX, index=2)
    start = session.label[3] == 1 if asked == "improved mask" else None
    if asked == "propagation":
        group, known = begun.ask_to_carry(), session.history.anchors(0, 1)
        masks = session.carry(0, known, 0, 5)
    else:
        masks = session.segment(box, start)
    # Whoever fetches the answers does so later.
    setattr(session, changed, CHANGES[changed])
    if asked == "propagation":
        for found in masks:
            if isinstance(found, SliceMask):
                session.commit_carried(found, 1, group)
    else:
        session.commit(box, list(masks), 2, None, start)
    assert [edit.network_state for edit in session.history.edits[1:]] == [before] * (
        len(session.history.edits) - 1
    )
    # What no network was asked for goes with the one in hand.
    place = np.arange(4)
    session.label.reshape(-1)[place] = 3
    session.record("brush stroke", place, np.zeros(4, np.uint16))
    assert session.history.edits[-1].network_state == session.network_state() != before
    begun.journal.close()
    result = run(work, "--verify")
    assert result.exit_code == 0, result.output


def test_a_propagation_from_nothing_is_refused_before_anything_is_asked(work: Work) -> None:
    session = work.session
    for known, last in (
        ({}, 5),
        ({3: np.zeros((16, 14), bool)}, 5),
        ({3: session.label[3] == 1}, 6),
    ):
        with pytest.raises(PromptError):
            session.carry(0, known, 0, last)
    with pytest.raises(PromptError, match="outside a volume"):
        session.segment(replace(BOX, index=6))


@pytest.mark.parametrize("axis", [0, 1])
def test_a_propagation_of_which_nothing_came_does_not_end_the_verdict(
    work: Work, axis: int
) -> None:
    begun = Begun(work)
    session = begun.session
    if axis == 0:
        session.history.undo()
    begun.ask_to_carry(axis)
    if axis == 0:
        session.history.redo()
    group = begun.ask_to_carry()
    for found in session.carry(0, session.history.anchors(0, 1), 0, 5):
        if isinstance(found, SliceMask):
            session.commit_carried(found, 1, group)
    begun.journal.close()
    result = run(work, "--verify")
    assert result.exit_code == 0, result.output
    assert "4 of 4 masks are the same" in result.stdout


@pytest.mark.parametrize(
    ("older", "said"),
    [
        ({"box_rule": None}, "the last pixel up to its near edge"),
        ({"model_sha256": {"encoder.bin": "ab"}}, "the weights (fake then)"),
    ],
    ids=["no rule for boxes", "other weights"],
)
def test_an_older_journal_says_how_its_masks_were_made(
    work: Work, monkeypatch: pytest.MonkeyPatch, older: dict[str, object], said: str
) -> None:
    """One of the masks is another one by now, which is no failure."""
    whole = NetworkState.as_dict
    monkeypatch.setattr(
        NetworkState,
        "as_dict",
        lambda own: {k: v for k, v in (whole(own) | older).items() if v is not None},
    )
    begun = Begun(work)
    session = begun.session
    session.commit(replace(BOX, index=2), [work.mask()], 2)
    begun.journal.close()
    result = run(work, "--verify")
    assert result.exit_code == 0, result.output
    assert "1 of 2 masks are the same" in result.stdout
    assert said in result.stdout
    assert "masks may differ" in result.stdout
