"""The form to segment with: boxes, clicks, propagation, undo, and the files of the label."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import QFileDialog, QGroupBox, QMessageBox

from napari_medsamq.io.label_writer import LabelFormat
from napari_medsamq.plain_text import unguessed
from napari_medsamq.ui.forms.elements import LABEL_FILES, button, check_box, lay_out, menu, toggle

BOTH_WAYS, UP, DOWN, TO_VIEW = "both ways", "up", "down", "to the slice in view"
WAYS = (BOTH_WAYS, UP, DOWN, TO_VIEW)


class SegmentForm(QGroupBox):
    """How masks are made and corrected, and where the label is kept.

    Parameters
    ----------
    keys : mapping of str to str
        By the names of their preferences, to be written on the buttons.
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

    def __init__(self, keys: Mapping[str, str]) -> None:
        super().__init__("3. Segment")
        self._target = Path("label")
        self._formats: tuple[LabelFormat, ...] = ()
        self._propagating = False
        self._idle = f"Propagate  ({keys['propagate']})"
        self._draw = toggle(
            f"Draw boxes  ({keys['draw']})",
            self.draw_requested.emit,
            "Drag a box around a structure; its mask appears on release",
        )
        self._zoom = check_box(
            "Zoom in on small structures",
            "Ticked: for a box of less than a quarter of the slice, the network is shown what lies "
            "around it, enlarged, once you let go of the mouse.\nNot ticked: always whole slices.",
        )
        self._zoom.toggled.connect(self.zoom_requested.emit)
        self._click = toggle(
            f"Correct by clicks  ({keys['click']})",
            self.click_requested.emit,
            "Click on what is missing; with the right button or Alt, on what does not belong.\n"
            "A drag with Shift is several clicks at once.",
        )
        improve = button(
            f"Improve mask  ({keys['improve']})",
            self.improve_requested.emit,
            "Let the network improve the label's mask on this slice, drawn or propagated",
        )
        self._propagate = button(
            self._idle,
            self._on_propagate,
            "Carry the label from the boxes drawn for it through the slices of this plane",
        )
        self._way = menu(
            "Where to propagate",
            "Where the structure is carried; it stops where the structure ends",
            WAYS,
        )
        self._undo = button("Undo  (Ctrl+Z)", self.undo_requested.emit)
        self._redo = button("Redo  (Ctrl+Shift+Z)", self.redo_requested.emit)
        save = button(
            "Save label…  (Ctrl+S)", self.ask_for_target, "Ctrl+S saves to the same file again"
        )
        self._format = menu(
            "Format of the saved label",
            "NIfTI: voxels alone. 3D Slicer and DICOM also keep names and colours; DICOM needs a "
            "label\nthat was drawn on a DICOM series, and holds the patient's name as that does.",
        )
        load = button(
            "Load label…",
            self._ask_for_label,
            "Enter the labels of a file for this volume (undo takes them back)",
        )
        self._report = check_box(
            "With a report",
            "Write a page (HTML) with numbers and pictures beside each label you save",
        )
        lay_out(
            self,
            self._draw,
            self._zoom,
            (self._click, improve),
            (self._propagate, self._way),
            (self._undo, self._redo),
            (save, self._format),
            (load, self._report),
            button("Help  (?)", self.help_requested.emit),
        )

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
        self._propagate.setText("Stop  (Esc)" if propagating else self._idle)

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

    def show_files(self, target: Path, formats: tuple[LabelFormat, ...]) -> None:
        """Suggest `target` for the label, with the suffix of one of `formats`."""
        self._target = target
        chosen = self._format.currentText()
        self._formats = formats
        self._format.clear()
        self._format.addItems([known.title for known in formats])
        # The first one where the one chosen before cannot be.
        self._format.setCurrentIndex(max(0, self._format.findText(chosen)))

    def show_history(self, undo: str | None, redo: str | None) -> None:
        """Show what undo and redo would do; None where there is nothing."""
        for push, name, verb in ((self._undo, undo, "Take back"), (self._redo, redo, "Do again")):
            push.setEnabled(name is not None)
            push.setToolTip(unguessed(f"{verb}: {name}") if name else "")

    def show_mode(self, drawing: bool, clicking: bool) -> None:
        """Show whether a drag on the canvas draws a box, or a click corrects a mask."""
        self._draw.setChecked(drawing)
        self._click.setChecked(clicking)
