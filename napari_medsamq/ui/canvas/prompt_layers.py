"""Prompts on the canvas: rectangles for boxes, marks for clicks, and which stands for which."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.layers import Points, Shapes
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_medsamq.annotation.history import Prompt
from napari_medsamq.errors import PromptError
from napari_medsamq.prompts import BoxPrompt, BoxPrompt3D
from napari_medsamq.ui.canvas.box_drag import BoxDrag
from napari_medsamq.ui.prompt_list import Request

# Bluish green and vermilion, which the colour-blind can tell apart; plus and minus say it, too.
_COLORS = {True: "#009E73", False: "#D55E00"}
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
    drag : BoxDrag
    """

    dragged = Signal(object, object)  # which box, None for a new one; its place so far, or None
    drawn = Signal(BoxPrompt)
    moved = Signal(object, BoxPrompt)  # which box, and where to
    removed = Signal(list)  # which boxes
    refused = Signal(Exception)  # what was drawn is no box
    settled = Signal()  # what was done meanwhile may be shown

    def __init__(self, layer: Shapes, shape: tuple[int, ...]) -> None:
        self._layer = layer
        self._shape = shape
        # What each rectangle stands for, in the layer's order, and how it was drawn.
        self._items: list[Item] = []
        self._looks: list[tuple[object, ...]] = []
        # What the user has done, to be told once napari is done with it.
        self._told: list[Callable[[], None]] = []
        self.drag = BoxDrag(layer)
        layer.events.data.connect(self._on_data)
        self.drag.changed.connect(self._on_dragged)
        self.drag.ended.connect(self._settle)

    def show(self, items: Sequence[Item], colors: Sequence[str], widths: Sequence[float]) -> None:
        """Show boxes in colours, with edges of so many voxels.

        Parameters
        ----------
        items : sequence of Prompt or Request
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
        with self._layer.events.data.blocker(self._on_data):
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

    def _on_dragged(self, index: int) -> None:
        item = None if self._layer.mode == "add_rectangle" else self._items[index]
        try:
            self.dragged.emit(item, self._box(self._layer.data[index], item))
        except PromptError:
            self.dragged.emit(item, None)

    def _on_data(self, event: Any) -> None:
        data, items = self._layer.data, self._items
        if event.action == "added":
            # A click without a drag leaves a rectangle of a fixed size on the screen: no box.
            if self.drag.moved:
                self._told.append(partial(self._tell_place, None, data[-1]))
        elif event.action == "removed":
            gone = [items[index] for index in event.data_indices]
            kept = [i for i, item in enumerate(items) if item not in gone]
            self._items = [items[i] for i in kept]
            self._looks = [self._looks[i] for i in kept]
            self._told.append(partial(self.removed.emit, gone))
        elif event.action == "changed":
            for i in event.data_indices:
                self._told.append(partial(self._tell_place, items[i], data[i]))
        else:
            return
        if not self.drag.active:
            # napari is still at work on its shapes.
            QTimer.singleShot(0, self._settle)

    def _settle(self) -> None:
        told, self._told = self._told, []
        for tell in told:
            tell()
        self.settled.emit()

    def _tell_place(self, item: Item | None, corners: npt.NDArray[np.floating]) -> None:
        try:
            box = self._box(corners, item)
        except PromptError as error:
            self.refused.emit(error)
            return
        if item is None:
            self.drawn.emit(box)
        else:
            self.moved.emit(item, box)

    def _box(self, corners: npt.NDArray[np.floating], item: Item | None) -> BoxPrompt:
        # What the mouse draws lies in one slice.
        axis = int(np.ptp(corners, axis=0).argmin()) if item is None else item.box.axis
        return drawn_box(corners, axis, self._shape)


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
            f"The slice in view lies outside this volume, whose slices run from 0 to "
            f"{shape[axis] - 1}. Move the slider below the picture until the volume is seen."
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
        **arguments,
    )


def show_clicks(layer: Points, boxes: Sequence[BoxPrompt | BoxPrompt3D]) -> None:
    """Show the clicks of boxes, and no others."""
    clicks = [(box, c) for box in boxes if isinstance(box, BoxPrompt) for c in box.clicks]
    places = [np.insert([c.y, c.x], box.axis, box.index) for box, c in clicks]
    wanted = np.array(places, float).reshape(-1, 3)
    if np.array_equal(layer.data, wanted):
        return
    layer.data = wanted
    if clicks:
        layer.symbol = [_SYMBOLS[click.positive] for _, click in clicks]
        layer.face_color = [_COLORS[click.positive] for _, click in clicks]
