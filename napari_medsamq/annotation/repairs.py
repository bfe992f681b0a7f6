"""The operations that users choose from, with the numbers that each one asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from napari_medsamq.annotation import mask_operations as operations
from napari_medsamq.annotation.mask_operations import Operation
from napari_medsamq.annotation.session import AnnotationSession
from napari_medsamq.array_types import Bool
from napari_medsamq.errors import PromptError


@dataclass(frozen=True)
class Number:
    """A number that an operation asks for.

    Attributes
    ----------
    title : str
        With its unit.
    default, least, most : float
        0 for labels, which users choose by their names.
    is_label : bool
        Whether it is the number of another label.
    """

    title: str
    default: float = 0.0
    least: float = 0.0
    most: float = 0.0
    is_label: bool = False


@dataclass(frozen=True)
class Repair:
    """An operation that users choose by its title.

    Attributes
    ----------
    title, help : str
    numbers : tuple of Number
        What it asks for.
    make : callable
        Takes the session, the array axis of the plane in view and the numbers.
    takes : bool
        Whether it may take voxels of other labels that are not locked.
    """

    title: str
    help: str
    numbers: tuple[Number, ...]
    make: Callable[[AnnotationSession, int, Sequence[float]], Operation]
    takes: bool = False


def _grow(session: AnnotationSession, sign: int, numbers: Sequence[float]) -> Operation:
    return partial(operations.grow, spacing=session.volume.spacing, mm=sign * numbers[0])


def _combine(
    how: operations.Combination,
) -> Callable[[AnnotationSession, int, Sequence[float]], Operation]:
    """Combine with a label, which is grown by a margin in mm where one is asked for."""

    def make(session: AnnotationSession, _axis: int, numbers: Sequence[float]) -> Operation:
        number, *margins = numbers
        if int(number) == 0:
            raise PromptError("There is no other structure for this repair. Draw one first.")
        other, spacing = session.label == int(number), session.volume.spacing

        def operation(mask: Bool) -> Bool:
            wide = operations.grow(other, spacing, margins[0]) if margins else other
            return operations.combine(mask, wide, how)

        return operation

    return make


_MM = Number("mm", 2.0, 0.1, 100.0)
_OTHER = Number("Structure", is_label=True)
# A voxel has one label: without a margin no two of them have anything in common.
_MARGIN = Number("margin, mm", 2.0, 0.1, 100.0)

REPAIRS = (
    Repair(
        "Fill holes",
        "Fill what the mask encloses on slices of this plane; other labels in there stay",
        (),
        lambda _session, axis, _numbers: partial(operations.fill_holes, axis=axis),
    ),
    Repair(
        "Keep the largest part",
        "Remove all but the largest connected part, in 3D",
        (),
        lambda _session, _axis, _numbers: operations.keep_largest,
    ),
    Repair(
        "Remove islands",
        "Remove the connected parts that are smaller than this, in 3D",
        (Number("mm³", 100.0, 0.0, 1e7),),
        lambda session, _axis, numbers: partial(
            operations.remove_islands, spacing=session.volume.spacing, least_mm3=numbers[0]
        ),
    ),
    Repair(
        "Smooth between slices",
        "Take jumps out of the outline from slice to slice of this plane",
        (),
        lambda session, axis, _numbers: partial(
            operations.smooth_between, axis=axis, spacing=session.volume.spacing
        ),
    ),
    Repair(
        "Interpolate missing slices",
        "Fill empty slices of this plane between those that have a mask",
        (),
        lambda session, axis, _numbers: partial(
            operations.interpolate_slices, axis=axis, spacing=session.volume.spacing
        ),
    ),
    Repair(
        "Keep a range of values",
        "Keep where the image lies within these values, in the image's own unit",
        (Number("from", -20.0, -1e6, 1e6), Number("to", 200.0, -1e6, 1e6)),
        lambda session, _axis, numbers: partial(
            operations.within_range, values=session.volume.data, low=numbers[0], high=numbers[1]
        ),
    ),
    Repair(
        "Grow",
        "Grow in all directions, into what no label has",
        (_MM,),
        lambda session, _axis, numbers: _grow(session, 1, numbers),
    ),
    Repair(
        "Shrink",
        "Shrink from all sides",
        (_MM,),
        lambda session, _axis, numbers: _grow(session, -1, numbers),
    ),
    Repair(
        "Unite with a structure",
        "Take all voxels of another structure, unless it is locked",
        (_OTHER,),
        _combine("union"),
        takes=True,
    ),
    Repair(
        "Subtract a structure",
        "Remove what lies in or within the margin of another structure, which stays as it is",
        (_OTHER, _MARGIN),
        _combine("difference"),
    ),
    Repair(
        "Keep the overlap with a structure",
        "Keep what lies in or within the margin of another structure, which stays as it is",
        (_OTHER, _MARGIN),
        _combine("intersection"),
    ),
)
