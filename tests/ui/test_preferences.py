"""What is set in napari's preferences holds."""

import numpy as np
import pytest
from napari._qt.dialogs.preferences_dialog import PreferencesDialog
from npe2 import PluginManifest
from pydantic import ValidationError
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDialog, QLabel, QPushButton

from napari_medsamq.inference.embeddings import EMBEDDING_BYTES
from napari_medsamq.inference.model_choice import MODELS
from napari_medsamq.inference.preprocess import WindowLevel
from napari_medsamq.inference.window_presets import CT_PRESETS
from napari_medsamq.palettes import PALETTES
from napari_medsamq.plugin import SAMPLES
from napari_medsamq.ui import preferences
from napari_medsamq.ui.dock import MedSAMQWidget
from napari_medsamq.ui.preferences import PLUGIN
from napari_medsamq.ui.shortcuts import KEYS, bound_keys, key_names


def open_dock_as_napari_does(window):
    window.close_dock()
    window.dock = MedSAMQWidget(window.viewer)
    window.dock_frame = window.viewer.window.add_dock_widget(window.dock, name="MedSAM-Q")


def encoded(window):
    return sum(
        window.session.predictor(0).is_ready(index) for index in range(len(window.session.label))
    )


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


@pytest.mark.canvas
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


def test_a_ct_is_opened_through_the_window_that_is_preferred(engine, window, settings, phantom):
    settings.display.ct_window = "Liver"
    window.open(phantom.volume.path)
    assert window.session.window == WindowLevel(60, 160)
    assert tuple(window.workspace.image.contrast_limits) == (-20, 140)
    window.open(SAMPLES / "mr.nrrd")
    np.testing.assert_allclose(
        window.session.window.limits, window.session.standard_window.limits, rtol=1e-6
    )


def test_labels_have_the_colours_of_the_palette_in_turn(engine, window, settings, phantom):
    name, colors = list(PALETTES.items())[1]
    settings.display.palette = name
    window.open(phantom.volume.path)
    for number in (1, 2, len(colors) + 1):
        assert window.session.style(number).color == colors[(number - 1) % len(colors)]


def test_other_keys_do_the_same_and_are_written_on_the_buttons(engine, window, settings, phantom):
    settings.keys.draw = "q"
    settings.keys.doubtful = "J"
    open_dock_as_napari_does(window)
    window.open(phantom.volume.path)
    assert "Press Q, then drag a box" in window.dock.status
    texts = {button.text() for button in window.dock.findChildren(QPushButton)}
    assert {"Look ▶  (J)", "◀ Look  (Shift+J)"} <= texts
    assert window.button("Box").toolTip().startswith("Box  (Q)")
    window.press(Qt.Key.Key_B)
    assert window.workspace.boxes.mode != "add_rectangle"
    window.press(Qt.Key.Key_Q)
    assert window.workspace.boxes.mode == "add_rectangle"
    window.press(Qt.Key.Key_J, Qt.KeyboardModifier.ShiftModifier)
    assert "There is no mask to be checked yet" in window.dock.status


@pytest.mark.canvas
def test_two_labels_are_compared_by_other_keys(dock, settings):
    settings.keys.compare, settings.keys.differs = "q", "F8"
    path = dock.workspace.session.volume.path
    open_dock_as_napari_does(dock)
    dock.open(path)
    texts = {button.text() for button in dock.dock.findChildren(QPushButton)}
    assert {"Compare  (Q)", "Differs ▶  (F8)", "◀ Differs  (Shift+F8)"} <= texts
    for key in (Qt.Key.Key_D, Qt.Key.Key_K):
        dock.press(key)
        assert "compare" not in dock.dock.status.lower()
    dock.press(Qt.Key.Key_Q)
    assert "There is no label to compare yet" in dock.dock.status
    words = []
    for modifier in (Qt.KeyboardModifier.NoModifier, Qt.KeyboardModifier.ShiftModifier):
        dock.dock.form.show_status("")
        dock.press(Qt.Key.Key_F8, modifier)
        words.append(dock.dock.status)
    assert all("ompar" in text for text in words), words
    dock.press(Qt.Key.Key_Question, Qt.KeyboardModifier.ShiftModifier)
    (dialog,) = [d for d in dock.native.findChildren(QDialog) if "keys" in d.windowTitle()]
    listed = {label.text(): label.accessibleDescription() for label in dialog.findChildren(QLabel)}
    assert listed["<b>Q</b>"] == KEYS["D"].words
    assert listed["<b>F8</b>"] == KEYS["K"].words
    assert listed["<b>Shift + F8</b>"] == KEYS["Shift-K"].words
    dialog.close()


def test_keys_that_cannot_be_had_are_told_and_the_usual_ones_hold(settings):
    told = []
    usual = key_names(bound_keys(preferences.keys(), told.append))
    assert told == []
    settings.keys.draw = "Ctrl+Shift+Nonsense"
    settings.keys.click = "F2"
    assert key_names(bound_keys(preferences.keys(), told.append)) == usual
    assert len(told) == 2
    assert "'Ctrl+Shift+Nonsense' for 'Draw boxes" in str(told[0])
    assert "one letter, one digit, or F5 to F12 is expected" in str(told[0])
    settings.keys.draw, settings.keys.click = "P", "F7"
    assert key_names(bound_keys(preferences.keys(), told.append)) == usual
    assert "The same key was chosen for 'Draw boxes" in str(told[2])
    settings.keys.draw = "F6"
    assert key_names(bound_keys(preferences.keys(), told.append)) == {
        **usual,
        "draw": "F6",
        "click": "F7",
    }
    assert len(told) == 3


def test_a_network_is_preferred_by_name_and_a_wrong_one_is_told(
    engine, window, settings, phantom, tmp_path
):
    settings.computation.model = "litemedsam-float"
    open_dock_as_napari_does(window)
    assert window.dock.engines.model == MODELS / "litemedsam-float"
    (tmp_path / "empty").mkdir()
    for wrong, words in (("medsamq-fats", "is no model"), (str(tmp_path / "empty"), "model.json")):
        settings.computation.model = wrong
        window.wait()
        told = []
        assert preferences.model(told.append) is None
        assert words in str(told[0])
        assert "The program chooses one" in str(told[0])
    open_dock_as_napari_does(window)
    assert window.dock.engines.model is None
    window.wait()
    assert "The network of the preferences cannot be used" in window.dock.status
    window.open(phantom.volume.path)
    assert "The network of the preferences cannot be used" in window.dock.status


def test_choices_are_those_that_there_are(settings):
    schema = settings.model_json_schema()["$defs"]["display"]["properties"]
    assert schema["ct_window"]["enum"] == [preset.name for preset in CT_PRESETS]
    assert schema["palette"]["enum"] == list(PALETTES)
    assert schema["wheel"]["enum"] == ["shows other slices", "zooms"]
    assert settings.keys.model_dump() == key_names(KEYS)
    with pytest.raises(ValidationError, match="not one of the allowed"):
        settings.display.ct_window = "Knee"
    assert preferences.ct_window() == CT_PRESETS[0].window
    assert all(len(set(colors)) == len(colors) for colors in PALETTES.values())
