"""What runs in another thread has what it needs from before: whatever is done meanwhile."""

import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from held_worker import HeldWorker
from napari.layers import Image
from qtpy.QtCore import QObject, Qt
from scripted_engine import ScriptedEngine
from windowless import tool_context

from napari_medsamq.analysis import statistics
from napari_medsamq.annotation.acceptance import mask_key
from napari_medsamq.annotation.history import History
from napari_medsamq.annotation.repairs import REPAIRS
from napari_medsamq.annotation.session import AnnotationSession
from napari_medsamq.inference.crop import Zoom
from napari_medsamq.inference.engine import Engines
from napari_medsamq.inference.preprocess import IDENTITY, WindowLevel
from napari_medsamq.io.volume import volume_from_slices
from napari_medsamq.prompts import BoxPrompt
from napari_medsamq.records.provenance import read_provenance
from napari_medsamq.ui.forms.guide import PROPAGATE, SAVE
from napari_medsamq.ui.tools.model import ModelTool
from napari_medsamq.ui.tools.prefetch import PrefetchTool
from napari_medsamq.ui.tools.propagate import PropagateTool
from napari_medsamq.ui.tools.repair import RepairTool
from napari_medsamq.ui.tools.review import ReviewTool
from napari_medsamq.ui.tools.save_load import SaveLoadTool
from napari_medsamq.ui.tools.view.measure import MeasureTool
from napari_medsamq.ui.worker import Worker
from napari_medsamq.ui.workspace import Workspace

BOX = BoxPrompt(0, 3, 3, 5, 10, 12)
SIZE = 8 * 8


class Desk:
    """A workspace with label 1 on slices 3 and 4, a viewer without a window, a worker that waits.

    Failures, and the steps of the guide that are done, are in `said`.
    """

    def __init__(self, qtbot) -> None:
        array = np.full((8, 16, 14), 10, np.int16)
        array[:, 5:13, 3:11] = 200
        self.volume = volume_from_slices(array, (1, 1, 1), "bar").with_modality("CT")
        self.engine = ScriptedEngine()
        self.session = AnnotationSession(self.volume, self.engine, IDENTITY)
        self.workspace = Workspace(self.session, Image(array))
        self.worker, self.said = HeldWorker(), []
        self.context = tool_context(self.workspace, self.worker, self.said)
        self.view, self.dock = self.context.view, self.context.dock
        for widget in (self.context.canvas, self.dock):
            qtbot.addWidget(widget)
        self.dock.guide.done = self.said.append
        self.view.show(0, 3)
        for index in (3, 4):
            self.draw(index)

    def draw(self, index: int, label_id: int = 1) -> None:
        box = BoxPrompt(0, index, 3, 5, 10, 12)
        self.session.commit(box, list(self.session.segment(box)), label_id)


@pytest.fixture
def desk(qtbot):
    return Desk(qtbot)


@pytest.fixture
def measuring(desk, qtbot):
    MeasureTool(desk.context)
    qtbot.waitUntil(lambda: desk.worker.busy)
    return desk.dock.measure


def volume_of(form):
    return form.rows.get("Slices", "nothing").partition("(")[2]


def test_numbers_are_those_of_when_they_were_asked_for(desk, measuring, qtbot):
    desk.workspace.remove_label(1)
    desk.worker.run()
    assert volume_of(measuring) == f"{2 * SIZE} voxels)"
    qtbot.waitUntil(lambda: desk.worker.busy)
    desk.worker.run_all()
    assert measuring.rows == {}
    assert desk.said == []


def test_an_edit_in_the_middle_of_counting_tears_nothing(desk, measuring, monkeypatch):
    edits = []

    def edit():
        if not edits:
            edits.append(desk.session.history.undo())

    place, count = statistics._place, statistics._count

    def placed(*arguments):
        found = place(*arguments)
        edit()
        return found

    def counted(found):
        edit()
        return count(found)

    monkeypatch.setattr(statistics, "_place", placed)
    monkeypatch.setattr(statistics, "_count", counted)
    desk.session.history.undo()
    desk.worker.run()
    assert edits
    assert desk.said == []
    assert volume_of(measuring) == f"{2 * SIZE} voxels)"


@pytest.fixture
def reviewer(desk):
    made = ReviewTool(desk.context, PropagateTool(desk.context))
    made.work()
    assert desk.worker.busy
    return made


def test_slices_are_those_of_when_they_were_looked_for(desk, reviewer):
    desk.session.history.undo()
    desk.worker.run()
    assert reviewer.review.slices == [3, 4]


def test_a_slice_is_checked_as_it_was_through_what_was_seen(desk, reviewer):
    desk.worker.run()
    before = desk.session.label[3] == 1
    assert desk.worker.busy
    voxels = np.flatnonzero(desk.session.label)[:1]
    desk.session.history.change("less", voxels, np.zeros(1, np.uint16), ())
    seen = desk.engine.images[-1]
    desk.session.window = WindowLevel(5000, 100)
    deliver = desk.worker.compute()
    np.testing.assert_array_equal(desk.engine.images[-1], seen)
    desk.session.window = IDENTITY
    deliver()
    assert (3, mask_key(before)) in reviewer.review._checks


@pytest.mark.parametrize(
    "change",
    [
        lambda session: setattr(session, "window", WindowLevel(5000, 100)),
        lambda session: setattr(session, "zoom", Zoom()),
        lambda session: setattr(session, "engine", ScriptedEngine()),
    ],
)
def test_how_sure_another_network_was_is_not_told(desk, reviewer, change):
    desk.worker.run()
    deliver = desk.worker.compute()
    change(desk.session)
    # As the window does it: the next check waits until the user rests.
    desk.workspace.seen_changed.emit()
    deliver()
    assert reviewer.describe(3) == "Slice 4: not checked yet"


def test_how_sure_the_network_is_is_told(desk, reviewer):
    desk.worker.run()
    desk.worker.run()
    assert "confidence" in reviewer.describe(3)


def test_an_answer_on_its_way_when_the_worker_is_stopped_is_not_delivered(qapp):
    parent, heard, last = QObject(), [], threading.Event()
    worker = Worker("test", parent)
    worker.submit(lambda: 1, heard.append, heard.append)
    worker.submit(last.set, heard.append, heard.append)
    # Of one thread: the first answer has been sent.
    assert last.wait(timeout=60)
    worker.stop(drop_waiting=False)
    qapp.processEvents()
    assert heard == []
    assert not worker.busy


def test_what_fails_after_the_worker_was_stopped_is_told_by_napari(qtbot, monkeypatch):
    """A label that could not be saved, say, when the dock is gone."""
    parent, told, go = QObject(), [], threading.Event()
    monkeypatch.setattr("napari_medsamq.ui.worker.show_error", told.append)
    worker = Worker("test", parent)

    def fail():
        assert go.wait(timeout=60)
        raise OSError("The disk is full.")

    worker.submit(fail, told.append, lambda error: told.append("by the dock"))
    worker.stop(drop_waiting=False)
    go.set()
    qtbot.waitUntil(lambda: told == ["The disk is full."])


def other_model():
    engine = ScriptedEngine()
    engine.spec = replace(engine.spec, name="other")
    return engine


@pytest.mark.parametrize(
    "change",
    [
        lambda session: setattr(session, "window", WindowLevel(100, 200)),
        lambda session: setattr(session, "zoom", Zoom()),
        lambda session: setattr(session, "engine", other_model()),
        lambda session: session.set_style(2, replace(session.style(2), locked=True)),
        lambda session: session.history.undo(),
    ],
)
def test_a_propagation_is_made_again_when_its_network_or_label_is_another(desk, change):
    propagate = PropagateTool(desk.context)
    propagate.start()
    assert propagate.active
    desk.worker.run_all()
    propagate.start()
    assert not propagate.active
    change(desk.session)
    propagate.start()
    assert propagate.active
    desk.worker.run_all()
    assert set(desk.said) == {PROPAGATE}


def test_a_slice_is_encoded_ahead_as_it_was_seen(desk, qtbot):
    ahead = PrefetchTool(desk.context)
    desk.view.show(0, 6)
    qtbot.waitUntil(lambda: desk.worker.busy)
    desk.session.window = WindowLevel(5000, 100)
    desk.worker.compute()
    assert not desk.session.predictor(0).is_ready(6)
    desk.session.window = IDENTITY
    assert desk.session.predictor(0).is_ready(6)
    ahead.close()


def test_of_two_models_wanted_at_once_each_is_loaded_in_its_turn(desk, monkeypatch):
    monkeypatch.setattr(
        "napari_medsamq.inference.engine.OpenVINOEngine",
        lambda directory, **_: SimpleNamespace(directory=directory),
    )
    switch = ModelTool(desk.context, Engines(), SimpleNamespace(refresh=lambda: None))
    for name in "ab":
        switch.to_model(Path(name))
    for name in "ab":
        desk.worker.run()
        assert (desk.session.engine.directory, desk.workspace.model) == (Path(name), Path(name))


def test_a_label_is_saved_as_it_was_when_that_was_asked_for(desk, tmp_path):
    (report,) = [own for own in desk.dock.files.entries if "report" in own.text()]
    report.setChecked(True)
    SaveLoadTool(desk.context).save(tmp_path / "label.nii.gz")
    wanted = desk.session.label.copy()
    desk.draw(5)
    desk.session.label[0] = 7
    desk.session.set_style(1, desk.session.style(1).default(9))
    desk.worker.run()
    assert desk.said == [SAVE]
    saved = np.asarray(nib.load(tmp_path / "label.nii.gz").dataobj)
    np.testing.assert_array_equal(desk.volume.from_source(saved), wanted)
    found = read_provenance(tmp_path / "label.nii.gz")
    assert [entry["name"] for entry in found["labels"]] == ["Label 1"]
    assert len(found["prompts"]) == 2


def test_a_repair_has_the_other_label_of_when_it_was_asked_for(desk):
    mending = RepairTool(desk.context, PropagateTool(desk.context))
    (subtract,) = [repair for repair in REPAIRS if repair.title.startswith("Subtract")]
    desk.draw(6, 2)
    mending.repair(subtract, [2, 2.0])
    desk.workspace.remove_label(2)
    desk.worker.run()
    assert desk.session.history.voxel_counts == {1: SIZE}


def test_no_other_thread_reads_what_the_window_writes(
    engine, window, phantom, monkeypatch, tmp_path
):
    """Numbers, review, slices ahead, repairs, comparison and saving."""
    window.wait()
    window.close_dock()
    window.open_dock(prefetch=True)
    window.open(phantom.volume.path)
    owner, read = threading.get_ident(), []
    guarded = [(History, "label")]
    guarded += [
        (AnnotationSession, name) for name in ("engine", "window", "zoom", "history", "volume")
    ]
    for kind, name in guarded:
        own, hidden = getattr(kind, name, None), f"_guarded_{name}"
        holder = window.session if kind is AnnotationSession else window.session.history
        if own is None:
            setattr(holder, hidden, holder.__dict__.pop(name))

        def get(self, own=own, hidden=hidden, name=name):
            if threading.get_ident() != owner:
                read.append((name, threading.current_thread().name))
            return getattr(self, hidden) if own is None else own.fget(self)

        def put(self, value, own=own, hidden=hidden):
            setattr(self, hidden, value) if own is None else own.fset(self, value)

        monkeypatch.setattr(kind, name, property(get, put), raising=False)
    history, session = window.session.history, window.session
    for label_id, part in ((1, np.s_[10:14, 20:40, 30:50]), (2, np.s_[10:13, 20:40, 30:48])):
        mask = np.zeros(session.label.shape, bool)
        mask[part] = True
        mask[:, :, ::2] ^= mask[:, :, ::2] & (label_id == 2)
        voxels = np.flatnonzero(mask)
        values = np.full(voxels.size, label_id, np.uint16)
        history.change("drawn", voxels, values, history.prompts)
    window.workspace.refresh()
    window.workspace.image.contrast_limits = (-100, 200)
    controller, encoded = window.dock.controller, engine.encoded
    window.qtbot.waitUntil(
        lambda: all(controller.review.review.confidence(n) is not None for n in range(10, 14)),
        timeout=60_000,
    )
    assert engine.encoded > encoded
    assert window.dock.form.measure.rows["Label"] == "Label 1"
    (grow,) = [repair for repair in REPAIRS if repair.title == "Grow"]
    controller.repair.repair(grow, [3.0])
    window.wait()
    assert history.undo_name == "grow: Label 1"
    window.press(Qt.Key.Key_D)
    window.wait()
    assert controller.compare.overlay.active
    window.dock.controller.save_load.save(tmp_path / "label.nii.gz")
    window.wait()
    window.dock.controller.save_load.load(tmp_path / "label.nii.gz")
    window.wait()
    assert history.undo_name == "load label file"
    # The window closes when attributes are plain ones again.
    monkeypatch.undo()
    for holder in (session, history):
        for hidden in [name for name in holder.__dict__ if name.startswith("_guarded_")]:
            holder.__dict__[hidden.removeprefix("_guarded_")] = holder.__dict__.pop(hidden)
    assert read == []
