"""One volume being segmented: prompts in, label out. Knows neither napari nor Qt."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Mapping, Sequence

from napari_medsamq.annotation.label_model import LabelModel
from napari_medsamq.array_types import Bool
from napari_medsamq.errors import PromptError
from napari_medsamq.inference.crop import Zoom
from napari_medsamq.inference.embeddings import DEFAULT_BUDGET, EMBEDDING_BYTES
from napari_medsamq.inference.engine import Engine
from napari_medsamq.inference.network_state import NetworkState
from napari_medsamq.inference.preprocess import WindowLevel, default_window
from napari_medsamq.inference.propagation import Gap, MaskCarrier, Stop, segment_box_3d
from napari_medsamq.inference.refinement import refine_in_3d
from napari_medsamq.inference.slice_predictor import PredictorMemory, SliceMask, SlicePredictor
from napari_medsamq.io.volume import Volume
from napari_medsamq.palettes import OKABE_ITO
from napari_medsamq.prompts import BoxPrompt, BoxPrompt3D, CarryPrompt, check_inside


class AnnotationSession(LabelModel):
    """A volume, an engine, and the label that grows from prompts.

    What is done to the label is that of `LabelModel`; here the network is asked.

    What `segment` and `carry` return may be gone through in another thread, and so may a
    `predictor` be asked; everything else belongs to the thread that owns the session.

    Parameters
    ----------
    volume : Volume
    engine : Engine
    window : WindowLevel, optional
        What the network sees; `default_window(volume)` if not given.
    zoom : Zoom, optional
        How small boxes are zoomed in on; without it the network is shown whole slices.
    carry_prompt : CarryPrompt, optional
        What `carry` asks the network with; if not given, with the mask before where the network
        has learnt that.
    embedding_budget : int
        Bytes that embeddings kept for later boxes may take.
    palette : sequence of str
        Colours of labels that are given none.

    Attributes
    ----------
    volume, engine
        As given; both may be changed between prompts, but not the volume's voxels.
    standard_window : WindowLevel
        The window it began with; for another modality, that modality's own.
    """

    def __init__(
        self,
        volume: Volume,
        engine: Engine,
        window: WindowLevel | None = None,
        *,
        zoom: Zoom | None = None,
        carry_prompt: CarryPrompt | None = None,
        embedding_budget: int = DEFAULT_BUDGET,
        palette: Sequence[str] = OKABE_ITO,
    ) -> None:
        super().__init__(volume, palette)
        self.engine = engine
        self._zoom = zoom
        self._carry_prompt = carry_prompt
        self._window = self.standard_window = window or default_window(volume)
        self._memory = PredictorMemory(volume, embedding_budget)

    @property
    def window(self) -> WindowLevel:
        """What the network sees of the intensities."""
        return self._window

    @window.setter
    def window(self, window: WindowLevel) -> None:
        """Let it see others from now on, and tell of it."""
        if window != self._window:
            self._window = window
            self.event.emit("seen", {})

    @property
    def zoom(self) -> Zoom | None:
        """How small boxes are zoomed in on; without it the network is shown whole slices."""
        return self._zoom

    @zoom.setter
    def zoom(self, zoom: Zoom | None) -> None:
        """Zoom in otherwise from now on, and tell of it."""
        if zoom != self._zoom:
            self._zoom = zoom
            self.event.emit("seen", {})

    def segment(
        self, box: BoxPrompt | BoxPrompt3D, start: Bool | None = None, *, preview: bool = False
    ) -> Iterator[SliceMask]:
        """Ask the network for the masks of a box, slice by slice; nothing is committed.

        It is asked with the network as it is at this call, whenever the answers are fetched.

        Parameters
        ----------
        box : BoxPrompt or BoxPrompt3D
            On one slice, with its lasso and clicks, or carried through a range of slices.
        start : (H, W) bool, optional
            A mask of the slice that box and clicks are to improve.
        preview : bool
            Whether to do without zoom, which encodes each box anew.

        Returns
        -------
        masks : iterator of SliceMask
            The network is asked as they are fetched, which may raise `ModelError`.

        Raises
        ------
        PromptError
            If the box leaves the volume.
        """
        check_inside(box, self.label.shape)
        predictor = self.predictor(box.axis)
        if preview:
            predictor = predictor.without_zoom()
        if isinstance(box, BoxPrompt3D):
            return segment_box_3d(predictor, box)
        return map(predictor.segment, [box.index], [box.xyxy], [box.clicks], [start], [box.lasso])

    def carry(
        self,
        axis: int,
        anchors: Mapping[int, Bool],
        first: int,
        last: int,
        done: Collection[Gap] = (),
        within: Sequence[BoxPrompt3D] = (),
    ) -> Iterator[SliceMask | Stop]:
        """Carry a structure from slices where it is known through the volume; nothing is committed.

        As with `segment`, the network is asked as it is at this call. See `MaskCarrier.carry`.

        Parameters
        ----------
        axis : int
            Array axis normal to the slices.
        anchors : mapping of int to (H, W) bool
            Known masks by slice, as `History.anchors` gives them; an empty one is a wall.
        first, last : int
            Where to stop at the latest, both included.
        done : collection of (int, int)
            Which `propagation.gaps` are left as they are.
        within : sequence of BoxPrompt3D
            Across the axis, where the structure is known to lie, as `History.boxes_3d` gives them.

        Returns
        -------
        found : iterator of SliceMask and Stop
            Masks of the slices between and around the anchors, and why it ends, upwards and
            downwards. The network is asked as they are fetched, which may raise `ModelError`.

        Raises
        ------
        PromptError
            If nothing is known, or something beyond first and last.
        """
        count = self.label.shape[axis]
        known = [index for index, mask in anchors.items() if mask.any()]
        if not known:
            raise PromptError(
                "There is no mask to carry on. Draw a box around the structure on this plane first."
            )
        if not 0 <= first <= min(known) <= max(known) <= last < count:
            raise PromptError(
                f"The slices {first} to {last} have to hold those that are known, {min(known)} to "
                f"{max(known)}, and lie within 0 to {count - 1}. Choose others."
            )
        carrier = MaskCarrier(self.predictor(axis), within=within)
        return carrier.carry(anchors, first, last, done)

    def refine(self, mask: Bool) -> Generator[int, None, Bool]:
        """Ask all three planes about a structure that was carried along one; nothing is committed.

        Parameters
        ----------
        mask : (z, y, x) bool
            Not empty.

        Returns
        -------
        refined : generator
            As `refinement.refine_in_3d`: yields how many slices are left, returns the mask.

        Raises
        ------
        PromptError
            If the network has not learnt masks of neighbouring slices, or nothing is there.
        """
        if self.engine.spec.carry_prompt is not CarryPrompt.carried:
            raise PromptError(
                f"The network {self.engine.spec.name} has not learnt to carry masks, which it is "
                "refined by. Choose one that has a carrier beside its decoder."
            )
        if not mask.any():
            raise PromptError(
                "There is no mask to refine. Draw a box around the structure, and propagate it."
            )
        return refine_in_3d([self.predictor(axis) for axis in range(mask.ndim)], mask)

    @property
    def slices_kept(self) -> int:
        """How many slices there is room to keep the embeddings of."""
        return self._memory.slices.budget // EMBEDDING_BYTES

    @property
    def carry_prompt(self) -> CarryPrompt:
        """What `carry` asks the network with."""
        return self._carry_prompt or self.engine.spec.carry_prompt

    def network_state(self) -> NetworkState:
        """Return what the network is and sees now, for those who want to ask it again."""
        spec = self.engine.spec
        seen = self.window, self.zoom, self.volume.modality, self.carry_prompt
        return NetworkState(spec.name, spec.sha256, *seen, spec.preprocessing.box)

    def predictor(self, axis: int) -> SlicePredictor:
        """Return the network as it is now, for the slices across an axis; for any thread."""
        return SlicePredictor(self.engine, axis, self.network_state(), self._memory)
