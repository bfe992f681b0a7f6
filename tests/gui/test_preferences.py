"""What is set in napari's preferences holds."""

from napari._qt.dialogs.preferences_dialog import PreferencesDialog
from npe2 import PluginManifest
from qtpy.QtWidgets import QLabel

from napari_medsamq.embeddings import EMBEDDING_BYTES
from napari_medsamq.preferences import PLUGIN
from napari_medsamq.widget import MedSAMQWidget


def open_dock_as_napari_does(window):
    window.close_dock()
    window.dock = MedSAMQWidget(window.viewer)
    window.dock_frame = window.viewer.window.add_dock_widget(window.dock, name="MedSAM-Q")


def encoded(window):
    return sum(window.session.is_ready(0, index) for index in range(len(window.session.label)))


def test_the_dock_keeps_to_the_memory_and_the_journals_folder(
    engine, window, settings, phantom, tmp_path
):
    settings.computation.memory_mb = 20
    settings.journals.folder = str(tmp_path / "elsewhere")
    open_dock_as_napari_does(window)
    window.open(phantom.volume.path)
    window.qtbot.waitUntil(lambda: encoded(window) == 20e6 // EMBEDDING_BYTES, timeout=60_000)
    window.wait()
    assert encoded(window) == 4 < len(window.session.label)
    assert list((tmp_path / "elsewhere").iterdir())


def test_nothing_is_encoded_ahead_once_that_is_switched_off(engine, window, settings, phantom):
    settings.computation.encode_ahead = False
    open_dock_as_napari_does(window)
    window.open(phantom.volume.path)
    assert encoded(window) == 0


def test_they_are_explained_in_napari_s_dialog(window, settings):
    dialog = PreferencesDialog(parent=window.viewer.window._qt_window)
    window.qtbot.addWidget(dialog)
    dialog.show()
    names = [dialog._list.item(row).text() for row in range(dialog._list.count())]
    assert "MedSAM-Q" in names
    dialog._list.setCurrentRow(names.index("MedSAM-Q"))
    seen = " ".join(label.text() for label in dialog.findChildren(QLabel))
    manifest = PluginManifest.from_distribution(PLUGIN)
    for group in manifest.contributions.configurations.values():
        for name, setting in group.properties.items():
            assert setting.title in seen, name
            assert setting.description, name
