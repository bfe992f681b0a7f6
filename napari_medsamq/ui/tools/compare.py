"""Compares a label of the session with another one, on the canvas and in numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from napari.layers import Labels

from napari_medsamq.analysis.comparison import (
    Agreement,
    compare_masks,
    describe_agreement,
    describe_change,
    difference_codes,
    mean_agreement,
)
from napari_medsamq.errors import MedSAMQError, PromptError
from napari_medsamq.io.label_format import Segment, used_ids
from napari_medsamq.io.labels import LabelFile, bring_onto, read_label_file
from napari_medsamq.plugin import layer_volume, lie_alike, lies_on, placing
from napari_medsamq.ui.forms.compare_form import STATES
from napari_medsamq.ui.tools.click import ClickTool
from napari_medsamq.ui.tools.tool import Tool, ToolContext
from napari_medsamq.ui.tools.view.comparison_overlay import ComparisonOverlay, MaskPair

_LEGEND = "A: {}, orange stripes. B: {}, blue chequers. White: both have it."


@dataclass(frozen=True, eq=False)
class ComparedLabel:
    """A label that is not the session's, on the volume's grid.

    Attributes
    ----------
    name : str
    label : (z, y, x) integer
    styles : mapping of int to Segment
    """

    name: str
    label: npt.NDArray[np.integer]
    styles: Mapping[int, Segment]


class CompareTool(Tool):
    """Lets the form compare a label with another one of the session, a layer or a file.

    Parameters
    ----------
    context : ToolContext
    click : ClickTool
        Takes no clicks while a comparison is shown.

    Attributes
    ----------
    overlay : ComparisonOverlay
        What is compared, on the canvas.
    """

    def __init__(self, context: ToolContext, click: ClickTool) -> None:
        super().__init__(context)
        self.overlay = ComparisonOverlay(context, click)
        self._others: list[ComparedLabel] = []
        # Counts what was asked for, so that answers which come too late are told.
        self._number = 0
        form = self._dock.compare
        self.follow(self.press, form.next_requested)
        self.follow(self._show_state, form.state_requested)
        self.follow(self.leave, form.end_requested)
        self.follow(self.step, form.step_requested)
        self.follow(self.read, form.file_requested)
        self.follow(self._on_ended, self.overlay.ended)
        layers = self._viewer.layers.events
        self.follow(self._list_choices, self._workspace.changed, layers.inserted, layers.removed)
        form.show_agreement([])
        self._list_choices()

    def close(self) -> None:
        """Give the view back, and compare no more."""
        self._number += 1
        super().close()
        self.overlay.close()

    def press(self) -> None:
        """Begin a comparison, or show the next of its four states."""
        if self.overlay.active:
            self._show_state(STATES[(STATES.index(self.overlay.state) + 1) % len(STATES)])
        else:
            self._begin()

    def step(self, way: int) -> None:
        """Show the next slice with a difference; see `ComparisonOverlay.step`."""
        try:
            self._say(self.overlay.step(way))
        except PromptError as error:
            self._fail(error)

    def leave(self, *, back: bool = True) -> None:
        """End the comparison; see `ComparisonOverlay.leave`."""
        self._number += 1
        self.overlay.leave(back=back)

    def read(self, path: Path) -> None:
        """Read a label file, and compare with it."""
        volume = self._session.volume

        def job() -> tuple[ComparedLabel, str]:
            found = bring_onto(read_label_file(path, volume), volume)
            return ComparedLabel(path.name, found.label, found.segments), found.said

        self._say(f"Reading {path.name}…")
        self._number += 1
        self._files.submit(job, partial(self._on_read, self._number), self._fail)

    def _on_read(self, number: int, result: tuple[ComparedLabel, str]) -> None:
        if number != self._number:
            return
        other, said = result
        self._others.append(other)
        self._list_choices()
        self._dock.compare.choose(self._workspace.label_id, other)
        self._begin(said)

    def _list_choices(self, event: object = None) -> None:
        session, workspace = self._session, self._workspace
        own = [
            (f"{used} {session.style(used).name}", used) for used in session.history.voxel_counts
        ]
        ours = workspace.labels, workspace.preview, self.overlay.layer
        layers = [
            (f"layer: {layer.name}", layer)
            for layer in self._viewer.layers
            if isinstance(layer, Labels) and not any(layer is known for known in ours)
        ]
        files = [(f"file: {other.name}", other) for other in self._others]
        self._dock.compare.show_choices(own, [*own[1:], *own[:1], *layers, *files])

    def _begin(self, said: str = "") -> None:
        self.leave()
        a, b = self._dock.compare.choice
        try:
            self._view.require_slices()
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
            self._fail(error)
            return
        self._say("Comparing…")
        self._dock.compare.show_comparing()
        then = partial(self._on_pair, self._number, a, b, other, said)
        self._files.submit(job, then, self._fail)

    def _other_of(self, layer: Labels) -> tuple[ComparedLabel, str]:
        """Return what a labels layer holds, on the volume's grid, and what is to be said of it."""
        session, own = self._session, self._workspace.labels
        data, volume, place = np.asarray(layer.data), layer_volume(layer), placing(layer)
        others = [other for other in self._viewer.layers if other is not layer]
        named = volume is not None and volume is not session.volume
        if named and data.shape == volume.data.shape and lies_on(place, volume, others):
            drawn = LabelFile.of(volume, data.astype(np.uint16))
            moved = bring_onto(drawn, session.volume)
            return ComparedLabel(layer.name, moved.label, {}), moved.said
        shape = session.label.shape
        if data.shape != shape or not lie_alike(place, placing(own), shape):
            raise PromptError(
                f"The layer {layer.name!r} has {data.shape} voxels of {layer.scale.tolist()} mm, "
                f"and the label {session.label.shape} of {own.scale.tolist()} mm. Save it to a "
                "file, and compare with that: a file says where it lies in the patient."
            )
        # A copy, as it may be painted on meanwhile.
        return ComparedLabel(layer.name, data.copy(), {}), ""

    def _job(self, a: int, other: ComparedLabel | int) -> Callable[[], MaskPair]:
        session = self._session
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
        tolerance = self._dock.compare.tolerance_mm

        def job() -> MaskPair:
            agreement = compare_masks(mask, found, spacing, tolerance)
            return MaskPair(name, called, difference_codes(mask, found), agreement, tolerance)

        return job

    def _on_pair(
        self,
        number: int,
        a: int,
        source: object,
        other: ComparedLabel | int,
        said: str,
        pair: MaskPair,
    ) -> None:
        # Something else may have been asked for meanwhile.
        if number != self._number or self._view.solid:
            return
        self.overlay.enter(pair, source)
        self._show_state(self.overlay.state)
        agrees = describe_agreement(pair.agreement, pair.tolerance_mm)
        self._say(f"{pair.a} and {pair.b}: {agrees}. {said}".strip())
        found = {a: pair.agreement}
        self._show_numbers(found, other)
        if isinstance(other, ComparedLabel) and a in used_ids(other.label):
            self._compare_next(number, other, found, pair.tolerance_mm)

    def _compare_next(
        self, number: int, other: ComparedLabel, found: dict[int, Agreement], tolerance: float
    ) -> None:
        # One by one, so that a file that is to be saved comes between.
        session = self._session
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
        self._files.submit(job, then, self._fail)

    def _show_state(self, state: str) -> None:
        self.overlay.show_state(state)
        pair = self.overlay.pair
        if pair is not None:
            self._dock.compare.show_state(state, _LEGEND.format(pair.a, pair.b))

    def _on_ended(self) -> None:
        # What is still being compared is not wanted any more.
        self._number += 1
        self._dock.compare.show_state(None)

    def _show_numbers(self, found: dict[int, Agreement], other: ComparedLabel | int) -> None:
        styles = other.styles if isinstance(other, ComparedLabel) else {}
        session = self._session
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
        self._dock.compare.show_agreement(rows)


def _numbers(own: Agreement) -> list[str]:
    # On two lines, so that all columns fit into the dock.
    change = describe_change(own.difference_ml, own.difference_percent).replace(" (", "\n(")
    if own.only_in:
        return ["", "", f"only {own.only_in}", change]
    return [f"{own.dsc:.3f}", f"{own.nsd:.3f}", f"{own.hausdorff95_mm:.1f}", change]
