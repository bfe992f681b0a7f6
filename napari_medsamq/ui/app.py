"""napari with the dock already open: what `medsamq gui` does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import napari
from napari.settings import get_settings
from napari.utils.notifications import notification_manager
from napari.utils.theme import get_theme, register_theme
from qtpy.QtCore import QTimer

from napari_medsamq.errors import MedSAMQError
from napari_medsamq.io.modality import Modality
from napari_medsamq.io.source import Selection
from napari_medsamq.ui.app_window import AppWindow
from napari_medsamq.ui.dock import MedSAMQWidget
from napari_medsamq.ui.preferences import DockOptions
from napari_medsamq.ui.prompt_list import Request
from napari_medsamq.workflows.parsing import parse_box

_POLL_MS = 50
# Of the window that `--screenshot` takes a picture of, where the screen allows.
_PICTURE = 1400, 900

# As it is typed, with number and name ("" for the usual one) of its label.
Box = tuple[str, tuple[int, str]]


def run(
    path: Path | None,
    boxes: Sequence[Box],
    axis: int,
    screenshot: Path | None,
    model: Path | None,
    device: str,
    modality: Modality | None,
    selection: Selection,
) -> None:
    """Open the window, then the volume, then the boxes one after the other, and stay.

    Parameters
    ----------
    path : Path or None
        Volume to open.
    boxes : sequence of (str, (int, str))
        As `parse_box` reads them, each with its label as `parse_labels` does.
    axis : int
        Array axis along which 3D boxes are carried.
    screenshot : Path or None
        Where to save a picture of the window; the window is closed then.
    model : Path or None
        Model directory; `default_model` of the volume's modality if None.
    device : str
        OpenVINO device name.
    modality, selection
        Where the file does not say; without a screenshot the window asks.
    """
    # A picture of the window is no work that anybody wants to go on with.
    passing = TemporaryDirectory(ignore_cleanup_errors=True)
    journals = None if screenshot is None else Path(passing.name)
    if get_settings().appearance.theme == "light":
        light = get_theme("light")
        light.canvas = "black"  # as radiologists look at pictures; in this process alone
        register_theme("light", light, "builtin")
    # napari's welcome names keys that mean something else here.
    viewer = napari.Viewer(title="MedSAM-Q", show=False, show_welcome_screen=False)
    options = DockOptions(ask=screenshot is None, journals=journals, draws=True)
    dock = MedSAMQWidget(viewer, model, device=device, options=options)
    frame = viewer.window.add_dock_widget(dock, name="MedSAM-Q", area="right")
    window = AppWindow(frame, viewer.window.window_menu, dock.may_close)
    window.dropped.connect(dock.open_path)
    window.open_requested.connect(dock.form.volume.ask_for_file)
    if path is not None:  # while the network is loaded and the window comes up
        dock.open_path(path, modality=modality, selection=selection)
    # At each start napari says that PyQt5 nears the end of its support, as the first page does.
    with notification_manager.notification_ready.blocker():
        viewer.window.show()
    window.show(None if screenshot is None else _PICTURE)
    steps = _steps(viewer, dock, path is not None, boxes, axis, screenshot)
    failures: list[MedSAMQError] = []

    def go_on() -> None:
        try:
            if not dock.busy and next(steps, "end") == "end":
                timer.stop()
        except MedSAMQError as error:
            timer.stop()
            failures.append(error)
            viewer.close()

    timer = QTimer()
    timer.timeout.connect(go_on)
    timer.start(_POLL_MS)
    napari.run()
    passing.cleanup()
    if failures:
        raise failures[0]


def _steps(
    viewer: napari.Viewer,
    dock: MedSAMQWidget,
    opens: bool,
    boxes: Sequence[Box],
    axis: int,
    screenshot: Path | None,
) -> Iterator[None]:
    # Goes on to the next `yield` whenever the dock has nothing more to do.
    if opens:
        if dock.controller is None:
            if dock.failure is not None:
                raise dock.failure
            # The user was asked about earlier work, and did not want the volume.
            return
        controller, workspace = dock.controller, dock.controller.workspace
        session = workspace.session
        for text, (label_id, name) in boxes:
            box = parse_box(text, session.volume, axis)
            if name:
                session.set_style(label_id, replace(session.style(label_id), name=name))
            workspace.show_label(label_id)
            controller.show_plane(box.axis)
            controller.view.show(box.axis, box.middle_slice)
            workspace.prompts.ask(Request(box, label_id))
            yield
    if screenshot is not None:
        viewer.screenshot(str(screenshot), canvas_only=False, flash=False)
        viewer.close()
