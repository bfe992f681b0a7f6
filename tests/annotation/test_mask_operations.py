"""Operations on masks: what they do, the way back, and that nothing is taken in secret."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scripted_engine import ScriptedEngine

from napari_medsamq.annotation.history import LabelStyle
from napari_medsamq.annotation.mask_operations import (
    combine,
    fill_holes,
    grow,
    interpolate_slices,
    keep_largest,
    remove_islands,
    smooth_between,
    within_range,
)
from napari_medsamq.annotation.repairs import REPAIRS
from napari_medsamq.annotation.session import AnnotationSession
from napari_medsamq.errors import PromptError
from napari_medsamq.inference.preprocess import IDENTITY
from napari_medsamq.io.volume import volume_from_slices
from napari_medsamq.records.journal import Journal
from napari_medsamq.records.journal_format import read_journal
from napari_medsamq.records.recording import Recorder, restore

SPACING = np.array([3.0, 0.7, 0.5])


def ball(
    centre: tuple[float, float, float] = (20, 60, 60),
    radius: float = 15,
    shape: tuple[int, int, int] = (40, 120, 120),
) -> np.ndarray:
    """Return a ball whose radius is in mm."""
    places = np.moveaxis(np.indices(shape), 0, -1)
    found: np.ndarray = np.linalg.norm((places - centre) * SPACING, axis=-1) <= radius
    return found


def dsc(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def test_holes_are_filled_from_all_sides_or_slice_by_slice() -> None:
    whole = ball()
    hollow = whole & ~ball(radius=8)
    np.testing.assert_array_equal(fill_holes(hollow), whole)
    tunnel = whole.copy()
    tunnel[:, 58:62, 58:62] = False
    np.testing.assert_array_equal(fill_holes(tunnel), tunnel), "it is open at both ends"
    filled = fill_holes(tunnel, axis=0)
    assert not (tunnel & ~filled).any()
    np.testing.assert_array_equal(filled[16:24], whole[16:24])
    np.testing.assert_array_equal(
        fill_holes(np.moveaxis(tunnel, 0, 2), axis=2), np.moveaxis(filled, 0, 2)
    )
    assert not fill_holes(np.zeros((3, 4, 5), bool)).any()


def test_parts_are_those_of_simpleitk() -> None:
    rng = np.random.default_rng(0)
    mask = rng.random((20, 30, 30)) < 0.12
    components = sitk.ConnectedComponent(sitk.GetImageFromArray(mask.astype(np.uint8)), True)
    shape = sitk.LabelShapeStatisticsImageFilter()
    shape.Execute(components)
    sizes = {label: shape.GetNumberOfPixels(label) for label in shape.GetLabels()}
    parts = sitk.GetArrayFromImage(components)
    largest = max(sizes.values())
    assert list(sizes.values()).count(largest) == 1
    np.testing.assert_array_equal(keep_largest(mask), parts == max(sizes, key=lambda n: sizes[n]))
    mm3 = 5 * float(SPACING.prod())
    kept = [label for label, size in sizes.items() if size >= 5]
    np.testing.assert_array_equal(remove_islands(mask, SPACING, mm3), np.isin(parts, kept))
    assert not remove_islands(mask, SPACING, 1e6).any()
    assert not keep_largest(np.zeros((3, 4, 5), bool)).any()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_missing_slices_are_interpolated(axis: int) -> None:
    whole = ball()
    slanted = np.zeros_like(whole)
    for index in range(8, 33):
        slanted[index] = np.roll(ball()[20], 2 * (index - 20), axis=0)
    for mask in (whole, *([slanted] if axis == 0 else [])):
        known, planes = mask.copy(), np.moveaxis(mask, axis, 0)
        cut = np.moveaxis(known, axis, 0)
        used = np.flatnonzero(planes.any((1, 2)))
        step = 2 if axis == 0 else 8
        cut[np.setdiff1d(used, [*used[::step], used[-1]])] = False
        found = interpolate_slices(known, axis, SPACING)
        assert dsc(found, mask) > 0.95
        np.testing.assert_array_equal(
            np.moveaxis(found, axis, 0)[used[::step]], planes[used[::step]]
        )
    np.testing.assert_array_equal(interpolate_slices(whole, axis, SPACING), whole)


@pytest.mark.parametrize("thin", [1, 2])
def test_rows_of_a_single_slice_are_interpolated_as_those_of_a_volume(thin: int) -> None:
    """Seen edge-on, a 2D image is no plate with an outline on both sides."""
    mask = np.zeros((20, 40), bool)
    mask[2, 4:34], mask[12, 13:25] = True, True
    found = interpolate_slices(np.expand_dims(mask, thin), 0, SPACING).squeeze(thin)
    widths = found.sum(1)[2:13]
    assert widths == pytest.approx(np.linspace(30, 12, 11), abs=1)


def test_a_mask_that_fills_the_volume_has_nothing_to_shrink_from() -> None:
    full = np.ones((3, 9, 9), bool)
    np.testing.assert_array_equal(grow(full, SPACING, -2), full)
    np.testing.assert_array_equal(grow(full[:1], SPACING, -2), full[:1])


def test_smoothing_takes_jumps_between_slices_and_keeps_a_ball() -> None:
    whole = ball()
    assert dsc(smooth_between(whole, 0, SPACING), whole) > 0.95
    jagged = whole.copy()
    for index in range(16, 25, 2):
        jagged[index] = np.roll(jagged[index], 6, axis=1)
    smooth = smooth_between(jagged, 0, SPACING)
    jumps = [np.count_nonzero(mask[1:] ^ mask[:-1]) for mask in (jagged, smooth, whole)]
    assert jumps[1] < (jumps[0] + jumps[2]) / 2
    assert smooth.sum() == pytest.approx(jagged.sum(), rel=0.02)
    np.testing.assert_array_equal(smooth.any((1, 2)), whole.any((1, 2)))


def test_smoothing_takes_nothing_because_a_neighbour_is_empty() -> None:
    disc = ball()[20]
    mask = np.zeros((9, *disc.shape), bool)
    mask[::2] = disc
    np.testing.assert_array_equal(smooth_between(mask, 0, (2, 1, 1)), mask)


@pytest.mark.parametrize("spacing", [0.4, 0.8, 1.1])
def test_spacings_in_single_precision_lose_no_layer(spacing: float) -> None:
    stored = np.full(3, spacing, np.float32).astype(float)
    mask = np.zeros((11, 11, 11), bool)
    mask[4:7, 4:7, 4:7] = True
    assert grow(mask, stored, 2 * spacing)[5, 5].sum() == 7
    assert grow(mask, stored, -spacing).sum() == 1


def test_growing_is_in_mm_and_shrinking_undoes_it() -> None:
    mask = ball(radius=10)
    assert dsc(grow(mask, SPACING, 4), ball(radius=14)) > 0.96
    assert dsc(grow(mask, SPACING, -4), ball(radius=6)) > 0.9
    np.testing.assert_array_equal(grow(mask, SPACING, 0), mask)
    assert dsc(grow(grow(mask, SPACING, 4), SPACING, -4), mask) > 0.96
    edge = np.zeros((10, 10, 10), bool)
    edge[:5] = True
    shrunk = grow(edge, np.ones(3), -2)
    assert shrunk[:3].all(), "beyond the volume nothing is known"
    assert not shrunk[3:].any()
    assert not grow(mask, SPACING, -50).any()


def test_a_range_of_values_is_kept_with_its_ends() -> None:
    values = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    mask = values % 2 == 0
    found = within_range(mask, values, 10, 20)
    assert sorted(values[found]) == [10, 12, 14, 16, 18, 20]
    assert mask.sum() == 30, "what is given is not changed"
    colours = np.stack([values, values, values + 5], axis=-1)
    assert sorted(values[within_range(mask, colours, 10, 20)]) == [10, 12, 14]


def test_labels_are_combined() -> None:
    a, b = ball((20, 60, 50)), ball((20, 60, 70))
    np.testing.assert_array_equal(combine(a, b, "union"), a | b)
    np.testing.assert_array_equal(combine(a, b, "intersection"), a & b)
    np.testing.assert_array_equal(combine(a, b, "difference"), a & ~b)


@pytest.fixture
def session() -> AnnotationSession:
    volume = volume_from_slices(ball().astype(np.int16), tuple(SPACING), "balls")
    made = AnnotationSession(volume, ScriptedEngine(), IDENTITY)
    hollow = np.flatnonzero(ball() & ~ball(radius=8))
    made.history.change("box", hollow, np.full(hollow.size, 1, np.uint16), ())
    inner = np.flatnonzero(ball(radius=3))
    made.history.change("box", inner, np.full(inner.size, 2, np.uint16), ())
    return made


def test_an_operation_is_one_step_that_can_be_undone(session: AnnotationSession) -> None:
    before = session.label.copy()
    edit = session.operate(1, "fill holes", fill_holes)
    assert edit.name == "fill holes: Label 1"
    np.testing.assert_array_equal(session.label == 2, ball(radius=3)), "a lesion stays a lesion"
    np.testing.assert_array_equal(session.label == 1, ball() & ~ball(radius=3))
    after = session.label.copy()
    session.history.undo()
    np.testing.assert_array_equal(session.label, before)
    session.history.redo()
    np.testing.assert_array_equal(session.label, after)


def test_an_operation_takes_from_other_labels_only_if_told_and_not_from_locked(
    session: AnnotationSession,
) -> None:
    other = session.label == 2
    join = partial(combine, other=other, how="union")
    session.set_style(2, LabelStyle("Lesion", "#000000", locked=True))
    with pytest.raises(PromptError, match="'unite' changes nothing in Label 1"):
        session.operate(1, "unite", join, takes=True)
    session.set_style(2, LabelStyle("Lesion", "#000000"))
    session.operate(1, "unite", join, takes=True)
    assert list(session.history.voxel_counts) == [1]


def test_a_locked_label_is_not_changed(session: AnnotationSession) -> None:
    session.set_style(1, LabelStyle("Liver", "#000000", locked=True))
    with pytest.raises(PromptError, match="Liver is locked"):
        session.operate(1, "fill holes", fill_holes)


def test_an_operation_without_a_result_changes_nothing(session: AnnotationSession) -> None:
    before = session.label.copy()
    for label_id, operation, words in (
        (3, fill_holes, "Label 3 has no voxels"),
        (1, keep_largest, "changes nothing"),
        (1, partial(grow, spacing=SPACING, mm=-50), "leave nothing of Label 1"),
    ):
        with pytest.raises(PromptError, match=words):
            session.operate(label_id, "clean", operation)
    np.testing.assert_array_equal(session.label, before)
    assert session.history.undo_name == "box"


def test_a_journal_brings_operations_back(session: AnnotationSession, tmp_path: Path) -> None:
    path = tmp_path / "a.journal"
    fresh = AnnotationSession(session.volume, ScriptedEngine(), IDENTITY)
    journal = Journal(path, session.volume, "key", None, pytest.fail)
    recorder = Recorder(fresh, journal, None)
    hollow = np.flatnonzero(ball() & ~ball(radius=8))
    fresh.history.change("box", hollow, np.full(hollow.size, 1, np.uint16), ())
    fresh.operate(1, "fill holes", fill_holes)
    inner = np.flatnonzero(ball(radius=3))
    fresh.history.change("box", inner, np.full(inner.size, 2, np.uint16), ())
    near = grow(fresh.label == 2, SPACING, 4)
    sizes = []
    for title in ("Subtract a structure", "Keep the overlap with a structure"):
        (repair,) = [own for own in REPAIRS if own.title == title]
        before = fresh.label == 1
        fresh.operate(1, title, repair.make(fresh, 0, [2, 4.0]))
        wanted = before & (near if "overlap" in title else ~near)
        np.testing.assert_array_equal(fresh.label == 1, wanted)
        sizes.append(int(wanted.sum()))
        fresh.history.undo()
    assert min(sizes) > 0
    fresh.history.redo()
    fresh.operate(1, "grow", partial(grow, spacing=SPACING, mm=2))
    fresh.history.undo()
    recorder.close()
    restored = restore(read_journal(path).records, fresh.label.shape)
    np.testing.assert_array_equal(restored.history.label, fresh.label)
    assert restored.history.redo_name == "grow: Label 1"
