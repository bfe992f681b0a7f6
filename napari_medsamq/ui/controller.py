"""Wires one workspace to the form and the viewer for as long as it is the one in use."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qtpy.compat import isalive
from qtpy.QtCore import Signal

from napari_medsamq.annotation.session import AnnotationSession
from napari_medsamq.geometry import voxel_ml
from napari_medsamq.inference.engine import Engines
from napari_medsamq.io.files import as_file_name
from napari_medsamq.io.label_writer import label_formats
from napari_medsamq.ui.canvas.canvas_widget import dock_frame
from napari_medsamq.ui.canvas.planes import PLANES, is_flat, range_without
from napari_medsamq.ui.forms.help_dialog import HelpKey
from napari_medsamq.ui.forms.label_form import StructureRow
from napari_medsamq.ui.forms.tool_rail import (
    BOX,
    BRUSH,
    ERASER,
    LASSO,
    MOVE,
    POINT,
    RULER,
    SCRIBBLE,
)
from napari_medsamq.ui.key_focus import KeyFocus
from napari_medsamq.ui.messages import describe_volume
from napari_medsamq.ui.shortcuts import Key, listed
from napari_medsamq.ui.tools.box_3d import Box3DTool
from napari_medsamq.ui.tools.brush import BrushTool
from napari_medsamq.ui.tools.click import ClickTool
from napari_medsamq.ui.tools.compare import CompareTool
from napari_medsamq.ui.tools.follow_up import FollowUpTool
from napari_medsamq.ui.tools.label_table import LabelTable
from napari_medsamq.ui.tools.model import ModelChooser, ModelTool
from napari_medsamq.ui.tools.nudge import NudgeTool
from napari_medsamq.ui.tools.prefetch import PrefetchTool
from napari_medsamq.ui.tools.preview import PreviewTool
from napari_medsamq.ui.tools.propagate import PropagateTool
from napari_medsamq.ui.tools.refine import RefineTool
from napari_medsamq.ui.tools.repair import RepairTool
from napari_medsamq.ui.tools.review import ReviewTool
from napari_medsamq.ui.tools.save_load import SaveLoadTool
from napari_medsamq.ui.tools.segment import SegmentTool
from napari_medsamq.ui.tools.tool import Tool, ToolContext
from napari_medsamq.ui.tools.undo import UndoTool
from napari_medsamq.ui.tools.view.all_planes import AllPlanesTool
from napari_medsamq.ui.tools.view.measure import MeasureTool
from napari_medsamq.ui.tools.view.orientation_letters import OrientationLetters
from napari_medsamq.ui.tools.view.outlines import OutlineTool
from napari_medsamq.ui.tools.view.pointer import PointerTool
from napari_medsamq.ui.tools.view.ruler import RulerTool
from napari_medsamq.ui.tools.view.slices import SliceTool
from napari_medsamq.ui.tools.view.view_3d import View3DTool
from napari_medsamq.ui.tools.window_level import WindowLevelTool

# Modes of the label layer.
_BRUSHES = {BRUSH: "paint", ERASER: "erase"}


class Controller(Tool):
    """Has all the tools of a volume, and shows what is there.

    Parameters
    ----------
    context : ToolContext
    engines : Engines
    chooser : ModelChooser
    keys : mapping of str to Key
        In napari's notation.

    Attributes
    ----------
    workspace : Workspace
    view : ViewState
    """

    volume_closed = Signal()  # and the controller with it

    def __init__(
        self,
        context: ToolContext,
        engines: Engines,
        chooser: ModelChooser,
        keys: Mapping[str, Key],
    ) -> None:
        super().__init__(context)
        self.workspace, self.view = context.workspace, context.view
        self._workspaces = context.workspaces
        self._keys = keys
        self._chooser = chooser
        self._show_alone()
        self.preview = PreviewTool(context)
        self.prefetch = PrefetchTool(context)
        self.window_level = WindowLevelTool(context, self.prefetch)
        self.model = ModelTool(context, engines, self.window_level)
        self.segment = SegmentTool(context, self.preview, self.model)
        self.box_3d = Box3DTool(context)
        self.click = ClickTool(context)
        self.brush = BrushTool(context)
        self.ruler = RulerTool(context)
        self.nudge = NudgeTool(context)
        self.propagate = PropagateTool(context)
        self.slices = SliceTool(context, self.propagate)
        self.undo = UndoTool(context, self.segment, self.propagate)
        self.review = ReviewTool(context, self.propagate)
        self.repair = RepairTool(context, self.propagate)
        self.refine = RefineTool(context, self.repair)
        self.measure = MeasureTool(context)
        self.labels = LabelTable(context)
        self.save_load = SaveLoadTool(context)
        self.orientation = OrientationLetters(context)
        self.view_3d = View3DTool(context)
        self.all_planes = AllPlanesTool(context)
        self.pointer = PointerTool(context)
        self.outlines = OutlineTool(context)
        self.follow_up = FollowUpTool(context)
        self.compare = CompareTool(context, self.click)
        self._tools = [part for part in vars(self).values() if isinstance(part, Tool)]
        self._key_focus = KeyFocus(self, self._canvas, self._dock, keys)
        self._help = HelpKey(self, self._canvas, listed(keys))
        self._follow_all()
        # A layer's keys come before the viewer's, and napari's own layers use B and Ctrl+Z.
        for layer in (self.workspace.labels, self.workspace.boxes):
            for key, action in keys.items():
                layer.bind_key(key, lambda _, act=action.act: act(self), overwrite=True)
        # napari's Shift makes squares, for good where it is let go while something else has the
        # focus: a name that is typed.
        self.workspace.boxes.bind_key("Shift", lambda _: None, overwrite=True)
        self._show_volume()
        self._on_plane()
        self.workspace.show_label(self.workspace.label_id)
        # Another model may have been chosen while another volume was in use.
        if self.workspace.model != engines.model:
            self.model.to_model(engines.model)
        # Boxes whose masks were on their way when the dock was closed.
        self.segment.ask_all()

    @property
    def session(self) -> AnnotationSession:
        """The session of the workspace."""
        return self._session

    def close(self) -> None:
        """Let go of form and viewer; the workspace stays as it is."""
        if self.view.point:  # else all layers are gone
            self.workspace.left_at = dict(enumerate(self.view.point))
        self.workspace.plane = self.view.plane
        # What was made last gives back what the others have to close.
        for tool in reversed(self._tools):
            tool.close()
        self._key_focus.close()
        self._help.close()
        self.workspace.boxes.mode = "pan_zoom"
        for layer in (self.workspace.labels, self.workspace.boxes):
            for key in self._keys:
                layer.bind_key(key, None, overwrite=True)
        self.workspace.boxes.bind_key("Shift", None, overwrite=True)
        self.view.close()
        super().close()

    def _show_alone(self) -> None:
        """Show the volume and no other, where the user left it."""
        workspace, viewer = self.workspace, self._viewer
        workspace.add_to(viewer)
        # Volumes lie over each other in the viewer.
        for other in self._workspaces:
            other.show(other is workspace)
        self._keep_range()
        viewer.layers.selection.active = workspace.boxes
        self.turn(workspace.plane)
        for axis, position in enumerate(self.view.point):
            wanted = workspace.place(axis, workspace.left_at.get(axis, position))
            viewer.dims.set_point(viewer.dims.ndim - 3 + axis, wanted)

    def _follow_all(self) -> None:
        dock, workspace, layers = self._dock, self.workspace, self._viewer.layers
        self.follow(self.show_plane, dock.volume.plane_requested)
        self.follow(self.take, dock.rail.tool_requested)
        self.follow(self._help.show, dock.volume.help_requested)
        self.follow(dock.guide.asked, workspace.prompts.requested)
        self.follow(self._on_plane, self.view.plane_changed)
        self.follow(self._show_volume, self.model.ended)
        self.follow(self.measure.refresh, self.model.ended)
        self.follow(self._show_propagating, self.propagate.changed)
        self.follow(self._show_session, workspace.changed)
        self.follow(self._fail, workspace.refused)
        self.follow(self._on_closed, workspace.closed)
        self.follow(self._keep_range, self._viewer.dims.events.range)
        self.follow(self._on_layer_removed, layers.events.removed)
        self.follow(
            self._show_mode,
            self.click.changed,
            self.ruler.changed,
            workspace.boxes.events.mode,
            workspace.labels.events.mode,
            layers.selection.events.active,
        )
        for action in self._viewer.window.file_menu.actions():
            if action.text().startswith("Save Selected Layers"):  # napari's own
                self.follow(self._on_napari_saved, action.triggered)

    # -- boxes and masks --------------------------------------------------------------------------

    def take(self, tool: str) -> None:
        """Take a tool in hand, one of `tool_rail.TOOLS`."""
        self.draw(tool == BOX)
        if tool in (POINT, SCRIBBLE, LASSO):
            self.click.switch(True, tool)
        elif tool == RULER:
            self.ruler.switch(True)
        elif tool in _BRUSHES:
            self._viewer.layers.selection.active = self.workspace.labels
            self.workspace.labels.mode = _BRUSHES[tool]
            self._show_mode()

    @property
    def tool(self) -> str:
        """The tool in hand."""
        labels = self.workspace.labels
        if self._viewer.layers.selection.active is labels:
            return next((tool for tool, mode in _BRUSHES.items() if mode == labels.mode), MOVE)
        if self.drawing:
            return BOX
        return RULER if self.ruler.active else self.click.tool if self.click.active else MOVE

    def draw(self, drawing: bool) -> None:
        """Let a drag on the canvas draw a box, or move the picture."""
        self.compare.leave(back=False)
        self.workspace.add_to(self._viewer)
        self._viewer.layers.selection.active = self.workspace.boxes
        self.click.switch(False)
        self.ruler.switch(False)
        self.workspace.boxes.mode = "add_rectangle" if drawing else "pan_zoom"

    def fold(self) -> None:
        """Give the picture the room of the dock, or take it back."""
        frame = dock_frame(self._dock)
        if frame is not None:
            frame.setVisible(not frame.isVisible())

    @property
    def drawing(self) -> bool:
        """Whether a drag on the canvas draws a box."""
        boxes = self.workspace.boxes
        return boxes.mode == "add_rectangle" and self._viewer.layers.selection.active is boxes

    def _show_propagating(self) -> None:
        self._dock.rail.show_propagating(self.propagate.active)
        self._show_session()

    def _on_napari_saved(self) -> None:
        active, workspace = self._viewer.layers.selection.active, self.workspace
        if active in (workspace.boxes, workspace.marks):
            self._say(
                f"What napari saves of the layer {active.name!r} is no label, unless its name ends "
                "in .nii.gz or .nii. Ctrl+S on the picture saves the label."
            )

    def _on_layer_removed(self, event: Any) -> None:
        workspace = self.workspace
        if event.value in (workspace.labels, workspace.boxes):
            self._say(
                f"The layer {event.value.name!r} was removed. Nothing is lost: draw to show it."
            )

    def _on_closed(self) -> None:
        # A window that closes ends its dock without a word, and then takes its layers out.
        if not isalive(self):
            return
        self.close()
        self.volume_closed.emit()

    # -- what is shown ----------------------------------------------------------------------------

    def show_plane(self, number: int) -> None:
        """Show axial (0), coronal (1) or sagittal (2) slices in radiological convention."""
        if is_flat(self.session.volume) and PLANES[number] is not self.view.plane:
            self._say("This is a single slice: there are no other planes.")
            return
        self.workspace.add_to(self._viewer)
        self.view_3d.leave()
        self.turn(PLANES[number])

    def _on_plane(self) -> None:
        self.workspace.show_plane(self.view.plane)
        self._dock.volume.show_plane(PLANES.index(self.view.plane))

    def _keep_range(self) -> None:
        """Have the slider count the slices of this volume; napari counts those of all layers."""
        others = (own for own in self._workspaces if own is not self.workspace)
        hidden = [layer for own in others for layer in own.layers]
        if self.workspace.labels in self._viewer.layers:
            wanted = range_without(self._viewer, hidden, self.workspace.labels)
            if self._viewer.dims.range != wanted:
                self._viewer.dims.range = wanted

    def _show_volume(self) -> None:
        volume = self.session.volume
        folder = volume.path.parent if volume.path is not None else Path.cwd()
        name = as_file_name(volume.name)
        self._dock.measure.suggest(folder / f"{name}_label.csv")
        self._dock.show_volume(
            self.workspace.image,
            describe_volume(volume),
            volume.modality,
            folder / f"{name}_label",
            label_formats(volume),
        )
        self._dock.volume.planes.setHidden(is_flat(volume))
        self._chooser.show(volume.modality)
        self._show_session()

    def _show_session(self) -> None:
        history = self.session.history
        own_ml = voxel_ml(self.session.volume.spacing)
        label_id, counts = self.workspace.label_id, history.voxel_counts
        rows = [
            StructureRow(used, self.session.style(used), counts.get(used, 0) * own_ml)
            for used in sorted({*self.session.styles, label_id})
        ]
        self._dock.label.show_structures(rows, label_id)
        self._dock.check.show_structures(rows, label_id)
        self._dock.show_history(history.undo_name, history.redo_name)
        self._show_mode()

    def _show_mode(self) -> None:
        # Whoever draws, paints or takes another tool in hand does not click.
        if self.click.active and self.workspace.boxes.mode != "pan_zoom":
            self.click.switch(False)
        if self.click.active or self.workspace.boxes.mode != "pan_zoom":
            self.ruler.switch(False)
        self._dock.rail.show_tool(self.tool)
