from __future__ import annotations

import gc
import weakref
from pathlib import Path

import numpy as np
import pytest
from reference import DATA, dsc, stored
from scripted_engine import ScriptedEngine

from napari_medsamq.annotation.history import LabelStyle
from napari_medsamq.annotation.session import AnnotationSession
from napari_medsamq.errors import PromptError
from napari_medsamq.inference.crop import Zoom
from napari_medsamq.inference.embeddings import EMBEDDING_BYTES
from napari_medsamq.inference.engine import OpenVINOEngine
from napari_medsamq.inference.preprocess import IDENTITY, SOFT_TISSUE, WindowLevel
from napari_medsamq.io.label_writer import write_label
from napari_medsamq.io.volume import read_volume, volume_from_slices
from napari_medsamq.prompts import BoxPrompt, BoxPrompt3D

SHAPE = (12, 16, 14)
# Bright in (z, y, x), all of it off the centre.
BLOCK = (slice(2, 9), slice(5, 13), slice(3, 8))


@pytest.fixture
def fake() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
def session(fake: ScriptedEngine) -> AnnotationSession:
    array = np.full(SHAPE, 10, np.int16)
    array[BLOCK] = 200
    return AnnotationSession(volume_from_slices(array, (1, 1, 1), "block"), fake, IDENTITY)


def drawn(session: AnnotationSession, box: BoxPrompt | BoxPrompt3D, label_id: int = 1) -> None:
    session.commit(box, list(session.segment(box)), label_id)


def unchanged(session: AnnotationSession) -> bool:
    history = session.history
    return not (session.label.any() or history.prompts or history.undo_name)


@pytest.mark.parametrize(
    ("box", "found"),
    [
        (BoxPrompt(0, 4, 4, 6, 6, 9), np.s_[4, 6:10, 4:7]),
        (BoxPrompt(1, 7, 4, 3, 6, 6), np.s_[3:7, 7, 4:7]),
        (BoxPrompt(2, 5, 7, 3, 11, 6), np.s_[3:7, 7:12, 5]),
        (BoxPrompt(0, 2, 0, 0, 13, 15), np.s_[2, 5:13, 3:8]),
    ],
    ids=["axial", "coronal", "sagittal", "whole slice"],
)
def test_a_box_marks_its_voxels(
    session: AnnotationSession, box: BoxPrompt, found: tuple[slice, ...]
) -> None:
    drawn(session, box, label_id=5)
    expected = np.zeros(SHAPE, np.uint16)
    expected[found] = 5
    np.testing.assert_array_equal(session.label, expected)


@pytest.mark.parametrize("side", [20, 100, 300])
@pytest.mark.parametrize("zoom", [None, Zoom()])
def test_a_tight_box_has_all_of_its_pixels(
    fake: ScriptedEngine, side: int, zoom: Zoom | None
) -> None:
    """The engine finds what is within the corners that it is given, and nothing beyond."""
    array = np.zeros((1, side, side), np.uint8)
    array[0, 7:16, 5:12] = 255
    session = AnnotationSession(
        volume_from_slices(array, (1, 1, 1), "block"), fake, IDENTITY, zoom=zoom
    )
    (found,) = session.segment(BoxPrompt(0, 0, 5, 7, 11, 15))
    assert found.zoomed == (zoom is not None and side > 30)
    if side > 256 and zoom is None:
        assert fake.boxes == [[4, 5, 9, 12]], "as LiteMedSAM"
    else:
        np.testing.assert_array_equal(found.mask, array[0] > 0)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_3d_box_marks_what_it_encloses(session: AnnotationSession, axis: int) -> None:
    masks = list(session.segment(BoxPrompt3D((2, 5, 3), (8, 12, 7), axis)))
    assert len(masks) == (7, 8, 5)[axis]
    assert {mask.axis for mask in masks} == {axis}
    session.commit(BoxPrompt3D((2, 5, 3), (8, 12, 7), axis), masks, 1)
    np.testing.assert_array_equal(session.label == 1, session.volume.data == 200)


def test_a_slice_is_encoded_once_for_all_its_boxes(
    session: AnnotationSession, fake: ScriptedEngine
) -> None:
    (first,) = session.segment(BoxPrompt(0, 4, 3, 5, 7, 12))
    (second,) = session.segment(BoxPrompt(0, 4, 4, 6, 6, 9))
    assert len(fake.images) == 1
    assert len(fake.boxes) == 2
    assert first.encode_ms > 0
    assert second.encode_ms == 0
    list(session.segment(BoxPrompt(1, 4, 3, 5, 7, 8)))
    assert len(fake.images) == 2


def test_a_slice_is_encoded_again_after_the_window_changed(
    session: AnnotationSession, fake: ScriptedEngine
) -> None:
    box = BoxPrompt(0, 4, 3, 5, 7, 12)
    for window in (IDENTITY, WindowLevel(100, 50), IDENTITY):
        session.window = window
        list(session.segment(box))
    assert len(fake.images) == 2


def test_what_is_encoded_ahead_takes_the_place_of_what_is_not_wanted(fake: ScriptedEngine) -> None:
    ramp = np.arange(12 * 16 * 14).reshape(SHAPE) % 256
    volume = volume_from_slices(ramp, (1, 1, 1), "ramp")
    session = AnnotationSession(volume, fake, IDENTITY, embedding_budget=4 * EMBEDDING_BYTES)
    for index in (4, 5, 6, 3):
        session.predictor(0).prepare(index)
    # By their age alone, 4, which is the nearest, would go.
    session.predictor(0).prepare(7, [5, 4, 6, 7])
    assert [index for index in range(12) if session.predictor(0).is_ready(index)] == [4, 5, 6, 7]


def test_one_window_serves_all_slices_of_a_box(fake: ScriptedEngine) -> None:
    ramp = np.arange(12 * 16 * 14).reshape(SHAPE) % 256
    session = AnnotationSession(volume_from_slices(ramp, (1, 1, 1), "ramp"), fake, IDENTITY)
    box = BoxPrompt3D((2, 5, 3), (8, 12, 7))
    walk = session.segment(box)
    next(walk)
    session.window = SOFT_TISSUE
    list(walk)
    session.window = IDENTITY
    list(session.segment(box))
    assert len(fake.images) == 7


def test_another_engine_encodes_for_itself(
    session: AnnotationSession, fake: ScriptedEngine
) -> None:
    box, other = BoxPrompt(0, 4, 4, 6, 6, 9), ScriptedEngine()
    drawn(session, box)
    begun = session.segment(BoxPrompt3D((2, 5, 3), (8, 12, 7)))
    next(begun)
    session.engine = other
    for _ in begun:  # what began with one engine ends with it
        pass
    assert not other.images
    drawn(session, box)
    assert len(other.images) == 1


def test_nothing_found_is_refused_and_changes_nothing(
    session: AnnotationSession, fake: ScriptedEngine
) -> None:
    fake.blind = True
    for box in (BoxPrompt(0, 4, 3, 5, 7, 12), BoxPrompt3D((2, 5, 3), (8, 12, 7))):
        with pytest.raises(PromptError, match="found nothing in this box"):
            drawn(session, box)
    assert unchanged(session)


@pytest.mark.parametrize(
    "box",
    [
        BoxPrompt(0, 12, 1, 1, 5, 5),
        BoxPrompt(0, 3, 1, 1, 14, 5),
        BoxPrompt(0, 3, 1, 1, 5, 16),
        BoxPrompt(1, 16, 1, 1, 5, 5),
        BoxPrompt(1, 3, 1, 1, 5, 12),
        BoxPrompt(2, 14, 1, 1, 5, 5),
        BoxPrompt(2, 3, 1, 1, 16, 5),
        BoxPrompt3D((0, 0, 0), (12, 5, 5)),
        BoxPrompt3D((0, 0, 0), (5, 16, 5), 1),
        BoxPrompt3D((0, 0, 0), (5, 5, 14), 2),
    ],
)
def test_a_box_that_leaves_the_volume_is_refused(
    session: AnnotationSession, fake: ScriptedEngine, box: BoxPrompt | BoxPrompt3D
) -> None:
    with pytest.raises(PromptError, match=r"outside a volume of shape \(12, 16, 14\)"):
        drawn(session, box)
    assert unchanged(session)
    assert fake.images == []


def test_removing_one_of_two_overlapping_boxes_keeps_the_others_voxels(
    session: AnnotationSession,
) -> None:
    drawn(session, BoxPrompt(0, 4, 3, 5, 5, 12))
    alone = session.label.copy()
    drawn(session, BoxPrompt(0, 4, 5, 5, 7, 12))
    first, second = session.history.prompts
    assert np.intersect1d(first.voxels, second.voxels).size > 0
    session.remove_prompt(second)
    np.testing.assert_array_equal(session.label, alone)
    assert session.history.prompts == (first,)
    session.history.undo()
    session.remove_prompt(first)
    assert np.flatnonzero(session.label).tolist() == second.voxels.tolist()


def test_a_finished_neighbour_comes_back_by_undo(session: AnnotationSession) -> None:
    drawn(session, BoxPrompt(0, 4, 3, 5, 5, 12), 1)
    alone = session.label.copy()
    box = BoxPrompt(0, 4, 5, 5, 7, 12)
    session.commit(box, session.segment(box), 2)
    assert np.count_nonzero(session.label == 1) == np.count_nonzero(alone) - 8
    session.history.undo()
    np.testing.assert_array_equal(session.label, alone)


def test_a_box_that_is_moved_takes_its_old_mask_along(session: AnnotationSession) -> None:
    drawn(session, BoxPrompt(0, 4, 3, 5, 5, 12), 1)
    (old,) = session.history.prompts
    box = BoxPrompt(0, 6, 3, 5, 5, 12)
    session.commit(box, session.segment(box), 1, replaces=old)
    assert np.unique(np.nonzero(session.label)[0]).tolist() == [6]
    assert [prompt.box for prompt in session.history.prompts] == [box]
    session.history.undo()
    assert np.unique(np.nonzero(session.label)[0]).tolist() == [4]
    assert session.history.prompts == (old,)


def test_removing_a_label_leaves_the_others(session: AnnotationSession) -> None:
    drawn(session, BoxPrompt(0, 4, 3, 5, 7, 12), 1)
    drawn(session, BoxPrompt(0, 5, 3, 5, 7, 12), 2)
    session.remove_label(1)
    assert session.history.voxel_counts == {2: 40}
    assert [prompt.label_id for prompt in session.history.prompts] == [2]


def test_labels_have_names_that_undo_does_not_touch(session: AnnotationSession) -> None:
    session.set_style(2, LabelStyle("Liver", "#123456"))
    drawn(session, BoxPrompt(0, 4, 3, 5, 7, 12), 2)
    assert session.history.undo_name == "box for Liver"
    session.history.undo()
    assert session.style(2) == LabelStyle("Liver", "#123456")


@pytest.mark.parametrize("label_id", [0, -1, 65536])
def test_a_label_id_out_of_range_is_refused(session: AnnotationSession, label_id: int) -> None:
    with pytest.raises(ValueError, match="1 to 65535"):
        drawn(session, BoxPrompt(0, 4, 3, 5, 7, 12), label_id)
    assert unchanged(session)


def test_a_coloured_picture_is_a_volume_of_one_slice(fake: ScriptedEngine) -> None:
    picture = np.zeros((1, 16, 14, 3), np.uint8)
    picture[0, 5:13, 3:8] = (255, 250, 245)
    session = AnnotationSession(volume_from_slices(picture, (1, 1, 1), "photo"), fake)
    drawn(session, BoxPrompt(0, 0, 2, 4, 9, 14))
    np.testing.assert_array_equal(session.label == 1, picture[..., 0] > 0)


def test_a_label_or_an_earlier_copy_is_saved(session: AnnotationSession, tmp_path: Path) -> None:
    drawn(session, BoxPrompt(0, 4, 3, 5, 7, 12), 3)
    copy = session.label.copy()
    session.history.undo()
    for name, label, counts in (("now", session.label, {}), ("before", copy, {3: 40})):
        saved = write_label(tmp_path / f"{name}.nii.gz", label, session.volume, session.styles)
        assert saved.counts == counts


# A minute or two.
@pytest.mark.slow
@pytest.mark.parametrize("case", ["mr_sarcoma", "ct_abdomen"])
def test_3d_boxes_give_the_published_labels(engine: OpenVINOEngine, case: str) -> None:
    reference = stored(f"{case}_volume")
    session = AnnotationSession(read_volume(DATA / f"{case}_volume.npz"), engine)
    for label_id, (x0, y0, z0, x1, y1, z1) in enumerate(reference["boxes"].tolist(), start=1):
        drawn(session, BoxPrompt3D((z0, y0, x0), (z1, y1, x1)), label_id)
    for label_id in range(1, len(reference["boxes"]) + 1):
        assert dsc(session.label == label_id, reference["segs"] == label_id) >= 0.995


@pytest.mark.parametrize("case", ["mr_sarcoma", "ct_abdomen"])
def test_around_their_middle_slices_3d_boxes_give_the_published_labels(
    engine: OpenVINOEngine, case: str
) -> None:
    reference = stored(f"{case}_volume")
    session = AnnotationSession(read_volume(DATA / f"{case}_volume.npz"), engine)
    for label_id, (x0, y0, z0, x1, y1, z1) in enumerate(reference["boxes"].tolist(), start=1):
        middle = (z0 + z1) // 2
        for found in session.segment(BoxPrompt3D((middle - 1, y0, x0), (middle + 1, y1, x1))):
            segs = reference["segs"][found.index]
            # Later labels took voxels from earlier ones.
            assert dsc(found.mask & (segs <= label_id), segs == label_id) >= 0.99


def test_a_session_goes_with_its_last_user(fake: ScriptedEngine) -> None:
    """Its arrays are large: thousands of them must not wait for a collection."""
    gc.collect()
    gc.disable()
    try:
        used = AnnotationSession(
            volume_from_slices(np.eye(12 * 12).reshape(12, 12, 144), (1, 1, 1), "a"), fake
        )
        drawn(used, BoxPrompt(0, 5, 2, 2, 140, 10))
        gone = weakref.ref(used)
        del used
        assert gone() is None
    finally:
        gc.enable()
