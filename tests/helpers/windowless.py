"""What the tools of the window work on, without a window: a viewer's model, and widgets unseen."""

from __future__ import annotations

from typing import Any

from napari.components import ViewerModel
from qtpy.QtCore import QObject
from qtpy.QtWidgets import QWidget

from napari_medsamq.ui.canvas.slice_bar import SliceBar
from napari_medsamq.ui.forms.dock_form import DockForm
from napari_medsamq.ui.shortcuts import KEYS, key_names
from napari_medsamq.ui.tools.tool import ToolContext
from napari_medsamq.ui.view_state import ViewState
from napari_medsamq.ui.workspace import Workspace


def tool_context(workspace: Workspace, worker: Any, failures: list[BaseException]) -> ToolContext:
    """Return a context for tools, of which one worker does all, and which fail into a list."""
    viewer, dock = ViewerModel(), DockForm(("a", "b", "c"), key_names(KEYS))
    dock.show_failure = failures.append
    viewer.add_layer(workspace.image)
    canvas = QWidget()
    return ToolContext(
        parent=QObject(),
        viewer=viewer,
        canvas=canvas,
        dock=dock,
        workspace=workspace,
        workspaces=[workspace],
        view=ViewState(viewer, workspace.labels),
        bar=SliceBar(canvas),
        compute=worker,
        files=worker,
        prefetch=True,
    )
