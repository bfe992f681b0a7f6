"""The form that compares two labels: which ones, what is shown of them, and the numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QWidget

from napari_medsamq.analysis.comparison import DEFAULT_TOLERANCE_MM
from napari_medsamq.ui.forms.elements import (
    LABEL_FILES,
    Table,
    button,
    choose,
    file_button,
    lay_out,
    menu,
    number_field,
    row,
    show_entries,
    toggle,
    wrapping_label,
)

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


class CompareForm(QWidget):
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
        super().__init__()
        self._choices = (
            menu("Label A of the comparison", "A label of this volume"),
            menu(
                "Label B of the comparison",
                "Another label of this volume, a labels layer of the viewer, or a label file. Of "
                "the latter two, what has the number of A is compared.",
            ),
        )
        file = file_button(
            "Label file…",
            "Compare with a label",
            LABEL_FILES,
            self.file_requested.emit,
            "Compare with a label that someone else has drawn, or a model",
        )
        self._tolerance = number_field(
            "Tolerance in mm",
            "Distance in mm up to which surfaces agree, for NSD",
            value=DEFAULT_TOLERANCE_MM,
            min=0.0,
            max=100.0,
            step=0.5,
        )
        compare = button(
            f"Compare  ({keys['compare']})",
            self.next_requested.emit,
            "Show A, then B, then both, then where they differ, and so on",
        )
        self._states = {
            state: toggle(state, partial(self._ask_for_state, state)) for state in STATES
        }
        end = button("Leave  (Esc)", self.end_requested.emit)
        differs = keys["differs"]
        back = button(f"◀ Differs  (Shift+{differs})", partial(self.step_requested.emit, -1))
        ahead = button(f"Differs ▶  ({differs})", partial(self.step_requested.emit, 1))
        self._while_active = (*self._states.values(), end, back, ahead)
        self._legend = wrapping_label("Comparison")
        self._table = Table("Agreement of the labels", list(_COLUMNS), lines=0, wide=0)
        for column, told in enumerate(_COLUMNS.values()):
            self._table.horizontalHeaderItem(column).setToolTip(told)
        one, other, overlaid, differences = self._states.values()
        grid = lay_out(
            self,
            row("A", self._choices[0]),
            row("B", self._choices[1], file),
            row("Tolerance in mm", self._tolerance.native),
            (compare, end),
            (one, other),
            (overlaid, differences),
            (back, ahead),
            self._legend,
            self._table,
        )
        for column in (0, 1):
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
            show_entries(box, entries)

    def choose(self, a: object, b: object) -> None:
        """Choose for A and B what is listed."""
        for box, what in zip(self._choices, (a, b), strict=True):
            choose(box, what)

    def show_state(self, state: str | None, legend: str = "") -> None:
        """Show which of `STATES` is on the canvas; None while there is no comparison."""
        for name, push in self._states.items():
            push.setChecked(name == state)
        for push in self._while_active:
            push.setEnabled(state is not None)
        self._legend.setText(legend)

    def show_agreement(self, rows: Sequence[Sequence[str]]) -> None:
        """List names and numbers, in the order of the columns."""
        self._table.show_rows(rows)
        self._table.setEnabled(True)

    def show_comparing(self) -> None:
        """Show the numbers of before as such."""
        self._table.setEnabled(False)

    @property
    def rows(self) -> list[list[str]]:
        """What the table lists."""
        return self._table.rows

    def _ask_for_state(self, state: str, _: bool) -> None:
        self.state_requested.emit(state)
