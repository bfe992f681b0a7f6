"""Checks the slices of the label in hand in the background, and leads the user to the doubtful."""

from __future__ import annotations

from functools import partial

import numpy as np

from napari_medsamq.annotation.acceptance import mask_key
from napari_medsamq.annotation.history import LabelPart
from napari_medsamq.annotation.review import Grade, Review
from napari_medsamq.array_types import Bool
from napari_medsamq.errors import MedSAMQError, PromptError
from napari_medsamq.inference.confidence import MaskCheck
from napari_medsamq.inference.slice_predictor import SlicePredictor
from napari_medsamq.io.label_format import used_ids
from napari_medsamq.ui.tools.propagate import PropagateTool
from napari_medsamq.ui.tools.tool import BackgroundTool, Job, Then, ToolContext

# Who draws, clicks or scrolls comes first: what runs in the background would let a click wait.
REST_MS = 800
# With fewer slices there is nothing to be led to.
LEAST_SLICES = 2


class ReviewTool(BackgroundTool):
    """Knows how sure each slice of the label in hand is, across the plane in view.

    Parameters
    ----------
    context : ToolContext
    propagate : PropagateTool
        Does not make slices anew because some have been accepted.

    Attributes
    ----------
    automatic_checks : bool
        Whether slices are checked without being asked for.
    """

    def __init__(self, context: ToolContext, propagate: PropagateTool) -> None:
        super().__init__(context, context.compute, REST_MS, gives_way=True)
        self._propagate = propagate
        self.automatic_checks = context.prefetch
        self._failed = False
        self._stale = True
        # What the network is and sees; how sure it was of anything else is forgotten.
        self._seen = self._seeing()
        self._bar = context.bar
        self._bar.describe = self.describe
        workspace, view, form = self._workspace, self._view, self._dock.check
        self.follow(self.refresh, workspace.changed, workspace.seen_changed, view.plane_changed)
        self.follow(self._show, view.changed)
        self.follow(self.step, form.step_requested)
        self.follow(self.accept, form.accept_requested)
        self.follow(self.accept_seen, form.accept_seen_requested)
        self.refresh()

    def refresh(self) -> None:
        """Look again: label, label in hand, plane, model, window or zoom has changed."""
        self._stale = True
        super().refresh()
        self._see()
        self._show_slice()

    @property
    def review(self) -> Review:
        """What is known of the label in hand, across the plane in view."""
        return self._review(self._view.axis, self._workspace.label_id)

    def _review(self, axis: int, label_id: int) -> Review:
        fresh = Review(self._session.history, axis, label_id)
        return self._workspace.reviews.setdefault((axis, label_id), fresh)

    def _show_slice(self) -> None:
        here = self._view.index
        self._dock.check.show_slice(self.describe(here), has_mask=self._has_mask(here))

    def _has_mask(self, index: int) -> bool:
        plane = self._session.slice(self._view.axis, index)
        return bool((plane == self._workspace.label_id).any())

    def describe(self, index: int) -> str:
        """Say in a line what is known of a slice."""
        found = self.review.grade(index)
        if found is None:
            # Masks of a propagation on its way are looked at once it rests.
            there = self._has_mask(index)
            known = "not checked yet" if there else "no mask of this structure"
            return f"Slice {index + 1}: {known}"
        sure = self.review.confidence(index)
        number = "" if sure is None else f", confidence {sure:.2f}"
        unseen = index not in self.review.seen and found != Grade.accepted
        return f"Slice {index + 1}: {found}{number}{', not seen yet' * unseen}"

    def step(self, way: int) -> None:
        """Show the next slice that needs a look, towards higher (1) or lower (-1) slices."""
        found = self.review.next_doubtful(self._view.index, way)
        if found is None:
            grades = [self.review.grade(i) for i in self.review.slices]
            waiting = grades.count(Grade.unknown)
            where = "above" if way > 0 else "below"
            state = "are still being checked" if self._checking else "are not checked"
            rest = f"; {waiting} slices {state}" if waiting else ""
            sure = len(grades) > 0 and {*grades} <= {Grade.sure, Grade.accepted}
            everything = f"All {len(grades)} slices are sure or accepted"
            none = "There is no mask to be checked yet"
            text = everything if sure else f"No doubtful slice {where} this one"
            self._say(f"{text if grades else none}{rest}.")
            return
        self._go_to(found)
        self._say(f"{self.describe(found)}. Correct it, or accept it.")

    def accept(self) -> None:
        """Accept the mask of the label on the slice in view."""
        self._accept(self._view.index)

    def accept_seen(self) -> None:
        """Accept all masks of the label that have been in sight as they are now."""
        self._accept(None)

    def _accept(self, only: int | None) -> None:
        """Accept the masks that were seen, that of one slice or all.

        A propagation is stopped, as it would go on from what was known when it began.
        """
        if self._view.solid:
            self._say("Show slices first (F2, F3, F4): what is accepted has to be seen.")
            return
        accept = partial(self._accept_masks, self._view.axis, self._workspace.label_id, only)
        self._workspace.strokes.after_stroke(accept, self._compute)

    def _accept_masks(self, axis: int, label_id: int, only: int | None) -> None:
        if self.closed:
            return
        session, review = self._session, self._review(axis, label_id)
        if not session.style(label_id).visible:
            self._say(f"Show {session.style(label_id).name} first: what is accepted is to be seen.")
            return
        stopped = " The propagation was stopped." if self._propagate.active else ""
        self._propagate.stop()
        # As it is now, also where the background has not come to it yet.
        shape = session.label.shape
        known = session.history.known_indices(axis, label_id)
        review.show(*_find_masks(session.history.part(label_id), shape, axis), known)
        self._see()
        masks = {index: key for index, key in review.seen.items() if only in (None, index)}
        try:
            with self._propagate.keep_gaps_done(label_id):
                session.accept(axis, label_id, masks)
        except PromptError as error:
            self._say(f"{error}{stopped}")
            return
        self._workspace.refresh()
        what = f"slice {next(iter(masks)) + 1}" if len(masks) == 1 else f"{len(masks)} slices"
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
        if self._view.solid or not workspace.labels.visible or not self._view.point:
            return
        axis, index = self._view.axis, self._view.index
        plane = self._session.slice(axis, index)
        for label_id in used_ids(plane):
            if self._session.style(label_id).visible:
                self._review(axis, label_id).see(index, mask_key(plane == label_id))

    def _go_to(self, index: int) -> None:
        self._view.show(self._view.axis, index)

    def _next_job(self) -> tuple[Job, Then] | None:
        session, label_id = self._session, self._workspace.label_id
        axis, review = self._view.axis, self.review
        if self._seen != self._seeing():
            self._seen, self._failed = self._seeing(), False
            for known in self._workspace.reviews.values():
                known.forget_confidence()
        if self._stale:
            self._stale = False
            part, shape = session.history.part(label_id), session.label.shape
            known = session.history.known_indices(axis, label_id)
            return partial(_find_masks, part, shape, axis), partial(self._on_masks, review, known)
        if not self._checking or len(review.slices) < LEAST_SLICES:
            return None
        wanted = review.unchecked(self._view.index)
        if wanted is None:
            return None
        mask = session.slice(axis, wanted) == label_id
        job = partial(_check, session.predictor(axis), wanted, mask)
        return job, partial(self._on_checked, review, wanted, self._seen)

    @property
    def _checking(self) -> bool:
        return self.automatic_checks and not self._failed

    def _seeing(self) -> tuple[object, ...]:
        session = self._session
        return session.engine, session.window, session.zoom

    def _on_masks(
        self, review: Review, known: set[int], found: tuple[dict[int, bytes], dict[int, int]]
    ) -> None:
        review.show(*found, known)
        self._show()

    def _on_checked(
        self, review: Review, index: int, seen: tuple[object, ...], found: tuple[bytes, MaskCheck]
    ) -> None:
        if seen == self._seeing():
            review.note(index, *found)
        self._show()

    def _on_error(self, error: MedSAMQError) -> None:
        # A box on that slice will say so; there is no use in trying the others.
        self._failed = True

    def _show(self) -> None:
        self._see()
        review = self.review
        count = self._session.label.shape[self._view.axis]
        flat = self._view.solid or len(review.slices) < LEAST_SLICES
        grades = [None if flat else review.grade(index) for index in range(count)]
        unseen = [index for index in review.unseen if grades[index] != Grade.accepted]
        self._bar.show_grades(grades, unseen)
        self._show_slice()


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


def _check(predictor: SlicePredictor, index: int, mask: Bool) -> tuple[bytes, MaskCheck]:
    return mask_key(mask), predictor.check_mask(index, mask)
