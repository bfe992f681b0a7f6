"""Structures as areas, as outlines, or hidden, so that the edge below them can be judged."""

from __future__ import annotations

from napari_medsamq.ui.tools.tool import Tool, ToolContext

_FILLED, _OUTLINED, _HIDDEN = "filled", "as outlines", "hidden"
_LOOKS = (_FILLED, _OUTLINED, _HIDDEN)
# Of an outline, in voxels; 0 fills.
_WIDTH = 1
_SAID = {
    _FILLED: "Structures are filled.",
    _OUTLINED: "Structures are outlined.",
    _HIDDEN: "Structures and boxes are hidden until you draw, or press the key again.",
}


class OutlineTool(Tool):
    """Changes how all structures are shown, and nothing else.

    Parameters
    ----------
    context : ToolContext
    """

    def __init__(self, context: ToolContext) -> None:
        super().__init__(context)
        self._look = _FILLED
        marks = self._workspace.boxes, self._workspace.marks
        self._opacity = {layer: layer.opacity for layer in marks}
        self.follow(self._cover, self._dock.label.opacity_requested)
        self._dock.label.show_opacity(self._workspace.labels.opacity)
        self.follow(self._on_request, self._workspace.prompts.requested)

    def close(self) -> None:
        """Fill the structures again."""
        self._show(_FILLED)
        super().close()

    def next(self) -> None:
        """Show the structures in the next way."""
        if self._view.solid:
            self._say("Show slices first (F2, F3, F4): solids have no outlines.")
            return
        self._show(_LOOKS[(_LOOKS.index(self._look) + 1) % len(_LOOKS)])
        self._say(_SAID[self._look])

    def _cover(self, opacity: float) -> None:
        self._workspace.labels.opacity = opacity

    def _on_request(self) -> None:
        if self._look == _HIDDEN:
            self._show(_FILLED)

    def _show(self, look: str) -> None:
        if look == self._look:
            return
        self._look = look
        workspace = self._workspace
        workspace.labels.contour = _WIDTH if look == _OUTLINED else 0
        workspace.labels.visible = look != _HIDDEN
        # Not by its visibility: nothing can be drawn on a layer that is not visible.
        for layer in (workspace.boxes, workspace.marks):
            layer.opacity = 0.0 if look == _HIDDEN else self._opacity[layer]
