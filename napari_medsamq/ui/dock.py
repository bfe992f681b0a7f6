"""The dock as napari knows it: owns the threads, and the controller of the volume in use."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar
from weakref import WeakKeyDictionary, ref

from napari.utils.history import update_open_history
from qtpy.compat import isalive
from qtpy.QtCore import QEvent, Qt, QTimer
from qtpy.QtWidgets import QMessageBox, QVBoxLayout, QWidget

from napari_medsamq.errors import MedSAMQError
from napari_medsamq.inference.backend import CPU
from napari_medsamq.inference.engine import Engines
from napari_medsamq.io.modality import Modality
from napari_medsamq.io.readers import scans_beside
from napari_medsamq.io.source import Selection
from napari_medsamq.plugin import SAMPLES
from napari_medsamq.ui import preferences
from napari_medsamq.ui.canvas.canvas_widget import canvas_widget, main_window
from napari_medsamq.ui.canvas.picture_corners import PictureCorners
from napari_medsamq.ui.canvas.planes import PLANES
from napari_medsamq.ui.canvas.slice_bar import BAR_HEIGHT, SliceBar
from napari_medsamq.ui.controller import Controller
from napari_medsamq.ui.dialogs import ask_unsaved
from napari_medsamq.ui.forms.dock_form import DockForm
from napari_medsamq.ui.forms.guide import CORRECT, OPEN
from napari_medsamq.ui.forms.tool_rail import BOX
from napari_medsamq.ui.open_volume import Opener
from napari_medsamq.ui.preferences import DockOptions
from napari_medsamq.ui.shortcuts import bound_keys, key_names
from napari_medsamq.ui.tools.model import ModelChooser
from napari_medsamq.ui.tools.tool import ToolContext
from napari_medsamq.ui.view_state import ViewState
from napari_medsamq.ui.worker import Worker
from napari_medsamq.ui.workspace import Workspace

if TYPE_CHECKING:
    from napari import Viewer


_RECENT = 8
_KEPT = " What was done to it is kept; open it again to go on."


class MedSAMQWidget(QWidget):
    """Segment CT and MR volumes by drawing boxes.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        napari passes its viewer under this name.
    model : Path, optional
        Model directory for every volume; what the user prefers if not given.
    device : str
        OpenVINO device name.
    options : DockOptions

    Attributes
    ----------
    form : DockForm
        All that the user sees of the dock, but for the line at its foot.
    engines : Engines
        Hold the chosen model.
    workspaces : list of Workspace
        What is open in the viewer, oldest first.
    failure : exception or None
        Why a volume could not be opened last; None where the user did not want it, say.
    """

    # What is open outlives a dock, so that one which is opened again in the viewer finds it.
    _open_in: ClassVar[WeakKeyDictionary[Viewer, list[Workspace]]] = WeakKeyDictionary()

    def __init__(
        self,
        napari_viewer: Viewer,
        model: Path | None = None,
        *,
        device: str = CPU,
        options: DockOptions = DockOptions(),  # noqa: B008 (frozen)
    ) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self.workspaces = self._open_in.setdefault(napari_viewer, [])
        self._controller: Controller | None = None
        self.failure: BaseException | None = None
        self._prefetch, self._draws = options.prefetch, options.draws
        refused: list[MedSAMQError] = []
        self._keys = bound_keys(preferences.keys(), refused.append)
        self._names = key_names(self._keys)
        self.form = DockForm(tuple(plane.name for plane in PLANES), self._names)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.form)
        # Not held, as they belong to napari's window, and end with it.
        self._corners: ref[PictureCorners] | None = None
        self.form.show_status("Loading the network…")
        self._compute = Worker("medsamq-compute", self)
        self._files = Worker("medsamq-files", self)
        # A window that is closed with the dock in it ends the dock without a word to it. The
        # network must not keep the program alive then.
        self.destroyed.connect(partial(_stop, self._compute, self._files))
        self.engines = Engines(model or preferences.model(refused.append), device)
        self._chooser = ModelChooser(self, self.form.volume.model, self.engines, self._compute)
        self._opener = Opener(
            self, napari_viewer, self._compute, self._files, self.engines, self.workspaces, options
        )
        self._opener.opened.connect(self._take)
        # What the user is to read once a volume is open, in front of what to do next.
        self._refused, self._told = [str(error) for error in refused], list[str]()
        self._opener.said.connect(self._on_said)
        self._opener.noted.connect(self._told.append)
        self._opener.failed.connect(self._on_failed)
        self._opener.label_found.connect(self._load_label)
        self.form.volume.open_requested.connect(self.open_path)
        self.form.volume.layer_requested.connect(self._opener.open_layer)
        self.form.volume.close_requested.connect(self._close_volume)
        self.form.volume.next_requested.connect(self._open_next)
        self.form.volume.scan_requested.connect(self._open_instead)
        self.form.volume.recent_requested.connect(self._show_recent)
        self.form.volume.beside_requested.connect(self._show_beside)
        self._guides = options.ask and preferences.shows_guide()
        self.form.guide.sample_requested.connect(partial(self.open_path, SAMPLES / "ct.nii.gz"))
        self.form.guide.ended.connect(self._end_guide)
        napari_viewer.layers.selection.events.active.connect(self._on_active_layer)
        # What is kept of a layer that goes is garbage again.
        napari_viewer.layers.events.removed.connect(gc.unfreeze)
        for key, action in self._keys.items():
            napari_viewer.bind_key(key, self._on_key(action.act), overwrite=True)

    @property
    def busy(self) -> bool:
        """Whether something is still being read, computed or saved."""
        return self._compute.busy or self._files.busy or self._opener.busy

    @property
    def controller(self) -> Controller | None:
        """What drives the volume in use; None when none is open."""
        return self._controller

    @property
    def status(self) -> str:
        """The line that says what happened last."""
        return self.form.status

    def open_path(
        self,
        path: Path,
        *,
        modality: Modality | None = None,
        selection: Selection = Selection(),  # noqa: B008 (frozen)
    ) -> None:
        """Read a file or DICOM folder in the background and show it."""
        self.failure = None
        self._opener.open_path(path, modality=modality, selection=selection)

    def may_close(self) -> bool:
        """Tell whether nothing is left to be saved, or the user does not want to save it.

        Who wants to, saves now, and may ask again once nothing is at work.
        """
        return self._may_leave(self.workspaces)

    def _may_leave(self, workspaces: Sequence[Workspace]) -> bool:
        changed = [own for own in workspaces if own.unsaved]
        if not changed or self._controller is None:
            return True
        names = [name for own in changed for name in own.unsaved]
        saves = ask_unsaved(self, names, kept=all(own.keeps_work for own in changed))
        if saves:
            if self._controller.workspace not in changed:
                self._take(changed[0])
            self._controller.save_load.save_again()
        return saves is False

    def reset_choices(self, event: object = None) -> None:
        """Follow the viewer's layers in the layer menu; napari calls this by name."""
        self.form.volume.reset_layers()

    def event(self, event: QEvent) -> bool:
        """Stop the threads when napari takes the widget out of its dock."""
        if event.type() == QEvent.Type.ParentChange:
            if self.parent() is None:
                self._shut_down()
            else:  # once the dock is in napari's window
                QTimer.singleShot(0, self._lay_out_bars)
        return bool(super().event(event))

    def closeEvent(self, event: QEvent) -> None:  # noqa: N802 (Qt's name)
        """Stop the threads when the widget is closed."""
        self._shut_down()
        super().closeEvent(event)

    def _lay_out_bars(self) -> None:
        """Lay tools and messages at the window's edges, and buttons about the view on it."""
        window = main_window(self)
        if self._corners is not None or window is None or not self._compute.running:
            return
        form = self.form
        for bar, area in (
            (form.rail, Qt.ToolBarArea.LeftToolBarArea),
            (form.messages, Qt.ToolBarArea.BottomToolBarArea),
        ):
            bar.setObjectName(bar.windowTitle())
            window.addToolBar(area, bar)
            bar.show()
        volume = form.volume
        corners = PictureCorners(
            canvas_widget(form), volume.window_level.presets, volume.planes, BAR_HEIGHT + 8
        )
        self._corners = ref(corners)
        form.guide.setParent(window)
        if self._guides:
            form.begin_guide()

    def _take_in_bars(self) -> None:
        corners = None if self._corners is None else self._corners()
        window = main_window(self.form.rail) if isalive(self.form.rail) else None
        if corners is None or window is None:
            return
        corners.release(self)
        self.form.guide.end()
        self.form.guide.setParent(self)
        for bar in (self.form.rail, self.form.messages):
            window.removeToolBar(bar)
            bar.setParent(self)

    def _shut_down(self) -> None:
        if not self._compute.running:
            return
        self._take_in_bars()
        _stop(self._compute, self._files)
        self._opener.close()
        self._viewer.layers.selection.events.active.disconnect(self._on_active_layer)
        for key in self._keys:
            self._viewer.bind_key(key, None, overwrite=True)
        if self._controller is not None:
            self._controller.close()
        # Now and here: left to the garbage collector, Qt's objects might end in a thread of theirs
        # that must not touch them.
        self.deleteLater()

    def _on_said(self, text: str) -> None:
        self._told.clear()
        self._show(text, self._refused)

    def _show(self, text: str, refused: list[str]) -> None:
        self.form.messages.show_text(" ".join([*refused, text]), refused=bool(refused))

    def _on_failed(self, error: BaseException) -> None:
        self.failure = error
        self._told.append(str(error))
        self.form.show_failure(error)

    def _load_label(self, path: Path) -> None:
        if self._controller is not None:
            self._controller.save_load.load(path)

    def _close_volume(self) -> None:
        if self._controller is None:
            return
        workspace = self._controller.workspace
        if not workspace.keeps_work and workspace.session.history.edits:
            buttons = QMessageBox.StandardButton
            question = (
                f"What was done to {workspace.session.volume.name} is not recorded: what you have "
                "not saved is lost. Close it all the same?"
            )
            if buttons.Yes != QMessageBox.question(self, "Close volume?", question):
                return
        workspace.close()

    def _open_next(self) -> None:
        if self._controller is None:
            return
        here, scans = self._scans()
        later = [scan for scan in scans if here is not None and scan.name > here.name]
        if later:
            self._open_instead(later[0])
        else:
            self.form.show_status("This is the last scan in its folder.")

    def _open_instead(self, path: Path) -> None:
        """Open a scan in place of the volume in use."""
        if self._controller is None:
            return
        workspace = self._controller.workspace
        if self._may_leave([workspace]):
            workspace.close()
            self.open_path(path)

    def _scans(self) -> tuple[Path | None, list[Path]]:
        """Return the file of the volume in use, and the scans of its folder."""
        path = None if self._controller is None else self._controller.session.volume.path
        return path, [] if path is None else scans_beside(path)

    def _show_recent(self) -> None:
        self.form.volume.show_recent(self._opener.work_list.latest(_RECENT))

    def _show_beside(self) -> None:
        here, scans = self._scans()
        now = {own.session.volume.path: own.progress for own in self.workspaces}
        before = self._opener.work_list.progress
        listed = [(scan, now.get(scan) or before(scan)) for scan in scans]
        self.form.volume.show_beside(listed, here)

    def _on_closed(self) -> None:
        """The volume in use was closed: another open one is shown."""
        if self._controller is None:
            return
        name = self._controller.workspace.session.volume.name
        kept = self._controller.workspace.keeps_work
        self._controller = None
        self.form.set_open(False)
        # Once its layers are gone.
        QTimer.singleShot(0, partial(self._take_next, f"{name} was closed." + _KEPT * kept))

    def _take_next(self, text: str) -> None:
        if not self._compute.running:
            return
        if self.workspaces and self._controller is None:
            self._take(self.workspaces[-1])
        self.form.show_status(text)

    def _end_guide(self) -> None:
        self._guides = False
        self.form.guide.end()
        preferences.end_guide()

    def _on_key(self, action: Callable[[Controller], None]) -> Callable[[Viewer], None]:
        def press(viewer: Viewer) -> None:
            if self._controller is not None:
                action(self._controller)

        return press

    def _on_active_layer(self) -> None:
        # The dock follows the user from volume to volume.
        active = self._viewer.layers.selection.active
        if self._controller is None or active is None:
            return
        used = self._controller.workspace
        for workspace in self.workspaces:
            if workspace is not used and active in (workspace.labels, workspace.boxes):
                # After napari is done with the selection.
                QTimer.singleShot(0, partial(self._take_if_active, workspace))

    def _take_if_active(self, workspace: Workspace) -> None:
        if not self._compute.running:
            return
        used = self._controller.workspace if self._controller is not None else None
        active = self._viewer.layers.selection.active
        if workspace is not used and active in (workspace.labels, workspace.boxes):
            self._take(workspace)

    def _take(self, workspace: Workspace) -> None:
        self._lay_out_bars()
        if self._controller is not None:
            self._controller.close()
        canvas = canvas_widget(self.form)
        context = ToolContext(
            parent=self,
            viewer=self._viewer,
            canvas=canvas,
            dock=self.form,
            workspace=workspace,
            workspaces=self.workspaces,
            view=ViewState(self._viewer, workspace.labels),
            bar=SliceBar(canvas),
            compute=self._compute,
            files=self._files,
            prefetch=preferences.prefetches() if self._prefetch is None else self._prefetch,
        )
        if self._guides:
            self.form.guide.point(CORRECT, context.bar)
        self._controller = Controller(context, self.engines, self._chooser, self._keys)
        self._controller.volume_closed.connect(self._on_closed)
        volume = workspace.session.volume
        if volume.path is not None:
            update_open_history(str(volume.path))  # where the next dialog begins
        self.form.guide.done(OPEN)
        begin = f"Press {self._names['draw']}, then drag a box around a structure."
        if self._draws:
            self._controller.take(BOX)
            begin = "Drag a box around a structure."
        self._show(begin, [*self._refused, *self._told, *volume.warnings])
        self._refused.clear()
        self._told.clear()
        # A look at every object that there is takes a seventh of a second: now, and not whenever
        # Python likes to, while the mouse moves.
        gc.collect()
        gc.freeze()


def _stop(compute: Worker, files: Worker) -> None:
    compute.stop(drop_waiting=True)
    # What is being saved still is.
    files.stop(drop_waiting=False)
