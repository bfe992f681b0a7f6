"""What the forms are made of."""

from pathlib import Path

import pytest
from napari.utils.history import get_open_history
from qtpy.QtWidgets import QComboBox, QFileDialog, QLabel, QPushButton, QWidget

from napari_medsamq.ui.forms.elements import (
    choose,
    file_button,
    folder_button,
    lay_out,
    row,
    show_entries,
)
from napari_medsamq.ui.forms.message_bar import MessageBar


@pytest.fixture
def form(qtbot):
    widget = QWidget()
    qtbot.addWidget(widget)
    return widget


def test_what_was_chosen_stays_so_where_it_is_still_listed(form):
    box, told, one, other = QComboBox(form), [], object(), Path("a")
    box.currentIndexChanged.connect(told.append)
    show_entries(box, [("one", one), ("other", other)])
    assert box.currentData() is one
    choose(box, Path("a"))
    assert box.currentData() == other
    show_entries(box, [("other", Path("a")), ("one", one)])
    assert box.currentText() == "other"
    choose(box, "neither")
    assert box.currentText() == "other"
    show_entries(box, [("one", one)])
    assert box.currentData() is one
    show_entries(box, [])
    assert box.currentIndex() == -1
    # Only what was chosen, not what was listed.
    assert len(told) == 1


@pytest.mark.parametrize(("answer", "told"), [("/a/b.nii.gz", [Path("/a/b.nii.gz")]), ("", [])])
def test_a_button_tells_the_file_that_was_chosen(form, monkeypatch, answer, told):
    found, asked = [], []

    def ask(*question):
        asked.append(question[1:])
        return (answer, "") if len(question) > 3 else answer

    monkeypatch.setattr(QFileDialog, "getOpenFileName", ask)
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", ask)
    file = file_button("File…", "Which file?", "Labels (*.nii)", found.append)
    folder = folder_button("Folder…", "Which folder?", found.append)
    lay_out(form, (file, folder))
    file.click()
    assert found == told
    folder.click()
    assert found == told * 2
    begin = get_open_history()[0]
    assert asked == [("Which file?", begin, "Labels (*.nii)"), ("Which folder?", begin)]


def test_rows_share_their_width(form):
    push = QPushButton("wide")
    line = row("Name", QLabel("field"), QLabel("after"))
    grid = lay_out(form, push, (QLabel("left"), QLabel("right")), line)
    spans = [grid.getItemPosition(number) for number in range(grid.count())]
    assert spans == [(0, 0, 1, 2), (1, 0, 1, 1), (1, 1, 1, 1), (2, 0, 1, 2)]
    assert [line.stretch(number) for number in range(line.count())] == [0, 1, 0]
    assert line.itemAt(0).widget().text() == "Name"


def test_what_is_over_soon_is_not_announced(qtbot, monkeypatch):
    monkeypatch.setattr("napari_medsamq.ui.forms.message_bar._SOON_MS", 20)
    bar = MessageBar()
    qtbot.addWidget(bar)
    bar.announce("Segmenting…")
    bar.show_text("Liver: 12 mL")
    qtbot.wait(60)
    assert bar.text == "Liver: 12 mL"
    bar.announce("Segmenting…")
    assert bar.text == "Liver: 12 mL"
    qtbot.waitUntil(lambda: bar.text == "Segmenting…")
