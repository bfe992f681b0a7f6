"""napari's main window as the window of an application: the picture has the room."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from qtpy.QtCore import QEvent, QObject, QSize, Qt, QTimer, Signal
from qtpy.QtGui import QAction, QDropEvent, QKeySequence
from qtpy.QtWidgets import QDockWidget, QMainWindow, QMenu, QWidget

from napari_medsamq.io.readers import can_read

_TITLE = "napari's layers and their controls"


class AppWindow(QObject):
    """Folds away what napari shows beside the picture; an entry of a menu brings it back.

    Files that are dropped or asked for (Ctrl+O) are opened without napari's question which of its
    plugins is to read them.

    napari keeps which of its panels are shown for its next start. So they are shown again when the
    window closes, and a napari that is started by itself is as it was.

    Parameters
    ----------
    dock : QDockWidget
        In the window, which is made in part of panels of napari's on its left.
    menu : QMenu
        Gets the entry.
    may_close : callable
        Asked when the user closes the window.
    """

    dropped = Signal(Path)  # a file or folder that can be read
    open_requested = Signal()

    def __init__(
        self, dock: QDockWidget, menu: QMenu, may_close: Callable[[], bool] = lambda: True
    ) -> None:
        window = dock.parentWidget()
        if not isinstance(window, QMainWindow):
            raise ValueError("the dock has to be in napari's window")
        super().__init__(window)
        self._window, self._dock, self._may_close = window, dock, may_close
        self._panels: list[QWidget] = [
            panel
            for panel in window.findChildren(QDockWidget)
            if window.dockWidgetArea(panel) == Qt.DockWidgetArea.LeftDockWidgetArea
        ]
        # Ours says more than napari's slider.
        self._panels += [
            panel
            for panel in window.centralWidget().findChildren(QWidget)
            if type(panel).__name__ == "QtDims"
        ]
        self._entry = menu.addAction(_TITLE)
        self._entry.setCheckable(True)
        self._entry.toggled.connect(self._show_panels)
        window.installEventFilter(self)
        for panel in window.centralWidget().findChildren(QWidget):
            if panel.acceptDrops():
                _Drops(panel).dropped.connect(self.dropped)
        self._take_open_key()

    def _take_open_key(self) -> None:
        key = QKeySequence(QKeySequence.StandardKey.Open)
        for menu in self._window.findChildren(QMenu):
            for action in menu.actions():
                if action.shortcut() == key:
                    action.setShortcut(QKeySequence())
        own = QAction(self._window)
        own.setShortcut(key)
        own.triggered.connect(self.open_requested)
        self._window.addAction(own)

    def show(self, size: tuple[int, int] | None) -> None:
        """Fold the panels away, and fill the screen, or take a size if the screen is as large."""
        self._show_panels(False)
        # What napari says beside, of a layer that the user need not know, is said in the dock.
        self._window.statusBar().hide()
        self._dock.setTitleBarWidget(QWidget())
        if size is None:
            self._window.showMaximized()
            return
        self._window.showNormal()
        around = self._window.frameSize() - self._window.size()
        room = self._window.screen().availableGeometry().size() - around
        self._window.resize(QSize(*size).boundedTo(room))

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 (Qt's name)
        """Show napari's panels once more when the window closes."""
        if watched is self._window and event.type() == QEvent.Type.Close:
            if event.spontaneous():
                # In napari's place, which asks without a word about what is unsaved.
                event.ignore()
                QTimer.singleShot(0, self._ask)
                return True
            self._show_panels(True)
            self._window.statusBar().show()
            # The user may be asked, and may want to go on.
            QTimer.singleShot(0, self._fold_again)
        return False

    def _ask(self) -> None:
        if self._may_close():
            self._window.close()

    def _fold_again(self) -> None:
        if self._window.isVisible():
            self._show_panels(self._entry.isChecked())
            self._window.statusBar().hide()

    def _show_panels(self, shown: bool) -> None:
        for panel in self._panels:
            panel.setVisible(shown)


class _Drops(QObject):
    """Takes what can be read of what is dropped on a widget."""

    dropped = Signal(Path)

    def __init__(self, widget: QWidget) -> None:
        super().__init__(widget)
        widget.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 (Qt's name)
        if event.type() != QEvent.Type.Drop or not isinstance(event, QDropEvent):
            return False
        paths = [Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()]
        if len(paths) != 1 or not can_read(paths[0]):
            return False
        event.acceptProposedAction()
        # A question would hold up the program that it was dragged from.
        QTimer.singleShot(0, partial(self.dropped.emit, paths[0]))
        return True
