"""The boxes of a case: as typed in the table, or from a file.

A box file is JSON, or a label of the image's voxels, or of a part of them. Of a label the tight box
around each number is taken. JSON has boxes as the command line takes them, in voxels of the image's
file:

{"boxes": [{"box": [102, 192, 0, 268, 384, 19], "label": 1, "name": "Liver"}]}

`label` (1) and `name` may be left out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import find_objects

from napari_medsamq.cohort.table import CohortCase
from napari_medsamq.errors import PromptError
from napari_medsamq.io.grid import one_lattice
from napari_medsamq.io.label_format import MAX_LABEL_ID
from napari_medsamq.io.labels import bring_onto, read_label_file, same_grid
from napari_medsamq.io.volume import Volume
from napari_medsamq.prompts import BoxPrompt, BoxPrompt3D, box_between, two_pixels
from napari_medsamq.workflows.parsing import parse_box

Boxes = list[tuple[BoxPrompt | BoxPrompt3D, int]]


def boxes_of(case: CohortCase, volume: Volume) -> tuple[Boxes, dict[int, str], list[str]]:
    """Return boxes with their label numbers, the names of labels that have one, and notes.

    Raises
    ------
    PromptError, VolumeError
        If a box is none, lies outside the image, or a box file is not of this image.
    """
    if case.box_file is None:
        found = [parse_box(text, volume, case.axis) for text in case.boxes]
        return (
            [(box, number) for box, (number, _) in zip(found, case.labels, strict=True)],
            {number: name for number, name in case.labels if name},
            [],
        )
    from_file = _from_json if case.box_file.suffix.lower() == ".json" else _from_label
    boxes, names, notes = from_file(case.box_file, volume, case.axis)
    wanted = dict(case.labels)
    missing = sorted(set(wanted) - {number for _, number in boxes})
    if missing:
        raise PromptError(
            f"{case.box_file}: has no label {', '.join(map(str, missing))}, which the table asks "
            "for."
        )
    if wanted:
        boxes = [(box, number) for box, number in boxes if number in wanted]
    return boxes, {**names, **{number: name for number, name in wanted.items() if name}}, notes


def _from_label(path: Path, volume: Volume, axis: int) -> tuple[Boxes, dict[int, str], list[str]]:
    found = read_label_file(path, volume)
    if not found.ids:
        raise PromptError(
            f"{path}: is an empty label, so that there are no boxes. Leave the line out, or give a "
            "label of what is to be segmented."
        )
    moved = bring_onto(found, volume)
    # One as large as the image, but elsewhere, is not a part of it: it is another image's.
    elsewhere = found.label.shape == volume.data.shape[:3] and not same_grid(found.volume, volume)
    if elsewhere or not one_lattice(found.volume.grid, volume.grid):
        raise PromptError(
            f"{path}: does not lie on the grid of {volume.path} (shape {found.label.shape} for "
            f"{volume.data.shape[:3]}, or another place). Resample it to the image."
        )
    if not moved.ids:
        raise PromptError(
            f"{path}: no labelled voxel lies within {volume.path}. Give the label of this image."
        )
    boxes: Boxes = []
    for number, place in enumerate(find_objects(moved.label.astype(np.int32)), start=1):
        if place is None:
            continue
        ends = [(int(own.start), int(own.stop) - 1) for own in place]
        try:
            boxes.append((_around(ends, volume.data.shape[:3], axis), number))
        except PromptError as error:
            raise PromptError(f"{path}: label {number}: {error}") from error
    names = {number: style.name for number, style in found.named.items()}
    return boxes, names, [moved.said] if moved.said else []


def _around(
    ends: list[tuple[int, int]], shape: tuple[int, ...], axis: int
) -> BoxPrompt | BoxPrompt3D:
    """Return the box around voxels from first to last, both included, along each axis.

    A row of voxels, or a single one, gets a box that is two pixels wide.
    """
    if sum(first == last for first, last in ends) > 1:
        # An image of one slice is asked for on that.
        normal = shape.index(1) if 1 in shape else axis
        ends = [
            own if number == normal else two_pixels(*own, shape[number])
            for number, own in enumerate(ends)
        ]
    z, y, x = ends
    return box_between((z[0], y[0], x[0]), (z[1], y[1], x[1]), axis)


def _from_json(path: Path, volume: Volume, axis: int) -> tuple[Boxes, dict[int, str], list[str]]:
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["boxes"]
    except OSError as error:
        raise PromptError(
            f"{path}: the box file cannot be read ({error.strerror or error}). Check its name."
        ) from error
    except (KeyError, TypeError, ValueError) as error:
        raise _no_boxes(path, repr(error)) from error
    if not isinstance(entries, list) or not entries:
        raise _no_boxes(path, f"boxes is {entries!r}")
    boxes: Boxes = []
    names: dict[int, str] = {}
    for entry in entries:
        corners, number, name = _entry(path, entry)
        try:
            boxes.append((parse_box(",".join(map(str, corners)), volume, axis), number))
        except PromptError as error:
            raise PromptError(f"{path}: label {number}: {error}") from error
        if name and names.setdefault(number, name) != name:
            raise PromptError(f"{path}: label {number} has several names.")
    return boxes, names, []


def _entry(path: Path, entry: Any) -> tuple[list[int], int, str]:
    if not isinstance(entry, dict) or not set(entry) <= {"box", "label", "name"}:
        raise _no_boxes(path, f"this entry: {entry!r}")
    corners, number, name = entry.get("box"), entry.get("label", 1), entry.get("name", "")
    if (
        not isinstance(corners, list)
        or not all(type(index) is int for index in [*corners, number])
        or not 1 <= number <= MAX_LABEL_ID
        or not isinstance(name, str)
    ):
        raise _no_boxes(path, f"this entry: {entry!r}")
    return corners, number, name


def _no_boxes(path: Path, problem: str) -> PromptError:
    return PromptError(
        f"{path}: a box file is a label, or JSON as in "
        '{"boxes": [{"box": [I0, J0, K0, I1, J1, K1], "label": 1, "name": "Liver"}]}, but it has '
        f"{problem}."
    )
