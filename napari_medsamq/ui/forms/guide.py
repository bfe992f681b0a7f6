"""Five steps for the first start, each of which goes on by itself once it is done."""

from __future__ import annotations

from collections.abc import Mapping

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QGroupBox

from napari_medsamq.ui.forms.elements import button, lay_out, row, wrapping_label

OPEN, BOX, PROPAGATE, CORRECT, SAVE = range(5)
STEPS = (
    "Open a volume: the sample below, a file, or a DICOM folder dropped on the window.",
    "Press {draw} and drag a box around a structure. Its mask follows the mouse.",
    "Press {propagate}: the mask is carried through the slices until the structure ends.",
    "Look at the bar below the picture. {doubtful} leads to doubtful slices: click on what is "
    "missing, right-click on what is too much, or draw a better box.",
    "Save the label: it has exactly the grid of the source. Everything is also recorded, so that "
    "nothing is lost if the program ends.",
)


class Guide(QGroupBox):
    """Leads through the first label; whoever knows the way ends it.

    Parameters
    ----------
    keys : mapping of str to str
        By the names of their preferences.
    """

    sample_requested = Signal()
    ended = Signal()

    def __init__(self, keys: Mapping[str, str]) -> None:
        super().__init__("First steps")
        self._steps = [step.format(**keys) for step in STEPS]
        self._text = wrapping_label("First steps")
        self._sample = button("Open the sample CT", self.sample_requested.emit)
        self._next = button("Next", self._go_on)
        end = button(
            "End", self.ended.emit, "Show the first steps no more; the preferences bring them back"
        )
        lay_out(self, self._text, self._sample, row(self._next, end))
        self._step = 0
        self._show()

    @property
    def step(self) -> int:
        """The step that is shown, from 0."""
        return self._step

    def done(self, step: int) -> None:
        """Go on to the next step if this one is shown, or one before it."""
        if step >= self._step:
            self._step = step
            self._go_on()

    def asked(self) -> None:
        """Something was drawn or clicked: step two, or step four once there was a propagation."""
        self.done(CORRECT if self._step > PROPAGATE else BOX)

    def _go_on(self) -> None:
        if self._step + 1 < len(self._steps):
            self._step += 1
            self._show()
        else:
            self.ended.emit()

    def _show(self) -> None:
        self._text.setText(f"{self._step + 1} of {len(self._steps)}. {self._steps[self._step]}")
        self._sample.setVisible(self._step == OPEN)
        self._next.setText("Done" if self._step == SAVE else "Next")
