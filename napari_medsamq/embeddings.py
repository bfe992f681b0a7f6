"""Keeps the embeddings of recently used slices within a budget of memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]

# An embedding takes 4 MiB, so this holds 64 slices.
DEFAULT_BUDGET = 256 * 2**20


class EmbeddingCache:
    """Embeddings by key; the least recently used ones leave when the budget is exceeded.

    Parameters
    ----------
    budget : int
        Bytes that all embeddings together may take.
    """

    def __init__(self, budget: int = DEFAULT_BUDGET) -> None:
        if budget < 0:
            raise ValueError(f"the budget must not be negative, but is {budget}")
        self.budget = budget
        self._entries: OrderedDict[Hashable, Float32] = OrderedDict()

    @property
    def nbytes(self) -> int:
        """Bytes in use."""
        return sum(entry.nbytes for entry in self._entries.values())

    def __contains__(self, key: Hashable) -> bool:
        return key in self._entries

    def get(self, key: Hashable) -> Float32 | None:
        """Return the embedding (1, 256, 64, 64) of `key`, or None if it is not kept."""
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
        return entry

    def put(self, key: Hashable, embedding: Float32) -> None:
        """Keep `embedding` (1, 256, 64, 64) under `key`; one larger than the budget is not kept."""
        self._entries[key] = embedding
        self._entries.move_to_end(key)
        while self.nbytes > self.budget:
            self._entries.popitem(last=False)
