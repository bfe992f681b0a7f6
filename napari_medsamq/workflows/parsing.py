"""What users type about an image, as the program takes it."""

from __future__ import annotations

import operator
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from napari_medsamq.errors import PromptError
from napari_medsamq.geometry import PLANE_NAMES, Index3
from napari_medsamq.inference.lasso import lasso_prompt
from napari_medsamq.inference.preprocess import WindowLevel
from napari_medsamq.inference.window_presets import named_window
from napari_medsamq.io.label_format import MAX_LABEL_ID
from napari_medsamq.io.volume import Volume
from napari_medsamq.prompts import BoxPrompt, BoxPrompt3D, Pixel, box_between

# Of `Session.add_scribble`: voxels (i, j, k), whether they belong, label id and plane.
Stroke = tuple[tuple[Index3, ...], bool, int, str | None]

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


def parse_point(text: str, volume: Volume, plane: str | None, label_ids: Sequence[int]) -> Stroke:
    """Read I,J,K,+|-[,LABEL] (source voxel indices) as a click on a label.

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
    return ((i, j, k),), sign == "+", number, plane


def read_scribbles(path: Path, volume: Volume, label_ids: Sequence[int]) -> list[Stroke]:
    """Read scribbles from a text file: a line for each voxel, as `parse_point` takes it.

    Lines that follow each other are one scribble; another sign or label or an empty line begins
    the next one.

    Raises
    ------
    PromptError
        If the file cannot be read, holds no voxel, or a line is none.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise PromptError(
            f"The scribbles in {path} cannot be read ({error}). A text file is expected, with a "
            "line I,J,K,+ or I,J,K,- for each voxel."
        ) from error
    found: list[Stroke] = []
    for follows, (number, line) in pairwise([(0, ""), *enumerate(lines, 1)]):
        if not line.strip():
            continue
        try:
            stroke = parse_point(line.strip(), volume, None, label_ids)
        except PromptError as error:
            raise PromptError(f"{path}, line {number}: {error}") from error
        if follows[1].strip() and found[-1][1:] == stroke[1:]:
            stroke = ((*found.pop()[0], *stroke[0]), *stroke[1:])
        found.append(stroke)
    if not found:
        raise PromptError(
            f"{path} holds no scribble. It needs a line I,J,K,+ or I,J,K,- for each voxel."
        )
    return found


def parse_lasso(text: str, volume: Volume) -> BoxPrompt:
    """Read I,J,K;I,J,K;... (source voxel indices) as a lasso on a slice.

    Raises
    ------
    PromptError
        If the text is none, or there can be no such lasso.
    """
    try:
        corners = [[int(index) for index in corner.split(",")] for corner in text.split(";")]
    except ValueError:
        corners = [[]]
    if any(len(corner) != 3 for corner in corners):
        raise PromptError(
            "A lasso is I,J,K;I,J,K;I,J,K and so on, the corners of an outline on one slice, but "
            f"this was given: {text!r}"
        )
    return lasso_of_voxels(corners, volume)


def lasso_of_voxels(
    outline: Sequence[Sequence[int]], volume: Volume, plane: str | None = None
) -> BoxPrompt:
    """Make a lasso of voxels (i, j, k) of a volume's file; see `lasso_prompt`."""
    axis, index, pixels = path_on_slice("lasso", outline, volume, 0, plane)
    height, width = volume.slice(axis, index).shape[:2]
    return lasso_prompt(axis, index, pixels, (height, width))


def path_on_slice(
    what: str, path: Sequence[Sequence[int]], volume: Volume, usual: int, plane: str | None
) -> tuple[int, int, list[Pixel]]:
    """Find the slice that voxels of a volume's file lie on.

    Parameters
    ----------
    what : str
        They are, in words.
    path : sequence of (3,) int
        Voxels (i, j, k).
    volume : Volume
    usual : int
        Array axis across the slice, where they lie on slices across several.
    plane : str or None
        On which they have to lie on one slice.

    Returns
    -------
    axis, index : int
        Array axis normal to the slice, and the slice's index on it.
    pixels : list of (x, y)

    Raises
    ------
    PromptError
        If there is no voxel, one is outside the image, or they are not of one slice.
    """
    voxels = [checked_voxel(ijk) for ijk in path]
    places = np.array([volume.box_from_source(ijk, ijk)[0] for ijk in voxels]).reshape(-1, 3)
    flat = [axis for axis in (0, 1, 2) if voxels and np.ptp(places[:, axis]) == 0]
    if plane is not None:
        flat = [axis for axis in flat if axis == plane_axis(plane)]
    if not flat:
        where = " ".join(filter(None, [plane, "slice"]))
        raise PromptError(
            f"The {what} has {len(voxels)} voxels, which are not of one {where}. Give one or more, "
            "all on the same slice."
        )
    axis = usual if usual in flat else flat[0]
    pixels = np.delete(places, axis, axis=1)[:, ::-1].tolist()
    return axis, int(places[0, axis]), [(x, y) for x, y in pixels]


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
