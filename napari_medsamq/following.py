"""Brings the labels of a prior scan to the volume in use, as boxes that wait to be segmented."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from qtpy.QtCore import QObject

from napari_medsamq.followup import PriorLabel, prior_labels
from napari_medsamq.label_files import read_label_file
from napari_medsamq.layers import show_slice
from napari_medsamq.prompts import BoxPrompt
from napari_medsamq.view import SegmentView
from napari_medsamq.worker import Worker
from napari_medsamq.workspace import Request, Workspace

if TYPE_CHECKING:
    from napari import Viewer

# By workspace, so that a volume that is used again still knows what it was.
_PRIOR: WeakKeyDictionary[Workspace, list[PriorLabel]] = WeakKeyDictionary()


class Following(QObject):
    """Reads a prior label, places its boxes, and has them segmented when the user says so.

    Parameters
    ----------
    parent : QObject
    viewer : napari.Viewer
    view : SegmentView
    workspace : Workspace
    files : Worker
    axis : callable
        Returns the array axis normal to the plane in view.
    """

    def __init__(
        self,
        parent: QObject,
        viewer: Viewer,
        view: SegmentView,
        workspace: Workspace,
        files: Worker,
        axis: Callable[[], int],
    ) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._view = view
        self._workspace = workspace
        self._files = files
        self._axis = axis
        self._placed: list[Request] = []
        self._closed = False
        self._wires: list[tuple[Any, Callable[..., None]]] = [
            (view.volume.prior_requested, self.read),
            (view.volume.run_requested, self.run),
            (workspace.changed, self._show_waiting),
        ]
        for signal, slot in self._wires:
            signal.connect(slot)
        self._show_prior()
        self._show_waiting()

    def close(self) -> None:
        """Follow up nothing more; boxes that wait stay."""
        self._closed = True
        for signal, slot in self._wires:
            signal.disconnect(slot)

    @property
    def waiting(self) -> list[Request]:
        """The boxes that wait for the user; one that was moved is segmented already."""
        requests = self._workspace.requests
        return [box for box in self._placed if any(box is request for request in requests)]

    def read(self, path: Path) -> None:
        """Read the label of a prior scan, and place its boxes."""
        volume, axis = self._workspace.session.volume, self._axis()
        self._view.show_status(f"Reading {path.name}…")
        self._files.submit(
            lambda: prior_labels(read_label_file(path), volume, axis=axis), self._place, self._fail
        )

    def run(self) -> None:
        """Have the boxes that wait segmented, the largest label first."""
        waiting, self._placed = self.waiting, []
        for request in waiting:
            self._workspace.requested.emit(request)
        self._show_waiting()

    def _place(self, labels: list[PriorLabel]) -> None:
        if self._closed:
            return
        workspace, session = self._workspace, self._workspace.session
        for label in labels:
            # What is drawn already keeps its name.
            if label.label_id not in session.history.voxel_counts:
                session.set_style(label.label_id, label.style)
        placed = [Request(label.box, label.label_id) for label in labels if label.box is not None]
        earlier = self.waiting
        workspace.requests = [
            request for request in workspace.requests if not any(request is box for box in earlier)
        ]
        workspace.requests += placed
        self._placed = placed
        _PRIOR[workspace] = labels
        self._show_prior()
        if placed:
            box = placed[0].box
            index = box.index if isinstance(box, BoxPrompt) else box.middle_slice
            show_slice(self._viewer, workspace.labels, box.axis, index)
            workspace.show_label(placed[0].label_id)
        else:
            workspace.refresh()
        self._view.show_status(_describe(labels))

    def _show_waiting(self) -> None:
        self._view.volume.show_waiting(len(self.waiting))

    def _show_prior(self) -> None:
        prior = _PRIOR.get(self._workspace, [])
        self._view.measure.show_prior({label.label_id: label.millilitres for label in prior})

    def _fail(self, error: BaseException) -> None:
        if not self._closed:
            self._view.show_failure(error)


def _describe(labels: list[PriorLabel]) -> str:
    outside = [label.style.name for label in labels if label.box is None]
    cut = [label.style.name for label in labels if label.box is not None and label.cut]
    count = len(labels) - len(outside)
    text = (
        f"{count} box{'' if count == 1 else 'es'} from the prior scan, each on its middle slice. "
        "Move, resize or delete those that do not fit, then press 'Segment' below the file buttons."
        if count
        else "No label of the prior scan lies within this volume."
    )
    if outside:
        text += f" Outside this volume: {', '.join(outside)}."
    if cut:
        text += f" Cut at its edge: {', '.join(cut)}."
    return text
