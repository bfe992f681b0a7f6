"""A propagation that ends earlier than the last one takes away what that left beyond its end."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from held_worker import HeldWorker
from napari.layers import Image
from scripted_engine import ScriptedEngine, load_instead
from windowless import tool_context

from napari_medsamq.annotation.acceptance import mask_key
from napari_medsamq.annotation.session import AnnotationSession
from napari_medsamq.geometry import PLANE_NAMES
from napari_medsamq.inference.preprocess import IDENTITY, WindowLevel
from napari_medsamq.io.volume import volume_from_slices, volume_hash
from napari_medsamq.prompts import BoxPrompt, BoxPrompt3D
from napari_medsamq.records import replay_check
from napari_medsamq.records.journal import Journal
from napari_medsamq.records.journal_format import read_journal
from napari_medsamq.records.recording import Recorder, restore
from napari_medsamq.ui.tools.propagate import PropagateTool
from napari_medsamq.ui.workspace import Workspace

DARK = WindowLevel(5000, 100)  # shows the network nothing


class Bar:
    """A bar along an axis, a box on its slice 3, and a propagation that has filled it."""

    def __init__(self, folder: Path, axis: int) -> None:
        array = np.full((11, 16, 14), 10, np.int16)
        array[:, 5:13, 3:11] = 200
        volume = volume_from_slices(np.moveaxis(array, 0, axis), (1, 1, 1), "bar")
        self.volume, self.axis = volume.with_modality("CT"), axis
        self.session = AnnotationSession(self.volume, ScriptedEngine(), IDENTITY)
        self.journal = Journal(
            folder / "a.journal", self.volume, volume_hash(self.volume), None, pytest.fail
        )
        self.recorder = Recorder(self.session, self.journal, None)
        self.workspace = Workspace(self.session, Image(self.volume.data))
        self.worker, self.said = HeldWorker(), []
        self.context = tool_context(self.workspace, self.worker, self.said)
        self.context.dock.show_status = lambda text, details="": self.said.append(text)
        self.propagator = PropagateTool(self.context)
        self.draw(BoxPrompt(axis, 3, 3, 5, 10, 12))

    def draw(self, box: BoxPrompt | BoxPrompt3D, label_id: int = 1) -> None:
        self.session.commit(box, list(self.session.segment(box)), label_id)

    def propagate(self, first: int = 0, last: int = 10) -> None:
        self.propagator.begin(self.axis, first, last)
        self.worker.run_all()

    def paint(self, index: int, value: int, rows: slice = np.s_[:]) -> None:
        """Let a hand give a slice, or some rows of it, a label."""
        before = self.session.label.copy()
        self.planes(self.session.label)[index, rows] = value
        voxels = np.flatnonzero(before != self.session.label)
        self.session.history.record("brush stroke", voxels, before.reshape(-1)[voxels])

    def planes(self, label: np.ndarray) -> np.ndarray:
        return np.moveaxis(label, self.axis, 0)

    def accept(self, axis: int, index: int) -> None:
        mask = np.moveaxis(self.session.label, axis, 0)[index] == 1
        self.session.accept(axis, 1, {index: mask_key(mask)})

    @property
    def slices(self) -> list[int]:
        return np.flatnonzero(self.planes(self.session.label == 1).any((1, 2))).tolist()


@pytest.fixture
def bar(request, qapp, tmp_path):
    made = Bar(tmp_path, getattr(request, "param", 0))
    made.propagate()
    assert made.slices == list(range(11))
    yield made
    made.journal.close()


along = pytest.mark.parametrize("bar", range(3), ids=PLANE_NAMES, indirect=True)


def settled(bar):
    """All that counts voxels agrees with the label."""
    label, history = bar.session.label, bar.session.history
    counts = np.bincount(label.reshape(-1))
    assert history.voxel_counts == {n: c for n, c in enumerate(counts.tolist()) if n and c}
    return label.copy()


@along
def test_beyond_a_wall_nothing_is_left_and_one_undo_brings_it_back(bar):
    bar.paint(7, 0)
    before, version = bar.session.label.copy(), bar.session.history.version(1)
    bar.propagate()
    assert bar.slices == list(range(7))
    assert "3 slices beyond lost what an earlier propagation gave." in bar.said[-1]
    assert bar.session.history.version(1) > version
    after = settled(bar)
    bar.session.history.undo()
    np.testing.assert_array_equal(settled(bar), before)
    bar.session.history.redo()
    np.testing.assert_array_equal(settled(bar), after)


def test_where_the_network_finds_nothing_any_more_nothing_is_left(bar):
    bar.session.window = DARK
    bar.propagate()
    assert bar.slices == [3]
    assert "stayed as they were" not in bar.said[-1]


def test_between_two_boxes_nothing_is_left_either(bar):
    bar.draw(BoxPrompt(bar.axis, 7, 3, 5, 10, 12))
    bar.session.window = DARK
    bar.propagate()
    assert bar.slices == [3, 7]


def test_a_way_that_was_not_asked_for_is_left_alone(bar):
    bar.session.window = DARK
    bar.propagate(first=3, last=6)
    assert bar.slices == [*range(4), *range(7, 11)]


@along
def test_what_a_person_had_a_hand_in_stays(bar):
    """Painted and accepted slices, an accepted one across, a box across, and another label."""
    across = (bar.axis + 1) % 3
    bar.paint(9, 2, np.s_[:7])
    bar.paint(6, 1, np.s_[6])
    bar.accept(bar.axis, 7)
    bar.accept(across, 7)
    size = [n for own, n in enumerate(bar.session.label.shape) if own != across]
    bar.draw(BoxPrompt(across, 9, 0, 0, size[1] - 1, size[0] - 1))
    before = bar.session.label.copy()
    bar.session.window = DARK
    bar.propagate()
    label = settled(bar)
    for index in (3, 6, 7, 9):
        np.testing.assert_array_equal(bar.planes(label)[index], bar.planes(before)[index])
    for index in (7, 9):
        np.testing.assert_array_equal(
            np.moveaxis(label, across, 0)[index], np.moveaxis(before, across, 0)[index]
        )
    np.testing.assert_array_equal(label == 2, before == 2)
    gone = (before == 1) & (label != 1)
    kept = np.moveaxis(gone, across, 0)
    assert not kept[[7, 9]].any()
    assert np.flatnonzero(bar.planes(gone).any((1, 2))).tolist() == [
        n for n in range(11) if n not in (3, 6, 7, 9)
    ]


def test_what_no_propagation_gave_stays_and_that_is_said(qapp, tmp_path):
    bar = Bar(tmp_path, 0)
    bar.draw(BoxPrompt3D((6, 5, 3), (9, 12, 10), 0))
    bar.session.window = DARK
    bar.propagate()
    assert bar.slices == [3, 6, 7, 8, 9]
    assert "3 slices that it did not come to stayed as they were." in bar.said[-1]
    bar.journal.close()


@along
def test_a_propagation_stays_within_a_3d_box(bar):
    bar.session.history.undo()
    bar.session.history.undo()
    low, high = np.insert([5, 3], bar.axis, 2), np.insert([12, 10], bar.axis, 8)
    bar.draw(BoxPrompt3D(tuple(low.tolist()), tuple(high.tolist()), bar.axis))
    bar.draw(BoxPrompt(bar.axis, 7, 3, 5, 8, 12))
    bar.propagate()
    assert bar.slices == list(range(2, 9))
    assert "its 3D box ends there" in bar.said[-1]


def test_a_3d_box_around_what_is_there_already_counts(bar):
    bar.draw(BoxPrompt3D((1, 5, 3), (6, 12, 10), 0))
    bar.propagate()
    assert bar.slices == list(range(1, 7))
    bar.propagate()
    assert bar.said[-1].startswith("Nothing has changed")


def test_of_boxes_in_any_order_nothing_is_made_anew(bar):
    bar.draw(BoxPrompt(0, 8, 3, 5, 10, 12))
    bar.draw(BoxPrompt(0, 1, 3, 5, 10, 12))
    bar.propagate()
    bar.propagate()
    assert bar.said[-1].startswith("Nothing has changed")


def test_one_that_is_stopped_leaves_what_it_has_not_come_to_and_says_so(bar):
    bar.session.window = WindowLevel(120, 250)
    before = settled(bar)
    bar.propagator.begin(bar.axis, 0, 10)
    bar.propagator.stop()
    bar.worker.run_all()
    np.testing.assert_array_equal(settled(bar), before)
    assert "you stopped it. 10 slices that it did not come to stayed as they were." in bar.said[-1]
    # It is not done: the next one takes them on.
    bar.session.window = DARK
    bar.propagate()
    assert bar.slices == [3]


def test_a_locked_label_loses_nothing(bar):
    style = bar.session.style(1)
    bar.session.window = DARK
    before = settled(bar)
    bar.propagator.begin(bar.axis, 0, 10)
    bar.session.set_style(1, replace(style, locked=True))
    bar.worker.run_all()
    np.testing.assert_array_equal(settled(bar), before)
    assert "locked" in str(bar.said[-1])
    assert not bar.propagator.active


def test_a_slice_drawn_on_meanwhile_stays(bar):
    bar.session.window = DARK
    bar.propagator.begin(bar.axis, 0, 10)
    bar.paint(8, 1, np.s_[0])
    painted = bar.session.label.copy()
    bar.worker.run_all()
    assert bar.slices == [3, 8]
    np.testing.assert_array_equal(bar.planes(bar.session.label)[8], bar.planes(painted)[8])


def test_its_journal_gives_the_same_voxels_and_is_verified(bar, monkeypatch, tmp_path):
    bar.paint(7, 0)
    bar.propagate()
    bar.session.window = DARK
    bar.propagate()
    bar.session.history.undo()
    label = settled(bar)
    assert bar.slices == list(range(7))
    bar.journal.close()
    records = read_journal(tmp_path / "a.journal").records
    again = restore(records, label.shape).history
    np.testing.assert_array_equal(again.label, label)
    assert (again.undo_name, again.redo_name) == ("propagation of Label 1",) * 2
    again.redo()
    assert np.flatnonzero(bar.planes(again.label).any((1, 2))).tolist() == [3]
    load_instead(monkeypatch, ScriptedEngine())
    monkeypatch.setattr(replay_check, "shipped_model", lambda name: Path(name))
    check = replay_check.ReplayCheck(bar.volume, None)
    for record in records:
        check.apply(record)
    verdict = check.verdict
    # The box, 10 slices of the first propagation, 3 above the box of the second, none of the third.
    assert (verdict.masks, verdict.identical) == (14, 14)
