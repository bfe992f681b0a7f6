"""Two masks on the canvas, seen in four ways, and the view as it was before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap
from qtpy.QtCore import QEvent, QObject, Qt, Signal
from qtpy.QtWidgets import QLabel, QWidget

from napari_medsamq.analysis.comparison import (
    A_GAP,
    A_MARK,
    B_GAP,
    B_MARK,
    BOTH,
    Agreement,
    differing_slices,
)
from napari_medsamq.ui.canvas.slice_bar import BAR_HEIGHT
from napari_medsamq.ui.forms.compare_form import DIFFERENCES, OVERLAID, A, B
from napari_medsamq.ui.tools.click import ClickTool
from napari_medsamq.ui.tools.tool import Tool, ToolContext

# Okabe and Ito's orange and sky blue, and white, which any eyes tell apart; the patterns say the
# same without any colour.
_A, _B, _BOTH = (0.90, 0.62, 0.0), (0.34, 0.71, 0.91), (1.0, 1.0, 1.0)
_STRONG, _PALE, _UNDER = 1.0, 0.35, 0.45
_STYLE = "color: white; background: rgba(0, 0, 0, 170); padding: 2px 6px; font-size: 12pt;"


@dataclass(frozen=True, eq=False)
class MaskPair:
    """Two masks on the canvas.

    Attributes
    ----------
    a, b : str
        What they are called.
    codes : (z, y, x) uint8
        As `difference_codes` gives them.
    agreement : Agreement
    tolerance_mm : float
        Of its NSD.
    """

    a: str
    b: str
    codes: npt.NDArray[np.uint8]
    agreement: Agreement
    tolerance_mm: float


class ComparisonOverlay(Tool):
    """Shows a pair of masks instead of labels and boxes, and changes none of them.

    An edit, clicks that correct or the removal of its layer end it. Boxes are not drawn, and the
    brush does not paint, on layers that are hidden.

    Parameters
    ----------
    context : ToolContext
    click : ClickTool
        Takes no clicks meanwhile.
    """

    ended = Signal()

    def __init__(self, context: ToolContext, click: ClickTool) -> None:
        super().__init__(context)
        self._click = click
        self.pair: MaskPair | None = None
        self._layer: Labels | None = None
        self._source: object = None
        self._before: dict[str, Any] = {}
        # While it changes the viewer itself.
        self._quiet = False
        self.state = A
        self._caption = _Caption(self._canvas)
        self.follow(self._on_changed, self._workspace.changed)
        self.follow(self._on_clicking, click.changed)
        self.follow(self._on_removed, self._viewer.layers.events.removed)

    @property
    def active(self) -> bool:
        """Whether a pair is on the canvas."""
        return self._layer is not None

    @property
    def layer(self) -> Labels | None:
        """The layer that shows the pair."""
        return self._layer

    def close(self) -> None:
        """Give the view back, and show nothing more."""
        self.leave()
        super().close()
        self._caption.close_caption()

    def enter(self, pair: MaskPair, source: object) -> None:
        """Show a pair; it ends when `source`, if that is a layer, is removed."""
        self.leave()
        viewer, workspace = self._viewer, self._workspace
        camera = viewer.scene.camera
        labels = [layer for layer in viewer.layers if isinstance(layer, Labels)]
        hidden = (*labels, workspace.boxes, workspace.marks)
        self._before = {
            "visible": {layer: layer.visible for layer in hidden},
            "selection": set(viewer.layers.selection),
            "active": viewer.layers.selection.active,
            "mode": workspace.boxes.mode,
            "clicking": self._click.active,
            "plane": self._view.plane,
            "order": viewer.dims.order,
            "point": viewer.dims.point,
            "camera": (camera.orientation, camera.center, camera.zoom, camera.angles),
        }
        self._quiet = True
        if self._click.active:
            self._click.switch(False)
        workspace.boxes.mode = "pan_zoom"
        for layer in hidden:
            layer.visible = False
        self.pair, self._source = pair, source
        self._layer = Labels(
            pair.codes,
            name="comparison",
            opacity=0.6,
            scale=workspace.labels.scale,
            translate=workspace.labels.translate,
            axis_labels=("z", "y", "x"),
        )
        viewer.add_layer(self._layer)
        self._layer.editable = False
        self._layer.locked = True
        # Whose keys are ours; those of a labels layer have other meanings.
        viewer.layers.selection.active = workspace.boxes
        self._quiet = False
        self.show_state(A)

    def show_state(self, state: str) -> None:
        """Show the pair in one of the ways of `compare_form.STATES`."""
        if self.pair is None or self._layer is None:
            return
        self.state = state
        self._layer.colormap = _colors(state)
        patterns = "A stripes, B chequers"
        texts = {
            A: f"A: {self.pair.a}",
            B: f"B: {self.pair.b}",
            OVERLAID: f"A and B: {patterns}",
            DIFFERENCES: "Differences: only A stripes, only B chequers",
        }
        self._caption.show_text(texts[state])

    def step(self, way: int) -> str:
        """Show the next slice on which both differ, towards higher (1) or lower (-1) slices.

        Returns
        -------
        said : str

        Raises
        ------
        PromptError
            If solids are shown.
        """
        if self.pair is None or self._layer is None:
            return "Nothing is compared. Press 'Compare' first."
        self._view.require_slices()
        axis, here = self._view.axis, self._view.index
        slices = differing_slices(self.pair.codes, axis)
        ahead = [index for index in slices if (index - here) * way > 0]
        where = "above" if way > 0 else "below"
        if not ahead:
            return f"No slice {where} this one on which they differ."
        index = min(ahead) if way > 0 else max(ahead)
        self._view.show(axis, index)
        return f"Slice {index + 1}: A and B differ; {len(ahead) - 1} more {where}."

    def leave(self, *, back: bool = True) -> None:
        """Show labels and boxes again.

        Parameters
        ----------
        back : bool
            Whether place, plane, zoom and tool are those of before too.
        """
        layer, viewer, before = self._layer, self._viewer, self._before
        if layer is None:
            return
        self._quiet = True
        self.pair = self._layer = self._source = None
        self._caption.hide()
        if layer in viewer.layers:
            layer.locked = False
            viewer.layers.remove(layer)
        for other, visible in before["visible"].items():
            other.visible = visible
        # Without layers there are no slices to go back to.
        if back and self._view.point:
            self._restore(before)
        self._quiet = False
        self.ended.emit()

    def _restore(self, before: dict[str, Any]) -> None:
        viewer = self._viewer
        viewer.dims.ndisplay = 2
        if self._view.plane != before["plane"]:
            self.turn(before["plane"])
        if len(before["order"]) == viewer.dims.ndim:
            viewer.dims.order = before["order"]
            viewer.dims.point = before["point"]
        camera = viewer.scene.camera
        camera.orientation, camera.center, camera.zoom, camera.angles = before["camera"]
        selection = viewer.layers.selection
        if before["active"] in viewer.layers:
            selection.active = before["active"]
        selection.update(layer for layer in before["selection"] if layer in viewer.layers)
        self._workspace.boxes.mode = before["mode"]
        if before["clicking"]:
            self._click.switch(True)

    def _on_changed(self) -> None:
        if self.active and not self._quiet:
            self.leave(back=False)

    def _on_clicking(self) -> None:
        if self.active and not self._quiet and self._click.active:
            self.leave(back=False)

    def _on_removed(self, event: Any) -> None:
        gone = event.value
        if self.active and not self._quiet and (gone is self._layer or gone is self._source):
            self.leave()


class _Caption(QLabel):
    """Says on the canvas, in words, what is shown."""

    def __init__(self, canvas: QWidget) -> None:
        super().__init__(canvas)
        self._canvas = canvas
        self.setObjectName("comparison")
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setStyleSheet(_STYLE)
        canvas.installEventFilter(self)
        self.hide()

    def show_text(self, text: str) -> None:
        """Show a line at the lower left."""
        self.setText(text)
        self._place()
        self.show()
        self.raise_()

    def close_caption(self) -> None:
        """Take it away."""
        self._canvas.removeEventFilter(self)
        self.hide()
        self.deleteLater()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 (Qt's name)
        """Stay at the lower left."""
        if event.type() == QEvent.Type.Resize:
            self._place()
        return False

    def _place(self) -> None:
        self.adjustSize()
        self.move(8, self._canvas.height() - self.height() - BAR_HEIGHT - 16)


def _colors(state: str) -> DirectLabelColormap:
    a, b = {A_MARK: _STRONG, A_GAP: _PALE}, {B_MARK: _STRONG, B_GAP: _PALE}
    clear = np.zeros(4)
    colors: dict[int | None, Any] = {None: clear, 0: clear, **dict.fromkeys((1, 2, 3, 4, 5), clear)}
    if state == A:
        colors.update(dict.fromkeys((*a, BOTH), np.array([*_A, _STRONG])))
    elif state == B:
        colors.update(dict.fromkeys((*b, BOTH), np.array([*_B, _STRONG])))
    else:
        colors.update({code: np.array([*_A, strength]) for code, strength in a.items()})
        colors.update({code: np.array([*_B, strength]) for code, strength in b.items()})
        if state == OVERLAID:
            colors[BOTH] = np.array([*_BOTH, _UNDER])
    return DirectLabelColormap(color_dict=colors)
