"""The network on the slices of a volume: a box in, a mask out, and what is seen within it."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from threading import Lock
from time import perf_counter

import numpy as np
import numpy.typing as npt

from napari_medsamq.array_types import Bool, Float32, Voxels
from napari_medsamq.geometry import slice_voxels
from napari_medsamq.inference.confidence import MaskCheck, dice, wider_box
from napari_medsamq.inference.crop import CropTransform, tight_box
from napari_medsamq.inference.embeddings import EMBEDDING_BYTES, EmbeddingCache
from napari_medsamq.inference.engine import Engine, box_points
from napari_medsamq.inference.lasso import lasso_area
from napari_medsamq.inference.network_state import NetworkState
from napari_medsamq.inference.prompt_decoder import (
    MASK_LOGIT,
    PromptDecoder,
    follow_clicks,
    with_clicks,
)
from napari_medsamq.io.volume import Volume
from napari_medsamq.prompts import CarryPrompt, Click, Pixel

# One embedding in so many is of a part of a slice that the network was shown enlarged.
_PARTS = 8
# The side of an embedding, in its cells.
_GRID = 64


@dataclass(frozen=True, eq=False)
class SliceMask:
    """The network's answer for one slice.

    Attributes
    ----------
    axis, index : int
        Array axis normal to the slice, and the slice's index on it.
    mask : (H, W) bool
    iou : float
        Intersection over union that the network predicts for its mask.
    encode_ms, decode_ms : float
        Time taken; `encode_ms` is 0 where the embedding was at hand.
    zoomed : bool
        Whether the network saw a part of the slice.
    network_state : NetworkState or None
        With which it was asked; None for a mask that no network gave.
    unfollowed : tuple of Click
        Clicks that the mask follows, and the network did not.
    """

    axis: int
    index: int
    mask: Bool
    iou: float
    encode_ms: float
    decode_ms: float
    zoomed: bool = False
    network_state: NetworkState | None = None
    unfollowed: tuple[Click, ...] = ()

    def voxels(self, shape: tuple[int, ...]) -> Voxels:
        """Return its pixels as flat indices into a label of a shape."""
        return slice_voxels(self.mask, shape, self.axis, self.index)


@dataclass(frozen=True, eq=False)
class SliceEvidence:
    """What is seen of a structure on one slice.

    Attributes
    ----------
    mask : (256, 256) bool
        In the frame that shows the whole slice.
    pixels : int
        Of the mask in the frame that the network saw, which may show a part of the slice.
    stability : float
        Intersection over union of the masks at logits of +1 and -1.
    appearance : (256,) float32
        Mean of the embedding within the mask, of length 1.
    brightness, spread : float
        Mean and standard deviation of the windowed intensities within the mask, from 0 to 1.
    """

    mask: Bool
    pixels: int
    stability: float
    appearance: Float32
    brightness: float
    spread: float

    @property
    def area(self) -> int:
        """Pixels of `mask`."""
        return int(np.count_nonzero(self.mask))


def gather_evidence(
    mask: Bool, seen: Bool, stability: float, embedding: Float32, grey: Float32
) -> SliceEvidence:
    """Gather what the rules look at.

    Parameters
    ----------
    mask : (256, 256) bool
        In the frame that shows the whole slice.
    seen : (256, 256) bool
        The same in the frame that the network saw.
    stability : float
    embedding : (1, 256, 64, 64) float32
    grey : (n,) float32
        Windowed intensities of the mask's pixels, from 0 to 1.
    """
    cells = seen.reshape(_GRID, 4, _GRID, 4).mean((1, 3), dtype=np.float32).reshape(-1)
    appearance = cells @ embedding[0].transpose(1, 2, 0).reshape(_GRID * _GRID, -1)
    length = float(np.linalg.norm(appearance))
    known = grey.size > 0
    return SliceEvidence(
        mask,
        int(np.count_nonzero(seen)),
        stability,
        appearance / length if length > 0 else appearance,
        float(grey.mean()) if known else 0.0,
        float(grey.std()) if known else 0.0,
    )


def stability_of(logits: Float32) -> float:
    """Return the stability of logits (H, W), as Kirillov et al. (ICCV 2023) choose masks by it."""
    inner, outer = (int(np.count_nonzero(logits > limit)) for limit in (1, -1))
    return inner / max(1, outer)


class PredictorMemory:
    """What all predictors on a volume keep: embeddings of its slices, and answers to clicks.

    Parameters
    ----------
    volume : Volume
    budget : int
        Bytes that the embeddings may take.
    """

    def __init__(self, volume: Volume, budget: int) -> None:
        self.volume = volume
        # Apart, so that neither drives out the other: parts come one by one, with boxes and clicks,
        # and each slice that made room for one would be encoded anew.
        parts = budget // EMBEDDING_BYTES // _PARTS * EMBEDDING_BYTES
        self.slices = EmbeddingCache(budget - parts)
        self.parts = EmbeddingCache(parts)
        self.decoder = PromptDecoder()
        # A dock that was closed may still be at its last slice while the next one begins.
        self.lock = Lock()


@dataclass(frozen=True, eq=False)
class SlicePredictor:
    """The network as it was at one moment, for the slices across an axis; for any thread.

    Attributes
    ----------
    engine : Engine
    axis : int
        Array axis normal to the slices.
    network_state : NetworkState
        Of that engine.
    memory : PredictorMemory
    """

    engine: Engine
    axis: int
    network_state: NetworkState
    memory: PredictorMemory

    @cached_property
    def whole(self) -> CropTransform:
        """How the network is shown all of a slice."""
        volume = self.memory.volume
        height, width = volume.slice(self.axis, 0).shape[:2]
        pixel_size = volume.pixel_size(self.axis)
        return CropTransform((height, width), pixel_size, box_rule=self.network_state.box_rule)

    def transform_around(self, xyxy: npt.ArrayLike) -> CropTransform:
        """Return what of a slice the network is shown for a box (4,) XYXY in slice pixels."""
        zoom = self.network_state.zoom
        return self.whole if zoom is None else zoom.transform_around(xyxy, self.whole)

    def without_zoom(self) -> SlicePredictor:
        """Return one that shows the network whole slices."""
        return replace(self, network_state=replace(self.network_state, zoom=None))

    def is_ready(self, index: int) -> bool:
        """Tell whether a slice has its embedding at hand."""
        return self._key(index, self.whole) in self.memory.slices

    def prepare(self, index: int, wanted: Sequence[int] = ()) -> None:
        """Encode a slice that is not ready, so that a box on it need not wait.

        Parameters
        ----------
        index : int
        wanted : sequence of int
            Slices that are not to make room for it, the dearest first.

        Raises
        ------
        ModelError
            If the network fails.
        """
        with self.memory.lock:
            self.memory.slices.prefer(self._key(other, self.whole) for other in wanted)
            self._embedding(index, self.whole)

    def segment(
        self,
        index: int,
        xyxy: npt.ArrayLike,
        clicks: Sequence[Click] = (),
        start: Bool | None = None,
        lasso: Sequence[Pixel] = (),
    ) -> SliceMask:
        """Decode a box (4,) XYXY in slice pixels; see `PromptDecoder`.

        Of a lasso, the network is asked with what it encloses as a mask that is nearly right, and
        what it finds beyond is left; clicks correct the mask that comes of that.

        Raises
        ------
        ModelError
            If the network fails.
        """
        if lasso:
            area = lasso_area(lasso, self.whole.shape)
            found = self.segment(index, xyxy, start=area)
            start = found.mask & area
            if not clicks:
                return replace(found, mask=start)
        around = with_clicks(xyxy, clicks)
        transform = self.transform_around(around)
        answer = self._decode(index, transform, around, clicks, start)[0]
        mask, unfollowed = follow_clicks(answer.mask, around, clicks, transform.pixel_size)
        return replace(answer, mask=mask, unfollowed=unfollowed)

    def segment_and_observe(
        self, index: int, xyxy: npt.ArrayLike, before: Bool
    ) -> tuple[SliceMask, SliceEvidence]:
        """Decode a box as `segment` does, and observe what is within its mask.

        Parameters
        ----------
        index : int
        xyxy : (4,) float
            In slice pixels.
        before : (H, W) bool
            Mask of the slice before, for any `CarryPrompt` but `box`.

        Returns
        -------
        answer : SliceMask
        evidence : SliceEvidence
            With `CarryPrompt.box_and_mask`, of the box alone: the mask makes every edge sharp,
            where the structure has ended too.
        """
        transform = self.transform_around(xyxy)
        carry_prompt = self.network_state.carry_prompt
        carried = carry_prompt is CarryPrompt.carried
        answer, logits, embedding = self._decode(
            index, transform, xyxy, start=before if carried else None, carried=carried
        )
        height, width = transform.resize.frame
        found = logits > 0
        found[height:] = found[:, width:] = False
        stability = stability_of(logits[:height, :width])
        evidence = self._evidence(index, answer.mask, found, stability, embedding)
        if carry_prompt is CarryPrompt.box_and_mask and transform.apply_mask(before).any():
            # Asked apart: the decoder is told once for all prompts whether masks come with them.
            led, led_logits, _ = self._decode(index, transform, xyxy, start=before)
            answer = replace(
                answer,
                mask=transform.invert_mask(np.minimum(logits, led_logits)),
                iou=min(answer.iou, led.iou),
                encode_ms=answer.encode_ms + led.encode_ms,
                decode_ms=answer.decode_ms + led.decode_ms,
            )
        return answer, evidence

    def ask_again(self, index: int, xyxy: npt.ArrayLike, mask: Bool) -> Float32:
        """Return logits (H, W) for a structure whose mask (H, W) bool is nearly right.

        The network is asked as if mask and box (4,) XYXY came from the next slice, so that it may
        leave them. Beside the part of the slice that it is shown, logits are -6.

        Raises
        ------
        ModelError
            If the network fails, or has not learnt carried boxes.
        """
        transform = self.transform_around(xyxy)
        _, found, _ = self._decode(index, transform, xyxy, start=mask, carried=True)
        logits = np.full(mask.shape, -MASK_LOGIT, np.float32)
        logits[transform.place] = transform.resize.invert_logits(found)
        return logits

    def observe(self, index: int, mask: Bool) -> SliceEvidence:
        """Observe what is within a known mask (H, W) bool of a slice, empty or not."""
        box = tight_box(mask)
        transform = self.whole if box is None else self.transform_around(box)
        with self.memory.lock:
            embedding, _ = self._embedding(index, transform)
        return self._evidence(index, mask, transform.apply_mask(mask), 1.0, embedding)

    def check_mask(self, index: int, mask: Bool) -> MaskCheck:
        """Ask the network again about the mask (H, W) bool of a slice, which is not empty.

        Raises
        ------
        ModelError
            If the network fails.
        """
        box = tight_box(mask)
        if box is None:
            raise ValueError("an empty mask is none to be checked")
        transform = self.transform_around(box)
        points = box_points(transform.apply_box(wider_box(box, mask.shape)))
        with self.memory.lock:
            # Kept, parts of slices that nobody asked for would drive out those that are clicked on.
            embedding, _ = self._embedding(index, transform, keep=transform.crop is None)
            logits, iou = self.engine.decode(embedding, *points)
        height, width = transform.resize.frame
        found = logits[0, :height, :width] > 0
        seen = transform.apply_mask(mask)[:height, :width]
        return MaskCheck(dice(seen, found), float(iou[0]))

    def _evidence(
        self, index: int, mask: Bool, seen: Bool, stability: float, embedding: Float32
    ) -> SliceEvidence:
        pixels = self.network_state.window.apply(self.memory.volume.slice(self.axis, index)[mask])
        grey = pixels.astype(np.float32) / np.float32(255)
        return gather_evidence(self.whole.apply_mask(mask), seen, stability, embedding, grey)

    def _decode(
        self,
        index: int,
        transform: CropTransform,
        xyxy: npt.ArrayLike,
        clicks: Sequence[Click] = (),
        start: Bool | None = None,
        *,
        carried: bool = False,
    ) -> tuple[SliceMask, Float32, Float32]:
        if carried and start is not None and not transform.apply_mask(start).any():
            start = None  # the part that is shown has nothing of it
        with self.memory.lock:
            embedding, encode_ms = self._embedding(index, transform)
            begun = perf_counter()
            key = self._key(index, transform)
            logits, iou = self.memory.decoder.decode(
                self.engine, embedding, transform, xyxy, clicks, start, place=key, carried=carried
            )
            mask = transform.invert_mask(logits)
            decode_ms = (perf_counter() - begun) * 1000
        answer = SliceMask(
            self.axis,
            index,
            mask,
            iou,
            encode_ms,
            decode_ms,
            zoomed=transform.crop is not None,
            network_state=self.network_state,
        )
        return answer, logits, embedding

    def _embedding(
        self, index: int, transform: CropTransform, *, keep: bool = True
    ) -> tuple[Float32, float]:
        """Return the embedding of a part of a slice, and the ms it took; 0 if it was at hand."""
        key = self._key(index, transform)
        kept = self.memory.slices if transform.crop is None else self.memory.parts
        embedding = kept.get(key)
        if embedding is not None:
            return embedding, 0.0
        start = perf_counter()
        array = self.network_state.window.apply(self.memory.volume.slice(self.axis, index))
        embedding = self.engine.encode(transform.image(array))
        if keep:
            kept.put(key, embedding)
        return embedding, (perf_counter() - start) * 1000

    def _key(self, index: int, transform: CropTransform) -> Hashable:
        return self.engine, self.network_state.window, self.axis, index, transform.crop
