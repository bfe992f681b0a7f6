"""The form about the volume."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from magicgui.widgets import ComboBox, Container, Widget, create_widget
from napari.layers import Image
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QButtonGroup, QGroupBox, QPushButton, QWidget

from napari_medsamq.io.modality import MODALITIES
from napari_medsamq.ui.forms.elements import (
    IMAGE_FILES,
    LABEL_FILES,
    button,
    file_button,
    folder_button,
    lay_out,
    row,
    wrapping_label,
)
from napari_medsamq.ui.forms.model_menu import ModelBox
from napari_medsamq.ui.forms.window_level_form import WindowLevelForm

FIRST_PLANE_KEY = 2  # F2; F1 is help everywhere


class VolumeForm(QGroupBox):
    """Which volume is open, what it is, how it is windowed, and which plane is shown.

    Attributes
    ----------
    model : ModelBox
    window_level : WindowLevelForm
    """

    open_requested = Signal(Path)
    prior_requested = Signal(Path)
    run_requested = Signal()
    layer_requested = Signal(object)
    close_requested = Signal()
    modality_requested = Signal(str)
    plane_requested = Signal(int)

    def __init__(self, planes: tuple[str, ...], keys: Mapping[str, str]) -> None:
        super().__init__("1. Volume")
        self._layer = create_widget(annotation=Image, label="Layer", options={"nullable": True})
        self._modality = ComboBox(label="Modality", choices=MODALITIES)
        self._layer.changed.connect(self.layer_requested.emit)
        self._modality.changed.connect(self.modality_requested.emit)
        self.model = ModelBox()
        self.window_level = WindowLevelForm(keys)
        self._facts = wrapping_label("About the volume")
        self._follow_up = file_button(
            "Follow-up…",
            "The label of the prior scan",
            LABEL_FILES,
            self.prior_requested.emit,
            "Take the label of a prior scan of this patient: its names, colours and boxes",
        )
        self._run = button(
            "", self.run_requested.emit, "Segment the boxes of the prior scan as they are now"
        )
        self._close = button(
            "Close volume",
            self.close_requested.emit,
            "Take the volume and its layers out of the window. What you did is kept, and there\n"
            "again when you open it; save the label for other programs.",
        )
        self._planes = QButtonGroup(self)
        turns = [QPushButton(f"{name} F{n}") for n, name in enumerate(planes, FIRST_PLANE_KEY)]
        for number, (turn, name) in enumerate(zip(turns, planes, strict=True)):
            turn.setCheckable(True)
            turn.setToolTip(f"Show and draw on {name.lower()} slices")
            self._planes.addButton(turn, number)
        self._planes.idClicked.connect(self.plane_requested.emit)
        title = "Open a folder with one DICOM series"
        lay_out(
            self,
            row(
                file_button("Open file…", "Open a volume", IMAGE_FILES, self.open_requested.emit),
                folder_button("Open DICOM folder…", title, self.open_requested.emit),
            ),
            row(self._follow_up, self._run, self._close),
            _fields(self._layer, self._modality),
            self._facts,
            row("Network", self.model),
            self.window_level,
            row(*turns),
        )
        self.show_waiting(0)

    def show_waiting(self, count: int) -> None:
        """Show how many boxes of a prior scan wait to be segmented."""
        self._run.setText(f"Segment {count} box{'' if count == 1 else 'es'}")
        self._run.setVisible(count > 0)

    def reset_layers(self) -> None:
        """Read the viewer's image layers anew; a chosen layer stays chosen."""
        self._layer.reset_choices()

    def show_volume(self, layer: Image, facts: str, modality: str) -> None:
        """Show the open volume; `facts` is a line or two about it."""
        self._facts.setText(facts)
        with self._layer.changed.blocked():
            self._layer.value = layer
        with self._modality.changed.blocked():
            self._modality.value = modality

    def show_plane(self, number: int) -> None:
        """Show which plane is on the canvas."""
        self._planes.button(number).setChecked(True)

    def set_open(self, is_open: bool) -> None:
        """Allow what needs an open volume."""
        self._modality.enabled = is_open
        self._follow_up.setEnabled(is_open)
        self._close.setEnabled(is_open)
        for plane_button in self._planes.buttons():
            plane_button.setEnabled(is_open)
        if not is_open:
            self.window_level.show_presets(())
            self._facts.setText("Open a volume, or drop a file or a DICOM folder on the window.")


def _fields(*fields: Widget) -> QWidget:
    for field in fields:
        field.native.setAccessibleName(field.label)
    container = Container(widgets=fields, labels=True)
    container.margins = (0, 0, 0, 0)
    return container.native
