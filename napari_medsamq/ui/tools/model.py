"""Changes what segments a volume: the modality it is taken for, and the model."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from napari_medsamq.inference.engine import Engine, Engines
from napari_medsamq.inference.preprocess import WindowLevel, default_window
from napari_medsamq.ui.worker import Worker
from napari_medsamq.ui.workspace import Workspace


class Switch:
    """Prepares a change in the compute thread; until it is there, everything stays as it was.

    Parameters
    ----------
    workspace : Workspace
    engines : Engines
        Hold the chosen model.
    compute : Worker
    show_window : callable
        Told the window that suits a new modality.
    ended : callable
        Called after a change, and after one that failed.
    fail : callable
        Told why a change failed, after `ended`.

    Attributes
    ----------
    active : bool
        Whether a change is on its way.
    """

    def __init__(
        self,
        workspace: Workspace,
        engines: Engines,
        compute: Worker,
        *,
        show_window: Callable[[WindowLevel], None],
        ended: Callable[[], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        self._workspace = workspace
        self._engines = engines
        self._compute = compute
        self._show_window = show_window
        self._ended = ended
        self._fail = fail
        self.active = False

    def to_modality(self, modality: str) -> None:
        """Take the volume for CT, MR or other, with the model and the window for it."""
        session = self._workspace.session
        volume = session.volume.with_modality(modality)  # type: ignore[arg-type]

        directory = self._engines.directory(volume.modality)

        def prepare() -> tuple[WindowLevel, Engine]:
            return default_window(volume), self._engines.load(directory)

        def show(prepared: tuple[WindowLevel, Engine]) -> None:
            window, session.engine = prepared
            session.volume, session.window = volume, window
            session.standard_window = window
            self._show_window(window)

        self._begin(prepare, show, lambda: None)

    def to_model(self, model: Path | None) -> None:
        """Segment with another model from now on; None leaves the choice to the program."""
        before, self._engines.model = self._engines.model, model
        session = self._workspace.session

        def show(engine: Engine) -> None:
            session.engine, self._workspace.model = engine, model

        def keep() -> None:
            self._engines.model = before

        directory = self._engines.directory(session.volume.modality)
        self._begin(partial(self._engines.load, directory), show, keep)

    def _begin(
        self,
        prepare: Callable[[], Any],
        show: Callable[[Any], None],
        keep: Callable[[], None],
    ) -> None:
        def finish(prepared: Any) -> None:
            show(prepared)
            self._end()

        def give_up(error: BaseException) -> None:
            keep()
            self._end()
            self._fail(error)

        self.active = True
        self._compute.submit(prepare, finish, give_up)

    def _end(self) -> None:
        self.active = False
        self._ended()
