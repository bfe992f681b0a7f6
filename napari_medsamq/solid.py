"""The labels as solids on napari's own 3D canvas, and back to the slice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medsamq.layers import Plane, turn_viewer
from napari_medsamq.workspace import Workspace

if TYPE_CHECKING:
    from napari import Viewer

# From the front with the head up, along the array axes (z, y, x), which run towards head, back and
# left.
_FROM_THE_FRONT, _UP = (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)
# Any other would mirror the patient.
_RIGHT_HANDED = ("away", "down", "right")


class Solid:
    """Switches a viewer between slices and the labels as solids.

    Parameters
    ----------
    viewer : napari.Viewer
    workspace : Workspace
    """

    def __init__(self, viewer: Viewer, workspace: Workspace) -> None:
        self._viewer = viewer
        self._workspace = workspace
        self._shown: dict[object, bool] = {}
        self._orientation = viewer.scene.camera.orientation
        self._point: tuple[float, ...] = ()

    @property
    def active(self) -> bool:
        """Whether solids are shown."""
        return self._viewer.dims.ndisplay == 3

    def toggle(self, plane: Plane) -> None:
        """Show the labels as solids, or the slices of a plane as they were before."""
        viewer, workspace = self._viewer, self._workspace
        # The image would be a cloud around the labels, and boxes float in it.
        others = (workspace.image, workspace.boxes, workspace.marks)
        if self.active:
            viewer.dims.ndisplay = 2
            viewer.scene.camera.orientation = self._orientation
            for layer in others:
                layer.visible = self._shown.get(layer, True)
            turn_viewer(viewer, plane, workspace.labels)
            # napari moves to the middle meanwhile.
            viewer.dims.point = self._point
            return
        self._point = viewer.dims.point
        self._shown = {layer: layer.visible for layer in others}
        for layer in others:
            layer.visible = False
        viewer.dims.order = tuple(range(viewer.dims.ndim))
        viewer.dims.ndisplay = 3
        camera = viewer.scene.camera
        self._orientation = camera.orientation
        camera.orientation = _RIGHT_HANDED
        viewer.reset_view()
        camera.set_view_direction(_FROM_THE_FRONT, _UP)
