"""Which values the brush paints: all, those of the window, or those like where a stroke begins."""

from __future__ import annotations

from napari_medsamq.ui.canvas.brush_range import BrushRange
from napari_medsamq.ui.forms.tool_rail import (
    ALL_VALUES,
    BRUSH_RANGES,
    START_VALUES,
    WINDOW_VALUES,
)
from napari_medsamq.ui.tools.tool import Tool, ToolContext

# Of the window's width, to each side: 50 HU of soft tissue.
_REACH = 1 / 8


class BrushTool(Tool):
    """Holds the brush to a range of values.

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
        self.follow(self.choose, self._dock.rail.brush_range_requested)
        self._dock.rail.show_brush_range(self._chosen)

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
