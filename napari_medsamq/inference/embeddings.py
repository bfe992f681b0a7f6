"""Keeps embeddings of recently used slices within a budget of memory, and says which to have."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable

from napari_medsamq.array_types import Float32

EMBEDDING_BYTES = 4 * 256 * 64 * 64
# Holds 64 slices.
DEFAULT_BUDGET = 64 * EMBEDDING_BYTES
# Of the slices that are encoded ahead, those in the direction of scrolling.
_AHEAD = 0.75


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

    def prefer(self, keys: Iterable[Hashable]) -> None:
        """Let the embeddings of `keys`, dearest first, leave after all others."""
        for key in reversed(list(keys)):
            if key in self._entries:
                self._entries.move_to_end(key)

    def put(self, key: Hashable, embedding: Float32) -> None:
        """Keep `embedding` (1, 256, 64, 64) under `key`; one larger than the budget is not kept."""
        self._entries[key] = embedding
        self._entries.move_to_end(key)
        while self.nbytes > self.budget:
            self._entries.popitem(last=False)


def nearest_slices(current: int, count: int, forwards: bool, most: int) -> list[int]:
    """Return the slices whose embeddings are wanted: the current one, then outwards.

    Parameters
    ----------
    current : int
        The slice in view.
    count : int
        How many slices there are.
    forwards : bool
        Whether the user scrolls towards higher indices; more of those ahead are wanted.
    most : int
        How many embeddings there is room for.

    Returns
    -------
    indices : list of int
        The nearest first.
    """
    ahead = round(_AHEAD * (most - 1))
    behind = most - 1 - ahead
    step = 1 if forwards else -1
    distances = [0] * (most > 0)
    for distance in range(1, max(ahead, behind) + 1):
        distances += [distance] * (distance <= ahead) + [-distance] * (distance <= behind)
    indices = [current + step * distance for distance in distances]
    return [index for index in indices if 0 <= index < count]
