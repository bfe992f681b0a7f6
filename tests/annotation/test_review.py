"""What is known of slices counts for the masks that it was said of."""

from __future__ import annotations

import numpy as np
import pytest
from scripted_engine import ScriptedEngine

from napari_medsamq.annotation.acceptance import Acceptance, mask_key
from napari_medsamq.annotation.history import History
from napari_medsamq.annotation.review import DOUBTFUL, SURE, Grade, Review
from napari_medsamq.annotation.session import AnnotationSession
from napari_medsamq.inference.confidence import (
    agreement,
    jittered_boxes,
    mask_confidence,
    slice_confidence,
)
from napari_medsamq.inference.crop import Zoom
from napari_medsamq.inference.embeddings import EMBEDDING_BYTES
from napari_medsamq.inference.preprocess import IDENTITY
from napari_medsamq.io.volume import volume_from_slices
from napari_medsamq.prompts import BoxPrompt


def key(size: int) -> bytes:
    mask = np.zeros((20, 30), bool)
    mask[:size, :size] = True
    return mask_key(mask)


def show(review: Review, sizes: dict[int, int]) -> None:
    keys = {index: key(size) for index, size in sizes.items()}
    review.show(keys, {index: size**2 for index, size in sizes.items()})


@pytest.fixture
def history() -> History:
    return History((30, 20, 30))


@pytest.fixture
def review(history: History) -> Review:
    made = Review(history, 0, 1)
    show(made, dict.fromkeys(range(10, 20), 5))
    for index in range(10, 20):
        made.note(index, key(5), {12: 0.5, 16: 0.65}.get(index, 0.9))
    return made


def test_slices_are_graded_by_confidence(review: Review) -> None:
    assert DOUBTFUL < SURE
    grades = [review.grade(index) for index in range(9, 20)]
    assert grades[0] is None
    assert grades[3] == Grade.doubtful
    assert grades[7] == Grade.unsure
    assert grades.count(Grade.sure) == 8
    assert review.confidence(12) == 0.5


def test_the_next_doubtful_slice_is_found_both_ways(review: Review) -> None:
    assert review.next_doubtful(10, 1) == 12
    assert review.next_doubtful(12, 1) == 16
    assert review.next_doubtful(16, 1) is None
    assert review.next_doubtful(19, -1) == 16
    assert review.next_doubtful(12, -1) is None


def test_what_was_accepted_is_so_until_it_changes(review: Review, history: History) -> None:
    history.accepted.update(Acceptance(0, index, 1, key(5)) for index in range(10, 14))
    assert review.grade(12) == Grade.accepted
    assert review.next_doubtful(10, 1) == 16
    sizes = dict.fromkeys(range(10, 20), 5)
    show(review, {**sizes, 12: 6})
    assert review.grade(12) == Grade.unknown
    assert review.unchecked(19) == 12
    assert review.grade(11) == Grade.accepted
    # An undo brings the mask back, and what was said of it.
    show(review, sizes)
    assert review.grade(12) == Grade.accepted


def test_what_was_seen_is_so_as_it_was_seen(review: Review) -> None:
    assert review.seen == {}
    for index in (10, 12, 30):
        review.see(index, key(5))
    assert review.seen == {10: key(5), 12: key(5)}
    assert review.unseen == [11, *range(13, 20)]
    show(review, {10: 5, 12: 6})
    assert review.unseen == [12]
    show(review, {10: 5, 12: 5})
    assert review.unseen == []


def test_another_network_has_to_be_asked_anew(review: Review, history: History) -> None:
    history.accepted.add(Acceptance(0, 10, 1, key(5)))
    review.forget_confidence()
    assert review.grade(10) == Grade.accepted
    assert {review.grade(index) for index in range(11, 20)} == {Grade.unknown}
    assert review.unchecked(15) == 15
    show(review, {})
    assert review.slices == []
    assert review.unchecked(15) is None


def test_boxes_are_moved_within_the_slice() -> None:
    boxes = jittered_boxes([10, 20, 29, 59], (64, 80))
    looser, tighter = [8, 16, 31, 63], [11, 22, 28, 57]
    back, on = [8.8, 17.6, 27.8, 56.6], [11.2, 22.4, 30.2, 61.4]
    np.testing.assert_allclose(boxes, [looser, tighter, back, on])
    assert (jittered_boxes([0, 0, 79, 63], (64, 80)) <= [79, 63, 79, 63]).all()
    assert (jittered_boxes([0, 0, 79, 63], (64, 80)) >= 0).all()


def test_agreement_is_the_mean_dice() -> None:
    mask = np.zeros((8, 8), bool)
    mask[:4] = True
    half = mask.copy()
    half[2:] = False
    assert agreement(mask, np.stack([mask, half])) == pytest.approx((1 + 2 / 3) / 2)
    assert agreement(mask, np.stack([~mask])) == 0
    assert agreement(mask & False, np.stack([mask & False])) == 0
    assert mask_confidence(0.5, 1.2) == 0.5
    assert mask_confidence(0.5, 0.8) == pytest.approx(0.4)


def test_small_masks_of_a_structure_are_trusted_less(review: Review) -> None:
    assert slice_confidence(0.8, 1) == 0.8
    assert slice_confidence(0.8, 1 / 16) == pytest.approx(0.4)
    # A neighbour that has grown makes all others smaller parts of the structure.
    show(review, {**dict.fromkeys(range(10, 20), 5), 15: 20})
    assert review.confidence(14) == pytest.approx(0.45)
    assert review.grade(14) == Grade.doubtful
    assert review.grade(15) == Grade.unknown


def test_a_mask_that_the_network_would_find_anyway_is_sure() -> None:
    array = np.full((6, 64, 64), 10, np.int16)
    array[:, 20:40, 20:40] = 200
    session = AnnotationSession(
        volume_from_slices(array, (1, 1, 1), "block"), ScriptedEngine(), IDENTITY
    )
    right = array[3] == 200
    wrong = np.zeros_like(right)
    wrong[20:40, 20:60] = True
    sure = [session.predictor(0).mask_confidence(3, mask) for mask in (right, wrong, right & False)]
    assert sure[0] > 0.75
    assert sure[1] < 0.65
    assert sure[2] == 1


def test_checks_drive_out_no_part_of_a_slice_that_was_clicked_on() -> None:
    """A check shows the network parts of slices that nobody may ask for again."""
    array = np.full((12, 100, 100), 10, np.int16)
    array[:, 40:50, 60:70] = 200
    volume, engine = volume_from_slices(array, (1, 1, 1), "block"), ScriptedEngine()
    # Room for one part, and seven slices.
    session = AnnotationSession(
        volume, engine, IDENTITY, zoom=Zoom(), embedding_budget=8 * EMBEDDING_BYTES
    )
    box = BoxPrompt(0, 5, 60, 40, 69, 49)
    (first,) = session.segment(box)
    assert first.zoomed
    for index in range(12):
        session.predictor(0).mask_confidence(index, array[index] == 200)
    encoded = engine.encoded
    list(session.segment(box))
    assert engine.encoded == encoded
    # Whole slices are kept, as the next box is asked of them.
    large = np.ones((100, 100), bool)
    for _ in range(2):
        session.predictor(0).mask_confidence(3, large)
    assert engine.encoded == encoded + 1
