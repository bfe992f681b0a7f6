"""The rectangles of the box layer, and which prompt or request each of them stands for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

import numpy as np
from napari.layers import Shapes

from napari_medsamq.prompts import BoxPrompt, BoxPrompt3D
from napari_medsamq.ui.canvas.planes import rectangle


class Boxed(Protocol):
    """Something with a box: a committed prompt, or a request that waits."""

    @property
    def box(self) -> BoxPrompt | BoxPrompt3D:
        """Where it is."""


T = TypeVar("T", bound=Boxed)


class Rectangles(Generic[T]):
    """Keeps a napari layer's rectangles those of a list of boxes.

    Only what differs is drawn: napari takes milliseconds for each rectangle that it gets anew.

    Parameters
    ----------
    layer : Shapes

    Attributes
    ----------
    items : list of Boxed
        What each rectangle stands for, in the layer's order.
    """

    def __init__(self, layer: Shapes) -> None:
        self._layer = layer
        self.items: list[T] = []
        self._looks: list[tuple[object, ...]] = []

    def show(
        self,
        items: Sequence[T],
        colors: Sequence[str],
        widths: Sequence[float],
        *,
        afresh: bool,
    ) -> None:
        """Show boxes in colours, with edges of so many voxels.

        Parameters
        ----------
        items : sequence of Boxed
        colors : sequence of str
        widths : sequence of float
        afresh : bool
            The layer may not be as it was left.
        """
        corners = [rectangle(item.box) for item in items]
        looks = [
            (place.tobytes(), *rest) for place, *rest in zip(corners, colors, widths, strict=True)
        ]
        left = list(range(len(items)))
        order: list[int] = []
        for look in self._looks:
            found = next((i for i in left if looks[i] == look), None)
            if found is None:
                afresh = True
                break
            order.append(found)
            left.remove(found)
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
        self.items = [items[i] for i in (*order, *left)]
        self._looks = [looks[i] for i in (*order, *left)]

    def forget(self, gone: Sequence[T]) -> None:
        """Drop what rectangles stood for that the user has removed."""
        kept = [i for i, item in enumerate(self.items) if item not in gone]
        self.items = [self.items[i] for i in kept]
        self._looks = [self._looks[i] for i in kept]
