"""The labels as solids on napari's own 3D canvas, and back to the slice."""

from __future__ import annotations

from typing import Any

from napari_medsamq.ui.tools.tool import Tool, ToolContext

# From the front with the head up, along the array axes (z, y, x), which run towards head, back and
# left.
_FROM_THE_FRONT, _UP = (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)
# Any other would mirror the patient.
_RIGHT_HANDED = ("away", "down", "right")


class View3DTool(Tool):
    """Switches a viewer between slices and the labels as solids.

    Parameters
    ----------
    context : ToolContext
    """

    def __init__(self, context: ToolContext) -> None:
        super().__init__(context)
        # What the slices looked like; None while slices are shown, or napari's own button was used.
        self._before: dict[str, Any] | None = None
        self.follow(self._on_ndisplay, self._viewer.dims.events.ndisplay)

    def close(self) -> None:
        """Show slices, and switch no more."""
        self.leave()
        super().close()

    def toggle(self) -> None:
        """Show the labels as solids, or the slices as they were before."""
        if self._view.solid:
            self.leave()
            point = self._viewer.dims.point
            self.turn(self._view.plane)
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
        # First solids, so that this is no turn to another plane.
        viewer.dims.ndisplay = 3
        viewer.dims.order = tuple(range(viewer.dims.ndim))
        camera.orientation = _RIGHT_HANDED
        viewer.reset_view()
        camera.set_view_direction(_FROM_THE_FRONT, _UP)
        self._say("Structures from the front: drag to turn them. The same key shows slices again.")

    def leave(self) -> None:
        """Show slices, whatever is shown now."""
        if self._view.solid:
            self._viewer.dims.ndisplay = 2

    def _on_ndisplay(self) -> None:
        # Before the state of the view hears of it, which is to see no other plane in between.
        before = self._before
        if self._viewer.dims.ndisplay == 3 or before is None:
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
        self._view.read()
