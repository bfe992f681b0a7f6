"""A session and the layers that show it; outlives the dock, so that closing it loses nothing."""

from __future__ import annotations

from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import ref

import numpy as np
from napari.layers import Image, Labels, Layer, Shapes
from napari.utils.colormaps import DirectLabelColormap
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_medsamq.annotation.history import Edit, Prompt
from napari_medsamq.annotation.review import Review
from napari_medsamq.annotation.session import AnnotationSession
from napari_medsamq.array_types import Bool
from napari_medsamq.errors import PromptError
from napari_medsamq.inference.slice_predictor import SliceMask
from napari_medsamq.plugin import VOLUME
from napari_medsamq.prompts import BoxPrompt, BoxPrompt3D
from napari_medsamq.records.recording import Recorder
from napari_medsamq.records.work_list import BEGUN, SAVED
from napari_medsamq.ui.canvas.label_strokes import LabelStrokes
from napari_medsamq.ui.canvas.planes import Plane, body_box, finest_plane
from napari_medsamq.ui.canvas.prompt_layers import BoxLayer, marks_layer, show_clicks
from napari_medsamq.ui.canvas.rulers import Ruler
from napari_medsamq.ui.prompt_list import PromptList, Request
from napari_medsamq.workflows.follow_up import PriorLabel

if TYPE_CHECKING:
    from napari.components import ViewerModel


class Workspace:
    """One open volume: session, image layer, label layer, box layer.

    All methods belong to the GUI thread.

    Parameters
    ----------
    session : AnnotationSession
    image : Image
        The layer that shows the volume.
    model : Path, optional
        The model that was chosen for the session's engine; None if the program chose.
    recorder : Recorder, optional
        Writes down what is done; None where that is not possible.

    Attributes
    ----------
    left_at : dict of int to float
        Where on each array axis, in the viewer's mm, the user left the volume for another one.
    prior : list of PriorLabel
        Of the scan that this one was compared with last, if any.
    saved_to : Path or None
        Where the label was saved last.
    shares_window : bool
        Whether the network sees what the user sees, or always the session's standard window.
    reviews : dict of (int, int) to Review
        What is known of slices, by array axis and label id.
    rulers : list of Ruler
        Lines that the user has measured.
    prompts : PromptList
        The boxes, those that wait for their masks too.
    plane : Plane
        In which the user left it, or is to see it first.
    body : (2, 3) int
        First and last voxels of the box that the patient lies in.
    box_layer : BoxLayer
        Shows the boxes, and tells what the mouse does to them.
    strokes : LabelStrokes
        Holds answers back while napari's brush is at work.
    """

    changed = Signal()
    seen_changed = Signal()  # what the network sees of the volume, or the network
    refused = Signal(Exception)
    closed = Signal()

    def __init__(
        self,
        session: AnnotationSession,
        image: Image,
        model: Path | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self._recorder = recorder
        # Weakly, so that what the dock keeps of a viewer does not keep the viewer.
        self._shown_in: ref[ViewerModel] | None = None
        self.session = session
        self.image = image
        self.model = model
        self.label_id = 1
        self.left_at: dict[int, float] = {}
        self.prior: list[PriorLabel] = []
        self.saved_to: Path | None = None
        # What had been done by then.
        self._saved_edits: tuple[Edit, ...] = session.history.edits
        self.shares_window = True
        self.rulers: list[Ruler] = []
        self.prompts = PromptList(session)
        self.reviews: dict[tuple[int, int], Review] = {}
        volume = session.volume
        shared: dict[str, Any] = {
            "scale": tuple(volume.spacing),
            # Only someone else's image layer is moved.
            "translate": (*(0.0,) * (3 - len(image.translate)), *image.translate)[-3:],
            "metadata": {VOLUME: volume},
            "axis_labels": ("z", "y", "x"),
        }
        self.labels = Labels(session.label, name=f"{volume.name} label", opacity=0.45, **shared)
        self.boxes = Shapes(ndim=3, name=f"{volume.name} boxes", face_color="transparent", **shared)
        self.preview = Labels(
            np.zeros((1, 1, 1), np.uint8),
            name=f"{volume.name} preview",
            opacity=0.6,
            visible=False,
            **{**shared, "metadata": {}},
        )
        self.marks = marks_layer(session.label.shape, name=f"{volume.name} clicks", **shared)
        self.box_layer = BoxLayer(self.boxes, session.label.shape)
        self._colors: dict[int, str] = {}
        self.plane = finest_plane(volume)
        self.body = body_box(volume)
        self.strokes = LabelStrokes(session, self.labels, self.refresh, self.refused.emit)
        self.marks.events.data.connect(self._show_marks)
        self.prompts.changed.connect(self.refresh)
        self.prompts.waiting_changed.connect(self._on_waiting)
        self.box_layer.changed.connect(self._on_box)
        self.box_layer.removed.connect(self._on_removed)
        self.box_layer.refused.connect(self.refused.emit)
        self.box_layer.ended.connect(self._show_boxes)
        self.show_label(self.label_id)

    def add_to(self, viewer: ViewerModel) -> None:
        """Show those of the layers that the viewer does not have.

        That of clicks comes when there are any: each layer takes napari a twelfth of a second.
        """
        if self._viewer is None:
            self._shown_in = ref(viewer)
            viewer.mouse_drag_callbacks.append(self.strokes.follow)
            viewer.layers.events.removed.connect(self._on_layer_removed)
        for number, layer in enumerate(self.layers):
            if layer not in viewer.layers and self._has_content(layer):
                below = [viewer.layers.index(own) for own in self._shown(viewer, 0, number)]
                above = [viewer.layers.index(own) for own in self._shown(viewer, number, None)]
                place = max(below) + 1 if below else min(above, default=len(viewer.layers))
                viewer.layers.insert(place, layer)
            if self._is_ours(layer):
                # Guards what is ours against the delete key; a script may still remove it.
                layer.locked = True

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All layers, in their order from below."""
        return self.image, self.labels, self.preview, self.marks, self.boxes

    @property
    def keeps_work(self) -> bool:
        """Whether what was done will be there again when the volume is opened again."""
        return self._recorder is not None and self._recorder.works

    def mark_saved(self, path: Path, edits: tuple[Edit, ...]) -> None:
        """Take down where the label was saved, and what had been done by then."""
        self.saved_to, self._saved_edits = path, edits

    @property
    def progress(self) -> str | None:
        """How far the work has come; None where nothing was done since it was opened."""
        if self.session.history.edits != self._saved_edits:
            return BEGUN
        return None if self.saved_to is None else SAVED

    @property
    def unsaved(self) -> list[str]:
        """The names of the structures that have changed since the last save."""
        before, now = self._saved_edits, self.session.history.edits
        same = sum(
            1 for _ in takewhile(lambda two: two[0] is two[1], zip(before, now, strict=False))
        )
        ids = {
            int(label_id)
            for edit in (*before[same:], *now[same:])
            for ids in (edit.before, edit.after)
            for label_id in np.unique(ids)
        }
        return [self.session.style(label_id).name for label_id in sorted(ids - {0})]

    def close(self) -> None:
        """Take the layers out of the viewer, and forget what waits; the journal keeps the work.

        The user's own image stays.
        """
        viewer = self._viewer
        if viewer is None:
            return
        self._shown_in = None
        viewer.mouse_drag_callbacks.remove(self.strokes.follow)
        viewer.layers.events.removed.disconnect(self._on_layer_removed)
        self.prompts.waiting.clear()
        self.closed.emit()
        for layer in reversed(self.layers):
            if self._is_ours(layer) and layer in viewer.layers:
                layer.locked = False
                viewer.layers.remove(layer)
        if self._recorder is not None:
            self._recorder.close()

    @property
    def _viewer(self) -> ViewerModel | None:
        """The viewer that it is open in."""
        return None if self._shown_in is None else self._shown_in()

    def _shown(self, viewer: ViewerModel, first: int, last: int | None) -> list[Layer]:
        return [layer for layer in self.layers[first:last] if layer in viewer.layers]

    def _is_ours(self, layer: Layer) -> bool:
        return VOLUME in layer.metadata or layer is self.preview

    def _has_content(self, layer: Layer) -> bool:
        return layer is not self.marks or len(self.marks.data) > 0

    def _show_marks(self) -> None:
        """Show the layer of clicks once there are any, with the active layer as it was."""
        viewer = self._viewer
        if viewer is not None and len(self.marks.data) > 0 and self.marks not in viewer.layers:
            active = viewer.layers.selection.active
            self.add_to(viewer)
            viewer.layers.selection.active = active

    def _on_layer_removed(self, event: Any) -> None:
        if event.value is self.image:
            # Once napari is done with its layers.
            QTimer.singleShot(0, self._close_without_image)

    def _close_without_image(self) -> None:
        viewer = self._viewer
        if viewer is None or self.image in viewer.layers:
            return
        if self.keeps_work or not self.session.history.edits:
            self.close()
            return
        if not self._shown(viewer, 0, None):
            # All layers were cleared; drawing brings them back.
            return
        self.add_to(viewer)
        self.refused.emit(
            PromptError(
                f"What was done to {self.session.volume.name} is not recorded, so the volume "
                "stays. Save the label, and close the volume in the dock."
            )
        )

    def show(self, shown: bool) -> None:
        """Show or hide those of the layers that are ours; the user's own are left alone."""
        for layer in (self.image, self.labels, self.marks, self.boxes):
            if VOLUME in layer.metadata:
                layer.visible = shown

    def place(self, axis: int, position: float) -> float:
        """Return a place on an array axis, in the viewer's mm: `position`, or the middle slice.

        The middle slice is taken where `position` lies on none of the volume's slices.
        """
        size, spacing = self.session.label.shape[axis], self.session.volume.spacing[axis]
        start = float(self.labels.translate[axis])
        on_slice = -0.5 <= (position - start) / spacing <= size - 0.5
        return position if on_slice else float(start + size // 2 * spacing)

    def show_label(self, label_id: int) -> None:
        """Make `label_id` the one that the next box or stroke is drawn for."""
        self.label_id = label_id
        color = self.session.style(label_id).color
        self.boxes.current_edge_color = color
        self.labels.selected_label = label_id
        self.refresh()

    def show_plane(self, plane: Plane) -> None:
        """Draw boxes with edges that suit a plane."""
        self.boxes.current_edge_width = self._edge_width(plane.axis)

    def commit_carried(self, mask: SliceMask, label_id: int, group: object, kept: Bool) -> None:
        """Write a carried mask into the label, and show it if its slice is in sight."""
        self.session.commit_carried(mask, label_id, group, kept)
        self.labels.refresh(thumbnail=False, extent=False, highlight=False)

    def remove_label(self, label_id: int) -> Edit:
        """Clear a label, its boxes, and its boxes that still wait."""
        edit = self.session.remove_label(label_id)
        self.prompts.drop(*(wait for wait in self.prompts.waiting if wait.label_id == label_id))
        self.refresh()
        return edit

    def refresh(self) -> None:
        """Show the session's label, colours and boxes."""
        used = (*self.session.history.voxel_counts, self.label_id)
        styles = {label_id: self.session.style(label_id) for label_id in used}
        colors = {
            label_id: style.color if style.visible else "transparent"
            for label_id, style in styles.items()
        }
        if colors != self._colors:
            self._colors = colors
            # napari asks for a colour of unknown ids (None) and of the background too.
            self.labels.colormap = DirectLabelColormap(
                color_dict={None: self.session.palette[0], 0: "transparent", **colors}
            )
        self.labels.refresh()
        self._show_boxes()
        self.changed.emit()

    def _on_waiting(self) -> None:
        self._show_boxes()
        self.changed.emit()

    def _show_boxes(self) -> None:
        if self.box_layer.active:
            return
        shown = [item for item in self.prompts.shown if self.session.style(item.label_id).visible]
        show_clicks(self.marks, [item.box for item in shown])
        self._show_marks()
        self.box_layer.show(
            shown,
            [self.session.style(item.label_id).color for item in shown],
            [self._edge_width(item.box.axis) for item in shown],
        )
        color = self.session.style(self.label_id).color
        # napari draws anew whatever is set, and takes the colour of what was chosen last.
        if not self.boxes.current_edge_color.upper().startswith(color.upper()):
            self.boxes.current_edge_color = color

    def _edge_width(self, axis: int) -> float:
        # napari measures edges in voxels. Where those are not square, the thinner lines are made
        # just thick enough to be seen.
        height, width = np.delete(self.session.label.shape, axis)
        rows, columns = self.session.volume.pixel_size(axis)
        return float(max(height * rows, width * columns) / 350 / min(rows, columns))

    def _on_box(self, item: Prompt | Request | None, box: BoxPrompt) -> None:
        if item is None:
            self.prompts.ask(Request(box, self.label_id))
        elif isinstance(item.box, BoxPrompt3D):
            self.prompts.move(item, item.box.with_sides(box))
        else:
            self.prompts.move(item, box)

    def _on_removed(self, item: Prompt | Request) -> None:
        self.strokes.after_stroke(partial(self._remove, item))

    def _remove(self, item: Prompt | Request) -> None:
        try:
            self.prompts.remove(item)
        except PromptError as error:
            self.refused.emit(error)
