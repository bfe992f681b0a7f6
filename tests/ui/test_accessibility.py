"""The dock is read by screen readers, and stays usable with large text on a small screen."""

import pytest
from napari.settings import get_settings
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSlider,
    QAbstractSpinBox,
    QComboBox,
    QDialog,
    QLabel,
    QLineEdit,
    QScrollArea,
    QScrollBar,
    QWidget,
)

from napari_medsamq.annotation.repairs import REPAIRS

pytestmark = pytest.mark.shown
WHOLE = (QAbstractButton, QAbstractItemView, QAbstractSpinBox, QComboBox)
CONTROLS = (*WHOLE, QAbstractSlider, QLineEdit)


def spoken(widget):
    """What a screen reader calls a control: its own name, or its words."""
    words = widget.text() if isinstance(widget, QAbstractButton) else ""
    return widget.accessibleName() or words.strip()


def is_part(widget):
    """Whether it is what another control is made of."""
    above = widget.parentWidget()
    while above is not None:
        if isinstance(above, WHOLE):
            return True
        above = above.parentWidget()
    return isinstance(widget, QScrollBar)


def controls(root):
    found = [w for w in root.findChildren(QWidget) if isinstance(w, CONTROLS)]
    return [widget for widget in found if not is_part(widget)]


def test_every_control_of_the_dock_has_a_name(dock):
    view, form = dock.dock.form, dock.dock.form.check
    nameless, seen = set(), 0
    for repair in REPAIRS:
        form._choice.value = repair.title
        volume, messages = view.volume, view.messages
        parts = (
            dock.dock,
            view.guide,
            view.rail,
            messages,
            volume.planes,
            volume.window_level.presets,
        )
        for widget in (own for part in parts for own in controls(part)):
            seen += 1
            if not spoken(widget):
                nameless.add(f"{type(widget).__name__} in {type(widget.parent()).__name__}")
    assert nameless == set()
    assert seen > 30 * len(REPAIRS)
    assert dock.dock.controller.slices.bar.accessibleName()
    assert dock.dock.form.measure.histogram.accessibleName()


@pytest.fixture
def large(dock):
    """Text of twice the size."""
    appearance = get_settings().appearance
    before = appearance.font_size
    appearance.font_size = 2 * before
    QTest.qWait(50)
    yield dock
    appearance.font_size = before


def test_large_text_is_not_cut_and_can_all_be_reached(large):
    view = large.dock.form
    QTest.qWait(50)
    screen = view.screen().availableGeometry()
    assert view.minimumWidth() <= 0.4 * screen.width() + 1, "the picture has room"
    cut = []
    for widget in view.widget().findChildren(QWidget):
        if not widget.isVisible() or not isinstance(widget, (QAbstractButton, QLabel)):
            continue
        wraps = isinstance(widget, QLabel) and widget.wordWrap()
        need = widget.heightForWidth(widget.width()) if wraps else widget.minimumSizeHint().height()
        narrow = not wraps and widget.width() < widget.minimumSizeHint().width()
        if widget.height() < need or narrow:
            cut.append(widget.text())
    assert cut == []
    for child in view.widget().children():
        if isinstance(child, QWidget) and child.isVisible():
            view.ensureWidgetVisible(child)
            QTest.qWait(5)
            inside = view.viewport().rect()
            corner = child.mapTo(view.viewport(), child.rect().topLeft())
            assert inside.top() - child.height() < corner.y() <= inside.bottom()
    assert view.widget().width() <= view.viewport().width() + view.horizontalScrollBar().maximum()
    for table in view.widget().findChildren(QAbstractItemView):
        if hasattr(table, "_lines"):
            assert table.height() >= table._lines * table.fontMetrics().height()


def test_what_happened_is_always_seen_and_moves_nothing(large):
    view = large.dock.form
    line = view.messages.line
    heights = set()
    for text in ("Saved.", "A long one. " * 40, "/folder" * 60):
        view.show_status(text)
        QTest.qWait(20)
        heights.add((view.height(), line.height(), view.widget().height()))
        assert large.dock.status == text
        assert line.isVisible()
        assert not line.visibleRegion().isEmpty()
        assert line.horizontalScrollBar().maximum() == 0, "it is wrapped"
    assert len(heights) == 1
    view.show_status("One.\nTwo.")
    QTest.qWait(20)
    assert line.verticalScrollBar().maximum() == 0, "two lines fit"
    assert line.font().pointSize() >= view.volume.font().pointSize()


def test_the_list_of_keys_fits_the_screen_and_scrolls(large):
    large.press(Qt.Key.Key_Question, Qt.KeyboardModifier.ShiftModifier)
    (dialog,) = [d for d in large.native.findChildren(QDialog) if "keys" in d.windowTitle()]
    room = dialog.screen().availableGeometry()
    assert dialog.width() <= room.width()
    assert dialog.height() <= room.height()
    (scroll,) = dialog.findChildren(QScrollArea)
    lower = scroll.widget().height() - scroll.viewport().height()
    assert lower <= scroll.verticalScrollBar().maximum()
    dialog.close()
