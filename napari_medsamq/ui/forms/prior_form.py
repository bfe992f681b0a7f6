"""The form that asks, once there is a prior label, for the image that it was drawn on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import QGroupBox, QWidget

from napari_medsamq.ui.forms.elements import (
    IMAGE_FILES,
    button,
    choose,
    file_button,
    folder_button,
    lay_out,
    menu,
    show_entries,
    wrapping_label,
)

NO_IMAGE = "no image: assume no motion"
_CANCEL = "Cancel  (Esc)"


class PriorForm(QGroupBox):
    """Which image, if any, shows how the patient has moved since a prior scan.

    Hidden until there is a prior label.
    """

    place_requested = Signal(object)  # what was chosen; None for no image
    stop_requested = Signal()
    asks = Signal(bool)  # whether there is a question

    def __init__(self) -> None:
        super().__init__("Prior scan")
        self._about = wrapping_label("About the prior image")
        self._added: list[tuple[str, object]] = []
        self._images = menu(
            "Image of the prior scan",
            "The image that the prior label was drawn on: by it the motion of the patient is found",
        )
        folder = "The folder of the prior DICOM series"
        self._inputs: tuple[QWidget, ...] = (
            self._images,
            file_button("Image file…", "The image of the prior scan", IMAGE_FILES, self._add),
            folder_button("DICOM folder…", folder, self._add),
            button("Place boxes", self._place),
        )
        self._stop = button(_CANCEL, self.stop_requested.emit)
        images, *open_buttons, place = self._inputs
        lay_out(self, self._about, images, tuple(open_buttons), (place, self._stop))
        self.end()

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 (Qt's name)
        """Let Esc do here what it does on the canvas."""
        if event.key() == Qt.Key.Key_Escape:
            self.stop_requested.emit()
        else:
            super().keyPressEvent(event)

    def begin(self, label: str, images: Sequence[tuple[str, object]], chosen: object) -> None:
        """Ask for the image of a label; `images` are names and what they stand for."""
        self._about.setText(
            f"If you have the image that {label} was drawn on, choose it: the motion of the "
            "patient since then is found by it."
        )
        self._added = []
        self.show_images(images)
        choose(self._images, chosen)
        self.show_running(False)
        self.show()
        self.asks.emit(True)

    def end(self) -> None:
        """Ask no more."""
        self.hide()
        self.asks.emit(False)

    def show_images(self, images: Sequence[tuple[str, object]]) -> None:
        """List what can be chosen beside no image; what is chosen stays so where it still is."""
        show_entries(self._images, ((NO_IMAGE, None), *images, *self._added))

    @property
    def chosen(self) -> object:
        """What is chosen; None for no image."""
        return self._images.currentData()

    def show_running(self, running: bool) -> None:
        """Show whether boxes are being placed, which the button then stops."""
        for part in self._inputs:
            part.setEnabled(not running)
        self._stop.setText("Stop  (Esc)" if running else _CANCEL)

    def _place(self) -> None:
        self.place_requested.emit(self.chosen)

    def _add(self, path: Path) -> None:
        self._added.append((f"file: {path.name}", path))
        self._images.addItem(*self._added[-1])
        self._images.setCurrentIndex(self._images.count() - 1)
