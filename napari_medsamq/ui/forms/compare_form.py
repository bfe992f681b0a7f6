"""The form that compares two labels: which ones, what is shown of them, and the numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from magicgui.widgets import FloatSpinBox
from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QButtonGroup,
    QComboBox,
    QFileDialog,
    QGridLayout,
    QGroupBox,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
)

from napari_medsamq.analysis.comparison import DEFAULT_TOLERANCE_MM
from napari_medsamq.plain_text import unguessed
from napari_medsamq.ui.forms.elements import button, narrow, wrapping_label
from napari_medsamq.ui.forms.volume_form import LABEL_FILES

A, B, OVERLAID, DIFFERENCES = "A", "B", "Both", "Differences"
STATES = (A, B, OVERLAID, DIFFERENCES)
# What is said of each column where the mouse rests on its heading.
_COLUMNS = {
    "Label": "Number and name",
    "DSC": "Dice coefficient: 1 where both are the same, 0 where they have nothing in common",
    "NSD": "Share of the surfaces that lie within the distance above of each other",
    "HD95": "Hausdorff distance in mm, 95th percentile",
    "B - A": "By how much the volume of B is larger than that of A, in mL and %",
}


class CompareForm(QGroupBox):
    """Two labels to compare, four ways to see them, and how they agree.

    Parameters
    ----------
    keys : mapping of str to str
        By what they do, for the buttons.
    """

    next_requested = Signal()  # begin, or the next state
    state_requested = Signal(str)  # one of `STATES`
    end_requested = Signal()
    step_requested = Signal(int)
    file_requested = Signal(Path)

    def __init__(self, keys: Mapping[str, str]) -> None:
        super().__init__("6. Compare")
        self._choices = QComboBox(), QComboBox()
        for box, name in zip(self._choices, ("A", "B"), strict=True):
            box.setAccessibleName(f"Label {name} of the comparison")
            narrow(box)
        self._choices[0].setToolTip("A label of this volume")
        self._choices[1].setToolTip(
            "Another label of this volume, a labels layer of the viewer, or a label file. Of the "
            "latter two, what has the number of A is compared."
        )
        self._file = button("Label file…", self._ask_for_file)
        self._file.setToolTip("Compare with a label that someone else has drawn, or a model")
        self._tolerance = FloatSpinBox(
            label="Tolerance", value=DEFAULT_TOLERANCE_MM, min=0.0, max=100.0, step=0.5
        )
        self._tolerance.native.setToolTip("Distance in mm up to which surfaces agree, for NSD")
        self._tolerance.native.setAccessibleName("Tolerance in mm")
        self._states = QButtonGroup(self)
        self._states.setExclusive(False)
        states = QGridLayout()
        for number, state in enumerate(STATES):
            push = QPushButton(state)
            push.setCheckable(True)
            self._states.addButton(push, number)
            states.addWidget(push, number // 2, number % 2)
        self._states.idClicked.connect(lambda number: self.state_requested.emit(STATES[number]))
        self._next = button(f"Compare  ({keys['compare']})", self.next_requested.emit)
        self._next.setToolTip("Show A, then B, then both, then where they differ, and so on")
        self._end = button("Leave  (Esc)", self.end_requested.emit)
        self._back = button(
            f"Differs ◀  (Shift+{keys['differs']})", lambda: self.step_requested.emit(-1)
        )
        self._ahead = button(f"Differs ▶  ({keys['differs']})", lambda: self.step_requested.emit(1))
        self._legend = wrapping_label("Comparison")
        self._table = QTableWidget(0, len(_COLUMNS))
        self._table.setHorizontalHeaderLabels(list(_COLUMNS))
        for column, told in enumerate(_COLUMNS.values()):
            self._table.horizontalHeaderItem(column).setToolTip(told)
        self._table.setAccessibleName("Agreement of the labels")
        rows = self._table.verticalHeader()
        rows.hide()
        rows.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self._table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        header = self._table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self._table.setFixedHeight(6 * self._table.fontMetrics().height() + 40)
        grid = QGridLayout(self)
        for row, (text, box) in enumerate(zip("AB", self._choices, strict=True)):
            grid.addWidget(QLabel(text), row, 0)
            grid.addWidget(box, row, 1, 1, 3)
        grid.addWidget(self._file, 2, 0, 1, 2)
        tolerance = QHBoxLayout()
        tolerance.addWidget(QLabel("Within, mm"))
        tolerance.addWidget(self._tolerance.native)
        grid.addLayout(tolerance, 2, 2, 1, 2)
        grid.addWidget(self._next, 3, 0, 1, 2)
        grid.addWidget(self._end, 3, 2, 1, 2)
        grid.addLayout(states, 4, 0, 1, 4)
        grid.addWidget(self._back, 5, 0, 1, 2)
        grid.addWidget(self._ahead, 5, 2, 1, 2)
        grid.addWidget(self._legend, 6, 0, 1, 4)
        grid.addWidget(self._table, 7, 0, 1, 4)
        for column in (1, 3):
            grid.setColumnStretch(column, 1)
        self.show_state(None)

    @property
    def choice(self) -> tuple[object, object]:
        """What is chosen for A and for B; None where there is nothing to choose."""
        one, other = self._choices
        return one.currentData(), other.currentData()

    @property
    def tolerance_mm(self) -> float:
        """Distance up to which surfaces agree."""
        return float(self._tolerance.value)

    def show_choices(
        self, a: Sequence[tuple[str, object]], b: Sequence[tuple[str, object]]
    ) -> None:
        """List what A and B can be; what is chosen stays chosen where it is still there."""
        for box, entries in zip(self._choices, (a, b), strict=True):
            chosen = box.currentData()
            with QSignalBlocker(box):
                box.clear()
                for text, what in entries:
                    box.addItem(text, what)
                places = [n for n, (_, what) in enumerate(entries) if what is chosen]
                same = [n for n, (_, what) in enumerate(entries) if what == chosen]
                box.setCurrentIndex((places or same or [0 if entries else -1])[0])

    def choose(self, a: object, b: object) -> None:
        """Choose for A and B what is listed."""
        for box, what in zip(self._choices, (a, b), strict=True):
            for number in range(box.count()):
                if box.itemData(number) is what or box.itemData(number) == what:
                    box.setCurrentIndex(number)

    def show_state(self, state: str | None, legend: str = "") -> None:
        """Show which of `STATES` is on the canvas; None while there is no comparison."""
        for number, name in enumerate(STATES):
            push = self._states.button(number)
            push.setChecked(name == state)
            push.setEnabled(state is not None)
        for push in (self._end, self._back, self._ahead):
            push.setEnabled(state is not None)
        self._legend.setText(legend)

    def show_agreement(self, rows: Sequence[Sequence[str]]) -> None:
        """List names and numbers, in the order of the columns."""
        self._table.setRowCount(len(rows))
        for number, row in enumerate(rows):
            for column, text in enumerate(row):
                item = QTableWidgetItem(text)
                item.setToolTip(unguessed(text))
                self._table.setItem(number, column, item)

    @property
    def rows(self) -> list[list[str]]:
        """What the table lists."""
        table = self._table
        return [
            [table.item(row, column).text() for column in range(table.columnCount())]
            for row in range(table.rowCount())
        ]

    def set_open(self, is_open: bool) -> None:
        """Allow what needs an open volume."""
        self.setEnabled(is_open)

    def _ask_for_file(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Compare with a label", "", LABEL_FILES)
        if name:
            self.file_requested.emit(Path(name))
