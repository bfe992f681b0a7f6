"""`medsamq gui` gives the picture the room, and napari its panels back."""

import pytest
from qtpy.QtCore import Qt
from qtpy.QtGui import QCloseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QDockWidget

from napari_medsamq.ui.app_window import AppWindow

pytestmark = pytest.mark.shown


def left_panels(window):
    main = window.dock_frame.parentWidget()
    left = Qt.DockWidgetArea.LeftDockWidgetArea
    panels = [p for p in main.findChildren(QDockWidget) if main.dockWidgetArea(p) == left]
    return {panel.name: panel.isVisible() for panel in panels}


def test_panels_of_napari_are_folded_away_until_asked_for(window):
    window.wait()
    assert all(left_panels(window).values()), "a napari that is open is left as it is"
    menu = window.viewer.window.window_menu
    main = window.dock_frame.parentWidget()
    share = window.native.width() / main.width()
    app = AppWindow(window.dock_frame, menu)
    app.show((1000, 700))
    QTest.qWait(50)
    assert not any(left_panels(window).values())
    assert window.native.width() / main.width() > share
    (entry,) = [action for action in menu.actions() if "layers" in action.text()]
    entry.trigger()
    assert all(left_panels(window).values())
    entry.trigger()
    assert not any(left_panels(window).values())


def test_the_window_fits_the_screen(window):
    window.wait()
    main = window.dock_frame.parentWidget()
    AppWindow(window.dock_frame, window.viewer.window.window_menu).show((9000, 9000))
    QTest.qWait(50)
    room = main.screen().availableGeometry()
    assert main.frameSize().width() <= room.width()
    assert main.frameSize().height() <= room.height()


def test_napari_by_itself_is_as_it_was_after_the_window_was_closed(window):
    window.wait()
    main = window.dock_frame.parentWidget()
    app = AppWindow(window.dock_frame, window.viewer.window.window_menu)
    app.show((1000, 700))
    QTest.qWait(50)
    assert not any(left_panels(window).values())
    # napari writes down for its next start what is shown when it gets this.
    app.eventFilter(main, QCloseEvent())
    assert all(left_panels(window).values())
    QTest.qWait(20)
    assert not any(left_panels(window).values()), "the user wanted to go on"
