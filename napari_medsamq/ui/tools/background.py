"""What happens without being asked for: previews while a box is drawn, slices encoded ahead."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QWidget

from napari_medsamq.ui.canvas.ready_bar import ReadyBar, slice_slider
from napari_medsamq.ui.tools.prefetch import Prefetch
from napari_medsamq.ui.tools.preview import Preview
from napari_medsamq.ui.worker import Worker
from napari_medsamq.ui.workspace import Workspace

if TYPE_CHECKING:
    from napari import Viewer


class Live(QObject):
    """Follows mouse and slider for as long as a workspace is the one in use.

    Parameters
    ----------
    parent : QObject
    viewer : napari.Viewer
    workspace : Workspace
    compute : Worker
    canvas : QWidget
        In the window whose slice slider gets the ready-bar.
    ahead : bool
        Whether slices are encoded before they are needed.
    """

    said = Signal(str)

    def __init__(
        self,
        parent: QObject,
        viewer: Viewer,
        workspace: Workspace,
        compute: Worker,
        canvas: QWidget,
        *,
        ahead: bool,
    ) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._workspace = workspace
        self._canvas = canvas
        self._ahead = ahead
        self._axis = 0
        self.preview = Preview(self, workspace, compute, canvas)
        self.preview.said.connect(self.said.emit)
        self.prefetch = Prefetch(self, workspace.session, compute)
        self.prefetch.paused = not ahead
        self.prefetch.changed.connect(self._show_ready)
        self.bar = ReadyBar()
        workspace.drag.began.connect(self.pause)
        workspace.drag.ended.connect(self.go_on)
        viewer.dims.events.current_step.connect(self._on_view)
        viewer.dims.events.order.connect(self._on_view)
        viewer.dims.events.ndisplay.connect(self._on_view)
        workspace.image.events.contrast_limits.connect(self.wake)

    def close(self) -> None:
        """Follow them no more."""
        viewer, workspace = self._viewer, self._workspace
        workspace.drag.began.disconnect(self.pause)
        workspace.drag.ended.disconnect(self.go_on)
        viewer.dims.events.current_step.disconnect(self._on_view)
        viewer.dims.events.order.disconnect(self._on_view)
        viewer.dims.events.ndisplay.disconnect(self._on_view)
        workspace.image.events.contrast_limits.disconnect(self.wake)
        self.preview.close()
        self.prefetch.close()
        self.bar.attach(None)
        self.bar.deleteLater()

    def look_along(self, axis: int) -> None:
        """Say which array axis is normal to the canvas."""
        self._axis = axis
        self._on_view()

    def wake(self) -> None:
        """Look again for slices to encode: window, modality or model have changed."""
        self.prefetch.wake()

    def pause(self) -> None:
        """Encode nothing ahead while the mouse drags."""
        self.prefetch.paused = True

    def go_on(self) -> None:
        """Encode ahead again."""
        self.prefetch.paused = not self._ahead
        self.prefetch.wake()

    def _on_view(self) -> None:
        workspace, axis = self._workspace, self._axis
        dims = self._viewer.dims
        if dims.ndim < 3:  # all layers are gone
            return
        place = dims.point[dims.ndim - 3 + axis]
        self.prefetch.look_at(axis, workspace.slice_at(place, axis))
        # The slider of another plane is laid out once the event loop is back.
        QTimer.singleShot(0, self._attach_bar)

    def _attach_bar(self) -> None:
        if not self._ahead or self._viewer.dims.ndisplay == 3:
            self.bar.attach(None)
            return
        count = self._workspace.session.label.shape[self._axis]
        self.bar.attach(slice_slider(self._canvas.window(), count))

    def _show_ready(self) -> None:
        session, axis = self._workspace.session, self._axis
        count = session.label.shape[axis]
        predictor = session.predictor(axis)
        self.bar.show_ready(np.array([predictor.is_ready(index) for index in range(count)]))
