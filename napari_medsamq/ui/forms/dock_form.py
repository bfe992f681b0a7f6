"""All of the window's forms: signals out, setters in. Knows neither the session nor the viewer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from napari.layers import Image
from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import (
    QFrame,
    QGroupBox,
    QScrollArea,
    QSizePolicy,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from napari_medsamq.errors import MedSAMQError
from napari_medsamq.io.label_writer import LabelFormat
from napari_medsamq.ui.forms.check_form import CheckForm
from napari_medsamq.ui.forms.compare_form import CompareForm
from napari_medsamq.ui.forms.guide import BOX, OPEN, PROPAGATE, SAVE, Guide
from napari_medsamq.ui.forms.label_files import LabelFiles
from napari_medsamq.ui.forms.label_form import LabelForm
from napari_medsamq.ui.forms.measure_form import MeasureForm
from napari_medsamq.ui.forms.message_bar import MessageBar
from napari_medsamq.ui.forms.prior_form import PriorForm
from napari_medsamq.ui.forms.tool_rail import BOX as BOX_TOOL
from napari_medsamq.ui.forms.tool_rail import ToolRail
from napari_medsamq.ui.forms.volume_form import VolumeForm
from napari_medsamq.ui.key_focus import by_tab_alone

# Of the screen's width.
_LARGEST_SHARE = 0.4
_GRID = 8


class DockForm(QScrollArea):
    """Everything the user sees in the dock, and the bars at the edges of the window.

    Signals, those of its forms included, carry what the user asks for; the form changes only
    when a setter says so. It scrolls where it has to, with large text on a small screen.

    Parameters
    ----------
    planes : tuple of str
    keys : mapping of str to str
        By the names of their preferences, to be written on the buttons.

    Attributes
    ----------
    volume : VolumeForm
    label : LabelForm
    check : CheckForm
    measure : MeasureForm
    compare : CompareForm
    prior : PriorForm
    tabs : QTabWidget
        Of the last ones.
    files : LabelFiles
    guide : Guide
        To be laid on the window, where it points at what is next.
    rail : ToolRail
        To be laid out at the picture.
    messages : MessageBar
        To be laid out below all.
    """

    def __init__(self, planes: tuple[str, ...], keys: Mapping[str, str]) -> None:
        super().__init__()
        self.volume = VolumeForm(planes, keys)
        self.files = LabelFiles(self)
        self.volume.fill_menu(self.files.entries)
        self.prior = PriorForm()
        self.label = LabelForm()
        self.check = CheckForm(keys)
        self.measure = MeasureForm()
        self.compare = CompareForm(keys)
        self.rail = ToolRail(keys)
        self.messages = MessageBar()
        self.guide = Guide(keys)
        self.tabs = QTabWidget()
        self.tabs.setDocumentMode(True)
        self.tabs.tabBar().setDrawBase(False)
        for title, forms in (
            ("Check", (self.check,)),
            ("Measure", (self.measure,)),
            ("Compare", (self.prior, self.compare)),
        ):
            self.tabs.addTab(_page(*forms), title)
        # There is room for one of them.
        self.prior.asks.connect(self.compare.setHidden)
        self.tabs.currentChanged.connect(self._fit_tabs)
        self._fit_tabs()
        # Of no use without a volume.
        self._work = self.label, self.check, self.measure, self.compare, self.rail
        content = QWidget()
        layout = QVBoxLayout(content)
        layout.setContentsMargins(_GRID, _GRID, _GRID, _GRID)
        layout.setSpacing(_GRID)
        for form in (self.volume, self.label, self.tabs):
            layout.addWidget(form)
        layout.addStretch(1)
        self.setWidget(content)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
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

    def _fit_tabs(self) -> None:
        """Have the pages take the height of that in sight, not of the highest one."""
        policy = QSizePolicy.Policy
        for number in range(self.tabs.count()):
            seen = number == self.tabs.currentIndex()
            page = self.tabs.widget(number)
            page.setSizePolicy(policy.Preferred, policy.Preferred if seen else policy.Ignored)

    def begin_guide(self) -> None:
        """Show the first steps, at the things that they are about."""
        rail, save = self.rail, self.rail.save
        steps = (OPEN, self.volume.title), (BOX, rail.tools[BOX_TOOL]), (PROPAGATE, rail.propagate)
        self.guide.begin((*steps, (SAVE, save)))

    def show_tab(self, form: QWidget) -> None:
        """Show the page that a form is on."""
        page: QWidget | None = form
        while page is not None and self.tabs.indexOf(page) < 0:
            page = page.parentWidget()
        if page is not None:
            self.tabs.setCurrentWidget(page)

    def show_volume(
        self,
        layer: Image,
        facts: str,
        modality: str,
        target: Path,
        formats: tuple[LabelFormat, ...],
    ) -> None:
        """Show the open volume; saving suggests `target` with the suffix of one of `formats`."""
        self.files.show_files(target, formats)
        self.volume.show_volume(layer, facts, modality)
        self.set_open(True)

    @property
    def status(self) -> str:
        """The line about what just happened."""
        return self.messages.text

    def show_status(self, text: str, details: str = "") -> None:
        """Show a line about what just happened, with details for those who ask."""
        self.messages.show_text(text, details)

    def show_failure(self, error: BaseException) -> None:
        """Tell what was refused, and why; a defect of the program keeps its traceback."""
        self.messages.show_text(str(error), refused=True)
        if not isinstance(error, MedSAMQError):
            raise error

    def set_open(self, is_open: bool) -> None:
        """Allow what needs an open volume."""
        self.volume.set_open(is_open)
        for form in self._work:
            form.setEnabled(is_open)
        self.show_history(None, None)

    def show_history(self, undo: str | None, redo: str | None) -> None:
        """Show what undo and redo would do; None where there is nothing."""
        self.rail.show_history(undo, redo)
        self.messages.show_undo(undo)


def _page(*forms: QWidget) -> QWidget:
    page = QWidget()
    layout = QVBoxLayout(page)
    layout.setContentsMargins(0, _GRID, 0, 0)
    for form in forms:
        layout.addWidget(form)
        if form.layout() is not None and not isinstance(form, QGroupBox):
            form.layout().setContentsMargins(0, 0, 0, 0)
    layout.addStretch(1)
    return page
