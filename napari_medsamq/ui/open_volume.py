"""From a path or a layer to a workspace: reads, asks what must be asked, and prepares."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Image
from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QInputDialog, QWidget

from napari_medsamq.annotation.session import AnnotationSession
from napari_medsamq.errors import JournalChangedError, JournalError, MedSAMQError, VolumeError
from napari_medsamq.inference.crop import Zoom
from napari_medsamq.inference.engine import Engine, Engines
from napari_medsamq.inference.window_presets import CT_PRESETS, presets
from napari_medsamq.io.labels import looks_like_label
from napari_medsamq.io.modality import MODALITIES, Modality
from napari_medsamq.io.readers import can_read
from napari_medsamq.io.source import Selection
from napari_medsamq.io.volume import Volume, read_volume
from napari_medsamq.plain_text import unguessed
from napari_medsamq.plugin import foreign_volume, image_layer, layer_volume
from napari_medsamq.records.journal import Journal
from napari_medsamq.records.recording import Recorder, Restored
from napari_medsamq.records.recovery import FoundJournal, find_journal
from napari_medsamq.records.work_list import WorkList
from napari_medsamq.ui.dialogs import ask_label, ask_resume, ask_selection
from napari_medsamq.ui.preferences import (
    DockOptions,
    ct_window,
    embedding_bytes,
    journals,
    palette,
)
from napari_medsamq.ui.worker import Worker
from napari_medsamq.ui.workspace import Workspace

if TYPE_CHECKING:
    from napari import Viewer


class Opener(QObject):
    """Opens volumes in a viewer, by whichever way they come.

    Parameters
    ----------
    parent : QWidget
        Its dialogs belong to it.
    viewer : napari.Viewer
    compute, files : Worker
        Threads for the network and for reading.
    engines : Engines
    workspaces : list of Workspace
        Those that are open in the viewer, oldest first; new ones are added.
    options : DockOptions

    Attributes
    ----------
    work_list : WorkList
        Of all volumes that were opened from files.
    """

    opened = Signal(Workspace)
    said = Signal(str)  # what goes on
    noted = Signal(str)  # what the user has to know of a volume that is then opened
    failed = Signal(object)
    label_found = Signal(Path)  # to be loaded onto the open volume
    _lost = Signal(object)

    def __init__(
        self,
        parent: QWidget,
        viewer: Viewer,
        compute: Worker,
        files: Worker,
        engines: Engines,
        workspaces: list[Workspace],
        options: DockOptions,
    ) -> None:
        super().__init__(parent)
        self._parent = parent
        self._viewer = viewer
        self._compute = compute
        self._files = files
        self._workspaces = workspaces
        self._ask, self._memory = options.ask, options.memory
        self._journals = options.journals or journals()
        self.work_list = WorkList(self._journals)
        # From a journal's own thread.
        self._lost.connect(self.failed.emit)
        self._engines = engines
        self._ready = False
        self._works = 0
        # A file that looks like a label and was opened without its image.
        self._label_alone: Path | None = None
        # A layer may be asked for again, by the arrival of the network say, while it is prepared.
        self._preparing: list[Image] = []
        viewer.layers.events.inserted.connect(self._on_inserted)
        # Most volumes are CT or MR; a picture's engine can wait until there is one.
        load = partial(engines.load, engines.directory("CT"))
        compute.submit(load, self._on_engine, self.failed.emit)

    def close(self) -> None:
        """Stop following the viewer."""
        self._viewer.layers.events.inserted.disconnect(self._on_inserted)

    def open_path(
        self,
        path: Path,
        *,
        modality: Modality | None = None,
        selection: Selection = Selection(),  # noqa: B008 (frozen)
    ) -> None:
        """Read a file or DICOM folder in the background and show it.

        Where there is a choice to be made, or slices have to be resampled, the user is asked.
        """

        def read() -> tuple[Volume, bool]:
            volume = read_volume(path, **asdict(selection))
            if modality is not None:
                return volume.with_modality(modality), False
            return volume, self._ask and looks_like_label(volume)

        def failed(error: BaseException) -> None:
            with self._at_work():
                better = ask_selection(self._parent, error, selection) if self._ask else None
            if better is None:
                self.failed.emit(error)
            # The dock may have been closed with the question still open.
            elif self._files.running:
                self.open_path(path, modality=modality, selection=better)

        self.said.emit(f"Reading {path.name}…")
        self._files.submit(read, self._on_volume, failed)

    def open_layer(self, layer: Image | None) -> None:
        """Segment on an image layer, whoever made it."""
        # Until the network is there the layer waits; `_on_engine` comes back to it.
        if layer is None or not self._ready or any(layer is other for other in self._preparing):
            return
        for workspace in self._workspaces:
            if workspace.image is layer:
                self.opened.emit(workspace)
                return
        volume = layer_volume(layer)
        source = layer.source.path
        if volume is None and source and can_read(Path(source)):
            # The file knows its geometry, the layer does not: a layer of our own shows it.
            self.open_path(Path(source))
            return
        try:
            volume = self._with_known_modality(volume or foreign_volume(layer))
        except MedSAMQError as error:
            self.failed.emit(error)
            return
        self._prepare(volume, layer)

    def _on_engine(self, engine: Engine) -> None:
        self._ready = True
        begin = "" if self._files.busy else " Open a volume to begin."
        self.said.emit(f"Ready: {engine.spec.name}.{begin}")
        if self._workspaces:
            self.opened.emit(self._workspaces[-1])
            return
        images = [layer for layer in self._viewer.layers if isinstance(layer, Image)]
        ours = [layer for layer in images if layer_volume(layer) is not None]
        if ours:
            self._open_soon(ours[-1])

    def _on_volume(self, read: tuple[Volume, bool]) -> None:
        volume, is_label = read
        if is_label and self._workspaces and volume.path is not None:
            name = self._workspaces[-1].session.volume.name
            with self._at_work():
                loads = ask_label(self._parent, volume.name, name)
            if loads is None or not self._compute.running:
                return
            if loads:
                self.label_found.emit(volume.path)
                return
        self._label_alone = volume.path if is_label and not self._workspaces else None
        data, arguments, _ = image_layer(volume)
        self._viewer.add_image(data, **arguments)

    def _on_inserted(self, event: Any) -> None:
        layer = event.value
        if any(layer is own.image for own in self._workspaces):
            return
        if isinstance(layer, Image) and layer_volume(layer) is not None:
            self._open_soon(layer)

    def _open_soon(self, layer: Image) -> None:
        # Not at once: a question would stop in its middle what is still going on, the adding of
        # the layer by napari say.
        def open_now() -> None:
            with soon:
                # The dock may be gone by now.
                if self._compute.running:
                    self.open_layer(layer)

        soon = ExitStack()
        soon.enter_context(self._at_work())
        QTimer.singleShot(0, open_now)

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        """Count as busy: a question is open, or a layer is about to be opened."""
        self._works += 1
        try:
            yield
        finally:
            self._works -= 1

    @property
    def busy(self) -> bool:
        """Whether a layer is about to be opened, or a question is open."""
        return self._works > 0

    def _with_known_modality(self, volume: Volume) -> Volume:
        if volume.modality_source != "ambiguous":
            return volume
        if not self._ask:
            raise VolumeError(
                f"{volume.name} does not say whether it is CT or MR. "
                "Add --modality ct, mr or other."
            )
        choice, accepted = QInputDialog.getItem(
            self._parent,
            "CT or MR?",
            unguessed(f"{volume.name} does not say what it is. The choice decides the window:"),
            MODALITIES,
            MODALITIES.index(volume.modality),
            False,
        )
        return volume.with_modality(choice) if accepted else volume

    def _prepare(self, volume: Volume, layer: Image) -> None:
        if not self._compute.running:  # the dock was closed with the question still open
            return
        self.said.emit(f"Preparing {volume.name}…")

        model, directory = self._engines.model, self._engines.directory(volume.modality)
        memory = embedding_bytes() if self._memory is None else self._memory
        colors, window = palette(), ct_window()

        def begin() -> tuple[AnnotationSession, FoundJournal]:
            engine = self._engines.load(directory)
            session = AnnotationSession(
                volume, engine, zoom=Zoom(), embedding_budget=memory, palette=colors
            )
            if presets(volume, session.standard_window) == CT_PRESETS:
                session.window = window
            return session, find_journal(volume, self._journals)

        def forget() -> None:
            self._preparing = [other for other in self._preparing if other is not layer]

        def opened(found: tuple[AnnotationSession, FoundJournal]) -> None:
            forget()
            session, past = found
            with self._at_work():
                goes_on = self._goes_on(session.volume, past)
            # The dock may have been closed with the question still open.
            if not self._compute.running:
                return
            if goes_on is None:
                self._leave(layer, session.volume)
            else:
                self._begin(layer, model, session, past, goes_on=goes_on)

        def failed(error: MedSAMQError) -> None:
            forget()
            self.failed.emit(error)

        self._preparing.append(layer)
        self._compute.submit(begin, opened, failed)

    def _goes_on(self, volume: Volume, past: FoundJournal) -> bool | None:
        """Tell whether to go on with what was done before; None for no answer."""
        if past.restored is None:
            return False
        # Where no label was touched, there is nothing to be asked about.
        if not past.restored.worked:
            return True
        return self._ask and ask_resume(self._parent, volume, past, past.restored)

    def _leave(self, layer: Image, volume: Volume) -> None:
        """Open nothing; a layer that someone else made stays."""
        if layer_volume(layer) is not None and layer in self._viewer.layers:
            self._viewer.layers.remove(layer)
        self.said.emit(f"{volume.name} was not opened; what was done to it before stays as it was.")

    def _begin(
        self,
        layer: Image,
        model: Path | None,
        session: AnnotationSession,
        past: FoundJournal,
        *,
        goes_on: bool,
    ) -> None:
        volume, restored, recorder = session.volume, None, None
        if volume.path is not None and volume.path == self._label_alone:
            self.noted.emit(f"{volume.name} looks like a label: open its image, then load it.")
        if past.warning:
            self.failed.emit(JournalError(f"{volume.name}: {past.warning}"))
        content = past.content
        try:
            if goes_on and past.restored is not None:
                restored = past.restored
                session.restore(restored.history, restored.styles)
                self._show_seen(session, layer, restored)
            elif past.restored is not None:
                content = None
            journal = Journal(past.path, volume, past.key, content, self._lost.emit)
            recorder = Recorder(session, journal, restored)
            if journal.kept is not None:
                self.noted.emit(f"The earlier work on {volume.name} was kept as {journal.kept}.")
        except JournalChangedError:
            # The question was about what is old by now.
            self._prepare(volume, layer)
            return
        except JournalError as error:
            self.failed.emit(error)
        workspace = Workspace(session, layer, model, recorder)
        workspace.shares_window = restored is None or restored.shared
        workspace.closed.connect(partial(self._workspaces.remove, workspace))
        self._workspaces.append(workspace)
        if volume.path is not None:
            self.work_list.note(volume.path, past.path.name)
        self.opened.emit(workspace)

    @staticmethod
    def _show_seen(session: AnnotationSession, layer: Image, restored: Restored) -> None:
        if restored.seen is not None:
            window, session.zoom = restored.seen.window, restored.seen.zoom
            session.window = window
            low, high = layer.contrast_limits_range
            layer.contrast_limits_range = min(low, window.limits[0]), max(high, window.limits[1])
            layer.contrast_limits = window.limits
