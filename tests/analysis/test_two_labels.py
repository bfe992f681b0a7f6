"""Two labels of one scan agree alike whichever comes first, and whatever each file holds of it."""

from __future__ import annotations

import csv
import gzip
import tracemalloc
from itertools import combinations
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from dicom_series import write_series
from grids import grid_affine
from typer.testing import CliRunner

from napari_medsamq.analysis.comparison import compare_labels
from napari_medsamq.cli.main import app
from napari_medsamq.errors import VolumeError
from napari_medsamq.io.label_writer import write_label
from napari_medsamq.io.labels import on_common_grid, read_label, read_label_file
from napari_medsamq.io.volume import Volume, read_volume

pytestmark = pytest.mark.usefixtures("same_process")

RAS = np.diag([-1.0, -1, 1, 1])
SHAPE = (16, 14, 10)
AFFINE = grid_affine((0, 1, 2), (1, -1, 1), (10, -5, 8), (1, 1.5, 3))
SMALL = np.s_[5:9, 4:8, 3:6]
LARGE = np.s_[4:12, 3:11, 2:8]


def block(place: tuple[slice, ...], label_id: int = 1) -> np.ndarray:
    """A block without its first voxel, so that no turn of it looks like another."""
    label = np.zeros(SHAPE, np.uint8)
    label[place] = label_id
    label[tuple(axis.start for axis in place)] = 0
    return label


def nifti(path: Path, ijk: np.ndarray, affine: np.ndarray) -> Path:
    image = nib.Nifti1Image(np.ascontiguousarray(ijk), RAS @ affine)
    image.set_qform(RAS @ affine, code=1)
    image.set_sform(RAS @ affine, code=1)
    nib.save(image, path)
    return path


def slicer(path: Path, ijk: np.ndarray, affine: np.ndarray) -> Path:
    """Write as 3D Slicer does."""
    steps = " ".join(f"({','.join(repr(float(v)) for v in column)})" for column in affine[:3, :3].T)
    lines = [
        *("NRRD0004", "type: unsigned char", "dimension: 3", "space: left-posterior-superior"),
        *(f"sizes: {' '.join(map(str, ijk.shape))}", f"space directions: {steps}"),
        *("kinds: domain domain domain", "encoding: gzip"),
        f"space origin: ({','.join(repr(float(v)) for v in affine[:3, 3])})",
        *("Segment0_ID:=Segment_1", "Segment0_Name:=Liver", "Segment0_LabelValue:=1"),
        "Segment0_Layer:=0",
    ]
    packed = gzip.compress(ijk.astype(np.uint8).tobytes(order="F"))
    path.write_bytes(("\n".join(lines) + "\n\n").encode() + packed)
    return path


def metaimage(path: Path, ijk: np.ndarray, affine: np.ndarray) -> Path:
    image, sizes = sitk.GetImageFromArray(ijk.T), np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(sizes.tolist())
    image.SetDirection((affine[:3, :3] / sizes).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    sitk.WriteImage(image, str(path))
    return path


WRITERS = {".nii.gz": nifti, ".seg.nrrd": slicer, ".mha": metaimage}


def cropped(ijk: np.ndarray, part: tuple[slice, ...]) -> tuple[np.ndarray, np.ndarray]:
    affine = AFFINE.copy()
    affine[:3, 3] += AFFINE[:3, :3] @ [place.start for place in part]
    return ijk[part], affine


def turned(ijk: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same voxels with axes in another order, one of them backwards."""
    to_own = np.zeros((4, 4))
    to_own[[2, 0, 1, 3], [0, 1, 2, 3]] = 1, -1, 1, 1
    to_own[0, 3] = ijk.shape[0] - 1
    return np.flip(ijk.transpose(2, 0, 1), 1), affine @ to_own


def compare(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["compare", *map(str, arguments)])
    assert result.exit_code == 0, result.stderr
    return result.stdout


def numbers(one: Path, other: Path, *, swap: bool = False) -> dict[str, list[float]]:
    """DSC, NSD, HD95 and both volumes by label, read from the table that the command writes."""
    table = one.parent / "numbers.csv"
    compare(*((other, one) if swap else (one, other)), "--csv", table)
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = ("dsc", "nsd", "hausdorff95_mm", *(("b_ml", "a_ml") if swap else ("a_ml", "b_ml")))
    return {row["label"]: [float(row[name] or -1) for name in names] for row in rows}


@pytest.mark.parametrize(("one", "other"), [*combinations(WRITERS, 2), *((w, w) for w in WRITERS)])
@pytest.mark.parametrize("turn", [False, True])
def test_what_a_file_was_cut_to_changes_no_number(
    tmp_path: Path, one: str, other: str, turn: bool
) -> None:
    whole = [
        nifti(tmp_path / f"{n}.nii.gz", block(p), AFFINE) for n, p in enumerate((SMALL, LARGE))
    ]
    right = numbers(*whole)
    assert right["1"][3:] == pytest.approx([47 * 4.5e-3, 383 * 4.5e-3])
    part = cropped(block(SMALL), SMALL)
    a = WRITERS[one](tmp_path / f"a{one}", *(turned(*part) if turn else part))
    b = WRITERS[other](tmp_path / f"b{other}", block(LARGE), AFFINE)
    found = numbers(a, b)
    assert found["1"] == pytest.approx(right["1"])
    assert numbers(a, b, swap=True) == found


@pytest.mark.parametrize(
    ("one", "other", "cut_one", "cut_other"),
    [
        # They overlap in part, touch, or have nothing in common.
        (np.s_[2:8, 3:8, 1:5], np.s_[5:12, 5:12, 3:8], True, True),
        (np.s_[2:5, 2:5, 2:5], np.s_[5:9, 5:9, 5:9], True, True),
        (np.s_[0:2, 0:2, 0:2], np.s_[13:16, 11:14, 8:10], True, True),
        (np.s_[0:2, 0:2, 4:5], np.s_[13:16, 11:14, 4:5], True, False),
    ],
)
def test_parts_of_one_scan_are_compared_wherever_they_lie(
    tmp_path: Path,
    one: tuple[slice, ...],
    other: tuple[slice, ...],
    cut_one: bool,
    cut_other: bool,
) -> None:
    files = []
    for name, place, cut in (("a", one, cut_one), ("b", other, cut_other)):
        part = cropped(block(place), place) if cut else (block(place), AFFINE)
        files.append(slicer(tmp_path / f"{name}.seg.nrrd", *part))
    whole = [nifti(tmp_path / f"{n}.nii", block(p), AFFINE) for n, p in enumerate((one, other))]
    found = numbers(*files)
    assert numbers(*files, swap=True) == found
    assert found["1"] == pytest.approx(numbers(*whole)["1"])


@pytest.mark.parametrize("offset", [(0.5, 0, 0), (0.3, -0.4, 0.25), (0, 0, 0.5)])
@pytest.mark.parametrize("scale", [1.0, 0.5, 1.7])
def test_other_grids_agree_alike_in_both_orders(
    tmp_path: Path, offset: tuple[float, ...], scale: float
) -> None:
    affine = AFFINE @ np.diag([scale, scale, scale, 1])
    affine[:3, 3] += AFFINE[:3, :3] @ np.array(offset)
    a = nifti(tmp_path / "a.nii.gz", block(LARGE), AFFINE)
    b = slicer(tmp_path / "b.seg.nrrd", block(LARGE)[2:13, 2:12], affine)
    found = numbers(a, b)
    assert numbers(a, b, swap=True) == found
    # The coarser one comes onto the finer one's grid, and that is said.
    said = compare(a, b).split("Note: ")[1]
    assert said == compare(b, a).split("Note: ")[1]
    assert {0.5: "a: It lies on another grid", 1.7: "b: It lies"}.get(scale, "resampled") in said
    # No voxel is lost for where the other file ends.
    each = 4.5e-3
    assert found["1"][3:] == pytest.approx([383 * each, 383 * each * scale**3], rel=0.15)


def test_an_empty_segmentation_of_slicer_has_no_grid(tmp_path: Path) -> None:
    empty = slicer(tmp_path / "empty.seg.nrrd", np.zeros((1, 1, 1)), np.diag([1.0, 1, 1, 1]))
    full = nifti(tmp_path / "full.nii.gz", block(LARGE), AFFINE)
    for swap in (False, True):
        assert numbers(empty, full, swap=swap)["1"][3:] == [0, pytest.approx(383 * 4.5e-3)]
    assert "only in B" in compare(empty, full)
    assert "only in A" in compare(full, empty)
    assert "Both labels are empty." in compare(empty, empty)
    image = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
    volume = read_volume(nifti(tmp_path / "image.nii.gz", image, AFFINE))
    with pytest.raises(VolumeError, match="no label at all"):
        read_label(empty, volume)


@pytest.fixture
def series(tmp_path: Path) -> Volume:
    voxels = np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(np.int16)
    affine = grid_affine((0, 1, 2), (1, 1, 1), (10, -5, 8), (1, 1.5, 3))
    return read_volume(write_series(tmp_path / "series", voxels, affine))


@pytest.mark.parametrize("name", ["b.nii.gz", "b.seg.nrrd", "b.dcm", "b.rtstruct.dcm"])
@pytest.mark.parametrize("first", ["a.dcm", "a.rtstruct.dcm"])
def test_dicom_agrees_with_every_format(
    series: Volume, tmp_path: Path, name: str, first: str
) -> None:
    a, b = (series.from_source(block(place)) for place in (SMALL, LARGE))
    write_label(tmp_path / first, a, series)
    write_label(tmp_path / name, b, series)
    right = compare_labels(a, b, series.spacing.tolist())[1]
    found = numbers(tmp_path / first, tmp_path / name)
    assert found == numbers(tmp_path / first, tmp_path / name, swap=True)
    # Outlines alone, without an image, lie on a grid of their own.
    alone = "rtstruct" in first and "rtstruct" in name
    expected = [right.dsc, right.nsd, right.hausdorff95_mm, right.a_ml, right.b_ml]
    assert found["1"] == pytest.approx(expected, rel=0.15 if alone else 1e-6)


def far(folder: Path, series: Volume, name: str, metres: float) -> Path:
    """A label of the same frame of reference, but far away."""
    affine = series.source.affine.copy()
    affine[:3, 3] += affine[:3, 2] / np.linalg.norm(affine[:3, 2]) * 1000 * metres
    away = read_volume(write_series(folder / "away", series.to_source(series.data), affine))
    write_label(folder / name, away.from_source(block(LARGE)), away)
    return folder / name


@pytest.mark.parametrize("name", ["far.dcm", "far.rtstruct.dcm"])
def test_a_label_far_away_takes_no_memory(series: Volume, tmp_path: Path, name: str) -> None:
    path = far(tmp_path, series, name, 3e5)
    write_label(tmp_path / "a.dcm", series.from_source(block(SMALL)), series)
    found, near = read_label_file(path), read_label_file(tmp_path / "a.dcm")
    tracemalloc.start()
    for pair in ((found, near), (near, found)):
        with pytest.raises(VolumeError, match="too far apart"):
            on_common_grid(*pair)
    with pytest.raises(VolumeError, match="no labelled voxel lies within"):
        read_label(path, series)
    assert tracemalloc.get_traced_memory()[1] < 50 << 20
    tracemalloc.stop()


def test_finer_voxels_are_not_spread_over_a_whole_scan(tmp_path: Path) -> None:
    """A part in tiny voxels of a scan that would take gigabytes in them."""
    coarse = np.zeros((60, 60, 60), np.uint8)
    coarse[10:50, 10:50, 10:50] = 1
    a = read_label_file(nifti(tmp_path / "a.nii.gz", coarse, np.diag([5.0, 5, 5, 1])))
    fine = np.diag([0.05, 0.05, 0.05, 1])
    fine[:3, 3] = 100
    b = read_label_file(nifti(tmp_path / "b.nii.gz", np.ones((99, 99, 99), np.uint8), fine))
    one, two = on_common_grid(a, b), on_common_grid(b, a)
    assert one.spacing == two.spacing == [5, 5, 5]
    np.testing.assert_array_equal(one.labels[0], two.labels[1])
    assert "b: It lies on another grid (99 x 99 x 99 voxels of 0.05 x 0.05 x 0.05 mm)" in one.said
