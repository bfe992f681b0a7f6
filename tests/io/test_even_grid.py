"""Places of slices that files give with few decimals, and slices that are missing among them."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from dicom_slices import write_slices_of
from grids import rotation
from scipy.ndimage import map_coordinates

from napari_medsamq.errors import UnevenSlicesError
from napari_medsamq.io.dicom.even_grid import find_grid, resample_evenly
from napari_medsamq.io.label_writer import write_label
from napari_medsamq.io.volume import read_volume

pytestmark = pytest.mark.usefixtures("same_process")

AXIAL = np.eye(3)
RAS = np.diag([-1.0, -1, 1, 1])
ROWS, COLUMNS = 6, 8
# Over 0.05 mm from the ideal place nothing that was drawn may lie.
NEAR = 0.05

# Distance, decimals, slices.
ROUNDED = [
    (0.625, 1, 30),
    (0.625, 2, 30),
    (0.75, 1, 4),
    (1.25, 1, 20),
    (1.25, 0, 20),
    (2.5, 0, 9),
    (3.3, 0, 30),
    (3.3, 1, 12),
    (0.3, 1, 40),
    (0.15, 1, 40),
    (0.625, 0, 30),
]


def places(step: float, count: int, turn: np.ndarray = AXIAL, origin: float = -100.0) -> np.ndarray:
    return np.array([-50.0, -40.0, origin]) + np.arange(count)[:, None] * step * turn[:, 2]


def write(
    folder: Path,
    ideal: np.ndarray,
    decimals: int,
    turn: np.ndarray = AXIAL,
    cosines: int = 9,
    **tags: object,
) -> list[Path]:
    """Write slices whose every voxel has the slice's number, with rounded places."""
    voxels = np.full((len(ideal), ROWS, COLUMNS), np.arange(len(ideal))[:, None, None], np.int16)
    voxels[:, 0, 0] += 100
    return write_slices_of(
        folder,
        voxels,
        ImagePositionPatient=[[round(x, decimals) for x in place] for place in ideal.tolist()],
        ImageOrientationPatient=[[round(x, cosines) for x in turn[:, :2].T.ravel().tolist()]]
        * len(ideal),
        PixelSpacing=[0.8, 0.8],
        Modality="MR",
        **tags,
    )


def farthest(affine: np.ndarray, ideal: np.ndarray, turn: np.ndarray = AXIAL) -> float:
    """Return how far a corner of the slices lies from its ideal place, mm."""
    return max(
        float(
            np.linalg.norm(
                (affine @ [i, j, k, 1])[:3] - place - 0.8 * (i * turn[:, 0] + j * turn[:, 1])
            )
        )
        for k, place in enumerate(ideal)
        for i in (0, COLUMNS - 1)
        for j in (0, ROWS - 1)
    )


@pytest.mark.parametrize(("step", "decimals", "count"), ROUNDED)
def test_rounded_places_are_taken(tmp_path: Path, step: float, decimals: int, count: int) -> None:
    ideal = places(step, count)
    write(tmp_path / "a", ideal, decimals, SliceThickness=step)
    volume = read_volume(tmp_path / "a")
    np.testing.assert_array_equal(volume.data[:, 1, 1], np.arange(count))
    assert volume.warnings == ()
    write_label(tmp_path / "l.nii.gz", np.ones(volume.data.shape, np.uint8), volume)
    saved = RAS @ nib.load(tmp_path / "l.nii.gz").affine
    assert farthest(saved, ideal) <= NEAR
    resampled = read_volume(tmp_path / "a", resample=True)
    np.testing.assert_array_equal(resampled.data, volume.data)


@pytest.mark.parametrize(("step", "decimals", "count"), [(0.625, 1, 30), (3.3, 1, 12)])
def test_rounded_places_need_no_distance_that_is_said(
    tmp_path: Path, step: float, decimals: int, count: int
) -> None:
    ideal = places(step, count, origin=-99.37)
    write(tmp_path, ideal, decimals, SliceThickness=5)
    volume = read_volume(tmp_path)
    assert volume.data.shape == (count, ROWS, COLUMNS)
    assert farthest(volume.source.affine, ideal) <= NEAR


@pytest.mark.parametrize("cosines", [9, 6, 4])
@pytest.mark.parametrize(("step", "decimals"), [(0.625, 1), (3.0, 1), (1.25, 2), (3.0, 4)])
def test_rounded_oblique_places_are_taken(
    tmp_path: Path, step: float, decimals: int, cosines: int
) -> None:
    turn = rotation((15, -20, 5))
    ideal = places(step, 20, turn)
    write(tmp_path, ideal, decimals, turn, cosines, SpacingBetweenSlices=step)
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(np.unique(volume.data[1:, 1, 1]), np.arange(1, 20))
    assert farthest(volume.source.affine, ideal, turn) <= NEAR


@pytest.mark.parametrize("degrees", [(15, -20, 5), (3, 0, 40), (0, 31, 0)])
@pytest.mark.parametrize("cosines", [2, 3])
def test_rounded_directions_are_at_right_angles(
    tmp_path: Path, degrees: tuple[float, float, float], cosines: int
) -> None:
    turn = rotation(degrees)
    ideal = places(3.0, 30, turn)
    write(tmp_path, ideal, 4, turn, cosines)
    affine = read_volume(tmp_path).source.affine
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    np.testing.assert_allclose(sizes, [0.8, 0.8, 3.0], atol=1e-4)
    np.testing.assert_allclose(
        (affine[:3, :3] / sizes).T @ (affine[:3, :3] / sizes), np.eye(3), atol=1e-4
    )
    # Along the slices, where the places say it better than the directions.
    assert np.abs(affine[:3, :3] - turn * [0.8, 0.8, 3.0]).max() < 10.0**-cosines


@pytest.mark.parametrize(("step", "decimals", "count"), [(1.0, 0, 21), (3.0, 1, 5), *ROUNDED[:-1]])
@pytest.mark.parametrize("missing", [1, -3])
def test_missing_slices_are_refused_by_the_files_at_the_gap(
    tmp_path: Path, step: float, decimals: int, count: int, missing: int
) -> None:
    ideal = places(step, count, origin=-100.0 if missing > 0 else -99.37)
    paths = write(tmp_path, ideal, decimals, SliceThickness=step)
    gone = paths.pop(missing % count)
    gone.unlink()
    beside = [f"{missing % count + n:03}.dcm" for n in (-1, 1)]
    with pytest.raises(UnevenSlicesError, match="slices are missing") as error:
        read_volume(tmp_path)
    assert f"between {beside[0]} and {beside[1]}" in str(error.value)
    volume = read_volume(tmp_path, resample=True)
    assert len(volume.data) == count
    assert farthest(volume.source.affine, ideal) <= max(NEAR, 0.5 * 10.0**-decimals)
    there = [n for n in range(count) if n != missing % count]
    np.testing.assert_array_equal(volume.data[there, 1, 1], there)


@pytest.mark.parametrize(
    "heights",
    [
        (0, 3, 7, 9, 12, 15),
        (0, 3, 6.5, 9, 12),
        (0, 3, 6, 9, 12, 15, 19),
        (0, 2.5, 5, 7.9, 10, 12.5),
        (0, 1, 2, 4, 5, 6, 8, 9),
        # Half millimetres need no rounding to tenths.
        (0, 0.5, 1.1, 1.5, 2.0),
    ],
)
def test_what_rounding_does_not_explain_is_uneven(
    tmp_path: Path, heights: tuple[float, ...]
) -> None:
    ideal = np.array([[0, 0, height] for height in heights], float)
    write(tmp_path, ideal, 4, SliceThickness=2.5 if 2.5 in heights else 3 if 3 in heights else 1)
    with pytest.raises(UnevenSlicesError):
        read_volume(tmp_path)


@pytest.mark.parametrize("decimals", [4, 2])
def test_a_tilt_of_the_gantry_is_no_rounding(tmp_path: Path, decimals: int) -> None:
    angle = np.radians(3)
    ideal = np.array([[0, 0, 3.0 * n] for n in range(10)])
    turn = np.array(
        [[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]]
    )
    write(tmp_path, ideal, 3, turn, decimals)
    with pytest.raises(UnevenSlicesError, match=r"gantry tilt of (3\.0|2\.9)"):
        read_volume(tmp_path)


def test_places_of_few_thin_slices_that_vary_a_bit_are_no_tilt(tmp_path: Path) -> None:
    ideal = places(0.5, 3)
    beside = np.array([[0.02, 0, 0], [0, 0.01, 0], [-0.02, 0, 0]])
    write(tmp_path, ideal + beside, 4)
    affine = read_volume(tmp_path).source.affine
    assert farthest(affine, ideal) <= NEAR
    np.testing.assert_allclose(affine[:2, 2], 0, atol=1e-9)


def along_z(*heights: float) -> np.ndarray:
    return np.array([[0.0, 0.0, height] for height in heights])


def test_the_usual_distance_is_the_mean_of_those_alike() -> None:
    heights = np.round(np.delete(np.arange(12) * 3.3, 5))
    grid = find_grid(along_z(*heights), np.array([0.0, 0, 1]), ())
    assert grid.numbers.tolist() == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11]
    assert (grid.fits, grid.complete, grid.said) == (False, False, False)
    assert grid.usual == pytest.approx(3.3, abs=0.1)
    assert grid.count == 12
    np.testing.assert_allclose(grid.step, [0, 0, 3.3], atol=0.05)


def test_missing_slices_are_seen_where_all_might_be_rounded() -> None:
    grid = find_grid(along_z(0, 0.1, 0.2, 0.4, 0.5), np.array([0.0, 0, 1]), ())
    assert grid.numbers.tolist() == [0, 1, 2, 4, 5]
    heights = np.round(99.825 + 3.3 * np.array([0, 1, 2, 3, 5, 6, 7, 8]), 1)
    grid = find_grid(along_z(*heights), np.array([0.0, 0, 1]), (3.3,))
    assert (grid.numbers.tolist(), grid.said) == ([0, 1, 2, 3, 5, 6, 7, 8], True)
    whole = find_grid(along_z(0, 0.1, 0.3, 0.4, 0.5, 0.7), np.array([0.0, 0, 1]), (0.14,))
    assert whole.numbers.tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(("even", "across"), [(True, 0.7), (False, -0.7)])
def test_shifted_slices_are_interpolated_as_another_program_does(even: bool, across: float) -> None:
    turn, draw = rotation((15, -20, 5)), np.random.default_rng(0)
    slices = draw.integers(-50, 900, (4, ROWS, COLUMNS)).astype(np.float32)
    heights = np.array([0, 3, 6, 9]) if even else np.array([0, 2, 6, 9])
    # In mm: along rows, along columns, and along the normal.
    shifts = np.outer(heights / 3, [across, -1.3])
    places = np.array([5.0, -7, 11]) + np.column_stack([shifts, heights]) @ turn.T
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn * [0.8, 0.6, 1], places[0]
    found, moved = resample_evenly("a", slices, places, affine, 4)
    pixels = shifts / [0.8, 0.6]
    first = np.floor(pixels.min(0))
    shown = []
    for plane, moved_by in zip(slices, pixels - first, strict=True):
        at = np.indices(found.shape[1:]) - np.reshape(moved_by[::-1], (2, 1, 1))
        cval = slices.min()
        shown.append(map_coordinates(plane, at, order=1, mode="grid-constant", cval=cval))
    expected = np.stack(shown)
    if not even:
        expected[1] = (3 * expected[1] + expected[2]) / 4
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-2)
    for number in (0, 3):
        index = [*(pixels[number] - first), number, 1]
        np.testing.assert_allclose((moved @ index)[:3], places[number], atol=1e-6)
