"""Three readers and more are compared with their majority and with SimpleITK's STAPLE."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from dicom_series import write_series
from nifti_labels import TABLE, write
from typer.testing import CliRunner, Result

from napari_medsamq.analysis.comparison import compare_labels
from napari_medsamq.analysis.consensus import majority, staple
from napari_medsamq.cli.main import app
from napari_medsamq.io.label_writer import write_label
from napari_medsamq.io.labels import read_label_file
from napari_medsamq.io.volume import read_volume

pytestmark = pytest.mark.usefixtures("same_process")

SHAPE = (30, 26, 22)
AFFINE = np.array([[-1.0, 0, 0, 30], [0, -1, 0, 20], [0, 0, 2, -40], [0, 0, 0, 1]])


def ball(centre: tuple[float, ...], radius: float) -> np.ndarray:
    places = np.indices(SHAPE).reshape(3, -1).T - centre
    return (np.linalg.norm(places, axis=1) <= radius).reshape(SHAPE)


def reading(number: int) -> np.ndarray:
    """What a reader has drawn: two structures that touch; the third one has no second one."""
    label = np.zeros(SHAPE, np.uint16)
    if number != 2:
        label[ball((15, 13 + number, 14), 5 + number % 2)] = 3
    label[ball((12 + number, 12, 8 - number % 2), 6 - 0.5 * number)] = 1
    return label


READINGS = [reading(number) for number in range(4)]


def itk_staple(labels: list[np.ndarray], label_id: int, *, whole: bool = False) -> np.ndarray:
    """Probabilities by SimpleITK's own filter: near what anybody has of a label, or everywhere."""
    places = np.argwhere((np.stack(labels) == label_id).any(0))
    # So much air is around the structures of these tests.
    lower, upper = places.min(0) - 1, places.max(0) + 2
    part = tuple(map(slice, np.maximum(lower, 0), upper))
    part = tuple(slice(None) for _ in part) if whole else part
    staple = sitk.STAPLEImageFilter()
    staple.SetForegroundValue(label_id)
    likely = np.zeros(labels[0].shape)
    found = staple.Execute([sitk.GetImageFromArray(own[part]) for own in labels])
    likely[part] = sitk.GetArrayFromImage(found)
    return likely


def row(*ids: int) -> np.ndarray:
    return np.array(ids, np.uint16).reshape(1, 1, -1)


def test_a_majority_is_more_than_half() -> None:
    three = row(1, 1, 1, 1, 0, 2, 5), row(1, 1, 2, 0, 0, 2, 0), row(1, 0, 3, 0, 1, 1, 5)
    np.testing.assert_array_equal(majority(three), row(1, 1, 0, 0, 0, 2, 5))
    # Two of four are a tie, which is background, whatever the other two have.
    four = *three, row(1, 0, 3, 0, 1, 1, 5)
    np.testing.assert_array_equal(majority(four), row(1, 0, 0, 0, 0, 0, 5))
    # One of them is empty.
    np.testing.assert_array_equal(majority([*three[:2], row(*[0] * 7)]), row(1, 1, 0, 0, 0, 2, 0))
    np.testing.assert_array_equal(majority([row(7)] * 300), row(7))


@pytest.mark.parametrize("count", [3, 4])
def test_a_majority_of_organs_is_counted_voxel_by_voxel(count: int) -> None:
    expected = np.zeros(SHAPE, np.uint16)
    for place in np.ndindex(SHAPE):
        votes = [int(own[place]) for own in READINGS[:count]]
        for label_id in (1, 3):
            if votes.count(label_id) > count / 2:
                expected[place] = label_id
    assert {1, 3} <= set(np.unique(expected).tolist())
    np.testing.assert_array_equal(majority(READINGS[:count]), expected)


@pytest.mark.parametrize("count", [3, 4])
@pytest.mark.parametrize("other", [1, 5])
def test_staple_is_that_of_simpleitk(count: int, other: int) -> None:
    labels = [np.where(own == 1, np.uint16(other), own) for own in READINGS[:count]]
    likely = {label_id: itk_staple(labels, label_id) for label_id in (other, 3)}
    expected = np.zeros(SHAPE, np.uint16)
    expected[likely[other] > 0.5] = other
    expected[(likely[3] > 0.5) & (likely[3] > likely[other])] = 3
    found = staple(labels)
    np.testing.assert_array_equal(found, expected)
    assert {other, 3} <= set(np.unique(found).tolist())
    # Where both are likelier than not, the likelier one is taken, whichever comes first.
    assert ((likely[other] > 0.5) & (likely[3] > 0.5)).any() == (count == 4)
    # It is another vote than that of the majority.
    assert np.array_equal(found, majority(labels)) == (count == 3)
    # Of these structures the whole image says the same.
    for label_id, own in likely.items():
        np.testing.assert_array_equal(own > 0.5, itk_staple(labels, label_id, whole=True) > 0.5)


def test_air_around_changes_no_weight() -> None:
    wide = [np.pad(own, ((40, 3), (0, 9), (20, 0))) for own in READINGS]
    np.testing.assert_array_equal(staple(wide)[40:-3, :-9, 20:], staple(READINGS))


def test_a_picture_is_no_stack() -> None:
    flat = [own[:, :, 8:9] for own in READINGS]
    expected = itk_staple([own[:, :, 0] for own in flat], 1) > 0.5
    np.testing.assert_array_equal(staple(flat)[:, :, 0] == 1, expected)


def test_labels_that_fill_the_image_agree() -> None:
    full = [np.ones((3, 4, 5), np.uint16)] * 3
    assert (staple(full) == 1).all()


def compare(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["compare", *map(str, arguments)])


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """The readings; the first one has names."""
    return [
        write(tmp_path / f"{n}.nii.gz", own.astype(np.uint8), AFFINE, table="" if n else TABLE)
        for n, own in enumerate(READINGS)
    ]


def test_each_reader_is_compared_with_both(files: list[Path], tmp_path: Path) -> None:
    table, numbers = tmp_path / "n.csv", tmp_path / "n.json"
    result = compare(*files, "--tolerance", 1, "--csv", table, "--json", numbers)
    assert result.exit_code == 0, result.stderr
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    content = json.loads(numbers.read_text())
    readings = [read_label_file(path) for path in files]
    labels = [own.label for own in readings]
    spacing = readings[0].volume.spacing.tolist()
    for method, agreed in (("majority", majority(labels)), ("STAPLE", staple(labels))):
        for number, (path, label) in enumerate(zip(files, labels, strict=True), 1):
            expected = compare_labels(agreed, label, spacing, 1)
            own = [r for r in rows if (r["consensus"], r["reader"]) == (method, str(number))]
            assert [int(r["label"]) for r in own] == list(expected) == [1, 3]
            assert {r["file"] for r in own} == {str(path)}
            for found, right in zip(own, expected.values(), strict=True):
                assert float(found["dsc"]) == right.dsc
                assert float(found["nsd"]) == right.nsd
                assert float(found["consensus_ml"]) == pytest.approx(right.a_ml)
                assert float(found["reader_ml"]) == pytest.approx(right.b_ml)
                if right.only_in is None:
                    assert float(found["hausdorff95_mm"]) == right.hausdorff95_mm
    third = [r for r in rows if r["reader"] == "3" and r["label"] == "3"]
    assert {(r["only_in"], r["name"]) for r in third} == {("consensus", "Cyst")}
    assert [str(r["dsc"]) for r in content["labels"]] == [r["dsc"] for r in rows]
    assert content["readers"] == [str(path) for path in files]
    liver, cyst = content["volumes"]
    each = [float(np.count_nonzero(own == 3)) * 2e-3 for own in READINGS]
    assert cyst["readers_ml"] == pytest.approx(each)
    assert cyst["consensus_ml"]["majority"] == pytest.approx(
        np.count_nonzero(majority(READINGS) == 3) * 2e-3
    )
    assert liver["name"] == "Liver & co"
    (mean,) = [m for m in content["means"] if (m["consensus"], m["reader"]) == ("majority", 1)]
    assert mean["dsc"] == pytest.approx(
        np.mean([float(r["dsc"]) for r in rows if r["consensus"] == "majority"][:2])
    )
    lines = result.stdout.splitlines()
    assert lines[0] == f"Reader 1: {files[0]}"
    volumes = next(line for line in lines if line.startswith("3 Cyst "))
    assert volumes.split()[2:6] == [f"{ml:.2f}" for ml in each]
    assert "only in majority" in next(line for line in lines if "3 Cyst, reader 3" in line)
    assert "only in STAPLE" in [line for line in lines if "3 Cyst, reader 3" in line][1]
    assert "mean of 1, reader 3" in result.stdout


def test_what_they_agree_on_is_saved_on_the_grid_of_the_image(
    files: list[Path], tmp_path: Path
) -> None:
    """A reader whose file is cut to what it encloses, and turned, changes nothing."""
    part = nib.load(files[1]).slicer[3:28, 2:25, :21]
    nib.save(part.as_reoriented(nib.orientations.axcodes2ornt(("S", "R", "A"))), files[1])
    order = [files[1], files[0], *files[2:]]
    saved = [tmp_path / "majority.nii.gz", tmp_path / "staple.seg.nrrd"]
    numbers = tmp_path / "n.json"
    options = ["--majority", saved[0], "--staple", saved[1], "--json", numbers]
    result = compare(*order, *options)
    assert result.exit_code == 0, result.stderr
    image = nib.load(saved[0])
    np.testing.assert_array_equal(image.affine, AFFINE)
    np.testing.assert_array_equal(np.asarray(image.dataobj), majority(READINGS))
    itk = sitk.GetArrayFromImage(sitk.ReadImage(str(saved[1])))
    np.testing.assert_array_equal(itk.T, staple(READINGS))
    assert read_label_file(saved[1]).segment(3).name == "Cyst"
    assert json.loads(numbers.read_text())["staple"]["file"] == str(saved[1])
    assert "verified" in result.stdout
    before = saved[0].read_bytes()
    again = compare(*files, *options)
    assert again.exit_code == 1
    assert "--overwrite" in again.stderr
    assert saved[0].read_bytes() == before
    assert compare(*files, *options, "--overwrite").exit_code == 0


def test_readers_may_work_with_other_programs(tmp_path: Path) -> None:
    """A segmentation holds its slices only, and contours are drawn on the image of another one."""
    voxels = np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(np.int16)
    series = read_volume(write_series(tmp_path / "series", voxels, AFFINE))
    labels = [series.from_source(own) for own in READINGS[:3]]
    paths = [tmp_path / name for name in ("a.rtstruct.dcm", "b.dcm", "c.nii.gz")]
    for path, label in zip(paths, labels, strict=True):
        write_label(path, label, series)
    target = tmp_path / "m.nii.gz"
    result = compare(*paths, "--majority", target)
    assert result.exit_code == 0, result.stderr
    np.testing.assert_array_equal(np.asarray(nib.load(target).dataobj), majority(READINGS[:3]))


def refused(tmp_path: Path, arguments: list[object], *words: str) -> None:
    """It is told in a line, and nothing is written."""
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    written = ["--csv", tmp_path / "n.csv", "--json", tmp_path / "n.json"]
    result = compare(*arguments, *written)
    assert result.exit_code == 1
    for word in words:
        assert word in result.stderr
    assert result.stdout == ""
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_what_makes_no_consensus_is_refused(files: list[Path], tmp_path: Path) -> None:
    a, b = files[:2]
    zeros = np.zeros(SHAPE, np.uint8)
    save = ["--majority", tmp_path / "m.nii.gz"]
    other = tmp_path / "other.nii.gz"
    refused(tmp_path, [a, b, tmp_path / "." / a.name, *save], "named twice", "0.nii.gz")
    refused(tmp_path, [a, b, other, *save], "other.nii.gz", "no such file")
    other.write_bytes(b"nothing of the kind")
    refused(tmp_path, [a, b, other, *save], "other.nii.gz")
    write(other, zeros, AFFINE)
    refused(tmp_path, [a, b, other, *save], "other.nii.gz", "no label at all")
    write(other, (READINGS[2] > 0) * np.uint8(9), AFFINE)
    refused(tmp_path, [a, b, other, *save], "other.nii.gz", "label 9", "1, 3", "one number")
    finer = AFFINE @ np.diag([0.5, 0.5, 0.5, 1])
    write(other, READINGS[2].astype(np.uint8), finer)
    refused(tmp_path, [a, b, other, *save], "other.nii.gz", "other voxels", "0.5 x 0.5 x 1 mm")
    apart = []
    for n in range(3):
        zeros[...] = 0
        zeros[5 * n : 5 * n + 5] = 1
        apart.append(write(tmp_path / f"apart{n}.nii.gz", zeros, AFFINE))
    refused(tmp_path, [*apart, *save], "No voxel has the same label")


def test_a_consensus_that_cannot_be_saved_is_refused(files: list[Path], tmp_path: Path) -> None:
    target = tmp_path / "m.nii.gz"
    refused(tmp_path, [*files[:2], "--majority", target], "three files or more")
    refused(tmp_path, [*files[:3], "--majority", target, "--staple", target], "both labels")
    refused(tmp_path, [*files[:3], "--majority", files[0]], "exists")
    refused(tmp_path, [*files[:3], "--majority", files[0], "--overwrite"], "stays as it is")
    refused(tmp_path, [*files[:3], "--majority", tmp_path / "m.png"], "no format of labels")
    parts = []
    full = nib.Nifti1Image(np.ones(SHAPE, np.uint8), AFFINE)
    for n, part in enumerate((np.s_[:12, 5:15], np.s_[5:15, :10], np.s_[10:20, 8:20])):
        parts.append(tmp_path / f"part{n}.nii.gz")
        nib.save(full.slicer[part], parts[n])
    refused(tmp_path, [*parts, "--majority", target], "cannot be saved", "whole image")
    assert compare(*parts).exit_code == 0
