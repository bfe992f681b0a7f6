"""The boxes of a volume: those its label was made from, and those that wait for their masks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from psygnal import Signal

from napari_medsamq.annotation.history import Edit, Prompt
from napari_medsamq.annotation.session import AnnotationSession
from napari_medsamq.array_types import Bool
from napari_medsamq.inference.slice_predictor import SliceMask
from napari_medsamq.prompts import BoxPrompt, BoxPrompt3D


@dataclass(frozen=True, eq=False)
class Request:
    """A box that waits for its masks.

    Attributes
    ----------
    box : BoxPrompt or BoxPrompt3D
    label_id : int
    replaces : Prompt or None
        The committed prompt that this box is a new version of.
    start : (H, W) bool or None
        The mask of the slice that it improves.
    held : bool
        Whether the network is asked only when the user says so.
    """

    box: BoxPrompt | BoxPrompt3D
    label_id: int
    replaces: Prompt | None = None
    start: Bool | None = None
    held: bool = False


class PromptList:
    """What there is of boxes, and nothing of how they are shown.

    Parameters
    ----------
    session : AnnotationSession
        Its history has those that are committed.

    Attributes
    ----------
    waiting : list of Request
        In the order in which they came.
    """

    waiting_changed = Signal()  # what waits has changed, and no more
    changed = Signal()  # what is committed has, by `commit` or `remove`
    requested = Signal(Request)  # the network is to be asked

    def __init__(self, session: AnnotationSession) -> None:
        self._session = session
        self.waiting: list[Request] = []

    @property
    def asked(self) -> list[Request]:
        """Those that wait for the network."""
        return [request for request in self.waiting if not request.held]

    @property
    def held(self) -> list[Request]:
        """Those that wait for the user."""
        return [request for request in self.waiting if request.held]

    @property
    def shown(self) -> list[Prompt | Request]:
        """All, without those committed ones that another version waits for."""
        replaced = [request.replaces for request in self.waiting]
        kept = [prompt for prompt in self._session.history.prompts if prompt not in replaced]
        return [*kept, *self.waiting]

    def latest(
        self, axis: int, index: int, label_id: int, *, waiting: bool = False
    ) -> Prompt | Request | None:
        """Return the last box of a label that was drawn on a slice; of those that wait if told."""
        for item in reversed(self.waiting if waiting else self.shown):
            box = item.box
            if isinstance(box, BoxPrompt) and (box.axis, box.index, item.label_id) == (
                axis,
                index,
                label_id,
            ):
                return item
        return None

    def ask(self, request: Request) -> None:
        """Have the network asked about a box."""
        self.waiting.append(request)
        self.waiting_changed.emit()
        self.requested.emit(request)

    def move(
        self, item: Prompt | Request, box: BoxPrompt | BoxPrompt3D, start: Bool | None = None
    ) -> None:
        """Have the network asked about another box in place of one, whether that waits or not."""
        prompt = self._committed(item)
        self.waiting = [request for request in self.waiting if request is not item]
        self.ask(Request(box, item.label_id, prompt, start))

    def hold(self, requests: Iterable[Request]) -> None:
        """Let boxes wait for the user, in place of those that do so now."""
        self.waiting = [*self.asked, *(replace(request, held=True) for request in requests)]
        self.waiting_changed.emit()

    def release(self) -> None:
        """Have the network asked about those that wait for the user."""
        released = [replace(request, held=False) for request in self.held]
        self.waiting = [*self.asked, *released]
        self.waiting_changed.emit()
        for request in released:
            self.requested.emit(request)

    def drop(self, *gone: Request) -> None:
        """Forget requests that cannot be answered, or are not to be."""
        self.waiting = [request for request in self.waiting if request not in gone]
        self.waiting_changed.emit()

    def remove(self, item: Prompt | Request) -> None:
        """Forget a box, and take away what only its prompt has brought into the label.

        Raises
        ------
        PromptError
            If that is locked.
        """
        prompt = self._committed(item)
        self.waiting = [request for request in self.waiting if request is not item]
        try:
            if prompt is not None:
                self._session.remove_prompt(prompt)
        finally:
            self.changed.emit()

    def commit(self, request: Request, masks: Iterable[SliceMask]) -> Edit | None:
        """Write the masks that answer a request into the label.

        The answer to a request that was moved or removed meanwhile is dropped: None.

        Raises
        ------
        PromptError
            If all masks are empty; the request is dropped.
        """
        if request not in self.waiting:
            return None
        self.waiting.remove(request)
        try:
            return self._session.commit(
                request.box, masks, request.label_id, request.replaces, request.start
            )
        finally:
            self.changed.emit()

    def _committed(self, item: Prompt | Request) -> Prompt | None:
        """Find the prompt that a box is, has become meanwhile, or will take the place of."""
        for prompt in self._session.history.prompts:
            if prompt is item or prompt.box is item.box:
                return prompt
            if isinstance(item, Request) and prompt is item.replaces:
                return prompt
        return None
