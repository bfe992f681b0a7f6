"""What users type, what they get, and what they are told when it cannot work."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from dicom_series import write_series
from grids import grid_affine
from scripted_engine import ScriptedEngine, load_instead
from typer.testing import CliRunner, Result

from napari_medsamq import __version__
from napari_medsamq.cli.main import app
from napari_medsamq.errors import PromptError
from napari_medsamq.inference.model_choice import default_model
from napari_medsamq.io import label_writer as _save
from napari_medsamq.io.files import provenance_path
from napari_medsamq.io.labels import read_label
from napari_medsamq.io.source import Selection
from napari_medsamq.io.volume import read_volume
from napari_medsamq.plugin import SAMPLES
from napari_medsamq.workflows.parsing import parse_labels

SHAPE = (12, 16, 14)
# Bright in the file's own voxels (i, j, k), all of it off the centre.
BLOCK = np.s_[2:9, 5:13, 3:8]
WHOLE = "2,5,3,8,12,7"
WINDOW, CT = ("--window", "100,200"), ("--modality", "ct")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> ScriptedEngine:
    engine = ScriptedEngine()
    load_instead(monkeypatch, engine)
    return engine


@pytest.fixture(
    params=[
        ((0, 1, 2), (1, 1, 1), (0, 0, 0)),
        ((2, 0, 1), (-1, 1, -1), (10, -8, 12)),
        ((1, 2, 0), (-1, -1, 1), (-20, 5, 0)),
    ],
    ids=["straight", "permuted", "sagittal"],
)
def image(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    axes, signs, degrees = request.param
    return write_image(tmp_path / "image.nii.gz", grid_affine(axes, signs, degrees, (1, 1, 1)))


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return write_image(tmp_path / "image.nii.gz", np.diag([-1.0, -1, 1, 1]))


def write_image(path: Path, affine: np.ndarray, low: int = 0) -> Path:
    voxels = np.full(SHAPE, low, np.int16)
    voxels[BLOCK] = 200
    nib.save(nib.Nifti1Image(voxels, affine), path)
    return path


def segment(image: Path, *arguments: str) -> Result:
    output = image.with_name("label.nii.gz")
    return CliRunner().invoke(app, ["segment", str(image), "-o", str(output), *arguments])


def saved(image: Path) -> np.ndarray:
    label = nib.load(image.with_name("label.nii.gz"))
    np.testing.assert_allclose(label.affine, nib.load(image).affine, atol=1e-6)
    return np.asarray(label.dataobj)


def refused(result: Result, *words: str) -> None:
    """An error of the user's: told in words on stderr, nothing on stdout, no traceback."""
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    for word in words:
        assert word in result.stderr


@pytest.mark.parametrize(
    ("box", "voxels"),
    [
        ("4,6,5,7,10,5", np.s_[4:8, 6:11, 5]),
        ("7,10,5,4,6,5", np.s_[4:8, 6:11, 5]),
        ("4,7,4,6,7,6", np.s_[4:7, 7, 4:7]),
        ("3,6,4,3,11,6", np.s_[3, 6:12, 4:7]),
        ("3,0,0,3,15,13", np.s_[3, 5:13, 3:8]),
    ],
    ids=["across k", "corners swapped", "across j", "across i", "whole slice"],
)
@pytest.mark.usefixtures("fake")
def test_a_box_marks_the_files_own_voxels(
    image: Path, box: str, voxels: tuple[slice | int, ...]
) -> None:
    result = segment(image, "--box", box, *WINDOW)
    assert result.exit_code == 0, result.stderr
    expected = np.zeros(SHAPE, np.uint8)
    expected[voxels] = 1
    np.testing.assert_array_equal(saved(image), expected)
    assert f"1 Label 1: {expected.sum():,} voxels" in result.stdout
    assert f"Saved and verified: {image.with_name('label.nii.gz')}" in result.stdout


@pytest.mark.parametrize("axis", ["axial", "coronal", "sagittal"])
def test_a_3d_box_marks_the_files_own_voxels(image: Path, fake: ScriptedEngine, axis: str) -> None:
    result = segment(image, "--box", WHOLE, "--axis", axis, *WINDOW)
    assert result.exit_code == 0, result.stderr
    np.testing.assert_array_equal(saved(image) == 1, nib.load(image).get_fdata() == 200)
    # The fake network sees one image per slice along the axis that the plane's name means.
    file_axis = {"axial": "IS", "coronal": "PA", "sagittal": "LR"}[axis]
    codes = nib.aff2axcodes(nib.load(image).affine)
    (along,) = (n for n, code in enumerate(codes) if code in file_axis)
    assert len(fake.images) == (7, 8, 5)[along]


@pytest.mark.usefixtures("fake")
def test_boxes_of_one_label_are_united(plain: Path) -> None:
    boxes = ("--box", "4,6,5,7,10,5", "--box", "3,5,5,5,7,5", "--box", "3,6,4,3,11,6")
    assert segment(plain, *boxes, "--label", "4", *WINDOW).exit_code == 0
    expected = np.zeros(SHAPE, np.uint8)
    for voxels in (np.s_[4:8, 6:11, 5], np.s_[3:6, 5:8, 5], np.s_[3, 6:12, 4:7]):
        expected[voxels] = 4
    np.testing.assert_array_equal(saved(plain), expected)


@pytest.mark.usefixtures("fake")
def test_each_box_can_have_its_label_and_the_later_wins(plain: Path) -> None:
    boxes = ("--box", "4,6,5,7,10,5", "--box", "3,5,5,5,7,5")
    result = segment(plain, *boxes, "--label", "300", "--label", "7", *WINDOW)
    expected = np.zeros(SHAPE, np.uint16)
    expected[4:8, 6:11, 5] = 300
    expected[3:6, 5:8, 5] = 7
    np.testing.assert_array_equal(saved(plain), expected)
    assert result.stdout.index("7 Label 7: 9 voxels") < result.stdout.index("300 Label 300: 16")


def test_a_target_that_cannot_be_is_refused_before_any_work(
    plain: Path, fake: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(_save, "TemporaryFile", refuse)
    refused(segment(plain, "--box", WHOLE, *WINDOW), "writing is not allowed there")
    assert not fake.images


@pytest.mark.usefixtures("fake")
def test_an_existing_output_is_replaced_only_when_told(plain: Path) -> None:
    target = plain.with_name("label.nii.gz")
    target.write_text("hours of work")
    refused(segment(plain, "--box", WHOLE, *WINDOW), "exists", "--overwrite")
    assert target.read_text() == "hours of work"
    assert segment(plain, "--box", WHOLE, "--overwrite", *WINDOW).exit_code == 0
    assert saved(plain).sum() == 280


@pytest.mark.usefixtures("fake")
def test_the_image_itself_is_never_replaced(plain: Path) -> None:
    before = plain.read_bytes()
    arguments = ["segment", str(plain), "-o", str(plain), "--overwrite", "--box", WHOLE, *WINDOW]
    refused(CliRunner().invoke(app, arguments), "is the image that was segmented")
    assert plain.read_bytes() == before


@pytest.mark.usefixtures("fake")
def test_one_volume_of_several_has_to_be_named(tmp_path: Path) -> None:
    first = nib.load(write_image(tmp_path / "image.nii.gz", np.diag([-1.0, -1, 1, 1])))
    voxels = np.asarray(first.dataobj)
    series = np.stack([voxels * 0 + 3, voxels], -1)
    nib.save(nib.Nifti1Image(series, first.affine), tmp_path / "image.nii.gz")
    options = ("--box", WHOLE, "--modality", "ct", *WINDOW)
    image = tmp_path / "image.nii.gz"
    refused(segment(image, *options), "holds 2 volumes", "by --volume on the command line")
    refused(segment(image, *options, "--resample", "--volume", "2"), "is not DICOM")
    result = segment(image, *options, "--volume", "2")
    assert result.exit_code == 0
    assert saved(image)[BLOCK].all()
    assert "Volume 2 of 2" in result.stdout
    (provenance,) = tmp_path.glob("*.provenance.json")
    assert json.loads(provenance.read_text())["image"]["volume"] == "2 of 2"


@pytest.mark.usefixtures("fake")
def test_an_ambiguous_modality_has_to_be_told(tmp_path: Path) -> None:
    image = write_image(tmp_path / "image.nii.gz", np.eye(4), low=-50)
    refused(segment(image, "--box", WHOLE), "CT or MR", "Add --modality ct, mr or other")
    result = segment(image, "--box", WHOLE, "--modality", "ct")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("CT, chosen; model fake")
    assert saved(image).sum() == 280


@pytest.mark.usefixtures("fake")
def test_a_window_below_zero_is_taken(plain: Path) -> None:
    result = segment(plain, "--box", WHOLE, "--window", "-600,1700")
    assert result.exit_code == 0, result.stderr


def test_a_window_may_be_named(tmp_path: Path, fake: ScriptedEngine) -> None:
    path = tmp_path / "image.nii.gz"
    hounsfield = np.linspace(-300, 300, np.prod(SHAPE)).reshape(SHAPE).astype(np.int16)
    nib.save(nib.Nifti1Image(hounsfield, np.diag([-1.0, -1, 1, 1])), path)
    for window in ("Bone", "400,1800", "brain"):
        segment(path, "--box", "2,5,3,8,12,3", "--window", window, "--overwrite", *CT)
    named, numbers, other = fake.images
    np.testing.assert_array_equal(named, numbers)
    assert not np.array_equal(named, other)


@pytest.mark.usefixtures("fake")
def test_points_correct_the_mask_of_a_box(plain: Path) -> None:
    box = ("--box", "2,5,5,8,12,5", *WINDOW)
    assert segment(plain, *box).exit_code == 0
    before = saved(plain)
    more, less = (1, 12, 5), (5, 7, 5)
    assert (before[more], before[less]) == (0, 1)
    points = ("--point", "1,12,5,+", "--point", "5,7,5,-")
    result = segment(plain, *box, *points, "--overwrite")
    assert result.exit_code == 0, result.stderr
    after = saved(plain)
    assert (after[more], after[less]) == (1, 0)
    assert np.argwhere(after != before).tolist() == [list(more), list(less)]


def test_points_that_the_network_does_not_follow_count_all_the_same(
    plain: Path, fake: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = fake.decode
    monkeypatch.setattr(fake, "decode", lambda e, c, k, m=None: decode(e, c[:, :2], k[:, :2], m))
    points = ("--point", "1,12,5,+", "--point", "5,7,5,-")
    result = segment(plain, "--box", "2,5,5,8,12,5", *WINDOW, *points)
    assert result.exit_code == 0, result.stderr
    assert (saved(plain)[1, 12, 5], saved(plain)[5, 7, 5]) == (1, 0)
    assert result.stdout.count("Note: Label 1, slice 5: The network did not follow the click") == 2


@pytest.mark.usefixtures("fake")
def test_points_are_voxels_of_the_file_and_correct_what_was_carried_there(image: Path) -> None:
    assert segment(image, "--box", WHOLE, *WINDOW).exit_code == 0
    before = saved(image)
    point = ("--point", "5,7,5,-,3")
    boxes = ("--box", WHOLE, "--box", WHOLE, "--label", "1", "--label", "3")
    result = segment(image, *boxes, *point, *WINDOW, "--overwrite")
    assert result.exit_code == 0, result.stderr
    after = saved(image)
    assert np.argwhere((after > 0) != (before > 0)).tolist() == [[5, 7, 5]]


@pytest.mark.usefixtures("fake")
def test_a_lasso_and_scribbles_mark_the_files_own_voxels(image: Path) -> None:
    scribbles = image.with_name("scribbles.txt")
    scribbles.write_text("4,7,5,-\n4,10,5,-\n\n2,12,5,+\n4,12,5,+\n7,12,4,-\n")
    lasso = ("--lasso", "3,6,5;7,6,5;7,11,5;3,11,5", *WINDOW)
    assert segment(image, *lasso).exit_code == 0
    wanted = np.zeros(SHAPE, np.uint8)
    wanted[3:8, 6:12, 5] = 1
    np.testing.assert_array_equal(saved(image), wanted)
    box = ("--box", "2,5,4,8,12,4")
    result = segment(image, *box, *lasso, "--scribble", str(scribbles), "--overwrite")
    assert result.exit_code == 0, result.stderr
    label = saved(image)
    assert not label[4, 7:11, 5].any()
    assert label[2:5, 12, 5].all()
    assert label[7, 12, 4] == 0
    assert "5 slices" in result.stdout


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, ["scribbles.txt", "cannot be read"]),
        (b"\xff\xfe\x00", ["scribbles.txt", "cannot be read"]),
        (b"\n \n", ["holds no scribble"]),
        (b"5,7,5,+\n5,7\n", ["scribbles.txt, line 2", "I,J,K,+"]),
        (b"5,7,5,+\n5,7,99,+\n", ["scribbles.txt, line 2", "(5, 7, 99)"]),
        (b"5,7,5,+\n6,8,6,+\n", ["scribble has 2 voxels", "on the same slice"]),
        (b"5,7,8,+\n6,7,8,+\n", ["no mask on this slice"]),
    ],
)
@pytest.mark.usefixtures("fake")
def test_scribbles_that_are_none_are_told(
    plain: Path, text: bytes | None, words: list[str]
) -> None:
    path = plain.with_name("scribbles.txt")
    if text is not None:
        path.write_bytes(text)
    refused(segment(plain, "--box", "2,5,5,8,12,5", *WINDOW, "--scribble", str(path)), *words)
    assert not plain.with_name("label.nii.gz").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["--box or a --lasso"]),
        (["--lasso", "1,2,3;4,5"], ["I,J,K;I,J,K", "'1,2,3;4,5'"]),
        (["--lasso", "3,6,5;7,6,5"], ["three different corners"]),
        (["--lasso", "3,6,5;7,6,6;7,11,5"], ["lasso has 3 voxels", "on the same slice"]),
        (["--lasso", "3,6,5;7,6,99;7,11,5"], ["(7, 6, 99)", "inside it"]),
        (["--lasso", "3,6,5;5,8,5;7,10,5"], ["encloses nothing"]),
        (["--lasso", "3,6,5;7,11,5;7,6,5;3,11,5"], ["crosses itself"]),
        (["--box", "1,2,3"], ["six whole numbers", "'1,2,3'"]),
        (["--box", WHOLE, "--point", "1,2,+"], ["I,J,K,+", "'1,2,+'"]),
        (["--box", WHOLE, "--point", "1,2,3,*"], ["I,J,K,+", "'1,2,3,*'"]),
        (["--box", WHOLE, "--point", "1,2,3,+,2"], ["one of the labels", "1,2,3,+,1"]),
        (["--box", WHOLE, "--point", "1,2,99,+"], ["(1, 2, 99)", "inside it"]),
        (["--box", "a,b,c,d,e,f"], ["six whole numbers"]),
        (["--box", "1.5,2,3,4,5,6"], ["six whole numbers"]),
        (["--box", ""], ["six whole numbers"]),
        (["--box", "0,0,0,12,15,13"], ["(12, 15, 13)", "(11, 15, 13)", "inside it"]),
        (["--box", "-1,0,0,11,15,13"], ["(-1, 0, 0)", "inside it"]),
        (["--box", "4,6,5,4,10,5"], ["more than one axis", "differ on two axes"]),
        (["--box", WHOLE, "--window", "40"], ["LEVEL,WIDTH", "'40'"]),
        (["--box", WHOLE, "--window", "40,0"], ["LEVEL,WIDTH", "positive width"]),
        (["--box", WHOLE, "--window", "wide,open"], ["LEVEL,WIDTH"]),
        (["--box", WHOLE, "--window", "lung"], ["'lung' is no window for MR", "standard"]),
        (["--box", WHOLE, "--label", "1", "--label", "2"], ["2 labels for 1 boxes"]),
        (["--box", "0,0,0,1,1,0", *WINDOW], ["found nothing in this box"]),
    ],
)
@pytest.mark.usefixtures("fake")
def test_what_cannot_be_done_is_told(plain: Path, arguments: list[str], words: list[str]) -> None:
    refused(segment(plain, *arguments), *words)
    assert not plain.with_name("label.nii.gz").exists()


@pytest.mark.parametrize("label", ["0", "-1", "65536", "0=Liver", "=Liver", "9" * 30])
def test_a_label_number_out_of_range_is_told(plain: Path, fake: ScriptedEngine, label: str) -> None:
    refused(segment(plain, "--box", WHOLE, "--label", label, *WINDOW), "from 1 to 65535", label)
    assert not plain.with_name("label.nii.gz").exists()
    assert fake.images == []


@pytest.mark.parametrize("label", ["2=Left kidney", "Left kidney"])
@pytest.mark.usefixtures("fake")
def test_a_label_is_called_as_the_user_says(tmp_path: Path, label: str) -> None:
    voxels = np.zeros(SHAPE, np.int16)
    voxels[BLOCK] = 200
    series = write_series(tmp_path / "series", voxels, np.diag([1.0, 1, 1, 1]))
    number = 2 if "=" in label else 1
    for name in ("label.seg.nrrd", "label.dcm", "label.rtstruct.dcm"):
        command = ["segment", str(series), "-o", str(tmp_path / name), "--box", WHOLE, *WINDOW]
        result = CliRunner().invoke(app, [*command, "--label", label])
        assert result.exit_code == 0, result.stderr
        assert f"{number} Left kidney: " in result.stdout
        said = json.loads(provenance_path(tmp_path / name).read_text(encoding="utf-8"))
        assert [(entry["id"], entry["name"]) for entry in said["labels"]] == [
            (number, "Left kidney")
        ]
    found = read_label(tmp_path / "label.seg.nrrd", read_volume(series)).segments
    assert {label_id: segment.name for label_id, segment in found.items()} == {
        number: "Left kidney"
    }
    (segment_,) = pydicom.dcmread(tmp_path / "label.dcm").SegmentSequence
    (kind,) = segment_.SegmentedPropertyTypeCodeSequence
    (side,) = kind.SegmentedPropertyTypeModifierCodeSequence
    assert segment_.SegmentLabel == "Left kidney"
    assert (kind.CodingSchemeDesignator, kind.CodeValue, side.CodeValue) == (
        *("SCT", "64033007"),
        "7771000",
    )
    (contours,) = pydicom.dcmread(tmp_path / "label.rtstruct.dcm").StructureSetROISequence
    assert contours.ROIName == "Left kidney"


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["3"], [(3, ""), (3, "")]),
        (["Liver"], [(1, "Liver"), (1, "Liver")]),
        (["Liver", "Spleen"], [(1, "Liver"), (2, "Spleen")]),
        (["2 = A=B", "2"], [(2, "A=B"), (2, "")]),
        ([" ", "Liver"], [(1, "Liver"), (1, "Liver")]),
    ],
)
def test_labels_are_numbers_names_or_both(
    texts: list[str], expected: list[tuple[int, str]]
) -> None:
    assert parse_labels(texts, 2) == tuple(expected)
    for wrong, words in ((["1", "Liver"], "numbers for all"), (["1=A", "1=B"], "several names")):
        with pytest.raises(PromptError, match=words):
            parse_labels(wrong, 2)


def test_a_missing_image_is_told(tmp_path: Path) -> None:
    refused(segment(tmp_path / "lost.nii.gz", "--box", WHOLE), "lost.nii.gz", "Check the name")


def test_a_missing_model_directory_is_told(plain: Path, tmp_path: Path) -> None:
    result = segment(plain, "--box", WHOLE, "--model", str(tmp_path / "lost"))
    refused(result, str(tmp_path / "lost"), "is no model")
    arguments = ["demo", "-o", str(tmp_path / "demo"), "--model", str(tmp_path / "lost")]
    refused(CliRunner().invoke(app, arguments), "is no model")


def test_a_device_that_is_not_there_is_told(plain: Path) -> None:
    result = segment(plain, "--box", WHOLE, "--modality", "ct", "--device", "ABACUS")
    refused(result, "ABACUS", "Choose one of CPU")


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("name", ["label.png", "lost/label.nii.gz"])
def test_an_output_that_cannot_be_written_is_told(plain: Path, tmp_path: Path, name: str) -> None:
    arguments = ["segment", str(plain), "-o", str(tmp_path / name), "--box", WHOLE, *WINDOW]
    refused(CliRunner().invoke(app, arguments), name, "hoose")


@pytest.mark.parametrize(
    "command",
    [
        ["segment", "image", "--box", WHOLE, "-o", "{}.nii.gz"],
        ["segment", "image", "--box", WHOLE, "-o", "{}/label.nii.gz"],
        ["replay", "journal", "image", "-o", "{}.nii.gz"],
        ["report", "label", "-o", "{}.html"],
        ["followup", "label", "image", "-o", "{}.nii.gz"],
        ["compare", "label", "label", "--csv", "{}.csv"],
        ["batch", "table", "-o", "results", "--from-journals", "{}"],
        ["benchmark", "gui", "--json", "{}/numbers.json"],
        ["models", "--model", "{}"],
    ],
    ids=" ".join,
)
def test_a_name_that_is_too_long_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = [word.format("x" * 300) for word in command]
    refused(CliRunner().invoke(app, arguments), "xxx", "too long", "Check the name")
    assert not [path for path in tmp_path.iterdir() if path.name != "results"]


def test_the_version_is_told() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"napari-medsamq {__version__}\n")


def test_without_arguments_the_commands_are_listed() -> None:
    result = CliRunner().invoke(app, [])
    for words in ("gui", "segment", "demo", "not a medical", "device"):
        assert words in result.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a.nii", "--sample", "ct"], "not both"),
        (["--box", WHOLE], "needs a volume"),
        (["a.nii"], 'pip install "napari-medsamq[app]"'),
    ],
)
def test_a_window_that_cannot_open_is_told(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.setitem(sys.modules, "napari_medsamq.ui.app", None)
    refused(CliRunner().invoke(app, ["gui", *arguments]), words)


def test_the_window_gets_what_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[object, ...]] = []
    window = SimpleNamespace(run=lambda *arguments: calls.append(arguments))
    monkeypatch.setitem(sys.modules, "napari_medsamq.ui.app", window)
    arguments = ["gui", "--sample", "mr", "--box", WHOLE, "--axis", "coronal", "--screenshot", "a"]
    arguments += ["--modality", "other", "--series", "1.2", "--device", "GPU", "--volume", "3"]
    arguments += ["--resample", "--label", "2=Liver"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    chosen = Selection(series="1.2", volume=3, resample=True)
    boxes = [(WHOLE, (2, "Liver"))]
    assert calls == [(SAMPLES / "mr.nrrd", boxes, 1, Path("a"), None, "GPU", "other", chosen)]


def test_a_screenshot_needs_its_folder(tmp_path: Path) -> None:
    target = tmp_path / "nowhere" / "a.png"
    arguments = ["gui", "--sample", "mr", "--screenshot", str(target)]
    refused(CliRunner().invoke(app, arguments), str(target.parent))


def medsamq(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which("medsamq", path=str(Path(sys.executable).parent))
    assert program is not None
    return subprocess.run([program, *map(str, arguments)], capture_output=True, encoding="utf-8")


def test_the_installed_command_segments_the_samples_liver(tmp_path: Path) -> None:
    image, output = SAMPLES / "ct.nii.gz", tmp_path / "liver.nii.gz"
    done = medsamq("segment", image, "-o", output, "--box", "110,192,10,268,384,10")
    assert done.returncode == 0, done.stderr
    assert f"CT, assumed; model {default_model('CT').name}" in done.stdout
    label, source = nib.load(output), nib.load(image)
    np.testing.assert_array_equal(label.affine, source.affine)
    i, j, k = np.nonzero(np.asarray(label.dataobj))
    assert 15_000 <= i.size <= 23_000
    assert set(k) == {10}
    # The mask follows the box, a little beyond it at most.
    assert (i.min() >= 100, i.max() <= 278, j.min() >= 182, j.max() <= 394) == (True,) * 4
    hu = source.get_fdata()[i, j, k]
    assert 60 <= np.median(hu) <= 160


def test_the_installed_command_fails_in_words(tmp_path: Path) -> None:
    done = medsamq("segment", tmp_path / "lost.nii.gz", "-o", tmp_path / "a.nii", "--box", WHOLE)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("Error: ")
    assert "Traceback" not in done.stderr


def test_a_name_no_label_can_have_is_refused_before_the_network_runs(
    plain: Path, fake: ScriptedEngine
) -> None:
    output = plain.with_name("label.png")
    arguments = ["segment", str(plain), "-o", str(output), "--box", WHOLE, *WINDOW]
    refused(CliRunner().invoke(app, arguments), "label.png", ".nii.gz")
    assert not fake.images


@pytest.mark.usefixtures("fake")
def test_the_suffix_says_in_which_format_the_label_is_saved(tmp_path: Path) -> None:
    voxels = np.zeros(SHAPE, np.int16)
    voxels[BLOCK] = 200
    series = write_series(tmp_path / "series", voxels, np.diag([1.0, 1, 1, 1]))
    for name in ("label.seg.nrrd", "label.dcm", "label.rtstruct.dcm"):
        command = ["segment", str(series), "-o", str(tmp_path / name), "--box", WHOLE, *WINDOW]
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.stderr
        refused(CliRunner().invoke(app, command), "exists", "--overwrite")
        assert CliRunner().invoke(app, [*command, "--overwrite"]).exit_code == 0
    volume = read_volume(series)
    for name in ("label.seg.nrrd", "label.dcm"):
        label = volume.to_source(read_label(tmp_path / name, volume).label)
        np.testing.assert_array_equal(label == 1, voxels == 200)


def test_a_format_that_cannot_be_is_refused_before_the_network_runs(
    plain: Path, fake: ScriptedEngine
) -> None:
    for name, words in (
        ("label.dcm", "was not read from DICOM"),
        ("label.nrrd", "ends in .nii.gz"),
    ):
        output = plain.with_name(name)
        command = ["segment", str(plain), "-o", str(output), "--box", WHOLE, *WINDOW]
        refused(CliRunner().invoke(app, command), words)
        assert not output.exists()
    assert fake.images == []
