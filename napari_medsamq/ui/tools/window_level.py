"""What the network sees: the window, by preset, number, fit or drag of the mouse, and zoom."""

from __future__ import annotations

from qtpy.QtCore import QEvent, QObject, QPointF, Qt
from qtpy.QtGui import QMouseEvent

from napari_medsamq.errors import VolumeError
from napari_medsamq.inference.crop import Zoom
from napari_medsamq.inference.preprocess import WindowLevel
from napari_medsamq.inference.window_presets import (
    dragged_window,
    intensity_range,
    preset_of,
    presets,
    slice_window,
)
from napari_medsamq.plugin import layer_volume
from napari_medsamq.ui.tools.prefetch import PrefetchTool
from napari_medsamq.ui.tools.tool import Tool, ToolContext


class WindowLevelTool(Tool):
    """Keeps picture, form and session at one window while a workspace is the one in use.

    The window is the image layer's contrast limits and nothing else, so that it may also be changed
    by napari's own controls, and no voxel changes.

    A drag with Ctrl held down is taken before napari sees it: in every mode of every layer it would
    draw, paint or select otherwise. Only layers that are transformed keep it, as napari scales by
    it then.

    Parameters
    ----------
    context : ToolContext
    prefetch : PrefetchTool
        Rests during a drag, so that no window on the way is encoded.
    """

    def __init__(self, context: ToolContext, prefetch: PrefetchTool) -> None:
        super().__init__(context)
        self._form = self._dock.volume.window_level
        self._prefetch = prefetch
        self._limits = intensity_range(self._session.volume)
        self._drag: tuple[QPointF, WindowLevel] | None = None
        self.follow(self.show, self._form.window_requested)
        self.follow(self.fit, self._form.fit_requested)
        self.follow(self.share, self._form.sharing_requested)
        self.follow(self.zoom_in, self._dock.volume.zoom_requested)
        self.follow(self._on_contrast_limits, self._workspace.image.events.contrast_limits)
        self._canvas.installEventFilter(self)
        self.refresh(adopt=layer_volume(self._workspace.image) is not None)

    def close(self) -> None:
        """Let go of form and canvas."""
        self._end_drag()
        self._canvas.removeEventFilter(self)
        super().close()

    @property
    def window(self) -> WindowLevel:
        """The window that is shown."""
        low, high = self._workspace.image.contrast_limits
        return WindowLevel.from_limits(float(low), float(high))

    def refresh(self, *, adopt: bool = False) -> None:
        """Offer the presets of the modality, and show the window.

        Parameters
        ----------
        adopt : bool
            Whether the picture takes the session's window over, and not the session the picture's:
            our own layer was made before its modality was asked for, someone else's is as they
            want it.
        """
        workspace = self._workspace
        self._presets = presets(self._session.volume, self._session.standard_window)
        self._form.show_presets(self._presets)
        if self._presets:
            if adopt and workspace.shares_window:
                self.show(self._session.window)
            self._on_contrast_limits()
        self._form.show_sharing(workspace.shares_window, self._session.standard_window)
        self._dock.volume.show_zoom(self._session.zoom is not None)

    def zoom_in(self, zooms: bool) -> None:
        """Let the network see small structures enlarged, or always whole slices."""
        self._session.zoom = Zoom() if zooms else None
        self._workspace.seen_changed.emit()

    def show(self, window: WindowLevel) -> None:
        """Show the picture through a window."""
        image, (low, high) = self._workspace.image, window.limits
        lowest, highest = image.contrast_limits_range
        image.contrast_limits_range = (min(lowest, low), max(highest, high))
        image.contrast_limits = (low, high)

    def next_preset(self) -> None:
        """Take the preset after the one that is shown, or the first."""
        if not self._presets:
            return
        shown = preset_of(self.window, self._presets)
        place = -1 if shown is None else self._presets.index(shown)
        preset = self._presets[(place + 1) % len(self._presets)]
        self.show(preset.window)
        seen = "too" if self._workspace.shares_window else "still as before"
        self._say(
            f"Window: {preset.name}, {preset.detail}. The network sees it {seen}.",
            "'The network sees this window', under 'Network, window, layer' in the volume's menu,\n"
            "decides whether it does.",
        )

    def fit(self) -> None:
        """Fit the window to the slice in view."""
        view = self._view
        try:
            self.show(slice_window(self._session.volume, view.axis, view.index))
        except VolumeError as error:
            self._fail(error)

    def share(self, sharing: bool) -> None:
        """Let the network see the window that is shown, or always the modality's own."""
        workspace = self._workspace
        workspace.shares_window = sharing
        seen = self.window if sharing else self._session.standard_window
        self._session.window = seen
        self._session.event.emit("seen", {"shared": sharing})
        self._form.show_sharing(sharing, self._session.standard_window)
        whatever = "as you see it" if sharing else "whatever you see"
        self._say(f"The network sees level {seen.level:g}, width {seen.width:g}, {whatever}.")
        self._workspace.seen_changed.emit()

    def _on_contrast_limits(self) -> None:
        if self._workspace.shares_window:
            self._session.window = self.window
            self._workspace.seen_changed.emit()
        self._form.show_window(self.window)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 (Qt's name)
        """Take the drags that set the window; napari gets all the others."""
        kind = event.type()
        if kind in (QEvent.Type.MouseButtonPress, QEvent.Type.MouseButtonDblClick):
            if self._drag is None and self._begins_drag(event):
                self._drag = event.position(), self.window
                self._prefetch.pause()
            return self._drag is not None
        if self._drag is None:
            return False
        if kind == QEvent.Type.MouseMove:
            start, window = self._drag
            way = event.position() - start
            self.show(dragged_window(window, way.x(), way.y(), self._limits))
            return True
        if kind == QEvent.Type.MouseButtonRelease:
            if event.button() == Qt.MouseButton.LeftButton:
                self._end_drag()
            return True
        return False

    def _begins_drag(self, event: QMouseEvent) -> bool:
        active = self._viewer.layers.selection.active
        return (
            bool(self._presets)
            and event.button() == Qt.MouseButton.LeftButton
            and event.modifiers() == Qt.KeyboardModifier.ControlModifier
            and (active is None or active.mode != "transform")
        )

    def _end_drag(self) -> None:
        if self._drag is not None:
            self._drag = None
            self._prefetch.resume()
