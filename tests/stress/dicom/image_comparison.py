"""Whether two images are the same, whichever way their axes go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

TOLERANCE_MM = 1e-3
# Of a value: what float32 cannot hold.
ROUNDING = 2.0**-23


@dataclass(frozen=True, eq=False)
class Image:
    """One volume.

    Attributes
    ----------
    values : (i, j, k) float64
    affine : (4, 4) float64
        From (i, j, k) to LPS mm.
    rounding : (i, j, k) float64 or float
        By how much each value may differ from what is meant: what float32 cannot hold.
    """

    values: np.ndarray
    affine: np.ndarray
    rounding: np.ndarray | float = 0.0


@dataclass(frozen=True)
class Difference:
    """How two images differ.

    Attributes
    ----------
    mm : float
        How far the corners of one lie from those of the other; infinite where no order and
        direction of its axes brings them to the other's shape.
    values : int
        How many differ.
    largest : float
        By how much at most.
    """

    mm: float
    values: int
    largest: float

    def same(self, tolerance_mm: float = TOLERANCE_MM) -> bool:
        """Tell whether there is none that counts."""
        return self.mm <= tolerance_mm and not self.values

    def __str__(self) -> str:
        values = f", {self.values} values by up to {self.largest:g}" if self.values else ""
        return f"{self.mm:.3g} mm{values}"


NOT_ALIKE = Difference(np.inf, -1, np.inf)


def aligned(one: Image, other: Image) -> Image | None:
    """Return an image with its axes in the order and direction of another one's.

    None where they do not fit, or the shape is another one then.
    """
    if abs(np.linalg.det(other.affine)) < 1e-9:
        return None
    way = np.linalg.solve(other.affine, one.affine)[:3, :3]
    axes = np.abs(way).argmax(0).tolist()
    shape = one.values.shape
    if sorted(axes) != [0, 1, 2] or other.values.transpose(axes).shape != shape:
        return None
    place = np.diag([0.0, 0, 0, 1])
    for n, axis in enumerate(axes):
        place[axis, n] = np.sign(way[axis, n])
        place[axis, 3] = 0 if place[axis, n] > 0 else shape[n] - 1
    flipped = [n for n, axis in enumerate(axes) if place[axis, n] < 0]
    rounding = np.broadcast_to(other.rounding, other.values.shape)
    values, lost = (np.flip(each.transpose(axes), flipped) for each in (other.values, rounding))
    return Image(values, other.affine @ place, lost)


def compare(one: Image, other: Image) -> Difference:
    """Compare two images in the same place: other orders and directions of axes are no difference.

    Where they do not fit it is `NOT_ALIKE`.
    """
    turned = aligned(one, other)
    if turned is None:
        return NOT_ALIKE
    corners = np.array([*product(*((0, n - 1) for n in one.values.shape), (1,))], float)
    off_mm = np.linalg.norm((corners @ (one.affine - turned.affine).T)[:, :3], axis=1)
    off = np.abs(one.values - turned.values)
    wrong = ~(off <= one.rounding + turned.rounding)
    return Difference(float(off_mm.max()), int(wrong.sum()), float(off[wrong].max(initial=0.0)))


def pair(
    ones: Sequence[Image], others: Sequence[Image]
) -> tuple[list[tuple[int, int, Difference]], list[int], list[int]]:
    """Bring images together that are alike, the likest first.

    Returns
    -------
    pairs : list of (int, int, Difference)
    alone, others_alone : list of int
        Those that are like none of the others.
    """
    table = [(compare(a, b), m, n) for m, a in enumerate(ones) for n, b in enumerate(others)]
    left, free = set(range(len(ones))), set(range(len(others)))
    pairs = []
    for difference, m, n in sorted(table, key=lambda one: (one[0].values, one[0].mm)):
        if m in left and n in free and difference != NOT_ALIKE:
            left.remove(m)
            free.remove(n)
            pairs.append((m, n, difference))
    return pairs, sorted(left), sorted(free)
