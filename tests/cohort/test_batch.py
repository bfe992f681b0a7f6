"""A table of images in, labels, numbers and pictures out; whatever one of its lines holds."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import nibabel as nib
import numpy as np
import pytest
from cohorts import (
    BLOCK,
    BOX,
    SHAPE,
    batch,
    content,
    make_image,
    make_table,
    names_of,
    result_of,
    rows_of,
    write_table,
)
from dicom_series import write_series
from filelock import FileLock
from scripted_engine import ScriptedEngine, load_instead
from sources import write_nifti

from napari_medsamq.analysis.statistics import LabelStatistics
from napari_medsamq.annotation.session import AnnotationSession
from napari_medsamq.cohort import case_runner as cohort
from napari_medsamq.cohort.gallery import Card, page
from napari_medsamq.cohort.results import opened
from napari_medsamq.cohort.table import TableDefaults, read_table, safe_name
from napari_medsamq.errors import CohortError, SaveError
from napari_medsamq.inference.preprocess import IDENTITY
from napari_medsamq.io.volume import read_volume, volume_hash
from napari_medsamq.prompts import BoxPrompt
from napari_medsamq.records.journal import Journal, journal_path
from napari_medsamq.records.recording import Recorder


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> ScriptedEngine:
    engine = ScriptedEngine()
    load_instead(monkeypatch, engine)
    return engine


class Page(HTMLParser):
    """The cases of a page in their order, and all of its texts."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.pictures: list[dict[str, str | None]] = []
        self.cards: list[dict[str, str | None]] = []
        self.texts: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("img", "figure"):
            (self.pictures if tag == "img" else self.cards).append(dict(attrs))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def label_of(output: Path, case: str) -> np.ndarray:
    return np.asarray(nib.load(output / "labels" / f"{case}.nii.gz").dataobj)


def test_each_image_of_a_table_gets_label_numbers_and_picture(tmp_path: Path) -> None:
    table, output = make_table(tmp_path, 3), tmp_path / "out"
    result = batch(table, output)
    assert result.exit_code == 0, result.output
    assert "3 cases done, 0 failed" in result.stdout
    expected = np.zeros(SHAPE, np.uint8)
    expected[BLOCK] = 1
    for number in range(3):
        np.testing.assert_array_equal(label_of(output, f"image{number}"), expected)
    rows = rows_of(output / "statistics.csv")
    assert [row["case"] for row in rows] == ["image0", "image1", "image2"]
    assert list(rows[0]) == ["case", "label", "name", *LabelStatistics.columns()]
    assert rows[0]["name"] == "Liver"
    assert int(rows[0]["voxels"]) == expected.sum()
    assert rows_of(output / "errors.csv") == []
    shown = Page(output / "gallery.html")
    assert [picture["src"] for picture in shown.pictures] == [
        f"gallery/image{number}.jpg" for number in range(3)
    ]
    assert all("image" in str(p["alt"]) and "slices" in str(p["alt"]) for p in shown.pictures)
    assert all(float(str(card["data-volume"])) > 0 for card in shown.cards)
    picture = cv2.imread(str(output / "gallery" / "image0.jpg"))
    orange = (picture[..., 2] > 160) & (picture[..., 0] < 90)
    assert orange.any(), "there is no outline in the label's colour"


def test_where_masks_were_asked_about_again_the_least_sure_come_first(tmp_path: Path) -> None:
    table, output = make_table(tmp_path, 2), tmp_path / "out"
    assert batch(table, output, "--order").exit_code == 0
    assert "confidence " in (output / "gallery.html").read_text()
    cards = [Card(name, "p", "l", "a", [], 1.0, []) for name in "abc"]
    assert "least sure" not in page(cards, [])
    known = [replace(card, confidence=c) for card, c in zip(cards, (0.9, None, 0.4), strict=True)]
    (tmp_path / "page.html").write_text(page(known, []))
    found = Page(tmp_path / "page.html")
    assert [card["data-order"] for card in found.cards] == ["2", "0", "1"]
    assert found.texts[found.texts.index("least sure first") + 2] == "order of the table"


def test_what_one_line_lacks_does_not_stop_the_others(tmp_path: Path) -> None:
    make_image(tmp_path / "good.nii.gz")
    (tmp_path / "cut.nii.gz").write_bytes((tmp_path / "good.nii.gz").read_bytes()[:200])
    rows = [
        {"image": "missing.nii.gz", "boxes": BOX},
        {"image": "good.nii.gz", "case": "good", "boxes": BOX},
        {"image": "cut.nii.gz", "boxes": BOX},
        {"image": "good.nii.gz", "case": "no box"},
        {"image": "good.nii.gz", "case": "outside", "boxes": "2,5,3,8,12,99"},
        {"image": "good.nii.gz", "case": "pet", "boxes": BOX, "modality": "pet"},
        {"image": "good.nii.gz", "case": "net", "boxes": BOX, "model": "unheard-of"},
        {"image": "good.nii.gz", "case": "many", "boxes": BOX, "labels": "1;2"},
        {"image": "good.nii.gz", "case": "window", "boxes": BOX, "window": "wide"},
        {"image": "", "case": "nothing", "boxes": BOX},
    ]
    table, output = write_table(tmp_path / "table.csv", rows), tmp_path / "out"
    with table.open("a") as file:
        file.write(f"good.nii.gz,{BOX},1=Liver\n")
    result = batch(table, output)
    assert result.exit_code == 1
    assert "1 case done, 10 failed" in result.stdout
    errors = rows_of(output / "errors.csv")
    assert [int(error["line"]) for error in errors] == [2, *range(4, 13)]
    by_case = {error["case"]: error["error"] for error in errors}
    for case, words in {
        "missing": "No such file",
        "cut": "cut.nii.gz",
        "no_box": "needs one of boxes",
        "outside": "outside the image",
        "pet": "modality is ct",
        "net": "unheard-of is no model",
        "many": "2 labels for 1 boxes",
        "window": "no window",
        "nothing": "names no image",
        "5": "Put quotes",  # what of the box came under case
    }.items():
        assert words in by_case[case], by_case[case]
        assert words in result.stderr
    names = ["good.nii.gz", "good.provenance.json"]
    assert sorted(path.name for path in (output / "labels").iterdir()) == names


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image,box\na.nii,1", "unknown or double columns: 'box'"),
        ("file,boxes\na.nii,1", "unknown or double"),
        ("boxes\n1", "It needs image"),
        ("image,boxes\n", "no cases"),
        ("", "It needs image"),
        ("image,boxes\na/image.nii.gz,1\nb/image.nii.gz,1\n", "image (lines 2, 3)"),
        ("image,case,boxes\na.nii,One,1\nb.nii,../one,1\n", "one (lines 2, 3)"),
    ],
)
def test_a_table_that_is_none_is_refused_at_once(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "table.csv").write_text(text)
    result = batch(tmp_path / "table.csv", tmp_path / "out")
    assert result.exit_code == 1
    assert words in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["../../evil", "/etc/evil", "..\\evil", "C:evil", "a/../../evil"])
def test_no_case_is_written_outside_the_folder(tmp_path: Path, name: str) -> None:
    make_image(tmp_path / "image.nii.gz")
    rows = [{"image": "image.nii.gz", "case": name, "boxes": BOX}]
    output = tmp_path / "deep" / "down" / "out"
    before = sorted(tmp_path.rglob("*"))
    assert batch(write_table(tmp_path / "t.csv", rows), output).exit_code == 0
    (label,) = (output / "labels").glob("*.nii.gz")
    assert label.name.endswith("evil.nii.gz")
    others = [path for path in tmp_path.rglob("*") if output not in (path, *path.parents)]
    assert set(others) - set(before) <= {tmp_path / "t.csv", output.parent, output.parent.parent}


def test_names_suit_every_file_system() -> None:
    assert safe_name("CON") == "_CON"
    assert safe_name("nul.txt") == "_nul.txt"
    assert safe_name("..") == safe_name("") == ""
    assert len(safe_name("x" * 500)) == 100
    assert safe_name("肝" * 80) == "肝" * 33, "names are measured in bytes"


def test_boxes_come_from_files_too(tmp_path: Path) -> None:
    image = make_image(tmp_path / "image.nii.gz")
    label = np.zeros(SHAPE, np.uint8)
    label[2, 5, 3], label[8, 12, 7] = 2, 2  # opposite corners
    label[3:7, 6:9, 5] = 5
    nib.save(nib.Nifti1Image(label, nib.load(image).affine), tmp_path / "label.nii.gz")
    nan = np.where(label, label, np.float32(np.nan))
    nib.save(nib.Nifti1Image(nan, nib.load(image).affine), tmp_path / "nan.nii.gz")
    shifted = nib.load(image).affine.copy()
    shifted[0, 3] += 1
    nib.save(nib.Nifti1Image(label, shifted), tmp_path / "shifted.nii.gz")
    # As 3D Slicer cuts a label to what it encloses, and as a larger field of view has it.
    for name, part in (("cut", np.s_[2:9, 5:13, 3:8]), ("padded", np.s_[0:14, 0:16, 0:12])):
        moved = nib.load(image).affine.copy()
        moved[:3, 3] += moved[:3, :3] @ [place.start for place in part]
        kept = np.pad(label[part], ((0, 0), (0, 3), (0, 0))) if name == "padded" else label[part]
        nib.save(nib.Nifti1Image(kept, moved), tmp_path / f"{name}.nii.gz")
    empty = nib.Nifti1Image(np.zeros((1, 1, 1), np.uint8), np.eye(4))
    nib.save(empty, tmp_path / "empty.nii.gz")
    far = nib.Nifti1Image(label[2:9], nib.affines.from_matvec(np.eye(3), [40, 0, 0]))
    nib.save(far, tmp_path / "far.nii.gz")
    corners = [int(index) for index in BOX.split(",")]
    entries = [
        {"box": corners, "label": 2, "name": "Liver"},
        {"box": [3, 6, 5, 6, 8, 5], "label": 5},
    ]
    (tmp_path / "boxes.json").write_text(json.dumps({"boxes": entries}))
    (tmp_path / "bad.json").write_text('{"boxes": [{"bax": [1, 2, 3]}]}')
    same = {"image": "image.nii.gz"}
    rows = [
        {**same, "case": "typed", "boxes": f"{BOX}; 3,6,5,6,8,5", "labels": "2=Liver;5"},
        {**same, "case": "json", "box_file": "boxes.json"},
        {**same, "case": "label", "box_file": "label.nii.gz", "labels": "2=Liver; 5"},
        {**same, "case": "nan", "box_file": "nan.nii.gz", "labels": "2=Liver; 5"},
        {**same, "case": "cut", "box_file": "cut.nii.gz", "labels": "2=Liver; 5"},
        {**same, "case": "padded", "box_file": "padded.nii.gz", "labels": "2=Liver; 5"},
        {**same, "case": "empty", "box_file": "empty.nii.gz"},
        {**same, "case": "far", "box_file": "far.nii.gz"},
        {**same, "case": "one", "box_file": "label.nii.gz", "labels": "5=Tumour"},
        {**same, "case": "shifted", "box_file": "shifted.nii.gz"},
        {**same, "case": "bad", "box_file": "bad.json"},
        {**same, "case": "unknown", "box_file": "label.nii.gz", "labels": "7"},
        {**same, "case": "named", "boxes": f"{BOX};3,6,5,6,8,5;{BOX}", "labels": "A;B;A"},
    ]
    output = tmp_path / "out"
    result = batch(write_table(tmp_path / "table.csv", rows), output)
    typed = label_of(output, "typed")
    assert set(np.unique(typed)) == {0, 2, 5}
    for case in ("json", "label", "nan", "cut", "padded"):
        np.testing.assert_array_equal(label_of(output, case), typed)
        assert result_of(output, case)["report"]["labels"]["2"]["name"] == "Liver"
    assert set(np.unique(label_of(output, "one"))) == {0, 5}
    names = {number: said["name"] for number, said in _labels(output, "named").items()}
    assert names == {"1": "A"}, "the third box is that of the first label again, and takes all"
    errors = {error["case"]: error["error"] for error in rows_of(output / "errors.csv")}
    assert set(errors) == {"shifted", "bad", "unknown", "empty", "far"}
    assert "is an empty label" in errors["empty"]
    assert "no labelled voxel lies within" in errors["far"]
    assert "grid" in errors["shifted"]
    assert "a box file is" in errors["bad"]
    assert "no label 7" in errors["unknown"]
    assert result.exit_code == 1


def _labels(output: Path, case: str) -> dict:
    return result_of(output, case)["report"]["labels"]


def test_finished_cases_are_skipped_until_something_changes(
    tmp_path: Path, fake: ScriptedEngine
) -> None:
    table, output = make_table(tmp_path, 4), tmp_path / "out"
    assert batch(table, output).exit_code == 0
    first = content(output)

    def asked(*more: str) -> list[str]:
        """Run again, and tell whose results are new."""
        before = {path.name: path.read_bytes() for path in (output / "results").iterdir()}
        fake.images.clear()
        assert batch(table, output, *more).exit_code == 0
        new = sorted(
            path.stem
            for path in (output / "results").iterdir()
            if path.read_bytes() != before.get(path.name)
        )
        assert bool(new) == bool(fake.images)
        return new

    assert asked() == []
    assert content(output) == first
    (output / "labels" / "image0.nii.gz").write_bytes(b"cut")
    (output / "gallery" / "image1.jpg").unlink()
    (output / "results" / "image2.json").write_text("{}")
    assert asked() == ["image0", "image1", "image2"]
    assert content(output) == first
    make_image(tmp_path / "image3.nii.gz", 99)
    assert asked() == ["image3"]
    rows = rows_of(table)
    rows[1]["labels"] = "2=Spleen"
    write_table(table, rows)
    assert asked() == ["image1"]
    assert len(asked("--no-zoom")) == 4
    assert len(asked("--no-zoom", "--model", "litemedsam-float")) == 4
    write_table(table, rows[:2])
    assert len(asked()) == 2  # with zoom again
    assert [row["case"] for row in rows_of(output / "statistics.csv")] == ["image0", "image1"]


def test_a_case_whose_worker_died_before_it_told_is_not_of_an_earlier_run(tmp_path: Path) -> None:
    cases, _ = read_table(make_table(tmp_path, 1), TableDefaults(modality="CT", window="100,200"))
    output, program = tmp_path / "out", cohort.describe_program()
    with opened(output) as token:
        task = cohort.Task(cases[0], output, token, program, "CPU", 1)
        lost = cohort.CaseRunner().run(task)
        again = cohort.CaseRunner().run(task)
    assert again.result == lost.result
    assert not again.skipped
    with opened(output) as token:
        later = cohort.CaseRunner().run(cohort.Task(cases[0], output, token, program, "CPU", 1))
    assert later.result == lost.result
    assert later.skipped


def detached(folder: Path, name: str, spacing: float, values: int) -> None:
    """Write an image whose header and voxels lie in two files."""
    voxels = np.zeros(SHAPE, "<i2")
    voxels[BLOCK] = values
    data = folder / "voxels.raw"
    sizes = " ".join(map(str, SHAPE))
    if name.endswith((".img", ".hdr")):
        nib.save(nib.Nifti1Pair(voxels, np.diag([1, 1, spacing, 1])), folder / name)
        return
    data.write_bytes(voxels.tobytes(order="F"))
    if name.endswith((".mha", ".mhd")):
        text = (
            f"NDims = 3\nDimSize = {sizes}\nElementSpacing = 1 1 {spacing}\n"
            f"ElementType = MET_SHORT\nElementDataFile = {data.name}\n"
        )
    else:
        text = (
            "NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\n"
            f"sizes: {sizes}\nspace directions: (1,0,0) (0,1,0) (0,0,{spacing})\n"
            f"space origin: (0,0,0)\nendian: little\nencoding: raw\ndata file: {data.name}\n"
        )
    (folder / name).write_text(text)


@pytest.mark.parametrize("name", ["a.nrrd", "a.nhdr", "a.mha", "a.mhd", "a.img", "a.hdr"])
def test_a_case_whose_header_or_voxels_lie_in_another_file_is_not_stale(
    tmp_path: Path, fake: ScriptedEngine, name: str
) -> None:
    output = tmp_path / "out"
    table = write_table(tmp_path / "table.csv", [{"image": name, "boxes": BOX}])
    for spacing, values in ((2, 200), (5, 200), (5, 150)):
        detached(tmp_path, name, spacing, values)
        for again in (False, True):
            fake.images.clear()
            result = batch(table, output)
            assert result.exit_code == 0, result.output
            assert bool(fake.images) != again
    (row,) = rows_of(output / "statistics.csv")
    assert float(row["mean"]) == 150


def test_files_that_a_header_lists_are_looked_at(tmp_path: Path, fake: ScriptedEngine) -> None:
    table = write_table(tmp_path / "table.csv", [{"image": "a.mhd", "boxes": BOX}])
    detached(tmp_path, "a.mhd", 1, 200)
    voxels = np.frombuffer((tmp_path / "voxels.raw").read_bytes(), "<i2").reshape(SHAPE[::-1])
    names = [f"{k}.raw" for k in range(SHAPE[2])]
    for name, plane in zip(names, voxels, strict=True):
        (tmp_path / name).write_bytes(plane.tobytes())
    header = (tmp_path / "a.mhd").read_text().replace("voxels.raw", "LIST\n" + "\n".join(names))
    (tmp_path / "a.mhd").write_text(header)
    for change, new in (("", True), ("", False), ("other.raw", False), ("4.raw", True)):
        if change:
            (tmp_path / change).write_bytes(np.full(SHAPE[:2], 170, "<i2").tobytes())
        fake.images.clear()
        result = batch(table, tmp_path / "out")
        assert result.exit_code == 0, result.output
        assert bool(fake.images) == new


def test_parts_that_a_kill_left_are_removed_and_others_files_kept(tmp_path: Path) -> None:
    table, output = make_table(tmp_path, 1), tmp_path / "out"
    assert batch(table, output).exit_code == 0
    (output / "labels" / ".image0.nii.gz.0123.part").write_bytes(b"half")
    (output / "notes.txt").write_text("mine")
    assert batch(table, output).exit_code == 0
    assert (output / "notes.txt").read_text() == "mine"
    assert not list(output.rglob("*.part"))


def test_folders_of_others_and_of_running_batches_are_left_alone(tmp_path: Path) -> None:
    table, output = make_table(tmp_path, 1), tmp_path / "out"
    result = batch(table, tmp_path)
    assert result.exit_code == 1
    assert "not of an earlier batch" in result.stderr
    assert batch(table, output).exit_code == 0
    with FileLock(output / ".lock"):
        result = batch(table, output)
    assert result.exit_code == 1
    assert "Another batch" in result.stderr


def test_texts_of_the_table_are_shown_as_texts(tmp_path: Path) -> None:
    make_image(tmp_path / "image.nii.gz")
    evil = '<script>alert("x")</script>'
    rows = [
        {"image": "image.nii.gz", "case": "b", "boxes": BOX, "labels": f"1={evil}"},
        {"image": f"{evil}.nii.gz", "case": "a", "boxes": BOX},
        {"image": "image.nii.gz", "case": "a <b>", "boxes": BOX},
    ]
    output = tmp_path / "out"
    assert batch(write_table(tmp_path / "table.csv", rows), output).exit_code == 1
    text = (output / "gallery.html").read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert text.count("<script>") == 1
    shown = Page(output / "gallery.html")
    assert [str(picture["alt"]).split(":")[0] for picture in shown.pictures] == ["b", "a_b"]
    assert any(evil in part for part in shown.texts)


def test_2d_images_and_tables_with_tabs(tmp_path: Path) -> None:
    picture = np.zeros((40, 60), np.uint8)
    picture[10:20, 15:30] = 220
    assert cv2.imwrite(str(tmp_path / "picture.png"), picture)
    (tmp_path / "t.tsv").write_text(
        "image\tboxes\tmodality\twindow\npicture.png\t13,8,0,32,22,0\tother\t127.5,255\n"
    )
    output = tmp_path / "out"
    result = batch(tmp_path / "t.tsv", output)
    assert result.exit_code == 0, result.output
    assert result_of(output, "picture")["alt"] == "Outlines of the labels on the axial slice 0"
    assert label_of(output, "picture").any()


def test_journals_are_replayed(tmp_path: Path, fake: ScriptedEngine) -> None:
    journals, labels = tmp_path / "journals", {}
    journals.mkdir()
    for number in range(2):
        volume = read_volume(make_image(tmp_path / f"image{number}.nii.gz", number))
        session = AnnotationSession(volume.with_modality("CT"), fake, IDENTITY)
        path = journal_path(journals, volume_hash(volume))
        journal = Journal(path, session.volume, volume_hash(volume), None, lambda error: None)
        recorder = Recorder(session, journal, None)
        box = BoxPrompt(0, 4 + number, 4, 4, 11, 12)
        session.commit(box, list(session.segment(box)), 1 + number)
        recorder.close()
        labels[f"image{number}"] = volume.to_source(session.label)
    make_image(tmp_path / "image2.nii.gz", 2)
    fake.images.clear()
    rows = [{"image": f"image{number}.nii.gz"} for number in range(3)]
    table, output = write_table(tmp_path / "table.csv", rows), tmp_path / "out"
    result = batch(table, output, "--from-journals", str(journals))
    assert result.exit_code == 1
    (error,) = rows_of(output / "errors.csv")
    assert error["case"] == "image2"
    assert "no journal of" in error["error"]
    for case, label in labels.items():
        np.testing.assert_array_equal(label_of(output, case), label)
    # Without a table, from where the images were then.
    other = tmp_path / "other"
    result = batch(None, other, "--from-journals", str(journals))
    assert result.exit_code == 0, result.output
    saved = [
        label_of(other, path.name[:-7]).tolist() for path in (other / "labels").glob("*.nii.gz")
    ]
    assert sorted(saved) == sorted(label.tolist() for label in labels.values())
    # Or from a column.
    (first, *_) = sorted(journals.glob("*.journal"))
    rows = [
        {"image": f"image{number}.nii.gz", "journal": f"journals/{first.name}"} for number in (0, 1)
    ]
    third = tmp_path / "third"
    result = batch(write_table(tmp_path / "t.csv", rows), third)
    (error,) = rows_of(third / "errors.csv")
    assert "not of this image" in error["error"]
    assert not fake.images


def test_a_line_says_which_volume_it_means_and_how_it_is_read(
    tmp_path: Path, fake: ScriptedEngine
) -> None:
    still = np.asarray(nib.load(make_image(tmp_path / "a.nii.gz")).dataobj)
    write_nifti(tmp_path / "times.nii.gz", np.stack([still[::-1], still], -1))
    uneven = write_series(tmp_path / "uneven", still, np.diag([1.0, 1, 3, 1]))
    (uneven / "998.dcm").unlink()
    rows = [
        {"image": "times.nii.gz", "case": "any"},
        {"image": "times.nii.gz", "case": "second", "volume": "2"},
        {"image": "times.nii.gz", "case": "third", "volume": "3"},
        {"image": "times.nii.gz", "case": "zero", "volume": "0"},
        {"image": "uneven", "case": "as it is", "resample": "no"},
        {"image": "uneven", "case": "even", "resample": "Yes"},
        {"image": "uneven", "case": "perhaps", "resample": "perhaps"},
    ]
    table, output = tmp_path / "table.csv", tmp_path / "out"
    write_table(table, [{**row, "boxes": BOX} for row in rows])
    assert batch(table, output).exit_code == 1
    errors = {row["case"]: row["error"] for row in rows_of(output / "errors.csv")}
    expected = {
        "any": "in the column volume",
        "third": "no number 3",
        "zero": "a number from 1 or empty, not '0'",
        "as_it_is": "in the column resample",
        "perhaps": "yes, no or empty, not 'perhaps'",
    }
    assert errors.keys() == expected.keys()
    assert all(words in errors[case] for case, words in expected.items())
    for case in ("second", "even"):
        np.testing.assert_array_equal(label_of(output, case) > 0, still == 200)
    # Another volume is another case.
    rows[1]["volume"] = "1"
    fake.images.clear()
    write_table(table, [{**row, "boxes": BOX} for row in rows[1:2]])
    assert batch(table, output).exit_code == 0
    assert fake.images
    # And of a volume, as of a series, there is a journal of its own.
    volume = read_volume(tmp_path / "times.nii.gz", volume=2)
    path = journal_path(tmp_path, volume_hash(volume))
    session = AnnotationSession(volume.with_modality("CT"), fake, IDENTITY)
    journal = Journal(path, session.volume, volume_hash(volume), None, lambda error: None)
    recorder = Recorder(session, journal, None)
    box = BoxPrompt(0, 4, 4, 4, 11, 12)
    session.commit(box, list(session.segment(box)), 1)
    recorder.close()
    write_table(table, [{"image": "times.nii.gz", "volume": "2"}])
    result = batch(table, output, "--from-journals", str(tmp_path))
    assert result.exit_code == 0, result.output
    np.testing.assert_array_equal(label_of(output, "times"), volume.to_source(session.label))
    # The journal says itself of which it is.
    other = tmp_path / "other"
    result = batch(None, other, "--from-journals", str(tmp_path))
    assert result.exit_code == 0, result.output
    (label,) = (other / "labels").glob("*.nii.gz")
    np.testing.assert_array_equal(label_of(other, label.name[:-7]), volume.to_source(session.label))


def test_a_table_says_what_it_has_by_line(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text(
        "\ufeffImage,Case,Boxes,Axis,Model,Series\n"
        f'a.nii,first,"{BOX}",coronal,,1.2\n'
        ",,,,,\n"
        f'sub/b.nii,,"{BOX};{BOX}",,medsamq-int8,\n',
        encoding="utf-8",
    )
    cases, failures = read_table(table, TableDefaults(axis=2, window="lung"))
    assert failures == []
    first, second = cases
    assert (first.name, first.axis, first.series, first.line) == ("first", 1, "1.2", 2)
    assert (second.name, second.axis, second.model, second.line) == ("b", 2, "medsamq-int8", 4)
    assert second.image == tmp_path / "sub" / "b.nii"
    assert second.window == "lung"
    table.write_bytes(b"image,boxes\n\xff\xfe,1\n")
    with pytest.raises(CohortError, match="no table in UTF-8"):
        read_table(table, TableDefaults())


@pytest.mark.parametrize(
    ("head", "line"),
    [
        ("image,boxes,labels", 'a.nii , "0,0,0,9,9,0" , 1=Liver '),
        ("image,boxes,labels,,", 'a.nii,"0,0,0,9,9,0",1=Liver,,'),
        ("image,boxes,,labels", 'a.nii,"0,0,0,9,9,0",,1=Liver'),
        (" Image , BOXES ,labels", 'a.nii,"0,0,0,9,9,0",1=Liver'),
        ("image;boxes;labels", "a.nii;0,0,0,9,9,0;1=Liver"),
        ("image;boxes;labels;;", 'a.nii; "0,0,0,9,9,0" ;1=Liver;;'),
        ("image\tboxes\tlabels", "a.nii\t0,0,0,9,9,0\t1=Liver"),
        ("image\tboxes\tlabels\t", 'a.nii\t"0,0,0,9,9,0"\t1=Liver\t'),
        ("sep=;\r\nimage;boxes;labels", "a.nii;0,0,0,9,9,0;1=Liver"),
        ("\n \n,,\nimage,boxes,labels\n\n", 'a.nii,"0,0,0,9,9,0",1=Liver\n\n,,\n'),
        ('"image","boxes","labels"', '"a.nii","0,0,0,9,9,0","1=Liver"'),
        ('image,boxes,"labels\n"', 'a.nii,"0,0,0,\n9,9,0","1=Liver\n"'),
    ],
)
@pytest.mark.parametrize(("mark", "end"), [("", "\n"), ("\ufeff", "\r\n")])
def test_tables_are_read_as_spreadsheets_write_them(
    head: str, line: str, mark: str, end: str, tmp_path: Path
) -> None:
    table = tmp_path / "table.csv"
    text = "\n".join([head, line, ""]).replace("\r\n", "\n").replace("\n", end)
    table.write_text(mark + text, encoding="utf-8", newline="")
    (case,), failures = read_table(table, TableDefaults())
    assert failures == []
    assert case.image == tmp_path / "a.nii"
    assert "".join(case.boxes).replace("\n", "").replace("\r", "") == "0,0,0,9,9,0"
    assert case.labels == ((1, "Liver"),)


def test_lines_of_a_table_are_counted_from_where_they_begin(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text('image,boxes\n\na.nii,"1,2,\n3"\nb.nii,1,2\nc.nii,"1 ""and"" , 2" \n')
    cases, (failed,) = read_table(table, TableDefaults())
    assert [(case.name, case.line) for case in cases] == [("a", 3), ("c", 6)]
    assert cases[1].boxes == ('1 "and" , 2',)
    assert (failed.name, failed.line) == ("b", 5)
    assert "a value in no column of the table ('2')" in failed.error
    assert "Put quotes around boxes" in failed.error


@pytest.mark.parametrize("text", ['image,boxes\na.nii,"1,2\nb.nii,1\n', 'image\na"b\n"c"d\n'])
def test_a_quote_without_its_end_takes_no_lines(text: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(CohortError, match="no table in UTF-8 with commas"):
        read_table(tmp_path / "t.csv", TableDefaults())


def test_labels_that_span_no_box_are_told_or_widened(tmp_path: Path) -> None:
    image = make_image(tmp_path / "image.nii.gz")
    affine = nib.load(image).affine
    wholes = {
        "empty": np.s_[:0, 0, 0],
        "row": np.s_[4:7, 6, 4],
        "column": np.s_[5, 6, 3:6],
        "voxel": np.s_[8, 12, 7],
    }
    rows = []
    for name, place in wholes.items():
        label = np.zeros(SHAPE, np.uint8)
        label[place] = 3
        nib.save(nib.Nifti1Image(label, affine), tmp_path / f"{name}_label.nii.gz")
        rows.append({"image": "image.nii.gz", "case": name, "box_file": f"{name}_label.nii.gz"})
    (tmp_path / "flat.json").write_text('{"boxes": [{"box": [1, 2, 3, 1, 2, 9], "label": 7}]}')
    rows.append({"image": "image.nii.gz", "case": "flat", "box_file": "flat.json"})
    output = tmp_path / "out"
    batch(write_table(tmp_path / "table.csv", rows), output)
    errors = {error["case"]: error["error"] for error in rows_of(output / "errors.csv")}
    assert set(errors) == {"empty", "flat"}, errors
    assert "empty_label.nii.gz: is an empty label" in errors["empty"]
    assert "flat.json: label 7: The two corners of the box" in errors["flat"]
    for name in ("row", "column", "voxel"):
        assert label_of(output, name)[wholes[name]].all()
    assert {path.name.split(".")[0] for path in (output / "labels").iterdir()} == {
        "row",
        "column",
        "voxel",
    }


def test_a_label_row_on_an_image_of_one_slice_gets_a_box(tmp_path: Path) -> None:
    values = np.full((12, 1, 14), 5, np.int16)
    values[3:9, 0, 4:9] = 200
    label = np.zeros(values.shape, np.uint8)
    label[4:7, 0, 6] = 1
    for name, data in (("image", values), ("label", label)):
        nib.save(nib.Nifti1Image(data, np.diag([1.0, 5, 1, 1])), tmp_path / f"{name}.nii")
    rows = [{"image": "image.nii", "box_file": "label.nii"}]
    result = batch(write_table(tmp_path / "t.csv", rows), tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert label_of(tmp_path / "out", "image")[4:7, 0, 6].all()


@pytest.mark.parametrize("change", ["line", "image", "box"])
def test_a_case_that_fails_leaves_nothing_of_an_earlier_line(
    change: str, tmp_path: Path, fake: ScriptedEngine
) -> None:
    """What it had is put aside, and taken up again when the line is as it was."""
    table, output = make_table(tmp_path, 2), tmp_path / "out"
    assert batch(table, output).exit_code == 0
    before, files = content(output), names_of(output)
    text, image = table.read_text(), (tmp_path / "image1.nii.gz").read_bytes()
    if change == "image":
        (tmp_path / "image1.nii.gz").unlink()
    else:
        new = {"line": "9,9", "box": "2,5,3,8,12,6"}[change]
        table.write_text(text.replace(f'image1.nii.gz,"{BOX}"', f'image1.nii.gz,"{new}"'))
    fake.blind = change == "box"
    result = batch(table, output)
    assert "1 case done (1 of them in earlier runs), 1 failed" in result.stdout
    if fake.blind:
        assert "Label 1 (Liver): The network found nothing" in result.stderr
    assert [row["case"] for row in rows_of(output / "statistics.csv")] == ["image0"]
    own = {"image1.nii.gz", "image1.provenance.json", "image1.jpg", "image1.json"}
    assert names_of(output) == files - own
    assert names_of(output / "earlier") == own
    table.write_text(text)
    (tmp_path / "image1.nii.gz").write_bytes(image)
    fake.blind = False
    fake.images.clear()
    assert "2 cases done (2 of them in earlier runs), 0 failed" in batch(table, output).stdout
    assert not fake.images
    assert content(output) == before
    assert names_of(output / "earlier") == set()


def test_a_case_that_fails_half_way_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise SaveError("no picture")

    table, output = make_table(tmp_path, 1), tmp_path / "out"
    monkeypatch.setattr(cohort, "thumbnail", fail)
    assert "no picture" in batch(table, output).stderr
    assert names_of(output) == set()
    assert not list(output.glob("earlier/*/*"))


def test_a_case_that_is_made_anew_leaves_nothing_aside(tmp_path: Path) -> None:
    table, output = make_table(tmp_path, 1), tmp_path / "out"
    assert batch(table, output).exit_code == 0
    table.write_text(table.read_text().replace("Liver", "Spleen"))
    assert batch(table, output).exit_code == 0
    assert rows_of(output / "statistics.csv")[0]["name"] == "Spleen"
    assert names_of(output / "earlier") == set()
