"""`medsamq gui` gives the picture the room, and napari its panels back."""

import pytest
from qtpy.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from qtpy.QtGui import QCloseEvent, QDragEnterEvent, QDropEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QDockWidget, QWidget

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


def test_the_dock_folds_away_by_a_key(dock):
    wide = dock.native.width()
    dock.press(Qt.Key.Key_H)
    QTest.qWait(50)
    assert not dock.dock.isVisible()
    assert dock.native.width() > wide
    dock.press(Qt.Key.Key_W)
    assert "Window: " in dock.dock.status, "keys mean the same"
    dock.press(Qt.Key.Key_H)
    QTest.qWait(50)
    assert dock.dock.isVisible()
    assert dock.native.width() == wide


def test_files_are_opened_without_a_question_about_plugins(window, phantom):
    window.wait()
    app = AppWindow(window.dock_frame, window.viewer.window.window_menu)
    app.dropped.connect(window.dock.open_path)
    asked = []
    app.open_requested.connect(lambda: asked.append(True))
    window.native.activateWindow()
    QTest.qWait(50)
    QTest.keyClick(window.native, Qt.Key.Key_O, Qt.KeyboardModifier.ControlModifier)
    assert asked == [True]
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(phantom.volume.path))])
    (taker,) = [
        own
        for own in window.dock_frame.parentWidget().centralWidget().findChildren(QWidget)
        if own.acceptDrops() and own.isAncestorOf(window.native)
    ]
    copy, left = Qt.DropAction.CopyAction, Qt.MouseButton.LeftButton
    about = copy, data, left, Qt.KeyboardModifier.NoModifier
    for event in (QDragEnterEvent(QPoint(20, 20), *about), QDropEvent(QPointF(20, 20), *about)):
        assert QApplication.sendEvent(taker, event)
    QTest.qWait(20)
    window.wait()
    assert window.session.volume.path == phantom.volume.path


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
