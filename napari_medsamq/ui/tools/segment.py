"""Asks the network about boxes and clicks, and writes its answers into the label."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
from qtpy.QtCore import Signal

from napari_medsamq.annotation.click_target import describe_clicks
from napari_medsamq.errors import MedSAMQError
from napari_medsamq.geometry import voxel_ml
from napari_medsamq.inference.slice_predictor import SliceMask
from napari_medsamq.prompts import BoxPrompt3D
from napari_medsamq.ui.messages import describe_masks, report_masks
from napari_medsamq.ui.prompt_list import Request
from napari_medsamq.ui.tools.model import ModelTool
from napari_medsamq.ui.tools.preview import PreviewTool
from napari_medsamq.ui.tools.tool import Tool, ToolContext


class SegmentTool(Tool):
    """Answers the requests of a workspace, one after the other.

    Parameters
    ----------
    context : ToolContext
    preview : PreviewTool
        Gives way to the masks.
    model : ModelTool
        Requests wait in the workspace until its change is made.
    """

    _came = Signal(object, int)  # from the worker's thread: a slice of a request

    def __init__(self, context: ToolContext, preview: PreviewTool, model: ModelTool) -> None:
        super().__init__(context)
        self._preview = preview
        self._model = model
        self._bar = context.bar
        # How many slices of a box have come.
        self._share: dict[Request, int] = {}
        self._came.connect(self._on_came)
        self.follow(self.ask, self._workspace.prompts.requested)
        # Boxes that were drawn meanwhile; what was drawn before is done.
        self.follow(self.ask_all, model.ended)

    def ask(self, request: Request) -> None:
        """Ask the network about a request."""
        if self._model.active:
            return
        try:
            found = self._session.segment(request.box, request.start)
        except MedSAMQError as error:
            self._on_failure(request, error)
            return
        self._dock.messages.announce("Segmenting…")
        self._preview.hold.begin()
        self._compute.submit(
            partial(self._fetch, request, found),
            partial(self._on_masks, request),
            partial(self._on_failure, request),
            self._workspace.strokes,
        )

    def ask_all(self) -> None:
        """Ask about all that wait, unless they wait for the user."""
        for request in self._workspace.prompts.asked:
            self.ask(request)

    def take_back(self) -> bool:
        """Drop the last box, and say so, if that is what undo takes back.

        A box that waits for the user goes last of all, for no redo brings it back.
        """
        prompts = self._workspace.prompts
        if prompts.asked:
            dropped, what = prompts.asked[-1], "the box that was being segmented"
        elif prompts.waiting and self._session.history.undo_name is None:
            dropped, what = prompts.waiting[-1], "a box of the prior scan"
        else:
            return False
        prompts.drop(dropped)
        self._bar.clear_carried()
        self._say(f"Undone: {what}.")
        return True

    def _fetch(self, request: Request, found: Iterator[SliceMask]) -> list[SliceMask]:
        masks: list[SliceMask] = []
        for mask in found:
            # A dock that is closed, or a box that is taken back, waits for one slice, not for all.
            if not self._compute.running or request not in self._workspace.prompts.waiting:
                break
            masks.append(mask)
            if isinstance(request.box, BoxPrompt3D):
                self._came.emit(request, mask.index)
        return masks

    def _on_came(self, request: Request, index: int) -> None:
        box = request.box
        if self.closed or not isinstance(box, BoxPrompt3D):
            return
        if request not in self._workspace.prompts.waiting:
            return
        self._share[request] = done = self._share.get(request, 0) + 1
        count = box.upper[box.axis] - box.lower[box.axis] + 1
        name = self._session.style(request.label_id).name
        self._say(f"Segmenting {name}: {done} of {count} slices. Ctrl+Z takes the box back.")
        if box.axis == self._view.axis:
            self._bar.show_carried([index])

    def _on_masks(self, request: Request, masks: list[SliceMask]) -> None:
        session = self._session
        self._share.pop(request, None)
        counts = session.overlap(masks, request.label_id)
        try:
            edit = self._workspace.prompts.commit(request, masks)
        except MedSAMQError as error:
            self._preview.hide()
            self._fail(error)
            return
        self._preview.hide(slowly=any(mask.zoomed for mask in masks))
        if edit is not None:
            box, replaces, label_id = request.box, request.replaces, request.label_id
            clicks = describe_clicks(session, box, replaces, label_id, masks, edit)
            gained = np.count_nonzero(edit.after == label_id)
            gained -= np.count_nonzero(edit.before == label_id)
            unit = voxel_ml(session.volume.spacing)
            total = session.history.voxel_counts.get(label_id, 0)
            name = session.style(label_id).name
            text = report_masks(name, masks, gained * unit, total * unit)
            # What the user has to know comes first.
            said = f"{clicks} {text}".strip() + session.describe_overlap(counts, committed=True)
            self._say(said, describe_masks(masks))

    def _on_failure(self, request: Request, error: BaseException) -> None:
        self._share.pop(request, None)
        self._workspace.prompts.drop(request)
        self._preview.hide()
        self._fail(error)
