"""What a user points at: boxes and lassos on slices, boxes through them, clicks and scribbles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import groupby
from math import floor, isfinite

import numpy as np

from napari_medsamq.array_types import Float64
from napari_medsamq.errors import PromptError
from napari_medsamq.geometry import PLANE_NAMES, Index3

# A pixel of a slice: column and row.
Pixel = tuple[int, int]

# What is kept of a scribble, and what of that the network is asked with: of 2 to 16 points, three
# helped the networks that come along most.
_KEPT, _ASKED = 32, 3


def thinned(path: Sequence[Pixel], most: int) -> tuple[Pixel, ...]:
    """Return so many pixels at most, evenly along a path of pixels (x, y)."""
    places = np.asarray(path, np.float64).reshape(-1, 2)
    way = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(places, axis=0).T))])
    # Of a path that is short, no pixel twice in a row.
    wanted = np.linspace(0, way[-1], min(most, 1 + int(way[-1])))
    x, y = (np.interp(wanted, way, along).round().astype(int) for along in places.T)
    return tuple(pixel for pixel, _ in groupby(zip(x.tolist(), y.tolist(), strict=True)))


class CarryPrompt(StrEnum):
    """What the network is asked with on a slice that a structure is carried to.

    The box around the mask on the slice before; or that alone, and then with the mask itself as
    dense prompt, and the structure is what both answers have in common; or both at once, of a
    network that has learnt that they come from another slice.
    """

    box = "box"
    box_and_mask = "box+mask"
    carried = "carried box+mask"


@dataclass(frozen=True)
class Click:
    """A point on a slice that belongs to a structure, or does not; or a scribble of such points.

    Attributes
    ----------
    x, y : int
        Slice pixel: column and row; the middle one of a scribble.
    positive : bool
    binding : bool
        Whether the pixel ends as asked whatever the network answers (`prompt_decoder`). Clicks of
        journals of before there was that rule are not.
    stroke : tuple of (x, y)
        All pixels of a scribble, in the order in which it was drawn.
    """

    x: int
    y: int
    positive: bool
    binding: bool = True
    stroke: tuple[Pixel, ...] = ()

    @classmethod
    def along(cls, path: Sequence[Pixel], positive: bool) -> Click:
        """Make a scribble of a path of pixels (x, y), or a click where that is one pixel alone."""
        stroke = thinned(path, _KEPT)
        x, y = stroke[len(stroke) // 2]
        return cls(x, y, positive, stroke=stroke if len(stroke) > 1 else ())

    @property
    def parts(self) -> tuple[Click, ...]:
        """The clicks that a scribble consists of; a click itself."""
        return tuple(replace(self, x=x, y=y, stroke=()) for x, y in self.stroke) or (self,)

    @property
    def asked(self) -> tuple[Pixel, ...]:
        """The pixels that the network is asked with."""
        return thinned(self.stroke, _ASKED) if self.stroke else ((self.x, self.y),)


@dataclass(frozen=True)
class BoxPrompt:
    """A box on one slice, and the clicks that corrected its mask.

    Attributes
    ----------
    axis : int
        Array axis normal to the slice: 0 axial, 1 coronal, 2 sagittal.
    index : int
        Of the slice along that axis.
    x0, y0, x1, y1 : int
        Slice pixels, all inclusive; x counts columns and y rows, the two remaining array axes in
        their order being rows and columns.
    clicks : tuple of Click
        In the order in which they were made.
    lasso : tuple of (x, y)
        The corners of an outline that the structure lies within, if one was drawn; the box is its.
    """

    axis: int
    index: int
    x0: int
    y0: int
    x1: int
    y1: int
    clicks: tuple[Click, ...] = ()
    lasso: tuple[Pixel, ...] = ()

    def __post_init__(self) -> None:
        if self.axis not in (0, 1, 2):
            raise ValueError(f"a box prompt lies across axis 0, 1 or 2, not {self.axis}")
        if self.index < 0 or not (0 <= self.x0 <= self.x1 and 0 <= self.y0 <= self.y1):
            raise ValueError(f"a box prompt needs 0 <= x0 <= x1, 0 <= y0 <= y1, index >= 0: {self}")

    @property
    def middle_slice(self) -> int:
        """The slice that it is on, as if it were a 3D box of that one."""
        return self.index

    @property
    def xyxy(self) -> Float64:
        """Corners (4,) float64: x0, y0, x1, y1 in slice pixels."""
        return np.array([self.x0, self.y0, self.x1, self.y1], np.float64)

    def voxel(self, row: int, column: int) -> Index3:
        """Return the voxel (z, y, x) of a pixel of its slice."""
        place = [row, column]
        place.insert(self.axis, self.index)
        return place[0], place[1], place[2]

    @classmethod
    def from_corners(
        cls,
        axis: int,
        index: int,
        corner_a: Sequence[float],
        corner_b: Sequence[float],
        shape: Sequence[int],
    ) -> BoxPrompt:
        """Make a box from two opposite corners as they were dragged.

        Parameters
        ----------
        axis, index : int
            Of the slice.
        corner_a, corner_b : (2,) float
            Row and column in slice pixels, whose centres are whole numbers; in any order.
        shape : (3,) int
            Of the volume, (z, y, x); a trailing colour axis is ignored.

        Raises
        ------
        PromptError
            If the box lies outside the slice, or covers fewer than 2 pixels either way.
        """
        size = list(shape[:3])
        count = size.pop(axis)
        if not 0 <= index < count:
            raise PromptError(
                f"The volume has the {PLANE_NAMES[axis]} slices 0 to {count - 1}, not {index}. "
                "Draw the box on one of them."
            )
        spans = []
        for a, b, pixels in zip(corner_a, corner_b, size, strict=True):
            if not (isfinite(a) and isfinite(b)):
                raise ValueError(f"the corners of a box are numbers, not {corner_a}, {corner_b}")
            low, high = sorted((floor(a + 0.5), floor(b + 0.5)))
            if high < 0 or low >= pixels:
                raise PromptError(
                    f"The box lies outside the image, which has {size[0]} rows and {size[1]} "
                    "columns here. Draw it over the structure."
                )
            spans.append((max(low, 0), min(high, pixels - 1)))
        (y0, y1), (x0, x1) = spans
        if y1 - y0 < 1 or x1 - x0 < 1:
            raise PromptError(
                f"The box covers {y1 - y0 + 1} x {x1 - x0 + 1} pixels (rows x columns) of the "
                "image, at least 2 x 2 are needed. Drag from one corner of the structure to the "
                "opposite one."
            )
        return cls(axis, index, x0, y0, x1, y1)


@dataclass(frozen=True)
class BoxPrompt3D:
    """A box that is carried through a range of slices.

    Attributes
    ----------
    lower, upper : (3,) int
        First and last voxel of the box, (z, y, x), both inclusive.
    axis : int
        Array axis normal to the slices: 0 axial, 1 coronal, 2 sagittal.
    """

    lower: Index3
    upper: Index3
    axis: int = 0

    def __post_init__(self) -> None:
        pairs = list(zip(self.lower, self.upper, strict=True))
        if len(pairs) != 3 or any(not 0 <= low <= high for low, high in pairs):
            raise ValueError(f"a 3D box prompt needs 0 <= lower <= upper (z, y, x): {self}")
        if self.axis not in (0, 1, 2):
            raise ValueError(f"a box prompt lies across axis 0, 1 or 2, not {self.axis}")

    @classmethod
    def of_two_planes(cls, carried: BoxPrompt, other: BoxPrompt) -> BoxPrompt3D:
        """Make the box that two boxes enclose which were drawn on two planes.

        Parameters
        ----------
        carried : BoxPrompt
            On the plane whose slices it is carried through.
        other : BoxPrompt
            On another plane: how far it is carried.

        Raises
        ------
        PromptError
            If both lie on one plane, or do not cross.
        """
        if carried.axis == other.axis:
            raise PromptError(
                f"Both boxes lie on {PLANE_NAMES[other.axis]} slices. Draw the second one on "
                "another plane, from one end of the structure to the other."
            )
        lower, upper = [0, 0, 0], [0, 0, 0]
        for axis in range(3):
            spans = [
                (box.voxel(box.y0, box.x0)[axis], box.voxel(box.y1, box.x1)[axis])
                for box in (carried, other)
            ]
            (low, high), (other_low, other_high) = spans
            if max(low, other_low) > min(high, other_high):
                raise PromptError(
                    f"The boxes on the {PLANE_NAMES[carried.axis]} and the "
                    f"{PLANE_NAMES[other.axis]} plane do not cross, so that they are not of one "
                    "structure. Draw both around it, where each plane shows it well."
                )
            lower[axis], upper[axis] = min(low, other_low), max(high, other_high)
        return cls((lower[0], lower[1], lower[2]), (upper[0], upper[1], upper[2]), carried.axis)

    @property
    def slices(self) -> range:
        """The slices that the box crosses."""
        return range(self.lower[self.axis], self.upper[self.axis] + 1)

    @property
    def middle_slice(self) -> int:
        """The slice halfway, the lower of two; where LiteMedSAM's inference starts."""
        return self.slices[(len(self.slices) - 1) // 2]

    def slice_prompt(self, index: int) -> BoxPrompt:
        """Return the sides of the box as a prompt on one slice."""
        rows, columns = (other for other in (0, 1, 2) if other != self.axis)
        return BoxPrompt(
            self.axis,
            index,
            self.lower[columns],
            self.lower[rows],
            self.upper[columns],
            self.upper[rows],
        )

    def with_sides(self, box: BoxPrompt) -> BoxPrompt3D:
        """Return a 3D box through the same slices with the sides of a box on one of them."""
        lower, upper = [box.y0, box.x0], [box.y1, box.x1]
        lower.insert(self.axis, self.lower[self.axis])
        upper.insert(self.axis, self.upper[self.axis])
        return BoxPrompt3D(
            (lower[0], lower[1], lower[2]), (upper[0], upper[1], upper[2]), self.axis
        )


def check_inside(box: BoxPrompt | BoxPrompt3D, shape: Sequence[int]) -> None:
    """Check that a box lies within a volume of a shape (z, y, x).

    Raises
    ------
    PromptError
        If it does not.
    """
    corner = box.voxel(box.y1, box.x1) if isinstance(box, BoxPrompt) else box.upper
    if any(high >= size for high, size in zip(corner, shape, strict=True)):
        raise PromptError(
            f"The box reaches voxel {corner}, outside a volume of shape {tuple(shape)} "
            "(z, y, x). Draw it inside the image."
        )


def two_pixels(first: int, last: int, size: int) -> tuple[int, int]:
    """Widen a range of one pixel of an axis by one, as a box on a slice needs two either way."""
    if first < last or size < 2:
        return first, last
    return (first, last + 1) if last + 1 < size else (first - 1, last)


def box_between(lower: Index3, upper: Index3, axis: int = 0) -> BoxPrompt | BoxPrompt3D:
    """Make the box prompt that two voxels span.

    Parameters
    ----------
    lower, upper : (3,) int
        First and last voxel (z, y, x), both inclusive.
    axis : int
        Array axis along which a 3D box is carried.

    Returns
    -------
    box : BoxPrompt or BoxPrompt3D
        On one slice where the corners agree on one axis, else through a range of slices.

    Raises
    ------
    PromptError
        If the corners agree on more than one axis, so that the box has no area.
    """
    box = BoxPrompt3D(lower, upper, axis)
    flat = [a for a in (0, 1, 2) if lower[a] == upper[a]]
    if len(flat) > 1:
        raise PromptError(
            "The two corners of the box agree on more than one axis, so that it encloses nothing. "
            "Give corners that differ on two axes (a box on a slice) or on three (a 3D box)."
        )
    if not flat:
        return box
    return BoxPrompt3D(lower, upper, flat[0]).slice_prompt(lower[flat[0]])
