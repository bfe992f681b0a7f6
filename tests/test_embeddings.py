from __future__ import annotations

import numpy as np
import pytest

from napari_medsamq.embeddings import DEFAULT_BUDGET, EmbeddingCache, next_slice

SIZE = 4096  # bytes of one of the embeddings here


def embedding(value: float = 0) -> np.ndarray:
    return np.full((1, 4, 16, 16), value, np.float32)


def test_an_embedding_comes_back_as_it_was_put() -> None:
    cache = EmbeddingCache()
    kept = embedding(3)
    cache.put((0, 5, "window"), kept)
    assert cache.get((0, 5, "window")) is kept
    assert cache.get((1, 5, "window")) is None
    assert (0, 5, "window") in cache
    assert cache.nbytes == SIZE


def test_the_least_recently_used_leave_first() -> None:
    cache = EmbeddingCache(3 * SIZE)
    for key in "abc":
        cache.put(key, embedding())
    assert cache.get("a") is not None
    cache.put("d", embedding())
    assert [key for key in "abcd" if key in cache] == ["a", "c", "d"]
    cache.put("c", embedding())
    cache.put("e", embedding())
    assert [key for key in "acde" if key in cache] == ["c", "d", "e"]
    assert cache.nbytes == 3 * SIZE


def test_a_key_that_is_put_again_holds_the_new_value_once() -> None:
    cache = EmbeddingCache(2 * SIZE)
    cache.put("a", embedding(1))
    cache.put("a", embedding(2))
    assert cache.nbytes == SIZE
    found = cache.get("a")
    assert found is not None
    assert found.max() == 2


def test_an_embedding_larger_than_the_budget_is_not_kept() -> None:
    cache = EmbeddingCache(SIZE - 1)
    cache.put("a", embedding())
    assert "a" not in cache
    assert cache.nbytes == 0


def test_a_negative_budget_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        EmbeddingCache(-1)


def test_the_default_budget_holds_the_slices_of_a_usual_volume() -> None:
    assert 60 * np.zeros((1, 256, 64, 64), np.float32).nbytes <= DEFAULT_BUDGET


@pytest.mark.parametrize(
    ("forwards", "ready", "wanted"),
    [
        (True, set(), 10),
        (True, {10}, 11),
        (False, {10}, 9),
        (True, {10, 11}, 9),
        (True, {9, 10, 11}, 12),
        (True, {9, 10, 11, 12}, 13),
        # Four are kept of those ahead, no more than one of those behind.
        (True, {9, 10, 11, 12, 13}, None),
        (False, {7, 8, 9, 10, 11}, None),
    ],
)
def test_the_next_slice_is_the_nearest_and_most_lie_ahead(
    forwards: bool, ready: set[int], wanted: int | None
) -> None:
    assert next_slice(10, 20, forwards, 5, ready.__contains__) == wanted


def test_no_slice_beyond_the_volume_or_the_budget_is_next() -> None:
    ready: set[int] = set()
    while (index := next_slice(2, 4, True, 64, ready.__contains__)) is not None:
        ready.add(index)
    assert ready == {0, 1, 2, 3}
    assert next_slice(2, 4, True, 0, set().__contains__) is None
    assert next_slice(0, 1, True, 1, set().__contains__) == 0
