"""The other two planes and the solids beside the plane that is worked on."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from qtpy.compat import isalive
from qtpy.QtCore import QEvent, QObject, QTimer
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_medsamq.annotation.history import LabelPart
from napari_medsamq.array_types import Float64, UInt8
from napari_medsamq.ui.canvas.canvas_widget import main_window
from napari_medsamq.ui.canvas.edge_letters import plane_letters
from napari_medsamq.ui.canvas.picture_overlay import CrossHair
from napari_medsamq.ui.canvas.plane_pane import PlanePane
from napari_medsamq.ui.canvas.planes import PLANES, is_flat
from napari_medsamq.ui.canvas.prompt_layers import STILL
from napari_medsamq.ui.canvas.solid import Solid, build_solid
from napari_medsamq.ui.canvas.solid_pane import SolidPane
from napari_medsamq.ui.tools.tool import BackgroundTool, Job, Then, Tool, ToolContext

# Of the room for pictures that the panes take.
_SHARE = 0.32
# Panes follow what changes within this; the solids once nothing has changed for so long.
_FOLLOW_MS, _REST_MS = 60, 300
# The cross hair follows the mouse once the mask of a box or a click is there.
_AFTER_MS = 150


class AllPlanesTool(Tool):
    """Shows the panes, or takes them away; nothing follows anything while they are not there.

    The button says whether they are shown, whichever volume is in use.

    Parameters
    ----------
    context : ToolContext

    Attributes
    ----------
    panes : PlanePanes or None
        None while they are not there.
    """

    def __init__(self, context: ToolContext) -> None:
        super().__init__(context)
        self._context = context
        self.panes: PlanePanes | None = None
        self.follow(self.switch, self._dock.volume.all_planes_requested)
        if self._dock.volume.shows_all_planes and self._has_planes:
            self._show()

    def close(self) -> None:
        """Take the panes away."""
        self._hide()
        super().close()

    def toggle(self) -> None:
        """Show the panes, or take them away."""
        self.switch(self.panes is None)

    def switch(self, shown: bool) -> None:
        """Show the panes, or take them away if told so."""
        if shown and not self._has_planes:
            self._say("This is a single slice: there are no other planes to be shown beside it.")
            shown = False
        self._dock.volume.show_all_planes(shown)
        if shown == (self.panes is not None):
            return
        if shown:
            self._show()
            self._say(
                "Click in a plane beside the picture to go there, turn its slices by the wheel; "
                "double click to work on it."
            )
        else:
            self._hide()
        # Once the canvas has its new size.
        QTimer.singleShot(0, self._fit)

    @property
    def _has_planes(self) -> bool:
        volume = self._session.volume
        return volume.data.ndim == len(PLANES) and not is_flat(volume)

    def _show(self) -> None:
        self.panes = PlanePanes(self._context)

    def _hide(self) -> None:
        if self.panes is not None:
            self.panes.close()
            self.panes = None

    def _fit(self) -> None:
        if not self.closed and not self._view.solid:
            self.turn(self._view.plane)


class PlanePanes(BackgroundTool):
    """Two planes and the solids in a column at the right of the canvas, with one cross hair.

    The cross hair is the viewer's own point. A click on the picture moves it, too, so that the
    panes show what is worked on.

    Parameters
    ----------
    context : ToolContext
    """

    def __init__(self, context: ToolContext) -> None:
        super().__init__(context, context.files, _REST_MS, gives_way=True)
        volume, workspace = self._session.volume, self._workspace
        self._panes = [
            PlanePane(volume, plane, workspace.body, plane_letters(volume, plane))
            for plane in PLANES
        ]
        self._solid = SolidPane(volume)
        self._versions: dict[int, int] = {}
        # What each pane shows of structures.
        self._looks: dict[PlanePane, tuple[object, ...]] = {}
        self._overlay = CrossHair(self._canvas, self._viewer)
        self._column = QWidget()
        layout = QVBoxLayout(self._column)
        layout.setContentsMargins(2, 0, 0, 0)
        layout.setSpacing(2)
        for pane in (*self._panes, self._solid):
            layout.addWidget(pane, 1)
        window = main_window(self._canvas)
        self._room: QWidget | None = None if window is None else window.centralWidget()
        if self._room is not None:
            self._room.layout().addWidget(self._column)
            self._room.installEventFilter(self)
            self._set_width()
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(_FOLLOW_MS)
        self._soon.timeout.connect(self._show_all)
        self._after = QTimer(self)
        self._after.setSingleShot(True)
        self._after.setInterval(_AFTER_MS)
        self._after.timeout.connect(self._go_to_drawn)
        self._drawn: Float64 = np.zeros(3)
        for pane in self._panes:
            pane.chosen.connect(partial(self._on_chosen, pane))
            pane.stepped.connect(partial(self._on_stepped, pane))
            pane.enlarged.connect(partial(self._on_enlarged, pane))
        self._solid.chosen.connect(self._on_place)
        labels, image = workspace.labels.events, workspace.image.events
        self.follow(self._show_place, self._viewer.dims.events.point, self._view.changed)
        self.follow(self._on_plane, self._view.plane_changed)
        self.follow(self._follow_soon, self._session.history.changed, workspace.changed)
        self.follow(self._follow_soon, labels.visible, labels.contour, labels.opacity)
        self.follow(self._follow_soon, image.contrast_limits)
        self._viewer.mouse_drag_callbacks.append(self._follow_mouse)
        self._meet_structure()
        self._on_plane()

    def _meet_structure(self) -> None:
        """Have the other planes cut what is in hand on the slice in view, if they do not yet."""
        plane, index = self._view.plane, self._view.index
        mask = self._session.slice(plane.axis, index) == self._workspace.label_id
        here = tuple(np.delete(self._view.indices or (0, 0, 0), plane.axis))
        if mask.any() and not mask[here]:
            places = np.argwhere(mask)
            middle = places[np.abs(places - places.mean(axis=0)).sum(axis=1).argmin()]
            self._view.go(dict(zip(plane.order[1:], middle.tolist(), strict=True)))

    def close(self) -> None:
        """Take the panes away."""
        self._soon.stop()
        self._after.stop()
        self._viewer.mouse_drag_callbacks.remove(self._follow_mouse)
        if self._room is not None and isalive(self._room):
            self._room.removeEventFilter(self)
        if isalive(self._overlay):
            self._overlay.close_overlay()
        if isalive(self._column):
            self._column.hide()
            self._column.setParent(None)
            self._column.deleteLater()
        super().close()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 (Qt's name)
        """Take a share of the room."""
        if event.type() == QEvent.Type.Resize:
            self._set_width()
        return False

    def _set_width(self) -> None:
        if self._room is not None:
            self._column.setFixedWidth(max(150, round(self._room.width() * _SHARE)))

    @property
    def pending(self) -> bool:
        """Whether something is about to be shown."""
        return self._soon.isActive() or self._after.isActive() or super().pending

    # -- what is shown ----------------------------------------------------------------------------

    def _on_plane(self) -> None:
        for pane in self._panes:
            pane.setVisible(pane.plane is not self._view.plane)
        self._show_all()

    def _follow_soon(self, *_: Any) -> None:
        if not self._soon.isActive():
            self._soon.start()

    def _show_all(self) -> None:
        """Show slices and structures as they are now; the solids once the user rests."""
        self._show_place()
        for pane in self._shown:
            self._show_labels(pane)
        if self._solid.solid is None or self._changed:
            self.refresh()
        else:
            self._solid.show_solid(self._solid.solid, self._solid_colors())

    def _show_place(self) -> None:
        """Show where the viewer is."""
        indices = self._view.indices
        if indices is None:
            return
        low, high = self._workspace.image.contrast_limits
        for pane in self._shown:
            before = pane.index
            pane.show_slice(indices[pane.plane.axis], (float(low), float(high)))
            if pane.index != before:
                self._show_labels(pane)
            pane.show_cross(*(indices[axis] for axis in pane.plane.order[1:]))
        self._solid.show_cross(np.array(indices) * self._session.volume.spacing)
        _, *shown = self._view.plane.order
        cross = None if self._view.solid else np.array(self._view.point)[shown]
        self._overlay.show_place(cross)

    @property
    def _shown(self) -> list[PlanePane]:
        return [pane for pane in self._panes if pane.plane is not self._view.plane]

    def _show_labels(self, pane: PlanePane) -> None:
        layer = self._workspace.labels
        outlined = layer.contour > 0
        colors = self._colors(1.0 if outlined else layer.opacity)
        looks = pane.index, self._wanted, colors.tobytes(), outlined, layer.visible
        if self._looks.get(pane) != looks:
            self._looks[pane] = looks
            labels = self._session.slice(pane.plane.axis, pane.index)
            pane.show_labels(labels if layer.visible else None, colors, outlined=outlined)

    def _colors(self, opacity: float) -> UInt8:
        """Return red, green, blue and opacity (n, 4) of each label id, all alike from there on."""
        ids = sorted({*self._session.history.voxel_counts, self._workspace.label_id})
        colors = np.zeros((ids[-1] + 2, 4), np.uint8)
        for label_id in ids:
            style = self._session.style(label_id)
            color = QColor(style.color)
            alpha = round(255 * opacity) if style.visible else 0
            colors[label_id] = color.red(), color.green(), color.blue(), alpha
        return colors

    def _solid_colors(self) -> UInt8:
        return self._colors(1.0 if self._workspace.labels.visible else 0.0)

    # -- the solids -------------------------------------------------------------------------------

    @property
    def _wanted(self) -> dict[int, int]:
        history = self._session.history
        return {label_id: history.version(label_id) for label_id in history.voxel_counts}

    @property
    def _changed(self) -> bool:
        return self._wanted != self._versions

    def _next_job(self) -> tuple[Job, Then] | None:
        if not self._changed:
            return None
        self._versions = self._wanted
        parts: dict[int, LabelPart] = {}
        for label_id in self._versions:
            part = self._session.history.part(label_id)
            if part is not None:
                parts[label_id] = part
        return partial(build_solid, parts, self._session.volume.spacing), self._on_solid

    def _on_solid(self, solid: Solid | None) -> None:
        self._solid.show_solid(solid, self._solid_colors())

    # -- the mouse --------------------------------------------------------------------------------

    def _follow_mouse(self, viewer: Any, event: Any) -> Any:
        """Move the cross hair to a click on the picture, or to the middle of what was drawn."""
        layer, start = viewer.layers.selection.active, np.array(event.position)
        pressed = np.array(event.pos)
        moves = layer is None or layer.mode == "pan_zoom"
        if event.button != 1 or event.modifiers or self._view.solid:
            return
        yield
        while event.type == "mouse_move":
            yield
        still = bool(np.linalg.norm(np.array(event.pos) - pressed) <= STILL)
        if still or not moves:
            self._drawn = (start + event.position)[-3:] / 2 - self._workspace.labels.translate
            # Once the mask is there: napari shows all layers anew.
            self._after.start()

    def _go_to_drawn(self) -> None:
        self._on_place(self._drawn)

    def _on_chosen(self, pane: PlanePane, row: float, column: float) -> None:
        rows, columns = pane.plane.order[1:]
        self._view.go({rows: round(row), columns: round(column)})

    def _on_stepped(self, pane: PlanePane, count: int) -> None:
        self._view.go({pane.plane.axis: pane.index + count})

    def _on_enlarged(self, pane: PlanePane) -> None:
        self._dock.volume.plane_requested.emit(PLANES.index(pane.plane))

    def _on_place(self, place: Float64) -> None:
        """Go to a place (z, y, x) in mm of the array axes."""
        voxel = np.rint(place / self._session.volume.spacing).astype(int)
        self._view.go(dict(enumerate(voxel.tolist())))
