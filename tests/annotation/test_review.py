"""What is known of slices counts for the masks that it was said of."""

from __future__ import annotations

import numpy as np
import pytest
from scripted_engine import ScriptedEngine

from napari_medsamq.annotation.acceptance import Acceptance, mask_key
from napari_medsamq.annotation.history import History
from napari_medsamq.annotation.review import DOUBTFUL, SURE, Grade, Review
from napari_medsamq.annotation.session import AnnotationSession
from napari_medsamq.inference.confidence import MaskCheck, dice, slice_confidence, wider_box
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
    review.show(keys, {index: size**2 for index, size in sizes.items()}, [12, 16])


RIGHT, WORSE, WRONG = (MaskCheck(agreement, 0.9) for agreement in (1.0, 0.65, 0.4))


@pytest.fixture
def history() -> History:
    return History((30, 20, 30))


@pytest.fixture
def review(history: History) -> Review:
    made = Review(history, 0, 1)
    show(made, dict.fromkeys(range(10, 20), 5))
    for index in range(10, 20):
        made.note(index, key(5), {12: WRONG, 16: WORSE}.get(index, RIGHT))
    return made


def test_slices_are_graded_by_confidence(review: Review) -> None:
    assert DOUBTFUL < SURE
    grades = [review.grade(index) for index in range(9, 20)]
    assert grades[0] is None
    assert grades[3] == Grade.doubtful
    assert grades[7] == Grade.unsure
    assert grades.count(Grade.sure) == 8
    assert review.confidence(12) == slice_confidence(WRONG, 1.0, 0.0)


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


def test_a_mask_is_asked_about_in_a_wider_box_within_the_slice() -> None:
    np.testing.assert_allclose(wider_box([10, 20, 29, 59], (64, 80)), [8, 16, 31, 63])
    np.testing.assert_allclose(wider_box([0, 2, 79, 60], (64, 80)), [0, 0, 79, 63])


def test_agreement_is_the_dice_similarity() -> None:
    mask = np.zeros((8, 8), bool)
    mask[:4] = True
    half = mask.copy()
    half[2:] = False
    assert dice(mask, mask) == 1
    assert dice(mask, half) == pytest.approx(2 / 3)
    assert dice(mask, ~mask) == dice(mask & False, mask & False) == 0


@pytest.mark.parametrize(
    "worse",
    [
        (MaskCheck(0.9, 0.9), 1.0, 0.1),  # found otherwise in a wider box
        (MaskCheck(1.0, 0.7), 1.0, 0.1),  # of which the network is less sure
        (MaskCheck(1.0, 0.9), 0.5, 0.1),  # that is small beside others
        (MaskCheck(1.0, 0.9), 1.0, 0.4),  # far from where it was drawn
        (MaskCheck(1.0, 0.9), 1.0, None),  # drawn nowhere
    ],
)
def test_a_mask_is_trusted_less_for_each_thing_that_tells_against_it(
    worse: tuple[MaskCheck, float, float | None],
) -> None:
    assert 0 < slice_confidence(*worse) < slice_confidence(RIGHT, 1.0, 0.1) < 1


def test_confidence_lies_between_0_and_1() -> None:
    assert slice_confidence(MaskCheck(0.5, -0.1), 1.0, 0.0) == 0
    assert slice_confidence(MaskCheck(1.0, 1.3), 1.0, 0.0) == 1
    assert slice_confidence(MaskCheck(0.8, 0.5), 1 / 16, 1.0) == pytest.approx(0.1)


def test_the_nearest_known_slice_counts_and_the_largest_mask(review: Review) -> None:
    assert review.confidence(19) == slice_confidence(RIGHT, 1.0, 3 / 9)
    sizes = dict.fromkeys(range(10, 20), 5)
    keys = {index: key(size) for index, size in sizes.items()}
    review.show(keys, dict.fromkeys(range(10, 20), 25), [10, 18])
    assert review.confidence(19) == slice_confidence(RIGHT, 1.0, 1 / 9)
    review.show(keys, dict.fromkeys(range(10, 20), 25), [])
    assert review.confidence(19) == slice_confidence(RIGHT, 1.0, None)
    # A neighbour that has grown makes all others smaller parts of the structure.
    show(review, {**sizes, 15: 20})
    assert review.confidence(11) == slice_confidence(RIGHT, 1 / 16, 1 / 9)
    assert review.grade(11) == Grade.doubtful
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
    good, bad = (session.predictor(0).check_mask(3, mask) for mask in (right, wrong))
    assert good.agreement == 1
    assert bad.agreement == pytest.approx(2 / 3, abs=0.02)
    with pytest.raises(ValueError, match="empty mask"):
        session.predictor(0).check_mask(3, right & False)


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
        session.predictor(0).check_mask(index, array[index] == 200)
    encoded = engine.encoded
    list(session.segment(box))
    assert engine.encoded == encoded
    # Whole slices are kept, as the next box is asked of them.
    large = np.ones((100, 100), bool)
    for _ in range(2):
        session.predictor(0).check_mask(3, large)
    assert engine.encoded == encoded + 1
