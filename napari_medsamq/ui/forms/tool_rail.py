"""The slim bar at the picture: which tool is in hand, propagation, steps back, and saving."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtGui import QActionGroup
from qtpy.QtWidgets import QAbstractSpinBox, QMenu, QSpinBox, QToolBar, QToolButton

from napari_medsamq.plain_text import unguessed
from napari_medsamq.ui.forms.icons import IconButton
from napari_medsamq.ui.key_focus import by_tab_alone, name_the_rest

BOX, LASSO, POINT, SCRIBBLE, BRUSH, ERASER, MOVE, RULER = TOOLS = (
    "box",
    "lasso",
    "point",
    "scribble",
    "brush",
    "eraser",
    "move",
    "ruler",
)
BOTH_WAYS, UP, DOWN, TO_VIEW = "both ways", "up", "down", "to the slice in view"
# Which values the brush paints.
ALL_VALUES, WINDOW_VALUES, START_VALUES = BRUSH_RANGES = (
    "all values",
    "values within the window",
    "values like where the stroke begins",
)
WAYS = (BOTH_WAYS, UP, DOWN, TO_VIEW)
# What each tool is called, the preference with its key, and what it does.
_TOOLS = {
    BOX: (
        "Box",
        "draw",
        "Drag a box around a structure: its mask follows the mouse. Click on what\n"
        "is missing, with the right button on what is too much.",
    ),
    LASSO: (
        "Lasso",
        "lasso",
        "Draw around a structure: its mask follows the mouse, and stays within.",
    ),
    POINT: (
        "Point",
        "click",
        "Click on what is missing, with the right button on what is too much.\n"
        "A drag moves the picture, with Shift it is a scribble.",
    ),
    SCRIBBLE: (
        "Scribble",
        "scribble",
        "Drag along what is missing, with the right button along what is too much.",
    ),
    BRUSH: (
        "Brush",
        "brush",
        "Paint the structure in hand; [ and ] change the size. Hold the button down to\n"
        "choose which values it paints.",
    ),
    ERASER: ("Erase", "eraser", "Wipe away the structure in hand; [ and ] change the size."),
    MOVE: ("Move", "move", "A drag moves the picture."),
    RULER: (
        "Ruler",
        "ruler",
        "Drag from edge to edge: the distance in mm. Drag an end to move it;\n"
        "a right click on a line removes it. Nothing of it is saved.",
    ),
}


class ToolRail(QToolBar):
    """One button a tool, of which that in hand is lit, and what is done with what they made.

    Parameters
    ----------
    keys : mapping of str to str
        By the names of their preferences, to be written on the buttons.

    Attributes
    ----------
    tools : dict of str to IconButton
        By `TOOLS`.
    propagate, save : IconButton
    """

    tool_requested = Signal(str)
    brush_range_requested = Signal(str)  # one of `BRUSH_RANGES`
    brush_size_requested = Signal(int)  # in pixels across
    propagate_requested = Signal(str)  # one of `WAYS`
    box_3d_requested = Signal()
    refine_requested = Signal()
    stop_requested = Signal()
    undo_requested = Signal()
    redo_requested = Signal()
    save_requested = Signal()

    def __init__(self, keys: Mapping[str, str]) -> None:
        super().__init__("MedSAM-Q tools")
        self.setMovable(False)
        self.setOrientation(Qt.Orientation.Vertical)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.PreventContextMenu)
        self._propagating = False
        self.tools = {
            tool: IconButton(tool, name, keys[key], tip, partial(self.tool_requested.emit, tool))
            for tool, (name, key, tip) in _TOOLS.items()
        }
        for button in self.tools.values():
            button.setCheckable(True)
            self.addWidget(button)
            if button is self.tools[ERASER]:
                self.addWidget(self._build_brush_size())
        self.tools[BRUSH].setMenu(self._build_brush_menu())
        self.tools[BRUSH].setPopupMode(QToolButton.ToolButtonPopupMode.DelayedPopup)
        self.addSeparator()
        self.propagate = IconButton(
            "propagate",
            "Propagate",
            keys["propagate"],
            "Carry the structure from where it was drawn through the slices of this plane,\n"
            "until it ends. Hold the button down for one direction alone, and for 3D.",
            self._on_propagate,
        )
        ways = QMenu(self)
        for way in WAYS:
            ways.addAction(f"Propagate {way}", partial(self.propagate_requested.emit, way))
        ways.addSeparator()
        ways.addAction("3D box from the boxes on two planes", self.box_3d_requested.emit)
        ways.addAction("Refine in 3D by all three planes", self.refine_requested.emit)
        self.propagate.setMenu(ways)
        self.propagate.setPopupMode(QToolButton.ToolButtonPopupMode.DelayedPopup)
        self.addWidget(self.propagate)
        self.addSeparator()
        self._undo = IconButton("undo", "Undo", "Ctrl+Z", "", self.undo_requested.emit)
        self._redo = IconButton("redo", "Redo", "Ctrl+Shift+Z", "", self.redo_requested.emit)
        self.save = IconButton(
            "save",
            "Save label",
            "Ctrl+S",
            "Save the structures on the image's own grid, again to the same file.\n"
            "The menu above the structures saves to another one.",
            self.save_requested.emit,
        )
        self.addWidget(self._undo)
        self.addWidget(self._redo)
        self.addSeparator()
        self.addWidget(self.save)
        by_tab_alone(self)
        name_the_rest(self)

    def _build_brush_menu(self) -> QMenu:
        menu = QMenu(self)
        self._brush_ranges = QActionGroup(menu)
        for chosen in BRUSH_RANGES:
            entry = menu.addAction(
                f"Paint {chosen}", partial(self.brush_range_requested.emit, chosen)
            )
            entry.setCheckable(True)
            self._brush_ranges.addAction(entry)
        return menu

    def _build_brush_size(self) -> QSpinBox:
        self._brush_size = size = QSpinBox()
        size.setRange(1, 999)
        size.setButtonSymbols(QAbstractSpinBox.ButtonSymbols.NoButtons)
        size.setAlignment(Qt.AlignmentFlag.AlignCenter)
        # napari's own look would make the rail as wide as two buttons.
        size.setStyleSheet("QSpinBox { min-width: 0px; padding: 1px 0px; }")
        size.setFixedWidth(self.tools[BRUSH].width())
        size.setAccessibleName("Brush size")
        size.setToolTip("Size of brush and eraser, in pixels across  ([ and ])")
        size.valueChanged.connect(self.brush_size_requested.emit)
        return size

    def show_brush_size(self, size: int) -> None:
        """Show how large the brush is."""
        with QSignalBlocker(self._brush_size):
            self._brush_size.setValue(size)

    def show_brush_range(self, chosen: str) -> None:
        """Show which values the brush paints."""
        self._brush_ranges.actions()[BRUSH_RANGES.index(chosen)].setChecked(True)
        button = self.tools[BRUSH]
        button.shape = BRUSH if chosen == ALL_VALUES else "brush_range"
        button.update()

    def _on_propagate(self) -> None:
        if self._propagating:
            self.stop_requested.emit()
        else:
            self.propagate_requested.emit(BOTH_WAYS)

    def show_tool(self, tool: str) -> None:
        """Show which tool is in hand."""
        for name, button in self.tools.items():
            button.setChecked(name == tool)

    @property
    def tool(self) -> str:
        """The tool that is shown as the one in hand."""
        return next(name for name, button in self.tools.items() if button.isChecked())

    def show_propagating(self, propagating: bool) -> None:
        """Show whether a propagation is on its way; the button then stops it."""
        self._propagating = propagating
        self.propagate.shape = "stop" if propagating else "propagate"
        self.propagate.setAccessibleName("Stop" if propagating else "Propagate")
        self.propagate.update()

    def show_history(self, undo: str | None, redo: str | None) -> None:
        """Show what undo and redo would do; None where there is nothing."""
        parts = (
            (self._undo, undo, "Undo", "Ctrl+Z"),
            (self._redo, redo, "Redo", "Ctrl+Shift+Z"),
        )
        for push, name, verb, key in parts:
            push.setEnabled(name is not None)
            push.setToolTip(unguessed(f"{verb}  ({key})\n{name or 'nothing'}"))
