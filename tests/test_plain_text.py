"""Names and texts of files are shown as what they are, wherever they are shown."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path

import pytest
from cohorts import BOX, batch, make_image, rows_of, write_table
from scripted_engine import ScriptedEngine, load_instead
from sources import label_at, volume_of
from typer.testing import CliRunner, Result

from napari_medsamq.annotation.history import LabelStyle
from napari_medsamq.annotation.session import AnnotationSession
from napari_medsamq.cli.common import say
from napari_medsamq.cli.main import app
from napari_medsamq.errors import ChoiceError
from napari_medsamq.inference.preprocess import IDENTITY
from napari_medsamq.records.provenance import LabelSnapshot, save_with_provenance
from napari_medsamq.records.report import make_report, write_report

# Clears the screen, begins a line of its own, writes over one, and turns the order around.
EVIL = "Liver\x1b[2J\nTumour\r\x9b1A\u202eslice\u2028\x00<b>bold</b>"
SHOWN = "Liver\\x1b[2J\\nTumour\\r\\x9b1A\\u202eslice\\u2028\\x00<b>bold</b>"
NO_UTF_8 = os.fsdecode(b"M\xfcller")
HARMLESS = "Müller 肝臓 الكبد می‌خواهم क्‍ष 👩‍⚕️ 5 % <b>"

no_utf_8 = pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (EVIL, SHOWN),
        (NO_UTF_8, "M\\xfcller"),
        ("a\tb\x7f\x85", "a\\tb\\x7f\\x85"),
        ("\ud83d", "\\ud83d"),
        ("\u2066x\u2069\u200f\u200b\ufeff", "\\u2066x\\u2069\\u200f\\u200b\\ufeff"),
        ("tag\U000e0041", "tag\\U000e0041"),
        (HARMLESS, HARMLESS),
    ],
)
def test_what_is_unseen_is_shown(text: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    say(text)
    assert capsys.readouterr().out == f"{shown}\n"


def test_lists_of_errors_stay_lists(capsys: pytest.CaptureFixture[str]) -> None:
    error = ChoiceError("Two series.", "series", {"1.2": "thin\nError: none\x1b[A", "1.3": "b"})
    say(str(error), error=True)
    lines = capsys.readouterr().err.splitlines()
    assert lines[1:] == ["  1.2: thin\\nError: none\\x1b[A", "  1.3: b"]


def test_letters_that_a_terminal_has_not_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    say("Müller")
    out.flush()
    assert out.buffer.getvalue().strip() == b"M\\xfcller"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)])


def named_label(folder: Path, name: str, style: str) -> Path:
    """Save a label of that file name, with a segment of that name in its provenance."""
    session = AnnotationSession(volume_of(folder / "a.nii"), ScriptedEngine(), IDENTITY)
    session.label[:] = label_at(session.volume, (1, 1, 1))
    session.set_style(1, LabelStyle(style, "#FF0000"))
    save_with_provenance(folder / name, LabelSnapshot.of(session))
    return folder / name


def test_names_of_labels_move_nothing_in_a_table(tmp_path: Path) -> None:
    label = named_label(tmp_path, "label.nii", EVIL.replace("\x00", ""))
    result = run("compare", label, label)
    assert result.exit_code == 0, result.output
    head, line, *rest = result.stdout.splitlines()
    # Without the controls that no file can hold; what reorders a line is told by its number.
    assert line.startswith("1 Liver [2J Tumour 1A\\u202eslice <b>bold</b>  ")
    assert head.index("DSC") + 3 == line.index("1.000") + 5
    assert len(rest) == 2
    assert not set(result.stdout) & set("\x1b\r\x9b\u202e\u2028")


@no_utf_8
def test_names_that_are_no_utf_8_reach_every_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / f"{NO_UTF_8}\n\x1b[31m"
    folder.mkdir()
    label = named_label(folder, f"{NO_UTF_8}.nii", "Liver")
    result = run("compare", label, label, "--json", folder / "n.json", "--csv", folder / "n.csv")
    assert result.exit_code == 0, result.output
    assert json.loads((folder / "n.json").read_text())["a"] == str(label)
    result = run("report", label)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("Saved: ")
    assert result.stdout.count("\n") == 1
    page = (folder / f"{NO_UTF_8}.report.html").read_text(encoding="utf-8")
    assert "M\\xfcller.nii" in page
    result = run("compare", label, folder / "none.nii")
    assert result.exit_code == 1
    assert "M\\xfcller\\n\\x1b[31m" in result.stderr


@no_utf_8
def test_a_batch_tells_of_names_that_are_no_utf_8(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_instead(monkeypatch, ScriptedEngine())
    folder = tmp_path / NO_UTF_8
    folder.mkdir()
    make_image(folder / "good.nii.gz")
    rows = [
        {"image": "good.nii.gz", "boxes": BOX, "labels": "1=<i>Liver\x1b"},
        {"image": "none.nii.gz", "boxes": BOX},
    ]
    result = batch(write_table(folder / "t.csv", rows), folder / "out")
    assert "1 case done, 1 failed" in result.stdout, result.output
    assert "M\\xfcller" in result.stderr
    (failed,) = rows_of(folder / "out" / "errors.csv")
    assert failed["image"].endswith("ller/none.nii.gz")
    page = (folder / "out" / "gallery.html").read_text(encoding="utf-8")
    assert "&lt;i&gt;Liver\\x1b" in page
    assert "M\\xfcller" in page


def test_texts_of_an_image_are_texts_on_a_page(tmp_path: Path) -> None:
    label = named_label(tmp_path, "label.nii", EVIL)
    page = tmp_path / "page.html"
    write_report(page, make_report(label))
    text = page.read_text(encoding="utf-8")
    assert "Tumour\\r\\x9b1A\\u202eslice" in text
    assert "<b>bold" not in text
    assert not set(text) & set("\x1b\r\x9b\u202e\u2028\x00")
