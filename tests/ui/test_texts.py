"""Names in files that look like HTML are shown as they are, wherever Qt would guess."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QInputDialog, QLabel, QMessageBox, QWidget

from napari_medsamq.annotation.history import LabelStyle
from napari_medsamq.errors import ChoiceError, PromptError, UnevenSlicesError
from napari_medsamq.io.source import Selection
from napari_medsamq.io.volume import volume_from_slices
from napari_medsamq.plain_text import unguessed
from napari_medsamq.ui import dialogs as selecting
from napari_medsamq.ui.dialogs import ask_resume
from napari_medsamq.ui.forms import dock_form
from napari_medsamq.ui.forms.elements import wrapping_label
from napari_medsamq.ui.shortcuts import KEYS, key_names

EVIL = '<h1>Liver</h1><img src="file:///etc/hostname">'


def rich(text: str) -> bool:
    """Whether Qt takes a text for HTML where nobody tells it what it is."""
    return Qt.mightBeRichText(text)


@pytest.fixture
def parent(qtbot):
    widget = QWidget()
    qtbot.addWidget(widget)
    return widget


@pytest.mark.parametrize(
    "text", [EVIL, "&lt;b&gt;", f"a\n{EVIL}", "<!doctype html><p>x", "  <p>x</p>", "1 < 2 > 0"]
)
def test_nothing_is_taken_for_html(text):
    assert not rich(unguessed(text))
    assert unguessed(text).replace("\u2060", "") == text


def test_bytes_and_controls_are_told_in_widgets():
    assert unguessed(os.fsdecode(b"M\xfcller\x1b") + "\u202ex\ny") == "M\\xfcller\\x1b\\u202ex\ny"


def test_labels_for_sentences_are_no_html(parent):
    label = wrapping_label("About")
    label.setParent(parent)
    assert label.textFormat() == Qt.TextFormat.PlainText


def test_the_question_about_earlier_work_is_no_html(parent, tmp_path, monkeypatch):
    formats = []

    def execute(box):
        formats.extend(
            label.textFormat() for label in box.findChildren(QLabel) if "Liver" in label.text()
        )

    monkeypatch.setattr(QMessageBox, "exec", execute)
    volume = volume_from_slices([[1, 2], [3, 4]], (1, 1), EVIL)
    path = tmp_path / "a.journal"
    path.touch()
    history = SimpleNamespace(voxel_counts={1: 5})
    restored = SimpleNamespace(history=history, styles={1: LabelStyle(EVIL, "#FF0000")})
    ask_resume(parent, volume, SimpleNamespace(path=path, warning=EVIL), restored)
    assert formats == [Qt.TextFormat.PlainText] * 2


@pytest.mark.parametrize(
    "error",
    [
        UnevenSlicesError(f"{EVIL}: slices are missing."),
        ChoiceError(f"{EVIL} holds two.", "series", {"1.2": EVIL, "1.3": "b"}),
    ],
)
def test_questions_about_a_volume_are_no_html(parent, monkeypatch, error):
    asked = []

    def choose(_parent, _title, text, lines, *_):
        asked.append(text)
        return lines[0], True

    def question(_parent, _title, text):
        asked.append(text)
        return QMessageBox.StandardButton.Yes

    monkeypatch.setattr(QInputDialog, "getItem", choose)
    monkeypatch.setattr(QMessageBox, "question", question)
    chosen = selecting.ask_selection(parent, error, Selection())
    assert chosen == (
        Selection(series="1.2") if isinstance(error, ChoiceError) else Selection(resample=True)
    )
    assert "Liver" in asked[0]
    assert not rich(asked[0])


def test_what_the_dock_tells_of_is_no_html(qtbot, monkeypatch):
    shown = []
    form = dock_form.DockForm(("Axial", "Coronal", "Sagittal"), key_names(KEYS))
    qtbot.addWidget(form)
    form.files.show_files(Path("label"), (SimpleNamespace(title="NIfTI", suffixes=(".nii",)),))
    form.show_failure(PromptError(f"{EVIL}\x1b: no."))
    assert form.status == f"{EVIL}\\x1b: no."
    form.rail.show_history(EVIL, None)
    assert not rich(form.rail._undo.toolTip())
    form.compare.show_agreement([[EVIL, "1"]])
    assert not rich(form.compare._table.item(0, 0).toolTip())
    monkeypatch.setattr(QMessageBox, "question", lambda *told: shown.append(told[2]))
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: ("<b>x<", ""))
    monkeypatch.setattr(Path, "exists", lambda _: True)
    form.files.ask_for_target()
    assert not rich(shown[0])
