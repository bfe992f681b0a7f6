"""Wires the display window: its form, its presets, and dragging on the canvas."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from napari_medsamq.errors import MedSAMQError
from napari_medsamq.forms import VolumeForm
from napari_medsamq.preprocess import WindowLevel, default_window
from napari_medsamq.windows import named_window, window_names
from napari_medsamq.workspace import Workspace

if TYPE_CHECKING:
    from napari import Viewer

# Of the canvas, what a drag has to cross to double the width.
_DOUBLES = 250.0


class Windowing:
    """Keeps what the user sees and what the network sees the same, unless told otherwise.

    Parameters
    ----------
    viewer : napari.Viewer
    form : VolumeForm
    workspace : Workspace
    shown_index : callable
        Gives the axis and the index of the slice in view.
    fail : callable
        Told why a window cannot be shown.
    """

    def __init__(
        self,
        viewer: Viewer,
        form: VolumeForm,
        workspace: Workspace,
        shown_index: Callable[[], tuple[int, int]],
        fail: Callable[[BaseException], None],
    ) -> None:
        self._viewer = viewer
        self._form = form
        self._workspace = workspace
        self._shown_index = shown_index
        self._fail = fail
        form.window_requested.connect(self.show)
        form.preset_requested.connect(self.show_named)
        form.follow_requested.connect(self._follow)
        workspace.image.events.contrast_limits.connect(self._on_contrast_limits)
        viewer.mouse_drag_callbacks.append(self._drag)

    def close(self) -> None:
        """Let go of form and viewer."""
        self._form.window_requested.disconnect(self.show)
        self._form.preset_requested.disconnect(self.show_named)
        self._form.follow_requested.disconnect(self._follow)
        self._workspace.image.events.contrast_limits.disconnect(self._on_contrast_limits)
        self._viewer.mouse_drag_callbacks.remove(self._drag)

    def show(self, window: WindowLevel) -> None:
        """Show a window; intensities stay as they are."""
        image, (low, high) = self._workspace.image, window.limits
        lowest, highest = image.contrast_limits_range
        image.contrast_limits_range = (min(lowest, low), max(highest, high))
        image.contrast_limits = (low, high)

    def show_named(self, name: str) -> None:
        """Show a window by its name."""
        volume = self._workspace.session.volume
        try:
            self.show(named_window(volume, name, volume.slice(*self._shown_index())))
        except MedSAMQError as error:
            self._fail(error)

    def show_next(self) -> None:
        """Show the window that comes next in the list."""
        names = window_names(self._workspace.session.volume)
        name = names[(self._form.preset_number + 1) % len(names)]
        self._form.show_preset(name)
        self.show_named(name)

    def _on_contrast_limits(self) -> None:
        # What is seen is what the network sees, whichever control changed it.
        window = self._shown_window()
        if self._form.follows:
            self._workspace.session.window = window
        self._form.show_window(window)

    def _follow(self, follows: bool) -> None:
        session = self._workspace.session
        session.window = self._shown_window() if follows else default_window(session.volume)

    def _shown_window(self) -> WindowLevel:
        low, high = self._workspace.image.contrast_limits
        return WindowLevel.from_limits(float(low), float(high))

    def _drag(self, viewer: Viewer, event: Any) -> Iterator[None]:
        """Ctrl and drag: to the right widens the window, upwards raises its level."""
        # With a tool in hand, a drag is the tool's.
        active = viewer.layers.selection.active
        moves = active is None or active.mode == "pan_zoom"
        if "Control" not in event.modifiers or not moves:
            return
        camera, pans = viewer.scene.camera, viewer.scene.camera.mouse_pan
        camera.mouse_pan = False
        window, (x, y) = self._shown_window(), event.pos
        yield
        while event.type == "mouse_move":
            right, up = event.pos[0] - x, y - event.pos[1]
            width = window.width * 2 ** (right / _DOUBLES)
            self.show(WindowLevel(window.level + window.width * up / _DOUBLES / 2, width))
            yield
        camera.mouse_pan = pans
