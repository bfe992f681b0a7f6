"""Measures distances on the slice in view; nothing of it is saved or becomes part of a label."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.compat import isalive
from qtpy.QtCore import Signal

from napari_medsamq.array_types import Float64
from napari_medsamq.ui.canvas.prompt_layers import STILL
from napari_medsamq.ui.canvas.rulers import Ruler, RulerOverlay
from napari_medsamq.ui.tools.tool import Tool, ToolContext

if TYPE_CHECKING:
    from napari import Viewer

_LEFT, _RIGHT = 1, 2
# Canvas pixels within which a line or its end is meant.
_NEAR = 8


class RulerTool(Tool):
    """Draws lines while it is switched on, moves their ends, and removes them.

    Parameters
    ----------
    context : ToolContext

    Attributes
    ----------
    active : bool
        Whether it is switched on.
    """

    changed = Signal()  # it was switched on or off

    def __init__(self, context: ToolContext) -> None:
        super().__init__(context)
        self.active = False
        self._overlay = RulerOverlay(
            self._canvas, self._viewer, self._workspace.labels, self._session.volume.affine
        )
        self._viewer.mouse_drag_callbacks.append(self._follow_mouse)
        self.follow(self._show, self._view.changed)
        self._show()

    def close(self) -> None:
        """Take the lines away; they are there again with the volume."""
        self.switch(False)
        self._viewer.mouse_drag_callbacks.remove(self._follow_mouse)
        if isalive(self._overlay):
            self._overlay.close_overlay()
        super().close()

    def switch(self, active: bool) -> None:
        """Draw lines, or leave drags to others."""
        if active == self.active:
            return
        self.active = active
        boxes = self._workspace.boxes
        if boxes.mode == "pan_zoom":
            boxes.cursor = "cross" if active else "standard"
        if active:
            self._say("Drag from edge to edge; a right click on a line removes it.")
        self.changed.emit()

    def clear(self) -> None:
        """Remove the lines of the slice in view."""
        gone = self._here
        self._workspace.rulers = [own for own in self._workspace.rulers if own not in gone]
        self._show()
        self._say("The rulers of this slice are gone." if gone else "There is no ruler here.")

    @property
    def _here(self) -> list[Ruler]:
        """Those of the slice in view."""
        if self._view.solid:
            return []
        here = self._view.axis, self._view.index
        return [own for own in self._workspace.rulers if (own.axis, own.index) == here]

    def _show(self) -> None:
        self._overlay.show_rulers(self._here)

    def _follow_mouse(self, viewer: Viewer, event: Any) -> Iterator[None]:
        boxes = self._workspace.boxes
        idle = viewer.layers.selection.active is boxes and boxes.mode == "pan_zoom"
        if not (self.active and idle) or event.modifiers or self._view.solid:
            return
        place = self._voxel(event)
        if event.button == _RIGHT:
            self._remove(place)
        if event.button != _LEFT:
            return
        camera, pressed = viewer.scene.camera, np.array(event.pos)
        moves = camera.mouse_pan
        before, (start, stop) = self._workspace.rulers, self._grasp(place)
        kept = [own for own in before if own is not stop]
        drawn: Ruler | None = None
        try:
            camera.mouse_pan = False
            yield
            while event.type == "mouse_move":
                drawn = self._line(start, self._voxel(event))
                self._workspace.rulers = [*kept, drawn]
                self._show()
                yield
        finally:
            camera.mouse_pan = moves
        still = np.linalg.norm(np.array(event.pos) - pressed) <= STILL
        if drawn is None or still:
            self._workspace.rulers = before
        else:
            length = drawn.length(self._session.volume.affine)
            self._say(f"{length:.1f} mm. A right click on the line removes it.")
        self._show()

    def _line(self, start: Float64, stop: Float64) -> Ruler:
        axis, index = self._view.axis, self._view.index
        ends = np.array([start, stop])
        ends[:, axis] = index
        return Ruler(axis, index, ends)

    def _grasp(self, place: Float64) -> tuple[Float64, Ruler | None]:
        """Return from where a line is drawn that begins at a place, and which one it takes up."""
        for own in reversed(self._here):
            for end, other in ((0, 1), (1, 0)):
                if self._distance(place, own.ends[end], own.ends[end]) <= _NEAR:
                    return own.ends[other], own
        return place, None

    def _remove(self, place: Float64) -> None:
        near = [own for own in self._here if self._distance(place, *own.ends) <= _NEAR]
        if near:
            self._workspace.rulers = [own for own in self._workspace.rulers if own is not near[-1]]
            self._show()
            self._say("The ruler is gone.")

    def _voxel(self, event: Any) -> Float64:
        return np.array(self._workspace.labels.world_to_data(event.position), float)[-3:]

    def _distance(
        self,
        place: Float64,
        one: Float64,
        other: Float64,
    ) -> float:
        """Return how many pixels of the canvas a place lies from the line between two others."""
        scale = np.array(self._workspace.labels.scale) * self._viewer.scene.camera.zoom
        scale[self._view.axis] = 0
        way, beside = (other - one) * scale, (place - one) * scale
        share = float(np.clip(beside @ way / max(float(way @ way), 1e-9), 0, 1))
        return float(np.linalg.norm(beside - share * way))
