"""The form about the window: presets, level and width, and whether the network sees it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import (
    QAbstractSpinBox,
    QCheckBox,
    QMenu,
    QPushButton,
    QSizePolicy,
    QWidget,
)

from napari_medsamq.inference.preprocess import WindowLevel
from napari_medsamq.inference.window_presets import Preset, preset_of
from napari_medsamq.ui.forms.elements import lay_out, number_field, row

_LARGEST = 1e12
_DRAG = "Or drag on the picture with Ctrl held down (Cmd on a Mac): right is wider, up is brighter."


class WindowLevelForm(QWidget):
    """How intensities become grey: by a preset's name, or by numbers.

    Signals carry what the user asks for; the form changes only when a setter says so.

    Parameters
    ----------
    keys : mapping of str to str
        By the names of their preferences.

    Attributes
    ----------
    presets : QPushButton
        Opens the menu of presets: to be laid on the picture.
    """

    window_requested = Signal(WindowLevel)
    fit_requested = Signal()
    sharing_requested = Signal(bool)

    def __init__(self, keys: Mapping[str, str]) -> None:
        super().__init__()
        self._offered: tuple[Preset, ...] = ()
        self.presets = QPushButton()
        self.presets.setToolTip(f"Windows with names; {keys['window']} takes the next one. {_DRAG}")
        self.presets.setAccessibleName("Window")
        self._menu = QMenu(self)
        self.presets.setMenu(self._menu)
        self._level, self._width = (
            number_field(name, _DRAG, min=least, max=_LARGEST)
            for name, least in (("Level", -_LARGEST), ("Width", 1 / _LARGEST))
        )
        for field in (self._level, self._width):
            # Typing 400 must not pass through 4 and 40.
            field.native.setKeyboardTracking(False)
            # Room for the number; the wheel and the arrow keys still step.
            field.native.setButtonSymbols(QAbstractSpinBox.ButtonSymbols.NoButtons)
            # Otherwise as wide as the longest number there could be.
            field.native.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            field.changed.connect(self._ask_for_window)
        self._sharing = QCheckBox("The network sees this window")
        self._sharing.toggled.connect(self.sharing_requested.emit)
        grid = lay_out(
            self,
            row("Level", self._level.native, "Width", self._width.native),
            self._sharing,
        )
        grid.setContentsMargins(0, 0, 0, 0)

    def _ask_for_window(self) -> None:
        self.window_requested.emit(WindowLevel(self._level.value, self._width.value))

    def show_presets(self, presets: tuple[Preset, ...]) -> None:
        """Offer presets; without any, as for colours, the form does nothing."""
        self._offered = presets
        self._menu.clear()
        for preset in presets:
            # What follows a tab stands in a column of its own.
            action = self._menu.addAction(f"{preset.name}\t{preset.detail}")
            action.setCheckable(True)
            action.triggered.connect(partial(self._emit_window, preset.window))
        self._menu.addSeparator()
        self._menu.addAction("Fit to the slice in view", self.fit_requested.emit)
        self.setEnabled(bool(presets))
        self.presets.setVisible(bool(presets) and self.presets.parent() is not None)

    def _emit_window(self, window: WindowLevel, checked: bool) -> None:
        self.window_requested.emit(window)

    def show_window(self, window: WindowLevel) -> None:
        """Show the display window, by its name where it has one."""
        # Intensities may be HU, counts or 0.001 mm2/s: three digits below the width's first.
        decimals = int(np.clip(3 - np.floor(np.log10(window.width)), 0, 12))
        with self._level.changed.blocked(), self._width.changed.blocked():
            for field in (self._level, self._width):
                field.native.setDecimals(decimals)
                field.native.setSingleStep(window.width / 40)
            self._level.value, self._width.value = window.level, window.width
        shown = preset_of(window, self._offered)
        self.presets.setText("Custom" if shown is None else shown.name)
        for preset, action in zip(self._offered, self._menu.actions(), strict=False):
            action.setChecked(preset is shown)

    def show_sharing(self, sharing: bool, other: WindowLevel) -> None:
        """Show whether the network sees the window, or always another one."""
        with QSignalBlocker(self._sharing):
            self._sharing.setChecked(sharing)
        self._sharing.setToolTip(
            "Ticked: the network is given the picture as you see it.\n"
            f"Not ticked: it is given level {other.level:g} and width {other.width:g}, whatever "
            "you see."
        )
