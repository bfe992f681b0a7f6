"""Two labels are compared by name and in mm, on one grid or across two of one patient."""

from __future__ import annotations

import csv
import hashlib
import json
import math
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from dicom_series import write_series
from grids import ALL_48, grid_affine
from nifti_labels import TABLE, write
from typer.testing import CliRunner, Result

from napari_medsamq.analysis.comparison import (
    A_GAP,
    A_MARK,
    B_GAP,
    B_MARK,
    BOTH,
    compare_labels,
    describe_agreement,
    difference_codes,
    differing_slices,
    mean_agreement,
)
from napari_medsamq.annotation.history import LabelStyle
from napari_medsamq.cli.main import app
from napari_medsamq.errors import VolumeError
from napari_medsamq.io.label_format import Segment
from napari_medsamq.io.label_writer import write_label
from napari_medsamq.io.labels import bring_onto, read_label, read_label_file
from napari_medsamq.io.volume import Volume, read_volume
from napari_medsamq.records.provenance import LabelSnapshot, save_with_provenance

pytestmark = pytest.mark.usefixtures("same_process")

RADIUS, SHIFT = 15.0, 3.0


def world_ball(
    shape: tuple[int, ...], affine: np.ndarray, centre: tuple[float, ...], radius: float
) -> np.ndarray:
    """Voxels (i, j, k) whose middles lie within a ball in mm."""
    places = np.indices(shape).reshape(3, -1).T @ affine[:3, :3].T + affine[:3, 3]
    return (np.linalg.norm(places - centre, axis=1) <= radius).reshape(shape)


AFFINE = np.array([[-1.0, 0, 0, 30], [0, -1, 0, 30], [0, 0, 2, -40], [0, 0, 0, 1]])
SHAPE = (60, 60, 40)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Two balls SHIFT mm apart, and a label that one alone has, in each."""
    a = world_ball(SHAPE, AFFINE, (0, 0, 0), RADIUS).astype(np.uint8)
    b = world_ball(SHAPE, AFFINE, (SHIFT, 0, 0), RADIUS).astype(np.uint8)
    a[2:5, 2:5, 2:5], b[50:55, 50:55, 30:35] = 4, 3
    return (
        write(tmp_path / "a.nii.gz", a, AFFINE, table=TABLE),
        write(tmp_path / "b.nii.gz", b, AFFINE),
    )


def compare(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["compare", *map(str, arguments)])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_labels_of_an_image_are_compared_by_their_contours(axis: int, tmp_path: Path) -> None:
    """As plates they would agree: their faces lie on each other."""
    small, large = np.zeros((2, 60, 60), np.uint8)
    small[20:40, 20:40], large[8:52, 8:52] = 1, 1
    sides = np.diag([*np.insert([1.0, 1.0], axis, 5.0), 1.0])
    paths = [
        write(tmp_path / name, np.expand_dims(label, axis), sides)
        for name, label in (("a.nii", small), ("b.nii", large))
    ]
    result = compare(*paths, "--json", tmp_path / "n.json")
    assert result.exit_code == 0, result.output
    (own,) = json.loads((tmp_path / "n.json").read_text())["labels"]
    assert own["nsd"] == 0
    # The corners of the larger square are farthest, each side less.
    assert 12 <= own["hausdorff95_mm"] <= np.hypot(12, 12)


def test_balls_agree_as_geometry_says(pair: tuple[Path, Path]) -> None:
    a, b = (read_label_file(path) for path in pair)
    own = compare_labels(a.label, b.label, a.volume.spacing.tolist(), 1.0)[1]
    # The lens of two balls, by the volume of one.
    lens = math.pi * (4 * RADIUS + SHIFT) * (2 * RADIUS - SHIFT) ** 2 / 12
    whole = 4 / 3 * math.pi * RADIUS**3
    assert own.dsc == pytest.approx(lens / whole, abs=0.005)
    assert own.a_ml == pytest.approx(whole / 1000, rel=0.02)
    assert own.hausdorff95_mm == pytest.approx(SHIFT, abs=0.5)
    # No surface is farther away than the shift, and the sides that look along it are that far.
    assert 0.4 < own.nsd < 0.7
    assert compare_labels(a.label, b.label, a.volume.spacing.tolist(), SHIFT)[1].nsd == 1
    assert own.only_in is None


def test_what_one_label_has_alone_is_patterned_on_slices_of_every_plane() -> None:
    a, b = np.zeros((2, 12, 250, 14), bool)
    a[:10, 3:240, :10], b[2:, 3:240, 4:] = True, True
    codes = difference_codes(a, b)
    assert (codes[a & b] == BOTH).all()
    assert not codes[~(a | b)].any()
    wide = 3  # as 250 voxels are shown
    z, y, x = np.indices(a.shape)
    striped = (z + y + x) % (2 * wide) < wide
    chequered = (z // wide + y // wide + x // wide) % 2 == 0
    only_a, only_b = a & ~b, b & ~a
    assert (codes[only_a] == np.where(striped, A_MARK, A_GAP)[only_a]).all()
    assert (codes[only_b] == np.where(chequered, B_MARK, B_GAP)[only_b]).all()
    assert differing_slices(codes, 0) == list(range(12))
    assert differing_slices(codes, 1) == list(range(3, 240))
    assert not difference_codes(np.zeros((2, 3, 4), bool), np.zeros((2, 3, 4), bool)).any()


def test_how_two_labels_agree_is_said_in_a_line() -> None:
    a, b = np.zeros((2, 3, 4, 5), np.uint16)
    a[1, 1, :4], b[1, 1, :5], b[0, 0, :3] = 1, 1, 2
    first, second = compare_labels(a, b, [10.0, 10.0, 10.0], 2.0).values()
    assert describe_agreement(first, 2.0) == (
        f"DSC 0.889, NSD {first.nsd:.3f} at 2 mm, +1.00 mL (+25.0 %)"
    )
    assert describe_agreement(second, 2.0) == "only B has it (3.00 mL)"


def test_the_table_names_labels_and_those_of_one_alone(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    table, numbers = tmp_path / "table.csv", tmp_path / "numbers.json"
    result = compare(*pair, "--tolerance", "4", "--csv", table, "--json", numbers)
    assert result.exit_code == 0, result.stderr
    lines = {line.split("  ")[0].strip(): line for line in result.stdout.splitlines()}
    assert "0.851  1.000" in lines["1 Liver & co"]
    assert "only in B" in lines["3 Cyst"]
    assert "only in A" in lines["4 Label 4"]
    assert "0.851  1.000" in lines["mean of 1"]
    assert "NSD at 4 mm." in result.stdout
    rows = list(csv.DictReader(table.open(encoding="utf-8")))
    assert [row["name"] for row in rows] == ["Liver & co", "Cyst", "Label 4"]
    assert rows[1]["only_in"] == "B"
    assert rows[1]["hausdorff95_mm"] == ""
    content = json.loads(numbers.read_text(encoding="utf-8"))
    assert content["mean"]["dsc"] == float(rows[0]["dsc"]) == content["labels"][0]["dsc"]
    assert content["labels"][2]["difference_percent"] == pytest.approx(-100)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("a.nii.gz", "b.nii.gz", "numbers.json", "table.csv")
    ]


@pytest.mark.parametrize("grid", ALL_48[::7])
def test_another_order_of_axes_is_the_same_label(
    grid: tuple[tuple[int, ...], tuple[int, ...]], tmp_path: Path
) -> None:
    affine = grid_affine(*grid, sizes=(1, 1, 1))
    data = np.random.default_rng(0).integers(0, 3, (7, 8, 9)).astype(np.uint8)
    one = write(tmp_path / "one.nii.gz", data, affine)
    turned = nib.load(one)
    turned = turned.as_reoriented(nib.orientations.axcodes2ornt(("P", "S", "R")))
    two = write(tmp_path / "two.nii.gz", np.asarray(turned.dataobj), turned.affine)
    a, b = read_label_file(one), read_label_file(two)
    moved = bring_onto(b, a.volume)
    assert moved.said == ""
    assert all(
        own.dsc == own.nsd == 1 for own in compare_labels(a.label, moved.label, (1, 1, 1)).values()
    )


def test_the_coarser_of_two_grids_is_brought_onto_the_finer_one(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    affine = grid_affine((0, 1, 2), (1, 1, 1), (12, -7, 20), (0.8, 0.9, 1.5))
    shape = (70, 64, 50)
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape) - 1) / 2
    ball = world_ball(shape, affine, (0, 0, 0), RADIUS).astype(np.uint8)
    other = write(tmp_path / "other.nii.gz", ball, affine)
    result = compare(pair[0], other)
    assert result.exit_code == 0, result.stderr
    assert "a: It lies on another grid (60 x 60 x 40 voxels of 1 x 1 x 2 mm)" in result.stdout
    assert compare(other, pair[0]).stdout.split("Note")[1] == result.stdout.split("Note")[1]
    one, two = read_label_file(pair[0]), read_label_file(other)
    label = bring_onto(two, one.volume).label
    own = compare_labels(one.label, label, one.volume.spacing.tolist())[1]
    assert own.dsc > 0.97
    assert own.nsd == 1


def test_every_voxel_at_the_edge_is_brought_along(tmp_path: Path) -> None:
    coarse, fine = np.diag([2.0, 2, 2, 1]), np.diag([1.0, 1, 1, 1])
    fine[:3, 3] = -0.5
    full = np.ones((4, 4, 4), np.uint8)
    one = read_label_file(write(tmp_path / "fine.nii.gz", np.ones((8, 8, 8), np.uint8), fine))
    two = read_label_file(write(tmp_path / "coarse.nii.gz", full, coarse))
    assert bring_onto(two, one.volume).label.all()
    part = read_label_file(write(tmp_path / "part.nii.gz", np.ones((4, 8, 8), np.uint8), fine))
    moved = bring_onto(one, part.volume)
    assert moved.label.all()
    assert "256 of its voxels (0.26 mL) lie outside the image." in moved.said


@pytest.mark.parametrize(
    ("code", "move", "words"),
    [
        (0, 0.0, "does not say how the patient lies"),
        (3, 1.0, "names a template"),
        (4, 1.0, "names a template"),
        (5, 1.0, "names a template"),
        (1, 500.0, "no place of the patient in common"),
    ],
)
def test_grids_of_no_common_space_are_refused(
    pair: tuple[Path, Path], tmp_path: Path, code: int, move: float, words: str
) -> None:
    affine = AFFINE.copy()
    affine[0, 3] += move
    data = np.zeros((50, 50, 40), np.uint8)
    data[20:30, 20:30, 10:20] = 1
    result = compare(pair[0], write(tmp_path / "other.nii.gz", data, affine, code=code))
    assert result.exit_code == 1
    assert words in result.stderr


def test_a_background_of_nan_is_none(pair: tuple[Path, Path], tmp_path: Path) -> None:
    label = nib.load(pair[0]).get_fdata(dtype=np.float32)
    other = write(tmp_path / "nan.nii.gz", np.where(label, label, np.float32(np.nan)), AFFINE)
    numbers = tmp_path / "numbers.csv"
    result = compare(pair[0], other, "--csv", numbers)
    assert result.exit_code == 0, result.stderr
    with numbers.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["dsc"] for row in rows} == {"1.0"}


def test_an_empty_label_is_compared_too(pair: tuple[Path, Path], tmp_path: Path) -> None:
    empty = write(tmp_path / "empty.nii.gz", np.zeros(SHAPE, np.uint8), AFFINE)
    result = compare(pair[0], empty)
    assert result.exit_code == 0, result.stderr
    assert "only in A" in result.stdout
    assert "No label is in both." in result.stdout
    assert "Both labels are empty." in compare(empty, empty).stdout
    assert (
        mean_agreement(
            compare_labels(np.ones((2, 2, 2), np.uint8), np.zeros((2, 2, 2), np.uint8), (1, 1, 1))
        )
        is None
    )


@pytest.mark.parametrize(
    ("values", "words"),
    [(np.float32([0, 0.5]), "fractions"), (np.int16([0, -3]), "-3 to 0"), (None, "no such file")],
)
def test_what_is_no_label_is_refused(
    pair: tuple[Path, Path], tmp_path: Path, values: np.ndarray | None, words: str
) -> None:
    other = tmp_path / "other.nii.gz"
    if values is not None:
        write(other, np.resize(values, SHAPE), AFFINE)
    result = compare(pair[0], other)
    assert result.exit_code == 1
    assert words in result.stderr


def test_numbers_never_replace_a_label(pair: tuple[Path, Path], tmp_path: Path) -> None:
    before = pair[1].read_bytes()
    assert "is in use" in compare(*pair, "--csv", pair[1]).stderr
    assert "is in use" in compare(*pair, "--csv", tmp_path / "t", "--json", tmp_path / "t").stderr
    assert "no folder" in compare(*pair, "--json", tmp_path / "nowhere" / "t.json").stderr
    assert pair[1].read_bytes() == before


def test_a_header_that_declares_entities_names_nothing(tmp_path: Path) -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaa">]><LabelTable><Label Key="1">&a;</Label></LabelTable>'
    data = np.zeros((3, 3, 3), np.uint8)
    for table in (bomb, "<LabelTable><Label Key='1'>cut"):
        assert (
            read_label_file(write(tmp_path / "x.nii.gz", data, np.eye(4), table=table)).named == {}
        )
    colours = np.zeros((3, 3, 3), [(c, np.uint8) for c in "RGB"])
    colours["R"][0] = 1
    path = write(tmp_path / "rgb.nii.gz", colours, np.eye(4))
    with pytest.raises(VolumeError, match="colours"):
        read_label_file(path)


def test_names_come_from_the_provenance_of_that_very_file(tmp_path: Path) -> None:
    data = np.zeros(SHAPE, np.uint8)
    data[3, 3, 3] = 1
    path = write(tmp_path / "label.nii.gz", data, AFFINE, table=TABLE)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    beside = tmp_path / "label.provenance.json"
    labels = [{"id": 1, "name": "Spleen", "color": "#123456"}, {"id": 2, "name": "", "color": ""}]
    beside.write_text(json.dumps({"label": {"sha256": sha256}, "labels": labels}))
    assert read_label_file(path).segment(1) == Segment("Spleen", "#123456")
    assert read_label_file(path).segment(2) == Segment.default(2)
    assert read_label_file(path).segment(3).name == "Cyst"
    ramp = (np.arange(data.size).reshape(SHAPE) % 999).astype(np.int16)
    image = read_volume(write(tmp_path / "image.nii", ramp, AFFINE))
    assert read_label(path, image).segments == {1: Segment("Spleen", "#123456")}
    for other in ('{"label": {"sha256": "another"}, "labels": []}', "[1]", "no JSON", "{}"):
        beside.write_text(other)
        assert read_label_file(path).segment(1) == Segment("Liver & co", "#FF0080")
        assert read_label(path, image).segments == {1: Segment("Liver & co", "#FF0080")}


@pytest.fixture
def series(tmp_path: Path) -> Volume:
    voxels = np.arange(20 * 18 * 10).reshape(20, 18, 10).astype(np.int16)
    affine = grid_affine((0, 1, 2), (1, 1, 1), (10, -5, 8), (1, 1.5, 3))
    return read_volume(write_series(tmp_path / "series", voxels, affine))


def two_organs(volume: Volume) -> np.ndarray:
    label = np.zeros(volume.data.shape, np.uint16)
    label[4:6, 5:12, 6:14], label[6:8, 2:5, 3:9] = 1, 5
    return label


@pytest.mark.parametrize("name", ["x.nii.gz", "x.seg.nrrd", "x.v2.nii", "x.dcm", "x.rtstruct.dcm"])
def test_names_and_colours_of_a_saved_label_come_back(
    series: Volume, tmp_path: Path, name: str
) -> None:
    styles = {1: LabelStyle("Liver", "#123456"), 5: LabelStyle("Größe", "#654321")}
    snapshot = LabelSnapshot(series, two_organs(series), (), (), styles)
    saved = save_with_provenance(tmp_path / name, snapshot)
    found = read_label_file(tmp_path / name, series)
    assert found.named == {n: Segment(style.name, style.color) for n, style in styles.items()}
    np.testing.assert_array_equal(bring_onto(found, series).label, snapshot.label)
    # Loaded onto an image, too.
    loaded = read_label(tmp_path / name, series)
    assert loaded.segments == {n: Segment(style.name, style.color) for n, style in styles.items()}
    # Without the file beside it, those formats that hold names have them still.
    saved.provenance.unlink()
    found = read_label_file(tmp_path / name)
    names = {label_id: style.name for label_id, style in found.named.items()}
    assert names == ({} if ".nii" in name else {1: "Liver", 5: "Größe"})


def test_segmentations_of_dicom_are_compared_beyond_their_slices(
    series: Volume, tmp_path: Path
) -> None:
    label = two_organs(series)
    a, b = tmp_path / "a.dcm", tmp_path / "b.dcm"
    write_label(a, label, series, {1: Segment("Liver", "#102030")})
    # Half of it lies where the first one has no slices.
    label[2:4] = label[4:6]
    write_label(b, label, series)
    write_label(tmp_path / "b.nii.gz", label, series)
    assert read_label_file(a).label.shape[0] == 4
    for other in (b, tmp_path / "b.nii.gz"):
        for pair in ((a, other), (other, a)):
            result = compare(*pair)
            assert result.exit_code == 0, result.stderr
            rows = {row.split()[0]: row for row in result.stdout.splitlines() if row.strip()}
            assert "0.667" in rows["1"]
            assert "1.000  1.000" in rows["5"]
            assert "Liver" in rows["1"]
            assert "outside" not in result.stdout


def test_segmentations_of_one_series_may_have_no_slice_in_common(
    series: Volume, tmp_path: Path
) -> None:
    for name, part in (("a.dcm", np.s_[2:4]), ("b.dcm", np.s_[5:7])):
        label = np.zeros(series.data.shape, np.uint16)
        label[part, 5:12, 6:14] = 1
        write_label(tmp_path / name, label, series)
    for pair in (("a.dcm", "b.dcm"), ("b.dcm", "a.dcm")):
        result = compare(*(tmp_path / name for name in pair))
        assert result.exit_code == 0, result.stderr
        row = next(row for row in result.stdout.splitlines() if row.startswith("1 "))
        assert row.split()[3] == "0.000"
        assert "outside" not in result.stdout
    # The series' own image has all of them.
    found = read_label_file(tmp_path / "b.dcm")
    np.testing.assert_array_equal(bring_onto(found, series).label, label)


def test_segmentations_of_other_frames_of_reference_are_refused(
    series: Volume, tmp_path: Path
) -> None:
    voxels, affine = series.to_source(series.data), series.source.affine
    folder = write_series(tmp_path / "other", voxels, affine, frame_of_reference="1.2.3.4")
    other = read_volume(folder)
    a, b = tmp_path / "a.dcm", tmp_path / "b.dcm"
    write_label(a, two_organs(series), series)
    write_label(b, two_organs(series), other)
    result = compare(a, b)
    assert result.exit_code == 1
    assert "different frames of reference" in result.stderr
    assert "1.2.3.4" in result.stderr
    with pytest.raises(VolumeError, match="different frames of reference"):
        bring_onto(read_label_file(a), other)
    # A NIfTI names no frame of reference, and has the geometry.
    write_label(tmp_path / "b.nii.gz", two_organs(series), other)
    result = compare(a, tmp_path / "b.nii.gz")
    assert result.exit_code == 0, result.stderr
