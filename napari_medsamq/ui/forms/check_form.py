"""The form that leads to doubtful slices, and mends a label as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from magicgui.widgets import ComboBox, Container, FloatSpinBox
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QLabel, QWidget

from napari_medsamq.annotation.repairs import REPAIRS, Number, Repair
from napari_medsamq.plain_text import unguessed
from napari_medsamq.ui.forms.elements import (
    button,
    lay_out,
    make_primary,
    menu,
    narrow,
    number_field,
    show_entries,
    swatch,
    wrapping_label,
)
from napari_medsamq.ui.forms.label_form import StructureRow
from napari_medsamq.ui.key_focus import by_tab_alone


class CheckForm(QWidget):
    """What is known of the slice in view, the way to the next doubtful one, and repairs."""

    step_requested = Signal(int)
    accept_requested = Signal()
    accept_seen_requested = Signal()
    improve_requested = Signal()
    repair_requested = Signal(object, object)  # Repair, list of float

    def __init__(self, keys: Mapping[str, str]) -> None:
        super().__init__()
        self._slice = wrapping_label("The slice in view")
        key, ask = keys["doubtful"], self.step_requested.emit
        tip = "Show the next slice towards {} numbers whose mask the network is not sure of"
        back = button(f"◀ Look  (Shift+{key})", partial(ask, -1), tip.format("lower"))
        ahead = button(f"Look ▶  ({key})", partial(ask, 1), tip.format("higher"))
        self._accept = accept = button(
            f"Accept slice  ({keys['accept']})",
            self.accept_requested.emit,
            "Mark the label's mask on the slice in view as checked;\n"
            "propagation leaves it as it is",
        )
        make_primary(accept)
        accept_seen = button(
            f"Accept seen  (Shift+{keys['accept']})",
            self.accept_seen_requested.emit,
            "Mark all masks of the label as checked that you have seen as they are now.\n"
            "In the bar below the picture, those that you have not seen are half as high.",
        )
        improve = button(
            f"Improve mask  ({keys['improve']})",
            self.improve_requested.emit,
            "Let the network improve the label's mask on this slice, drawn or propagated",
        )
        self._choice = ComboBox(label="Repair", choices=[repair.title for repair in REPAIRS])
        self._choice.changed.connect(self._show_numbers)
        self._choice.native.setAccessibleName("Repair")
        narrow(self._choice.native)
        self._other = menu("Other structure", "The one that the repair goes by")
        self._numbers = Container(layout="horizontal", labels=True)
        self._numbers.margins = (0, 0, 0, 0)
        self._apply = button(f"Repair  ({keys['repair']})", self.ask_for_repair)
        lay_out(
            self,
            self._slice,
            (accept, ahead),
            (accept_seen, back),
            improve,
            QLabel("Repair the whole structure"),
            self._choice.native,
            self._other,
            self._numbers.native,
            self._apply,
        )
        self._show_numbers()

    @property
    def repair(self) -> Repair:
        """The repair that is chosen."""
        return next(repair for repair in REPAIRS if repair.title == self._choice.value)

    def ask_for_repair(self) -> None:
        """Ask for what is chosen, with its numbers."""
        fields = iter(self._numbers)
        numbers = [
            float(self._other.currentData() or 0 if number.is_label else next(fields).value)
            for number in self.repair.numbers
        ]
        self.repair_requested.emit(self.repair, numbers)

    def show_slice(self, text: str, *, has_mask: bool) -> None:
        """Show a line about the slice in view, which can be accepted where it has a mask."""
        self._slice.setText(text)
        self._accept.setEnabled(has_mask)

    def show_structures(self, rows: Sequence[StructureRow], in_hand: int) -> None:
        """Offer the structures for repairs that go by another one than that in hand."""
        others = [own for own in rows if own.label_id != in_hand]
        show_entries(self._other, [(unguessed(own.style.name), own.label_id) for own in others])
        for line, own in enumerate(others):
            self._other.setItemIcon(line, swatch(own.style.color))

    def _show_numbers(self) -> None:
        numbers = [own for own in self.repair.numbers if not own.is_label]
        self._numbers.clear()
        self._numbers.extend([_field(number) for number in numbers])
        by_tab_alone(self._numbers.native)
        self._numbers.native.setVisible(bool(numbers))
        self._other.setVisible(len(numbers) < len(self.repair.numbers))
        self._apply.setToolTip(self.repair.help)
        self._choice.native.setToolTip(self.repair.help)


def _field(number: Number) -> FloatSpinBox:
    options = {"value": number.default, "min": number.least, "max": number.most}
    return number_field(number.title, step=0.5, **options)
