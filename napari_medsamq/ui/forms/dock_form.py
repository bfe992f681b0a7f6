"""All of the dock's forms: signals out, setters in. Knows neither the session nor the viewer."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from pathlib import Path

from napari.layers import Image
from napari.utils.notifications import show_error
from qtpy.QtCore import QEvent, QObject, QSize
from qtpy.QtGui import QResizeEvent, QTextDocument
from qtpy.QtWidgets import (
    QFrame,
    QScrollArea,
    QSizePolicy,
    QTextEdit,
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
from napari_medsamq.ui.forms.segment_form import SegmentForm
from napari_medsamq.ui.forms.volume_form import VolumeForm
from napari_medsamq.ui.key_focus import by_tab_alone

# Of the screen's width.
_LARGEST_SHARE = 0.4
_STATUS_LINES = 3


class DockForm(QScrollArea):
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
    segment : SegmentForm
    check : CheckForm
    measure : MeasureForm
    compare : CompareForm
    guide : Guide
        Hidden until it is asked for.
    status_line : StatusLine
        To be laid out beside the view, for it must always be seen.
    """

    def __init__(self, planes: tuple[str, ...], keys: Mapping[str, str]) -> None:
        super().__init__()
        self.volume = VolumeForm(planes, keys)
        self.prior = PriorForm()
        self.label = LabelForm()
        self.segment = SegmentForm(keys)
        self.check = CheckForm(keys)
        self.measure = MeasureForm()
        self.compare = CompareForm(keys)
        self.guide = Guide(keys)
        self.guide.hide()
        self.status_line = StatusLine()
        # Of no use without a volume.
        self._work = self.label, self.segment, self.check, self.measure, self.compare
        content = QWidget()
        layout = QVBoxLayout(content)
        for form in (self.guide, self.volume, self.prior, *self._work):
            layout.addWidget(form)
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

    def show_volume(
        self,
        layer: Image,
        facts: str,
        modality: str,
        target: Path,
        formats: tuple[LabelFormat, ...],
    ) -> None:
        """Show the open volume; saving suggests `target` with the suffix of one of `formats`."""
        self.segment.show_files(target, formats)
        self.volume.show_volume(layer, facts, modality)
        self.set_open(True)

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
        for form in self._work:
            form.setEnabled(is_open)
        self.segment.show_history(None, None)


class StatusLine(QTextEdit):
    """Whole sentences in room for three lines, which they never change; more of them scroll.

    A label as high as its text would move all that is below it with each new text.
    """

    def __init__(self) -> None:
        super().__init__()
        self.setReadOnly(True)
        self.setTabChangesFocus(True)
        self.setAccessibleName("Status")
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 (Qt's name)
        """Ask for the height again: only now it is known what the theme puts around the text."""
        super().resizeEvent(event)
        self.updateGeometry()

    def sizeHint(self) -> QSize:  # noqa: N802 (Qt's name)
        """Return a size for the lines, however large the text is."""
        # Measured, as lines are laid out taller than the font's own line spacing.
        lines = QTextDocument("\n" * (_STATUS_LINES - 1))
        lines.setDefaultFont(self.font())
        around = self.height() - self.viewport().height()
        return QSize(super().sizeHint().width(), ceil(lines.size().height()) + around)

    def minimumSizeHint(self) -> QSize:  # noqa: N802 (Qt's name)
        """Return the same height."""
        return QSize(0, self.sizeHint().height())
