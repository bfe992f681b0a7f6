"""Encodes the slices around the one in view before they are needed, and shows which are ready."""

from __future__ import annotations

from functools import partial

import numpy as np

from napari_medsamq.errors import MedSAMQError
from napari_medsamq.inference.embeddings import nearest_slices
from napari_medsamq.ui.tools.tool import BackgroundTool, Job, Then, ToolContext

# Scrolling redraws the canvas, and both want the same cores.
_REST_MS = 40


class PrefetchTool(BackgroundTool):
    """Keeps the compute thread busy with slices near the view while nothing else is asked of it.

    Parameters
    ----------
    context : ToolContext

    Attributes
    ----------
    paused : bool
        While the mouse sets the window, and where nothing is wanted ahead.
    """

    def __init__(self, context: ToolContext) -> None:
        super().__init__(context, context.compute, _REST_MS, gives_way=True)
        self._ahead = context.prefetch
        self.paused = not self._ahead
        self._axis = self._index = 0
        self._forwards = True
        self._bar = context.bar
        workspace = self._workspace
        self.follow(self.refresh, workspace.box_layer.ended, workspace.seen_changed)
        self.follow(self.refresh, workspace.image.events.contrast_limits)
        self.follow(self._on_view, self._view.changed)
        self._on_view()

    def pause(self) -> None:
        """Encode nothing, as all of it would be of another window."""
        self.paused = True

    def resume(self) -> None:
        """Encode again."""
        self.paused = not self._ahead
        self.refresh()

    def refresh(self) -> None:
        """Look again for slices to encode: view, window, modality or model have changed."""
        self._show_ready()
        super().refresh()

    def _on_view(self) -> None:
        axis, index = self._view.axis, self._view.index
        if axis == self._axis and index != self._index:
            self._forwards = index > self._index
        self._axis, self._index = axis, index
        self.refresh()

    def _next_job(self) -> tuple[Job, Then] | None:
        if self.paused:
            return None
        axis, session = self._axis, self._session
        count, most = session.label.shape[axis], session.slices_kept
        wanted = nearest_slices(self._index, count, self._forwards, most)
        predictor = session.predictor(axis)
        index = next((one for one in wanted if not predictor.is_ready(one)), None)
        if index is None:
            self._show_ready()  # boxes may have made slices ready, too
            return None
        return partial(predictor.prepare, index, wanted), self._show_ready

    def _on_error(self, error: MedSAMQError) -> None:
        # A box on that slice will say so; there is no use in trying the others.
        self.paused = True

    def _show_ready(self, _: None = None) -> None:
        session, axis = self._session, self._axis
        count = session.label.shape[axis]
        predictor = session.predictor(axis)
        ready = [self._ahead and predictor.is_ready(index) for index in range(count)]
        self._bar.show_ready(np.array(ready))
