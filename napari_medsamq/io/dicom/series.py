"""DICOM series: their frames, and the even stack that those of one volume make."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_medsamq.array_types import Float64
from napari_medsamq.errors import UnevenSlicesError, VolumeError
from napari_medsamq.io.dicom.even_grid import TILT_DEG, EvenGrid, find_grid, tilt_deg
from napari_medsamq.io.source import Array, VolumePart

# What a copy has in common with the slice, or one of them.
_IDENTIFIERS = ("uid", "instance")
# Of directions: decimals beyond which they are exact, and the least that can be told from a tilt.
_DECIMALS = range(2, 6)
# By how many radians a normal is off for each unit by which the directions' numbers are.
_TURNED = 2.5
_NAMED = 5

# How a series is told where its UID does not: with the name of it for the user, and whether that
# names the patient or is free text.
_SERIES = {
    "number": ("Series Number", False),
    "description": ("Series Description", True),
    "modality": ("Modality", False),
    "study": ("Study", True),
    "patient": ("Patient ID", True),
    "patient_name": ("Patient's Name", True),
}

_RESAMPLE = (
    "Export the series again, complete and as plain axial, coronal or sagittal slices, or have "
    "them resampled to an even grid (--resample on the command line, for a batch yes in the column "
    "resample)"
)


@dataclass(frozen=True, eq=False)
class Frame:
    """One slice of a series: a file, or a frame of one.

    Attributes
    ----------
    path : Path
    number : int
        Of the frame in its file, from 0.
    head : dict
        What the file says, by `process_main`.
    place : dict
        What it says of this frame.
    """

    path: Path
    number: int
    head: dict[str, Any]
    place: dict[str, Any]

    @property
    def position(self) -> Float64 | None:
        """Centre (3,) of the first pixel, LPS mm."""
        return None if self.place["position"] is None else np.array(self.place["position"])

    @property
    def orientation(self) -> Float64 | None:
        """Directions (6,) of the rows, then of the columns."""
        return None if self.place["orientation"] is None else np.array(self.place["orientation"])

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.head["rows"], self.head["columns"]

    @property
    def is_placed(self) -> bool:
        """Whether it says where it lies."""
        return None not in (self.place["position"], self.place["orientation"])

    @property
    def name(self) -> str:
        """What the user finds it by."""
        several = len(self.head["frames"]) > 1
        return f"frame {self.number + 1} of {self.path.name}" if several else self.path.name

    @property
    def axes(self) -> Float64:
        """Directions (3, 3) of rows, columns and normal, in columns, at right angles."""
        turn = self.orientation
        if turn is None:
            return np.eye(3)
        # The nearest ones: the numbers may be rounded.
        left, _, right = np.linalg.svd(turn.reshape(2, 3), full_matrices=False)
        across, down = left @ right
        return np.column_stack([across, down, np.cross(across, down)])

    def affine(self) -> Float64:
        """Return the affine (4, 4) of this slice alone, from (i, j, k) to LPS mm."""
        across, down, normal = self.axes.T
        row_distance, column_distance = self.place["spacing"] or (1.0, 1.0)
        thickness = self.place["thickness"] or self.place["between"] or 1.0
        affine = np.eye(4)
        affine[:3, 0] = across * column_distance
        affine[:3, 1] = down * row_distance
        affine[:3, 2] = normal * thickness
        if self.position is not None:
            affine[:3, 3] = self.position
        return affine


@dataclass(frozen=True, eq=False)
class Stack:
    """Slices in their order along the normal.

    Attributes
    ----------
    frames : list of Frame
    affine : (4, 4) float64
        From (i, j, k) to LPS mm; of the first slice alone where `uneven`.
    uneven : str
        Why they make no even stack; empty where they do.
    grid : EvenGrid or None
        That comes nearest to them; None for what is one slice, or has no places.
    """

    frames: list[Frame]
    affine: Float64
    uneven: str = ""
    grid: EvenGrid | None = None


def split_series(found: dict[str, list[Frame]]) -> dict[str, list[Frame]]:
    """Divide what has one series UID, but is of several series, and number what has none.

    Parameters
    ----------
    found : dict of str to list of Frame
        By Series Instance UID, which may be empty.

    Returns
    -------
    series : dict of str to list of Frame
        By UID, or by a number where that tells nothing.
    """
    series: dict[str, list[Frame]] = {}
    unnamed: list[list[Frame]] = []
    for uid, frames in found.items():
        groups = _identified(frames)
        if len(groups) == 1 and is_uid(uid):
            series[uid] = frames
        else:
            unnamed.extend(groups)
    unnamed.sort(key=lambda frames: [in_order(frames[0].head[name]) for name in _SERIES])
    numbers = {str(number): frames for number, frames in enumerate(unnamed, start=1)}
    return {**series, **numbers}


def is_uid(text: str) -> bool:
    """Tell whether a UID is one that tells something: anonymisers leave empty ones, or zeros."""
    return "." in text and bool(text.strip("0."))


def _identified(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Divide frames by what is the same in a whole series."""
    counts = Counter(frame.head["frame_of_reference"] for frame in frames)
    # Where a slice has one of its own, they tell nothing.
    referring = min(counts.values()) > 1
    groups: dict[object, list[Frame]] = defaultdict(list)
    for frame in frames:
        reference = frame.head["frame_of_reference"] if referring else ""
        groups[reference, *(frame.head[name] for name in _SERIES)].append(frame)
    return list(groups.values())


def describe(frames: Sequence[Frame], others: Iterable[Sequence[Frame]]) -> str:
    """Return a line about a series for the user, who has to tell it from others."""
    head = frames[0].head
    text = f"{head['description'] or 'no description'}, {head['modality'] or 'unknown modality'}"
    text += f", {len(frames)} slice{'s' if len(frames) > 1 else ''}"
    heads = [other[0].head for other in others]
    for name in ("number", "patient", "patient_name"):
        if len({other[name] for other in heads}) > 1:
            text += f", {_SERIES[name][0]} {head[name] or 'none'}"
    if len({other["study"] for other in heads}) > 1:
        text += f", study {head['study_description'] or '...' + head['study'][-12:]}"
    return text


def series_part(series: dict[str, list[Frame]], key: str) -> VolumePart:
    """Return which of several series one is."""
    head = series[key][0].head
    heads = [frames[0].head for frames in series.values()]
    number, count = list(series).index(key) + 1, len(series)
    for name, (called, private) in _SERIES.items():
        if [other[name] for other in heads].count(head[name]) == 1 and head[name]:
            return VolumePart("series", key, number, count, f"{called} {head[name]}", private)
    return VolumePart("series", key, number, count)


def without_copies(
    frames: Sequence[Frame], stored: Callable[[Frame], Array]
) -> tuple[list[Frame], int]:
    """Leave out slices that are in the folder more than once; return also how many.

    Copies have the same pixels and, but for their UIDs, say the same. Slices of several volumes may
    do so, too, where they are all of one value.

    Parameters
    ----------
    frames : sequence of Frame
    stored : callable
        Returns the pixels of a frame: there are programs that give one UID, or none, to several
        slices.
    """
    alike: dict[object, list[Frame]] = defaultdict(list)
    for frame in frames:
        alike[frame.number, str(frame.place), frame.size].append(frame)
    copies = set()
    for group in alike.values():
        counts = Counter((name, frame.head[name]) for frame in group for name in _IDENTIFIERS)
        known: set[object] = set()
        for frame in group:
            shared = [name for name in _IDENTIFIERS if counts[name, frame.head[name]] > 1]
            if not shared:  # as slices of several volumes: their pixels need not be read
                continue
            pixels = stored(frame)
            digest = hashlib.sha256(pixels.tobytes()).digest()
            told = shared if np.ptp(pixels) else [name for name in shared if name == "uid"]
            names = {(digest, name, frame.head[name]) for name in told}
            if names & known:
                copies.add(id(frame))
            known |= names
    return [frame for frame in frames if id(frame) not in copies], len(copies)


def in_order(value: str) -> tuple[float, str]:
    """Return what a text is sorted by: numbers by size, before words."""
    try:
        return float(value), value
    except ValueError:
        return float("inf"), value


def named(names: Iterable[str], most: int = _NAMED) -> str:
    """List the first of several names."""
    listed = list(names)
    return ", ".join(listed[:most]) + (", ..." if len(listed) > most else "")


def positions(frames: Sequence[Frame]) -> Float64:
    """Return the places (n, 3) of slices that all say where they lie, LPS mm."""
    return np.array([frame.place["position"] for frame in frames], float)


def along_normal(frames: Sequence[Frame]) -> list[Frame]:
    """Sort slices of one direction along their normal."""
    heights = positions(frames) @ frames[0].axes[:, 2]
    return [frames[n] for n in np.argsort(heights, kind="stable")]


def grid_of(ordered: Sequence[Frame]) -> EvenGrid:
    """Return the even grid that comes nearest to two or more slices, sorted along their normal."""
    place = ordered[0].place
    said = [distance for distance in (place["between"], place["thickness"]) if distance]
    return find_grid(positions(ordered), ordered[0].axes[:, 2], said)


def stack(folder: Path, frames: Sequence[Frame]) -> Stack:
    """Sort the slices of one volume along their normal and tell where they lie.

    Raises
    ------
    VolumeError
        If some do not say where they lie.
    """
    lost = [frame.name for frame in frames if not frame.is_placed]
    if lost:
        raise VolumeError(
            f"{folder}: the {len(frames)} slices of series {frames[0].head['series']} do not make "
            "one even volume: some do not say where they lie (Image Position/Orientation: "
            f"{named(lost)}). Export the series again, complete."
        )
    ordered = along_normal(frames)
    affine = ordered[0].affine()
    if len(ordered) == 1:
        return Stack(ordered, affine)
    grid = grid_of(ordered)
    axes = _along(ordered[0], grid)
    affine[:3, :2] = axes[:, :2] * np.linalg.norm(affine[:3, :2], axis=0)
    reason = _unevenness(ordered, grid, axes[:, 2])
    if not reason:
        affine[:3, 2], affine[:3, 3] = grid.step, grid.origin
    return Stack(ordered, affine, reason, grid)


def uneven(folder: Path, found: Stack) -> UnevenSlicesError:
    """Return the error for slices that are not even."""
    return UnevenSlicesError(
        f"{folder}: the {len(found.frames)} slices of series {found.frames[0].head['series']} do "
        f"not make one even volume: {found.uneven}. {_RESAMPLE}."
    )


def _along(frame: Frame, grid: EvenGrid) -> Float64:
    """Return the directions of slices, whose normal is that of the grid where they are rounded."""
    axes, step = frame.axes, grid.step / np.linalg.norm(grid.step)
    off = np.linalg.norm(np.cross(step, axes[:, 2]))
    numbers = np.array(frame.place["orientation"])
    rounded = [n for n in _DECIMALS if np.abs(numbers - np.round(numbers, n)).max() < 1e-9]
    # Directions along the patient's axes are exact, whatever their decimals.
    exact = not rounded or not (numbers % 1).any()
    if exact or off > _TURNED * 0.5 * 10.0 ** -rounded[0]:
        return axes
    across, down = (axes[:, :2] - np.outer(step, step @ axes[:, :2])).T
    left, _, right = np.linalg.svd(np.array([across, down]), full_matrices=False)
    return np.column_stack([*(left @ right), step])


def _unevenness(ordered: Sequence[Frame], grid: EvenGrid, normal: Float64) -> str:
    """Return why slices make no even stack; empty where they do."""
    places = positions(ordered)
    gaps = np.diff(places @ normal)
    if not grid.complete or np.abs((places - grid.places) @ normal).max() > grid.allowed:
        apart = np.diff(grid.numbers)
        odd = np.flatnonzero(apart > 1)
        if not len(odd) or not grid.fits:
            odd = np.array([np.abs(gaps - grid.usual).argmax()])
        gap = int(odd[0])
        beside = [f"between {ordered[n].name} and {ordered[n + 1].name}" for n in odd.tolist()]
        return (
            f"they are usually {grid.usual:.3g} mm apart, but {gaps[gap]:.3g} mm between slices "
            f"{gap + 1} and {gap + 2}; slices are missing or unevenly spaced ({named(beside)})"
        )
    tilt = tilt_deg(grid.step, normal)
    if tilt > TILT_DEG:
        return f"each lies shifted against the last one, a gantry tilt of {tilt:.1f} degrees"
    if not grid.fits:
        worst = int(np.linalg.norm(places - grid.places, axis=1).argmax())
        return f"they are shifted sideways against each other ({ordered[worst].name} the most)"
    return ""
