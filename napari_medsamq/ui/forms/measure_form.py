"""The form with the numbers of the label in hand, and their histogram."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import QRect, QSize, Qt, Signal
from qtpy.QtGui import QColor, QPainter, QPaintEvent
from qtpy.QtWidgets import QApplication, QFileDialog, QSizePolicy, QWidget

from napari_medsamq.analysis.statistics import LabelStatistics
from napari_medsamq.errors import SaveError
from napari_medsamq.io.files import table_text, write_whole
from napari_medsamq.ui.forms.elements import Table, button, lay_out
from napari_medsamq.ui.messages import in_ml
from napari_medsamq.workflows.follow_up import Change

# How many fall into each bin, the lowest value and the highest.
Bars = tuple[npt.NDArray[np.int64], float, float]

BINS = 64
NOTHING: Bars = np.zeros(0, np.int64), 0.0, 0.0


class Histogram(QWidget):
    """How often each intensity occurs within a label."""

    def __init__(self) -> None:
        super().__init__()
        self._counts, *self._range = NOTHING
        self._color = QColor("white")
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("Histogram of the label's intensities")

    def sizeHint(self) -> QSize:  # noqa: N802 (Qt's name)
        """Return a size of four lines of text, however large that is."""
        return QSize(0, 4 * self.fontMetrics().height())

    def show_bars(self, bars: Bars, voxels: int, color: str) -> None:
        """Show how the intensities of so many voxels are spread, in the label's colour."""
        self._counts, low, high = bars
        self._range = [low, high]
        self._color = QColor(color)
        text = f"{voxels:,} voxels from {low:g} to {high:g}"
        self.setAccessibleDescription(text)
        self.setToolTip(text)
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 (Qt's name)
        """Paint the bars, and the ends of the range below them."""
        painter = QPainter(self)
        text = self.fontMetrics().height()
        room = self.height() - text
        most = int(self._counts.max()) if self._counts.size else 0
        for number, count in enumerate(self._counts.tolist() if most else []):
            left, right = (round(n * self.width() / BINS) for n in (number, number + 1))
            tall = round(room * count / most)
            painter.fillRect(QRect(left, room - tall, max(1, right - left), tall), self._color)
        painter.setPen(self.palette().text().color())
        below = QRect(0, room, self.width(), text)
        low, high = self._range
        painter.drawText(below, Qt.AlignmentFlag.AlignLeft, f"{low:g}")
        painter.drawText(below, Qt.AlignmentFlag.AlignRight, f"{high:g}")
        painter.end()


class MeasureForm(QWidget):
    """Size, intensities and diameters of the label in hand; of all labels as a file."""

    said = Signal(str)  # what was done, or why it was not
    shown = Signal()  # numbers

    def __init__(self) -> None:
        super().__init__()
        self._target = Path("statistics.csv")
        self._all: Mapping[int, tuple[str, LabelStatistics]] = {}
        self._prior: Mapping[int, float] = {}
        self._table = Table("Statistics of the label", ("", ""), lines=0, wide=1)
        self._table.horizontalHeader().hide()
        self.histogram = Histogram()
        self._copy = button(
            "Copy", self.copy, "Copy the numbers of all labels, to be pasted into a table"
        )
        self._export = button("Save as CSV…", self._ask_for_target)
        lay_out(self, self._table, self.histogram, (self._copy, self._export))
        self.clear()

    def show_statistics(
        self,
        measured: Mapping[int, tuple[str, LabelStatistics]],
        label_id: int,
        unit: str,
        bars: Bars,
        color: str,
        *,
        accepted: bool = True,
    ) -> None:
        """Show the label in hand, and keep the others for the file.

        Parameters
        ----------
        measured : mapping of int to (name, LabelStatistics)
        label_id : int
            In hand; it may have no voxels.
        unit : str
            Of intensities.
        bars : Bars
            Of the label's intensities.
        color : str
        accepted : bool
            Whether someone has accepted all of its masks.
        """
        self._all = measured
        rows: list[tuple[str, str]] = []
        voxels = 0
        if label_id in measured:
            name, own = measured[label_id]
            voxels = own.voxels
            rows = [
                ("Label", name),
                ("Volume", in_ml(own.millilitres)),
                *self._change(label_id, own.millilitres, accepted=accepted),
                ("Slices", f"{own.slices} ({own.voxels:,} voxels)"),
                ("Longest in plane", f"{own.plane_mm:.1f} mm"),
                ("Longest in 3D", f"{own.longest_mm:.1f} mm"),
                (f"Mean, SD ({unit})", f"{own.mean:.1f}, {own.sd:.1f}"),
                ("Median", f"{own.percentiles[50]:.1f}"),
                *(
                    (
                        f"P{low} to P{100 - low}",
                        f"{own.percentiles[low]:.1f} to {own.percentiles[100 - low]:.1f}",
                    )
                    for low in (25, 5)
                ),
            ]
        self._table.show_rows(rows)
        self.histogram.show_bars(bars, voxels, color)
        for push in (self._copy, self._export):
            push.setEnabled(bool(measured))
        self.shown.emit()

    def show_prior(self, millilitres: Mapping[int, float]) -> None:
        """Show from now on, beside a label's volume, what it had in a prior scan, by label id."""
        self._prior = millilitres

    def _change(
        self, label_id: int, millilitres: float, *, accepted: bool
    ) -> list[tuple[str, str]]:
        if label_id not in self._prior:
            return []
        change = Change("", self._prior[label_id], millilitres)
        # A prior label that a person has corrected, and masks that nobody has: their difference
        # need be no change of the patient.
        doubt = [] if accepted else [("", "not all masks of this scan are accepted yet")]
        return [("Prior scan", in_ml(change.prior_ml)), ("Change", str(change)), *doubt]

    def clear(self) -> None:
        """Show no numbers, and keep none."""
        self.show_statistics({}, 1, "", NOTHING, "white")

    @property
    def rows(self) -> dict[str, str]:
        """What is shown of the label in hand, by its title."""
        return dict(self._table.rows)

    def suggest(self, target: Path) -> None:
        """Say which file saving suggests."""
        self._target = target

    def copy(self) -> None:
        """Put the numbers of all labels on the clipboard, with tabs between them."""
        QApplication.clipboard().setText(_as_text(self._all, self._prior, "\t"))
        self.said.emit(f"The numbers of {len(self._all)} labels were copied.")

    def save(self, path: Path) -> None:
        """Write the numbers of all labels as CSV."""
        try:
            write_whole(path, _as_text(self._all, self._prior, ","))
        except SaveError as error:
            self.said.emit(str(error))
            return
        self.said.emit(f"Saved: {path}")

    def _ask_for_target(self) -> None:
        name, _ = QFileDialog.getSaveFileName(
            self, "Save the numbers", str(self._target), "Table (*.csv)"
        )
        if name:
            self.save(Path(name) if Path(name).suffix else Path(f"{name}.csv"))


def _as_text(
    measured: Mapping[int, tuple[str, LabelStatistics]],
    prior: Mapping[int, float],
    delimiter: str,
) -> str:
    head: list[str] = []
    rows: list[list[Any]] = []
    for label_id, (name, own) in measured.items():
        values = own.as_dict()
        if prior:
            change = Change(name, prior.get(label_id, 0.0), own.millilitres)
            values["prior_ml"] = change.prior_ml
            values["change_ml"] = change.difference_ml
            values["change_percent"] = change.difference_percent
        head = ["label", "name", *values]
        rows.append([label_id, name, *values.values()])
    return table_text(head, rows, delimiter)
