"""The brush: its size, which values it paints, and what a stroke has done."""

from __future__ import annotations

import numpy as np

from napari_medsamq.annotation.history import Edit
from napari_medsamq.geometry import voxel_ml
from napari_medsamq.ui.canvas.brush_range import BrushRange
from napari_medsamq.ui.forms.tool_rail import (
    ALL_VALUES,
    BRUSH_RANGES,
    START_VALUES,
    WINDOW_VALUES,
)
from napari_medsamq.ui.messages import report_stroke
from napari_medsamq.ui.tools.tool import Tool, ToolContext

# Of the window's width, to each side: 50 HU of soft tissue.
_REACH = 1 / 8


class BrushTool(Tool):
    """Sets the brush, holds it to a range of values, and tells what it has painted.

    Parameters
    ----------
    context : ToolContext
    """

    def __init__(self, context: ToolContext) -> None:
        super().__init__(context)
        volume, image = self._session.volume, self._workspace.image
        self._ranges = {
            ALL_VALUES: None,
            WINDOW_VALUES: BrushRange(volume, image),
            START_VALUES: BrushRange(volume, image, _REACH),
        }
        rail, labels = self._dock.rail, self._workspace.labels
        self.follow(self.choose, rail.brush_range_requested)
        self.follow(self._resize, rail.brush_size_requested)
        self.follow(self._show_size, labels.events.brush_size)
        self.follow(self._tell, self._session.history.changed)
        rail.show_brush_range(self._chosen)
        self._show_size()

    def choose(self, chosen: str) -> None:
        """Have the brush paint these values."""
        if self._ranges[chosen] is not None and self._session.volume.data.ndim > 3:
            self._say("Colours have no range of values: the brush paints all.")
            chosen = ALL_VALUES
        else:
            self._say(f"The brush paints {chosen}{self._limits(chosen)}.")
        self._workspace.strokes.range = self._ranges[chosen]
        self._dock.rail.show_brush_range(chosen)

    def next(self) -> None:
        """Have the brush paint the next kind of values, or all again."""
        self.choose(BRUSH_RANGES[(BRUSH_RANGES.index(self._chosen) + 1) % len(BRUSH_RANGES)])

    def _resize(self, size: int) -> None:
        self._workspace.labels.brush_size = size

    def _show_size(self) -> None:
        self._dock.rail.show_brush_size(self._workspace.labels.brush_size)

    def _tell(self, way: str, edit: Edit) -> None:
        """Say what a stroke has done, first to the structure in hand."""
        if way != "edit" or not edit.by_hand:
            return
        session, in_hand = self._session, self._workspace.label_id
        unit, counts = voxel_ml(session.volume.spacing), session.history.voxel_counts
        changes = []
        ids = set(np.unique([edit.before, edit.after]).tolist()) - {0}
        for label_id in sorted(ids, key=lambda own: (own != in_hand, own)):
            gained = np.count_nonzero(edit.after == label_id)
            gained -= np.count_nonzero(edit.before == label_id)
            name = session.style(label_id).name
            changes.append((name, gained * unit, counts.get(label_id, 0) * unit))
        self._say(report_stroke(changes))

    @property
    def _chosen(self) -> str:
        held = self._workspace.strokes.range
        if held is None:
            return ALL_VALUES
        return WINDOW_VALUES if held.reach is None else START_VALUES

    def _limits(self, chosen: str) -> str:
        low, high = self._workspace.image.contrast_limits
        unit = " HU" if self._session.volume.hounsfield else ""
        return {
            ALL_VALUES: "",
            WINDOW_VALUES: f", {low:g} to {high:g}{unit}",
            START_VALUES: f", by up to {_REACH * (high - low):g}{unit} more or less",
        }[chosen]
