"""The form about the labels: which one the next box is for, and which there are."""

from __future__ import annotations

from dataclasses import replace

from magicgui.widgets import SpinBox
from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QColorDialog,
    QComboBox,
    QGroupBox,
    QSizePolicy,
    QTableWidgetItem,
)

from napari_medsamq.annotation.history import LabelStyle
from napari_medsamq.io.label_format import MAX_LABEL_ID
from napari_medsamq.io.terminology import ORGANS
from napari_medsamq.ui.forms.elements import Table, button, lay_out, menu, number_field, row

_COLUMNS = ("Show", "Label", "Voxels", "mL", "Lock")
# Of the table; and letters of a name that are seen at least.
_LINES, _NAME_LENGTH = 4, 7
# Columns of check boxes, and what of a style they set.
_CHECKED = {"Show": "visible", "Lock": "locked"}


class LabelForm(QGroupBox):
    """Which label the next box is for, and the labels of this volume."""

    label_requested = Signal(int)
    style_requested = Signal(int, LabelStyle)
    remove_requested = Signal(int)

    def __init__(self) -> None:
        super().__init__("2. Label")
        self._style = LabelStyle.default(1)
        self._color = self._style.color
        self._rows: list[tuple[int, LabelStyle]] = []
        self._id = number_field(SpinBox, "Number of the label", min=1, max=MAX_LABEL_ID, value=1)
        self._id.native.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        # Typing 12 must not pass through 1.
        self._id.native.setKeyboardTracking(False)
        self._id.changed.connect(self.label_requested.emit)
        # A name of one's own, or one of those that are used most.
        self._name = menu("Name")
        self._name.setEditable(True)
        self._name.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self._name.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self._name.setMinimumContentsLength(_NAME_LENGTH)
        self._name.addItems(ORGANS)
        self._name.lineEdit().editingFinished.connect(self._ask_for_style)
        self._name.activated.connect(self._ask_for_style)
        self._pick_color = button("Colour…", self._ask_for_color)
        remove = button(
            "Remove label",
            self._ask_for_removal,
            "Clear all voxels and boxes of this label (undo restores them)",
        )
        self._table = self._build_table()
        lay_out(
            self,
            row("Number", self._id.native, "Name", self._name),
            row(self._pick_color, remove),
            self._table,
        )

    def _build_table(self) -> Table:
        table = Table("Labels of this volume", _COLUMNS, _LINES, _COLUMNS.index("Label"))
        table.setToolTip("Click a label to draw for it. Nothing takes voxels of a locked one.")
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        table.cellClicked.connect(self._choose_row)
        table.itemChanged.connect(self._on_check)
        return table

    def _ask_for_color(self) -> None:
        color = QColorDialog.getColor(QColor(self._color), self, "Colour of this label")
        if color.isValid():
            self._color = color.name()
            self._ask_for_style()

    def _ask_for_style(self) -> None:
        style = replace(self._style, name=self._name.currentText(), color=self._color)
        self.style_requested.emit(self._id.value, style)

    def _ask_for_removal(self) -> None:
        self.remove_requested.emit(self._id.value)

    def _choose_row(self, row: int, column: int) -> None:
        if _COLUMNS[column] not in _CHECKED:
            self.label_requested.emit(self._rows[row][0])

    def _on_check(self, item: QTableWidgetItem) -> None:
        column = _COLUMNS[item.column()]
        if column in _CHECKED:
            label_id, style = self._rows[item.row()]
            checked = item.checkState() == Qt.CheckState.Checked
            self.style_requested.emit(label_id, replace(style, **{_CHECKED[column]: checked}))

    def show_label(self, label_id: int, style: LabelStyle) -> None:
        """Show the label that the next box will be drawn for."""
        self._style, self._color = style, style.color
        with self._id.changed.blocked():
            self._id.value = label_id
        with QSignalBlocker(self._name):
            self._name.setEditText(style.name)
            self._name.lineEdit().setCursorPosition(0)
        self._pick_color.setIcon(_swatch(style.color))

    def show_labels(self, rows: list[tuple[int, LabelStyle, int, float]]) -> None:
        """List the labels in use: id, style, voxels, millilitres."""
        right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        with QSignalBlocker(self._table):
            self._rows = [(label_id, style) for label_id, style, _, _ in rows]
            self._table.setRowCount(len(rows))
            for row, (label_id, style, voxels, millilitres) in enumerate(rows):
                texts = ("", f"{label_id}  {style.name}", f"{voxels:,}", f"{millilitres:,.2f}", "")
                for column, text in enumerate(texts):
                    item = QTableWidgetItem(text)
                    item.setTextAlignment(right)
                    self._table.setItem(row, column, item)
                name = self._table.item(row, _COLUMNS.index("Label"))
                name.setIcon(_swatch(style.color))
                name.setTextAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
                for title, attribute in _CHECKED.items():
                    self._show_check(row, title, checked=getattr(style, attribute))

    def _show_check(self, row: int, title: str, *, checked: bool) -> None:
        item = self._table.item(row, _COLUMNS.index(title))
        item.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsUserCheckable)
        item.setCheckState(Qt.CheckState.Checked if checked else Qt.CheckState.Unchecked)
        item.setData(Qt.ItemDataRole.AccessibleTextRole, f"{title}: {'yes' if checked else 'no'}")


def _swatch(color: str) -> QIcon:
    pixmap = QPixmap(12, 12)
    pixmap.fill(QColor(color))
    return QIcon(pixmap)
