"""The labels as solids on napari's own 3D canvas, and back to the slice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_medsamq.ui.canvas.planes import Plane, turn_viewer
from napari_medsamq.ui.workspace import Workspace

if TYPE_CHECKING:
    from napari import Viewer

# From the front with the head up, along the array axes (z, y, x), which run towards head, back and
# left.
_FROM_THE_FRONT, _UP = (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)
# Any other would mirror the patient.
_RIGHT_HANDED = ("away", "down", "right")


class View3D:
    """Switches a viewer between slices and the labels as solids.

    Parameters
    ----------
    viewer : napari.Viewer
    workspace : Workspace
    """

    def __init__(self, viewer: Viewer, workspace: Workspace) -> None:
        self._viewer = viewer
        self._workspace = workspace
        # What the slices looked like; None while slices are shown, or napari's own button was used.
        self._before: dict[str, Any] | None = None
        viewer.dims.events.ndisplay.connect(self._on_ndisplay)

    @property
    def active(self) -> bool:
        """Whether solids are shown."""
        return bool(self._viewer.dims.ndisplay == 3)

    def close(self) -> None:
        """Show slices, and switch no more."""
        self.leave()
        self._viewer.dims.events.ndisplay.disconnect(self._on_ndisplay)

    def toggle(self, plane: Plane) -> None:
        """Show the labels as solids, or the slices of a plane as they were before."""
        if self.active:
            self.leave()
            point = self._viewer.dims.point
            turn_viewer(self._viewer, plane, self._workspace.labels)
            self._viewer.dims.point = point
            return
        viewer, workspace = self._viewer, self._workspace
        camera = viewer.scene.camera
        # The image would be a cloud around the labels, and boxes float in it.
        others = (workspace.image, workspace.boxes, workspace.marks)
        self._before = {
            "point": viewer.dims.point,
            "order": viewer.dims.order,
            "orientation": camera.orientation,
            "visible": {layer: layer.visible for layer in others},
        }
        for layer in others:
            layer.visible = False
        viewer.dims.order = tuple(range(viewer.dims.ndim))
        viewer.dims.ndisplay = 3
        camera.orientation = _RIGHT_HANDED
        viewer.reset_view()
        camera.set_view_direction(_FROM_THE_FRONT, _UP)

    def leave(self) -> None:
        """Show slices, whatever is shown now."""
        if self.active:
            self._viewer.dims.ndisplay = 2

    def _on_ndisplay(self) -> None:
        before = self._before
        if self.active or before is None:
            return
        self._before = None
        viewer = self._viewer
        viewer.scene.camera.orientation = before["orientation"]
        for layer, visible in before["visible"].items():
            layer.visible = visible
        if len(before["order"]) == viewer.dims.ndim:
            viewer.dims.order = before["order"]
            # napari moves to the middle meanwhile.
            viewer.dims.point = before["point"]
