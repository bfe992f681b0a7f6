"""Structure sets (RTSTRUCT), our own and those of others, are read as labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dicom_series import write_series
from grids import grid_affine
from sources import write_nifti
from structure_sets import rectangle, write_structures
from typer.testing import CliRunner

from napari_medsamq.cli.main import app
from napari_medsamq.errors import VolumeError
from napari_medsamq.io.dicom import rtstruct_reader
from napari_medsamq.io.label_format import Segment
from napari_medsamq.io.label_writer import write_label
from napari_medsamq.io.labels import on_common_grid, read_label, read_label_file
from napari_medsamq.io.volume import Volume, read_volume
from napari_medsamq.workflows.follow_up import prior_labels

pytestmark = pytest.mark.usefixtures("same_process")

SHAPE = (24, 20, 8)
AFFINE = grid_affine((0, 1, 2), (1, 1, 1), (10, -5, 8), (1, 1.5, 3))


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Volume:
    voxels = np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(np.int16)
    return read_volume(write_series(tmp_path_factory.mktemp("a") / "series", voxels, AFFINE))


def boxed(k: np.ndarray | list[int], low: tuple[int, int], high: tuple[int, int]) -> np.ndarray:
    label = np.zeros(SHAPE, np.uint16)
    label[low[0] : high[0] + 1, low[1] : high[1] + 1, k] = 1
    return label


def stacked(low: tuple[int, int], high: tuple[int, int], slices: list[float]) -> list[np.ndarray]:
    return [rectangle(AFFINE, low, high, k) for k in slices]


def test_our_own_come_back_as_they_were_drawn(series: Volume, tmp_path: Path) -> None:
    z, y, x = np.indices(series.data.shape)
    across = np.hypot((y - 9.5) * 1.5, x - 11.5)
    label = np.zeros(series.data.shape, np.uint16)
    label[(across < 9) & (across > 4) & (z > 0)] = 300  # with a hole
    label[(across < 2.5) & (z > 2)] = 7
    label[3, 0, 0] = label[3, 2, 0] = label[5, 18:, 22:] = 9  # single voxels, in corners
    segments = {300: Segment("Left kidney", "#E69F00"), 7: Segment("Größe", "#0072B2")}
    path = tmp_path / "a.rtstruct.dcm"
    write_label(path, label, series, segments)
    found = read_label(path, series)
    np.testing.assert_array_equal(found.label, label)
    assert found.notes == ()
    assert found.segments == {**segments, 9: Segment.default(9)}
    # What is on slices 3 and 5 alone stays there, also where nothing else tells so.
    write_label(path, np.where(label == 9, label, 0), series)
    np.testing.assert_array_equal(read_label(path, series).label, np.where(label == 9, label, 0))
    write_label(path, label, series, segments)
    # On a converted image, too, whose axes are others.
    converted = read_volume(
        write_nifti(tmp_path / "a.nii", series.to_source(series.data)[::-1, ::-1], AFFINE @ TURN)
    )
    np.testing.assert_array_equal(read_label(path, converted).label, label)


TURN = np.diag([-1.0, -1, 1, 1])
TURN[:2, 3] = SHAPE[0] - 1, SHAPE[1] - 1


def test_several_contours_holes_and_keyholes(series: Volume, tmp_path: Path) -> None:
    outer, hole = stacked((3, 3), (14, 14), [2, 3]), stacked((6, 6), (9, 9), [2, 3])
    aside = stacked((17, 3), (19, 5), [3])
    keyhole = [
        np.concatenate([out, out[:1], inn[[0, 3, 2, 1, 0]], out[:1]])
        for out, inn in zip(outer, hole, strict=True)
    ]
    expected = boxed([2, 3], (3, 3), (14, 14)) & ~boxed([2, 3], (6, 6), (9, 9)) & 1
    with_aside = expected | boxed([3], (17, 3), (19, 5))
    as_xor = [(contour, "CLOSEDPLANAR_XOR") for contour in [*outer, *hole]]
    for name, contours, wanted in (
        ("nested", [*outer, *hole, *aside], with_aside),
        ("keyhole", keyhole, expected),
        ("xor", as_xor, expected),
        # The same contour twice is no hole.
        ("twice", [*outer, *hole, *outer[::-1]], expected),
    ):
        path = write_structures(tmp_path / f"{name}.dcm", [("Liver", contours)], digits=4)
        found = read_label(path, series)
        np.testing.assert_array_equal(series.to_source(found.label), wanted, err_msg=name)
        assert found.segments == {1: Segment("Liver", "#0AC81E")}


@pytest.mark.parametrize(
    ("slices", "expected"),
    [
        # Between the slices, denser, sparser than these, and with a true gap.
        ([1.4, 2.4, 3.4], [1, 2, 3]),
        ([1.5, 2.5, 3.5], [1, 2, 3]),
        ([1.0, 1.25, 1.5, 1.75, 2.0, 2.25], [1, 2]),
        ([1, 3, 5], [0, 1, 2, 3, 4, 5]),
        ([1, 2, 5, 6], [1, 2, 5, 6]),
        ([3.2], [3]),
    ],
)
def test_each_slice_takes_the_contours_nearest_to_it(
    series: Volume, tmp_path: Path, slices: list[float], expected: list[int]
) -> None:
    contours = stacked((3, 3), (14, 14), slices)
    found = read_label(write_structures(tmp_path / "a.dcm", [("Liver", contours)]), series)
    np.testing.assert_array_equal(series.to_source(found.label), boxed(expected, (3, 3), (14, 14)))


def test_contours_through_the_middles_of_pixels_take_one_side_of_them(
    series: Volume, tmp_path: Path
) -> None:
    """Whatever rounding does, a straight edge stays straight."""
    corners = np.array([[3, 3], [9, 3], [9, 9], [3, 9]])
    ring = [np.linspace(a, b, 7) for a, b in zip(corners, np.roll(corners, -1, 0), strict=True)]
    points = np.concatenate(ring)
    places = np.column_stack([points, np.full(len(points), 4)])
    contour = places @ AFFINE[:3, :3].T + AFFINE[:3, 3]
    path = write_structures(tmp_path / "a.dcm", [("Liver", [contour])], digits=4)
    found = series.to_source(read_label(path, series).label)[..., 4]
    assert found.sum() == 36
    assert found[3:10, 3:10].any(0).sum() == found[3:10, 3:10].any(1).sum() == 6


def test_points_and_open_lines_enclose_nothing_and_that_is_said(
    series: Volume, tmp_path: Path
) -> None:
    line = rectangle(AFFINE, (3, 3), (9, 9), 2)
    there_and_back = line[[0, 1, 1, 0]]
    marks = [(line[:1], "POINT"), (line, "OPEN_PLANAR"), there_and_back]
    structures = [("Marks", marks), ("Liver", stacked((3, 3), (9, 9), [4])), ("Nothing", [])]
    found = read_label(write_structures(tmp_path / "a.dcm", structures), series)
    np.testing.assert_array_equal(series.to_source(found.label) > 0, boxed([4], (3, 3), (9, 9)))
    assert {n: s.name for n, s in found.segments.items()} == {2: "Liver"}
    assert found.notes == ("3 of its contours are points or open lines and enclose nothing.",)
    path = write_structures(tmp_path / "b.dcm", structures[:1])
    assert read_label_file(path).ids == []
    with pytest.raises(VolumeError, match="no label at all"):
        read_label(path, series)


def test_contours_across_the_slices_are_resampled_and_that_is_said(
    series: Volume, tmp_path: Path
) -> None:
    """Sagittal ones lie on slices of the image, too; those of no plane of it do not."""
    ends = np.array([[2.5, 1.5], [12.5, 1.5], [12.5, 5.5], [2.5, 5.5]])
    sagittal = [
        np.column_stack([np.full(4, i), ends]) @ AFFINE[:3, :3].T + AFFINE[:3, 3]
        for i in range(5, 15)
    ]
    found = read_label(
        write_structures(tmp_path / "a.dcm", [("Liver", sagittal)], digits=4), series
    )
    expected = np.zeros(SHAPE, np.uint16)
    expected[5:15, 3:13, 2:6] = 1
    np.testing.assert_array_equal(series.to_source(found.label), expected)
    assert found.notes == ()
    straight = np.diag([1.0, 1.5, 3, 1])  # not tilted as the image is
    straight[:3, 3] = AFFINE[:3, 3]
    tilted = [rectangle(straight, (5, 5), (14, 14), k) for k in (2, 3, 4)]
    found = read_label(write_structures(tmp_path / "b.dcm", [("Liver", tilted)]), series)
    assert "was resampled" in found.notes[0]
    size = np.count_nonzero(found.label) * 4.5
    assert size == pytest.approx(10 * 15 * 9, rel=0.1)


def test_contours_of_another_space_lie_on_no_slices_of_the_image(
    series: Volume, tmp_path: Path
) -> None:
    structures = [("Liver", stacked((3, 3), (9, 9), [2, 3]))]
    path = write_structures(tmp_path / "a.dcm", structures, frame_of_reference="1.2.3")
    alone = read_label_file(path).volume
    template = read_volume(
        write_nifti(tmp_path / "a.nii", series.to_source(series.data), AFFINE, codes=(0, 4))
    )
    for image in (series, template):
        found = read_label_file(path, image).volume
        np.testing.assert_allclose(found.affine, alone.affine)
        np.testing.assert_array_equal(found.data, alone.data)


def test_a_structure_of_no_image_is_drawn_as_finely_as_its_size_needs(tmp_path: Path) -> None:
    small = np.diag([0.1, 0.1, 2.0, 1.0])
    structures = [("Clip", [rectangle(small, (0, 0), (23, 6), k) for k in (3, 4)])]
    found = read_label_file(write_structures(tmp_path / "a.dcm", structures, digits=3)).volume
    size = np.prod(found.spacing) * np.count_nonzero(found.data)
    assert size == pytest.approx(2.4 * 0.7 * 4, rel=0.02)


def test_the_last_number_is_given_to_a_structure_too(
    series: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rtstruct_reader, "MAX_LABEL_ID", 3)
    structures = [(name, stacked((n, 3), (n, 5), [n])) for n, name in enumerate("abc", start=2)]
    path = write_structures(tmp_path / "a.dcm", structures, numbers=(1, 9, 2))
    assert {n: s.name for n, s in read_label(path, series).segments.items()} == {
        1: "a",
        3: "b",
        2: "c",
    }


def test_numbers_that_are_none_become_others_and_names_stay(series: Volume, tmp_path: Path) -> None:
    structures = [(name, stacked((n, 3), (n, 5), [n])) for n, name in enumerate("abc", start=2)]
    path = write_structures(tmp_path / "a.dcm", structures, numbers=(0, 70000, 2))
    found = read_label(path, series)
    assert {n: s.name for n, s in found.segments.items()} == {1: "a", 3: "b", 2: "c"}
    assert [int(found.label[n].max()) for n in (2, 3, 4)] == [1, 3, 2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("overlap", "its structures overlap, Body and Liver first"),
        ("frame", "belongs to another frame of reference"),
        ("far", "no labelled voxel lies within the image"),
        ("apart", "too far apart"),
        ("bent", "do not lie in parallel planes"),
        ("bent afar", "do not lie in parallel planes"),
        ("cut", "cannot be read as a structure set"),
        ("words", "cannot be read as a structure set"),
    ],
)
def test_what_is_no_label_of_the_image_is_refused(
    series: Volume, tmp_path: Path, change: str, message: str
) -> None:
    body, liver = stacked((1, 1), (16, 16), [2, 3]), stacked((3, 3), (9, 9), [2, 3])
    structures = [("Liver", liver)]
    if change == "overlap":
        structures.insert(0, ("Body", body))
    if change in ("far", "apart"):
        moved = [contour + np.array([0, 0, 3e4]) for contour in liver]
        apart = [*liver, *(contour * 1e4 for contour in moved)]
        structures = [("Liver", moved if change == "far" else apart)]
    if change.startswith("bent"):
        liver[0][0, 2] += 9
    if change == "bent afar":  # from where the scanner counts
        structures = [("Liver", [contour + np.array([0, 0, -1500]) for contour in liver])]
    frame = {"frame_of_reference": "1.2.3"} if change == "frame" else {}
    path = write_structures(tmp_path / "a.dcm", structures, **frame)
    if change in ("cut", "words"):
        path.write_bytes(path.read_bytes().replace(b"\\", b"x" if change == "words" else b" "))
    with pytest.raises(VolumeError, match=message) as error:
        read_label(path, series)
    assert str(path) in str(error.value) or change == "frame"


def test_they_are_compared_and_followed_up(series: Volume, tmp_path: Path) -> None:
    contours = stacked((3, 3), (14, 14), [2, 3, 4])
    path = write_structures(tmp_path / "a.rtstruct.dcm", [("Liver", contours)])
    label = boxed([2, 3, 4], (3, 3), (14, 14))
    write_label(tmp_path / "b.nii.gz", series.from_source(label), series)
    names = [str(path), str(tmp_path / "b.nii.gz")]
    for arguments in (names, names[::-1]):
        result = CliRunner().invoke(app, ["compare", *arguments])
        assert result.exit_code == 0, result.stderr
        row = next(row for row in result.stdout.splitlines() if row.startswith("1 Liver"))
        assert row.split()[2:5] == ["1.000", "1.000", "0.00"]
    alone, drawn = read_label_file(path), read_label_file(tmp_path / "b.nii.gz")
    (prior,) = prior_labels(alone.laid_on(series), series)
    (expected,) = prior_labels(drawn, series)
    assert (prior.box, prior.style.name) == (expected.box, "Liver")
    assert prior.millilitres == pytest.approx(expected.millilitres)
    # Without any image they lie on a grid of their own, with about their volume.
    (prior,) = prior_labels(alone, series)
    assert prior.millilitres == pytest.approx(expected.millilitres, rel=0.02)
    pair = on_common_grid(alone, alone)
    np.testing.assert_array_equal(*pair.labels)


def test_an_image_of_unknown_orientation_takes_none(series: Volume, tmp_path: Path) -> None:
    path = write_structures(tmp_path / "a.dcm", [("Liver", stacked((3, 3), (9, 9), [2, 3]))])
    data = series.to_source(series.data)
    image = read_volume(write_nifti(tmp_path / "a.nii", data, AFFINE, codes=(0, 0)))
    with pytest.raises(VolumeError, match="does not say how the patient lies"):
        read_label(path, image)
