"""A mask is carried on, stops where the structure ends, and leaves what is known."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scripted_engine import ScriptedEngine

from napari_medsamq.annotation.session import AnnotationSession
from napari_medsamq.errors import PromptError
from napari_medsamq.inference.crop import CropTransform, Zoom
from napari_medsamq.inference.model_choice import (
    FAST_MODEL,
    FLOAT_MODEL,
    INT8_MODEL,
    shipped_models,
)
from napari_medsamq.inference.model_spec import ModelSpec
from napari_medsamq.inference.preprocess import IDENTITY
from napari_medsamq.inference.propagation import MaskCarrier, Stop, StopRules, gaps
from napari_medsamq.inference.slice_predictor import (
    SliceEvidence,
    SliceMask,
    gather_evidence,
    stability_of,
)
from napari_medsamq.io.volume import volume_from_slices
from napari_medsamq.prompts import BoxPrompt, BoxPrompt3D, CarryPrompt

SIZE = (64, 64)
SIDE = 4  # frame pixels of a slice pixel


WHOLE = CropTransform(SIZE, (1.0, 1.0))


def square(row: int, column: int, side: int = 12) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[row : row + side, column : column + side] = True
    return mask


def evidence(
    mask: np.ndarray, *, stability: float = 0.9, appearance: int = 0, brightness: float = 0.5
) -> SliceEvidence:
    direction = np.zeros(256, np.float32)
    direction[appearance] = 1
    framed = np.kron(mask, np.ones((SIDE, SIDE), bool)).astype(bool)
    return SliceEvidence(framed, int(framed.sum()), stability, direction, brightness, 0.1)


class World:
    """A structure slice by slice, as a network with a perfect eye would see it."""

    def __init__(self, masks: dict[int, np.ndarray], **odd: SliceEvidence) -> None:
        self.masks = masks
        self.odd = {int(name[1:]): own for name, own in odd.items()}
        self.iou = dict.fromkeys(self.odd, 0.5)
        self.boxes: dict[int, list[float]] = {}
        self.before: dict[int, np.ndarray] = {}
        self.network_state = SimpleNamespace(carry_prompt=CarryPrompt.carried)

    def segment_and_observe(
        self, index: int, box: np.ndarray, before: np.ndarray
    ) -> tuple[SliceMask, SliceEvidence]:
        self.before[index] = before
        self.boxes[index] = WHOLE.apply_box(box).tolist()
        mask = self.masks.get(index, np.zeros(SIZE, bool))
        answer = SliceMask(0, index, mask, self.iou.get(index, 1), 0, 0)
        return answer, self.odd.get(index) or evidence(mask)

    def segment(self, index: int, box: np.ndarray) -> SliceMask:
        return self.segment_and_observe(index, box, np.zeros(SIZE, bool))[0]

    def transform_around(self, box: np.ndarray) -> CropTransform:
        return WHOLE

    def observe(self, index: int, mask: np.ndarray) -> SliceEvidence:
        return evidence(mask)

    def carry(
        self,
        anchors: dict[int, np.ndarray],
        first: int = 0,
        last: int = 30,
        done: tuple[tuple[int, int], ...] = (),
        within: tuple[BoxPrompt3D, ...] = (),
    ) -> tuple:
        found = list(MaskCarrier(self, within=within).carry(anchors, first, last, done))
        masks = {item.index: item.mask for item in found if isinstance(item, SliceMask)}
        return masks, {item.direction: item for item in found if isinstance(item, Stop)}


FADED = evidence(square(22, 22, 7), stability=0.5, brightness=0.9)


@pytest.mark.parametrize("last", [12, 30])
@pytest.mark.parametrize(
    ("tip", "iou", "kept"),
    [
        (FADED, 0.51, True),
        (FADED, 0.5, False),
        (evidence(square(19, 22, 9), stability=0.3, brightness=0.9), 0.9, False),
        (evidence(square(20, 22, 9), stability=0.3, brightness=0.9), 0.8, True),
    ],
    ids=["tip", "not sure", "a ninth outside", "inside"],
)
def test_a_doubtful_tip_is_the_last_slice(
    tip: SliceEvidence, iou: float, kept: bool, last: int
) -> None:
    world = World(straight(0, 30), _12=tip)
    world.iou[12] = iou
    masks, stops = world.carry({9: square(20, 20)}, last=last)
    assert max(masks) == (12 if kept else 11)
    at_the_end = kept and last == 12
    assert stops["up"].index == (13 if kept else 12)
    assert bool(stops["up"].reason) != at_the_end


def test_a_tip_that_the_network_is_sure_of_is_not_the_last_slice() -> None:
    world = World(straight(0, 30), _12=FADED, _13=FADED)
    world.iou |= {12: 0.81, 13: 0.8}
    masks, stops = world.carry({9: square(20, 20)})
    assert (max(masks), stops["up"].index) == (13, 14)
    assert "brightness" in stops["up"].reason


@pytest.mark.parametrize(("iou", "last"), [(0.51, 12), (0.5, 9)])
def test_a_doubtful_slice_next_to_where_it_was_drawn_is_gone_on_from(iou: float, last: int) -> None:
    world = World(straight(0, 12), _10=FADED, _11=FADED, _12=FADED)
    world.iou[10] = iou
    masks, _ = world.carry({9: square(20, 20)})
    assert max([9, *masks]) == last


def test_a_structure_is_compared_with_the_first_slice_carried_to() -> None:
    """A box that was drawn too large gives a mask that is too large, and nothing else."""
    drawn, found = square(20, 20, 16), square(23, 23, 7)
    seen = {f"_{index}": evidence(found, stability=0.7, brightness=0.6) for index in range(10, 14)}
    world = World(dict.fromkeys(range(10, 14), found), **seen)
    world.iou = {10: 0.6}
    masks, stops = world.carry({9: drawn}, first=9)
    assert max(masks) == 13
    assert stops["up"].reason == "nothing was found"


def test_gaps_that_are_done_are_left() -> None:
    anchors = {5: square(20, 20), 15: square(20, 20)}
    assert gaps(anchors, 0, 30) == [(-1, 5), (5, 15), (15, 31)]
    world = World(straight(0, 30))
    everything = world.carry(anchors)
    assert sorted(everything[0]) == [i for i in range(31) if i not in anchors]
    for left, wanted in (
        ((-1, 5), [i for i in range(6, 31) if i not in anchors]),
        ((5, 15), [*range(5), *range(16, 31)]),
        ((15, 31), [i for i in range(15) if i not in anchors]),
    ):
        masks, stops = world.carry(anchors, done=(left,))
        assert sorted(masks) == wanted
        assert ("down" in stops) == (left != (-1, 5))
    assert world.carry(anchors, done=tuple(gaps(anchors, 0, 30))) == ({}, {})


def straight(first: int, last: int) -> dict[int, np.ndarray]:
    return {index: square(20, 20) for index in range(first, last + 1)}


def test_it_goes_both_ways_and_stops_where_nothing_is() -> None:
    world = World(straight(5, 14))
    masks, stops = world.carry({9: square(20, 20)})
    assert sorted(masks) == [5, 6, 7, 8, 10, 11, 12, 13, 14]
    assert (stops["up"].index, stops["down"].index) == (15, 4)
    assert stops["up"].reason == "nothing was found"


def test_it_reaches_the_first_and_the_last_slice() -> None:
    masks, stops = World(straight(0, 30)).carry({9: square(20, 20)})
    assert sorted(masks) == [*range(9), *range(10, 31)]
    assert [stop.reason for stop in stops.values()] == ["", ""]


@pytest.mark.parametrize(
    ("first", "last", "wanted"), [(9, 30, range(10, 31)), (0, 9, range(9)), (7, 11, (7, 8, 10, 11))]
)
def test_it_goes_no_further_than_asked(first: int, last: int, wanted: range) -> None:
    masks, _ = World(straight(0, 30)).carry({9: square(20, 20)}, first, last)
    assert sorted(masks) == sorted(wanted)


def test_each_box_comes_from_the_mask_before() -> None:
    world = World({index: square(20, 20 + index - 9) for index in range(31)})
    world.carry({9: square(20, 20)})
    assert world.boxes[10][0] == pytest.approx(20 * SIDE - 3, abs=1)
    assert world.boxes[14][0] == pytest.approx(24 * SIDE - 3, abs=1)
    assert world.boxes[5][0] == pytest.approx(17 * SIDE - 3, abs=1)


BAD = square(20, 20)


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        (evidence(square(4, 4, 40)), "leaked to 11.1 times"),
        (evidence(square(44, 44)), "jumped"),
        (evidence(BAD, stability=0.1, appearance=1), "look like"),
        (evidence(square(22, 22, 7), stability=0.5, brightness=0.9), "smaller|brightness"),
    ],
)
def test_a_ghost_is_not_kept_and_the_reason_is_told(odd: SliceEvidence, reason: str) -> None:
    world = World(straight(0, 30), _13=odd)
    masks, stops = world.carry({9: square(20, 20)})
    assert max(masks) == 12
    assert stops["up"].index == 13
    assert any(word in stops["up"].reason for word in reason.split("|"))


def in_frame(*places: slice) -> SliceEvidence:
    """Return what would be seen of all that lies in some columns of 20 rows of the frame."""
    mask = np.zeros((256, 256), bool)
    for columns in places:
        mask[100:120, columns] = True
    return replace(evidence(square(0, 0)), mask=mask, pixels=int(mask.sum()))


FROM = in_frame(np.s_[100:120])


@pytest.mark.parametrize(
    ("now", "before", "words"),
    [
        (replace(FROM, pixels=8), FROM, None),
        (replace(FROM, pixels=7), FROM, "nothing was found"),
        # Twice as large, and a column more.
        (in_frame(np.s_[90:130]), FROM, None),
        (in_frame(np.s_[90:131]), FROM, "leaked"),
        # Its centre moves by 0.6 of its side, and by a bit more.
        (in_frame(np.s_[112:132]), FROM, None),
        (in_frame(np.s_[113:133]), FROM, "jumped"),
        # In place, a fifth of what either has is common, and less.
        (in_frame(np.s_[108:112], np.s_[96:100], np.s_[120:124]), in_frame(np.s_[104:116]), None),
        (
            in_frame(np.s_[109:111], np.s_[95:100], np.s_[120:125]),
            in_frame(np.s_[104:116]),
            "jumped",
        ),
    ],
)
def test_a_rule_stops_from_its_limit_on(
    now: SliceEvidence, before: SliceEvidence, words: str | None
) -> None:
    found = StopRules().reason(now, before, FROM)
    assert found is None if words is None else words in str(found)


def seen(
    columns: int = 20, stability: float = 0.9, cosine: float = 1.0, brightness: float = 0.5
) -> SliceEvidence:
    """Return what is seen of columns, that looks to some degree like the structure at first."""
    own = in_frame(np.s_[100 : 100 + columns])
    appearance = np.zeros(256, np.float32)
    appearance[:2] = cosine, (1 - cosine**2) ** 0.5
    return replace(own, stability=stability, appearance=appearance, brightness=brightness)


@pytest.mark.parametrize(
    ("now", "before", "words"),
    [
        # Another brightness than on the slice before, and than that and where it was drawn.
        (seen(stability=0.5, brightness=0.79), seen(brightness=0.79), None),
        (seen(stability=0.5, brightness=0.82), seen(brightness=0.82), "is another one"),
        (seen(brightness=0.65), FROM, None),
        (seen(brightness=0.35), FROM, None),
        (seen(brightness=0.67), FROM, "at once"),
        (seen(brightness=0.33), FROM, "at once"),
        # Smaller than on the first slice.
        (seen(4, stability=0.8), seen(4), None),
        (seen(3, stability=0.8), seen(3), "much smaller"),
        # Less alike, and with an edge that is less clear.
        (seen(cosine=0.6), FROM, None),
        (seen(cosine=0.55), FROM, "look like"),
        (seen(stability=0.65, cosine=0.7), FROM, None),
        (seen(stability=0.59, cosine=0.7), FROM, "look like"),
    ],
)
def test_each_sign_of_an_end_weighs_what_was_fitted(
    now: SliceEvidence, before: SliceEvidence, words: str | None
) -> None:
    found = StopRules(most_doubt=0.5).reason(now, before, FROM)
    assert found is None if words is None else words in str(found)


# As within structures, where a mask is a bit smaller than on the first slice.
USUAL = {"columns": 17, "stability": 0.8, "cosine": 0.99, "brightness": 0.51}


@pytest.mark.parametrize(
    ("odd", "words"),
    [
        ({"stability": 0.72}, "no clear edge"),
        ({"cosine": 0.95}, "look like"),
        ({"columns": 14}, "much smaller"),
        ({"brightness": 0.56}, "brightness changed at once"),
    ],
)
def test_the_reason_is_what_differs_most_from_what_is_usual(
    odd: dict[str, float], words: str
) -> None:
    now, before = seen(**USUAL | odd), seen(**USUAL | {"brightness": 0.5})
    found = StopRules(most_doubt=0).reason(now, before, FROM)
    assert words in str(found)


@pytest.mark.parametrize(("pixels", "found"), [(7, False), (8, True)])
def test_between_anchors_a_mask_of_fewer_pixels_is_none(pixels: int, found: bool) -> None:
    masks = straight(4, 8)
    world = World(masks, _6=replace(evidence(masks[6]), pixels=pixels))
    carried, _ = world.carry({4: masks[4], 8: masks[8]})
    assert (6 in carried) == found


def test_a_structure_that_changes_slowly_is_not_cut_off() -> None:
    rules = StopRules()
    anchor = before = evidence(square(20, 20, 20))
    for side in range(19, 9, -1):
        now = evidence(square(20, 20 + (20 - side) // 2, side), stability=0.9, brightness=0.52)
        assert rules.reason(now, before, anchor) is None
        before = now


def test_between_two_anchors_it_goes_on_and_is_led() -> None:
    near, far = square(10, 10), square(34, 34)
    masks = {index: square(10 + 3 * (index - 4), 10 + 3 * (index - 4)) for index in range(4, 13)}
    ghost = evidence(masks[8], stability=0.05, appearance=7)
    world = World(masks, _8=ghost)
    found, _ = world.carry({4: near, 12: far})
    assert set(range(5, 12)) <= set(found), "doubts do not stop it between anchors"
    # Half of a box comes from the mask before, half from the line between the anchors.
    assert world.boxes[6][0] == pytest.approx((13 + 16) / 2 * SIDE, abs=5)
    assert 4 not in found
    assert 12 not in found


def test_each_slice_is_shown_the_mask_of_the_one_before() -> None:
    masks = {index: square(10 + index, 10) for index in range(31)}
    world = World(masks)
    world.carry({9: masks[9], 15: masks[15]})
    order = {10: 9, 11: 10, 12: 11, 14: 15, 13: 14, 16: 15, 17: 16, 8: 9, 7: 8}
    for index, neighbour in order.items():
        np.testing.assert_array_equal(world.before[index], masks[neighbour])


def test_an_empty_anchor_is_a_wall() -> None:
    empty = np.zeros(SIZE, bool)
    world = World(straight(0, 30))
    masks, _ = world.carry({9: square(20, 20), 15: empty, 20: square(20, 20), 25: empty})
    assert sorted(set(range(31)) - set(masks)) == [9, 15, 20, *range(25, 31)]


def test_within_a_3d_box_no_doubt_stops_it_and_its_ends_do() -> None:
    faint = {f"_{index}": evidence(square(20, 20), stability=0.05) for index in (7, 11)}
    world = World(straight(0, 30), **faint)
    assert sorted(world.carry({9: square(20, 20)})[0]) == [8, 10]
    box = BoxPrompt3D((5, 18, 18), (14, 33, 33))
    masks, stops = world.carry({9: square(20, 20)}, within=(box,))
    assert sorted(masks) == [5, 6, 7, 8, 10, 11, 12, 13, 14]
    assert {way: (stop.index, stop.reason) for way, stop in stops.items()} == {
        "up": (15, "its 3D box ends there"),
        "down": (4, "its 3D box ends there"),
    }


def test_a_3d_box_ends_no_sooner_than_was_asked_for_and_at_walls() -> None:
    world, box = World(straight(0, 30)), BoxPrompt3D((5, 18, 18), (14, 33, 33))
    anchors = {9: square(20, 20), 12: np.zeros(SIZE, bool)}
    masks, stops = world.carry(anchors, first=7, within=(box,))
    assert sorted(masks) == [7, 8, 10, 11]
    assert (stops["down"].index, stops["down"].reason) == (6, "")
    assert (stops["up"].index, stops["up"].reason) == (12, "")


def test_a_structure_stays_within_the_sides_of_its_3d_box_or_of_the_mask_there() -> None:
    grows = {index: square(20, 20, 12 + 2 * (index - 9)) for index in range(10, 15)}
    world, box = World(grows), BoxPrompt3D((9, 16, 16), (14, 33, 34))
    world.carry({9: square(20, 20)}, within=(box,))
    assert world.boxes[14] == pytest.approx([77, 77, 34 * SIDE + 3, 33 * SIDE + 3], abs=1)
    world.carry({9: square(20, 20, 15)}, within=(box,))
    assert world.boxes[14] == pytest.approx([77, 77, 34 * SIDE + 3, 34 * SIDE + 3], abs=1)


def test_an_anchor_beyond_a_3d_box_is_carried_by_the_rules_and_the_last_box_counts() -> None:
    world = World(straight(0, 30), _22=evidence(square(20, 20), stability=0.05))
    boxes = [BoxPrompt3D((low, 18, 18), (high, 33, 33)) for low, high in ((2, 14), (5, 12))]
    masks, _ = world.carry({9: square(20, 20), 18: square(20, 20)}, within=tuple(boxes))
    assert sorted({*masks, 9, 18}) == list(range(5, 22))


def test_between_3d_boxes_that_lie_apart_nothing_is_filled() -> None:
    low, high = BoxPrompt3D((2, 18, 18), (6, 33, 33)), BoxPrompt3D((11, 18, 18), (15, 33, 33))
    anchors = {4: square(20, 20), 13: square(20, 20)}
    masks, _ = World(straight(0, 30)).carry(anchors, within=(low, high))
    assert sorted(masks) == [2, 3, 5, 6, 11, 12, 14, 15]
    touching = replace(high, lower=(7, 18, 18))
    masks, _ = World(straight(0, 30)).carry(anchors, within=(low, touching))
    assert sorted({*masks, *anchors}) == list(range(2, 16))


@pytest.mark.parametrize(("across", "last"), [(25, 14), (26, 30)])
def test_a_mask_beside_a_3d_box_is_not_held_by_it(across: int, last: int) -> None:
    """Three quarters of it have to lie within the sides."""
    box, mask = BoxPrompt3D((5, 18, 18), (14, 31, 33)), square(20, across, 12)
    world = World(dict.fromkeys(range(31), mask))
    masks, _ = world.carry({9: mask}, within=(box,))
    assert max(masks) == last


@pytest.mark.parametrize("prompt", CarryPrompt)
def test_each_network_is_asked_within_the_sides_of_a_3d_box(prompt: CarryPrompt) -> None:
    world = World(dict.fromkeys(range(31), square(16, 16, 18)))
    world.network_state = SimpleNamespace(carry_prompt=prompt)
    world.carry({9: square(16, 16, 18)}, within=(BoxPrompt3D((5, 16, 16), (14, 33, 33)),))
    assert world.boxes[12] == pytest.approx([16 * SIDE, 16 * SIDE, 33 * SIDE + 3, 33 * SIDE + 3])
    np.testing.assert_array_equal(world.before[12], square(16, 16, 18))


def test_where_nothing_is_found_within_a_3d_box_nothing_is_given() -> None:
    masks = straight(0, 30)
    masks[11] = np.zeros(SIZE, bool)
    found, _ = World(masks).carry(
        {9: square(20, 20)}, within=(BoxPrompt3D((5, 18, 18), (14, 33, 33)),)
    )
    assert sorted(found) == [5, 6, 7, 8, 10, 12, 13, 14]


def test_closing_it_stops_the_network() -> None:
    world = World(straight(0, 30))
    steps = MaskCarrier(world).carry({9: square(20, 20)}, 0, 30)
    next(steps)
    steps.close()
    assert list(world.boxes) == [10]


def test_what_is_seen_is_what_lies_within_the_mask() -> None:
    embedding = np.zeros((1, 256, 64, 64), np.float32)
    embedding[0, 3, :32] = 2
    embedding[0, 5, 32:] = 1
    mask = np.zeros((256, 256), bool)
    mask[:128] = True
    seen = gather_evidence(mask, mask, 0.7, embedding, np.array([0.2, 0.4], np.float32))
    assert seen.appearance[3] == pytest.approx(1)
    assert (seen.brightness, seen.spread) == pytest.approx((0.3, 0.1))
    logits = np.full((256, 256), -5, np.float32)
    logits[:100], logits[100:150] = 4, 0
    assert stability_of(logits) == pytest.approx(100 / 150)


def test_nothing_is_seen_beside_the_slice_in_the_frame() -> None:
    """Where the frame shows no slice, the network finds whatever it likes."""
    beside = np.full((256, 256), 5.0)
    beside[:128] = 9
    beside[:100, :100] = beside[128:, 128:] = 0.5
    engine = ScriptedEngine(lambda image, box: beside)
    volume = volume_from_slices(np.arange(3 * 50 * 100).reshape(3, 50, 100), (1, 1, 1), "wide")
    predictor = AnnotationSession(volume, engine, IDENTITY).predictor(0)
    answer, seen = predictor.segment_and_observe(1, [10, 10, 20, 20], np.zeros((50, 100), bool))
    assert answer.mask.all()
    assert seen.pixels == seen.area == 128 * 256
    assert seen.stability == pytest.approx(1 - 100 * 100 / (128 * 256))


BLOCK = np.s_[3:9, 5:13, 3:11]
BOX = BoxPrompt(0, 5, 3, 5, 10, 12)


@pytest.fixture
def session() -> AnnotationSession:
    array = np.full((12, 16, 14), 10, np.int16)
    array[BLOCK] = 200
    session = AnnotationSession(
        volume_from_slices(array, (1, 1, 1), "block"), ScriptedEngine(), IDENTITY
    )
    session.commit(BOX, list(session.segment(BOX)), 1)
    return session


def carried(session: AnnotationSession, axis: int = 0, label_id: int = 1) -> object:
    group = object()
    known = session.history.anchors(axis, label_id)
    for found in session.carry(axis, known, 0, session.label.shape[axis] - 1):
        if isinstance(found, SliceMask):
            session.commit_carried(found, label_id, group)
    return group


def test_a_block_is_filled_and_one_undo_takes_it_back(session: AnnotationSession) -> None:
    alone = session.label.copy()
    carried(session)
    expected = np.zeros_like(alone)
    expected[BLOCK] = 1
    np.testing.assert_array_equal(session.label, expected)
    session.history.undo()
    np.testing.assert_array_equal(session.label, alone)
    session.history.redo()
    np.testing.assert_array_equal(session.label, expected)
    session.history.undo()
    session.history.undo()
    assert not session.label.any()


def test_slices_drawn_by_hand_are_anchors_and_stay(session: AnnotationSession) -> None:
    flat = session.label.reshape(-1)
    stroke = np.ravel_multi_index(([7] * 3, [6] * 3, [4, 5, 6]), session.label.shape)
    before = flat[stroke]
    flat[stroke] = 1
    session.history.record("brush stroke", stroke, before)
    assert sorted(session.history.anchors(0, 1)) == [5, 7]
    carried(session)
    assert np.flatnonzero(session.label[7]).size == 3
    assert np.count_nonzero(session.label[6]) > 0


def test_a_slice_that_was_erased_by_hand_stays_empty(session: AnnotationSession) -> None:
    carried(session)
    flat = session.label.reshape(-1)
    erased = np.flatnonzero(session.label[7]) + 7 * 16 * 14
    before = flat[erased]
    flat[erased] = 0
    session.history.record("eraser", erased, before)
    carried(session)
    assert not session.label[7].any()
    assert np.unique(np.nonzero(session.label)[0]).tolist() == [3, 4, 5, 6, 8]


def test_carrying_again_leaves_nothing_of_the_first_time(session: AnnotationSession) -> None:
    session.label[6, 0, 0] = 1  # as if an earlier mask had been too large
    carried(session)
    assert session.label[6, 0, 0] == 0


def test_locked_labels_keep_their_voxels(session: AnnotationSession) -> None:
    session.label[7, 6, 4] = 2
    session.set_style(2, replace(session.style(2), locked=True))
    carried(session)
    assert session.label[7, 6, 4] == 2
    assert session.label[7, 6, 5] == 1


def test_boxes_of_another_plane_or_label_are_no_anchors(session: AnnotationSession) -> None:
    assert session.history.anchors(1, 1) == {}
    assert session.history.anchors(0, 2) == {}
    with pytest.raises(PromptError, match="no mask to carry on"):
        carried(session, axis=1)
    with pytest.raises(PromptError, match="lie within 0 to 11"):
        next(session.carry(0, session.history.anchors(0, 1), 0, 12))


def test_a_small_structure_is_carried_in_parts_of_the_slices() -> None:
    array = np.full((12, 100, 100), 10, np.int16)
    array[3:9, 40:50, 60:70] = 200
    engine = ScriptedEngine()
    volume = volume_from_slices(array, (1, 1, 1), "block")
    session = AnnotationSession(volume, engine, IDENTITY, zoom=Zoom())
    box = BoxPrompt(0, 5, 60, 40, 69, 49)
    (first,) = session.segment(box)
    assert first.zoomed
    session.commit(box, [first], 1)
    carried(session)
    found = np.argwhere(session.label)
    np.testing.assert_allclose(found.min(0), [3, 40, 60], atol=1)
    np.testing.assert_allclose(found.max(0), [8, 49, 69], atol=1)
    # Bright voxels fill a part of the frame that they would not fill in whole slices.
    assert all((image[0, 0] > 0.5).mean() > 0.03 for image in engine.images[:4])
    # Without it, only whole slices are shown.
    session.zoom = None
    assert not next(session.segment(box)).zoomed


def test_an_anchor_too_small_for_the_frame_is_looked_for_where_it_is() -> None:
    transform = CropTransform((1024, 1024), (1.0, 1.0))
    speck = np.zeros((1024, 1024), bool)
    speck[700, 300] = True
    asked = []

    class Blind(World):
        """A network that finds nothing on large slices."""

        def transform_around(self, box: np.ndarray) -> CropTransform:
            return transform

        def segment_and_observe(
            self, index: int, box: np.ndarray, before: np.ndarray
        ) -> tuple[SliceMask, SliceEvidence]:
            asked.append(box)
            answer = SliceMask(0, index, np.zeros_like(speck), 1, 0, 0)
            return answer, evidence(np.zeros(SIZE, bool))

        def observe(self, index: int, mask: np.ndarray) -> SliceEvidence:
            return evidence(square(0, 0))

    list(MaskCarrier(Blind({})).carry({3: speck}, 0, 6))
    np.testing.assert_allclose(asked, [[300, 700, 300, 700]] * 2, atol=4)


def test_what_box_and_mask_before_have_in_common_is_carried_on() -> None:
    array = np.full((12, 16, 14), 10, np.int16)
    array[BLOCK] = 200
    volume, engine = volume_from_slices(array, (1, 1, 1), "block"), ScriptedEngine(led=True)
    session = AnnotationSession(volume, engine, IDENTITY, carry_prompt=CarryPrompt.box_and_mask)
    drawn = np.zeros((16, 14), bool)
    drawn[5:14, 3:11] = True  # by hand, a row more than is bright
    drawn[8, 6] = False  # and a hole
    found = list(session.carry(0, {5: drawn}, 4, 7))
    masks = {item.index: item for item in found if isinstance(item, SliceMask)}
    assert sorted(masks) == [4, 6, 7]
    for mask in masks.values():
        np.testing.assert_array_equal(mask.mask, drawn & (volume.data[6] > 100))
        assert mask.iou == pytest.approx(0.7)
    assert len(engine.prompts) == 3
    # By the box alone, it is what is bright, and the network is asked once a slice: so are networks
    # that have not learnt from masks.
    session = AnnotationSession(volume, engine, IDENTITY)
    assert session.carry_prompt is CarryPrompt.box
    (first, *_) = session.carry(0, {5: drawn}, 4, 7)
    np.testing.assert_array_equal(first.mask, volume.data[6] > 100)
    assert len(engine.prompts) == 3


def test_models_that_have_learnt_from_masks_are_asked_with_them() -> None:
    asked = {path.name: ModelSpec.read(path).carry_prompt for path in shipped_models()}
    assert asked == {
        FLOAT_MODEL: CarryPrompt.box,
        INT8_MODEL: CarryPrompt.box_and_mask,
        FAST_MODEL: CarryPrompt.carried,
    }
    array = np.arange(3 * 16 * 14, dtype=np.int16).reshape(3, 16, 14)
    volume, engine = volume_from_slices(array, (1, 1, 1), "ramp"), ScriptedEngine(led=True)
    engine.spec = replace(engine.spec, provenance={"prompts": "boxes, clicks and masks"})
    session = AnnotationSession(volume, engine, IDENTITY)
    assert session.carry_prompt is session.network_state().carry_prompt is CarryPrompt.box_and_mask


def test_a_mask_before_that_is_empty_is_not_asked_with() -> None:
    array = np.full((9, 16, 14), 10, np.int16)
    array[0, 0, 0] = 200
    volume = volume_from_slices(array, (1, 1, 1), "nothing")
    engine = ScriptedEngine(led=True)
    engine.blind = True
    session = AnnotationSession(volume, engine, IDENTITY, carry_prompt=CarryPrompt.box_and_mask)
    drawn = np.zeros((16, 14), bool)
    drawn[5:9, 3:11] = True
    assert list(session.carry(0, {1: drawn, 7: drawn}, 1, 7))
    # Only beside the two that are known: what is found on all others is nothing.
    assert len(engine.boxes) == 5 + 2
    assert len(engine.prompts) == 2


def test_a_network_that_has_learnt_to_carry_is_asked_once_with_both() -> None:
    array = np.full((12, 16, 14), 10, np.int16)
    array[BLOCK] = 200
    volume = volume_from_slices(array, (1, 1, 1), "block")
    engine = ScriptedEngine(led=True, carries=True)
    session = AnnotationSession(volume, engine, IDENTITY)
    assert session.carry_prompt is CarryPrompt.carried
    drawn = np.zeros((16, 14), bool)
    drawn[5:14, 3:11] = True
    found = list(session.carry(0, {5: drawn}, 4, 7))
    masks = {item.index: item.mask for item in found if isinstance(item, SliceMask)}
    assert sorted(masks) == [4, 6, 7]
    assert (engine.decoded, engine.carried, len(engine.prompts)) == (3, 3, 3)
    for mask in masks.values():
        np.testing.assert_array_equal(mask, drawn)
    # Boxes that are drawn are asked about as ever.
    list(session.segment(BOX))
    assert (engine.decoded, engine.carried) == (4, 3)
