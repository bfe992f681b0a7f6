"""Asks the network about slices of a volume, and keeps their embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock
from time import perf_counter

import numpy as np
import numpy.typing as npt

from napari_medsamq.embeddings import EMBEDDING_BYTES, EmbeddingCache
from napari_medsamq.engine import Engine, box_points
from napari_medsamq.preprocess import ResizeLongestSide, WindowLevel, prepare_slice
from napari_medsamq.stop_rules import Sight, observe, stability_of
from napari_medsamq.volume_io import Volume

Bool = npt.NDArray[np.bool_]
Float32 = npt.NDArray[np.float32]


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
    """

    axis: int
    index: int
    mask: Bool
    iou: float
    encode_ms: float
    decode_ms: float


@dataclass(frozen=True, eq=False)
class Lens:
    """Through what the slices of one axis are seen, as it was when something was asked.

    Attributes
    ----------
    engine : Engine
    window : WindowLevel
    axis : int
        Array axis normal to the slices.
    """

    engine: Engine
    window: WindowLevel
    axis: int


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
        self._embeddings = EmbeddingCache(budget)
        # A dock that was closed may still be at its last slice while the next one begins.
        self._lock = Lock()

    @property
    def slices_kept(self) -> int:
        """How many slices there is room to keep the embeddings of."""
        return self._embeddings.budget // EMBEDDING_BYTES

    def transform(self, axis: int) -> ResizeLongestSide:
        """Return the transform of the slices normal to an array axis."""
        height, width = self._volume.slice(axis, 0).shape[:2]
        return ResizeLongestSide(height, width, self._volume.pixel_size(axis))

    def is_ready(self, lens: Lens, index: int) -> bool:
        """Tell whether a slice has its embedding at hand."""
        return self._key(lens, index) in self._embeddings

    def prepare(self, lens: Lens, index: int) -> None:
        """Encode a slice that is not ready.

        Raises
        ------
        ModelError
            If the network fails.
        """
        with self._lock:
            self._embedding(lens, index)

    def segment(self, lens: Lens, index: int, frame_box: Float32) -> SliceMask:
        """Decode a box (4,) XYXY in frame pixels on a slice.

        Raises
        ------
        ModelError
            If the network fails.
        """
        return self._decode(lens, index, frame_box)[0]

    def segment_and_see(
        self, lens: Lens, index: int, frame_box: Float32
    ) -> tuple[SliceMask, Sight]:
        """Decode a box as `segment` does, and observe what is within the mask."""
        answer, logits, embedding = self._decode(lens, index, frame_box)
        height, width = self.transform(lens.axis).frame
        found = logits > 0
        found[height:] = found[:, width:] = False
        stability = stability_of(logits[:height, :width])
        return answer, observe(found, stability, embedding, self._grey(lens, index, answer.mask))

    def look(self, lens: Lens, index: int, mask: Bool) -> Sight:
        """Observe what is within a known mask (H, W) bool of a slice."""
        with self._lock:
            embedding, _ = self._embedding(lens, index)
        found = self.transform(lens.axis).apply_mask(mask)
        return observe(found, 1.0, embedding, self._grey(lens, index, mask))

    def _grey(self, lens: Lens, index: int, mask: Bool) -> Float32:
        pixels = lens.window.apply(self._volume.slice(lens.axis, index)[mask])
        grey: Float32 = pixels.astype(np.float32) / np.float32(255)
        return grey

    def _decode(
        self, lens: Lens, index: int, frame_box: Float32
    ) -> tuple[SliceMask, Float32, Float32]:
        with self._lock:
            embedding, encode_ms = self._embedding(lens, index)
            start = perf_counter()
            logits, iou = lens.engine.decode(embedding, *box_points(frame_box))
            mask = self.transform(lens.axis).invert_mask(logits[0])
            decode_ms = (perf_counter() - start) * 1000
        answer = SliceMask(lens.axis, index, mask, float(iou[0]), encode_ms, decode_ms)
        return answer, logits[0], embedding

    def _embedding(self, lens: Lens, index: int) -> tuple[Float32, float]:
        """Return a slice's embedding, and the ms it took; 0 where it was at hand."""
        key = self._key(lens, index)
        embedding = self._embeddings.get(key)
        if embedding is not None:
            return embedding, 0.0
        start = perf_counter()
        array = lens.window.apply(self._volume.slice(lens.axis, index))
        embedding = lens.engine.encode(prepare_slice(array, self.transform(lens.axis)))
        self._embeddings.put(key, embedding)
        return embedding, (perf_counter() - start) * 1000

    @staticmethod
    def _key(lens: Lens, index: int) -> tuple[Engine, WindowLevel, int, int]:
        return lens.engine, lens.window, lens.axis, index
