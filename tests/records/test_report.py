"""A page about a label: true, whole in itself, safe to open, and to be read without colours."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import nibabel as nib
import numpy as np
import pytest
from dicom_series import write_series
from scripted_engine import ScriptedEngine
from sources import write_nifti
from typer.testing import CliRunner, Result

from napari_medsamq.analysis.slice_pictures import (
    HATCHINGS,
    marks,
    representative_slices,
    slice_picture,
    surroundings,
)
from napari_medsamq.annotation.history import LabelStyle
from napari_medsamq.annotation.session import AnnotationSession
from napari_medsamq.cli.main import app
from napari_medsamq.errors import ProvenanceError, VolumeError
from napari_medsamq.inference.preprocess import IDENTITY
from napari_medsamq.io.volume import read_volume
from napari_medsamq.prompts import BoxPrompt
from napari_medsamq.records.provenance import LabelSnapshot, save_with_provenance
from napari_medsamq.records.report import make_report

pytestmark = pytest.mark.usefixtures("same_process")

NASTY = '<script>alert(1)</script>" onload="x\' & <b>'


class Page(HTMLParser):
    """The tags, the attributes and the text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str, name: str) -> list[str]:
        return [value for at, called, value in self.attributes if (at, called) == (tag, name)]


@pytest.fixture
def label(tmp_path: Path) -> Path:
    voxels = np.full((14, 16, 6), 10, np.int16)
    voxels[3:11, 5:13, 1:5] = 200
    nib.save(nib.Nifti1Image(voxels, np.diag([-1.0, -1, 1, 1])), tmp_path / "image.nii.gz")
    volume = read_volume(tmp_path / "image.nii.gz").with_modality("CT")
    session = AnnotationSession(volume, ScriptedEngine(), IDENTITY)
    for label_id, index, name in ((1, 3, "Liver"), (2, 2, NASTY)):
        box = BoxPrompt(0, index, 3, 5, 10, 12)
        session.set_style(label_id, replace(session.style(label_id), name=name))
        session.commit(box, list(session.segment(box)), label_id)
    assert save_with_provenance(tmp_path / "label.nii.gz", LabelSnapshot.of(session)).problem == ""
    return tmp_path / "label.nii.gz"


def report(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


def rewrite(file: Path, changes: dict[str, Any]) -> None:
    path = file.with_name("label.provenance.json")
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes))


def test_the_page_says_what_lies_beside_the_label(label: Path) -> None:
    result = report(label, "--image", label.with_name("image.nii.gz"))
    assert result.exit_code == 0, result.output
    html = label.with_name("label.report.html").read_text(encoding="utf-8")
    page = Page(html)
    for words in ("Label label.nii.gz", "Liver", "64", "0.06", "200.0 ± 0.0", "100.0%", "fake"):
        assert words in page.text
    assert "3,5,3,10,12,3, axial, label 1" in page.text
    assert "is the one that was saved" in page.text
    assert "Not a medical device" in page.text
    assert "box for Liver, by model" in page.text


def test_each_format_of_a_label_has_its_own_page(label: Path) -> None:
    volume = read_volume(label.with_name("image.nii.gz"))
    other = label.with_name("label.seg.nrrd")
    drawn = volume.from_source(np.asarray(nib.load(label).dataobj)).astype(np.uint16)
    save_with_provenance(
        other, LabelSnapshot(volume, drawn, (), (), {1: LabelStyle("Spleen", "#123456")})
    )
    for path in (label, other):
        result = report(path)
        assert result.exit_code == 0, result.output
        assert "was changed" not in result.output
    for name, words in (("label", "Liver"), ("label.seg.nrrd", "Spleen")):
        page = Page(label.with_name(f"{name}.report.html").read_text(encoding="utf-8"))
        assert words in page.text


def test_sides_that_the_image_left_open_are_not_claimed(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "image.png"), np.arange(1200, dtype=np.uint8).reshape(30, 40))
    volume = read_volume(tmp_path / "image.png")
    drawn = np.zeros(volume.data.shape[:3], np.uint16)
    drawn[0, 5:10, 5:15] = 1
    save_with_provenance(tmp_path / "label.nii.gz", LabelSnapshot(volume, drawn, (), (), {}))
    assert not read_volume(tmp_path / "label.nii.gz").orientation_known
    for image in (None, volume):
        page = Page(make_report(tmp_path / "label.nii.gz", image).html)
        assert "left and right are unknown" in page.text
        assert "the patient's right" not in page.text


def test_the_page_is_whole_in_itself_and_runs_nothing(label: Path) -> None:
    html = make_report(label, read_volume(label.with_name("image.nii.gz"))).html
    page = Page(html)
    assert not {"script", "link", "iframe", "object", "form", "b/"} & set(page.tags)
    assert NASTY in page.text, "as text"
    assert not any(name.startswith("on") for _, name, _ in page.attributes)
    sources = page.all("img", "src")
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert {name for _, name, _ in page.attributes} <= {
        *("lang", "charset", "name", "content", "http-equiv", "class", "src", "alt", "scope")
    }
    assert "http" not in re.sub("http-equiv", "", html).lower()
    assert "default-src 'none'" in html
    for source in sources:
        content = np.frombuffer(base64.b64decode(source.split(",")[1]), np.uint8)
        assert cv2.imdecode(content, cv2.IMREAD_COLOR) is not None


def test_every_picture_is_told_in_words(label: Path) -> None:
    page = Page(make_report(label).html)
    texts = page.all("img", "alt")
    assert len(texts) == len(page.all("img", "src"))
    assert "drawn with rising hatching" in texts
    pictures = [text for text in texts if "slice" in text]
    assert "Axial slice, voxel k = 2; the patient's right is on the left. Labels: B" in pictures[0]
    assert pictures[1].endswith("k = 3; the patient's right is on the left. Labels: A Liver")


def test_a_label_that_was_changed_is_told(label: Path) -> None:
    image = nib.load(label)
    voxels = np.asarray(image.dataobj).copy()
    voxels[0, 0, 0] = 7
    nib.save(nib.Nifti1Image(voxels, image.affine, image.header), label)
    result = report(label)
    assert result.exit_code == 0
    assert "was changed since it was saved" in result.stderr
    page = Page(label.with_name("label.report.html").read_text(encoding="utf-8"))
    assert "was changed since it was saved" in page.text
    assert any("C Label 7" in text for text in page.all("img", "alt"))


def test_another_image_is_refused(label: Path) -> None:
    other = label.with_name("image.nii.gz")
    image = nib.load(other)
    voxels = np.asarray(image.dataobj).copy()
    voxels[0, 0, 0] += 1
    nib.save(nib.Nifti1Image(voxels, image.affine), other)
    result = report(label, "--image", other)
    assert result.exit_code == 1
    assert "is not the image that this label was drawn on" in result.stderr
    assert not label.with_name("label.report.html").exists()


def test_a_file_that_is_there_is_kept_unless_asked(label: Path) -> None:
    target = label.with_name("page.html")
    target.write_text("mine")
    result = report(label, "-o", target)
    assert result.exit_code == 1
    assert "add --overwrite" in result.stderr
    assert target.read_text(encoding="utf-8") == "mine"
    assert report(label, "-o", target, "--overwrite").exit_code == 0
    assert "Liver" in target.read_text(encoding="utf-8")
    missing = report(label, "-o", label.with_name("gone") / "page.html")
    assert missing.exit_code == 1
    assert "cannot be written" in missing.stderr


def test_what_the_report_is_about_is_never_replaced(tmp_path: Path, label: Path) -> None:
    image = label.with_name("image.nii.gz")
    voxels = np.arange(48, dtype=np.int16).reshape(4, 4, 3)
    slices = write_series(tmp_path / "scan", voxels, np.eye(4))
    page = label.with_name("page.html")
    # A file is read as what it holds, whatever its name.
    page.write_bytes((slices / "999.dcm").read_bytes())
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for target in (image, label, slices / "998.dcm"):
        result = report(label, "--image", image, "-o", target, "--overwrite")
        assert result.exit_code == 1
        assert "ends in .html" in result.stderr
    volume = read_volume(page)
    drawn = tmp_path / "drawn.nii.gz"
    save_with_provenance(
        drawn, LabelSnapshot(volume, np.ones(volume.data.shape, np.uint16), (), (), {})
    )
    result = report(drawn, "--image", page, "-o", page, "--overwrite")
    assert result.exit_code == 1
    assert "stays as it is" in result.stderr
    assert {path: path.read_bytes() for path in before} == before


def test_the_image_is_chosen_as_it_was_for_the_label(tmp_path: Path) -> None:
    voxels = np.arange(24 * 5, dtype=np.int16).reshape(4, 6, 5)
    times = write_nifti(tmp_path / "times.nii.gz", np.stack([voxels, voxels + 9], -1))
    uneven = write_series(tmp_path / "uneven", voxels, np.diag([1.0, 1, 3, 1]))
    (uneven / "997.dcm").unlink()
    for image, choice, said in (
        (times, ("--volume", "2"), "by --volume"),
        (uneven, ("--resample",), "--resample"),
    ):
        volume = read_volume(image, volume=2 if image == times else None, resample=image == uneven)
        label = tmp_path / f"{image.name}-label.nii.gz"
        save_with_provenance(
            label, LabelSnapshot(volume, (volume.data > 40).astype(np.uint16), (), (), {})
        )
        result = report(label, "--image", image)
        assert result.exit_code == 1
        assert said in result.stderr
        result = report(label, "--image", image, *choice)
        assert result.exit_code == 0, result.output
        page = label.with_name(f"{image.name}-label.report.html").read_text(encoding="utf-8")
        assert ("volume 2 of 2" in page) == (image == times)


def test_a_label_without_provenance_is_told(label: Path) -> None:
    label.with_name("label.provenance.json").unlink()
    result = report(label)
    assert result.exit_code == 1
    assert "save it again" in result.stderr


@pytest.mark.parametrize(
    "changes",
    [
        {"label": []},
        {"labels": [{"id": 1}]},
        {"labels": 3},
        {"settings": [{"window": "wide"}]},
        {"prompts": [{"box": ["<script>"], "plane": "axial", "label": 1}]},
        {"image": None},
        {"cpu": []},
    ],
)
def test_what_makes_no_sense_is_refused(label: Path, changes: dict[str, Any]) -> None:
    rewrite(label, changes)
    with pytest.raises(ProvenanceError, match="not as this program writes it"):
        make_report(label)


def test_a_colour_cannot_smuggle_in_anything(label: Path) -> None:
    path = label.with_name("label.provenance.json")
    path.write_text(path.read_text(encoding="utf-8").replace("#E69F00", "red;background:url(x)"))
    with pytest.raises(ProvenanceError, match="colour"):
        make_report(label)


def test_an_image_of_another_shape_is_refused(label: Path) -> None:
    volume = read_volume(label.with_name("image.nii.gz"))
    with pytest.raises(VolumeError, match="not the image"):
        make_report(label, replace(volume, data=volume.data[:3]))


# -- pictures -------------------------------------------------------------------------------------


def test_the_slices_show_each_label_where_it_is_largest() -> None:
    label = np.zeros((10, 8, 8), np.uint8)
    label[1:9, 2:4, 2:4] = 1
    label[6, 2:6, 2:6] = 1
    label[2, 5:8, 5:8] = 2
    assert representative_slices(label) == [2, 4, 6]
    assert representative_slices(label, 1) == [6]
    assert representative_slices(label * 0) == []
    rows, columns = surroundings(label)
    assert (rows.start, rows.stop) == (0, 8)
    assert columns.stop == 8


def test_labels_are_told_apart_without_colour() -> None:
    shown = marks(dict.fromkeys(range(1, 31), "#808080"))
    assert len({mark.letter for mark in shown.values()}) == 30
    assert [mark.hatching for mark in shown.values()][:5] == list(HATCHINGS)
    plane = np.zeros((40, 60), np.uint8)
    whole = (slice(0, 40), slice(0, 60))
    pictures = []
    for label_id in range(1, 6):
        plane[10:30, 10:50] = label_id
        grey = {label_id: replace(shown[label_id], letter="")}
        pictures.append(slice_picture(None, IDENTITY, plane, 0, (1, 1), grey, whole))
    for number, picture in enumerate(pictures):
        assert picture.shape == (320, 480, 3)
        for other in pictures[:number]:
            assert np.count_nonzero(picture != other) > 1000


def test_pixels_are_squares_whatever_the_spacing() -> None:
    plane = np.ones((30, 10), np.uint8)
    picture = slice_picture(
        None, IDENTITY, plane, 0, (0.5, 3.0), marks({1: "#E69F00"}), (slice(0, 30), slice(0, 10))
    )
    assert picture.shape == (240, 480, 3)


@pytest.mark.parametrize("ending", [".dcm", ".seg.nrrd"])
def test_a_label_of_another_format_is_reported_on_too(tmp_path: Path, ending: str) -> None:
    voxels = np.zeros((14, 16, 6), np.int16)
    voxels[3:11, 5:13, 2:5] = 200
    series = write_series(tmp_path / "series", voxels, np.diag([1.0, 1, 3, 1]))
    volume = read_volume(series)
    styles = {1: LabelStyle("Spleen", "#0072B2")}
    label = (volume.data > 100).astype(np.uint16)
    save_with_provenance(tmp_path / f"a{ending}", LabelSnapshot(volume, label, (), (), styles))
    for image in ((), ("--image", series)):
        result = report(tmp_path / f"a{ending}", *image, "--overwrite")
        assert result.exit_code == 0, result.output
        assert "changed" not in result.stderr
        page = Page((tmp_path / "a.report.html").read_text(encoding="utf-8"))
        assert any("A Spleen" in text for text in page.all("img", "alt"))
