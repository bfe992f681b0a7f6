"""Numbers follow the label, and leave the window by clipboard and file; keys are listed."""

import csv
from dataclasses import replace

import numpy as np
import pytest
from qtpy.QtCore import QEvent, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import (
    QAbstractButton,
    QApplication,
    QDialog,
    QLabel,
    QScrollArea,
    QTabBar,
    QTextBrowser,
)

from napari_medsamq.analysis.statistics import measure
from napari_medsamq.ui.forms.tool_rail import BRUSH
from napari_medsamq.ui.shortcuts import KEYS

BOX = ((12, 16, 24), (12, 47, 55))
# Of a screen of 1366 x 768 that the list of keys may take.
SCREEN = 0.94


@pytest.fixture
def measured(dock):
    dock.drag(*BOX)
    settle(dock)
    return dock


def form(window):
    return window.dock.form.measure


def settle(window):
    window.wait()
    window.qtbot.waitUntil(lambda: not window.dock.controller.measure.pending)
    window.wait()


def test_numbers_are_those_of_the_label_and_follow_edits(measured):
    session = measured.session
    own = measure(session.volume, session.label == 1)
    assert form(measured).rows["Volume"] == f"{own.millilitres:,.2f} mL"
    assert form(measured).rows["Median"] == f"{own.percentiles[50]:.1f}"
    low, high = own.percentiles[5], own.percentiles[95]
    assert form(measured).rows["P5 to P95"] == f"{low:.1f} to {high:.1f}"
    assert form(measured).rows["Longest in plane"] == f"{own.plane_mm:.1f} mm"
    assert form(measured).rows["Mean, SD (HU)"] == f"{own.mean:.1f}, {own.sd:.1f}"
    assert form(measured).rows["Slices"] == f"1 ({own.voxels:,} voxels)"
    assert f"{own.voxels:,} voxels from" in form(measured).histogram.accessibleDescription()
    measured.press(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    settle(measured)
    assert form(measured).rows == {}
    assert not measured.button("Copy").isEnabled()


@pytest.mark.parametrize("tool", ["box", "brush"])
def test_nothing_is_measured_while_the_mouse_draws(measured, monkeypatch, tool):
    """Nor are slices checked, or encoded ahead: all of these wait for a rest."""
    monkeypatch.setattr("napari_medsamq.ui.canvas.label_strokes._button_is_down", lambda: True)
    controller, before = measured.dock.controller, form(measured).rows
    none = Qt.MouseButton.NoButton
    if tool == "brush":
        controller.take(BRUSH)
    start, end = measured.pixel((12, 40, 40)), measured.pixel((12, 50, 60))
    measured.mouse(QEvent.Type.MouseButtonPress, start)
    measured.mouse(QEvent.Type.MouseMove, end, none)
    voxels = np.arange(40)
    controller.session.history.change("edit", voxels, np.ones(40, np.uint16), (), by_hand=True)
    controller.workspace.changed.emit()
    QTest.qWait(300)
    assert controller.measure.pending
    assert controller.review.pending
    assert form(measured).rows == before
    measured.mouse(QEvent.Type.MouseButtonRelease, end, buttons=none)
    settle(measured)
    measured.qtbot.waitUntil(lambda: not controller.measure.pending)
    assert form(measured).rows != before


def test_only_hounsfield_units_are_called_so(measured):
    session = measured.session
    session.volume = replace(session.volume, no_hounsfield="made up")
    measured.workspace.changed.emit()
    settle(measured)
    assert "Mean, SD (grey value)" in form(measured).rows


def test_diameters_are_those_of_the_plane_in_view(measured):
    measured.press(Qt.Key.Key_F3)
    settle(measured)
    own = measure(measured.session.volume, measured.session.label == 1, axis=1)
    assert form(measured).rows["Longest in plane"] == f"{own.plane_mm:.1f} mm"
    assert own.slices > 1
    assert form(measured).rows["Slices"] == f"{own.slices} ({own.voxels:,} voxels)"


def test_all_labels_are_copied_and_saved(measured, tmp_path):
    voxels = np.arange(10)
    measured.session.history.change("more", voxels, np.full(10, 7, np.uint16), ())
    measured.workspace.refresh()
    settle(measured)
    measured.button("Copy").click()
    lines = QApplication.clipboard().text().splitlines()
    assert [line.split("\t")[0] for line in lines] == ["label", "1", "7"]
    path = tmp_path / "numbers.csv"
    form(measured).save(path)
    rows = list(csv.DictReader(path.open(encoding="utf-8")))
    own = measure(measured.session.volume, measured.session.label == 1)
    assert rows[0]["name"] == "Label 1"
    assert float(rows[0]["millilitres"]) == own.millilitres
    assert float(rows[0]["p95"]) == own.percentiles[95]
    assert rows[1]["voxels"] == "10"
    form(measured).save(tmp_path / "nowhere" / "numbers.csv")
    assert "cannot be written (No such file or directory)" in measured.dock.status


@pytest.mark.shown
def test_the_list_of_keys_names_every_key(dock):
    dock.press(Qt.Key.Key_Question, Qt.KeyboardModifier.ShiftModifier)
    dock.press(Qt.Key.Key_Question, Qt.KeyboardModifier.ShiftModifier)
    (dialog,) = [d for d in dock.native.findChildren(QDialog) if "keys" in d.windowTitle()]
    assert dialog.isVisible()
    assert not dialog.isModal()
    texts = {label.text() for label in dialog.findChildren(QLabel)}
    for action in KEYS.values():
        assert action.words in texts
    (scroll,) = [own for own in dialog.findChildren(QScrollArea) if own.accessibleName() == "Keys"]
    needed = dialog.size() - scroll.viewport().size() + scroll.widget().sizeHint()
    assert needed.width() <= SCREEN * 1366, "no line is cut, and nothing is scrolled to"
    assert needed.height() <= SCREEN * 768
    dialog.close()
    dock.press(Qt.Key.Key_Percent, Qt.KeyboardModifier.ShiftModifier)
    assert not dialog.isVisible()


@pytest.mark.shown
def test_the_manual_is_read_beside_the_keys(dock):
    dock.press(Qt.Key.Key_Question, Qt.KeyboardModifier.ShiftModifier)
    (dialog,) = [d for d in dock.native.findChildren(QDialog) if "manual" in d.windowTitle()]
    (tabs,) = dialog.findChildren(QTabBar)
    assert [tabs.tabText(number) for number in range(tabs.count())] == ["Keys", "Manual"]
    (page,) = dialog.findChildren(QTextBrowser)
    assert not page.isVisible()
    QTest.mouseClick(tabs, Qt.MouseButton.LeftButton, pos=tabs.tabRect(1).center())
    assert page.isVisible()
    text = page.toPlainText()
    assert text.startswith("Manual of the window")
    for part in ("Follow-up", "Nothing is lost", "to be checked by a person"):
        assert part in text
    # Neither the pages that it leads to nor its pictures are installed with it.
    assert not any(mark in text for mark in ("](", "**", "|--", ".png", ".md"))
    assert "href" not in page.toHtml()
    dialog.close()


def test_every_key_with_a_button_is_written_on_it(dock):
    buttons = dock.dock_frame.parentWidget().findChildren(QAbstractButton)
    entries = dock.dock.form.volume.menu.actions()
    # On a tool its letter is drawn, and said where the mouse rests.
    texts = " ".join(own.text() + own.toolTip() for own in (*buttons, *entries))
    for key in (
        *("B", "C", "G", "X", "M", "R", "P", "N", "Shift+N", "A", "E", "D", "K", "Shift+K"),
        *("Ctrl+Z", "Ctrl+Shift+Z", "?"),
    ):
        assert f"({key})" in texts
