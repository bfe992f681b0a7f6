"""What a file says never leads out of its folder, and nothing in a file is ever run."""

from __future__ import annotations

import ast
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scripted_engine import ScriptedEngine
from sources import label_at, names_in, volume_of

import napari_medsamq
from napari_medsamq.annotation.history import Prompt
from napari_medsamq.annotation.session import AnnotationSession
from napari_medsamq.errors import JournalError, ModelError, SaveError, VolumeError
from napari_medsamq.inference.engine import OpenVINOEngine
from napari_medsamq.inference.model_choice import INT8_MODEL, MODELS, shipped_model
from napari_medsamq.inference.model_spec import ModelSpec
from napari_medsamq.inference.preprocess import IDENTITY
from napari_medsamq.io import files
from napari_medsamq.io.files import write_whole
from napari_medsamq.io.label_writer import write_label
from napari_medsamq.io.labels import read_label, read_label_file
from napari_medsamq.io.readers import files_of
from napari_medsamq.io.volume import read_volume, volume_hash
from napari_medsamq.prompts import BoxPrompt
from napari_medsamq.records.journal import Journal, journal_path
from napari_medsamq.records.journal_format import read_journal
from napari_medsamq.records.provenance import LabelSnapshot, save_with_provenance
from napari_medsamq.records.recording import Recorder
from napari_medsamq.records.replay_check import ReplayCheck

PACKAGE = Path(napari_medsamq.__file__).parent
LEADING_AWAY = [
    "../voxels.raw",
    "sub/../../voxels.raw",
    "{absolute}",
    "C:\\voxels.raw",
    "..\\x.raw",
]


def headers(folder: Path, ending: str) -> tuple[Path, str]:
    """Write an image as header and data file; return the header and the data file's name."""
    image = sitk.GetImageFromArray(np.arange(60, dtype=np.int16).reshape(3, 4, 5))
    path = folder / f"image{ending}"
    sitk.WriteImage(image, str(path))
    (data,) = (name for name in names_in(folder) if not name.endswith(ending))
    return path, data


@pytest.mark.parametrize("ending", [".mhd", ".nhdr"])
@pytest.mark.parametrize("name", LEADING_AWAY)
def test_a_header_reads_no_file_outside_its_folder(tmp_path: Path, ending: str, name: str) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    path, data = headers(folder, ending)
    volume = read_volume(path)
    shutil.copyfile(folder / data, tmp_path / "voxels.raw")
    text = path.read_text().replace(data, name.format(absolute=tmp_path / "voxels.raw"))
    path.write_text(text)
    for read in (read_volume, lambda path: read_label(path, volume), read_label_file):
        with pytest.raises(VolumeError, match=r"outside its own folder. Put that file beside it"):
            read(path)


@pytest.mark.parametrize(("ending", "word"), [(".mhd", "LIST"), (".nhdr", "LIST")])
def test_nor_one_that_it_lists(tmp_path: Path, ending: str, word: str) -> None:
    path, data = headers(tmp_path, ending)
    path.write_text(path.read_text().replace(data, f"{word}\n{data}\n../{data}").rstrip() + "\n")
    with pytest.raises(VolumeError, match="outside its own folder"):
        read_volume(path)


def test_data_in_a_folder_below_is_read(tmp_path: Path) -> None:
    path, data = headers(tmp_path, ".mhd")
    (tmp_path / "data").mkdir()
    (tmp_path / data).rename(tmp_path / "data" / data)
    path.write_text(path.read_text().replace(data, f"data/{data}"))
    assert read_volume(path).data.size == 60


NOT_ONE_NUMBER = [
    *("%c./voxels.raw 46 46 1", "%s.raw 1 3 1", "%n%n%n.raw 1 3 1", "%d%d.raw 1 3 1"),
    *("%9999999d.raw 1 3 1", "%-3d.raw 1 3 1", "%03x.raw 1 3 1", "%*d.raw 1 3 1", "%%%d.raw 1 3 1"),
    *("slice%d.raw", "slice%d.raw 1", "slice%d.raw 1 x", "slice%d.raw 3 1 1", "slice%d.raw 1 3 0"),
    *("../%d.raw 1 3 1", "%d/../../voxels.raw 1 3 1", "slice%d.raw 1 999999999999 1", "50%.raw"),
]


@pytest.mark.parametrize("ending", [".mhd", ".nhdr"])
@pytest.mark.parametrize("name", NOT_ONE_NUMBER)
def test_a_name_with_a_number_is_no_program(tmp_path: Path, ending: str, name: str) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    path, data = headers(folder, ending)
    for place in (tmp_path / "voxels.raw", folder / "slice1.raw", folder / "slice2.raw"):
        shutil.copyfile(folder / data, place)
    path.write_text(path.read_text().replace(data, name))
    with pytest.raises(VolumeError):
        read_volume(path)


@pytest.mark.parametrize(
    ("ending", "named", "files"),
    [
        (".mhd", "s%03d.raw 8 10 1\n", ["s008.raw", "s009.raw", "s010.raw"]),
        (".mhd", "s%d.raw 8 12 2\n", ["s8.raw", "s10.raw", "s12.raw"]),
        (".mhd", "LIST\nb.raw\na.raw\nc c.raw\n", ["b.raw", "a.raw", "c c.raw"]),
        (".mhd", "LIST 2\nb.raw\na.raw\nc.raw\n", ["b.raw", "a.raw", "c.raw"]),
        (".mhd", "50% of it.raw\n", ["50% of it.raw"]),
        (".nhdr", "s%03d.raw 3 1 -1\n", ["s003.raw", "s002.raw", "s001.raw"]),
        (".nhdr", "s%02d.raw 8 10 1 2\n", ["s08.raw", "s09.raw", "s10.raw"]),
        (".nhdr", "LIST\nb.raw\na.raw\nc.raw\n", ["b.raw", "a.raw", "c.raw"]),
    ],
)
def test_slices_in_files_of_their_own_are_read(
    tmp_path: Path, ending: str, named: str, files: list[str]
) -> None:
    path, data = headers(tmp_path, ending)
    content = (tmp_path / data).read_bytes()
    (tmp_path / data).unlink()
    text = path.read_text()
    if ending == ".nhdr":  # whose list is the last field
        text = text.replace(f"data file: {data}\n", "").rstrip("\n") + f"\ndata file: {data}\n"
    path.write_text(text.replace(f"{data}\n", named).replace("gzip", "raw"))
    each = len(content) // len(files)
    for n, file in enumerate(files):
        (tmp_path / file).write_bytes(content[n * each : (n + 1) * each])
    np.testing.assert_array_equal(read_volume(path).data.reshape(-1), np.arange(60))
    assert files_of(path) == (path, *(tmp_path / file for file in files))
    if " of " not in named:
        found = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
        np.testing.assert_array_equal(found.reshape(-1), np.arange(60))


@pytest.mark.parametrize("ending", [".mhd", ".nhdr"])
def test_a_link_that_was_made_on_this_computer_is_followed(tmp_path: Path, ending: str) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    path, data = headers(folder, ending)
    (folder / data).rename(tmp_path / "elsewhere")
    (folder / data).symlink_to(tmp_path / "elsewhere")
    assert read_volume(path).data.size == 60


META = b"NDims = 3\nDimSize = 5 4 3\nElementType = MET_SHORT\n"
NRRD = b"NRRD0004\ntype: short\ndimension: 3\nsizes: 5 4 3\nencoding: raw\nendian: little\n"
HIDING = [
    # A false end of line, with a name that is looked at in place of the one that is read.
    META + b"Comment = x\rElementDataFile = ok.raw\rz\nElementDataFile = ../voxels.raw\n",
    META + b"ElementDataFile = ok.raw\r../../voxels.raw\n",
    META + b"Comment = x\0\nElementDataFile = ../voxels.raw\0ok.raw\n",
    META + b"ElementDataFile = ok.raw\0/../../voxels.raw\n",
    META + b"elementdatafile = ../voxels.raw\nElementDataFile = ok.raw\n",
    META + b"ELEMENTDATAFILE: ../voxels.raw\n",
    META + b"ElementDataFile = LIST\nok.raw\n../voxels.raw\n",
    META + b"ElementDataFile = list\n../voxels.raw\n",
    META + b"ElementDataFile = ok.raw\\..\\..\\voxels.raw\n",
    META + b"DimSize = 5 4 300\nElementDataFile = ok.raw\n",
    META + b"Comment = x\rDimSize = 1 1 1\rz\nDimSize = 5 4 300\nElementDataFile = ok.raw\n",
    META.replace(b"5 4 3", b"5 4 300") + b"Comment = \rDimSize = 5 4 3\nElementDataFile = ok.raw\n",
    b"\xef\xbb\xbfElementDataFile = ../voxels.raw\n" + META + b"ElementDataFile = ok.raw\n",
    NRRD + b"data file: ok.raw\ndatafile: ../voxels.raw\n",
    NRRD + b"datafile: ../voxels.raw\n# x\rdata file: ok.raw\n",
    NRRD + b"DATA FILE: ../voxels.raw\n",
    NRRD + b"Data File: LIST\nok.raw\n../voxels.raw\n",
    NRRD + b"data file: ok.raw\0../voxels.raw\n",
    NRRD + b"data file: ok.raw\r/../../voxels.raw\n",
    NRRD + b"# x\rsizes: 1 1 1\nsizes: 5 4 300\ndata file: ok.raw\n",
    NRRD + b"data file: \\\\server\\voxels.raw\n",
]


@pytest.mark.parametrize("header", HIDING, ids=range(len(HIDING)))
def test_nothing_in_a_header_hides_its_data_file(tmp_path: Path, header: bytes) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for place in (tmp_path / "voxels.raw", folder / "ok.raw"):
        place.write_bytes(np.arange(60, dtype="<i2").tobytes())
    path = folder / ("a.nhdr" if header.startswith(b"NRRD") else "a.mhd")
    path.write_bytes(header)
    for read in (read_volume, read_label_file):
        with pytest.raises(VolumeError) as error:
            read(path)
        assert str(path) in str(error.value)


@pytest.mark.parametrize("header", [META, NRRD])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_carriage_return_within_a_line_is_part_of_it(
    tmp_path: Path, header: bytes, end: bytes
) -> None:
    meta = header is META
    (tmp_path / "a.raw").write_bytes(np.arange(60, dtype="<i2").tobytes())
    lines = [b"Comment = a\rb" if meta else b"# a\rb"]
    lines += [b"ElementDataFile = a.raw" if meta else b"data file: a.raw", b""]
    path = tmp_path / ("a.mhd" if meta else "a.nhdr")
    path.write_bytes(header.replace(b"\n", end) + end.join(lines))
    np.testing.assert_array_equal(read_volume(path).data.reshape(-1), np.arange(60))


def test_a_header_without_an_end_is_refused(tmp_path: Path) -> None:
    path, _ = headers(tmp_path, ".mhd")
    path.write_text(path.read_text().replace("ElementDataFile", "Comment = x\n" * 10**5 + "Elem"))
    with pytest.raises(VolumeError):
        read_volume(path)


# -- models ---------------------------------------------------------------------------------------


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copytree(MODELS / INT8_MODEL, tmp_path / "model"))


@pytest.mark.parametrize("file", ["encoder.xml", "encoder.bin", "decoder.xml", "decoder.bin"])
def test_a_model_file_that_was_changed_is_refused(model: Path, file: str) -> None:
    content = bytearray((model / file).read_bytes())
    content[len(content) // 2] ^= 1
    (model / file).write_bytes(content)
    with pytest.raises(ModelError, match=rf"{file} is not the file.*SHA-256"):
        OpenVINOEngine(model)


@pytest.mark.parametrize("name", ["../encoder.bin", "/etc/hostname", "sub/encoder.bin"])
def test_a_model_lists_no_file_but_its_own(model: Path, name: str) -> None:
    raw = json.loads((model / "model.json").read_text())
    raw["sha256"][name] = raw["sha256"].pop("encoder.bin")
    (model / "model.json").write_text(json.dumps(raw))
    with pytest.raises(ModelError, match="must list a SHA-256 for exactly"):
        ModelSpec.read(model)


def test_a_model_file_that_is_a_link_is_held_to_its_hash(model: Path, tmp_path: Path) -> None:
    (model / "encoder.bin").rename(tmp_path / "elsewhere.bin")
    (model / "encoder.bin").symlink_to(tmp_path / "elsewhere.bin")
    ModelSpec.read(model).verify(model)
    (tmp_path / "elsewhere.bin").write_bytes(b"another")
    with pytest.raises(ModelError, match="SHA-256"):
        ModelSpec.read(model).verify(model)


# -- journals -------------------------------------------------------------------------------------


def test_a_journal_lies_in_its_folder_whatever_the_volume_is_called(tmp_path: Path) -> None:
    key = volume_hash(volume_of(tmp_path / "a.nii"))
    assert journal_path(tmp_path, key).parent == tmp_path


@pytest.mark.parametrize("name", ["../model", "{absolute}", ".", "", "model"])
def test_a_journal_names_no_model_but_those_that_come_along(
    tmp_path: Path, model: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    session = AnnotationSession(volume_of(tmp_path / "a.nii"), ScriptedEngine(), IDENTITY)
    session.engine.spec = ModelSpec(name.format(absolute=model), 8, {}, {})  # type: ignore[misc]
    key = volume_hash(session.volume)
    journal = Journal(tmp_path / "a.journal", session.volume, key, None, lambda error: None)
    recorder = Recorder(session, journal, None)
    prompt = Prompt(BoxPrompt(0, 0, 0, 0, 3, 3), 1, np.arange(4))
    session.history.change("box", prompt.voxels, np.ones(4, np.uint16), (prompt,))
    recorder.close()
    *others, last = read_journal(tmp_path / "a.journal").records
    check = ReplayCheck(session.volume, None)
    for record in others:
        check.apply(record)
    with pytest.raises(ModelError, match="none of those that come along"):
        check.apply(last)
    with pytest.raises(ModelError, match="none of those"):
        shipped_model(name.format(absolute=model))


def test_a_new_journal_is_not_written_through_a_link(tmp_path: Path) -> None:
    volume = volume_of(tmp_path / "a.nii")
    (tmp_path / "a.journal").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(JournalError, match="cannot be written"):
        Journal(tmp_path / "a.journal", volume, volume_hash(volume), None, lambda error: None)
    assert not (tmp_path / "elsewhere").exists()


# -- what is written ------------------------------------------------------------------------------


def test_what_a_link_leads_to_is_not_written_over(tmp_path: Path) -> None:
    volume = volume_of(tmp_path / "a.nii")
    for name in ("label.nii", "label.provenance.json", "page.html"):
        (tmp_path / f"other {name}").write_text("mine")
        (tmp_path / name).symlink_to(tmp_path / f"other {name}")
    label = label_at(volume, (0, 0, 0))
    write_label(tmp_path / "label.nii", label, volume)
    write_whole(tmp_path / "page.html", b"a page")
    session = AnnotationSession(volume, ScriptedEngine(), IDENTITY)
    session.label[:] = label
    # The link leads to what this program has not written, so that it stays even as a link.
    assert (
        save_with_provenance(tmp_path / "label.nii", LabelSnapshot.of(session)).provenance is None
    )
    for name in ("label.nii", "label.provenance.json", "page.html"):
        assert (tmp_path / f"other {name}").read_text() == "mine"
    assert not (tmp_path / "label.nii").is_symlink()
    assert (tmp_path / "page.html").read_text() == "a page"


def test_a_new_file_is_not_written_through_a_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = tmp_path / "page.part"
    (tmp_path / "other").write_text("mine")
    part.symlink_to(tmp_path / "other")
    monkeypatch.setattr(files, "part_of", lambda path: part)
    with pytest.raises(SaveError, match="cannot be written"):
        write_whole(tmp_path / "page.html", b"a page")
    assert (tmp_path / "other").read_text() == "mine"
    assert part.is_symlink()


# -- nothing is run -------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.name)
def test_nothing_in_a_file_is_ever_run(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            roots = {name.split(".")[0] for name in names}
            assert roots.isdisjoint({"pickle", "cPickle", "dill", "joblib", "marshal", "shelve"})
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in {"eval", "exec", "compile", "__import__", "os.system"}
            if called in {"np.load", "numpy.load"}:
                assert "allow_pickle=False" in ast.unparse(node)
            assert not any(
                keyword.arg == "shell" and ast.unparse(keyword.value) != "False"
                for keyword in node.keywords
            )
