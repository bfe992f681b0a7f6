"""Asks the network about slices of a volume, and keeps their embeddings."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from threading import Lock
from time import perf_counter

import numpy as np
import numpy.typing as npt

from napari_medsamq.inference.confidence import agreement, jittered_boxes
from napari_medsamq.inference.crop import View, Zoom, tight_box
from napari_medsamq.inference.embeddings import EMBEDDING_BYTES, EmbeddingCache
from napari_medsamq.inference.engine import Engine, box_points
from napari_medsamq.inference.network_state import Setting
from napari_medsamq.inference.preprocess import BoxRule, WindowLevel
from napari_medsamq.inference.prompt_decoder import Corrections, follow_clicks, with_clicks
from napari_medsamq.inference.stop_rules import Sight, observe, stability_of
from napari_medsamq.io.volume import Volume
from napari_medsamq.prompts import Click

Bool = npt.NDArray[np.bool_]
Float32 = npt.NDArray[np.float32]

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
    setting : Setting or None
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
    setting: Setting | None = None
    unfollowed: tuple[Click, ...] = ()

    def voxels(self, shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
        """Return its pixels as flat indices into a label of a shape; see `slice_mask`."""
        position: list[npt.NDArray[np.int64]] = list(np.nonzero(self.mask))
        position.insert(self.axis, np.full(position[0].size, self.index))
        return np.ravel_multi_index(tuple(position), shape)


@dataclass(frozen=True, eq=False)
class Lens:
    """Through what the slices of one axis are seen, as it was when something was asked.

    Attributes
    ----------
    engine : Engine
    axis : int
        Array axis normal to the slices.
    setting : Setting
        Of that engine.
    """

    engine: Engine
    axis: int
    setting: Setting

    @property
    def window(self) -> WindowLevel:
        """The window of the setting."""
        return self.setting.window

    @property
    def zoom(self) -> Zoom | None:
        """How small boxes are zoomed in on; None shows the network whole slices."""
        return self.setting.zoom


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
            (axis, rule): self._view(axis, rule) for axis in range(3) for rule in BoxRule
        }
        # A dock that was closed may still be at its last slice while the next one begins.
        self._lock = Lock()

    @property
    def slices_kept(self) -> int:
        """How many slices there is room to keep the embeddings of."""
        return self._slices.budget // EMBEDDING_BYTES

    def view(self, lens: Lens, xyxy: npt.ArrayLike) -> View:
        """Return what of a slice the network is shown for a box (4,) XYXY in slice pixels."""
        whole = self._whole(lens)
        return whole if lens.zoom is None else lens.zoom.view(xyxy, whole)

    def is_ready(self, lens: Lens, index: int) -> bool:
        """Tell whether a slice has its embedding at hand."""
        return self._key(lens, index, self._whole(lens)) in self._slices

    def prepare(self, lens: Lens, index: int, wanted: Sequence[int] = ()) -> None:
        """Encode a slice that is not ready.

        Parameters
        ----------
        lens : Lens
        index : int
        wanted : sequence of int
            Slices that are not to make room for it, the dearest first.

        Raises
        ------
        ModelError
            If the network fails.
        """
        whole = self._whole(lens)
        with self._lock:
            self._slices.prefer(self._key(lens, other, whole) for other in wanted)
            self._embedding(lens, index, whole)

    def segment(
        self,
        lens: Lens,
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
        view = self.view(lens, around)
        answer = self._decode(lens, index, view, around, clicks, start)[0]
        mask, unfollowed = follow_clicks(answer.mask, around, clicks, view.pixel_size)
        return replace(answer, mask=mask, unfollowed=unfollowed)

    def segment_and_see(
        self, lens: Lens, index: int, xyxy: npt.ArrayLike, before: Bool | None = None
    ) -> tuple[SliceMask, Sight]:
        """Decode a box as `segment` does, and observe what is within its mask.

        Parameters
        ----------
        lens : Lens
        index : int
        xyxy : (4,) float
            In slice pixels.
        before : (H, W) bool, optional
            Mask of the slice before: `CarryPrompt.box_and_mask`.

        Returns
        -------
        answer : SliceMask
        sight : Sight
            Of the box alone, also where the mask before was asked with: that makes every edge
            sharp, where the structure has ended too.
        """
        view = self.view(lens, xyxy)
        answer, logits, embedding = self._decode(lens, index, view, xyxy)
        height, width = view.transform.frame
        found = logits > 0
        found[height:] = found[:, width:] = False
        stability = stability_of(logits[:height, :width])
        sight = self._observe(lens, index, answer.mask, found, stability, embedding)
        if before is not None and view.apply_mask(before).any():
            # Asked apart: the decoder is told once for all prompts whether masks come with them.
            led, led_logits, _ = self._decode(lens, index, view, xyxy, start=before)
            answer = replace(
                answer,
                mask=view.invert_mask(np.minimum(logits, led_logits)),
                iou=min(answer.iou, led.iou),
                encode_ms=answer.encode_ms + led.encode_ms,
                decode_ms=answer.decode_ms + led.decode_ms,
            )
        return answer, sight

    def look(self, lens: Lens, index: int, mask: Bool) -> Sight:
        """Observe what is within a known mask (H, W) bool of a slice, empty or not."""
        box = tight_box(mask)
        view = self._whole(lens) if box is None else self.view(lens, box)
        with self._lock:
            embedding, _ = self._embedding(lens, index, view)
        return self._observe(lens, index, mask, view.apply_mask(mask), 1.0, embedding)

    def sureness(self, lens: Lens, index: int, mask: Bool) -> tuple[float, float]:
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
        view = self.view(lens, box)
        points = [box_points(view.apply_box(own)) for own in jittered_boxes(box, mask.shape)]
        coords, labels = (np.concatenate(parts) for parts in zip(*points, strict=True))
        with self._lock:
            # Kept, parts of slices that nobody asked for would drive out those that are clicked on.
            embedding, _ = self._embedding(lens, index, view, keep=view.crop is None)
            logits, iou = lens.engine.decode(embedding, coords, labels)
        height, width = view.transform.frame
        found = logits[:, :height, :width] > 0
        seen = view.apply_mask(mask)[:height, :width]
        return agreement(seen, found), float(iou.mean())

    def _observe(
        self,
        lens: Lens,
        index: int,
        mask: Bool,
        seen: Bool,
        stability: float,
        embedding: Float32,
    ) -> Sight:
        framed = self._whole(lens).apply_mask(mask)
        return observe(framed, seen, stability, embedding, self._grey(lens, index, mask))

    def _grey(self, lens: Lens, index: int, mask: Bool) -> Float32:
        pixels = lens.window.apply(self._volume.slice(lens.axis, index)[mask])
        grey: Float32 = pixels.astype(np.float32) / np.float32(255)
        return grey

    def _decode(
        self,
        lens: Lens,
        index: int,
        view: View,
        xyxy: npt.ArrayLike,
        clicks: Sequence[Click] = (),
        start: Bool | None = None,
    ) -> tuple[SliceMask, Float32, Float32]:
        with self._lock:
            embedding, encode_ms = self._embedding(lens, index, view)
            begun = perf_counter()
            logits, iou = self._corrections.decode(
                lens.engine,
                embedding,
                view,
                xyxy,
                clicks,
                start,
                place=self._key(lens, index, view),
            )
            mask = view.invert_mask(logits)
            decode_ms = (perf_counter() - begun) * 1000
        zoomed = view.crop is not None
        answer = SliceMask(lens.axis, index, mask, iou, encode_ms, decode_ms, zoomed, lens.setting)
        return answer, logits, embedding

    def _embedding(
        self, lens: Lens, index: int, view: View, *, keep: bool = True
    ) -> tuple[Float32, float]:
        """Return the embedding of a view of a slice, and the ms it took; 0 if it was at hand."""
        key = self._key(lens, index, view)
        kept = self._slices if view.crop is None else self._parts
        embedding = kept.get(key)
        if embedding is not None:
            return embedding, 0.0
        start = perf_counter()
        array = lens.window.apply(self._volume.slice(lens.axis, index))
        embedding = lens.engine.encode(view.image(array))
        if keep:
            kept.put(key, embedding)
        return embedding, (perf_counter() - start) * 1000

    def _whole(self, lens: Lens) -> View:
        return self._wholes[lens.axis, lens.setting.box_rule]

    def _view(self, axis: int, rule: BoxRule) -> View:
        height, width = self._volume.slice(axis, 0).shape[:2]
        return View((height, width), self._volume.pixel_size(axis), box_rule=rule)

    @staticmethod
    def _key(lens: Lens, index: int, view: View) -> Hashable:
        return lens.engine, lens.window, lens.axis, index, view.crop
