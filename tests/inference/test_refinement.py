"""All three planes are asked about a structure that was carried along one of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scripted_engine import ScriptedEngine

from napari_medsamq.annotation.session import AnnotationSession
from napari_medsamq.errors import PromptError
from napari_medsamq.inference.crop import CropTransform, Zoom
from napari_medsamq.inference.preprocess import IDENTITY
from napari_medsamq.inference.refinement import refine_in_3d
from napari_medsamq.io.volume import volume_from_slices

SHAPE = (10, 20, 24)


def block(*corners: int) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    z0, y0, x0, z1, y1, x1 = corners
    mask[z0:z1, y0:y1, x0:x1] = True
    return mask


CARRIED = block(2, 5, 6, 8, 15, 18)


class Plane:
    """A network that finds the same whatever it is asked, and notes what it is asked."""

    def __init__(self, axis: int, found: np.ndarray, sure: float) -> None:
        self.axis, self.found, self.sure = axis, found, sure
        self.asked: list[tuple[int, list[float], np.ndarray]] = []
        self.transform = CropTransform(tuple(np.delete(SHAPE, axis).tolist()), (1.0, 1.0))

    def transform_around(self, box: np.ndarray) -> CropTransform:
        return self.transform

    def ask_again(self, index: int, box: np.ndarray, mask: np.ndarray) -> np.ndarray:
        self.asked.append((index, np.round(box).tolist(), mask))
        found = np.moveaxis(self.found, self.axis, 0)[index]
        return np.where(found, self.sure, -self.sure).astype(np.float32)


def refined(*planes: Plane) -> tuple[np.ndarray, list[int]]:
    steps, left = refine_in_3d(planes, CARRIED), []  # type: ignore[arg-type]
    while True:
        try:
            left.append(next(steps))
        except StopIteration as end:
            return end.value, left


def planes(*found: tuple[np.ndarray, float]) -> list[Plane]:
    return [Plane(axis, *own) for axis, own in enumerate(found)]


def test_each_plane_is_asked_about_its_slices_of_the_structure() -> None:
    asked = planes(*[(CARRIED, 6.0)] * 3)
    mask, left = refined(*asked)
    np.testing.assert_array_equal(mask, CARRIED)
    assert left == list(range(6 + 10 + 12, 0, -1))
    for plane, first, last in zip(asked, (2, 5, 6), (8, 15, 18), strict=True):
        assert [index for index, *_ in plane.asked] == list(range(first, last))
        for index, box, shown in plane.asked:
            np.testing.assert_array_equal(shown, np.moveaxis(CARRIED, plane.axis, 0)[index])
            rows, columns = np.nonzero(shown)
            edges = np.subtract(box, [columns.min(), rows.min(), columns.max(), rows.max()])
            assert (np.abs(edges) <= 1).all(), "three pixels of the frame are less than one here"


@pytest.mark.parametrize(
    ("sure", "theirs"), [((6, 6, 6), True), ((6, 1, 1), False), ((2, 6, 1), True)]
)
def test_what_the_planes_are_surer_of_together_is_found(
    sure: tuple[float, float, float], theirs: bool
) -> None:
    """Two planes find less than what was carried, the first all of it."""
    less = CARRIED & ~block(2, 5, 6, 8, 15, 9)
    mask, _ = refined(*planes(*zip((CARRIED, less, less), map(float, sure), strict=True)))
    np.testing.assert_array_equal(mask, less if theirs else CARRIED)


def test_where_a_plane_has_nothing_the_structure_does_not_grow() -> None:
    """Beyond the first and last slice of it, one plane was not asked."""
    more = block(0, 5, 6, 10, 15, 18)
    mask, _ = refined(*planes((CARRIED, 6.0), (more, 2.0), (more, 2.0)))
    np.testing.assert_array_equal(mask, CARRIED)
    mask, _ = refined(*planes((CARRIED, 6.0), (more, 6.0), (more, 6.0)))
    np.testing.assert_array_equal(mask, more)


@pytest.fixture
def session() -> AnnotationSession:
    array = np.full(SHAPE, 10, np.int16)
    array[CARRIED] = 200
    volume = volume_from_slices(array, (1, 1, 1), "block")
    return AnnotationSession(volume, ScriptedEngine(led=True, carries=True), IDENTITY)


@pytest.mark.parametrize("zoom", [None, Zoom()])
def test_the_network_is_asked_by_the_mask_itself(session: AnnotationSession, zoom: Any) -> None:
    session.zoom = zoom
    steps = session.refine(CARRIED)
    count = sum(1 for _ in iter(lambda: next(steps, None), None))
    engine: ScriptedEngine = session.engine  # type: ignore[assignment]
    assert engine.decoded == engine.carried == len(engine.prompts) == count == 28
    assert not session.label.any()


def test_networks_that_cannot_and_empty_masks_are_refused(session: AnnotationSession) -> None:
    with pytest.raises(PromptError, match="no mask to refine"):
        session.refine(np.zeros(SHAPE, bool))
    session.engine.spec = replace(session.engine.spec, sha256={})  # type: ignore[misc]
    with pytest.raises(PromptError, match="has not learnt to carry masks"):
        session.refine(CARRIED)
