"""Checks the slices of the label in hand in the background, and leads the user to the doubtful."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QWidget

from napari_medsamq.annotation.acceptance import Acceptance, mask_key
from napari_medsamq.annotation.history import LabelPart
from napari_medsamq.annotation.review import Grade, Review
from napari_medsamq.array_types import Bool
from napari_medsamq.errors import ModelError, PromptError
from napari_medsamq.inference.slice_predictor import SlicePredictor
from napari_medsamq.io.labels import used_ids
from napari_medsamq.ui.canvas.planes import show_slice
from napari_medsamq.ui.canvas.review_strip import ReviewStrip
from napari_medsamq.ui.tools.propagate import Propagator
from napari_medsamq.ui.worker import Worker
from napari_medsamq.ui.workspace import Workspace

if TYPE_CHECKING:
    from napari import Viewer

# Who draws, clicks or scrolls comes first: what runs in the background would let a click wait.
_REST_MS = 800
# With fewer slices there is nothing to be led to.
LEAST_SLICES = 2


class Reviewer(QObject):
    """Knows how sure each slice of the label in hand is, across the plane in view.

    Parameters
    ----------
    parent : QObject
    viewer : napari.Viewer
    workspace : Workspace
    compute : Worker
    canvas : QWidget
    propagator : Propagator
        Does not make slices anew because some have been accepted.
    slice_in_view : callable
        Returns array axis and index.
    say : callable
        Told what a key has done, or why nothing.
    checks : bool
        Whether slices are checked without being asked for.
    """

    shown = Signal(str)  # a line about the slice in view

    def __init__(
        self,
        parent: QObject,
        viewer: Viewer,
        workspace: Workspace,
        compute: Worker,
        canvas: QWidget,
        propagator: Propagator,
        slice_in_view: Callable[[], tuple[int, int]],
        say: Callable[[str], None],
        *,
        checks: bool,
    ) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._workspace = workspace
        self._compute = compute
        self._propagator = propagator
        self._slice_in_view = slice_in_view
        self._say = say
        self._checks = checks
        self._running = self._failed = self._closed = False
        self._stale = True
        # What the network is and sees; how sure it was of anything else is forgotten.
        self._seen = self._seeing()
        self.strip = ReviewStrip(canvas, self.describe)
        self.strip.chosen.connect(self._go_to)
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(_REST_MS)
        self._rest.timeout.connect(self._run)
        workspace.changed.connect(self.wake)
        workspace.image.events.contrast_limits.connect(self.wake)
        viewer.dims.events.current_step.connect(self._show)
        viewer.dims.events.ndisplay.connect(self._show)

    def close(self) -> None:
        """Check no more, and take the strip away."""
        self._rest.stop()
        self._closed = True
        self._workspace.changed.disconnect(self.wake)
        self._workspace.image.events.contrast_limits.disconnect(self.wake)
        self._viewer.dims.events.current_step.disconnect(self._show)
        self._viewer.dims.events.ndisplay.disconnect(self._show)
        self.strip.close_strip()

    def wake(self) -> None:
        """Look again: label, label in hand, plane, model, window or zoom has changed."""
        self._stale = True
        self._rest.start()
        self._see()

    @property
    def review(self) -> Review:
        """What is known of the label in hand, across the plane in view."""
        axis, _ = self._slice_in_view()
        return self._review(axis, self._workspace.label_id)

    def _review(self, axis: int, label_id: int) -> Review:
        history = self._workspace.session.history

        def accepted(index: int, key: bytes) -> bool:
            return Acceptance(axis, index, label_id, key) in history.accepted

        return self._workspace.reviews.setdefault((axis, label_id), Review(accepted))

    def describe(self, index: int) -> str:
        """Say in a line what is known of a slice."""
        found = self.review.grade(index)
        if found is None:
            return f"Slice {index}: no mask of this label"
        sure = self.review.confidence(index)
        number = "" if sure is None else f", confidence {sure:.2f}"
        unseen = index not in self.review.seen and found != Grade.accepted
        return f"Slice {index}: {found}{number}{', not seen yet' * unseen}"

    def step(self, way: int) -> None:
        """Show the next slice that needs a look, towards higher (1) or lower (-1) slices."""
        _, index = self._slice_in_view()
        found = self.review.next_doubtful(index, way)
        if found is None:
            grades = [self.review.grade(i) for i in self.review.slices]
            waiting = grades.count(Grade.unknown)
            where = "above" if way > 0 else "below"
            state = "are still being checked" if self._checking else "are not checked"
            rest = f"; {waiting} slices {state}" if waiting else ""
            self._say(f"No doubtful slice {where} this one{rest}.")
            return
        self._go_to(found)
        self._say(f"{self.describe(found)}. Correct it, or accept it.")

    def accept(self) -> None:
        """Accept the mask of the label on the slice in view."""
        _, here = self._slice_in_view()
        self._accept(lambda seen: {index: key for index, key in seen.items() if index == here})

    def accept_seen(self) -> None:
        """Accept all masks of the label that have been in sight as they are now."""
        self._accept(dict)

    def _accept(self, wanted: Callable[[dict[int, bytes]], dict[int, bytes]]) -> None:
        """Accept what is wanted of the masks that were seen.

        A propagation is stopped, as it would go on from what was known when it began.
        """
        if self._viewer.dims.ndisplay == 3:
            self._say("Show slices first (F2, F3, F4): what is accepted has to be seen.")
            return
        axis, _ = self._slice_in_view()
        accept = partial(self._accept_masks, axis, self._workspace.label_id, wanted)
        self._workspace.edits.after_stroke(accept, self._compute)

    def _accept_masks(
        self, axis: int, label_id: int, wanted: Callable[[dict[int, bytes]], dict[int, bytes]]
    ) -> None:
        if self._closed:
            return
        session, review = self._workspace.session, self._review(axis, label_id)
        if not session.style(label_id).visible:
            self._say(f"Show {session.style(label_id).name} first: what is accepted is to be seen.")
            return
        stopped = " The propagation was stopped." if self._propagator.active else ""
        self._propagator.stop()
        # As it is now, also where the background has not come to it yet.
        shape = session.label.shape
        review.show(*_find_masks(session.history.part(label_id), shape, axis))
        self._see()
        masks = wanted(review.seen)
        try:
            with self._propagator.outlasting(label_id):
                session.accept(axis, label_id, masks)
        except PromptError as error:
            self._say(f"{error}{stopped}")
            return
        self._workspace.refresh()
        what = f"slice {next(iter(masks))}" if len(masks) == 1 else f"{len(masks)} slices"
        unseen = len(review.unseen)
        rest = f" {unseen} with a mask {'has' if unseen == 1 else 'have'} not been seen yet."
        self._say(
            f"{session.style(label_id).name}: {what} accepted. No propagation changes what is "
            f"accepted; undo takes it back.{rest if unseen else ''}{stopped}"
        )
        self._show()

    def _see(self) -> None:
        """Write down which masks are in sight: those of all labels shown on the slice in view."""
        workspace = self._workspace
        layer = workspace.labels
        dims = self._viewer.dims
        if dims.ndim < 3 or dims.ndisplay == 3 or not layer.visible:
            return
        axis, index = self._slice_in_view()
        plane = workspace.session.slice(axis, index)
        for label_id in used_ids(plane):
            if workspace.session.style(label_id).visible:
                self._review(axis, label_id).see(index, mask_key(plane == label_id))

    def _go_to(self, index: int) -> None:
        axis, _ = self._slice_in_view()
        show_slice(self._viewer, self._workspace.labels, axis, index)

    def _run(self) -> None:
        if self._running or self._closed or not self._compute.running:
            return
        if self._compute.busy:
            self._rest.start()
            return
        session, label_id = self._workspace.session, self._workspace.label_id
        axis, index = self._slice_in_view()
        review = self.review
        if self._seen != self._seeing():
            self._seen, self._failed = self._seeing(), False
            for known in self._workspace.reviews.values():
                known.forget_confidence()
        if self._stale:
            self._stale = False
            part, shape = session.history.part(label_id), session.label.shape
            job: Callable[[], object] = partial(_find_masks, part, shape, axis)
            then: Callable[..., None] = partial(self._on_masks, review)
        elif self._checking and len(review.slices) >= LEAST_SLICES:
            wanted = review.unchecked(index)
            if wanted is None:
                return
            mask = session.slice(axis, wanted) == label_id
            job = partial(_check, session.predictor(axis), wanted, mask)
            then = partial(self._on_checked, review, wanted, self._seen)
        else:
            return
        self._running = True
        self._compute.submit(job, then, self._on_failure)

    @property
    def _checking(self) -> bool:
        return self._checks and not self._failed

    def _seeing(self) -> tuple[object, ...]:
        session = self._workspace.session
        return session.engine, session.window, session.zoom

    def _on_masks(self, review: Review, found: tuple[dict[int, bytes], dict[int, int]]) -> None:
        self._running = False
        if self._closed:
            return
        review.show(*found)
        self._show()
        self._run()

    def _on_checked(
        self, review: Review, index: int, seen: tuple[object, ...], found: tuple[bytes, float]
    ) -> None:
        self._running = False
        if self._closed:
            return
        if seen == self._seeing():
            review.note(index, *found)
        self._show()
        if not self._rest.isActive():
            self._run()

    def _on_failure(self, error: BaseException) -> None:
        # A box on that slice will say so; there is no use in trying the others.
        self._running = False
        self._failed = True
        if not isinstance(error, ModelError):
            raise error

    def _show(self) -> None:
        if self._viewer.dims.ndim < 3:  # all layers are gone
            return
        self._see()
        axis, here = self._slice_in_view()
        count = self._workspace.session.label.shape[axis]
        review = self.review
        flat = self._viewer.dims.ndisplay == 3 or len(review.slices) < LEAST_SLICES
        grades = [None if flat else review.grade(index) for index in range(count)]
        unseen = [index for index in review.unseen if grades[index] != Grade.accepted]
        self.strip.show_grades(grades, here, unseen)
        self.shown.emit(self.describe(here))


def _find_masks(
    part: LabelPart | None, shape: tuple[int, ...], axis: int
) -> tuple[dict[int, bytes], dict[int, int]]:
    """Return the keys and the pixels of a label's masks by slice, in a volume of a shape."""
    if part is None:
        return {}, {}
    place = list(part.place)
    first, masks = place.pop(axis).start, np.moveaxis(part.mask, axis, 0)
    keys, pixels = {}, {}
    plane = np.zeros(np.delete(shape, axis), bool)
    for index, mask in enumerate(masks, first):
        if mask.any():
            plane[tuple(place)] = mask
            keys[index], pixels[index] = mask_key(plane), int(np.count_nonzero(mask))
    return keys, pixels


def _check(predictor: SlicePredictor, index: int, mask: Bool) -> tuple[bytes, float]:
    return mask_key(mask), predictor.mask_confidence(index, mask)
