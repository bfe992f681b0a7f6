"""The line about the volume, the menu behind it, and what is seldom changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from magicgui.widgets import ComboBox, Container, Widget, create_widget
from napari.layers import Image
from napari.utils.history import get_open_history, update_open_history
from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtGui import QAction
from qtpy.QtWidgets import (
    QButtonGroup,
    QFileDialog,
    QHBoxLayout,
    QMenu,
    QSizePolicy,
    QToolButton,
    QWidget,
)

from napari_medsamq.io.modality import MODALITIES
from napari_medsamq.plain_text import unguessed
from napari_medsamq.ui.forms.elements import (
    IMAGE_FILES,
    LABEL_FILES,
    button,
    check_box,
    lay_out,
    make_primary,
    row,
    wrapping_label,
)
from napari_medsamq.ui.forms.icons import LIT
from napari_medsamq.ui.forms.model_menu import ModelBox
from napari_medsamq.ui.forms.window_level_form import WindowLevelForm
from napari_medsamq.ui.key_focus import by_tab_alone

FIRST_PLANE_KEY = 2  # F2; F1 is help everywhere


class VolumeForm(QWidget):
    """Which volume is open, and a menu of what is done with volumes.

    Attributes
    ----------
    model : ModelBox
    window_level : WindowLevelForm
    planes : QWidget
        Which plane is shown: to be laid on the picture.
    menu : QMenu
    title : QToolButton
        Opens it.
    """

    open_requested = Signal(Path)
    prior_requested = Signal(Path)
    run_requested = Signal()
    layer_requested = Signal(object)
    close_requested = Signal()
    next_requested = Signal()
    recent_requested = Signal()  # that they are shown
    beside_requested = Signal()
    scan_requested = Signal(Path)  # in place of the volume in use
    modality_requested = Signal(str)
    plane_requested = Signal(int)
    all_planes_requested = Signal(bool)
    zoom_requested = Signal(bool)
    help_requested = Signal()

    def __init__(self, planes: tuple[str, ...], keys: Mapping[str, str]) -> None:
        super().__init__()
        self._shown: Image | None = None
        self._layer = create_widget(annotation=Image, label="Layer", options={"nullable": True})
        self._modality = ComboBox(label="Modality", choices=MODALITIES)
        self._layer.changed.connect(self._ask_for_layer)
        self._modality.changed.connect(self.modality_requested.emit)
        self.model = ModelBox()
        self.window_level = WindowLevelForm(keys)
        self._facts = wrapping_label("About the volume")
        self._zoom = check_box(
            "Zoom in on small structures",
            "Ticked: for a box of less than a quarter of the slice, the network is shown what lies "
            "around it, enlarged, once you let go of the mouse.\nNot ticked: always whole slices.",
        )
        self._zoom.toggled.connect(self.zoom_requested.emit)
        self._run = button(
            "", self.run_requested.emit, "Segment the boxes of the prior scan as they are now"
        )
        make_primary(self._run)
        self.planes = self._build_planes(planes, keys["all_planes"])
        self.menu = QMenu(self)
        self.menu.setToolTipsVisible(True)
        self.title = QToolButton()
        self.title.setText("Open…")
        self.title.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.title.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextOnly)
        self.title.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.title.setAccessibleName("Volume")
        self.title.setMenu(self.menu)
        self._advanced = QWidget()
        lay_out(
            self._advanced,
            _fields(self._layer, self._modality),
            self._facts,
            row("Network", self.model),
            self.window_level,
            self._zoom,
        ).setContentsMargins(0, 0, 0, 0)
        self._advanced.hide()
        for widget in (self.planes, self.window_level.presets):
            by_tab_alone(widget)
        grid = lay_out(self, self.title, self._advanced, self._run)
        grid.setContentsMargins(0, 0, 0, 0)
        self.show_waiting(0)

    def _build_planes(self, names: tuple[str, ...], all_key: str) -> QWidget:
        self._planes = QButtonGroup(self)
        result = QWidget()
        result.setStyleSheet(
            f"QToolButton {{ padding: 4px 8px; }} "
            f"QToolButton:checked {{ background-color: {LIT}; color: white; }}"
        )
        layout = QHBoxLayout(result)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        for number, name in enumerate(names):
            turn = QToolButton()
            turn.setText(f"{name} F{number + FIRST_PLANE_KEY}")
            turn.setCheckable(True)
            turn.setToolTip(f"Show and draw on {name.lower()} slices")
            self._planes.addButton(turn, number)
            layout.addWidget(turn)
        self._planes.idClicked.connect(self.plane_requested.emit)
        self._all_planes = QToolButton()
        self._all_planes.setText(f"All {all_key}")
        self._all_planes.setCheckable(True)
        self._all_planes.setToolTip("Show the other planes and solids beside the picture, or not")
        self._all_planes.clicked.connect(self.all_planes_requested.emit)
        layout.addWidget(self._all_planes)
        return result

    def fill_menu(self, files: Sequence[QAction]) -> None:
        """Fill the menu, with the entries about the label's files among its own."""
        add = self.menu.addAction
        add("Open file…", self.ask_for_file)
        add("Open DICOM folder…", self._ask_for_folder)
        self._recent, self._beside = (
            self.menu.addMenu("Recent"),
            QMenu("Scans in this folder", self),
        )
        # What is in them is looked for once it is wanted.
        self._recent.aboutToShow.connect(self.recent_requested.emit)
        self._beside.aboutToShow.connect(self.beside_requested.emit)
        self.menu.addMenu(self._beside)
        self._next = add("Next scan in this folder", self.next_requested.emit)
        self._next.setToolTip("Close this volume, and open the file or DICOM folder after it")
        self._close = add("Close volume", self.close_requested.emit)
        self._close.setToolTip(
            "Take the volume and its layers out of the window. What you did is kept, and there\n"
            "again when you open it; save the label for other programs."
        )
        self.menu.addSeparator()
        self.menu.addActions(files)
        self.menu.addSeparator()
        self._follow_up = add("Follow-up…", self._ask_for_prior)
        self._follow_up.setToolTip(
            "Take the label of a prior scan of this patient: its names, colours and boxes"
        )
        self._kinds = self.menu.addMenu("Modality")
        for modality in MODALITIES:
            self._kinds.addAction(modality, partial(self.modality_requested.emit, modality))
        advanced = add("Network, window, layer")
        advanced.setCheckable(True)
        advanced.setToolTip("What is seldom changed, below this line")
        advanced.toggled.connect(self._advanced.setVisible)
        self.menu.addSeparator()
        add("Keys and manual  (?)", self.help_requested.emit)
        self._needs_volume = (
            self._beside.menuAction(),
            self._next,
            self._close,
            *files,
            self._follow_up,
            self._kinds.menuAction(),
        )

    def _ask_for_layer(self, layer: Image | None) -> None:
        if layer is not None:
            self.layer_requested.emit(layer)
        elif self._shown in self._layer.choices:
            # Without a layer there is nothing to be done; the one in use still is.
            self._layer.value = self._shown

    def ask_for_file(self) -> None:
        """Ask for a volume to open."""
        name, _ = QFileDialog.getOpenFileName(
            self, "Open a volume", get_open_history()[0], IMAGE_FILES
        )
        self._open(name)

    def _ask_for_folder(self) -> None:
        self._open(
            QFileDialog.getExistingDirectory(
                self, "Open a folder with one DICOM series", get_open_history()[0]
            )
        )

    def _open(self, name: str) -> None:
        if name:
            update_open_history(name)
            self.open_requested.emit(Path(name))

    def _ask_for_prior(self) -> None:
        name, _ = QFileDialog.getOpenFileName(
            self, "The label of the prior scan", get_open_history()[0], LABEL_FILES
        )
        if name:
            self.prior_requested.emit(Path(name))

    def show_zoom(self, zoom: bool) -> None:
        """Show whether small structures are zoomed in on."""
        with QSignalBlocker(self._zoom):
            self._zoom.setChecked(zoom)

    def show_waiting(self, count: int) -> None:
        """Show how many boxes of a prior scan wait to be segmented."""
        self._run.setText(f"Segment {count} box{'' if count == 1 else 'es'}")
        self._run.setVisible(count > 0)

    def show_recent(self, paths: Sequence[Path]) -> None:
        """List what was opened last."""
        self._recent.clear()
        for path in paths:
            text = f"{path.name}\t{path.parent}"
            self._recent.addAction(text.replace("&", "&&"), partial(self.open_requested.emit, path))
        if not paths:
            self._recent.addAction("Nothing was opened yet").setEnabled(False)

    def show_beside(self, scans: Sequence[tuple[Path, str]], here: Path | None) -> None:
        """List the scans of the folder, each with how far it has come, and which one is open."""
        self._beside.clear()
        for path, progress in scans:
            text = f"{path.name}\t{progress}".replace("&", "&&")
            entry = self._beside.addAction(text, partial(self.scan_requested.emit, path))
            entry.setCheckable(True)
            entry.setChecked(path == here)
            entry.setEnabled(path != here)

    def reset_layers(self) -> None:
        """Read the viewer's image layers anew; a chosen layer stays chosen."""
        self._layer.reset_choices()

    def show_volume(self, layer: Image, facts: str, modality: str) -> None:
        """Show the open volume; `facts` are its lines, the first one in short."""
        self._shown = layer
        self._facts.setText(facts)
        size, _, known = facts.split("\n")[:3]
        self.title.setText(f"{layer.name} · {modality} · {size.removesuffix(' voxels')}")
        self.title.setToolTip(unguessed(f"{layer.name}\n{facts}"))
        self.title.setProperty("doubtful", "change it" in known or "choose" in known)
        with self._layer.changed.blocked():
            # A dock that is opened anew has not heard of the layers that are there.
            self._layer.reset_choices()
            self._layer.value = layer
        with self._modality.changed.blocked():
            self._modality.value = modality

    def show_plane(self, number: int) -> None:
        """Show which plane is on the canvas."""
        self._planes.button(number).setChecked(True)

    @property
    def shows_all_planes(self) -> bool:
        """Whether the user wants to see all planes at once."""
        return bool(self._all_planes.isChecked())

    def show_all_planes(self, shown: bool) -> None:
        """Show whether all planes are seen at once."""
        self._all_planes.setChecked(shown)

    def set_open(self, is_open: bool) -> None:
        """Allow what needs an open volume."""
        self._modality.enabled = is_open
        for entry in self._needs_volume:
            entry.setEnabled(is_open)
        for plane_button in (*self._planes.buttons(), self._all_planes):
            plane_button.setEnabled(is_open)
        self.planes.setVisible(is_open)
        if not is_open:
            self.window_level.show_presets(())
            self.title.setText("Open a volume…")
            self._facts.setText("Open a volume, or drop a file or a DICOM folder on the window.")


def _fields(*fields: Widget) -> QWidget:
    for field in fields:
        field.native.setAccessibleName(field.label)
    container = Container(widgets=fields, labels=True)
    container.margins = (0, 0, 0, 0)
    return container.native
