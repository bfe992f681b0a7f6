"""The form about the volume, and what all forms are made of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from magicgui.widgets import ComboBox, Container, Widget, create_widget
from napari.layers import Image
from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QButtonGroup,
    QComboBox,
    QFileDialog,
    QGroupBox,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QSizePolicy,
    QTableWidget,
    QVBoxLayout,
    QWidget,
)

from napari_medsamq.io.modality import MODALITIES
from napari_medsamq.io.readers import IMAGE_SUFFIXES, LABEL_SUFFIXES
from napari_medsamq.ui.forms.model_menu import ModelBox
from napari_medsamq.ui.forms.window_form import WindowForm

FIRST_PLANE_KEY = 2  # F2; F1 is help everywhere
_LINE_MARGIN = 8
IMAGE_FILES, LABEL_FILES = (
    f"{what} ({' '.join(f'*{suffix}' for suffix in suffixes)});;All files (*)"
    for what, suffixes in (("Medical images", IMAGE_SUFFIXES), ("Labels", LABEL_SUFFIXES))
)


class VolumeForm(QGroupBox):
    """Which volume is open, what it is, how it is windowed, and which plane is shown.

    Attributes
    ----------
    model : ModelBox
    window_form : WindowForm
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
        self.model = ModelBox()
        self.window_form = WindowForm(keys)
        self._layer.changed.connect(self.layer_requested.emit)
        self._modality.changed.connect(self.modality_requested.emit)
        self._facts = wrapping_label("About the volume")

        open_row = QHBoxLayout()
        open_row.addWidget(button("Open file…", self._ask_for_file))
        open_row.addWidget(button("Open DICOM folder…", self._ask_for_folder))
        self._follow_up = button("Follow-up…", self._ask_for_prior)
        self._follow_up.setToolTip(
            "Take the label of a prior scan of this patient: its names, colours and boxes"
        )
        self._run = button("", self.run_requested.emit)
        self._run.setToolTip("Segment the boxes of the prior scan as they are now")
        prior_row = QHBoxLayout()
        prior_row.addWidget(self._follow_up)
        prior_row.addWidget(self._run)
        self._close = button("Close volume", self.close_requested.emit)
        self._close.setToolTip(
            "Take the volume and its layers out of the window. What you did is kept, and there\n"
            "again when you open it; save the label for other programs."
        )
        prior_row.addWidget(self._close)
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
        layout.addLayout(prior_row)
        layout.addWidget(_fields(self._layer, self._modality))
        layout.addWidget(self._facts)
        layout.addLayout(model_row)
        layout.addWidget(self.window_form)
        layout.addLayout(plane_row)
        self.show_waiting(0)

    def _ask_for_file(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Open a volume", "", IMAGE_FILES)
        if name:
            self.open_requested.emit(Path(name))

    def _ask_for_folder(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Open a folder with one DICOM series")
        if name:
            self.open_requested.emit(Path(name))

    def _ask_for_prior(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "The label of the prior scan", "", LABEL_FILES)
        if name:
            self.prior_requested.emit(Path(name))

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
            self.window_form.show_presets(())
            self._facts.setText("Open a volume, or drop a file or a DICOM folder on the window.")


def _fields(*fields: Widget) -> QWidget:
    for field in fields:
        field.native.setAccessibleName(field.label)
    container = Container(widgets=fields, labels=True)
    container.margins = (0, 0, 0, 0)
    return container.native


class Table(QTableWidget):
    """A table that shows so many lines at once, however large the text is.

    Parameters
    ----------
    columns, lines : int
    """

    def __init__(self, columns: int, lines: int) -> None:
        super().__init__(0, columns)
        self._lines = lines
        self.verticalHeader().hide()
        self.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def sizeHint(self) -> QSize:  # noqa: N802 (Qt's name)
        """Return a size for the lines and what stands above them."""
        header = self.horizontalHeader()
        above = 0 if header.isHidden() else header.sizeHint().height()
        line = max(self.fontMetrics().height() + _LINE_MARGIN, self.sizeHintForRow(0))
        height = above + self._lines * line + 2 * self.frameWidth()
        return QSize(super().sizeHint().width(), height)

    def minimumSizeHint(self) -> QSize:  # noqa: N802 (Qt's name)
        """Return the same height: what does not fit the dock is scrolled to."""
        return QSize(super().minimumSizeHint().width(), self.sizeHint().height())


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
    # Names in it are no HTML, whatever they look like.
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setWordWrap(True)
    label.setAccessibleName(name)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return label
