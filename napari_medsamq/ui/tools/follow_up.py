"""Brings the labels of a prior scan to the volume in use, as boxes that wait to be segmented."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from napari.layers import Image
from qtpy.QtCore import QTimer

from napari_medsamq.annotation.history import LabelStyle
from napari_medsamq.io.labels import LabelFile, read_label_file
from napari_medsamq.io.source import Selection
from napari_medsamq.io.volume import read_volume
from napari_medsamq.plugin import layer_volume
from napari_medsamq.ui.dialogs import ask_selection
from napari_medsamq.ui.prompt_list import Request
from napari_medsamq.ui.tools.tool import Tool, ToolContext
from napari_medsamq.workflows.follow_up import PriorLabel, find_motion, prior_labels, propose_image

_TICK_MS = 200


@dataclass(frozen=True, eq=False)
class _Prior:
    """A prior label that was read, and the image beside it that it may have been drawn on."""

    label: LabelFile
    image: Path | None


@dataclass(eq=False)
class _Search:
    """A registration on its way; its thread writes `share` and reads `stopped`."""

    share: float = 0.0
    stopped: bool = False

    def go_on(self, share: float) -> bool:
        self.share = share
        return not self.stopped


class FollowUpTool(Tool):
    """Reads a prior label, places its boxes, and has them segmented when the user says so.

    Where the user has the image that the label was drawn on, the motion of the patient since then
    is found before the boxes are placed.

    Parameters
    ----------
    context : ToolContext
    """

    def __init__(self, context: ToolContext) -> None:
        super().__init__(context)
        # Counts what was asked for, so that answers which come too late are told.
        self._number = 0
        self._prior: _Prior | None = None
        self._search: _Search | None = None
        self._ticker = QTimer(self)
        self._ticker.setInterval(_TICK_MS)
        self._ticker.timeout.connect(self._show_progress)
        volume, prior, layers = self._dock.volume, self._dock.prior, self._viewer.layers.events
        self.follow(self.read, volume.prior_requested)
        self.follow(self.place, prior.place_requested)
        self.follow(self.stop, prior.stop_requested)
        self.follow(self._list_images, layers.inserted, layers.removed)
        self.follow(self.run, volume.run_requested)
        self.follow(self._show_waiting, self._workspace.changed)
        self._show_prior()
        self._show_waiting()

    def close(self) -> None:
        """Follow up nothing more; boxes that wait stay."""
        self._forget()
        super().close()

    def read(self, path: Path) -> None:
        """Read the label of a prior scan, and ask for its image."""
        self._forget()
        self._say(f"Reading {path.name}…")
        self._files.submit(
            lambda: _Prior(read_label_file(path), propose_image(path)),
            partial(self._on_read, self._number),
            partial(self._on_failure, self._number),
        )

    def place(self, image: object, selection: Selection = Selection()) -> None:  # noqa: B008
        """Place the boxes of the label that was read.

        Parameters
        ----------
        image : Path or Image or None
            What the label was drawn on, as a file, a DICOM folder or a layer; the patient is taken
            to lie as then if it is None.
        selection : Selection
            Of what a file or a folder holds.
        """
        if self._prior is None or self._search is not None:
            return
        label, volume, axis = self._prior.label, self._session.volume, self._view.axis
        search = self._search = _Search()
        shown = layer_volume(image) if isinstance(image, Image) else None

        def job() -> tuple[str, list[PriorLabel]]:
            if isinstance(image, Path):
                scan = read_volume(image, **asdict(selection))
            elif shown is not None:
                scan = shown
            else:
                said = "No prior image: it is assumed that the patient has not moved."
                drawn = label.laid_on(volume)
                return _told(said, drawn), prior_labels(drawn, volume, axis=axis)
            drawn = label.laid_on(scan)
            motion, said = find_motion(drawn, scan, volume, search.go_on)
            return _told(said, drawn), prior_labels(drawn, volume, motion.matrix, axis=axis)

        def failed(number: int, error: BaseException) -> None:
            if number != self._number:
                return
            self._end_search()
            better = ask_selection(self._dock, error, selection)
            if better is None:
                self._on_failure(number, error)
            # Something else may have been asked for with the question still open.
            elif number == self._number:
                self.place(image, better)

        self._dock.prior.show_running(True)
        if image is not None:
            self._show_progress()
            self._ticker.start()
        self._files.submit(
            job, partial(self._on_labels, self._number), partial(failed, self._number)
        )

    def stop(self) -> None:
        """Place no boxes, whether they are being looked for or asked about."""
        if self._prior is not None:
            self._forget()
            self._say("Stopped: no boxes of the prior scan were placed.")

    def run(self) -> None:
        """Have the boxes that wait segmented, the largest label first."""
        self._workspace.prompts.release()

    def _forget(self) -> None:
        self._number += 1
        self._end_search()
        self._prior = None
        self._dock.prior.end()

    def _end_search(self) -> None:
        self._ticker.stop()
        if self._search is not None:
            self._search.stopped = True
            self._search = None
        self._dock.prior.show_running(False)

    def _on_read(self, number: int, prior: _Prior) -> None:
        if number != self._number:
            return
        if prior.image == self._session.volume.path:
            prior = replace(prior, image=None)
        self._prior = prior
        path = prior.image
        # A layer of that image is there already, and need not be read.
        layers = [layer for _, layer in self._layers() if layer_volume(layer).path == path]
        chosen = layers[0] if path is not None and layers else path
        name = prior.label.volume.name
        self._dock.prior.begin(name, self._images(), chosen)
        self._dock.show_tab(self._dock.prior)
        self._say(
            f"{name} is read. Choose the image it was drawn on, or none, on the page Compare, and "
            "press 'Place boxes'."
        )

    def _layers(self) -> list[tuple[str, Image]]:
        return [
            (f"layer: {layer.name}", layer)
            for layer in self._viewer.layers
            if isinstance(layer, Image)
            and layer is not self._workspace.image
            and layer_volume(layer) is not None
        ]

    def _images(self) -> list[tuple[str, object]]:
        path = self._prior.image if self._prior is not None else None
        return [*([(f"file: {path.name}", path)] if path is not None else []), *self._layers()]

    def _list_images(self, _: object = None) -> None:
        if self._prior is not None:
            self._dock.prior.show_images(self._images())

    def _show_progress(self) -> None:
        if self._search is not None:
            share = 100 * self._search.share
            self._say(f"Registering the prior image: {share:.0f} %. Esc stops it.")

    def _on_labels(self, number: int, found: tuple[str, list[PriorLabel]]) -> None:
        if number == self._number:
            self._forget()
            said, labels = found
            self._place(labels, said)

    def _place(self, labels: list[PriorLabel], said: str) -> None:
        workspace, session = self._workspace, self._session
        placed_before = {own.label_id: own.style for own in workspace.prior}
        for label in labels:
            label_id = label.label_id
            usual = LabelStyle.default(label_id, session.palette)
            # What is drawn already keeps its name, and what the user has named.
            free = session.style(label_id) in (usual, placed_before.get(label_id))
            if free and label_id not in session.history.voxel_counts:
                session.set_style(label_id, label.style)
        placed = [Request(label.box, label.label_id) for label in labels if label.box is not None]
        workspace.prompts.hold(placed)
        workspace.prior = labels
        self._show_prior()
        if placed:
            box = placed[0].box
            self._view.show(box.axis, box.middle_slice)
            workspace.show_label(placed[0].label_id)
        self._say(f"{said} {_describe(labels)}")

    def _show_waiting(self) -> None:
        self._dock.volume.show_waiting(len(self._workspace.prompts.held))

    def _show_prior(self) -> None:
        prior = self._workspace.prior
        self._dock.measure.show_prior({label.label_id: label.millilitres for label in prior})

    def _on_failure(self, number: int, error: BaseException) -> None:
        # What was asked about stays, so that another image can be chosen, or none.
        if number == self._number:
            self._fail(error)


def _describe(labels: list[PriorLabel]) -> str:
    outside = [label.style.name for label in labels if label.box is None]
    cut = [label.style.name for label in labels if label.box is not None and label.cut]
    count = len(labels) - len(outside)
    text = (
        f"{count} box{'' if count == 1 else 'es'} from the prior scan, each on its middle slice. "
        "Move, resize or delete those that do not fit, then press 'Segment' above the structures."
        if count
        else "No label of the prior scan lies within this volume."
    )
    if outside:
        text += f" Outside this volume: {', '.join(outside)}."
    if cut:
        text += f" Cut at its edge: {', '.join(cut)}."
    return text


def _told(said: str, label: LabelFile) -> str:
    return " ".join([said, *label.notes])
