"""The mask of the box under the mouse, while it moves."""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap
from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QWidget

from napari_medsamq.errors import MedSAMQError
from napari_medsamq.inference.slice_predictor import SliceMask
from napari_medsamq.ui.canvas.canvas import Hold
from napari_medsamq.ui.worker import Worker
from napari_medsamq.ui.workspace import Request, Workspace

# Of the longer side of a slice; stripes and gaps are as wide.
_STRIPES = 85
# A preview that gives way to a refined mask pales in so many steps, for the eye to see the change.
_PALES, _PALE_MS = 5, 40


class PreviewLayer:
    """A layer of a single slice that shows a mask, striped so that nobody takes it for the label.

    Parameters
    ----------
    layer : Labels
        Of one slice of a volume.
    """

    def __init__(self, layer: Labels) -> None:
        self._layer = layer
        self._origin = np.array(layer.translate)
        self._color = ""
        self._opacity = layer.opacity

    def show(self, mask: SliceMask, color: str) -> None:
        """Show a mask where its slice lies."""
        layer = self._layer
        data = np.expand_dims(striped(mask.mask), mask.axis)
        place = self._origin.copy()
        place[mask.axis] += mask.index * layer.scale[mask.axis]
        if color != self._color:
            self._color = color
            layer.colormap = DirectLabelColormap(
                color_dict={None: "transparent", 0: "transparent", 1: color}
            )
        if data.shape == layer.data.shape and np.array_equal(place, layer.translate):
            layer.data[...] = data
            layer.refresh(thumbnail=False, extent=False, highlight=False)
        else:
            layer.data = data
            layer.translate = place
        self._set_visible(True)

    def hide(self) -> None:
        """Show nothing."""
        self._set_visible(False)
        self.pale(1)

    def pale(self, share: float) -> None:
        """Show what is shown with a share of its opacity."""
        opacity = share * self._opacity
        if self._layer.opacity != opacity:
            self._layer.opacity = opacity

    @property
    def visible(self) -> bool:
        """Whether a mask is shown."""
        return bool(self._layer.visible)

    def _set_visible(self, visible: bool) -> None:
        # napari builds its shaders anew each time this is set, even to what it is.
        if self._layer.visible != visible:
            self._layer.visible = visible


def striped(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Return a mask (H, W) as diagonal stripes of ones within a closed outline."""
    height, width = mask.shape
    period = max(2, round(max(height, width) / _STRIPES))
    rows, columns = np.ogrid[:height, :width]
    inner = mask.copy()
    for axis in (0, 1):
        for step in (-1, 1):
            inner &= np.roll(mask, step, axis)
    stripes = (rows + columns) // period % 2 == 0
    return (mask & (stripes | ~inner)).astype(np.uint8)


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
        self._hold = Hold(self, canvas)
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
        self._layer.show(session.without_locked(mask, label_id), session.style(label_id).color)
        self.shown.emit(request)
        # The network sees to the next box while this one is painted.
        self._ask()
        self._hold.release()
        if self._asking:
            self._hold.hold()
        counts = session.overlap([mask], label_id)
        self.said.emit(
            f"Preview: {int(mask.mask.sum()):,} voxels, {mask.encode_ms + mask.decode_ms:.0f} ms."
            + session.describe_overlap(counts, committed=False)
        )

    def _on_failure(self, error: BaseException) -> None:
        self._asking = False
        if not self._closed:
            self._hide()
            self._hold.release()
        if not isinstance(error, MedSAMQError):
            raise error
        self.said.emit(str(error))
