"""The list of structures: which one is in hand, and which there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from qtpy.QtCore import QPoint, QSignalBlocker, Qt, Signal
from qtpy.QtGui import QColor, QKeyEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QColorDialog,
    QCompleter,
    QLineEdit,
    QMenu,
    QSlider,
    QTableWidgetItem,
    QWidget,
)

from napari_medsamq.annotation.history import LabelStyle
from napari_medsamq.io.terminology import ORGANS
from napari_medsamq.ui.canvas.canvas_widget import main_window
from napari_medsamq.ui.forms.elements import Table, button, lay_out, row, swatch
from napari_medsamq.ui.forms.icons import icon

_NAME, _VOLUME, _SHOWN, _LOCKED = range(4)
_COLUMNS = ("Structure", "mL", "", "")
_LINES = 5
# Letters of a usual organ that are enough for its whole name, if it alone begins with them.
_ENOUGH = 3
# Columns that a click changes: what of a style they set, its icon if so and if not, and in words.
_TOGGLES = {
    _SHOWN: ("visible", "eye", "hidden", "Shown"),
    _LOCKED: ("locked", "locked", "open", "Locked"),
}


@dataclass(frozen=True)
class StructureRow:
    """A line of the list.

    Attributes
    ----------
    label_id : int
    style : LabelStyle
    millilitres : float
    """

    label_id: int
    style: LabelStyle
    millilitres: float


class LabelForm(QWidget):
    """The structures of this volume; the selected one is that which the next box is for."""

    label_requested = Signal(int)
    new_requested = Signal(str)  # its name
    style_requested = Signal(int, LabelStyle)
    remove_requested = Signal(int)
    opacity_requested = Signal(float)

    def __init__(self) -> None:
        super().__init__()
        self._rows: list[StructureRow] = []
        self._shown: tuple[list[StructureRow], int, str] | None = None
        # What is being named: a structure, or a new one.
        self._named: int | None = None
        self._opacity = QSlider(Qt.Orientation.Horizontal)
        self._opacity.setRange(5, 100)
        self._opacity.setAccessibleName("Opacity of the structures, in %")
        self._opacity.setToolTip("How much of the picture the structures cover")
        self._opacity.valueChanged.connect(lambda value: self.opacity_requested.emit(value / 100))
        new = button(
            "+ New", partial(self._ask_for_name, None), "Another structure: its name is asked for"
        )
        self._name = QLineEdit()
        self._name.setAccessibleName("Name of the structure")
        self._name.setPlaceholderText("Its name, then Enter")
        completer = QCompleter(ORGANS, self)
        completer.setCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        completer.setFilterMode(Qt.MatchFlag.MatchContains)
        completer.activated[str].connect(self._on_chosen)
        self._name.setCompleter(completer)
        self._name.editingFinished.connect(self._on_named)
        self._name.hide()
        self._table = self._build_table()
        title = row("<b>Structures</b>", self._opacity, new)
        grid = lay_out(self, title, self._table, self._name)
        grid.setContentsMargins(0, 0, 0, 0)

    def _build_table(self) -> Table:
        table = _StructureTable("Structures of this volume", _COLUMNS, _LINES, _NAME)
        table.horizontalHeader().hide()
        table.setShowGrid(False)
        table.setToolTip("Click a structure to draw for it, or press 1 to 9.")
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        table.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        table.customContextMenuRequested.connect(self._open_menu)
        table.cellClicked.connect(self._on_cell)
        table.pressed_on.connect(self._on_cell)
        table.cellDoubleClicked.connect(self._on_double_click)
        return table

    def show_opacity(self, opacity: float) -> None:
        """Show how opaque the structures are."""
        with QSignalBlocker(self._opacity):
            self._opacity.setValue(round(100 * opacity))

    def choose(self, place: int) -> None:
        """Ask for the structure in a line of the list, from 0."""
        if place < len(self._rows):
            self.label_requested.emit(self._rows[place].label_id)

    def _on_cell(self, line: int, column: int) -> None:
        found = self._rows[line]
        if column in _TOGGLES:
            attribute = _TOGGLES[column][0]
            changed = replace(found.style, **{attribute: not getattr(found.style, attribute)})
            self.style_requested.emit(found.label_id, changed)
        else:
            self.label_requested.emit(found.label_id)

    def _on_double_click(self, line: int, column: int) -> None:
        if column not in _TOGGLES:
            self._ask_for_name(self._rows[line])

    def _open_menu(self, place: QPoint) -> None:
        line = self._table.rowAt(place.y())
        if line >= 0:
            self.menu_of(line).popup(self._table.viewport().mapToGlobal(place))

    def menu_of(self, line: int) -> QMenu:
        """Return the menu of a line: what is done to a structure as a whole."""
        menu, found = QMenu(self), self._rows[line]
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.addAction("Rename…", partial(self._ask_for_name, found))
        menu.addAction("Colour…", partial(self._ask_for_color, found))
        menu.addSeparator()
        menu.addAction("Remove", partial(self.remove_requested.emit, found.label_id))
        return menu

    def _ask_for_color(self, found: StructureRow) -> None:
        color = QColorDialog.getColor(QColor(found.style.color), self, "Colour of this structure")
        if color.isValid():
            self.style_requested.emit(found.label_id, replace(found.style, color=color.name()))

    def _ask_for_name(self, found: StructureRow | None) -> None:
        self._named = None if found is None else found.label_id
        self._name.setText("" if found is None else found.style.name)
        self._name.selectAll()
        self._name.show()
        # What it offers is a window of its own, which the theme's style does not come to.
        window = main_window(self)
        self._name.completer().popup().setStyleSheet("" if window is None else window.styleSheet())
        self._name.setFocus()

    def _on_chosen(self, name: str) -> None:
        self._name.setText(name)
        self._on_named()

    def _on_named(self) -> None:
        if self._name.isHidden():
            return
        # Once, though hiding a field ends what is written in it once more.
        name, named = _whole(self._name.text().strip()), self._named
        self._name.completer().popup().hide()
        self._name.hide()
        if not name:
            return
        if named is None:
            self.new_requested.emit(name)
            return
        found = next((one for one in self._rows if one.label_id == named), None)
        if found is not None and found.style.name != name:
            self.style_requested.emit(named, replace(found.style, name=name))

    def show_structures(self, rows: Sequence[StructureRow], in_hand: int) -> None:
        """List the structures, that in hand among them."""
        color = self.palette().text().color()
        shown = list(rows), in_hand, color.name()
        if shown == self._shown:
            return  # a table that is filled is painted, and all of the window with it
        self._shown, self._rows = shown, list(rows)
        right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        with QSignalBlocker(self._table):
            self._table.setRowCount(len(rows))
            for line, found in enumerate(rows):
                name = QTableWidgetItem(swatch(found.style.color), found.style.name)
                name.setToolTip(f"Number {found.label_id} in a saved file")
                volume = QTableWidgetItem(f"{found.millilitres:,.1f} mL")
                volume.setTextAlignment(right)
                for column, item in ((_NAME, name), (_VOLUME, volume)):
                    self._table.setItem(line, column, item)
                for column, (attribute, yes, no, words) in _TOGGLES.items():
                    holds = getattr(found.style, attribute)
                    item = QTableWidgetItem(icon(yes if holds else no, color), "")
                    said = words if holds else f"Not {words.lower()}"
                    item.setData(Qt.ItemDataRole.AccessibleTextRole, said)
                    item.setToolTip(f"{said}: click to change it")
                    self._table.setItem(line, column, item)
            places = [line for line, found in enumerate(rows) if found.label_id == in_hand]
            if places:
                self._table.setCurrentCell(places[0], _NAME)


def _whole(name: str) -> str:
    """Return the usual name of an organ that a name is the beginning of, or the name as it is."""
    begun = [organ for organ in ORGANS if organ.lower().startswith(name.lower())]
    return begun[0] if len(begun) == 1 and len(name) >= _ENOUGH else name


class _StructureTable(Table):
    """A list whose cells are pressed by the space bar, too."""

    pressed_on = Signal(int, int)

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 (Qt's name)
        """Take Space as a click on the cell, and F2 as usual for the planes."""
        if event.key() in (Qt.Key.Key_Space, Qt.Key.Key_Return) and self.currentRow() >= 0:
            self.pressed_on.emit(self.currentRow(), self.currentColumn())
        else:
            super().keyPressEvent(event)
