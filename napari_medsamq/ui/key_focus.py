"""Whose the keys are: the canvas', unless someone types."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

from qtpy.compat import isalive
from qtpy.QtCore import QEvent, QObject, Qt, QTimer
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractScrollArea,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QDockWidget,
    QLineEdit,
    QMainWindow,
    QPlainTextEdit,
    QSlider,
    QTextEdit,
    QToolBar,
    QWidget,
)

# In napari's notation, in its order.
_MODIFIERS = (
    ("Control", Qt.KeyboardModifier.ControlModifier),
    ("Alt", Qt.KeyboardModifier.AltModifier),
    ("Shift", Qt.KeyboardModifier.ShiftModifier),
)
_NAMES = {
    Qt.Key.Key_Escape: "Escape",
    Qt.Key.Key_Left: "Left",
    Qt.Key.Key_Right: "Right",
    Qt.Key.Key_Up: "Up",
    Qt.Key.Key_Down: "Down",
    Qt.Key.Key_PageUp: "PageUp",
    Qt.Key.Key_PageDown: "PageDown",
    **{getattr(Qt.Key, f"Key_F{number}"): f"F{number}" for number in range(1, 13)},
}
_ENTER = (Qt.Key.Key_Return, Qt.Key.Key_Enter)
_PAGES = (QTextEdit, QPlainTextEdit)


class KeyFocus(QObject):
    """Gives the canvas the keys that are pressed elsewhere in its window, and the focus back.

    In a text field all that can be typed is text, in a field of numbers the digits are. Enter and
    Esc leave either; Esc takes back what was typed. A list that a name is chosen from leaves its
    field, too. The mouse brings the focus to the canvas when it comes there, but not from someone
    who types.

    Parameters
    ----------
    parent : QObject
    canvas : QWidget
    dock : QWidget
        Its controls are followed from the beginning, others of the window once they have the focus.
    keys : collection of str
        That mean something on the canvas, in napari's notation.
    """

    def __init__(
        self, parent: QObject, canvas: QWidget, dock: QWidget, keys: Collection[str]
    ) -> None:
        super().__init__(parent)
        self._canvas = canvas
        self._dock = dock
        self._keys = frozenset(keys)
        self._watched: list[QObject] = []
        self._before = ""
        canvas.installEventFilter(self)
        for widget in dock.findChildren(QWidget):
            if widget.focusPolicy() != Qt.FocusPolicy.NoFocus:
                self._watch(widget)
        QApplication.instance().focusChanged.connect(self._on_focus)

    def close(self) -> None:
        """Follow nothing more."""
        QApplication.instance().focusChanged.disconnect(self._on_focus)
        for watched in (*self._watched, self._canvas):
            if isalive(watched):
                watched.removeEventFilter(self)
        self._watched.clear()

    def give_back(self) -> None:
        """Give the focus to the canvas."""
        if not isalive(self._canvas):
            return
        if isinstance(QApplication.activeWindow(), QDockWidget):  # the dock floats
            self._canvas.activateWindow()
        self._canvas.setFocus()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 (Qt's name)
        """Take the keys that are the canvas', and look where the mouse is."""
        kind = event.type()
        if kind == QEvent.Type.ShortcutOverride and isinstance(event, QKeyEvent):
            # Before a menu of napari's takes it for its own.
            taken = _name(event) in self._keys and _is_command(_name(event))
            if taken:
                event.accept()
            return taken
        if watched is self._canvas:
            if kind == QEvent.Type.Enter:
                self._on_mouse()
        # By the class too: PyQt may hand out an earlier event of another kind.
        elif kind == QEvent.Type.KeyPress and isinstance(event, QKeyEvent):
            return self._on_key(watched, event)
        elif kind == QEvent.Type.FocusIn:
            self._before = _text(watched)
        elif kind == QEvent.Type.Hide and isinstance(watched, QAbstractItemView):
            # After the list's own work.
            QTimer.singleShot(0, self.give_back)
        return False

    def _on_key(self, watched: QObject, event: QKeyEvent) -> bool:
        key, name = event.key(), _name(event)
        writes, counts = types_text(watched), isinstance(watched, QAbstractSpinBox)
        if (writes or counts) and key in _ENTER and not isinstance(watched, _PAGES):
            QTimer.singleShot(0, self.give_back)
            return False
        if (writes or counts) and key == Qt.Key.Key_Escape and _take_back(watched, self._before):
            self.give_back()
            return True
        if (writes and not _is_command(name)) or (counts and event.text().isdigit()):
            return False
        if name not in self._keys and event.text() != "?":
            return False
        text, repeated, count = event.text(), event.isAutoRepeat(), event.count()
        again = QKeyEvent(QEvent.Type.KeyPress, key, event.modifiers(), text, repeated, count)
        QApplication.sendEvent(self._canvas, again)
        return True

    def _on_mouse(self) -> None:
        focused = self._canvas.window().focusWidget()
        elsewhere = QApplication.activeModalWidget() or QApplication.activePopupWidget()
        if isinstance(QApplication.activeWindow(), QDockWidget):
            focused = QApplication.focusWidget()
        if focused is self._canvas or elsewhere is not None or not self._canvas.isEnabled():
            return
        typing = types_text(focused) or isinstance(focused, QAbstractSpinBox)
        if not typing:
            self.give_back()

    def _on_focus(self, old: QWidget | None, new: QWidget | None) -> None:
        if new is None or new is self._canvas or not self._is_here(new):
            return
        self._watch(new)
        # Qt hands the focus on from what is hidden or disabled, a form that closes say.
        gone = old is not None and isalive(old) and not (old.isVisible() and old.isEnabled())
        # napari's main window takes the focus where what was clicked on does not.
        if new is self._canvas.window() or (gone and self._dock.isAncestorOf(old)):
            QTimer.singleShot(0, partial(self._give_back_from, new))

    def _give_back_from(self, widget: QWidget) -> None:
        if QApplication.focusWidget() is widget:
            self.give_back()

    def _is_here(self, widget: QWidget) -> bool:
        """Tell whether a widget is in the canvas' window or one of its docks, and in no dialog."""
        above: QWidget | None = widget
        while above is not None and not isinstance(above, QMainWindow):
            if above.isWindow() and not isinstance(above, QDockWidget):
                return False
            above = above.parentWidget()
        return above is self._canvas.window()

    def _watch(self, widget: QWidget) -> None:
        if widget is self._canvas or any(widget is known for known in self._watched):
            return
        parts: list[QObject] = [widget]
        if isinstance(widget, QComboBox) and widget.isEditable():
            parts.append(widget.view())
        for part in parts:
            part.installEventFilter(self)
        self._watched.extend(parts)


class _Typing(QObject):
    """Gives a field of numbers the focus where its number is clicked on, not the arrows beside."""

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 (Qt's name)
        if event.type() == QEvent.Type.MouseButtonPress:
            self.parent().setFocus(Qt.FocusReason.MouseFocusReason)
        return False


def by_tab_alone(inside: QWidget) -> None:
    """Let the controls in a widget take the focus by Tab, and leave it where it is when clicked.

    Only where something can be typed a click gives it.
    """
    kinds = (QAbstractButton, QAbstractScrollArea, QAbstractSpinBox, QComboBox, QSlider)
    for control in (inside, *inside.findChildren(QWidget)):
        if isinstance(control, kinds) and not isinstance(control, _PAGES):
            if not types_text(control):
                control.setFocusPolicy(Qt.FocusPolicy.TabFocus)
            if isinstance(control, QAbstractSpinBox):
                control.lineEdit().installEventFilter(_Typing(control))


def name_the_rest(bar: QToolBar) -> None:
    """Name, for screen readers, the button of a bar that opens what has no room in it."""
    for button in bar.findChildren(QAbstractButton, "qt_toolbar_ext_button"):
        button.setAccessibleName("More")


def types_text(widget: QObject | None) -> bool:
    """Tell whether any character can be typed in a widget."""
    if isinstance(widget, QComboBox):
        return bool(widget.isEditable())
    if isinstance(widget, QLineEdit):
        return not (widget.isReadOnly() or isinstance(widget.parent(), QAbstractSpinBox))
    return isinstance(widget, _PAGES) and not widget.isReadOnly()


def _text(widget: QObject) -> str:
    if isinstance(widget, QComboBox):
        return str(widget.currentText())
    return str(widget.text()) if isinstance(widget, QLineEdit) else ""


def _take_back(widget: QObject, text: str) -> bool:
    """Give a field back what it held; False for one that Esc does not leave."""
    if isinstance(widget, QComboBox):
        widget.setEditText(text)
    elif isinstance(widget, QLineEdit):
        widget.setText(text)
    elif isinstance(widget, QAbstractSpinBox):
        widget.setValue(widget.value())
    else:
        return False
    return True


def _name(event: QKeyEvent) -> str:
    """Return a key as napari writes it."""
    held = [name for name, modifier in _MODIFIERS if event.modifiers() & modifier]
    key = event.key()
    letter = chr(key) if 32 < key < 127 else ""
    return "-".join([*held, _NAMES.get(key, letter)])


def _is_command(name: str) -> bool:
    """Tell whether a key means the same wherever one types: F1 to F12, Ctrl+S."""
    return name == "Control-S" or (name.startswith("F") and name[1:].isdigit())
