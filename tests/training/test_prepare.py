from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import typer
from typer.testing import CliRunner

pytest.importorskip("scipy")
pytest.importorskip("yaml")

from napari_medsamq.errors import MedSAMQError
from napari_medsamq.inference.preprocess import WindowLevel, default_window
from napari_medsamq.io.volume import read_volume
from training import prepare
from training.data.convert import Limits, convert_pair, remove_small, split_components
from training.data.pairing import (
    Components,
    PairDefaults,
    ScanPair,
    pair_folders,
    read_table,
)
from training.data.preparation import MANIFEST, prepare_cases
from training.errors import DataError

SPACING = (0.5, 0.7, 3.0)  # x, y, z in mm
LIMITS = Limits(min_voxels=30, min_pixels=10)


def volume(label_value: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """A CT of 12 x 40 x 50 voxels and a label with two blocks of id 3 and a speck of id 5."""
    label = np.zeros((12, 40, 50), np.uint8)
    label[3:6, 5:15, 8:20] = 3
    label[8, 20:26, 30:40] = 3
    label[4, 30:32, 30:32] = 5
    image = np.where(label > 0, label_value, -1000).astype(np.int16)
    image[0, 0, 0] = -1024
    return image, label


def write_image(path: Path, array: np.ndarray, origin: tuple[float, ...] = (7, -3, 20)) -> Path:
    """Write (z, y, x) on an untilted grid, so that array order is the file's order reversed."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(SPACING)
    image.SetOrigin(origin)
    sitk.WriteImage(image, str(path))
    return path


def write_pair(folder: Path, name: str = "one") -> ScanPair:
    image, label = volume()
    return ScanPair(
        write_image(folder / f"{name}.nii.gz", image),
        write_image(folder / f"{name}_seg.nrrd", label),
        "CT",
        "Blocks",
        name,
    )


def test_a_volume_becomes_a_case(tmp_path: Path) -> None:
    case = convert_pair(write_pair(tmp_path), LIMITS)
    _, label = volume()
    label[label == 5] = 0
    assert case["imgs"].dtype == np.uint8
    assert case["gts"].dtype == np.uint8
    assert np.array_equal(case["gts"], label[3:9])
    # 40 HU is the middle of the soft tissue window.
    assert set(np.unique(case["imgs"][case["gts"] == 3])) == {127}
    assert set(np.unique(case["imgs"][case["gts"] == 0])) <= {0, 127}
    assert case["spacing"] == pytest.approx(SPACING)
    assert case["boxes"].tolist() == [[8, 5, 0, 39, 25, 5]]


def test_the_case_is_what_the_program_opens(tmp_path: Path) -> None:
    case = convert_pair(write_pair(tmp_path), LIMITS)
    np.savez(tmp_path / "case.npz", **case)
    opened = read_volume(tmp_path / "case.npz")
    assert np.array_equal(opened.data, case["imgs"])
    assert opened.spacing == pytest.approx(SPACING[::-1])


def test_a_label_in_another_axis_order_lands_on_the_image(tmp_path: Path) -> None:
    pair = write_pair(tmp_path)
    expected = convert_pair(pair, LIMITS)
    turned = sitk.Flip(
        sitk.PermuteAxes(sitk.ReadImage(str(pair.label)), [2, 0, 1]), [True, False, True]
    )
    sitk.WriteImage(turned, str(pair.label))
    assert np.array_equal(convert_pair(pair, LIMITS)["gts"], expected["gts"])


def test_mr_is_windowed_as_the_program_shows_it(tmp_path: Path) -> None:
    image, label = volume()
    values = np.random.default_rng(0).integers(0, 900, image.shape).astype(np.uint16)
    pair = ScanPair(
        write_image(tmp_path / "mr.mha", values),
        write_image(tmp_path / "seg.mha", label),
        "MR",
        "Set",
        "mr",
    )
    window = default_window(read_volume(pair.image))
    assert np.array_equal(convert_pair(pair, LIMITS)["imgs"], window.apply(values[3:9]))


@pytest.mark.parametrize(
    ("parse", "gts", "boxes"),
    [
        ("all", {0, 1, 2}, [[8, 5, 0, 19, 14, 2], [30, 20, 5, 39, 25, 5]]),
        ("3", {0, 6, 7}, [[8, 5, 0, 19, 14, 2], [30, 20, 5, 39, 25, 5]]),
        ("5", {0, 3}, [[8, 5, 0, 39, 25, 5]]),
    ],
)
def test_components_become_objects(
    tmp_path: Path, parse: str, gts: set[int], boxes: list[list[int]]
) -> None:
    pair = write_pair(tmp_path)
    object.__setattr__(pair, "components", Components.parse(parse))
    case = convert_pair(pair, LIMITS)
    assert set(np.unique(case["gts"]).tolist()) == gts
    assert case["boxes"].tolist() == boxes


def test_corners_connect_and_other_labels_do_not() -> None:
    ids = np.zeros((2, 4, 4), np.uint16)
    ids[0, 0, 0] = ids[1, 1, 1] = 1
    ids[1, 1, 2] = 2
    split = split_components(ids, Components(every=True))
    assert split[0, 0, 0] == split[1, 1, 1] != split[1, 1, 2]
    assert remove_small(ids, 2)[1, 1].tolist() == [0, 1, 0, 0]
    assert remove_small(ids[1], 2).max() == 0
    assert ids[1, 1, 2] == 2


def write_picture(path: Path, array: np.ndarray) -> Path:
    sitk.WriteImage(sitk.GetImageFromArray(array, isVector=array.ndim == 3), str(path))
    return path


@pytest.mark.parametrize("colour_image", [True, False])
@pytest.mark.parametrize("colour_mask", [True, False])
def test_a_picture_becomes_a_2d_case(tmp_path: Path, colour_image: bool, colour_mask: bool) -> None:
    rng = np.random.default_rng(0)
    shape = (30, 40, 3) if colour_image else (30, 40)
    image = rng.integers(0, 256, shape, np.uint8)
    mask = np.zeros((30, 40), np.uint8)
    mask[5:15, 10:30] = 255
    colours = np.zeros((30, 40, 3), np.uint8)
    colours[5:15, 10:30] = (200, 0, 10)
    pair = ScanPair(
        write_picture(tmp_path / "image.png", image),
        write_picture(tmp_path / "mask.png", colours if colour_mask else mask),
        "Dermoscopy",
        "Skin",
        "a",
    )
    # A 2D image has no voxels in depth: the rule for volumes would remove every object.
    case = convert_pair(pair, Limits(min_voxels=1000, min_pixels=100))
    assert np.array_equal(case["imgs"], image if colour_image else np.stack([image] * 3, -1))
    assert np.array_equal(case["gts"], (mask > 0) * (1 if colour_mask else 255))
    assert case["boxes"].tolist() == [[10, 5, 29, 14]]
    assert "spacing" not in case


def bad_pair(folder: Path, kind: str) -> ScanPair:
    pair = write_pair(folder)
    image, label = volume()
    if kind == "shifted":
        write_image(pair.label, label, origin=(7.2, -3, 20))
    elif kind == "cropped":
        write_image(pair.label, label[1:])
    elif kind == "fractions":
        write_image(pair.label, label * np.float32(0.5))
    elif kind == "negative":
        write_image(pair.label, label.astype(np.int16) - 1)
    elif kind == "too small":
        write_image(pair.label, np.where(label == 5, label, 0))
    elif kind == "empty":
        write_image(pair.label, label * 0)
    elif kind == "no HU":
        write_image(pair.image, (image + 1024).astype(np.uint16))
    elif kind == "cut off":
        pair.image.write_bytes(pair.image.read_bytes()[:200])
    elif kind == "JPEG":
        path = write_picture(folder / "mask.jpg", label[4] * 50)
        object.__setattr__(pair, "label", path)
    return pair


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("shifted", "lies up to 0.2 mm beside its image"),
        ("cropped", "has (11, 40, 50) voxels (z, y, x) and its image (12, 40, 50)"),
        ("fractions", "holds fractions"),
        ("negative", "label ids lie in 0..65535"),
        ("too small", "Lower --min-voxels or --min-pixels"),
        ("empty", "no object has"),
        ("no HU", "no Hounsfield units"),
        ("cut off", "one.nii.gz"),
        ("JPEG", "Save the mask as PNG"),
    ],
)
def test_what_cannot_be_trusted_is_refused(tmp_path: Path, kind: str, reason: str) -> None:
    pair = bad_pair(tmp_path, kind)
    with pytest.raises(MedSAMQError) as caught:
        convert_pair(pair, LIMITS)
    assert reason in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_rounding_in_a_header_is_no_shift(tmp_path: Path) -> None:
    pair = write_pair(tmp_path)
    write_image(pair.label, volume()[1], origin=(7.0004, -3.0004, 20))
    assert len(convert_pair(pair, LIMITS)["boxes"]) == 1


class Deadly(ScanPair):
    """A pair that kills the process that receives it, as running out of memory does."""

    def __reduce__(self) -> Any:
        return os._exit, (1,)


def test_bad_cases_are_reported_and_the_others_made(tmp_path: Path) -> None:
    good, other = write_pair(tmp_path, "good"), write_pair(tmp_path, "other")
    bad = write_pair(tmp_path, "bad")
    bad.image.write_bytes(b"nothing")
    deadly = Deadly(good.image, good.label, "CT", "Blocks", "deadly")
    out = tmp_path / "out"
    seen: list[str] = []
    records = prepare_cases(
        [bad, deadly, good, other],
        out,
        limits=LIMITS,
        report=lambda record: seen.append(record["case"]),
    )
    assert [record["status"] for record in records] == ["failed", "failed", "done", "done"]
    assert "bad.nii.gz" in records[0]["reason"]
    assert "its process died" in records[1]["reason"]
    assert len(seen) == 4
    assert sorted(path.name for path in out.rglob("*.npz")) == ["good.npz", "other.npz"]
    lines = [json.loads(line) for line in (out / MANIFEST).read_text().splitlines()]
    assert {line["case"]: line["status"] for line in lines} == {
        "CT/Blocks/bad.npz": "failed",
        "CT/Blocks/deadly.npz": "failed",
        "CT/Blocks/good.npz": "done",
        "CT/Blocks/other.npz": "done",
    }


def statuses(pairs: list[ScanPair], out: Path, limits: Limits = LIMITS) -> list[str]:
    return [record["status"] for record in prepare_cases(pairs, out, limits=limits)]


def test_a_second_run_makes_only_what_changed(tmp_path: Path) -> None:
    pairs, out = [write_pair(tmp_path, "a"), write_pair(tmp_path, "b")], tmp_path / "out"
    assert statuses(pairs, out) == ["done", "done"]
    before = (out / pairs[0].target).stat().st_mtime_ns
    # As if the run had been killed while it wrote the second line.
    manifest = out / MANIFEST
    manifest.write_text(manifest.read_text()[:-50])
    assert statuses(pairs, out) == ["kept", "done"]
    _, label = volume()
    label[label == 3] = 4
    write_image(pairs[1].label, label)
    assert statuses(pairs, out) == ["kept", "done"]
    assert set(np.load(out / pairs[1].target)["gts"].flat) == {0, 4}
    assert (out / pairs[0].target).stat().st_mtime_ns == before
    assert statuses(pairs, out, Limits(20, 10)) == ["done", "done"]


def test_a_file_of_someone_else_is_never_replaced(tmp_path: Path) -> None:
    pair, out = write_pair(tmp_path), tmp_path / "out"
    (out / pair.target).parent.mkdir(parents=True)
    (out / pair.target).write_bytes(b"precious")
    (record,) = prepare_cases([pair], out, limits=LIMITS)
    assert "was not made by this command" in record["reason"]
    assert (out / pair.target).read_bytes() == b"precious"
    assert [path.name for path in (out / pair.target).parent.iterdir()] == ["one.npz"]


def test_a_case_that_fails_later_stays_ours(tmp_path: Path) -> None:
    pair, out = write_pair(tmp_path), tmp_path / "out"
    content = pair.label.read_bytes()
    assert statuses([pair], out) == ["done"]
    pair.label.write_bytes(b"")
    assert statuses([pair], out) == ["failed"]
    _, label = volume()
    write_image(pair.label, label * 2)
    assert statuses([pair], out) == ["done"]
    pair.label.write_bytes(content)
    assert statuses([pair], out) == ["done"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_names_pairs_and_defaults_fill_it(tmp_path: Path, delimiter: str) -> None:
    lines = [
        ["image", "label", "modality", "case", "window", "components"],
        ["a.nii.gz", "l/a.nrrd", "", "", "", ""],
        ["series", "/l/b.nrrd", "MR", "second", "-600/1500", "all"],
    ]
    path = tmp_path / "cases.csv"
    text = "\ufeff" + "\n".join(delimiter.join(line) for line in lines) + "\n\n"
    path.write_text(text, encoding="utf-8")
    first, second = read_table(path, PairDefaults("CT", "Set"))
    assert first == ScanPair(tmp_path / "a.nii.gz", tmp_path / "l/a.nrrd", "CT", "Set", "a")
    assert (second.target, second.label) == (Path("MR/Set/second.npz"), Path("/l/b.nrrd"))
    assert (second.window, second.components) == (WindowLevel(-600, 1500), Components(every=True))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("image,mask\na,b\n", "has to name the columns"),
        ("image,label\n", "there is no image with a label"),
        ("image,label\na\n", "line 2: has 1 cells"),
        ("image,label\na.nii,\n", "line 2: there is no label"),
        ("image,label,modality\na.nii,b,Xray\n", "line 2: the modality is one of CT"),
        ("image,label,case\na.nii,b,../x\n", "line 2: the case `../x` cannot be"),
        ("image,label,window\na.nii,b,40\n", "line 2: a window is level/width"),
        ("image,label,window\na.nii,b,40/-1\n", "line 2: a window needs"),
        ("image,label,components\na.nii,b,some\n", "line 2: components are"),
        ("image,label\na.nii,b\nx/a.nrrd,b\n", "two images would become ct/set/a.npz"),
    ],
)
def test_a_wrong_table_is_one_error_with_its_line(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "cases.csv"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        read_table(path, PairDefaults("CT", "Set"))
    assert str(path) in str(caught.value)
    assert reason in str(caught.value)


def test_folders_are_paired_by_name(tmp_path: Path) -> None:
    names = ("i/a_0000.nii.gz", "i/b_0000/1.dcm", "i/c_0000.nrrd", "i/notes.txt", "l/a.nrrd")
    for name in (*names, "l/b.nii.gz", "l/d.mha"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    pairs, alone = pair_folders(
        tmp_path / "i", tmp_path / "l", PairDefaults("CT", "Set"), image_suffix="_0000"
    )
    assert [(pair.image.name, pair.label.name, pair.name) for pair in pairs] == [
        ("a_0000.nii.gz", "a.nrrd", "a"),
        ("b_0000", "b.nii.gz", "b"),
    ]
    assert alone == ["c", "d"]


def test_the_command_says_what_it_did(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(prepare.main)
    for folder in ("image", "label"):
        (tmp_path / folder).mkdir()
    image, label = volume()
    for name in ("a", "b"):
        nib.save(nib.Nifti1Image(image.T, np.eye(4)), tmp_path / "image" / f"{name}.nii.gz")
        nib.save(nib.Nifti1Image(label.T, np.eye(4)), tmp_path / "label" / f"{name}.nii.gz")
    arguments = [str(tmp_path / "out"), "--images", str(tmp_path / "image"), "--workers", "2"]
    arguments += ["--labels", str(tmp_path / "label"), "--modality", "CT", "--dataset", "Set"]
    arguments += ["--min-voxels", "30", "--min-pixels", "10"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "2 cases made, 0 were up to date, 0 failed" in result.output
    (tmp_path / "label" / "b.nii.gz").write_bytes(b"")
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert "0 cases made, 1 were up to date, 1 failed" in result.output
    assert "Failed: CT/Set/b.npz" in result.output
    result = CliRunner().invoke(app, [str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "Give either --table, or --images and --labels" in result.output
