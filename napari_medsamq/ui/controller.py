"""Wires one workspace to the form and the viewer for as long as it is the one in use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.compat import isalive
from qtpy.QtCore import QObject, Signal

from napari_medsamq.annotation.history import Edit
from napari_medsamq.annotation.session import Session
from napari_medsamq.errors import MedSAMQError
from napari_medsamq.inference.engine import Engines
from napari_medsamq.io.files import as_file_name
from napari_medsamq.io.label_writer import label_formats
from napari_medsamq.ui.canvas.canvas import canvas_widget
from napari_medsamq.ui.canvas.planes import (
    PLANES,
    Plane,
    range_without,
    require_slices,
    turn_viewer,
)
from napari_medsamq.ui.checkup import Checkup
from napari_medsamq.ui.facts import describe_volume
from napari_medsamq.ui.forms.dock_form import DOWN, TO_VIEW, UP, SegmentView
from napari_medsamq.ui.forms.guide import PROPAGATE
from napari_medsamq.ui.forms.help_dialog import HelpKey
from napari_medsamq.ui.key_focus import KeyFocus
from napari_medsamq.ui.shortcuts import Key
from napari_medsamq.ui.tools.background import Live
from napari_medsamq.ui.tools.click import Clicking
from napari_medsamq.ui.tools.label_table import Naming
from napari_medsamq.ui.tools.loader import Loader
from napari_medsamq.ui.tools.model import Switch
from napari_medsamq.ui.tools.model_chooser import ModelChooser
from napari_medsamq.ui.tools.nudge import nudge
from napari_medsamq.ui.tools.orientation_letters import Orientation
from napari_medsamq.ui.tools.propagate import Propagator
from napari_medsamq.ui.tools.save_load import Saver
from napari_medsamq.ui.tools.segment import Answers
from napari_medsamq.ui.tools.view_3d import Solid
from napari_medsamq.ui.tools.window_level import Windowing
from napari_medsamq.ui.worker import Worker
from napari_medsamq.ui.workspace import Workspace, open_workspaces

if TYPE_CHECKING:
    from napari import Viewer


class Controller(QObject):
    """Turns what the user asks for into changes of a workspace, and shows what came of it.

    Parameters
    ----------
    parent : QObject
    viewer : napari.Viewer
    view : SegmentView
    workspace : Workspace
    engines : Engines
    chooser : ModelChooser
    compute, files : Worker
        Threads for the network and for saving.
    keys : mapping of str to Key
        In napari's notation.
    ahead : bool
        Whether slices are encoded before they are needed.
    """

    closed = Signal()  # with its volume

    def __init__(
        self,
        parent: QObject,
        viewer: Viewer,
        view: SegmentView,
        workspace: Workspace,
        engines: Engines,
        chooser: ModelChooser,
        compute: Worker,
        files: Worker,
        keys: Mapping[str, Key],
        *,
        ahead: bool,
    ) -> None:
        super().__init__(parent)
        self._keys = keys
        self.workspace = workspace
        self._viewer = viewer
        self._view = view
        self._chooser = chooser
        self._compute = compute
        self._closed = False
        self._switch = Switch(
            workspace,
            engines,
            compute,
            show_window=lambda window: self.windowing.show(window),
            ended=self._end_switch,
            fail=self.fail,
        )
        workspace.add_to(viewer)
        self.solid = Solid(viewer, workspace)
        self.propagator = Propagator(self, workspace, compute, view.show_status, self.fail)
        self._naming = Naming(workspace, view, compute, self._tell)
        self.saver = Saver(view, workspace, files)
        self.loader = Loader(view, workspace, files)
        canvas = canvas_widget(view)
        self.live = Live(self, viewer, workspace, compute, canvas, ahead=ahead)
        self.answers = Answers(
            workspace,
            compute,
            self.live.preview,
            may_ask=lambda: not self._switch.active,
            say=view.show_status,
            fail=self.fail,
        )
        self.clicking = Clicking(
            self, viewer, workspace, compute, lambda: (self._axis, self._shown_slice), self.fail
        )
        self.checkup = Checkup(
            self,
            viewer,
            view,
            workspace,
            compute,
            files,
            canvas,
            self.propagator,
            self.clicking,
            lambda: (self._axis, self._shown_slice),
            checks=ahead,
        )
        self._key_focus = KeyFocus(self, canvas, view, keys)
        self._help = HelpKey(self, canvas, {key: action.words for key, action in keys.items()})
        self.windowing = Windowing(self, viewer, view, workspace, self.live, canvas)
        self.orientation = Orientation(self, viewer, workspace, canvas)
        # Volumes lie over each other in the viewer, so only the one in use is shown.
        for other in open_workspaces(viewer):
            other.show(other is workspace)
        self._keep_range()
        viewer.layers.selection.active = workspace.boxes
        self._wires = self._list_wires()
        for signal, slot in self._wires:
            signal.connect(slot)
        # A layer's keys come before the viewer's, and napari's own layers use B and Ctrl+Z.
        for layer in (workspace.labels, workspace.boxes):
            for key, action in keys.items():
                layer.bind_key(key, lambda _, act=action.act: act(self), overwrite=True)
        self._show_volume()
        self.show_plane(PLANES.index(workspace.plane))
        for axis, position in enumerate(self._point):
            wanted = workspace.place(axis, workspace.left_at.get(axis, position))
            viewer.dims.set_point(viewer.dims.ndim - 3 + axis, wanted)
        workspace.show_label(workspace.label_id)
        # Another model may have been chosen while another volume was in use.
        if workspace.model != engines.model:
            self._switch.to_model(engines.model)
        # Boxes whose masks were on their way when the dock was closed.
        self.answers.ask_all()

    @property
    def session(self) -> Session:
        """The session of the workspace."""
        return self.workspace.session

    def close(self) -> None:
        """Let go of form and viewer; the workspace stays as it is."""
        self._closed = True
        if self._viewer.dims.ndim >= len(PLANES):  # else all layers are gone
            self.workspace.left_at = dict(enumerate(self._point))
        for signal, slot in self._wires:
            signal.disconnect(slot)
        self.propagator.stop()
        self._naming.close()
        # Gives back what the others have to close.
        self.checkup.close()
        for part in (
            self.solid,
            self._key_focus,
            self._help,
            self.clicking,
            self.windowing,
            self.orientation,
        ):
            part.close()
        self.live.close()
        self.workspace.boxes.mode = "pan_zoom"
        for layer in (self.workspace.labels, self.workspace.boxes):
            for key in self._keys:
                layer.bind_key(key, None, overwrite=True)
        self.deleteLater()

    def _list_wires(self) -> list[tuple[Any, Callable[..., None]]]:
        view, workspace = self._view, self.workspace
        return [
            (view.volume.modality_requested, self._switch.to_modality),
            (view.volume.model.requested, self._switch.to_model),
            (view.volume.plane_requested, self.show_plane),
            (self.live.said, view.show_status),
            (view.draw_requested, self.draw),
            (view.propagate_requested, self.propagate),
            (view.stop_requested, self.propagator.stop),
            (self.propagator.changed, self._show_propagating),
            (view.undo_requested, self.undo),
            (view.redo_requested, self.redo),
            (view.help_requested, self._help.show),
            (view.save_requested, self.saver.save),
            (view.load_requested, self.loader.load),
            (workspace.requested, self.answers.ask),
            (self.clicking.changed, self._show_mode),
            (view.click_requested, self.clicking.switch),
            (view.improve_requested, self.clicking.improve),
            (workspace.requested, view.guide.asked),
            (workspace.changed, self._show_session),
            (workspace.refused, self.fail),
            (workspace.boxes.events.mode, self._show_mode),
            (workspace.closed, self._on_closed),
            (self._viewer.dims.events.range, self._keep_range),
            (self._viewer.layers.events.removed, self._on_layer_removed),
            (self._viewer.layers.selection.events.active, self._show_mode),
            *((action.triggered, self._on_napari_saved) for action in self._saving_actions()),
        ]

    def _saving_actions(self) -> list[Any]:
        """Return napari's own menu entries that save what is selected in its list of layers."""
        actions = self._viewer.window.file_menu.actions()
        return [action for action in actions if action.text().startswith("Save Selected Layers")]

    # -- boxes and masks --------------------------------------------------------------------------

    def draw(self, drawing: bool) -> None:
        """Let a drag on the canvas draw a box, or move the picture."""
        self.checkup.comparing.leave(back=False)
        self.workspace.add_to(self._viewer)
        self._viewer.layers.selection.active = self.workspace.boxes
        self.workspace.boxes.mode = "add_rectangle" if drawing else "pan_zoom"

    def toggle_drawing(self) -> None:
        """Switch between drawing boxes and moving the picture."""
        self.draw(not self._drawing)

    @property
    def _drawing(self) -> bool:
        boxes = self.workspace.boxes
        return boxes.mode == "add_rectangle" and self._viewer.layers.selection.active is boxes

    def propagate(self, way: str | None = None) -> None:
        """Carry the label that is drawn for through the volume; see `view.WAYS`."""
        axis, last = self._axis, self.session.label.shape[self._axis] - 1
        shown = self._shown_slice
        chosen = way or self._view.way
        ends = {UP: (last, last), DOWN: (0, 0), TO_VIEW: (shown, shown)}
        begin = partial(self.propagator.begin, axis, *ends.get(chosen, (0, last)))

        def go() -> None:
            try:
                begin()
            except MedSAMQError as error:
                self.fail(error)

        self.workspace.edits.after_stroke(go, self._compute)

    def _show_propagating(self) -> None:
        if self.propagator.active:
            self._view.guide.done(PROPAGATE)
        self._view.show_propagating(self.propagator.active)
        self._show_session()

    @property
    def plane(self) -> Plane:
        """The plane in view."""
        return self.workspace.plane

    @property
    def _axis(self) -> int:
        return self.plane.axis

    def nudge(self, arrow: str, *, resize: bool) -> None:
        """Move or resize the latest box on the slice in view; see `nudging`."""
        try:
            require_slices(self._viewer)
            nudge(self.workspace, self.plane, self._shown_slice, arrow, resize=resize)
        except MedSAMQError as error:
            self.fail(error)

    def _on_napari_saved(self) -> None:
        active, workspace = self._viewer.layers.selection.active, self.workspace
        if active in (workspace.boxes, workspace.marks):
            self._view.show_status(
                f"What napari saves of the layer {active.name!r} is no label, unless its name ends "
                "in .nii.gz or .nii. Ctrl+S on the picture saves the label."
            )

    def fail(self, error: BaseException) -> None:
        """Tell the user what went wrong."""
        self._view.show_failure(error)

    # -- history and labels -----------------------------------------------------------------------

    def undo(self) -> None:
        """Take back the last edit, or the last box while it is being segmented."""
        self.propagator.stop()

        def take_back() -> None:
            if not self.answers.take_back():
                self._tell("Undone", self.session.history.undo())

        self.workspace.edits.after_stroke(take_back, self._compute)

    def redo(self) -> None:
        """Make the last undone edit again."""
        self.workspace.edits.after_stroke(
            lambda: self._tell("Done again", self.session.history.redo()), self._compute
        )

    def _tell(self, what: str, edit: Edit | None) -> None:
        self.workspace.refresh()
        self._view.show_status(f"{what}: {edit.name}." if edit else "Nothing to do there.")

    def _on_layer_removed(self, event: Any) -> None:
        workspace = self.workspace
        if event.value in (workspace.labels, workspace.boxes):
            self._view.show_status(
                f"The layer {event.value.name!r} was removed. Nothing is lost: draw to show it."
            )

    def _on_closed(self) -> None:
        # A window that closes ends its dock without a word, and then takes its layers out.
        if not isalive(self):
            return
        self.close()
        self.closed.emit()

    # -- what is shown ----------------------------------------------------------------------------

    def show_plane(self, number: int) -> None:
        """Show axial (0), coronal (1) or sagittal (2) slices in radiological convention."""
        plane = PLANES[number]
        self.workspace.add_to(self._viewer)
        self.solid.leave()
        self.workspace.set_plane(plane)
        self.live.look_along(plane.axis)
        self.checkup.look_again()
        turn_viewer(self._viewer, plane, self.workspace.labels)
        self._view.volume.show_plane(number)

    def _keep_range(self) -> None:
        """Have the slider count the slices of this volume; napari counts those of all layers."""
        others = (own for own in open_workspaces(self._viewer) if own is not self.workspace)
        hidden = [layer for own in others for layer in own.layers]
        if self.workspace.labels in self._viewer.layers:
            wanted = range_without(self._viewer, hidden)
            if self._viewer.dims.range != wanted:
                self._viewer.dims.range = wanted

    @property
    def _shown_slice(self) -> int:
        return self.workspace.slice_at(self._point[self._axis], self._axis)

    @property
    def _point(self) -> tuple[float, ...]:
        """Where the viewer is on the array axes (3,), in its mm."""
        return tuple(self._viewer.dims.point[-3:])

    def _end_switch(self) -> None:
        # Another volume may be in use by now.
        if not self._closed:
            self._show_volume()
            self.windowing.refresh()
            self.live.wake()
            self.checkup.look_again()
            # Boxes that were drawn meanwhile; what was drawn before is done.
            self.answers.ask_all()

    def _show_volume(self) -> None:
        volume = self.session.volume
        folder = volume.path.parent if volume.path is not None else Path.cwd()
        name = as_file_name(volume.name)
        self._view.measure.suggest(folder / f"{name}_label.csv")
        self._view.show_volume(
            self.workspace.image,
            describe_volume(volume),
            volume.modality,
            folder / f"{name}_label",
            label_formats(volume),
        )
        self._chooser.show(volume.modality)
        self._show_session()

    def _show_session(self) -> None:
        history = self.session.history
        voxel_ml = float(np.prod(self.session.volume.spacing)) / 1000
        rows = [
            (label_id, self.session.style(label_id), count, count * voxel_ml)
            for label_id, count in history.voxel_counts.items()
        ]
        label_id = self.workspace.label_id
        self._view.label.show_label(label_id, self.session.style(label_id))
        self._view.label.show_labels(rows)
        self._view.show_history(history.undo_name, history.redo_name)
        self._show_mode()

    def _show_mode(self) -> None:
        # Whoever draws, paints or takes another tool in hand does not click.
        if self.clicking.active and self.workspace.boxes.mode != "pan_zoom":
            self.clicking.switch(False)
        self._view.show_mode(self._drawing, self.clicking.active)
