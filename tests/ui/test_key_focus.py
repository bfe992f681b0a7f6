"""Keys mean the same whatever was clicked on last, and never end in a name."""

import pytest
from qtpy.QtCore import QEvent, QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import (
    QAbstractItemView,
    QApplication,
    QComboBox,
    QPushButton,
    QStyle,
    QStyleOptionComboBox,
    QStyleOptionSpinBox,
    QWidget,
)

pytestmark = pytest.mark.shown
BOX = ((12, 16, 24), (12, 47, 55))
LEFT = Qt.MouseButton.LeftButton
SHIFT, CONTROL = Qt.KeyboardModifier.ShiftModifier, Qt.KeyboardModifier.ControlModifier


@pytest.fixture
def desk(dock):
    """A window with the keyboard's focus, a label, and no tool in hand."""
    dock.viewer.window._qt_window.activateWindow()
    dock.qtbot.waitUntil(lambda: QApplication.activeWindow() is not None)
    dock.drag(*BOX)
    dock.wait()
    dock.press(Qt.Key.Key_M)
    assert dock.native.hasFocus()
    return dock


def form(window):
    return window.dock.form.label


def press(key, modifier=Qt.KeyboardModifier.NoModifier):
    """Press a key as a keyboard does: whatever has the focus gets it."""
    QTest.keyClick(QApplication.focusWidget(), key, modifier)
    QApplication.processEvents()


def enter(window):
    """Bring the mouse from the dock to the picture."""
    QApplication.sendEvent(window.native, QEvent(QEvent.Type.Leave))
    QTest.mouseMove(window.native, QPoint(5, 5))
    QApplication.sendEvent(window.native, QEvent(QEvent.Type.Enter))
    QApplication.processEvents()


def cell(window, column):
    table = form(window)._table
    return table.viewport(), table.visualItemRect(table.item(0, column)).center()


def show(window, target):
    """Bring a control of the dock into sight."""
    window.dock.form.show_tab(target)
    if window.dock.form.volume._advanced.isAncestorOf(target):
        window.dock.form.volume._advanced.show()
    window.dock.form.ensureWidgetVisible(target)
    QTest.qWait(5)


def press_mouse(window, target, place=None):
    show(window, target)
    QTest.qWait(5)
    QTest.mouseClick(target, LEFT, pos=place or target.rect().center())
    QTest.qWait(20)


def up_arrow(spin):
    option = QStyleOptionSpinBox()
    spin.initStyleOption(option)
    part = QStyle.SubControl.SC_SpinBoxUp
    return spin.style().subControlRect(QStyle.ComplexControl.CC_SpinBox, option, part, spin)


def choose(window, combo, text):
    """Open a list with the mouse, and click on a line of it."""
    show(window, combo)
    option = QStyleOptionComboBox()
    combo.initStyleOption(option)
    part = QStyle.SubControl.SC_ComboBoxArrow
    arrow = combo.style().subControlRect(QStyle.ComplexControl.CC_ComboBox, option, part, combo)
    QTest.mousePress(combo, LEFT, pos=arrow.center())
    window.qtbot.waitUntil(combo.view().isVisible)
    # Else Qt takes it for the click that opened the list.
    QTest.qWait(QApplication.doubleClickInterval() + 50)
    index = combo.model().index(combo.findText(text), 0)
    combo.view().scrollTo(index)
    place = combo.view().visualRect(index).center()
    QTest.mouseMove(combo.view().viewport(), place)
    QTest.mouseClick(combo.view().viewport(), LEFT, pos=place)
    window.qtbot.waitUntil(lambda: not combo.view().isVisible())
    QTest.qWait(20)


def type_number(window, spin, text):
    press_mouse(window, spin.lineEdit())
    assert spin.hasFocus()
    spin.selectAll()
    QTest.keyClicks(QApplication.focusWidget(), text)
    press(Qt.Key.Key_Return)
    QTest.qWait(20)


def name_structure(window):
    press_mouse(window, window.button("+ New"))
    assert form(window)._name.hasFocus()
    QTest.keyClicks(QApplication.focusWidget(), "Spleen")
    press(Qt.Key.Key_Return)
    QTest.qWait(20)
    assert window.session.style(window.workspace.label_id).name == "Spleen"


def tolerance(window):
    return window.dock.form.compare._tolerance.native


def level(window):
    return window.dock.form.volume.window_level._level.native


def leave_menu(window):
    volume = window.dock.form.volume
    volume.menu.popup(volume.mapToGlobal(QPoint(0, 0)))
    window.qtbot.waitUntil(volume.menu.isVisible)
    QTest.keyClick(volume.menu, Qt.Key.Key_Escape)
    QTest.qWait(20)


def end_follow_up(window):
    prior = window.dock.form.prior
    window.dock.form.show_tab(prior)
    prior.begin("label.nii.gz", [], None)
    QTest.qWait(20)
    prior._images.setFocus()
    prior.end()
    QTest.qWait(20)


def click_layer(window):
    views = window.viewer.window._qt_window.findChildren(QAbstractItemView)
    (layers,) = [view for view in views if type(view).__name__ == "QtLayerList"]
    row = layers.model().index(0, 0)
    press_mouse(window, layers.viewport(), layers.visualRect(row).center())
    window.viewer.layers.selection.active = window.workspace.boxes


WAYS = {
    "a structure": lambda w: press_mouse(w, *cell(w, 0)),
    "an eye": lambda w: press_mouse(w, *cell(w, 2)),
    "a lock": lambda w: press_mouse(w, *cell(w, 3)),
    "a tool": lambda w: press_mouse(w, w.button("Move")),
    "a tab": lambda w: press_mouse(w, w.dock.form.tabs.tabBar(), QPoint(60, 8)),
    "a plane": lambda w: press_mouse(w, w.button("Axial")),
    "the volume's menu": leave_menu,
    "an arrow beside a number": lambda w: press_mouse(
        w, tolerance(w), up_arrow(tolerance(w)).center()
    ),
    "a box to tick": lambda w: press_mouse(w, w.dock.form.volume._zoom, QPoint(8, 8)),
    "a button": lambda w: press_mouse(w, w.button("Undo")),
    "a list": lambda w: choose(w, w.dock.form.check._choice.native, "Grow"),
    "a name": name_structure,
    "a level": lambda w: type_number(w, level(w), "60"),
    "a number": lambda w: type_number(w, tolerance(w), "12"),
    "the end of a follow-up": end_follow_up,
    "nothing of the dock": lambda w: press_mouse(w, w.dock.form.viewport(), QPoint(2, 2)),
    "the line about what happened": lambda w: press_mouse(w, w.dock.form.messages.line.viewport()),
    "napari's list of layers": click_layer,
}


# After these the canvas has the focus again by itself.
CHOICES = (
    "a name",
    "a level",
    "a number",
    "a lock",
    "a button",
    "a tool",
    "the end of a follow-up",
    "the line about what happened",
)


def test_keys_mean_the_same_whatever_was_clicked_on(desk):
    for way, act in WAYS.items():
        act(desk)
        assert desk.native.hasFocus() or way not in CHOICES, way
        names = [style.name for style in desk.session.styles.values()]
        for active in (True, False):
            press(Qt.Key.Key_C)
            desk.wait()
            assert desk.dock.controller.click.active == active, way
        for key, drawing in ((Qt.Key.Key_B, True), (Qt.Key.Key_M, False)):
            press(key)
            assert desk.dock.controller.drawing == drawing, way
        assert [style.name for style in desk.session.styles.values()] == names, way
        enter(desk)
        assert desk.native.hasFocus(), way


def type_a_name(desk):
    field = form(desk)._name
    press_mouse(desk, desk.button("+ New"))
    assert field.hasFocus()
    QTest.keyClicks(QApplication.focusWidget(), "cbnP")
    enter(desk)
    assert field.hasFocus(), "someone types"
    QTest.keyClicks(QApplication.focusWidget(), " 2")
    press(Qt.Key.Key_Return)
    QTest.qWait(20)
    assert desk.native.hasFocus()
    assert desk.session.style(2).name == "cbnP 2"
    assert not desk.dock.controller.click.active
    assert not desk.dock.controller.drawing


def take_back_what_was_typed(desk):
    table, place = cell(desk, 0)
    QTest.mouseClick(table, LEFT, pos=place)
    QTest.mouseDClick(table, LEFT, pos=place)
    assert form(desk)._name.hasFocus()
    QTest.keyClicks(QApplication.focusWidget(), "x")
    press(Qt.Key.Key_Escape)
    assert desk.native.hasFocus()
    assert form(desk)._name.isHidden()
    assert desk.session.style(1).name == "Label 1"
    level = desk.dock.form.volume.window_level._level.native
    before = level.value()
    press_mouse(desk, level.lineEdit())
    level.selectAll()
    QTest.keyClicks(QApplication.focusWidget(), "7")
    press(Qt.Key.Key_Escape)
    assert desk.native.hasFocus()
    assert level.value() == before
    assert desk.session.window.level == before


def test_a_name_is_typed_and_escape_leaves_a_field(desk):
    take_back_what_was_typed(desk)
    type_a_name(desk)


def test_letters_in_a_field_of_numbers_are_keys_until_the_dock_is_closed(desk):
    width = desk.dock.form.volume.window_level._width.native
    press_mouse(desk, width.lineEdit())
    text = width.text()
    press(Qt.Key.Key_C)
    desk.wait()
    assert desk.dock.controller.click.active
    assert width.text() == text
    enter(desk)
    assert width.hasFocus(), "a number may still be typed"
    focus = desk.dock.controller._key_focus
    desk.close_dock()
    assert not focus._watched


def test_all_controls_are_reached_by_tab(desk):
    view = desk.dock.form
    for widget in view.findChildren(QWidget):
        if isinstance(widget, QPushButton | QAbstractItemView | QComboBox) and not isinstance(
            widget.window(), QComboBox
        ):
            policy = widget.focusPolicy()
            inside_list = (
                widget.parent() is not None and "Container" in type(widget.parent()).__name__
            )
            assert policy & Qt.FocusPolicy.TabFocus or inside_list, widget
    first = desk.button("+ New")
    first.setFocus(Qt.FocusReason.TabFocusReason)
    press(Qt.Key.Key_Tab)
    assert QApplication.focusWidget() is not first
    assert view.isAncestorOf(QApplication.focusWidget())
    press(Qt.Key.Key_C)
    desk.wait()
    assert desk.dock.controller.click.active
    enter(desk)
    assert desk.native.hasFocus()
