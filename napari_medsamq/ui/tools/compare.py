"""Compares a label of the session with another one, on the canvas and in numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from napari.layers import Labels
from qtpy.QtCore import QObject

from napari_medsamq.analysis.comparison import (
    Agreement,
    compare_masks,
    describe_agreement,
    describe_change,
    difference_codes,
    mean_agreement,
)
from napari_medsamq.errors import MedSAMQError, PromptError
from napari_medsamq.io.labels import LabelFile, bring_onto, read_label_file
from napari_medsamq.io.segments import Segment, Segments, used_ids
from napari_medsamq.plugin import layer_volume, lie_alike, lies_on, placing
from napari_medsamq.ui.canvas.planes import require_slices
from napari_medsamq.ui.forms.compare_form import STATES
from napari_medsamq.ui.forms.dock_form import SegmentView
from napari_medsamq.ui.tools.comparison_overlay import ComparisonView, Pair
from napari_medsamq.ui.worker import Worker
from napari_medsamq.ui.workspace import Workspace

if TYPE_CHECKING:
    from napari import Viewer

_LEGEND = "A: {}, orange stripes. B: {}, blue chequers. White: both have it."


@dataclass(frozen=True, eq=False)
class Other:
    """A label that is not the session's, on the volume's grid.

    Attributes
    ----------
    name : str
    label : (z, y, x) integer
    styles : mapping of int to Segment
    """

    name: str
    label: npt.NDArray[np.integer]
    styles: Segments


class Comparing(QObject):
    """Lets the form compare a label with another one of the session, a layer or a file.

    Parameters
    ----------
    parent : QObject
    viewer : napari.Viewer
    view : SegmentView
    workspace : Workspace
    files : Worker
        Reads and compares in the background.
    shown : ComparisonView
    """

    def __init__(
        self,
        parent: QObject,
        viewer: Viewer,
        view: SegmentView,
        workspace: Workspace,
        files: Worker,
        shown: ComparisonView,
    ) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._view = view
        self._workspace = workspace
        self._files = files
        self._shown = shown
        self._others: list[Other] = []
        # Counts what was asked for, so that answers which come too late are told.
        self._number = 0
        form = view.compare
        self._wires: list[tuple[Any, Callable[..., None]]] = [
            (form.next_requested, self.press),
            (form.state_requested, self._show_state),
            (form.end_requested, self.leave),
            (form.step_requested, self.step),
            (form.file_requested, self.read),
            (shown.ended, self._on_ended),
            (workspace.changed, self._list_choices),
            (viewer.layers.events.inserted, self._list_choices),
            (viewer.layers.events.removed, self._list_choices),
        ]
        for signal, slot in self._wires:
            signal.connect(slot)
        form.show_agreement([])
        self._list_choices()

    def close(self) -> None:
        """Give the view back, and compare no more."""
        self._number += 1
        self._shown.close()
        for signal, slot in self._wires:
            signal.disconnect(slot)

    def press(self) -> None:
        """Begin a comparison, or show the next of its four states."""
        if self._shown.active:
            self._show_state(STATES[(STATES.index(self._shown.state) + 1) % len(STATES)])
        else:
            self._begin()

    def step(self, way: int) -> None:
        """Show the next slice with a difference; see `ComparisonView.step`."""
        try:
            self._view.show_status(self._shown.step(way))
        except PromptError as error:
            self._view.show_failure(error)

    def leave(self, *, back: bool = True) -> None:
        """End the comparison; see `ComparisonView.leave`."""
        self._number += 1
        self._shown.leave(back=back)

    def read(self, path: Path) -> None:
        """Read a label file, and compare with it."""
        volume = self._workspace.session.volume

        def job() -> tuple[Other, str]:
            found = bring_onto(read_label_file(path, volume), volume)
            return Other(path.name, found.label, found.segments), found.said

        self._view.show_status(f"Reading {path.name}…")
        self._number += 1
        self._files.submit(job, partial(self._on_read, self._number), self._view.show_failure)

    def _on_read(self, number: int, result: tuple[Other, str]) -> None:
        if number != self._number:
            return
        other, said = result
        self._others.append(other)
        self._list_choices()
        self._view.compare.choose(self._workspace.label_id, other)
        self._begin(said)

    def _list_choices(self, event: object = None) -> None:
        session, workspace = self._workspace.session, self._workspace
        own = [
            (f"{used} {session.style(used).name}", used) for used in session.history.voxel_counts
        ]
        ours = workspace.labels, workspace.preview, self._shown.layer
        layers = [
            (f"layer: {layer.name}", layer)
            for layer in self._viewer.layers
            if isinstance(layer, Labels) and not any(layer is known for known in ours)
        ]
        files = [(f"file: {other.name}", other) for other in self._others]
        self._view.compare.show_choices(own, [*own[1:], *own[:1], *layers, *files])

    def _begin(self, said: str = "") -> None:
        self.leave()
        a, b = self._view.compare.choice
        try:
            require_slices(self._viewer)
            if not isinstance(a, int):
                raise PromptError("There is no label to compare yet. Draw a box first.")
            if b is None or b == a:
                raise PromptError(
                    "A and B are the same label. Choose another one for B, a labels layer or a "
                    "label file."
                )
            other = b
            if isinstance(b, Labels):
                other, said = self._other_of(b)
            job = self._job(a, other)
        except MedSAMQError as error:
            self._view.show_failure(error)
            return
        self._view.show_status("Comparing…")
        then = partial(self._on_pair, self._number, a, b, other, said)
        self._files.submit(job, then, self._view.show_failure)

    def _other_of(self, layer: Labels) -> tuple[Other, str]:
        """Return what a labels layer holds, on the volume's grid, and what is to be said of it."""
        session, own = self._workspace.session, self._workspace.labels
        data, volume, place = np.asarray(layer.data), layer_volume(layer), placing(layer)
        others = [other for other in self._viewer.layers if other is not layer]
        named = volume is not None and volume is not session.volume
        if named and data.shape == volume.data.shape and lies_on(place, volume, others):
            drawn = LabelFile(replace(volume, data=data.astype(np.uint16)), {})
            moved = bring_onto(drawn, session.volume)
            return Other(layer.name, moved.label, {}), moved.said
        shape = session.label.shape
        if data.shape != shape or not lie_alike(place, placing(own), shape):
            raise PromptError(
                f"The layer {layer.name!r} has {data.shape} voxels of {layer.scale.tolist()} mm, "
                f"and the label {session.label.shape} of {own.scale.tolist()} mm. Save it to a "
                "file, and compare with that: a file says where it lies in the patient."
            )
        # A copy, as it may be painted on meanwhile.
        return Other(layer.name, data.copy(), {}), ""

    def _job(self, a: int, other: Other | int) -> Callable[[], Pair]:
        session = self._workspace.session
        name = session.style(a).name
        if isinstance(other, int):
            found, called = session.label == other, session.style(other).name
        else:
            ids = used_ids(other.label)
            # A reader alone with one structure need not have given it the same number.
            b = ids[0] if a not in ids and len(ids) == 1 else a
            if b not in ids:
                listed = ", ".join(map(str, ids)) or "none"
                raise PromptError(
                    f"{other.name} has no label {a} ({name}); its labels are: {listed}. Choose "
                    "one of these for A."
                )
            found, called = other.label == b, f"{other.name}, label {b}"
        mask, spacing = session.label == a, session.volume.spacing.tolist()
        tolerance = self._view.compare.tolerance_mm

        def job() -> Pair:
            agreement = compare_masks(mask, found, spacing, tolerance)
            return Pair(name, called, difference_codes(mask, found), agreement, tolerance)

        return job

    def _on_pair(
        self, number: int, a: int, source: object, other: Other | int, said: str, pair: Pair
    ) -> None:
        # Something else may have been asked for meanwhile.
        if number != self._number or self._viewer.dims.ndisplay == 3:
            return
        self._shown.enter(pair, source)
        self._show_state(self._shown.state)
        agrees = describe_agreement(pair.agreement, pair.tolerance_mm)
        self._view.show_status(f"{pair.a} and {pair.b}: {agrees}. {said}".strip())
        found = {a: pair.agreement}
        self._show_numbers(found, other)
        if isinstance(other, Other) and a in used_ids(other.label):
            self._compare_next(number, other, found, pair.tolerance_mm)

    def _compare_next(
        self, number: int, other: Other, found: dict[int, Agreement], tolerance: float
    ) -> None:
        # One by one, so that a file that is to be saved comes between.
        session = self._workspace.session
        waiting = {*session.history.voxel_counts, *used_ids(other.label)} - set(found)
        if not waiting:
            return
        wanted = min(waiting)
        masks = session.label == wanted, other.label == wanted
        spacing = session.volume.spacing.tolist()

        def then(agreement: Agreement) -> None:
            if number == self._number:
                found[wanted] = agreement
                self._show_numbers(found, other)
                self._compare_next(number, other, found, tolerance)

        job = partial(compare_masks, *masks, spacing, tolerance)
        self._files.submit(job, then, self._view.show_failure)

    def _show_state(self, state: str) -> None:
        self._shown.show_state(state)
        pair = self._shown.pair
        if pair is not None:
            self._view.compare.show_state(state, _LEGEND.format(pair.a, pair.b))

    def _on_ended(self) -> None:
        # What is still being compared is not wanted any more.
        self._number += 1
        self._view.compare.show_state(None)

    def _show_numbers(self, found: dict[int, Agreement], other: Other | int) -> None:
        styles = other.styles if isinstance(other, Other) else {}
        session = self._workspace.session
        rows = []
        for label_id, own in sorted(found.items()):
            style = session.style(label_id)
            if own.only_in == "B":
                style = styles.get(label_id) or Segment.default(label_id)
            rows.append([f"{label_id} {style.name}", *_numbers(own)])
        mean = mean_agreement(found)
        if mean is not None and len(found) > 1:
            both = sum(own.only_in is None for own in found.values())
            scores = [f"{mean['dsc']:.3f}", f"{mean['nsd']:.3f}", f"{mean['hausdorff95_mm']:.1f}"]
            rows.append([f"mean of {both}", *scores, ""])
        self._view.compare.show_agreement(rows)


def _numbers(own: Agreement) -> list[str]:
    # On two lines, so that all columns fit into the dock.
    change = describe_change(own.difference_ml, own.difference_percent).replace(" (", "\n(")
    if own.only_in:
        return ["", "", f"only {own.only_in}", change]
    return [f"{own.dsc:.3f}", f"{own.nsd:.3f}", f"{own.hausdorff95_mm:.1f}", change]
