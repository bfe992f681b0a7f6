"""Follows the mouse while it draws, moves or resizes a rectangle of a Shapes layer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from napari.layers import Shapes
from psygnal import Signal

# Canvas pixels that a hand shakes in a click.
STILL = 4
_DRAWING_MODES = ("add_rectangle", "select", "direct")


class BoxDrag:
    """Tells which rectangle the mouse is changing, move by move, and when napari is done with it.

    Parameters
    ----------
    layer : Shapes

    Attributes
    ----------
    active : bool
        Whether a button is held down on the layer.
    moved : bool
        Whether the mouse has moved since it was pressed, farther than in a click.
    """

    began = Signal()
    changed = Signal(int)  # the rectangle's place in the layer's order
    ended = Signal()

    def __init__(self, layer: Shapes) -> None:
        self._layer = layer
        self.active = self.moved = False
        self._come_last()
        layer.events.mode.connect(self._come_last)
        # Emitted once napari has moved the rectangle, and before it paints: a box that waited for
        # the painting would come 40 ms late.
        layer.events.set_data.connect(self._tell)

    def _come_last(self) -> None:
        # After the callback of napari's tool, which each mode brings anew: at the end of a drag the
        # rectangle is what it will be.
        callbacks = self._layer.mouse_drag_callbacks
        if self._follow in callbacks:
            callbacks.remove(self._follow)
        callbacks.append(self._follow)

    def _follow(self, layer: Shapes, event: Any) -> Iterator[None]:
        self.active, self.moved = True, False
        start = np.array(event.pos)
        self.began.emit()
        yield
        while event.type == "mouse_move":
            self.moved |= bool(np.linalg.norm(np.array(event.pos) - start) > STILL)
            yield
        self.active = False
        self.ended.emit()

    def _tell(self) -> None:
        selected = self._layer.selected_data
        if self.active and self.moved and self._layer.mode in _DRAWING_MODES and len(selected) == 1:
            self.changed.emit(next(iter(selected)))
