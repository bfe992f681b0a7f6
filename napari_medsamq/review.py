"""Which slices of a label have been checked, how sure the others are, and which to look at next."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from enum import StrEnum

import numpy as np
import numpy.typing as npt

Bool = npt.NDArray[np.bool_]


class Grade(StrEnum):
    """How much a slice needs a look, in the words that the user reads."""

    accepted = "accepted by you"
    sure = "sure"
    unsure = "worth a look"
    doubtful = "doubtful"
    unknown = "not checked yet"


# A confidence from here on is sure, and below the other one doubtful.
SURE, DOUBTFUL = 0.80, 0.65


def grade(confidence: float) -> Grade:
    """Turn a confidence from 0 to 1 into words."""
    if confidence >= SURE:
        return Grade.sure
    return Grade.unsure if confidence >= DOUBTFUL else Grade.doubtful


def mask_key(mask: Bool) -> bytes:
    """Return what tells a mask (H, W) bool from others."""
    return hashlib.blake2b(np.packbits(mask).tobytes(), digest_size=12).digest()


class Review:
    """What is known of the slices of one label across one plane.

    Whatever is known counts for the mask that it was said of: a slice that has changed since is
    neither accepted nor checked.

    Parameters
    ----------
    accepted : callable
        Takes a slice and a `mask_key`, and tells whether that mask has been accepted.
    """

    def __init__(self, accepted: Callable[[int, bytes], bool]) -> None:
        self._accepted = accepted
        self._masks: dict[int, bytes] = {}
        self._confidences: dict[tuple[int, bytes], float] = {}

    @property
    def slices(self) -> list[int]:
        """The slices that have a mask, ascending."""
        return sorted(self._masks)

    def show(self, masks: Mapping[int, bytes]) -> None:
        """Say which slices have which mask now: `mask_key` by slice, without empty ones."""
        self._masks = dict(masks)

    def note(self, index: int, key: bytes, confidence: float) -> None:
        """Write down how sure a mask of a slice is."""
        self._confidences[index, key] = confidence

    def forget_confidences(self) -> None:
        """Know no more how sure masks are: another network is asked from now on."""
        self._confidences.clear()

    def up_to(self, last: int) -> dict[int, bytes]:
        """Return the masks that slices up to one have, as `show` was given them."""
        return {index: key for index, key in self._masks.items() if index <= last}

    def confidence(self, index: int) -> float | None:
        """Return how sure the mask of a slice is; None while that is not known."""
        return self._confidences.get((index, self._masks.get(index, b"")))

    def grade(self, index: int) -> Grade | None:
        """Return the grade of a slice; None where it has no mask."""
        key = self._masks.get(index)
        if key is None:
            return None
        if self._accepted(index, key):
            return Grade.accepted
        sure = self._confidences.get((index, key))
        return Grade.unknown if sure is None else grade(sure)

    def unchecked(self, near: int) -> int | None:
        """Return the slice nearest to one whose confidence is not known; None if all are."""
        waiting = [index for index in self._masks if self.confidence(index) is None]
        return min(waiting, key=lambda index: abs(index - near), default=None)

    def next_doubtful(self, index: int, step: int) -> int | None:
        """Return the next slice after one that needs a look, or None.

        Parameters
        ----------
        index : int
        step : 1 or -1
            Towards higher or lower slices.
        """
        wanted = (Grade.unsure, Grade.doubtful)
        found = [i for i in self._masks if (i - index) * step > 0 and self.grade(i) in wanted]
        return min(found, key=lambda i: (i - index) * step, default=None)
