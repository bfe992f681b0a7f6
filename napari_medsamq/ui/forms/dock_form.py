"""The dock's form: signals out, setters in. Knows neither the session nor the viewer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from napari.layers import Image
from napari.utils.notifications import show_error
from qtpy.QtCore import QEvent, QObject, QSignalBlocker, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QGridLayout,
    QGroupBox,
    QMessageBox,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from napari_medsamq.errors import MedSAMQError
from napari_medsamq.io.label_writer import LabelFormat
from napari_medsamq.plain_text import plain, unguessed
from napari_medsamq.ui.forms.check_form import CheckForm
from napari_medsamq.ui.forms.compare_form import CompareForm
from napari_medsamq.ui.forms.guide import Guide
from napari_medsamq.ui.forms.label_form import LabelForm
from napari_medsamq.ui.forms.measure_form import MeasureForm
from napari_medsamq.ui.forms.prior_form import PriorForm
from napari_medsamq.ui.forms.status_line import StatusLine
from napari_medsamq.ui.forms.volume_form import LABEL_FILES, VolumeForm, button, narrow
from napari_medsamq.ui.key_focus import by_tab_alone

BOTH_WAYS, UP, DOWN, TO_VIEW = "both ways", "up", "down", "to the slice in view"
WAYS = (BOTH_WAYS, UP, DOWN, TO_VIEW)
# Of the screen's width.
_LARGEST_SHARE = 0.4


class SegmentView(QScrollArea):
    """Everything the user sees in the dock, from top to bottom in the order of the work.

    Signals, those of its forms included, carry what the user asks for; the form changes only
    when a setter says so. It scrolls, so that the dock fits a small screen.

    Parameters
    ----------
    planes : tuple of str
    keys : mapping of str to str
        By the names of their preferences, to be written on the buttons.

    Attributes
    ----------
    volume : VolumeForm
    prior : PriorForm
    label : LabelForm
    check : CheckForm
    measure : MeasureForm
    compare : CompareForm
    guide : Guide
        Hidden until it is asked for.
    status_line : StatusLine
        To be laid out beside the view, for it must always be seen.
    """

    draw_requested = Signal(bool)
    undo_requested = Signal()
    redo_requested = Signal()
    save_requested = Signal(Path)
    load_requested = Signal(Path)
    propagate_requested = Signal(str)
    click_requested = Signal(bool)
    improve_requested = Signal()
    zoom_requested = Signal(bool)
    stop_requested = Signal()
    help_requested = Signal()

    def __init__(self, planes: tuple[str, ...], keys: Mapping[str, str]) -> None:
        super().__init__()
        self._keys = keys
        self._target = Path("label")
        self._formats: tuple[LabelFormat, ...] = ()
        self._propagating = False
        self.volume = VolumeForm(planes, keys)
        self.prior = PriorForm()
        self.label = LabelForm()
        self.check = CheckForm(keys)
        self.measure = MeasureForm()
        self.compare = CompareForm(keys)
        self.guide = Guide(keys)
        self.guide.hide()
        self.status_line = StatusLine()
        content = QWidget()
        layout = QVBoxLayout(content)
        actions = self._build_actions()
        for part in (
            self.guide,
            self.volume,
            self.prior,
            self.label,
            actions,
            self.check,
            self.measure,
            self.compare,
        ):
            layout.addWidget(part)
        layout.addStretch(1)
        self.setWidget(content)
        self.setWidgetResizable(True)
        self.setFrameShape(QScrollArea.Shape.NoFrame)
        content.installEventFilter(self)
        by_tab_alone(self)
        self.set_open(False)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 (Qt's name)
        """Stay as wide as the form needs to be now, as far as there is room."""
        if event.type() == QEvent.Type.LayoutRequest:
            # Room for the vertical bar, so that it never covers the form.
            frame = self.width() - self.viewport().width()
            beside = max(self.verticalScrollBar().sizeHint().width(), frame)
            wide = self.widget().minimumSizeHint().width() + beside
            # The picture needs room too: with large text, or on a small screen, the form scrolls.
            most = round(self.screen().availableGeometry().width() * _LARGEST_SHARE)
            self.setMinimumWidth(min(wide, most))
        return bool(super().eventFilter(watched, event))

    def _build_actions(self) -> QGroupBox:
        self._draw = QPushButton(f"Draw boxes  ({self._keys['draw']})")
        self._draw.setCheckable(True)
        self._draw.setToolTip("Drag a box around a structure; its mask appears on release")
        self._draw.clicked.connect(self.draw_requested.emit)
        self._click = QPushButton(f"Correct by clicks  ({self._keys['click']})")
        self._click.setCheckable(True)
        self._click.setToolTip(
            "Click on what is missing; with the right button or Alt, on what does not belong.\n"
            "A drag with Shift is several clicks at once."
        )
        self._click.clicked.connect(self.click_requested.emit)
        self._improve = button(
            f"Improve mask  ({self._keys['improve']})", self.improve_requested.emit
        )
        self._improve.setToolTip(
            "Let the network improve the label's mask on this slice, drawn or propagated"
        )
        self._zoom = QCheckBox("Zoom in on small structures")
        self._zoom.setToolTip(
            "Ticked: for a box of less than a quarter of the slice, the network is shown what lies "
            "around it, enlarged, once you let go of the mouse.\nNot ticked: always whole slices."
        )
        self._zoom.toggled.connect(self.zoom_requested.emit)
        self._way = QComboBox()
        self._way.addItems(list(WAYS))
        narrow(self._way)
        self._way.setAccessibleName("Where to propagate")
        self._way.setToolTip("Where the structure is carried; it stops where the structure ends")
        self._propagate = button("", self._on_propagate)
        self.show_propagating(False)
        self._propagate.setToolTip(
            "Carry the label from the boxes drawn for it through the slices of this plane"
        )
        self._undo = button("Undo  (Ctrl+Z)", self.undo_requested.emit)
        self._redo = button("Redo  (Ctrl+Shift+Z)", self.redo_requested.emit)
        self._save = button("Save label…  (Ctrl+S)", self.ask_for_target)
        self._save.setToolTip("Ctrl+S saves to the same file again")
        self._report = QCheckBox("With a report")
        self._report.setToolTip(
            "Write a page (HTML) with numbers and pictures beside each label you save"
        )
        self._format = QComboBox()
        narrow(self._format)
        self._format.setAccessibleName("Format of the saved label")
        self._format.setToolTip(
            "NIfTI: voxels alone. 3D Slicer and DICOM also keep names and colours; DICOM needs a "
            "label\nthat was drawn on a DICOM series, and holds the patient's name as that does."
        )
        self._load = button("Load label…", self._ask_for_label)
        self._load.setToolTip("Enter the labels of a file for this volume (undo takes them back)")
        self._help = button("Keys  (?)", self.help_requested.emit)
        self._file_tools = (self._save, self._format, self._load)
        self._tools = (self._draw, self._click, self._improve, self._zoom)
        group = QGroupBox("3. Segment")
        grid = QGridLayout(group)
        grid.addWidget(self._draw, 0, 0, 1, 2)
        grid.addWidget(self._zoom, 1, 0, 1, 2)
        grid.addWidget(self._click, 2, 0)
        grid.addWidget(self._improve, 2, 1)
        grid.addWidget(self._propagate, 3, 0)
        grid.addWidget(self._way, 3, 1)
        grid.addWidget(self._undo, 4, 0)
        grid.addWidget(self._redo, 4, 1)
        grid.addWidget(self._save, 5, 0)
        grid.addWidget(self._format, 5, 1)
        grid.addWidget(self._load, 6, 0)
        grid.addWidget(self._report, 6, 1)
        grid.addWidget(self._help, 7, 0, 1, 2)
        return group

    def _on_propagate(self) -> None:
        if self._propagating:
            self.stop_requested.emit()
        else:
            self.propagate_requested.emit(self.way)

    @property
    def way(self) -> str:
        """Where to propagate: one of `WAYS`."""
        return str(self._way.currentText())

    @property
    def wants_report(self) -> bool:
        """Whether a report is to be written beside each label that is saved."""
        return bool(self._report.isChecked())

    def show_zoom(self, zoom: bool) -> None:
        """Show whether small structures are zoomed in on."""
        with QSignalBlocker(self._zoom):
            self._zoom.setChecked(zoom)

    def show_propagating(self, propagating: bool) -> None:
        """Show whether a propagation is on its way; the button then stops it."""
        self._propagating = propagating
        idle = f"Propagate  ({self._keys['propagate']})"
        self._propagate.setText("Stop  (Esc)" if propagating else idle)

    def ask_for_target(self) -> None:
        """Ask where the label is to be saved."""
        chosen = self._formats[self._format.currentIndex()]
        suffix, patterns = chosen.suffixes[0], " ".join(f"*{end}" for end in chosen.suffixes)
        suggested = self._target.with_name(f"{self._target.name}{suffix}")
        name, _ = QFileDialog.getSaveFileName(
            self, "Save the label", str(suggested), f"{chosen.title} ({patterns})"
        )
        if not name:
            return
        path = Path(name)
        if not path.suffix:
            path = path.with_name(f"{path.name}{suffix}")
            # The dialog has only asked about the name without its ending.
            question = f"{path.name} exists. Replace it?"
            buttons = QMessageBox.StandardButton
            if path.exists() and buttons.Yes != QMessageBox.question(
                self, "Replace?", unguessed(question)
            ):
                return
        self.save_requested.emit(path)

    def _ask_for_label(self) -> None:
        name, _ = QFileDialog.getOpenFileName(
            self, "Load a label", str(self._target.parent), LABEL_FILES
        )
        if name:
            self.load_requested.emit(Path(name))

    def show_volume(
        self,
        layer: Image,
        facts: str,
        modality: str,
        target: Path,
        formats: tuple[LabelFormat, ...],
    ) -> None:
        """Show the open volume; saving suggests `target` with the suffix of one of `formats`."""
        self._target = target
        chosen = self._format.currentText()
        self._formats = formats
        self._format.clear()
        self._format.addItems([known.title for known in formats])
        # The first one where the one chosen before cannot be.
        self._format.setCurrentIndex(max(0, self._format.findText(chosen)))
        self.volume.show_volume(layer, facts, modality)
        self.set_open(True)

    def show_history(self, undo: str | None, redo: str | None) -> None:
        """Show what undo and redo would do; None where there is nothing."""
        for push, name, verb in ((self._undo, undo, "Take back"), (self._redo, redo, "Do again")):
            push.setEnabled(name is not None)
            push.setToolTip(unguessed(f"{verb}: {name}") if name else "")

    def show_mode(self, drawing: bool, clicking: bool) -> None:
        """Show whether a drag on the canvas draws a box, or a click corrects a mask."""
        self._draw.setChecked(drawing)
        self._click.setChecked(clicking)

    @property
    def status(self) -> str:
        """The line about what just happened."""
        return str(self.status_line.toPlainText())

    def show_status(self, text: str) -> None:
        """Show a line about what just happened."""
        self.status_line.setPlainText(plain(text, lists=True))

    def show_failure(self, error: BaseException) -> None:
        """Tell what went wrong; a defect of the program keeps its traceback."""
        self.show_status(str(error))
        if not isinstance(error, MedSAMQError):
            raise error
        show_error(unguessed(str(error)))

    def set_open(self, is_open: bool) -> None:
        """Allow what needs an open volume."""
        self.volume.set_open(is_open)
        self.label.set_open(is_open)
        self.check.set_open(is_open)
        self.measure.set_open(is_open)
        self.compare.set_open(is_open)
        for push in (
            *self._tools,
            self._propagate,
            self._way,
            *self._file_tools,
            self._report,
            self._help,
        ):
            push.setEnabled(is_open)
        self.show_history(None, None)
