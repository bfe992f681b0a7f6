"""Grids of labels by the places of their voxels, which are counted one by one."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from grids import ALL_48, grid_affine

from napari_medsamq.errors import VolumeError
from napari_medsamq.io.grid import (
    Grid,
    check_same_space,
    common_grid,
    extended,
    has_no_place,
    onto_grid,
    same_voxels,
)

SPACING = (1.0, 1.5, 3.0)
OWN = Grid("a", (4, 5, 6), grid_affine((0, 1, 2), (1, 1, 1), (10, -5, 8), SPACING))
STRAIGHT = replace(OWN, affine=grid_affine((0, 1, 2), (1, 1, 1), sizes=SPACING))


def shifted(grid: Grid, steps: tuple[float, ...], **changed: object) -> Grid:
    """Return a grid whose first voxel lies so many of its steps away."""
    affine = grid.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ steps
    return replace(grid, name="b", affine=affine, **changed)


def looked_up(ids: np.ndarray, own: Grid, grid: Grid) -> tuple[np.ndarray, int]:
    """Return each voxel's nearest label, and how many labelled voxels lie outside."""
    expected = np.zeros(grid.shape, np.uint16)
    to_own = np.linalg.inv(own.affine) @ grid.affine
    for place in np.ndindex(grid.shape):
        nearest = np.rint(to_own @ [*place, 1])[:3].astype(int)
        if (nearest >= 0).all() and (nearest < own.shape).all():
            expected[place] = ids[tuple(nearest)]
    places = np.linalg.inv(to_own) @ np.vstack([np.argwhere(ids).T, np.ones(np.count_nonzero(ids))])
    nearest = np.rint(places[:3].T)
    return expected, int(((nearest < 0) | (nearest >= grid.shape)).any(1).sum())


@pytest.mark.parametrize("turn", ALL_48[::5])
@pytest.mark.parametrize("steps", [(0, 0, 0), (1, -2, 3), (-9, 0, 0)])
def test_a_label_is_copied_voxel_by_voxel(
    turn: tuple[tuple[int, ...], tuple[int, ...]], steps: tuple[int, ...]
) -> None:
    ids = np.random.default_rng(0).integers(0, 4, OWN.shape).astype(np.uint16)
    axes, signs = turn
    matrix = np.zeros((4, 4))
    matrix[axes, range(3)], matrix[:3, 3], matrix[3, 3] = signs, steps, 1
    grid = Grid("b", (5, 7, 4), OWN.affine @ matrix)
    found, notes = onto_grid(ids, OWN, grid)
    expected, outside = looked_up(ids, OWN, grid)
    np.testing.assert_array_equal(found, expected)
    assert notes == (
        (f"{outside:,} of its voxels ({outside * 0.0045:.2f} mL) lie outside the image.",)
    )


def test_on_other_voxels_each_takes_the_label_nearest_to_it() -> None:
    ids = np.random.default_rng(0).integers(0, 4, OWN.shape).astype(np.uint16)
    finer = grid_affine((0, 1, 2), (1, 1, 1), (10, -5, 8), (0.8, 1.1, 1.7))
    grid = shifted(Grid("b", (6, 5, 9), finer), (0.1, 0.3, -1.2))
    found, (said, left) = onto_grid(ids, OWN, grid)
    expected, outside = looked_up(ids, OWN, grid)
    np.testing.assert_array_equal(found, expected)
    assert "4 x 5 x 6 voxels of 1 x 1.5 x 3 mm" in said
    assert left.startswith(f"{outside} of its voxels")
    # Half way between two, always the first.
    half = shifted(OWN, (0.5, 0, 0))
    np.testing.assert_array_equal(onto_grid(ids, OWN, half)[0], ids)


def test_a_label_without_a_place_is_empty_on_any_grid() -> None:
    one = Grid("a", (1, 1, 1), np.eye(4))
    assert has_no_place(np.zeros((1, 1, 1), np.uint16))
    assert not has_no_place(np.ones((1, 1, 1), np.uint16))
    assert not has_no_place(np.zeros((1, 1, 2), np.uint16))
    found, notes = onto_grid(np.zeros((1, 1, 1), np.uint16), one, OWN)
    assert (found.shape, found.any(), notes) == (OWN.shape, False, ())


@pytest.mark.parametrize(("steps", "same"), [(0.04, True), (0.06, False), (1.0, False)])
def test_voxels_are_the_same_up_to_what_files_round(steps: float, same: bool) -> None:
    for axis in range(3):
        moved = shifted(OWN, tuple(np.eye(3)[axis] * steps))
        assert same_voxels(OWN, moved) == same
    assert not same_voxels(OWN, replace(OWN, shape=(4, 5, 7)))
    framed = [replace(OWN, frame_of_reference=uid) for uid in ("1.2", "1.3")]
    assert same_voxels(framed[0], framed[0])
    assert same_voxels(framed[0], OWN)
    assert not same_voxels(*framed)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (shifted(STRAIGHT, (403, 0, 0)), None),
        (shifted(STRAIGHT, (404, 0, 0)), "no place of the patient in common"),
        (shifted(STRAIGHT, (0, 0, -138)), None),
        (shifted(STRAIGHT, (0, 0, -139)), "no place of the patient in common"),
        # Of no common lattice they have to meet.
        (shifted(STRAIGHT, (2.5, 0, 0)), None),
        (shifted(STRAIGHT, (3.5, 0, 0)), "no place of the patient in common"),
        (shifted(STRAIGHT, (0, 0, 0), template=True), "template"),
        (shifted(STRAIGHT, (0, 0, 0), known=False), "b: does not say how the patient lies"),
    ],
)
def test_grids_of_one_patient_lie_near_each_other(other: Grid, words: str | None) -> None:
    for pair in ((STRAIGHT, other), (other, STRAIGHT)):
        if words is None:
            check_same_space(*pair)
        else:
            with pytest.raises(VolumeError, match=words):
                check_same_space(*pair)


def test_a_frame_of_reference_says_whether_places_can_be_compared() -> None:
    one, far = (
        replace(grid, frame_of_reference="1.2") for grid in (OWN, shifted(OWN, (4000, 0, 0)))
    )
    check_same_space(one, far)
    with pytest.raises(VolumeError, match="another frame of reference"):
        check_same_space(one, replace(OWN, frame_of_reference="1.3"))


def test_a_common_grid_has_all_voxels_of_both_whichever_comes_first() -> None:
    coarse = Grid("b", (3, 3, 3), grid_affine((0, 1, 2), (1, -1, 1), (10, -5, 8), (4, 4, 4)))
    found = common_grid(OWN, coarse)
    swapped = common_grid(coarse, OWN)
    assert found.shape == swapped.shape
    np.testing.assert_array_equal(found.affine, swapped.affine)
    np.testing.assert_allclose(found.spacing, SPACING)
    # All that lies within the outer voxels of either, and no slice more.
    covered = np.zeros(found.shape, bool)
    to_coarse = np.linalg.inv(coarse.affine) @ found.affine
    to_own = np.rint(np.linalg.inv(OWN.affine) @ found.affine)
    for place in product(*map(range, found.shape)):
        at = (to_coarse @ [*place, 1])[:3]
        own = (to_own @ [*place, 1])[:3]
        covered[place] = ((at >= -0.55) & (at <= 2.55)).all() or (
            (own >= 0) & (own < OWN.shape)
        ).all()
    for axis in range(3):
        ends = np.moveaxis(covered, axis, 0)
        assert ends[0].any()
        assert ends[-1].any()
    assert extended(OWN, OWN.affine[:3, :3] @ [[0], [0], [7.2]] + OWN.affine[:3, [3]]).shape == (
        *OWN.shape[:2],
        8,
    )
    with pytest.raises(VolumeError, match="too far apart"):
        common_grid(OWN, shifted(OWN, (1e6, 1e6, 1e6)))
    assert extended(OWN, np.full((3, 1), 1e30)) is None
