"""What a tool of the window is: what it works on, what it follows, what it does on its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer
from qtpy.QtWidgets import QWidget

from napari_medsamq.errors import MedSAMQError
from napari_medsamq.ui.canvas.planes import Plane, turn_viewer
from napari_medsamq.ui.canvas.slice_bar import BAR_HEIGHT, SliceBar
from napari_medsamq.ui.forms.dock_form import DockForm
from napari_medsamq.ui.view_state import ViewState
from napari_medsamq.ui.worker import Worker
from napari_medsamq.ui.workspace import Workspace

if TYPE_CHECKING:
    from napari import Viewer

Job = Callable[[], Any]
Then = Callable[[Any], None]


@dataclass(frozen=True)
class ToolContext:
    """What the tools of a volume share.

    Attributes
    ----------
    parent : QObject
        Of the tools.
    viewer : napari.Viewer
    canvas : QWidget
        On which the viewer draws.
    dock : DockForm
        Shows what a tool has to say, and carries what the user asks for.
    workspace : Workspace
        The volume in use.
    workspaces : list of Workspace
        All that are open in the viewer.
    view : ViewState
        Which slice of it is in view.
    bar : SliceBar
        The slices of the plane in view.
    compute, files : Worker
        Threads for the network, and for reading, measuring and saving.
    prefetch : bool
        Whether slices are encoded and checked before that is asked for.
    """

    parent: QObject
    viewer: Viewer
    canvas: QWidget
    dock: DockForm
    workspace: Workspace
    workspaces: list[Workspace]
    view: ViewState
    bar: SliceBar
    compute: Worker
    files: Worker
    prefetch: bool


class Tool(QObject):
    """One thing that a user does to a volume, for as long as that is the one in use.

    Parameters
    ----------
    context : ToolContext

    Attributes
    ----------
    closed : bool
        Whether it follows nothing any more; its answers may still be on their way.
    """

    def __init__(self, context: ToolContext) -> None:
        super().__init__(context.parent)
        self._viewer, self._canvas, self._dock = context.viewer, context.canvas, context.dock
        self._workspace, self._session = context.workspace, context.workspace.session
        self._view, self._compute, self._files = context.view, context.compute, context.files
        self._say, self._fail = context.dock.show_status, context.dock.show_failure
        self._followed: list[tuple[Any, Callable[..., None]]] = []
        self.closed = False

    def turn(self, plane: Plane) -> None:
        """Show the slices of a plane."""
        workspace, canvas = self._workspace, self._canvas
        room = canvas.width(), canvas.height() - BAR_HEIGHT
        turn_viewer(self._viewer, plane, workspace.labels, workspace.body, room)

    def follow(self, slot: Callable[..., None], *signals: Any) -> None:
        """Have a slot called by signals, Qt's, napari's or psygnal's, until the tool is closed."""
        for signal in signals:
            signal.connect(slot)
            self._followed.append((signal, slot))

    def close(self) -> None:
        """Follow nothing more."""
        self.closed = True
        for signal, slot in self._followed:
            signal.disconnect(slot)
        self._followed.clear()
        self.deleteLater()


class BackgroundTool(Tool):
    """A tool that has jobs of its own done, one at a time.

    What is to be done next is asked for anew before each; answers that come after it was closed are
    dropped.

    Parameters
    ----------
    context : ToolContext
    worker : Worker
    rest_ms : int
        How long the user is to rest before it begins; then it also waits while the mouse draws.
    gives_way : bool
        Whether it waits for a time in which nobody else wants the worker.
    """

    def __init__(
        self, context: ToolContext, worker: Worker, rest_ms: int = 0, *, gives_way: bool = False
    ) -> None:
        super().__init__(context)
        self._worker = worker
        self._gives_way = gives_way
        self._running = False
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(rest_ms)
        self._rest.timeout.connect(self.work)

    @property
    def pending(self) -> bool:
        """Whether a job is on its way, or about to be looked for."""
        return self._running or self._rest.isActive()

    @property
    def rest_ms(self) -> int:
        """How long the user is to rest before it begins."""
        return int(self._rest.interval())

    def refresh(self) -> None:
        """Look again for what is to be done, once the user rests."""
        self._rest.start()

    def work(self) -> None:
        """Have the next job done, unless one is on its way."""
        if self._running or self.closed or not self._worker.running:
            return
        self._rest.stop()
        drawing = self._workspace.box_layer.active or self._workspace.strokes.active
        if (self.rest_ms and drawing) or (self._gives_way and self._worker.busy):
            self._rest.start()
            return
        job = self._next_job()
        if job is not None:
            self._running = True
            do, then = job
            self._worker.submit(do, partial(self._on_done, then), self._on_fail)

    def close(self) -> None:
        """Do nothing more."""
        self._rest.stop()
        super().close()

    def _next_job(self) -> tuple[Job, Then] | None:
        """Return what is to be done in the worker's thread, and what is given the answer."""
        raise NotImplementedError

    def _on_error(self, error: MedSAMQError) -> None:
        """Take a failure that is not a defect of the program."""
        self._fail(error)

    def _on_done(self, then: Then, answer: Any) -> None:
        self._running = False
        if not self.closed:
            then(answer)
            if not self._rest.isActive():
                self.work()

    def _on_fail(self, error: BaseException) -> None:
        self._running = False
        if not isinstance(error, MedSAMQError):
            raise error
        if not self.closed:
            self._on_error(error)
