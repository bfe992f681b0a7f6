"""The hand of a user, and what it does counted."""

from qtpy.QtCore import Qt
from qtpy.QtTest import QTest


class Hand:
    """Does what a user does in a window, and counts: to scroll is free.

    An action is a press of a button or key, a drag, or a text with Enter.
    """

    def __init__(self, window):
        self.window, self.actions = window, 0

    def press(self, key, modifier=Qt.KeyboardModifier.NoModifier):
        self.actions += 1
        self.window.press(key, modifier)
        self.window.wait()

    def push(self, words):
        self.actions += 1
        self.window.button(words).click()
        self.window.wait()

    def drag(self, start, stop):
        self.actions += 1
        self.window.drag(start, stop)
        self.window.wait()

    def click(self, place):
        self.drag(place, place)

    def type(self, field, text):
        self.actions += 1
        QTest.keyClicks(field, text)
        QTest.keyClick(field, Qt.Key.Key_Return)

    def settle(self):
        """Wait for the end of a propagation."""
        tool = self.window.dock.controller.propagate
        self.window.qtbot.waitUntil(lambda: not tool.active, timeout=120_000)
        self.window.wait()
