"""Windows to be driven, and preferences of their own."""

import gc
import itertools
import sys
from types import SimpleNamespace

import pytest

pytest.importorskip("napari")
pytest.importorskip("qtpy")

from model_window import ModelViewer
from napari.settings import get_plugin_settings
from npe2 import PluginManifest
from qtpy.compat import isalive
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from scripted_engine import ScriptedEngine, load_instead, whole_box
from window import ModelDriver, Window

from napari_medsamq.ui.preferences import PLUGIN

_COUNT = itertools.count()


@pytest.fixture
def engine(monkeypatch):
    held = ScriptedEngine(whole_box, sees=False)
    load_instead(monkeypatch, held)
    yield held
    held.open.set()


@pytest.fixture
def dock(engine, window, phantom):
    window.open(phantom.volume.path)
    window.viewer.dims.set_point(0, 12 * 3.0)
    window.press(Qt.Key.Key_B)
    return window


@pytest.fixture(scope="session")
def manifest():
    return PluginManifest.from_distribution(PLUGIN)


@pytest.fixture(autouse=True)
def settings(plugin_settings, npe2pm, manifest, tmp_path):
    """The preferences that a test sets; neither they nor journals lie in the user's folders."""
    npe2pm.register(manifest)
    own = get_plugin_settings(PLUGIN)
    own.journals.folder = str(tmp_path / "journals")
    return own


@pytest.fixture(autouse=True)
def _no_leftovers(monkeypatch):
    # Qt's objects must end in the thread that made them, not in the worker's or a later test's
    # because that happens to start a collection.
    gc.disable()
    # Collections skip what there is now, modules above all; now and then one looks at everything.
    if next(_COUNT) % 20 == 0:
        gc.unfreeze()
        gc.collect()
    gc.freeze()
    # So do the dock, once a volume is open, and the command that starts it.
    calls = ("collect", "freeze", "unfreeze", "enable", "disable")
    passed = SimpleNamespace(**{name: lambda: None for name in calls})
    for module in ("ui.dock", "cli.main"):
        monkeypatch.setattr(f"napari_medsamq.{module}.gc", passed)
    if sys.platform != "win32":
        # napari collects whenever a layer goes, for the sake of drivers on Windows.
        monkeypatch.setattr("napari._vispy.canvas.gc", SimpleNamespace(collect=lambda: None))
    yield
    gc.enable()
    gc.collect()


@pytest.fixture
def model_viewer(qtbot):
    viewer = ModelViewer()
    yield viewer
    viewer.close()


@pytest.fixture
def window(request, qtbot):
    """A window that takes the user's events: napari's model, or as the mark of a test says.

    `canvas` gives napari's own window, in which nothing is drawn and nothing has the focus; `shown`
    the same on the screen.
    """
    shown = request.node.get_closest_marker("shown") is not None
    if shown or request.node.get_closest_marker("canvas") is not None:
        opened = Window(request.getfixturevalue("make_napari_viewer")(show=shown), qtbot)
    else:
        opened = ModelDriver(request.getfixturevalue("model_viewer"), qtbot)
    yield opened
    if isalive(opened.dock):
        opened.dock.close()
    # Waiting also carries out what Qt put off: the deletion of the dock.
    QTest.qWait(10)
