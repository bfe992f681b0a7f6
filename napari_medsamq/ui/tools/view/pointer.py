"""Says what is under the mouse: intensity, structure, and where in the patient."""

from __future__ import annotations

import numpy as np

from napari_medsamq.ui.tools.tool import Tool, ToolContext


class PointerTool(Tool):
    """Follows the mouse over the slice in view, unless it draws.

    Parameters
    ----------
    context : ToolContext
    """

    def __init__(self, context: ToolContext) -> None:
        super().__init__(context)
        self.follow(self._show, self._viewer.cursor.events.position, self._view.changed)
        self.follow(self._show, self._workspace.box_layer.ended)

    def close(self) -> None:
        """Say nothing more."""
        self._dock.messages.show_place("")
        super().close()

    def _show(self) -> None:
        if not self._workspace.box_layer.active:
            self._dock.messages.show_place(self._describe())

    def _describe(self) -> str:
        volume, layer = self._session.volume, self._workspace.labels
        position = self._viewer.cursor.position
        if self._view.solid or len(position) < layer.ndim:
            return ""
        place = np.rint(layer.world_to_data(position)).astype(int)
        shape = self._session.label.shape
        if (place < 0).any() or (place >= shape).any():
            return ""
        z, y, x = place.tolist()
        value = volume.data[z, y, x]
        unit = " HU" if volume.hounsfield else ""
        parts = [" ".join(f"{part:g}" for part in np.atleast_1d(value)) + unit]
        label_id = int(self._session.label[z, y, x])
        if label_id:
            parts.append(self._session.style(label_id).name)
        if volume.orientation_known:
            across, back, up = (volume.affine @ [*place, 1])[:3]
            sides = ("L" if across >= 0 else "R", "P" if back >= 0 else "A")
            parts.append(f"{sides[0]} {abs(across):.0f}  {sides[1]} {abs(back):.0f}  {up:.0f} mm")
        return " · ".join(parts)
