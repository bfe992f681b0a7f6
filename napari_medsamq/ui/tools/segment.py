"""Asks the network about boxes and clicks, and writes its answers into the label."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import takewhile

from napari_medsamq.annotation.click_target import describe_clicks
from napari_medsamq.errors import MedSAMQError
from napari_medsamq.inference.slice_predictor import SliceMask
from napari_medsamq.ui.messages import report_masks
from napari_medsamq.ui.tools.preview import Preview
from napari_medsamq.ui.worker import Worker
from napari_medsamq.ui.workspace import Request, Workspace


class Answers:
    """Answers the requests of a workspace, one after the other.

    Parameters
    ----------
    workspace : Workspace
    compute : Worker
    preview : Preview
        Gives way to the masks.
    may_ask : callable
        Whether the network is there; requests wait in the workspace until it is.
    say, fail : callable
        Told what came, in words, or why nothing did.
    """

    def __init__(
        self,
        workspace: Workspace,
        compute: Worker,
        preview: Preview,
        *,
        may_ask: Callable[[], bool],
        say: Callable[[str], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        self._workspace = workspace
        self._compute = compute
        self._preview = preview
        self._may_ask = may_ask
        self._say = say
        self._fail = fail

    def ask(self, request: Request) -> None:
        """Ask the network about a request."""
        if not self._may_ask():
            return
        try:
            found = self._workspace.session.segment(request.box, request.start)
        except MedSAMQError as error:
            self._on_failure(request, error)
            return
        self._say("Segmenting…")
        self._compute.submit(
            partial(self._fetch, found),
            self._workspace.edits.between_strokes(self._compute, partial(self._on_masks, request)),
            partial(self._on_failure, request),
        )

    def ask_all(self) -> None:
        """Ask about all that wait, unless they wait for the user."""
        for request in self._asked:
            self.ask(request)

    def take_back(self) -> bool:
        """Drop the last box, and say so, if that is what undo takes back.

        A box that waits for the user goes last of all, for no redo brings it back.
        """
        workspace, asked = self._workspace, self._asked
        if asked:
            dropped, what = asked[-1], "the box that was being segmented"
        elif workspace.requests and workspace.session.history.undo_name is None:
            dropped, what = workspace.requests[-1], "a box of the prior scan"
        else:
            return False
        workspace.drop(dropped)
        self._say(f"Undone: {what}.")
        return True

    @property
    def _asked(self) -> list[Request]:
        workspace = self._workspace
        return [request for request in workspace.requests if request not in workspace.held]

    def _fetch(self, found: Iterator[SliceMask]) -> list[SliceMask]:
        # A dock that is closed waits for one slice, not for the whole volume.
        return list(takewhile(lambda _: self._compute.running, found))

    def _on_masks(self, request: Request, masks: list[SliceMask]) -> None:
        session = self._workspace.session
        counts = session.overlap(masks, request.label_id)
        try:
            edit = self._workspace.commit(request, masks)
        except MedSAMQError as error:
            self._preview.hide()
            self._fail(error)
            return
        if any(mask.zoomed for mask in masks):
            self._preview.fade()
        else:
            self._preview.hide()
        if edit is not None:
            box, replaces, label_id = request.box, request.replaces, request.label_id
            clicks = describe_clicks(session, box, replaces, label_id, masks, edit)
            text = report_masks(session.style(label_id).name, masks)
            # What the user has to know comes first.
            self._say(f"{clicks} {text}".strip() + session.describe_overlap(counts, committed=True))

    def _on_failure(self, request: Request, error: BaseException) -> None:
        self._workspace.drop(request)
        self._preview.hide()
        self._fail(error)
