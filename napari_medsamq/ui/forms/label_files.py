"""Asks where the label is to be saved, and which label file is to be loaded."""

from __future__ import annotations

from pathlib import Path

from napari.utils.history import get_save_history, update_save_history
from qtpy.QtCore import QObject, Signal
from qtpy.QtGui import QAction
from qtpy.QtWidgets import QFileDialog, QMessageBox, QWidget

from napari_medsamq.io.label_writer import LabelFormat
from napari_medsamq.plain_text import unguessed
from napari_medsamq.ui.forms.elements import LABEL_FILES


class LabelFiles(QObject):
    """The files of the label in use: dialogs, and the entries of a menu that open them.

    Parameters
    ----------
    parent : QWidget
        The dialogs belong to it.

    Attributes
    ----------
    entries : list of QAction
    """

    save_requested = Signal(Path)
    load_requested = Signal(Path)

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._parent = parent
        self._target = Path("label")
        self._formats: tuple[LabelFormat, ...] = ()
        save, load = QAction("Save label as…", self), QAction("Load label…", self)
        save.setToolTip(
            "NIfTI: voxels alone. 3D Slicer and DICOM also keep names and colours; DICOM needs a "
            "label that was drawn on a DICOM series, and holds the patient's name as that does."
        )
        load.setToolTip("Enter the labels of a file for this volume (undo takes them back)")
        save.triggered.connect(lambda: self.ask_for_target())
        load.triggered.connect(lambda: self._ask_for_label())
        self._report = QAction("Save with a report", self)
        self._report.setToolTip("Write a page (HTML) with numbers and pictures beside each label")
        self._report.setCheckable(True)
        self.entries = [save, load, self._report]

    @property
    def wants_report(self) -> bool:
        """Whether a report is to be written beside each label that is saved."""
        return bool(self._report.isChecked())

    def show_files(self, target: Path, formats: tuple[LabelFormat, ...]) -> None:
        """Suggest `target` for the label, with the suffix of one of `formats`."""
        self._target, self._formats = target, formats

    def ask_for_target(self) -> None:
        """Ask where the label is to be saved, and in which format."""
        filters = [
            f"{known.title} ({' '.join(f'*{end}' for end in known.suffixes)})"
            for known in self._formats
        ]
        usual = self._formats[0].suffixes[0]
        last = Path(get_save_history()[0])  # the home folder where nothing was saved yet
        folder = self._target.parent if last == Path.home() else last
        name, chosen = QFileDialog.getSaveFileName(
            self._parent,
            "Save the label",
            str(folder / f"{self._target.name}{usual}"),
            ";;".join(filters),
        )
        if not name:
            return
        path = Path(name)
        suffix = self._formats[filters.index(chosen)].suffixes[0] if chosen in filters else usual
        if not path.suffix or (suffix != usual and name.endswith(usual)):
            # The dialog has only asked about the name with the ending it had.
            path = path.with_name(f"{path.name.removesuffix(usual)}{suffix}")
            question = f"{path.name} exists. Replace it?"
            buttons = QMessageBox.StandardButton
            if path.exists() and buttons.Yes != QMessageBox.question(
                self._parent, "Replace?", unguessed(question)
            ):
                return
        update_save_history(str(path))
        self.save_requested.emit(path)

    def _ask_for_label(self) -> None:
        name, _ = QFileDialog.getOpenFileName(
            self._parent, "Load a label", str(self._target.parent), LABEL_FILES
        )
        if name:
            self.load_requested.emit(Path(name))
