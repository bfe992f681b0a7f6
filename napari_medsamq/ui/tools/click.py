"""Clicks on the canvas that correct masks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Signal

from napari_medsamq.annotation.click_target import correction, is_on_slice
from napari_medsamq.errors import MedSAMQError
from napari_medsamq.prompts import BoxPrompt, Click
from napari_medsamq.ui.canvas.prompt_layers import STILL
from napari_medsamq.ui.prompt_list import Request
from napari_medsamq.ui.tools.tool import Tool, ToolContext

if TYPE_CHECKING:
    from napari import Viewer

_LEFT, _RIGHT = 1, 2
# A scribble counts as so many clicks along it.
_SCRIBBLED = 5


class ClickTool(Tool):
    """Turns clicks into requests, while boxes are drawn or while it is switched on.

    While it is switched on, drags move the picture, and a drag with Shift is a scribble: several
    clicks at once. A click with Alt takes the structure under the mouse in hand, at any time.

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
        self._viewer.mouse_drag_callbacks.append(self._follow_mouse)
        self.follow(self.improve, self._dock.check.improve_requested)

    def close(self) -> None:
        """Take no more clicks."""
        self.active = False
        self._viewer.mouse_drag_callbacks.remove(self._follow_mouse)
        super().close()

    def switch(self, active: bool) -> None:
        """Take clicks for corrections, or leave them to napari."""
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
        self._request(())

    def _follow_mouse(self, viewer: Viewer, event: Any) -> Iterator[None]:
        start, button = np.array(event.pos), event.button
        layer = viewer.layers.selection.active
        # A tool of napari's in hand keeps its clicks.
        idle = layer is None or layer.mode == "pan_zoom"
        draws = layer is self._workspace.boxes and layer.mode == "add_rectangle"
        picks = "Alt" in event.modifiers and (idle or draws)
        draws = draws and self._is_there  # else there is nothing to correct, and it begins a box
        scribbles = "Shift" in event.modifiers and idle and not picks
        # A click on solids turns them.
        if not (picks or draws or (self.active and idle)) or button > _RIGHT or self._view.solid:
            return
        camera, path = viewer.scene.camera, [event.position]
        moves = camera.mouse_pan, camera.mouse_zoom
        try:
            if scribbles:
                camera.mouse_pan = camera.mouse_zoom = False
            yield
            while event.type == "mouse_move":
                path.append(event.position)
                yield
        finally:
            camera.mouse_pan, camera.mouse_zoom = moves
        if scribbles:
            chosen = np.linspace(0, len(path) - 1, _SCRIBBLED).round().astype(int)
            path = [path[number] for number in chosen]
        elif np.linalg.norm(np.array(event.pos) - start) > STILL:
            return
        elif picks:
            self._pick(event.position)
            return
        else:
            path = [event.position]
        # Places that are the same pixel are one click.
        clicks = (self._click(place, button == _LEFT) for place in path)
        self._request(tuple(dict.fromkeys(clicks)))

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

    def _click(self, position: Any, positive: bool) -> Click:
        axis = self._view.axis
        place = np.rint(self._workspace.labels.world_to_data(position))[-3:]
        row, column = np.delete(place, axis).astype(int).tolist()
        return Click(column, row, positive)

    def _request(self, clicks: tuple[Click, ...]) -> None:
        """Ask for what clicks correct, all of them as one step; without any, for a better mask."""
        workspace = self._workspace
        axis, index = self._view.axis, self._view.index
        # A scribble may leave the picture.
        shape = tuple(int(size) for size in np.delete(self._session.label.shape, axis))
        inside = tuple(click for click in clicks if is_on_slice(click, shape))
        clicks = inside or clicks[:1]
        label_id, prompts = workspace.label_id, workspace.prompts
        waiting = prompts.latest(axis, index, label_id, waiting=True) if inside else None
        if waiting is not None:
            # Its mask is on its way, and would be out of date.
            box = replace(waiting.box, clicks=(*waiting.box.clicks, *clicks))
            prompts.move(waiting, box, waiting.start)
            return
        try:
            self._view.require_slices()
            first = clicks[0] if clicks else None
            found = correction(self._session, axis, index, first, label_id)
        except MedSAMQError as error:
            self._fail(error)
            return
        box = replace(found.box, clicks=(*found.box.clicks, *clicks[1:]))
        prompts.ask(Request(box, label_id, found.replaces, found.start))
