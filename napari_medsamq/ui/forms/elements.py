"""What the forms are made of, so that each of them reads as a list of its fields."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from magicgui.widgets import FloatSpinBox
from napari.utils.history import get_open_history
from qtpy.QtCore import QSignalBlocker, QSize, Qt
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QComboBox,
    QFileDialog,
    QGridLayout,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLayout,
    QPushButton,
    QSizePolicy,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from napari_medsamq.io.readers import IMAGE_SUFFIXES, LABEL_SUFFIXES
from napari_medsamq.plain_text import unguessed
from napari_medsamq.ui.forms.icons import LIT

_LINE_MARGIN, _LEAST_LINES = 8, 3
# Of dialogs that ask for files.
IMAGE_FILES, LABEL_FILES = (
    f"{what} ({' '.join(f'*{suffix}' for suffix in suffixes)});;All files (*)"
    for what, suffixes in (("Medical images", IMAGE_SUFFIXES), ("Labels", LABEL_SUFFIXES))
)

FormItem = QWidget | QLayout


def lay_out(form: QWidget, *rows: FormItem | tuple[FormItem, ...]) -> QGridLayout:
    """Lay out rows from top to bottom; the parts of each share its width."""
    grid = QGridLayout(form)
    parts_by_row = [row if isinstance(row, tuple) else (row,) for row in rows]
    columns = max(map(len, parts_by_row))
    for number, parts in enumerate(parts_by_row):
        span = columns // len(parts)
        for place, part in enumerate(parts):
            add = grid.addLayout if isinstance(part, QLayout) else grid.addWidget
            add(part, number, place * span, 1, span)
    return grid


def row(*parts: QWidget | str) -> QHBoxLayout:
    """Return a row of widgets; a text becomes a label, and what follows it takes the room."""
    layout = QHBoxLayout()
    for before, part in zip((None, *parts), parts, strict=False):
        widget = QLabel(part) if isinstance(part, str) else part
        layout.addWidget(widget, int(isinstance(before, str)))
    return layout


def button(text: str, slot: Callable[[], object], tip: str = "") -> QPushButton:
    """Return a push button that calls `slot` without arguments."""
    result = QPushButton(text)
    result.setToolTip(tip)
    result.clicked.connect(lambda: slot())
    return result


def make_primary(push: QPushButton) -> None:
    """Fill a button: the one thing to do next."""
    push.setStyleSheet(
        "QPushButton:enabled { background-color: " + LIT + "; color: white; font-weight: bold; }"
        "QPushButton:enabled:hover { background-color: #0086D1; }"
    )


def toggle(text: str, slot: Callable[[bool], object], tip: str = "") -> QPushButton:
    """Return a button that stays down, and tells `slot` whether it is when the user presses it."""
    result = QPushButton(text)
    result.setToolTip(tip)
    result.setCheckable(True)
    result.clicked.connect(slot)
    return result


def check_box(text: str, tip: str) -> QCheckBox:
    """Return a box to tick."""
    result = QCheckBox(text)
    result.setToolTip(tip)
    return result


def file_button(
    text: str, title: str, files: str, slot: Callable[[Path], object], tip: str = ""
) -> QPushButton:
    """Return a button that asks for a file, one of `files`, and tells `slot` which."""

    def ask() -> None:
        here, begin = result.parentWidget(), get_open_history()[0]
        name, _ = QFileDialog.getOpenFileName(here, title, begin, files)
        if name:
            slot(Path(name))

    result = button(text, ask, tip)
    return result


def folder_button(text: str, title: str, slot: Callable[[Path], object]) -> QPushButton:
    """Return a button that asks for a folder, and tells `slot` which."""

    def ask() -> None:
        name = QFileDialog.getExistingDirectory(result.parentWidget(), title, get_open_history()[0])
        if name:
            slot(Path(name))

    result = button(text, ask)
    return result


def menu(name: str, tip: str = "", lines: Iterable[str] = ()) -> QComboBox:
    """Return a menu; `name` is what a screen reader calls it."""
    result = QComboBox()
    result.addItems(list(lines))
    narrow(result)
    result.setAccessibleName(name)
    result.setToolTip(tip)
    return result


def swatch(color: str) -> QIcon:
    """Return the icon of a structure of that colour."""
    pixmap = QPixmap(14, 14)
    pixmap.fill(QColor(color))
    result = QIcon(pixmap)
    # In a line that is selected, too, it is that colour.
    result.addPixmap(pixmap, QIcon.Mode.Selected)
    return result


def show_entries(box: QComboBox, entries: Iterable[tuple[str, object]]) -> None:
    """List texts with what they stand for; what was chosen stays so where it is still listed."""
    chosen = box.currentData()
    with QSignalBlocker(box):
        box.clear()
        for text, what in entries:
            box.addItem(text, what)
        choose(box, chosen)


def choose(box: QComboBox, what: object) -> None:
    """Choose what is listed; nothing changes where it is not."""
    listed = [box.itemData(number) for number in range(box.count())]
    places = [number for number, other in enumerate(listed) if other is what]
    places += [number for number, other in enumerate(listed) if other == what]
    if places:
        box.setCurrentIndex(places[0])


def narrow(box: QComboBox) -> None:
    """Let a menu take what room there is, not what its longest line wants: the dock is narrow."""
    box.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)


def number_field(name: str, tip: str = "", **options: Any) -> FloatSpinBox:
    """Return a field of numbers, with magicgui's options; `name` is for screen readers too."""
    field = FloatSpinBox(label=name, **options)
    field.native.setAccessibleName(name)
    field.native.setToolTip(tip)
    return field


def wrapping_label(name: str) -> QLabel:
    """Return an empty label for whole sentences; `name` is what a screen reader calls it."""
    label = QLabel()
    # Names in it are no HTML, whatever they look like.
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setWordWrap(True)
    label.setAccessibleName(name)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return label


class Table(QTableWidget):
    """A table that shows so many lines at once, however large the text is; or all, as room allows.

    Parameters
    ----------
    name : str
        What a screen reader calls it.
    titles : sequence of str
        Of the columns.
    lines : int
        0 for all of them.
    wide : int
        The column that takes the room which the others leave.
    """

    def __init__(self, name: str, titles: Sequence[str], lines: int, wide: int) -> None:
        super().__init__(0, len(titles))
        self._lines = lines
        self.setAccessibleName(name)
        self.setHorizontalHeaderLabels(list(titles))
        self.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.horizontalHeader().setSectionResizeMode(wide, QHeaderView.ResizeMode.Stretch)
        self.verticalHeader().hide()
        self.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        policy = QSizePolicy.Policy
        self.setSizePolicy(policy.Expanding, policy.Fixed if lines else policy.Preferred)

    @property
    def rows(self) -> list[list[str]]:
        """What is listed."""
        return [
            [self.item(row, column).text() for column in range(self.columnCount())]
            for row in range(self.rowCount())
        ]

    def show_rows(self, rows: Sequence[Sequence[str]]) -> None:
        """List texts, in the order of the columns."""
        self.setRowCount(len(rows))
        for number, texts in enumerate(rows):
            for column, text in enumerate(texts):
                item = QTableWidgetItem(text)
                item.setToolTip(unguessed(text))
                self.setItem(number, column, item)
        self.updateGeometry()

    def sizeHint(self) -> QSize:  # noqa: N802 (Qt's name)
        """Return a size for the lines and what stands above them."""
        height = self._height_of(self._lines or _LEAST_LINES)
        if not self._lines:
            # As some lines may take several of text.
            around = self._height_of(0)
            height = max(height, self.verticalHeader().length() + around)
        return QSize(super().sizeHint().width(), height)

    def minimumSizeHint(self) -> QSize:  # noqa: N802 (Qt's name)
        """Return that of the lines, or of some: what does not fit the dock is scrolled to."""
        return QSize(
            super().minimumSizeHint().width(), self._height_of(self._lines or _LEAST_LINES)
        )

    def _height_of(self, lines: int) -> int:
        header = self.horizontalHeader()
        above = 0 if header.isHidden() else header.sizeHint().height()
        line = max(self.fontMetrics().height() + _LINE_MARGIN, self.sizeHintForRow(0))
        return int(above + lines * line + 2 * self.frameWidth())
