"""Pictures of a label on its slices: outlines, hatching and letters, as colour is not enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from napari_medsamq.array_types import Bool
from napari_medsamq.inference.preprocess import WindowLevel
from napari_medsamq.io.label_format import used_ids
from napari_medsamq.io.volume import Volume

Picture = npt.NDArray[np.uint8]

# Pixels of the longer side of a picture.
SIDE = 480
_EVERY = 12  # pixels from one line of a hatching to the next
_OPACITY = 0.75
_FONT = cv2.FONT_HERSHEY_SIMPLEX


@dataclass(frozen=True)
class Mark:
    """How a label is told from others: by its letter and hatching, and by its colour.

    Attributes
    ----------
    letter : str
    hatching : str
        One of `HATCHINGS`.
    color : str
        #RRGGBB.
    """

    letter: str
    hatching: str
    color: str


HATCHINGS = ("rising", "falling", "level", "upright", "crossed")


def marks(colors: Mapping[int, str]) -> dict[int, Mark]:
    """Give each label id a letter, from A on, and a hatching of its own as far as there are any."""
    found = {}
    for number, (label_id, color) in enumerate(colors.items()):
        letter = chr(ord("A") + number % 26) + (str(number // 26) if number >= 26 else "")
        found[label_id] = Mark(letter, HATCHINGS[number % len(HATCHINGS)], color)
    return found


def representative_slices(label: npt.NDArray[np.unsignedinteger], count: int = 3) -> list[int]:
    """Return the axial slices that show a label best, in ascending order.

    The largest slice of each label id, the largest labels first; then, where labels are fewer than
    `count`, slices that lie as far as can be from those.

    Parameters
    ----------
    label : (z, y, x) unsigned integers
    count : int
        How many at the most.
    """
    areas = {
        label_id: np.count_nonzero(label == label_id, axis=(1, 2)) for label_id in used_ids(label)
    }
    largest_first = sorted(areas, key=lambda label_id: -int(areas[label_id].sum()))
    largest = [int(areas[label_id].argmax()) for label_id in largest_first]
    chosen = list(dict.fromkeys(largest))[:count]
    left = [int(n) for n in np.flatnonzero(np.sum(list(areas.values()), axis=0)) if n not in chosen]
    while left and len(chosen) < count:
        farthest = max(left, key=lambda index: min(abs(index - other) for other in chosen))
        chosen.append(farthest)
        left.remove(farthest)
    return sorted(chosen)


def surroundings(label: npt.NDArray[np.unsignedinteger]) -> tuple[slice, slice]:
    """Return the rows and columns of axial slices that a label (z, y, x) and what is near it take.

    Half of its size more on each side, and at least a tenth of the slice; all where it is empty.
    """
    used: Bool = np.any(label > 0, axis=0)
    found = []
    for axis, size in enumerate(used.shape):
        ends = np.flatnonzero(np.any(used, axis=1 - axis))
        low, high = (int(ends[0]), int(ends[-1])) if ends.size else (0, size - 1)
        more = max((high - low) // 2, size // 10)
        found.append(slice(max(0, low - more), min(size, high + 1 + more)))
    return found[0], found[1]


def slice_picture(
    volume: Volume | None,
    window: WindowLevel,
    plane: npt.NDArray[np.unsignedinteger],
    index: int,
    pixel_mm: Sequence[float],
    shown: Mapping[int, Mark],
    part: tuple[slice, slice],
) -> Picture:
    """Draw labels on a part of an axial slice.

    Parameters
    ----------
    volume : Volume or None
        None draws on grey.
    window : WindowLevel
    plane : (H, W) unsigned integers
        The label on the slice.
    index : int
        Of the slice.
    pixel_mm : (2,) float
        Height and width of a pixel.
    shown : mapping of int to Mark
    part : (slice, slice)
        Rows and columns.

    Returns
    -------
    picture : (h, w, 3) uint8
        Blue, green, red, as OpenCV has it; its pixels are squares.
    """
    plane = plane[part]
    size = np.array(plane.shape) * pixel_mm
    height, width = (max(1, int(side)) for side in np.rint(size * SIDE / size.max()))
    to = (width, height)
    if volume is None:
        ground = np.full((height, width, 3), 60, np.uint8)
    else:
        grey = window.apply(volume.slice(0, index)[part])
        colour: Any = cv2.cvtColor(
            grey, cv2.COLOR_GRAY2BGR if grey.ndim == 2 else cv2.COLOR_RGB2BGR
        )
        ground = cv2.resize(colour, to, interpolation=cv2.INTER_LINEAR)
    picture: Any = ground.copy()
    for label_id, mark in shown.items():
        mask = (plane == label_id).astype(np.uint8)
        if mask.any():
            _draw(picture, cv2.resize(mask, to, interpolation=cv2.INTER_NEAREST), mark)
    return np.asarray(picture, np.uint8)


def draw_outline(picture: Any, mask: npt.NDArray[np.uint8], color: str, width: int) -> None:
    """Draw the outline of a mask and of its holes into a picture.

    Parameters
    ----------
    picture : (H, W, 3) uint8
        Blue, green, red.
    mask : (H, W) uint8
    color : str
        #RRGGBB.
    width : int
        Of the line, in pixels.
    """
    lines, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, lines, -1, _bgr(color), width, cv2.LINE_AA)


def png(picture: Picture) -> bytes:
    """Return a picture as a PNG file."""
    written, content = cv2.imencode(".png", picture)
    if not written:
        raise ValueError(f"OpenCV cannot encode a picture of {picture.shape}")
    return bytes(content.tobytes())


def swatch(mark: Mark) -> Picture:
    """Return a small picture of how a label is drawn, for a legend."""
    picture = np.full((28, 44, 3), 60, np.uint8)
    inside = np.zeros((28, 44), np.uint8)
    inside[3:-3, 3:-3] = 1
    _draw(picture, inside, mark)
    return picture


def _draw(picture: Any, mask: npt.NDArray[Any], mark: Mark) -> None:
    lines = (mask > 0) & _lines(mask.shape, mark.hatching)
    picture[lines] = _OPACITY * np.array(_bgr(mark.color)) + (1 - _OPACITY) * picture[lines]
    # A dark rim keeps the outline in sight on what is as bright.
    for color, width in (("#000000", 4), (mark.color, 2)):
        draw_outline(picture, mask, color, width)
    _letter(picture, mask, mark.letter)


def _letter(picture: Any, mask: npt.NDArray[Any], letter: str) -> None:
    # Where there is most room: the point that is farthest from the outline.
    room = cv2.distanceTransform(np.pad(mask, 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
    row, column = np.unravel_index(int(room.argmax()), room.shape)
    (width, height), _ = cv2.getTextSize(letter, _FONT, 0.6, 2)
    at = (int(column) - width // 2, int(row) + height // 2)
    cv2.putText(picture, letter, at, _FONT, 0.6, (0, 0, 0), 5, cv2.LINE_AA)
    cv2.putText(picture, letter, at, _FONT, 0.6, (255, 255, 255), 2, cv2.LINE_AA)


def _lines(shape: tuple[int, ...], hatching: str) -> Bool:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    ways = {
        "rising": [rows + columns],
        "falling": [rows - columns],
        "level": [rows],
        "upright": [columns],
        "crossed": [rows + columns, rows - columns],
    }
    found: Bool = np.logical_or.reduce([way % _EVERY < 2 for way in ways[hatching]])
    return found


def _bgr(color: str) -> tuple[int, int, int]:
    red, green, blue = (int(color[start : start + 2], 16) for start in (1, 3, 5))
    return blue, green, red
