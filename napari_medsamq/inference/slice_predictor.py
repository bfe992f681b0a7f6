"""Asks the network about slices of a volume, and keeps their embeddings."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from threading import Lock
from time import perf_counter

import numpy as np
import numpy.typing as npt

from napari_medsamq.array_types import Bool, Float32
from napari_medsamq.inference.confidence import agreement, jittered_boxes
from napari_medsamq.inference.crop import CropTransform, Zoom, tight_box
from napari_medsamq.inference.embeddings import EMBEDDING_BYTES, EmbeddingCache
from napari_medsamq.inference.engine import Engine, box_points
from napari_medsamq.inference.network_state import NetworkState
from napari_medsamq.inference.preprocess import BoxRule, WindowLevel
from napari_medsamq.inference.prompt_decoder import Corrections, follow_clicks, with_clicks
from napari_medsamq.inference.stop_rules import SliceEvidence, gather_evidence, stability_of
from napari_medsamq.io.volume import Volume
from napari_medsamq.prompts import Click

# One embedding in so many is of a part of a slice that the network was shown enlarged.
_PARTS = 8


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

    def voxels(self, shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
        """Return its pixels as flat indices into a label of a shape; see `slice_mask`."""
        position: list[npt.NDArray[np.int64]] = list(np.nonzero(self.mask))
        position.insert(self.axis, np.full(position[0].size, self.index))
        return np.ravel_multi_index(tuple(position), shape)


@dataclass(frozen=True, eq=False)
class SliceContext:
    """Through what the slices of one axis are seen, as it was when something was asked.

    Attributes
    ----------
    engine : Engine
    axis : int
        Array axis normal to the slices.
    network_state : NetworkState
        Of that engine.
    """

    engine: Engine
    axis: int
    network_state: NetworkState

    @property
    def window(self) -> WindowLevel:
        """Through which the network sees the slices."""
        return self.network_state.window

    @property
    def zoom(self) -> Zoom | None:
        """How small boxes are zoomed in on; None shows the network whole slices."""
        return self.network_state.zoom


class SliceNetwork:
    """Encodes slices and decodes boxes on them, one at a time, in any thread.

    Parameters
    ----------
    volume : Volume
    budget : int
        Bytes that embeddings kept for later boxes may take.
    """

    def __init__(self, volume: Volume, budget: int) -> None:
        self._volume = volume
        # Apart, so that neither drives out the other: parts come one by one, with boxes and clicks,
        # and each slice that made room for one would be encoded anew.
        parts = budget // EMBEDDING_BYTES // _PARTS * EMBEDDING_BYTES
        self._slices = EmbeddingCache(budget - parts)
        self._parts = EmbeddingCache(parts)
        self._corrections = Corrections()
        # Asked for each slice of a volume whenever one more is ready.
        self._wholes = {
            (axis, rule): self._whole_slice(axis, rule) for axis in range(3) for rule in BoxRule
        }
        # A dock that was closed may still be at its last slice while the next one begins.
        self._lock = Lock()

    @property
    def slices_kept(self) -> int:
        """How many slices there is room to keep the embeddings of."""
        return self._slices.budget // EMBEDDING_BYTES

    def transform_around(self, context: SliceContext, xyxy: npt.ArrayLike) -> CropTransform:
        """Return what of a slice the network is shown for a box (4,) XYXY in slice pixels."""
        whole = self._whole(context)
        return whole if context.zoom is None else context.zoom.transform_around(xyxy, whole)

    def is_ready(self, context: SliceContext, index: int) -> bool:
        """Tell whether a slice has its embedding at hand."""
        return self._key(context, index, self._whole(context)) in self._slices

    def prepare(self, context: SliceContext, index: int, wanted: Sequence[int] = ()) -> None:
        """Encode a slice that is not ready.

        Parameters
        ----------
        context : SliceContext
        index : int
        wanted : sequence of int
            Slices that are not to make room for it, the dearest first.

        Raises
        ------
        ModelError
            If the network fails.
        """
        whole = self._whole(context)
        with self._lock:
            self._slices.prefer(self._key(context, other, whole) for other in wanted)
            self._embedding(context, index, whole)

    def segment(
        self,
        context: SliceContext,
        index: int,
        xyxy: npt.ArrayLike,
        clicks: Sequence[Click] = (),
        start: Bool | None = None,
    ) -> SliceMask:
        """Decode a box (4,) XYXY in slice pixels; see `Corrections`.

        Raises
        ------
        ModelError
            If the network fails.
        """
        around = with_clicks(xyxy, clicks)
        transform = self.transform_around(context, around)
        answer = self._decode(context, index, transform, around, clicks, start)[0]
        mask, unfollowed = follow_clicks(answer.mask, around, clicks, transform.pixel_size)
        return replace(answer, mask=mask, unfollowed=unfollowed)

    def segment_and_observe(
        self, context: SliceContext, index: int, xyxy: npt.ArrayLike, before: Bool | None = None
    ) -> tuple[SliceMask, SliceEvidence]:
        """Decode a box as `segment` does, and observe what is within its mask.

        Parameters
        ----------
        context : SliceContext
        index : int
        xyxy : (4,) float
            In slice pixels.
        before : (H, W) bool, optional
            Mask of the slice before: `CarryPrompt.box_and_mask`.

        Returns
        -------
        answer : SliceMask
        evidence : SliceEvidence
            Of the box alone, also where the mask before was asked with: that makes every edge
            sharp, where the structure has ended too.
        """
        transform = self.transform_around(context, xyxy)
        answer, logits, embedding = self._decode(context, index, transform, xyxy)
        height, width = transform.resize.frame
        found = logits > 0
        found[height:] = found[:, width:] = False
        stability = stability_of(logits[:height, :width])
        evidence = self._observe(context, index, answer.mask, found, stability, embedding)
        if before is not None and transform.apply_mask(before).any():
            # Asked apart: the decoder is told once for all prompts whether masks come with them.
            led, led_logits, _ = self._decode(context, index, transform, xyxy, start=before)
            answer = replace(
                answer,
                mask=transform.invert_mask(np.minimum(logits, led_logits)),
                iou=min(answer.iou, led.iou),
                encode_ms=answer.encode_ms + led.encode_ms,
                decode_ms=answer.decode_ms + led.decode_ms,
            )
        return answer, evidence

    def observe(self, context: SliceContext, index: int, mask: Bool) -> SliceEvidence:
        """Observe what is within a known mask (H, W) bool of a slice, empty or not."""
        box = tight_box(mask)
        transform = self._whole(context) if box is None else self.transform_around(context, box)
        with self._lock:
            embedding, _ = self._embedding(context, index, transform)
        return self._observe(context, index, mask, transform.apply_mask(mask), 1.0, embedding)

    def agreement_and_iou(
        self, context: SliceContext, index: int, mask: Bool
    ) -> tuple[float, float]:
        """Return how far the network agrees with a mask (H, W) bool that is not empty.

        Returns
        -------
        agreed : float
            See `confidence.agreement`.
        iou : float
            Mean intersection over union that it predicts for its own masks.

        Raises
        ------
        ModelError
            If the network fails.
        """
        box = tight_box(mask)
        if box is None:
            raise ValueError("an empty mask has no box to move")
        transform = self.transform_around(context, box)
        points = [box_points(transform.apply_box(own)) for own in jittered_boxes(box, mask.shape)]
        coords, labels = (np.concatenate(parts) for parts in zip(*points, strict=True))
        with self._lock:
            # Kept, parts of slices that nobody asked for would drive out those that are clicked on.
            embedding, _ = self._embedding(context, index, transform, keep=transform.crop is None)
            logits, iou = context.engine.decode(embedding, coords, labels)
        height, width = transform.resize.frame
        found = logits[:, :height, :width] > 0
        seen = transform.apply_mask(mask)[:height, :width]
        return agreement(seen, found), float(iou.mean())

    def _observe(
        self,
        context: SliceContext,
        index: int,
        mask: Bool,
        seen: Bool,
        stability: float,
        embedding: Float32,
    ) -> SliceEvidence:
        framed = self._whole(context).apply_mask(mask)
        return gather_evidence(framed, seen, stability, embedding, self._grey(context, index, mask))

    def _grey(self, context: SliceContext, index: int, mask: Bool) -> Float32:
        pixels = context.window.apply(self._volume.slice(context.axis, index)[mask])
        grey: Float32 = pixels.astype(np.float32) / np.float32(255)
        return grey

    def _decode(
        self,
        context: SliceContext,
        index: int,
        transform: CropTransform,
        xyxy: npt.ArrayLike,
        clicks: Sequence[Click] = (),
        start: Bool | None = None,
    ) -> tuple[SliceMask, Float32, Float32]:
        with self._lock:
            embedding, encode_ms = self._embedding(context, index, transform)
            begun = perf_counter()
            logits, iou = self._corrections.decode(
                context.engine,
                embedding,
                transform,
                xyxy,
                clicks,
                start,
                place=self._key(context, index, transform),
            )
            mask = transform.invert_mask(logits)
            decode_ms = (perf_counter() - begun) * 1000
        zoomed = transform.crop is not None
        answer = SliceMask(
            context.axis, index, mask, iou, encode_ms, decode_ms, zoomed, context.network_state
        )
        return answer, logits, embedding

    def _embedding(
        self, context: SliceContext, index: int, transform: CropTransform, *, keep: bool = True
    ) -> tuple[Float32, float]:
        """Return the embedding of a part of a slice, and the ms it took; 0 if it was at hand."""
        key = self._key(context, index, transform)
        kept = self._slices if transform.crop is None else self._parts
        embedding = kept.get(key)
        if embedding is not None:
            return embedding, 0.0
        start = perf_counter()
        array = context.window.apply(self._volume.slice(context.axis, index))
        embedding = context.engine.encode(transform.image(array))
        if keep:
            kept.put(key, embedding)
        return embedding, (perf_counter() - start) * 1000

    def _whole(self, context: SliceContext) -> CropTransform:
        return self._wholes[context.axis, context.network_state.box_rule]

    def _whole_slice(self, axis: int, rule: BoxRule) -> CropTransform:
        height, width = self._volume.slice(axis, 0).shape[:2]
        return CropTransform((height, width), self._volume.pixel_size(axis), box_rule=rule)

    @staticmethod
    def _key(context: SliceContext, index: int, transform: CropTransform) -> Hashable:
        return context.engine, context.window, context.axis, index, transform.crop
