"""What users type about an image, as the program takes it."""

from __future__ import annotations

import operator
import re
from collections.abc import Sequence

from napari_medsamq.errors import PromptError
from napari_medsamq.geometry import PLANE_NAMES, Index3
from napari_medsamq.inference.preprocess import WindowLevel
from napari_medsamq.inference.window_presets import named_window
from napari_medsamq.io.label_format import MAX_LABEL_ID
from napari_medsamq.io.volume import Volume
from napari_medsamq.prompts import BoxPrompt, BoxPrompt3D, box_between

# The arguments of `Session.add_click`: voxel (i, j, k), whether it belongs, label id and plane.
Point = tuple[Index3, bool, int, str]

# What is no name alone.
_NUMBERED = re.compile(r"\s*([+-]?[0-9]+\s*)?(=.*)?", re.DOTALL)


def parse_box(text: str, volume: Volume, axis: int) -> BoxPrompt | BoxPrompt3D:
    """Read I0,J0,K0,I1,J1,K1 (source voxel indices, inclusive) as a box prompt.

    Raises
    ------
    PromptError
        If the text is not six whole numbers, or the box is outside the image or too thin.
    """
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != 6:
        raise PromptError(
            f"A box is six whole numbers, I0,J0,K0,I1,J1,K1, but this was given: {text!r}"
        )
    i0, j0, k0, i1, j1, k1 = numbers
    return box_between(*volume.box_from_source((i0, j0, k0), (i1, j1, k1)), axis)


def parse_labels(texts: Sequence[str], boxes: int) -> tuple[tuple[int, str], ...]:
    """Read NUMBER, NAME or NUMBER=NAME, one or one for each box; names alone are counted.

    Parameters
    ----------
    texts : sequence of str
        Empty ones are left out.
    boxes : int
        How many there are; 0 if that is not known.

    Returns
    -------
    labels : tuple of (int, str)
        Label id and name ("" for the usual one): of each box, or as they come where there are none.

    Raises
    ------
    PromptError
        If a text is no label, there are too many or few, or one label has several names.
    """
    parts = [text.strip() for text in texts if text.strip()] or ["1"] * bool(boxes)
    if boxes and len(parts) not in (1, boxes):
        raise PromptError(f"{len(parts)} labels for {boxes} boxes: give one, or one for each.")
    if any(_NUMBERED.fullmatch(part) for part in parts):
        found = [_numbered(part) for part in parts]
    else:
        order = list(dict.fromkeys(parts))
        found = [(order.index(part) + 1, part) for part in parts]
    names: dict[int, set[str]] = {}
    for number, name in found:
        names.setdefault(number, set()).update({name} - {""})
    for number, several in names.items():
        if len(several) > 1:
            raise PromptError(f"Label {number} has several names: {', '.join(sorted(several))}.")
    return tuple(found * boxes if len(found) == 1 and boxes else found)


def _numbered(text: str) -> tuple[int, str]:
    number, _, name = (part.strip() for part in text.partition("="))
    if not re.fullmatch("[0-9]{1,6}", number) or not 1 <= int(number) <= MAX_LABEL_ID:
        raise PromptError(
            f"A label is a number from 1 to {MAX_LABEL_ID}, a name, or both (1=Liver), with "
            f"numbers for all or for none; this was given: {text!r}"
        )
    return int(number), name


def parse_point(text: str, volume: Volume, plane: str, label_ids: Sequence[int]) -> Point:
    """Read I,J,K,+|-[,LABEL] (source voxel indices) as a voxel of a label.

    Raises
    ------
    PromptError
        If the text is no such thing, the voxel is outside the image, or it is not clear which of
        several labels is meant.
    """
    parts = text.split(",")
    named = len(parts) > 4
    try:
        i, j, k = (int(number) for number in parts[:3])
        sign, label_id = parts[3:] if named else [*parts[3:], str(label_ids[0])]
        number = int(label_id)
    except ValueError:
        sign = ""
    if sign not in ("+", "-"):
        raise PromptError(
            f"A point is I,J,K,+ or I,J,K,-, and may name its label: 110,200,10,-,2. This was "
            f"given: {text!r}"
        )
    if number not in label_ids or (len(label_ids) > 1 and not named):
        raise PromptError(
            f"The point {text} has to name one of the labels of the boxes, "
            f"{', '.join(map(str, label_ids))}, as in {i},{j},{k},{sign},{label_ids[0]}."
        )
    volume.box_from_source((i, j, k), (i, j, k))  # before a network is loaded
    return (i, j, k), sign == "+", number, plane


def parse_window(text: str, volume: Volume) -> WindowLevel:
    """Read LEVEL,WIDTH in the image's unit, or the name of a preset, as a window.

    Raises
    ------
    PromptError, VolumeError
        If the text is neither.
    """
    if text[:1].isalpha() and "," not in text:
        return named_window(text, volume)
    try:
        return WindowLevel.of_text(text)
    except ValueError as error:
        raise PromptError(
            f"A window is LEVEL,WIDTH with a positive width, e.g. 40,400, not {text!r}."
        ) from error


def checked_voxel(voxel: Sequence[int]) -> Index3:
    """Return a voxel (i, j, k) as three whole numbers.

    Raises
    ------
    PromptError
        If it is none.
    """
    try:
        i, j, k = map(operator.index, voxel)
    except (TypeError, ValueError) as error:
        raise PromptError(
            f"A voxel is three whole numbers (i, j, k), not {voxel!r} ({error})."
        ) from error
    return i, j, k


def checked_label_id(label: object) -> int:
    """Return a label id, 1 to 65535.

    Raises
    ------
    PromptError
        If it is none.
    """
    try:
        label_id = operator.index(label)  # type: ignore[arg-type]
    except TypeError:
        label_id = 0
    if isinstance(label, bool) or not 1 <= label_id <= MAX_LABEL_ID:
        raise PromptError(f"A label is a number from 1 to {MAX_LABEL_ID} or a name, not {label!r}.")
    return label_id


def plane_axis(plane: str) -> int:
    """Return the array axis across a plane.

    Raises
    ------
    PromptError
        If there is no such plane.
    """
    if plane not in PLANE_NAMES:
        raise PromptError(f"A plane is {', '.join(PLANE_NAMES)}, not {plane!r}.")
    return PLANE_NAMES.index(plane)
