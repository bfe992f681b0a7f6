"""Boxes moved and resized by arrow keys, pixel by pixel."""

from __future__ import annotations

from dataclasses import replace

from napari_medsamq.errors import PromptError
from napari_medsamq.prompts import BoxPrompt
from napari_medsamq.ui.prompt_list import Request
from napari_medsamq.ui.tools.tool import Tool

# What an arrow does on the canvas: columns to the right, rows down.
ARROWS = {"Left": (-1, 0), "Right": (1, 0), "Up": (0, -1), "Down": (0, 1)}


class NudgeTool(Tool):
    """Moves and resizes the latest box of the label in hand on the slice in view."""

    def nudge(self, arrow: str, *, resize: bool) -> None:
        """Move the box by a pixel, or its far sides.

        Parameters
        ----------
        arrow : "Left", "Right", "Up" or "Down"
            On the canvas.
        resize : bool
            Whether only the sides on the right and below move, on the canvas.
        """
        try:
            self._view.require_slices()
            self._nudge(arrow, resize)
        except PromptError as error:
            self._fail(error)

    def _nudge(self, arrow: str, resize: bool) -> None:
        workspace, plane, index = self._workspace, self._view.plane, self._view.index
        item = workspace.prompts.latest(plane.axis, index, workspace.label_id)
        if item is None:
            raise PromptError(
                "There is no box of this label on this slice to be moved. Draw one with B."
            )
        box = item.box
        assert isinstance(box, BoxPrompt)
        vertical, horizontal = plane.orientation
        across, down = ARROWS[arrow]
        signs = (1 if horizontal == "right" else -1, 1 if vertical == "down" else -1)
        dx, dy = across * signs[0], down * signs[1]
        # On the canvas, the far side is the one to the right and below.
        first = (0 if resize and signs[0] > 0 else dx, 0 if resize and signs[1] > 0 else dy)
        last = (0 if resize and signs[0] < 0 else dx, 0 if resize and signs[1] < 0 else dy)
        x0, y0, x1, y1 = box.x0 + first[0], box.y0 + first[1], box.x1 + last[0], box.y1 + last[1]
        shape = list(self._session.label.shape)
        del shape[plane.axis]
        if not (0 <= x0 < x1 < shape[1] and 0 <= y0 < y1 < shape[0]):
            raise PromptError(
                "The box would leave the slice, or be nothing any more; it stays as it is."
            )
        # What has another size is no longer what was drawn around.
        lasso = () if resize else tuple((x + dx, y + dy) for x, y in box.lasso)
        moved = replace(box, x0=x0, y0=y0, x1=x1, y1=y1, lasso=lasso)
        start = item.start if isinstance(item, Request) else None
        self._workspace.prompts.move(item, moved, start)
