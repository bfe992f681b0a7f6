"""The form about the volume, and what all forms are made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from magicgui.widgets import (
    ComboBox,
    Container,
    FloatSpinBox,
    Widget,
    create_widget,
)
from napari.layers import Image
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QAbstractSpinBox,
    QButtonGroup,
    QCheckBox,
    QComboBox,
    QFileDialog,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_medsamq.model_box import ModelBox
from napari_medsamq.preprocess import WindowLevel

MODALITIES = ("CT", "MR", "other")
FIRST_PLANE_KEY = 2  # F2; F1 is help everywhere
_LARGEST = 1e12
IMAGE_FILES = (
    "Medical images (*.nii *.nii.gz *.nrrd *.nhdr *.mha *.mhd *.hdr *.dcm *.npz "
    "*.png *.jpg *.jpeg *.tif *.tiff);;All files (*)"
)


class VolumeForm(QGroupBox):
    """Which volume is open, what it is, how it is windowed, and which plane is shown.

    Attributes
    ----------
    model : ModelBox
    """

    open_requested = Signal(Path)
    layer_requested = Signal(object)
    modality_requested = Signal(str)
    window_requested = Signal(WindowLevel)
    preset_requested = Signal(str)
    follow_requested = Signal(bool)
    plane_requested = Signal(int)

    def __init__(self, planes: tuple[str, ...]) -> None:
        super().__init__("1. Volume")
        self._layer = create_widget(annotation=Image, label="Layer", options={"nullable": True})
        self._modality = ComboBox(label="Modality", choices=MODALITIES)
        self.model = ModelBox()
        self._level = FloatSpinBox(label="Level", min=-_LARGEST, max=_LARGEST)
        self._width = FloatSpinBox(label="Width", min=1 / _LARGEST, max=_LARGEST)
        for field in (self._level, self._width):
            # Typing 400 must not pass through 4 and 40.
            field.native.setKeyboardTracking(False)
            # Room for the number; the wheel and the arrow keys still step.
            field.native.setButtonSymbols(QAbstractSpinBox.ButtonSymbols.NoButtons)
            # Otherwise as wide as the longest number there could be.
            field.native.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            field.changed.connect(self._ask_for_window)
        self._layer.changed.connect(self.layer_requested.emit)
        self._modality.changed.connect(self.modality_requested.emit)
        self._facts = wrapping_label("About the volume")

        open_row = QHBoxLayout()
        open_row.addWidget(button("Open file…", self._ask_for_file))
        open_row.addWidget(button("Open DICOM folder…", self._ask_for_folder))
        self._preset = QComboBox()
        self._preset.setAccessibleName("Window")
        self._preset.setToolTip("Window of the display (W for the next one); Ctrl and drag adjusts")
        self._preset.textActivated.connect(self.preset_requested.emit)
        narrow(self._preset)
        self._follow = QCheckBox("The network sees this window")
        self._follow.setChecked(True)
        self._follow.setToolTip(
            "On: the network sees the window that you see. Off: the default one for the modality."
        )
        self._follow.toggled.connect(self.follow_requested.emit)
        window_row = QHBoxLayout()
        window_row.addWidget(QLabel("Window"))
        window_row.addWidget(self._preset, 1)
        model_row = QHBoxLayout()
        model_row.addWidget(QLabel("Network"))
        model_row.addWidget(self.model, 1)
        self._planes = QButtonGroup(self)
        plane_row = QHBoxLayout()
        for number, name in enumerate(planes):
            plane_button = QPushButton(f"{name} F{number + FIRST_PLANE_KEY}")
            plane_button.setCheckable(True)
            plane_button.setToolTip(f"Show and draw on {name.lower()} slices")
            self._planes.addButton(plane_button, number)
            plane_row.addWidget(plane_button)
        self._planes.idClicked.connect(self.plane_requested.emit)

        layout = QVBoxLayout(self)
        layout.addLayout(open_row)
        layout.addWidget(_fields(self._layer, self._modality))
        layout.addWidget(self._facts)
        layout.addLayout(model_row)
        layout.addLayout(window_row)
        layout.addWidget(_fields(self._level, self._width, in_a_row=True))
        layout.addWidget(self._follow)
        layout.addLayout(plane_row)

    def _ask_for_file(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Open a volume", "", IMAGE_FILES)
        if name:
            self.open_requested.emit(Path(name))

    def _ask_for_folder(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Open a folder with one DICOM series")
        if name:
            self.open_requested.emit(Path(name))

    def _ask_for_window(self) -> None:
        self.window_requested.emit(WindowLevel(self._level.value, self._width.value))

    def reset_layers(self) -> None:
        """Read the viewer's image layers anew; a chosen layer stays chosen."""
        self._layer.reset_choices()

    @property
    def follows(self) -> bool:
        """Whether the network sees the window that the user sees."""
        return bool(self._follow.isChecked())

    @property
    def preset_number(self) -> int:
        """Where in the list the window that was chosen last is."""
        return int(self._preset.currentIndex())

    def show_preset(self, name: str) -> None:
        """Show which window was chosen last."""
        self._preset.setCurrentText(name)

    def show_volume(
        self, layer: Image, facts: str, modality: str, window: WindowLevel, presets: list[str]
    ) -> None:
        """Show the open volume; `facts` is a line or two about it."""
        if [self._preset.itemText(n) for n in range(self._preset.count())] != presets:
            self._preset.clear()
            self._preset.addItems(presets)
        self._facts.setText(facts)
        with self._layer.changed.blocked():
            self._layer.value = layer
        with self._modality.changed.blocked():
            self._modality.value = modality
        self.show_window(window)

    def show_window(self, window: WindowLevel) -> None:
        """Show the display window."""
        # Intensities may be HU, counts or 0.001 mm2/s: three digits below the width's first.
        decimals = int(np.clip(3 - np.floor(np.log10(window.width)), 0, 12))
        with self._level.changed.blocked(), self._width.changed.blocked():
            for field in (self._level, self._width):
                field.native.setDecimals(decimals)
                field.native.setSingleStep(window.width / 40)
            self._level.value, self._width.value = window.level, window.width

    def show_plane(self, number: int) -> None:
        """Show which plane is on the canvas."""
        self._planes.button(number).setChecked(True)

    def set_open(self, is_open: bool) -> None:
        """Allow what needs an open volume."""
        for field in (self._modality, self._level, self._width):
            field.enabled = is_open
        for widget in (self._preset, self._follow):
            widget.setEnabled(is_open)
        for plane_button in self._planes.buttons():
            plane_button.setEnabled(is_open)
        if not is_open:
            self._facts.setText("Open a volume, or drop a file or a DICOM folder on the window.")


def _fields(*fields: Widget, in_a_row: bool = False) -> QWidget:
    layout = "horizontal" if in_a_row else "vertical"
    container = Container(widgets=fields, layout=layout, labels=True)
    container.margins = (0, 0, 0, 0)
    return container.native


def narrow(box: QComboBox) -> None:
    """Let a menu take what room there is, not what its longest line wants: the dock is narrow."""
    box.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)


def button(text: str, slot: object) -> QPushButton:
    """Return a push button that calls `slot` without arguments."""
    result = QPushButton(text)
    result.clicked.connect(lambda: slot())  # type: ignore[operator]
    return result


def wrapping_label(name: str) -> QLabel:
    """Return an empty label for whole sentences; `name` is what a screen reader calls it."""
    label = QLabel()
    label.setWordWrap(True)
    label.setAccessibleName(name)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return label
