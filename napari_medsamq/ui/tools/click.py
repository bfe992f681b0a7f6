"""Clicks and strokes on the canvas: what they correct, and outlines around structures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.compat import isalive
from qtpy.QtCore import Signal

from napari_medsamq.annotation.click_target import correction, is_on_slice
from napari_medsamq.errors import MedSAMQError
from napari_medsamq.inference.lasso import lasso_prompt
from napari_medsamq.prompts import BoxPrompt, Click, Pixel
from napari_medsamq.ui.canvas.prompt_layers import MARK_COLORS, STILL
from napari_medsamq.ui.canvas.stroke_overlay import StrokeOverlay
from napari_medsamq.ui.forms.tool_rail import LASSO, POINT, SCRIBBLE
from napari_medsamq.ui.prompt_list import Request
from napari_medsamq.ui.tools.tool import Tool, ToolContext

if TYPE_CHECKING:
    from napari import Viewer

_LEFT, _RIGHT = 1, 2

# A request, and the one that waits whose place it takes.
Asked = tuple[Request | None, Request]


class ClickTool(Tool):
    """Turns clicks and strokes into requests, while boxes are drawn or while it is switched on.

    While it is switched on, a drag is what its tool makes of it, and with Shift a scribble. A click
    with Alt takes the structure under the mouse in hand, at any time.

    Parameters
    ----------
    context : ToolContext

    Attributes
    ----------
    active : bool
        Whether it is switched on.
    tool : POINT, SCRIBBLE or LASSO
        Whether drags then move the picture, scribble, or draw an outline.
    """

    changed = Signal()  # it was switched on or off

    def __init__(self, context: ToolContext) -> None:
        super().__init__(context)
        self.active, self.tool = False, POINT
        self._overlay = StrokeOverlay(self._canvas, self._viewer)
        self._viewer.mouse_drag_callbacks.append(self._follow_mouse)
        self.follow(self.improve, self._dock.check.improve_requested)

    def close(self) -> None:
        """Take no more clicks."""
        self.active = False
        self._viewer.mouse_drag_callbacks.remove(self._follow_mouse)
        if isalive(self._overlay):
            self._overlay.close_overlay()
        super().close()

    def switch(self, active: bool, tool: str = POINT) -> None:
        """Take clicks for corrections, and drags as the tool does; or leave them to napari."""
        self.tool = tool
        if active:
            self._workspace.add_to(self._viewer)
            self._viewer.layers.selection.active = self._workspace.boxes
            self._workspace.boxes.mode = "pan_zoom"
            self._get_ready()
        self.active = active
        self.changed.emit()

    def _get_ready(self) -> None:
        # The first mask that is given to the network has it compiled anew, which the first click
        # would wait for.
        axis, index, session = self._view.axis, self._view.index, self._session
        nothing = np.zeros(np.delete(session.label.shape, axis), bool)
        box = BoxPrompt(axis, index, 0, 0, *(int(size) - 1 for size in nothing.shape[::-1]))
        self._compute.submit(
            partial(next, session.segment(box, nothing)), lambda _: None, self._fail
        )

    def improve(self) -> None:
        """Let the network improve the label's mask on the slice in view, without a click."""
        self._request(partial(self._correction, None))

    def _follow_mouse(self, viewer: Viewer, event: Any) -> Iterator[None]:
        start, positive = np.array(event.pos), event.button == _LEFT
        layer = viewer.layers.selection.active
        # A tool of napari's in hand keeps its clicks.
        idle = layer is None or layer.mode == "pan_zoom"
        draws = layer is self._workspace.boxes and layer.mode == "add_rectangle"
        picks = "Alt" in event.modifiers and (idle or draws)
        draws = draws and self._is_there  # else there is nothing to correct, and it begins a box
        # A click on solids turns them.
        if not (picks or draws or (self.active and idle)) or event.button > _RIGHT:
            return
        if self._view.solid:
            return
        tool = SCRIBBLE if "Shift" in event.modifiers else self.tool
        strokes = idle and not picks and (tool == SCRIBBLE or (tool == LASSO and positive))
        camera, path, moved = viewer.scene.camera, [event.position], False
        moves = camera.mouse_pan, camera.mouse_zoom
        try:
            if strokes:
                camera.mouse_pan = camera.mouse_zoom = False
            yield
            while event.type == "mouse_move":
                path.append(event.position)
                moved = moved or bool(np.linalg.norm(np.array(event.pos) - start) > STILL)
                if strokes and moved:
                    self._show_stroke(path, tool, positive)
                yield
        finally:
            camera.mouse_pan, camera.mouse_zoom = moves
            if strokes and moved:
                self._show_line((), tool, positive)
                self._workspace.box_layer.end_stroke()
        if strokes and moved:
            self._request(partial(self._stroke, path, tool, positive))
        elif np.linalg.norm(np.array(event.pos) - start) > STILL:
            return
        elif picks:
            self._pick(event.position)
        else:
            self._request(partial(self._correction, Click(*self._pixel(event.position), positive)))

    def _show_stroke(self, path: Sequence[Any], tool: str, positive: bool) -> None:
        """Show a stroke so far, and have the mask shown that it would lead to."""
        layer = self._workspace.box_layer
        self._show_line(path, tool, positive)
        if not layer.active:
            layer.begin_stroke()
        try:
            _, request = self._stroke(path, tool, positive)
        except MedSAMQError:
            layer.dragged.emit(None, None)
        else:
            layer.dragged.emit(request, request.box)

    def _show_line(self, path: Sequence[Any], tool: str, positive: bool) -> None:
        places = [np.array(own)[list(self._viewer.dims.displayed)] for own in path]
        color = "white" if tool == LASSO else MARK_COLORS[positive]
        self._overlay.show_stroke(places, color, closed=tool == LASSO)

    def _stroke(self, path: Sequence[Any], tool: str, positive: bool) -> Asked:
        """Return what a scribble or a lasso along places of the viewer asks for."""
        pixels, axis = [self._pixel(place) for place in path], self._view.axis
        height, width = np.delete(self._session.label.shape, axis).tolist()
        if tool == LASSO:
            box = lasso_prompt(axis, self._view.index, pixels, (height, width))
            return None, Request(box, self._workspace.label_id)
        # A scribble may leave the picture.
        inside = [(x, y) for x, y in pixels if 0 <= x < width and 0 <= y < height]
        return self._correction(Click.along(inside or pixels[:1], positive))

    def _correction(self, click: Click | None) -> Asked:
        """Return what a click or a scribble asks for; without one, a better mask."""
        axis, index, label_id = self._view.axis, self._view.index, self._workspace.label_id
        shape = self._session.slice(axis, index).shape
        if click is not None and is_on_slice(click, shape):
            waiting = self._workspace.prompts.latest(axis, index, label_id, waiting=True)
            if isinstance(waiting, Request) and isinstance(waiting.box, BoxPrompt):
                # Its mask is on its way, and would be out of date.
                box = replace(waiting.box, clicks=(*waiting.box.clicks, click))
                return waiting, replace(waiting, box=box)
        found = correction(self._session, axis, index, click, label_id)
        return None, Request(found.box, label_id, found.replaces, found.start)

    @property
    def _is_there(self) -> bool:
        """Whether the structure in hand has a mask on the slice in view."""
        plane = self._session.slice(self._view.axis, self._view.index)
        return bool((plane == self._workspace.label_id).any())

    def _pick(self, position: Any) -> None:
        """Take the structure at a place in hand."""
        place = tuple(np.rint(self._workspace.labels.world_to_data(position))[-3:].astype(int))
        label = self._session.label
        inside = all(0 <= at < size for at, size in zip(place, label.shape, strict=True))
        found = int(label[place]) if inside else 0
        if found:
            self._workspace.show_label(found)
            self._say(f"{self._session.style(found).name} is in hand.")
        else:
            self._say("There is no structure under the mouse.")

    def _pixel(self, position: Any) -> Pixel:
        place = np.rint(self._workspace.labels.world_to_data(position))[-3:]
        row, column = np.delete(place, self._view.axis).astype(int).tolist()
        return column, row

    def _request(self, build: Callable[[], Asked]) -> None:
        """Ask for what a click or a stroke wants."""
        try:
            self._view.require_slices()
            waiting, request = build()
        except MedSAMQError as error:
            self._fail(error)
            return
        if waiting is None:
            self._workspace.prompts.ask(request)
        else:
            self._workspace.prompts.move(waiting, request.box, request.start)
