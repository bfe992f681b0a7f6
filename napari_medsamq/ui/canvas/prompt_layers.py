"""Prompts on the canvas: rectangles for boxes, marks for clicks, and which stands for which."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.layers import Points, Shapes
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_medsamq.annotation.history import Prompt
from napari_medsamq.errors import PromptError
from napari_medsamq.prompts import BoxPrompt, BoxPrompt3D
from napari_medsamq.ui.prompt_list import Request

# Canvas pixels that a hand shakes in a click.
STILL = 4
_DRAWING_MODES = ("add_rectangle", "select", "direct")
# Bluish green and vermilion, which the colour-blind can tell apart; plus and minus say it, too.
MARK_COLORS = {True: "#009E73", False: "#D55E00"}
_SYMBOLS = {True: "cross", False: "hbar"}
# Of the longest axis. A fixed size on the canvas would be all border, as napari draws it.
_SIZE = 30


Item = Prompt | Request


class BoxLayer:
    """Keeps a napari layer's rectangles those of a list of boxes, and tells what is done to them.

    Only what differs is drawn: napari takes milliseconds for each rectangle that it gets anew.

    Parameters
    ----------
    layer : Shapes
    shape : (z, y, x) int
        Of the volume.

    Attributes
    ----------
    active : bool
        Whether a button of the mouse is held down on the layer.
    still : bool
        Whether the mouse has not moved since it was pressed, farther than in a click.
    """

    began = Signal()  # the mouse was pressed
    dragged = Signal(object, object)  # which box, None for a new one; its place so far, or None
    changed = Signal(object, BoxPrompt)  # which box, None for a new one, and where it is now
    removed = Signal(object)  # which box
    refused = Signal(Exception)  # what was drawn is no box
    ended = Signal()  # the mouse was let go, or the layer changed otherwise, and all is told

    def __init__(self, layer: Shapes, shape: tuple[int, ...]) -> None:
        self._layer = layer
        self._shape = shape
        # What each rectangle stands for, in the layer's order, and how it was drawn.
        self._items: list[Item] = []
        self._looks: list[tuple[object, ...]] = []
        # What the user has done, to be told once napari is done with it: which box lies where, None
        # for a new one; and which were removed.
        self._touched: list[tuple[Item | None, npt.NDArray[np.floating]]] = []
        self._gone: list[Item] = []
        self.active, self.still = False, True
        self._on_mode()
        layer.events.mode.connect(self._on_mode)
        # After what napari does about it.
        layer.selected_data.events.items_changed.connect(self._mark_chosen)
        layer.events.data.connect(self._on_data)
        # Emitted once napari has moved the rectangle, and before it paints: a box that waited for
        # the painting would come 40 ms late.
        layer.events.set_data.connect(self._on_set_data)

    def show(self, items: Sequence[Item], colors: Sequence[str], widths: Sequence[float]) -> None:
        """Show boxes in colours, with edges of so many voxels.

        Parameters
        ----------
        items : sequence of Item
        colors : sequence of str
        widths : sequence of float
        """
        corners = [rectangle(item.box) for item in items]
        looks = [
            (place.tobytes(), *rest) for place, *rest in zip(corners, colors, widths, strict=True)
        ]
        there = [np.asarray(shape, float).tobytes() for shape in self._layer.data]
        # The user may have changed the layer.
        afresh = there != [place for place, *_ in self._looks]
        left = list(range(len(items)))
        order: list[int] = []
        for look in self._looks:
            found = next((i for i in left if looks[i] == look), None)
            if found is None:
                afresh = True
                break
            order.append(found)
            left.remove(found)
        # Nor need napari look how far all layers reach.
        with self._layer.events.data.blocker():
            if afresh:
                self._layer.data = []
                order, left = [], list(range(len(items)))
            if left:
                self._layer.add_rectangles(
                    [corners[i] for i in left],
                    edge_width=[widths[i] for i in left],
                    edge_color=np.array([colors[i] for i in left]),
                    face_color="transparent",
                )
        if afresh or left:
            self._layer.selected_data = set()
        self._items = [items[i] for i in (*order, *left)]
        self._looks = [looks[i] for i in (*order, *left)]

    def begin_stroke(self) -> None:
        """Have what follows boxes follow a stroke of another tool, of which `dragged` tells."""
        self.active, self.still = True, False
        self.began.emit()

    def end_stroke(self) -> None:
        """End that."""
        self.active = False
        self.ended.emit()

    def _on_mode(self) -> None:
        # After the callback of napari's tool, which each mode brings anew: at the end of a drag the
        # rectangle is what it will be.
        callbacks = self._layer.mouse_drag_callbacks
        if self._follow_mouse in callbacks:
            callbacks.remove(self._follow_mouse)
        callbacks.append(self._follow_mouse)
        if self._layer.mode == "add_rectangle":
            self._layer.selected_data = set()
        self._mark_chosen()

    def _mark_chosen(self) -> None:
        """Have what is chosen marked where anything can be.

        The shapes that mark it have their shaders made anew for each picture, be there any or not.
        """
        layer, marked = self._layer, self._layer.events.highlight
        blocks = layer.mode == "add_rectangle" or (
            layer.mode == "pan_zoom" and not layer.selected_data
        )
        if blocks and not marked.blocked():
            marked.block()
        elif marked.blocked() and not blocks:
            marked.unblock()
            marked()

    def _follow_mouse(self, layer: Shapes, event: Any) -> Iterator[None]:
        self.active = self.still = True
        start, place = np.array(event.pos), np.array(layer.world_to_data(event.position))
        self.began.emit()
        yield
        while event.type == "mouse_move":
            self._see_move(event, start)
            yield
        # napari leaves out moves that come soon after others, the last ones of a quick drag too.
        self._see_move(event, start)
        if layer.mode == "add_rectangle":
            end = np.array(layer.world_to_data(event.position))
            # A click without a drag leaves a rectangle of a fixed size on the screen: no box.
            added = [] if self.still else [_between(place, end, new) for _, new in self._touched]
            self._touched = [(None, corners) for corners in added]
        self.active = False
        self._tell()

    def _see_move(self, event: Any, start: npt.NDArray[np.floating]) -> None:
        self.still &= bool(np.linalg.norm(np.array(event.pos) - start) <= STILL)

    def _on_set_data(self) -> None:
        layer = self._layer
        if (
            not self.active
            or self.still
            or layer.mode not in _DRAWING_MODES
            or len(layer.selected_data) != 1
        ):
            return
        (index,) = layer.selected_data
        item = None if layer.mode == "add_rectangle" else self._items[index]
        try:
            box = self._box(item, layer.data[index])
        except PromptError:
            box = None
        self.dragged.emit(item, box)

    def _on_data(self, event: Any) -> None:
        data, items = self._layer.data, self._items
        if event.action == "added":
            if self.active or not self.still:
                self._touched.append((None, data[-1]))
        elif event.action == "changed":
            self._touched += [(items[index], data[index]) for index in event.data_indices]
        elif event.action == "removed":
            gone = [items[index] for index in event.data_indices]
            kept = [i for i, item in enumerate(items) if item not in gone]
            self._items = [items[i] for i in kept]
            self._looks = [self._looks[i] for i in kept]
            self._gone += gone
        else:
            return
        if not self.active:
            # napari is still at work on its shapes.
            QTimer.singleShot(0, self._tell)

    def _tell(self) -> None:
        touched, self._touched = self._touched, []
        gone, self._gone = self._gone, []
        for item in gone:
            self.removed.emit(item)
        for item, corners in touched:
            try:
                box = self._box(item, corners)
            except PromptError as error:
                self.refused.emit(error)
            else:
                self.changed.emit(item, box)
        self.ended.emit()

    def _box(self, item: Item | None, corners: npt.NDArray[np.floating]) -> BoxPrompt:
        # What the mouse draws lies in one slice.
        axis = int(np.ptp(corners, axis=0).argmin()) if item is None else item.box.axis
        return drawn_box(corners, axis, self._shape)


def _between(
    start: npt.NDArray[np.floating], end: npt.NDArray[np.floating], drawn: npt.NDArray[np.floating]
) -> npt.NDArray[np.floating]:
    """Return the corners (2, 3) of a drag, in the slice of the rectangle that napari has drawn."""
    axis = int(np.ptp(drawn, axis=0).argmin())
    return np.array([start, np.where(np.arange(start.size) == axis, start, end)])


def drawn_box(corners: npt.NDArray[np.floating], axis: int, shape: tuple[int, ...]) -> BoxPrompt:
    """Turn a rectangle of a napari Shapes layer into a box prompt.

    Parameters
    ----------
    corners : (4, 3) float
        In array voxels (z, y, x), in any order.
    axis : int
        Array axis normal to the canvas.
    shape : (z, y, x) int
        Of the volume.

    Raises
    ------
    PromptError
        If the slice in view is none of the volume's, or the rectangle lies outside it or is no
        larger than a click.
    """
    in_plane = np.delete(np.asarray(corners, float), axis, axis=1)
    index = int(np.rint(corners[0, axis]))
    if not 0 <= index < shape[axis]:
        raise PromptError(
            f"The slice in view lies outside this volume, which has {shape[axis]} "
            "slices. Move the slider below the picture until the volume is seen."
        )
    return BoxPrompt.from_corners(axis, index, in_plane.min(axis=0), in_plane.max(axis=0), shape)


def rectangle(box: BoxPrompt | BoxPrompt3D) -> npt.NDArray[np.float64]:
    """Return a box prompt as the corners (4, 3) of a napari rectangle, in array voxels (z, y, x).

    A 3D box is shown on its middle slice.

    The corners are voxel centres, so that reading them back by `drawn_box` gives the same box.
    """
    if isinstance(box, BoxPrompt3D):
        box = box.slice_prompt(box.middle_slice)
    rows_columns = np.array(
        [[box.y0, box.x0], [box.y0, box.x1], [box.y1, box.x1], [box.y1, box.x0]], float
    )
    return np.insert(rows_columns, box.axis, box.index, axis=1)


def marks_layer(shape: Sequence[int], **arguments: Any) -> Points:
    """Make the layer that shows where was clicked in a volume of a shape (z, y, x)."""
    return Points(
        np.zeros((0, 3)),
        ndim=3,
        size=max(shape) / _SIZE,
        border_color="white",
        border_width=0.08,
        # napari draws a point of no size where none is on the slice, and the smallest is 2 pixels.
        canvas_size_limits=(0, 10_000),
        **arguments,
    )


def show_clicks(layer: Points, boxes: Sequence[BoxPrompt | BoxPrompt3D]) -> None:
    """Show the clicks of boxes, three of each scribble, and no others."""
    drawn = [box for box in boxes if isinstance(box, BoxPrompt)]
    clicks = [(own, box, c) for box in drawn for c in box.clicks for own in c.asked]
    places = [np.insert([y, x], box.axis, box.index) for (x, y), box, _ in clicks]
    wanted = np.array(places, float).reshape(-1, 3)
    if np.array_equal(layer.data, wanted):
        return
    # All is drawn once, and napari need not look how far all layers reach.
    with (
        layer.events.data.blocker(),
        layer.events.set_data.blocker(),
        layer.events.symbol.blocker(),
    ):
        layer.data = wanted
        if clicks:
            layer.symbol = [_SYMBOLS[click.positive] for *_, click in clicks]
    if clicks:
        layer.face_color = [MARK_COLORS[click.positive] for *_, click in clicks]
    else:
        layer.refresh()
