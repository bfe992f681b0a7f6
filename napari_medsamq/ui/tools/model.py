"""The models: the menu that offers them, and the change to another one or another modality."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from qtpy.QtCore import QObject, Signal

from napari_medsamq.errors import ModelError
from napari_medsamq.inference.engine import Engine, Engines
from napari_medsamq.inference.model_choice import (
    default_model,
    explain_default,
    personal_models,
    shipped_models,
    shown_name,
)
from napari_medsamq.inference.model_list import (
    StepTimes,
    describe_choice,
    describe_files,
    time_steps,
)
from napari_medsamq.inference.model_spec import ModelSpec
from napari_medsamq.inference.preprocess import WindowLevel, default_window
from napari_medsamq.io.modality import Modality
from napari_medsamq.io.volume import Volume
from napari_medsamq.ui.forms.model_menu import ModelBox, ModelEntry
from napari_medsamq.ui.lesson import begin_lesson
from napari_medsamq.ui.tools.tool import Tool, ToolContext
from napari_medsamq.ui.tools.window_level import WindowLevelTool
from napari_medsamq.ui.worker import Worker


class ModelTool(Tool):
    """Changes what segments a volume: the modality it is taken for, and the model.

    A change is prepared in the compute thread; until it is there, everything stays as it was.

    Parameters
    ----------
    context : ToolContext
    engines : Engines
        Hold the chosen model.
    window_level : WindowLevelTool
        Shows the window that suits a new modality.

    Attributes
    ----------
    active : bool
        Whether a change is on its way.
    """

    ended = Signal()  # a change, or one that failed

    def __init__(
        self, context: ToolContext, engines: Engines, window_level: WindowLevelTool
    ) -> None:
        super().__init__(context)
        self._engines = engines
        self._window_level = window_level
        self.active = False
        self.follow(self.to_modality, self._dock.volume.modality_requested)
        self.follow(self.to_model, self._dock.volume.model.requested)

    def to_modality(self, modality: Modality) -> None:
        """Take the volume for CT, MR or other, with the model and the window for it."""
        self._change(self._engines.model, self._session.volume.with_modality(modality))

    def to_model(self, model: Path | None) -> None:
        """Segment with another model from now on; None leaves the choice to the program."""
        self._change(model, None)

    def _change(self, model: Path | None, volume: Volume | None) -> None:
        engines = self._engines
        before, engines.model = engines.model, model
        directory = engines.directory((volume or self._session.volume).modality)

        def prepare() -> tuple[Engine, WindowLevel | None]:
            return engines.load(directory), None if volume is None else default_window(volume)

        def show(prepared: tuple[Engine, WindowLevel | None]) -> None:
            self._session.engine, window = prepared
            self._workspace.model = model
            if volume is not None and window is not None:
                self._session.volume, self._session.window = volume, window
                self._session.standard_window = window
                self._window_level.show(window)
            self._end()

        def give_up(error: BaseException) -> None:
            if volume is None:
                engines.model = before
            self._end()
            self._fail(error)

        self.active = True
        self._compute.submit(prepare, show, give_up)

    def _end(self) -> None:
        self.active = False
        # Another volume may be in use by now.
        if not self.closed:
            self._window_level.refresh()
            self._workspace.seen_changed.emit()
            self.ended.emit()


class ModelChooser(QObject):
    """Fills the menu of models, and times them once it is opened.

    Parameters
    ----------
    parent : QObject
    box : ModelBox
    engines : Engines
        Hold the choice.
    compute : Worker
        The models are timed in its thread, one job each, so that a box waits for one at most.
    """

    def __init__(self, parent: QObject, box: ModelBox, engines: Engines, compute: Worker) -> None:
        super().__init__(parent)
        self._box = box
        self._engines = engines
        self._compute = compute
        self._modality: Modality = "CT"
        self._times: dict[Path, StepTimes] = {}
        self._failures: dict[Path, str] = {}
        self._asked: set[Path] = set()
        self._others: list[Path] = []
        box.opened.connect(self._time_all)
        box.lesson_requested.connect(self._begin_lesson)
        self.show(self._modality)

    def show(self, modality: Modality) -> None:
        """Show the models as they are for images of a modality."""
        self._modality = modality
        chosen = self._engines.model
        if chosen is not None and chosen not in self._directories():
            self._others.append(chosen)
        default = default_model(modality)
        entries = [
            ModelEntry(
                None,
                f"Automatic: {default.name}",
                f"Automatic: {self._line(default)}",
                explain_default(),
            ),
            *(
                ModelEntry(path, shown_name(path), self._line(path), self._facts(path))
                for path in self._directories()
            ),
        ]
        self._box.show_models(entries, chosen)

    def _directories(self) -> list[Path]:
        return [*shipped_models(), *personal_models(), *self._others]

    def _line(self, directory: Path) -> str:
        try:
            spec = ModelSpec.read(directory)
        except ModelError:
            return f"{directory.name}: cannot be loaded"
        if directory in personal_models():
            spec = replace(spec, name=shown_name(directory))
        line = describe_choice(spec, self._modality, self._times.get(directory))
        return f"{line}: cannot be loaded" if directory in self._failures else line

    def _facts(self, directory: Path) -> str:
        try:
            spec = ModelSpec.read(directory)
        except ModelError as error:
            return str(error)
        text = describe_files(directory, spec)
        times = self._times.get(directory)
        if times is not None:
            text += (
                f"\nOn this computer {times.encode_ms:.0f} ms to encode a slice, "
                f"{times.decode_ms:.0f} ms for a box"
            )
        more = self._failures.get(directory), spec.provenance.get("personal")
        return "\n".join([text, *filter(None, more)])

    def _begin_lesson(self) -> None:
        lesson = begin_lesson(self._box)
        if lesson is not None:
            lesson.ended.connect(partial(self.show, self._modality))

    def _time_all(self) -> None:
        for directory in self._directories():
            if directory not in self._asked:
                self._asked.add(directory)
                self._compute.submit(
                    partial(_time, self._engines, directory),
                    partial(self._on_times, directory),
                    partial(self._on_failure, directory),
                )

    def _on_times(self, directory: Path, times: StepTimes) -> None:
        self._times[directory] = times
        self.show(self._modality)

    def _on_failure(self, directory: Path, error: BaseException) -> None:
        if not isinstance(error, ModelError):
            raise error
        self._failures[directory] = str(error)
        self.show(self._modality)


def _time(engines: Engines, directory: Path) -> StepTimes:
    return time_steps(engines.load(directory))
