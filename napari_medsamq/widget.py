"""The dock as napari knows it: owns the threads, and the controller of the volume in use."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from napari.utils.notifications import show_warning
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_medsamq.controller import KEYS, Controller, show_failure
from napari_medsamq.layers import PLANES
from napari_medsamq.opening import Opener
from napari_medsamq.view import SegmentView
from napari_medsamq.worker import Worker
from napari_medsamq.workspace import Workspace

if TYPE_CHECKING:
    from napari import Viewer


class MedSAMQWidget(QWidget):
    """Segment CT and MR volumes by drawing boxes.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        napari passes its viewer under this name.
    model : Path, optional
        Model directory; the default model if not given.
    """

    def __init__(self, napari_viewer: Viewer, model: Path | None = None) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self._controller: Controller | None = None
        self._view = SegmentView(tuple(plane.name for plane in PLANES))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._view)
        self._view.show_status("Loading the network…")
        self._compute = Worker("medsamq-compute")
        self._files = Worker("medsamq-files")
        self._opener = Opener(self, napari_viewer, self._compute, self._files, model)
        self._opener.opened.connect(self._take)
        self._opener.said.connect(self._view.show_status)
        self._opener.failed.connect(partial(show_failure, self._view))
        self._view.volume.open_requested.connect(self._opener.open_path)
        self._view.volume.layer_requested.connect(self._opener.open_layer)
        for key, action in KEYS.items():
            napari_viewer.bind_key(key, self._on_key(action), overwrite=True)

    @property
    def busy(self) -> bool:
        """Whether something is still being read, computed or saved."""
        return self._compute.busy or self._files.busy

    @property
    def controller(self) -> Controller | None:
        """What drives the volume in use; None when none is open."""
        return self._controller

    @property
    def status(self) -> str:
        """The line that says what happened last."""
        return self._view.status

    def open_path(self, path: Path) -> None:
        """Read a file or DICOM folder in the background and show it."""
        self._opener.open_path(path)

    def reset_choices(self, event: object = None) -> None:
        """Follow the viewer's layers in the layer menu; napari calls this by name."""
        self._view.volume.reset_layers()

    def event(self, event: QEvent) -> bool:
        """Stop the threads when napari takes the widget out of its dock."""
        if event.type() == QEvent.Type.ParentChange and self.parent() is None:
            self._shut_down()
        return bool(super().event(event))

    def closeEvent(self, event: QEvent) -> None:  # noqa: N802 (Qt's name)
        """Stop the threads when the widget is closed."""
        self._shut_down()
        super().closeEvent(event)

    def _shut_down(self) -> None:
        if not self._compute.running:
            return
        self._compute.stop(drop_waiting=True)
        self._files.stop(drop_waiting=False)
        self._opener.close()
        for key in KEYS:
            self._viewer.bind_key(key, None, overwrite=True)
        if self._controller is not None:
            self._controller.close()

    def _on_key(self, action: Callable[[Controller], None]) -> Callable[[Viewer], None]:
        def press(viewer: Viewer) -> None:
            if self._controller is not None:
                action(self._controller)

        return press

    def _take(self, workspace: Workspace) -> None:
        if self._controller is not None:
            self._controller.close()
        self._controller = Controller(
            self, self._viewer, self._view, workspace, self._compute, self._files
        )
        volume = workspace.session.volume
        self._view.show_status(f"Press B, then drag a box around a structure of {volume.name}.")
        for warning in volume.warnings:
            show_warning(f"{volume.name}: {warning}")
