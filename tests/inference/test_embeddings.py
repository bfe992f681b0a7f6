from __future__ import annotations

import numpy as np
import pytest

from napari_medsamq.inference.embeddings import DEFAULT_BUDGET, EmbeddingCache, nearest_slices

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


def test_what_is_preferred_leaves_last_and_in_its_order() -> None:
    cache = EmbeddingCache(4 * SIZE)
    for key in "abcd":
        cache.put(key, embedding())
    cache.prefer(["c", "a", "never put"])
    left = []
    for key in "efg":
        cache.put(key, embedding())
        left.append([old for old in "abcd" if old in cache])
    assert left == [["a", "c", "d"], ["a", "c"], ["c"]]


@pytest.mark.parametrize(
    ("forwards", "most", "wanted"),
    [
        # Of five, three lie ahead and one behind.
        (True, 5, [10, 11, 9, 12, 13]),
        (False, 5, [10, 9, 11, 8, 7]),
        (True, 1, [10]),
        (True, 0, []),
    ],
)
def test_the_nearest_slices_are_wanted_and_most_of_those_ahead(
    forwards: bool, most: int, wanted: list[int]
) -> None:
    assert nearest_slices(10, 20, forwards, most) == wanted


def test_no_slice_beyond_the_volume_is_wanted() -> None:
    assert sorted(nearest_slices(2, 4, True, 64)) == [0, 1, 2, 3]
    assert nearest_slices(0, 1, True, 1) == [0]
