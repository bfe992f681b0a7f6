"""The mask of the box under the mouse, while it moves."""

from __future__ import annotations

from functools import partial

from qtpy.QtCore import QTimer, Signal

from napari_medsamq.annotation.history import Prompt
from napari_medsamq.array_types import Bool
from napari_medsamq.errors import MedSAMQError
from napari_medsamq.geometry import voxel_ml
from napari_medsamq.inference.slice_predictor import SliceMask
from napari_medsamq.prompts import BoxPrompt
from napari_medsamq.ui.canvas.canvas_widget import PaintHold
from napari_medsamq.ui.canvas.preview_layer import PreviewLayer
from napari_medsamq.ui.messages import describe_masks, in_ml
from napari_medsamq.ui.prompt_list import Request
from napari_medsamq.ui.tools.tool import BackgroundTool, Job, Then, ToolContext

# A preview that gives way to a refined mask pales in so many steps, for the eye to see the change.
_PALES, _PALE_MS = 5, 40


class PreviewTool(BackgroundTool):
    """Asks the network for the mask of the box under the mouse, and shows it.

    One box at a time is with the network, the next one is the newest: boxes in between, and
    answers that come after the mouse has let go, are dropped.

    Parameters
    ----------
    context : ToolContext

    Attributes
    ----------
    hold : PaintHold
        Of the window, while a mask is on its way.
    """

    shown = Signal(object)  # the box whose mask is seen

    def __init__(self, context: ToolContext) -> None:
        super().__init__(context, context.compute)
        self.hold = PaintHold(self, self._canvas)
        self._layer = PreviewLayer(self._workspace.preview)
        # And its label, and the mask that it corrects.
        self._wanted: tuple[BoxPrompt, int, Bool | None] | None = None
        self._paled = 0
        self._paling = QTimer(self)
        self._paling.setInterval(_PALE_MS)
        self._paling.timeout.connect(self._pale)
        self.follow(self._on_began, self._workspace.box_layer.began)
        self.follow(self._on_dragged, self._workspace.box_layer.dragged)
        self.follow(self._on_ended, self._workspace.box_layer.ended)

    def close(self) -> None:
        """Follow the mouse no more."""
        self._wanted = None
        self.hold.end()
        self.hide()
        super().close()

    def hide(self, *, slowly: bool = False) -> None:
        """Show no preview, now that there is the mask itself or none; slowly, where it differs."""
        if self._workspace.box_layer.active or self.closed:
            return
        self.hold.release()
        if slowly and self._layer.visible:
            self._paled = 0
            self._paling.start()
        else:
            self._hide()

    def _pale(self) -> None:
        self._paled += 1
        if self._paled == _PALES:
            self._hide()
        else:
            self._layer.pale(1 - self._paled / _PALES)

    def _hide(self) -> None:
        self._paling.stop()
        self._layer.hide()

    def _on_began(self) -> None:
        self._wanted = None
        self._hide()

    def _on_ended(self) -> None:
        # What is shown stays until the mask of the finished box takes its place.
        self._wanted = None
        if self._workspace.box_layer.still:
            self._hide()

    def _on_dragged(self, item: Prompt | Request | None, box: BoxPrompt | None) -> None:
        if box is None:
            self._wanted = None
            self._hide()
            return
        # Of a stroke it is known what it corrects.
        start = item.start if isinstance(item, Request) and item.box is box else None
        self._wanted = box, self._workspace.label_id if item is None else item.label_id, start
        self.work()

    def _next_job(self) -> tuple[Job, Then] | None:
        if self._wanted is None:
            return None
        (box, label_id, start), self._wanted = self._wanted, None
        self.hold.begin()
        return (
            partial(next, self._session.segment(box, start, preview=True)),
            partial(self._on_mask, box, label_id),
        )

    def _on_mask(self, box: BoxPrompt, label_id: int, mask: SliceMask) -> None:
        if not self._workspace.box_layer.active:
            return
        self.hold.release()
        session = self._session
        self._layer.show(session.without_locked(mask, label_id), session.style(label_id).color)
        self.shown.emit(box)
        # The network sees to the next box while this one is painted.
        self.work()
        if self._running:
            return
        # The hand rests.
        counts = session.overlap([mask], label_id)
        size = in_ml(int(mask.mask.sum()) * voxel_ml(session.volume.spacing))
        self._say(
            f"Preview of {session.style(label_id).name}: {size} on this slice."
            + session.describe_overlap(counts, committed=False),
            describe_masks([mask]),
        )

    def _on_error(self, error: MedSAMQError) -> None:
        self._hide()
        self.hold.release()
        self._say(str(error))
