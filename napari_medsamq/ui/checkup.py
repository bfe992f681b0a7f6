"""All that looks at a label: review, repairs, measurements, comparison, a prior scan's."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject
from qtpy.QtWidgets import QWidget

from napari_medsamq.annotation.repairs import Repair
from napari_medsamq.ui.forms.dock_form import SegmentView
from napari_medsamq.ui.tools.click import Clicking
from napari_medsamq.ui.tools.compare import CompareTool
from napari_medsamq.ui.tools.comparison_overlay import ComparisonOverlay
from napari_medsamq.ui.tools.follow_up import FollowUpTool
from napari_medsamq.ui.tools.measure import Measuring
from napari_medsamq.ui.tools.propagate import Propagator
from napari_medsamq.ui.tools.repair import Mending
from napari_medsamq.ui.tools.review import Reviewer
from napari_medsamq.ui.worker import Worker
from napari_medsamq.ui.workspace import Workspace

if TYPE_CHECKING:
    from napari import Viewer


class Checkup(QObject):
    """Wires reviewer, repairs, measurements, comparison and follow-up to the forms.

    Parameters
    ----------
    parent : QObject
    viewer : napari.Viewer
    view : SegmentView
    workspace : Workspace
    compute, files : Worker
    canvas : QWidget
    propagator : Propagator
    clicking : Clicking
    slice_in_view : callable
        Returns array axis and index.
    automatic_checks : bool
        Whether slices are checked without being asked for.
    """

    def __init__(
        self,
        parent: QObject,
        viewer: Viewer,
        view: SegmentView,
        workspace: Workspace,
        compute: Worker,
        files: Worker,
        canvas: QWidget,
        propagator: Propagator,
        clicking: Clicking,
        slice_in_view: Callable[[], tuple[int, int]],
        *,
        automatic_checks: bool,
    ) -> None:
        super().__init__(parent)
        self._view = view
        self._slice_in_view = slice_in_view
        say, fail = view.show_status, view.show_failure
        self.reviewer = Reviewer(
            self,
            viewer,
            workspace,
            compute,
            canvas,
            propagator,
            slice_in_view,
            say,
            automatic_checks=automatic_checks,
        )
        self._mending = Mending(workspace, compute, propagator, say, fail)
        self._measuring = Measuring(
            self, workspace, files, view.measure, lambda: slice_in_view()[0], fail
        )
        shown = ComparisonOverlay(
            self,
            viewer,
            workspace,
            canvas,
            clicking,
            slice_in_view,
            # As the user would, so that all that follows the plane does.
            view.volume.plane_requested.emit,
        )
        self.follow_up = FollowUpTool(
            self, viewer, view, workspace, files, lambda: slice_in_view()[0]
        )
        self.compare = CompareTool(self, viewer, view, workspace, files, shown)
        self._wires: list[tuple[Any, Callable[..., None]]] = [
            (self.reviewer.shown, view.check.show_slice),
            (view.check.step_requested, self.reviewer.step),
            (view.check.accept_requested, self.reviewer.accept),
            (view.check.accept_seen_requested, self.reviewer.accept_seen),
            (view.check.repair_requested, self._on_repair),
            (view.measure.said, say),
            (view.segment.zoom_requested, self.reviewer.wake),
        ]
        for signal, slot in self._wires:
            signal.connect(slot)

    def close(self) -> None:
        """Look at nothing more."""
        for signal, slot in self._wires:
            signal.disconnect(slot)
        self.compare.close()
        self.follow_up.close()
        self.reviewer.close()
        self._measuring.close()

    def look_again(self) -> None:
        """Another plane is in view, or the network or what it sees is another one."""
        self.reviewer.wake()
        self._measuring.wake()

    def repair(self) -> None:
        """Mend the label in hand in the way that is chosen in the form."""
        self._view.check.ask_for_repair()

    def _on_repair(self, repair: Repair, numbers: list[float]) -> None:
        axis, _ = self._slice_in_view()
        self._mending.repair(repair, axis, numbers)
