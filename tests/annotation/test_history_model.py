"""Whatever is done, undone and done again, a label is what a simple model of it says."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scripted_engine import ScriptedEngine

from napari_medsamq.annotation.acceptance import Acceptance, mask_key
from napari_medsamq.annotation.session import AnnotationSession
from napari_medsamq.errors import PromptError
from napari_medsamq.inference.slice_predictor import SliceMask
from napari_medsamq.io.volume import volume_from_slices
from napari_medsamq.prompts import BoxPrompt

SHAPE = (2, 3, 4)
SIZE = 24
BOX = BoxPrompt(0, 0, 0, 0, 1, 1)
# The slices across each axis, as the voxels that they have.
SLICES = {
    (axis, index): np.moveaxis(np.arange(SIZE).reshape(SHAPE), axis, 0)[index]
    for axis in range(3)
    for index in range(SHAPE[axis])
}


class RefusedError(Exception):
    pass


@dataclass(frozen=True)
class Box:
    label_id: int
    voxels: frozenset[int]


@dataclass(frozen=True)
class State:
    """What there is at one moment: the label id of each voxel, boxes, accepted masks."""

    label: tuple[int, ...] = (0,) * SIZE
    boxes: tuple[Box, ...] = ()
    accepted: frozenset[Acceptance] = frozenset()

    def voxels(self, label_id: int) -> set[int]:
        return {v for v, own in enumerate(self.label) if own == label_id}

    def mask(self, place: tuple[int, int], label_id: int) -> np.ndarray:
        return np.array(self.label)[SLICES[place]] == label_id


@dataclass(frozen=True)
class Step:
    before: State
    after: State
    group: int | None = None
    by_hand: bool = False

    @property
    def changed(self) -> set[int]:
        pairs = zip(self.before.label, self.after.label, strict=True)
        return {v for v, (old, new) in enumerate(pairs) if old != new}


class Model:
    """A label without arrays: a state, and the steps that led to it or were taken back."""

    def __init__(self) -> None:
        self.now = State()
        self.done: list[Step] = []
        self.undone: list[Step] = []
        self.locked: set[int] = set()

    def enter(self, after: State, group: int | None = None, *, by_hand: bool = False) -> None:
        pairs = zip(self.now.label, after.label, strict=True)
        if any(old in self.locked and old != new for old, new in pairs):
            raise RefusedError
        self.done.append(Step(self.now, after, group, by_hand))
        self.undone.clear()
        self.now = after

    def commit(self, found: set[int], label_id: int, replaced: int | None, start: set[int]) -> None:
        taken = self.takeable(found, label_id)
        if not taken:
            raise RefusedError
        state = self.now if replaced is None else self.without(replaced)
        label = list(state.label)
        for v in start if replaced is None else ():
            label[v] = 0 if label[v] == label_id else label[v]
        for v in taken:
            label[v] = label_id
        boxes = (*state.boxes, Box(label_id, frozenset(taken)))
        self.enter(replace(state, label=tuple(label), boxes=boxes))

    def without(self, number: int) -> State:
        gone = self.now.boxes[number]
        boxes = self.now.boxes[:number] + self.now.boxes[number + 1 :]
        label = list(self.now.label)
        for v in gone.voxels & self.now.voxels(gone.label_id):
            below = [box.label_id for box in boxes if v in box.voxels]
            label[v] = below[-1] if below else 0
        return replace(self.now, label=tuple(label), boxes=boxes)

    def takeable(self, found: set[int], label_id: int) -> set[int]:
        return {v for v in found if self.now.label[v] not in self.locked - {label_id}}

    def remove_label(self, label_id: int) -> None:
        if label_id in self.locked:
            raise RefusedError
        label = tuple(0 if own == label_id else own for own in self.now.label)
        boxes = tuple(box for box in self.now.boxes if box.label_id != label_id)
        self.enter(replace(self.now, label=label, boxes=boxes))

    def brush(self, touched: set[int], label_id: int) -> None:
        label = list(self.now.label)
        for v in touched:
            label[v] = label[v] if label[v] in self.locked else label_id
        if tuple(label) == self.now.label:
            raise RefusedError
        self.enter(replace(self.now, label=tuple(label)), by_hand=True)

    def carry(self, place: tuple[int, int], found: set[int], label_id: int, group: int) -> None:
        label = list(self.now.label)
        for v in SLICES[place].ravel().tolist():
            label[v] = 0 if label[v] == label_id else label[v]
        for v in self.takeable(found, label_id):
            label[v] = label_id
        self.enter(replace(self.now, label=tuple(label)), group)

    def accept(self, axis: int, label_id: int, indices: set[int]) -> None:
        wanted = {
            Acceptance(axis, index, label_id, mask_key(self.now.mask((axis, index), label_id)))
            for index in indices
        }
        if wanted <= self.now.accepted:
            raise RefusedError
        self.enter(replace(self.now, accepted=self.now.accepted | wanted))

    def undo(self) -> None:
        while self.done:
            step = self.done.pop()
            self.undone.append(step)
            self.now = step.before
            if step.group is None or not self.done or self.done[-1].group != step.group:
                return

    def redo(self) -> None:
        while self.undone:
            step = self.undone.pop()
            self.done.append(step)
            self.now = step.after
            if step.group is None or not self.undone or self.undone[-1].group != step.group:
                return

    def carried(self, label_id: int) -> set[int]:
        last = {v: step.group is not None for step in self.done for v in step.changed}
        return {v for v in self.now.voxels(label_id) if last[v]}

    def known(self, axis: int, label_id: int) -> set[int]:
        """Return the slices that a person had a hand in."""
        brushed: set[int] = set()
        for step in self.done:
            before, after = step.before.voxels(label_id), step.after.voxels(label_id)
            if step.by_hand:
                brushed |= before ^ after
            elif before and not after:
                brushed.clear()
        drawn = axis == 0 and any(box.label_id == label_id for box in self.now.boxes)
        return {
            index
            for index in range(SHAPE[axis])
            if (drawn and index == 0)
            or brushed & set(SLICES[axis, index].ravel().tolist())
            or Acceptance(axis, index, label_id, mask_key(self.now.mask((axis, index), label_id)))
            in self.now.accepted
        }


label_ids = st.integers(1, 3)
places = st.sampled_from(sorted(SLICES))


@st.composite
def masks(draw: st.DrawFn) -> tuple[tuple[int, int], np.ndarray]:
    """A mask on a slice, as a box would find it; not empty."""
    place = draw(places)
    mask = np.zeros(SLICES[place].shape, bool)
    mask.reshape(-1)[sorted(draw(st.sets(st.integers(0, mask.size - 1), min_size=1)))] = True
    return place, mask


some_voxels = st.sets(st.integers(0, SIZE - 1), min_size=1, max_size=6)
actions = st.one_of(
    st.tuples(st.just("commit"), st.lists(masks(), min_size=1, max_size=2), label_ids),
    st.tuples(st.just("improve"), masks(), label_ids, st.sets(st.integers(0, 11))),
    st.tuples(st.just("replace"), masks(), label_ids, st.integers(0, 9)),
    st.tuples(st.just("remove box"), st.integers(0, 9)),
    st.tuples(st.just("remove label"), label_ids),
    st.tuples(st.just("brush"), some_voxels, st.integers(0, 3)),
    st.tuples(st.just("carry"), masks(), label_ids, st.integers(0, 1)),
    st.tuples(st.just("accept"), st.integers(0, 2), label_ids, st.sets(st.integers(0, 1))),
    st.tuples(st.just("lock"), label_ids),
    st.tuples(st.sampled_from(["undo", "undo", "redo"])),
)


def new_session() -> AnnotationSession:
    ramp = np.arange(SIZE).reshape(SHAPE)
    return AnnotationSession(volume_from_slices(ramp, (3, 1, 1), "small"), ScriptedEngine())


def answer(found: tuple[tuple[int, int], np.ndarray]) -> SliceMask:
    (axis, index), mask = found
    return SliceMask(axis, index, mask, 0.9, 0, 0)


def among(*found: tuple[tuple[int, int], np.ndarray]) -> set[int]:
    return {v for place, mask in found for v in SLICES[place][mask].tolist()}


GROUPS = [object(), object()]
FIRST = (0, 0), np.eye(*SHAPE[1:], dtype=bool)


def do(session: AnnotationSession, model: Model, action: tuple[Any, ...]) -> None:
    """Do one thing to both; they refuse the same."""
    history, label_id = session.history, 0
    expected = found = False
    boxes = model.now.boxes
    try:
        match action:
            case "commit", drawn, label_id:
                model.commit(among(*drawn), label_id, None, set())
            case "improve", drawn, label_id, start:
                model.commit(among(drawn), label_id, None, start)
            case "replace", drawn, label_id, number if boxes:
                model.commit(among(drawn), label_id, number % len(boxes), set())
            case "remove box", number if boxes:
                model.enter(model.without(number % len(boxes)))
            case "remove label", label_id:
                model.remove_label(label_id)
            case "brush", touched, label_id:
                model.brush(touched, label_id)
            case "carry", drawn, label_id, group:
                model.carry(drawn[0], among(drawn), label_id, group)
            case "accept", axis, label_id, indices:
                model.accept(axis, label_id, indices)
            case "lock", label_id:
                model.locked ^= {label_id}
            case ("undo" | "redo") as way, *_:
                getattr(model, way)()
    except RefusedError:
        # A stroke that may change nothing enters nothing, without a word.
        expected = action[0] != "brush"
    try:
        match action:
            case "commit", drawn, label_id:
                session.commit(BOX, map(answer, drawn), label_id)
            case "improve", drawn, label_id, start:
                mask = np.isin(SLICES[0, 0], list(start))
                session.commit(BOX, [answer(drawn)], label_id, start=mask)
            case "replace", drawn, label_id, number if boxes:
                old = history.prompts[number % len(boxes)]
                session.commit(BOX, [answer(drawn)], label_id, old)
            case "remove box", number if boxes:
                session.remove_prompt(history.prompts[number % len(boxes)])
            case "remove label", label_id:
                session.remove_label(label_id)
            case "brush", touched, label_id:
                voxels, flat = np.array(sorted(touched)), session.label.reshape(-1)
                before = flat[voxels]
                flat[voxels] = label_id
                session.record("brush stroke", voxels, before)
            case "carry", drawn, label_id, group:
                session.commit_carried(answer(drawn), label_id, GROUPS[group])
            case "accept", axis, label_id, indices:
                planes = np.moveaxis(session.label, axis, 0)
                keys = {index: mask_key(planes[index] == label_id) for index in indices}
                session.accept(axis, label_id, keys)
            case "lock", label_id:
                style = session.style(label_id)
                session.set_style(label_id, replace(style, locked=not style.locked))
            case ("undo" | "redo") as way, *_:
                getattr(history, way)()
    except PromptError:
        found = True
    assert found == expected


def compare(session: AnnotationSession, model: Model) -> None:
    history, now = session.history, model.now
    assert tuple(session.label.ravel().tolist()) == now.label
    boxes = [(own.label_id, set(own.voxels.tolist())) for own in history.prompts]
    assert boxes == [(box.label_id, box.voxels) for box in now.boxes]
    assert history.accepted == now.accepted
    counts = {n: len(now.voxels(n)) for n in (1, 2, 3)}
    assert history.voxel_counts == {n: count for n, count in counts.items() if count}
    assert (history.undo_name is None, history.redo_name is None) == (
        not model.done,
        not model.undone,
    )
    assert len(history.edits) == len(model.done)
    for label_id in (1, 2, 3):
        part, shown = history.part(label_id), np.zeros(SHAPE, bool)
        assert (part is None) == (counts[label_id] == 0)
        if part is not None:
            shown[part.place] = part.mask
        assert set(np.flatnonzero(shown).tolist()) == now.voxels(label_id)
        carried = np.flatnonzero(history.carried(label_id)).tolist()
        assert set(carried) == model.carried(label_id)
        for axis in range(3):
            known = history.anchors(axis, label_id)
            assert set(known) == model.known(axis, label_id)
            for index, mask in known.items():
                np.testing.assert_array_equal(mask, now.mask((axis, index), label_id))


@settings(deadline=None, max_examples=60)
@given(st.lists(actions, max_size=14))
@example([("carry", FIRST, 1, 0), ("carry", FIRST, 2, 0)])
def test_a_label_is_what_a_simple_model_says(sequence: list[tuple[Any, ...]]) -> None:
    session, model = new_session(), Model()
    label, versions = session.label, dict.fromkeys((1, 2, 3), 0)

    def act(action: tuple[Any, ...]) -> None:
        done, undone = len(model.done), len(model.undone)
        do(session, model, action)
        compare(session, model)
        # Of a group, which is taken back as a whole, each step counts.
        steps = model.done[done:] + model.undone[undone:]
        for label_id in versions:
            grown = session.history.version(label_id) - versions[label_id]
            assert grown >= 0
            # What was measured before has to be measured again, and nothing else has.
            assert bool(grown) == any(
                step.before.voxels(label_id) != step.after.voxels(label_id) for step in steps
            )
            versions[label_id] += grown

    for action in sequence:
        act(action)
    for way, steps in (("undo", model.done), ("redo", model.undone)):
        while steps:
            act((way,))
        assert getattr(session.history, way)() is None
    assert session.label is label
