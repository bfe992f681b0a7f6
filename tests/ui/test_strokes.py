"""A brush stroke during which a script changes the label can be undone as well as others."""

from types import SimpleNamespace

import numpy as np
import pytest
from held_worker import HeldWorker
from napari.components import ViewerModel
from napari.layers import Image, Labels
from scripted_engine import ScriptedEngine

from napari_medsamq.annotation.session import AnnotationSession
from napari_medsamq.inference.preprocess import IDENTITY
from napari_medsamq.io.volume import volume_from_slices
from napari_medsamq.prompts import BoxPrompt
from napari_medsamq.ui.canvas.brush_range import BrushRange
from napari_medsamq.ui.canvas.label_strokes import LabelStrokes

BOX = BoxPrompt(0, 1, 3, 5, 10, 12)


def segment(session, label_id, box=BOX):
    session.commit(box, list(session.segment(box)), label_id)


def change(session, voxels, label_id):
    values = np.full(len(voxels), label_id, np.uint16)
    return session.history.change("other", np.array(voxels), values, session.history.prompts)


def twice(session):
    session.history.undo()
    session.history.undo()


def undo_and_draw(session):
    """Leaves as many edits as there were."""
    session.history.undo()
    segment(session, 3)


MEANWHILE = [
    lambda session: None,
    lambda session: session.history.undo(),
    twice,
    undo_and_draw,
    lambda session: session.remove_prompt(session.history.prompts[-1]),
    lambda session: change(session, [0, 1], 5),
    lambda session: segment(session, 4),
]


@pytest.mark.parametrize("meanwhile", MEANWHILE)
@pytest.mark.parametrize(("paint", "reach"), [(0, None), (1, None), (2, None), (1, 0.1), (2, 0.1)])
def test_undo_and_redo_walk_past_it(qapp, meanwhile, paint, reach):
    array = np.full((3, 16, 14), 10, np.int16)
    array[:, 5:13, 3:11] = 200
    volume = volume_from_slices(array, (1, 1, 1), "bar").with_modality("CT")
    session, said = AnnotationSession(volume, ScriptedEngine(), IDENTITY), []
    segment(session, 2, BoxPrompt(0, 1, 3, 5, 10, 9))
    segment(session, 1)
    history = session.history
    viewer, layer = ViewerModel(), Labels(session.label)
    viewer.add_layer(layer)
    edits = LabelStrokes(session, layer, lambda: None, said.append)
    viewer.layers.selection.active = layer
    layer.mode, layer.brush_size = "paint", 4
    event = SimpleNamespace(type="mouse_press", position=(1, 6, 4))
    if reach is not None:
        edits.range = BrushRange(volume, Image(array), reach)
    stroke = edits.follow(viewer, event)
    next(stroke)
    with layer.block_history():
        layer.paint((1, 6, 4), paint)
        meanwhile(session)
        layer.paint((1, 12, 11), paint)
    event.type = "mouse_release"
    next(stroke, None)
    if reach is not None:
        assert (array[session.label == paint] == 200).all()

    def look():
        label = session.label.copy()
        counts = np.bincount(label.reshape(-1)).tolist()
        assert history.voxel_counts == {n: c for n, c in enumerate(counts) if n and c}
        for label_id in range(1, 6):
            part = history.part(label_id)
            assert (part is None) == (label_id not in history.voxel_counts)
            if part is not None:
                found = np.zeros(label.shape, bool)
                found[part.place] = part.mask
                np.testing.assert_array_equal(found, label == label_id)
        return label

    seen = [look()]
    while history.undo():
        seen.append(look())
    assert not session.label.any()
    for label in seen[-2::-1]:
        history.redo()
        np.testing.assert_array_equal(look(), label)
    assert said == []


def test_what_waits_for_the_end_of_a_stroke_is_not_done_for_a_worker_that_was_stopped(
    qtbot, monkeypatch
):
    monkeypatch.setattr("napari_medsamq.ui.canvas.label_strokes._button_is_down", lambda: True)
    volume = volume_from_slices(np.eye(16)[None], (1, 1, 1), "a").with_modality("CT")
    session = AnnotationSession(volume, ScriptedEngine(), IDENTITY)
    viewer, layer = ViewerModel(), Labels(session.label)
    viewer.add_layer(layer)
    viewer.layers.selection.active, layer.mode = layer, "paint"
    edits, done = LabelStrokes(session, layer, lambda: None, lambda error: None), []
    stopped, going = HeldWorker(), HeldWorker()
    event = SimpleNamespace(type="mouse_press")
    stroke = edits.follow(viewer, event)
    next(stroke)
    edits.after_stroke(lambda: done.append("of a worker that was stopped"), stopped)
    edits.after_stroke(lambda: done.append("of another"), going)
    edits.after_stroke(lambda: done.append("of none"))
    stopped.running = False
    assert done == []
    event.type = "mouse_release"
    next(stroke, None)
    qtbot.waitUntil(lambda: done == ["of another", "of none"])
