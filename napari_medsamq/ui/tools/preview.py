"""The mask of the box under the mouse, while it moves."""

from __future__ import annotations

from functools import partial

from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QWidget

from napari_medsamq.annotation.locks import describe_overlap, overlap, without_locked
from napari_medsamq.errors import MedSAMQError
from napari_medsamq.inference.slice_predictor import SliceMask
from napari_medsamq.ui.canvas.canvas import PaintHold
from napari_medsamq.ui.canvas.preview_layer import PreviewLayer
from napari_medsamq.ui.worker import Worker
from napari_medsamq.ui.workspace import Request, Workspace

# A preview that gives way to a refined mask pales in so many steps, for the eye to see the change.
_PALES, _PALE_MS = 5, 40


class Preview(QObject):
    """Asks the network for the mask of the box under the mouse, and shows it.

    One box at a time is with the network, the next one is the newest: boxes in between, and
    answers that come after the mouse has let go, are dropped.

    Parameters
    ----------
    parent : QObject
    workspace : Workspace
    compute : Worker
    canvas : QWidget
        Where it is seen.
    """

    said = Signal(str)
    shown = Signal(object)  # the request whose mask is seen

    def __init__(
        self, parent: QObject, workspace: Workspace, compute: Worker, canvas: QWidget
    ) -> None:
        super().__init__(parent)
        self._hold = PaintHold(self, canvas)
        self._workspace = workspace
        self._compute = compute
        self._layer = PreviewLayer(workspace.preview)
        self._wanted: Request | None = None
        self._asking = self._closed = False
        self._paled = 0
        self._paling = QTimer(self)
        self._paling.setInterval(_PALE_MS)
        self._paling.timeout.connect(self._pale)
        workspace.drag.began.connect(self._on_began)
        workspace.dragged.connect(self._on_dragged)
        workspace.drag.ended.connect(self._on_ended)

    def close(self) -> None:
        """Follow the mouse no more."""
        drag = self._workspace.drag
        drag.began.disconnect(self._on_began)
        self._workspace.dragged.disconnect(self._on_dragged)
        drag.ended.disconnect(self._on_ended)
        self._wanted = None
        self._hold.release()
        self.hide()
        # Answers may still be on their way.
        self._closed = True

    def hide(self) -> None:
        """Show no preview, now that there is the mask itself or none."""
        if not self._workspace.drag.active and not self._closed:
            self._hide()

    def fade(self) -> None:
        """Let the preview give way to a mask that is not the same."""
        if self._layer.visible and not self._workspace.drag.active and not self._closed:
            self._paled = 0
            self._paling.start()

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
        if not self._workspace.drag.moved:
            self._hide()

    def _on_dragged(self, request: Request | None) -> None:
        self._wanted = request
        if request is None:
            self._hide()
        else:
            self._ask()

    def _ask(self) -> None:
        if self._wanted is None or self._asking:
            return
        request, self._wanted = self._wanted, None
        self._asking = True
        self._compute.submit(
            partial(next, self._workspace.session.segment(request.box, preview=True)),
            partial(self._on_mask, request),
            self._on_failure,
        )
        self._hold.hold()

    def _on_mask(self, request: Request, mask: SliceMask) -> None:
        self._asking = False
        if self._closed:
            return
        if not self._workspace.drag.active:
            self._hold.release()
            return
        session, label_id = self._workspace.session, request.label_id
        self._layer.show(without_locked(session, mask, label_id), session.style(label_id).color)
        self.shown.emit(request)
        # The network sees to the next box while this one is painted.
        self._ask()
        self._hold.release()
        if self._asking:
            self._hold.hold()
        counts = overlap(session, [mask], label_id)
        self.said.emit(
            f"Preview: {int(mask.mask.sum()):,} voxels, {mask.encode_ms + mask.decode_ms:.0f} ms."
            + describe_overlap(session, counts, committed=False)
        )

    def _on_failure(self, error: BaseException) -> None:
        self._asking = False
        if not self._closed:
            self._hide()
            self._hold.release()
        if not isinstance(error, MedSAMQError):
            raise error
        self.said.emit(str(error))
