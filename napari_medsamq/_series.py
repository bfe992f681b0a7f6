"""What a DICOM series is made of: its frames, the volumes they belong to, and where they lie."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_medsamq.errors import ChoiceError, UnevenSlicesError, VolumeError
from napari_medsamq.geometry import Float64

# How far a slice may lie off its even place, as a fraction of the distance between slices.
_UNEVEN = 0.05
_TILT_DEG = 0.5
_SAME_PLACE = 1e-3  # mm
# What tells volumes apart that are a file each.
_FILE = "file"

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
        What the file says, by `_dicom_child`.
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

    def affine(self) -> Float64:
        """Return the affine (4, 4) of this slice alone, from (i, j, k) to LPS mm."""
        turn = self.orientation
        across, down = (np.eye(3)[0], np.eye(3)[1]) if turn is None else (turn[:3], turn[3:])
        row_distance, column_distance = self.place["spacing"] or (1.0, 1.0)
        thickness = self.place["thickness"] or self.place["between"] or 1.0
        affine = np.eye(4)
        affine[:3, 0] = across * column_distance
        affine[:3, 1] = down * row_distance
        affine[:3, 2] = np.cross(across, down) * thickness
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
    """

    frames: list[Frame]
    affine: Float64
    uneven: str = ""


def describe(frames: Sequence[Frame], *, study: bool) -> str:
    """Return a line about a series for the user."""
    head = frames[0].head
    text = f"{head['description'] or 'no description'}, {head['modality'] or 'unknown modality'}"
    text += f", {len(frames)} slice{'s' if len(frames) > 1 else ''}"
    if study:
        text += f", study {head['study_description'] or '...' + head['study'][-12:]}"
    return text


def without_copies(frames: Sequence[Frame]) -> tuple[list[Frame], int]:
    """Leave out slices that are in the folder more than once; return also how many."""
    kept: dict[object, Frame] = {}
    for frame in frames:
        # Some programs give one UID to several slices, which then lie elsewhere.
        key: object = (
            (frame.head["uid"], frame.number, str(frame.place), frame.size)
            if frame.head["uid"]
            else (frame.path, frame.number)
        )
        kept.setdefault(key, frame)
    return list(kept.values()), len(frames) - len(kept)


def one_volume(where: str, frames: list[Frame], volume: int | None) -> list[Frame]:
    """Return the frames of one volume where several lie at the same places.

    Parameters
    ----------
    where : str
        Beginning of the text of errors.
    frames : list of Frame
        With equal orientation.
    volume : int or None
        Number of the volume, from 1.

    Raises
    ------
    ChoiceError
        If there are several and `volume` does not name one.
    VolumeError
        If they cannot be told apart.
    """
    places = _places(frames)
    crowd = max(Counter(places).values())
    if crowd == 1:
        if volume not in (None, 1):
            raise VolumeError(f"{where} hold one volume, there is no number {volume}.")
        return frames
    name, groups = _split(frames, places, crowd)
    if volume is None or not 1 <= volume <= len(groups):
        missing = "" if volume is None else f" There is no number {volume}."
        raise ChoiceError(
            f"{where} are {len(groups)} volumes at the same places (time points, echoes).{missing}",
            "volume",
            {
                str(number): f"{name} {value}, {len(group)} slices"
                for number, (value, group) in enumerate(groups, start=1)
            },
        )
    return groups[volume - 1][1]


def _split(
    frames: list[Frame], places: list[int], crowd: int
) -> tuple[str, list[tuple[str, list[Frame]]]]:
    """Return what tells volumes apart, and its values with their frames."""
    names = dict.fromkeys(name for frame in frames for name in frame.place["splits"])
    for name in (*names, _FILE):
        groups: dict[str, list[Frame]] = defaultdict(list)
        taken = set()
        for frame, place in zip(frames, places, strict=True):
            value = frame.path.name if name == _FILE else frame.place["splits"].get(name, "")
            groups[value].append(frame)
            taken.add((value, place))
        # Times may differ from slice to slice; what tells volumes apart has whole ones.
        if len(taken) == len(frames) and 2 <= len(groups) <= crowd:
            return name, sorted(groups.items(), key=lambda item: _in_order(item[0]))
    counts = set(Counter(places).values())
    numbered = {(f.head["instance"], f.number) for f in frames if f.head["instance"] is not None}
    if len(counts) == 1 and len(numbered) == len(frames):
        ordered = sorted(
            zip(places, frames, strict=True),
            key=lambda item: (item[1].head["instance"], item[1].number),
        )
        by_rank: dict[str, list[Frame]] = defaultdict(list)
        seen: Counter[int] = Counter()
        for place, frame in ordered:
            seen[place] += 1
            by_rank[str(seen[place])].append(frame)
        return "Instance Number order", list(by_rank.items())
    place = next(place for place, count in Counter(places).items() if count > 1)
    twice = [f.path.name for f, other in zip(frames, places, strict=True) if other == place]
    raise VolumeError(
        f"{frames[0].path.parent}: several slices of series {frames[0].head['series']} lie at one "
        f"place ({', '.join(twice[:3])}), and nothing in them says which belong together. Take the "
        "others out of the folder."
    )


def _in_order(value: str) -> tuple[float, str]:
    try:
        return float(value), value
    except ValueError:
        return float("inf"), value


def _places(frames: list[Frame]) -> list[int]:
    """Number the places along the normal at which slices lie."""
    heights = _heights(frames)
    order = np.argsort(heights, kind="stable")
    steps = np.diff(heights[order], prepend=heights[order[0]]) > _SAME_PLACE
    numbers = np.empty(len(frames), int)
    numbers[order] = np.cumsum(steps)
    return [int(number) for number in numbers]


def _heights(frames: list[Frame]) -> Float64:
    turn = frames[0].orientation
    positions = [frame.position for frame in frames]
    if turn is None or any(position is None for position in positions):
        raise ValueError("slices without a place have no height")
    heights: Float64 = np.array(positions, float) @ np.cross(turn[:3], turn[3:])
    return heights


def stack(folder: Path, frames: list[Frame], volume: int | None) -> Stack:
    """Sort slices along their normal and tell where they lie.

    Raises
    ------
    ChoiceError
        If there are several volumes and `volume` does not name one.
    VolumeError
        If they make no stack.
    """
    first = frames[0]
    series = f"{folder}: the {len(frames)} slices of series {first.head['series']}"

    def refuse(reason: str) -> VolumeError:
        return VolumeError(
            f"{series} do not make one even volume: {reason}. Export the series again, complete "
            "and as plain axial, coronal or sagittal slices."
        )

    if any(frame.orientation is None or frame.position is None for frame in frames):
        raise refuse("some do not say where they lie (Image Position/Orientation)")
    if any(
        frame.size != first.size or frame.head["color"] != first.head["color"] for frame in frames
    ):
        raise refuse("their sizes in pixels differ")
    if any(
        _differ(frame.place["orientation"], first.place["orientation"], 1e-3) for frame in frames
    ):
        raise refuse("their directions differ, there may be a localiser among them")
    if any(_differ(frame.affine()[:3, :2], first.affine()[:3, :2], 1e-3) for frame in frames):
        raise refuse("their pixels differ in size")
    frames = one_volume(series, frames, volume)
    heights = _heights(frames)
    frames = [frames[n] for n in np.argsort(heights, kind="stable")]
    affine = frames[0].affine()
    if len(frames) == 1:
        return Stack(frames, affine)
    places = np.array([frame.position for frame in frames])
    step = (places[-1] - places[0]) / (len(places) - 1)
    reason = _unevenness(np.sort(heights), places, step, affine)
    if not reason:
        affine[:3, 2] = step
    return Stack(frames, affine, reason)


def uneven(folder: Path, found: Stack) -> UnevenSlicesError:
    """Return the error for slices that are not even."""
    return UnevenSlicesError(
        f"{folder}: the {len(found.frames)} slices of series {found.frames[0].head['series']} do "
        f"not make one even volume: {found.uneven}. {_RESAMPLE}."
    )


def _unevenness(heights: Float64, places: Float64, step: Float64, affine: Float64) -> str:
    """Return why slices make no even stack; empty where they do."""
    gaps = np.diff(heights)
    usual = float(np.median(gaps))
    gap = int(np.abs(gaps - usual).argmax())
    if abs(gaps[gap] - usual) > _UNEVEN * usual:
        return (
            f"they are usually {usual:.3g} mm apart, but {gaps[gap]:.3g} mm between slices "
            f"{gap + 1} and {gap + 2}; slices are missing or unevenly spaced"
        )
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    normal /= np.linalg.norm(normal)
    tilt = np.degrees(np.arctan2(np.linalg.norm(np.cross(step, normal)), abs(step @ normal)))
    if tilt > _TILT_DEG:
        return f"each lies shifted against the last one, a gantry tilt of {tilt:.1f} degrees"
    expected = places[0] + np.arange(len(places))[:, None] * step
    if np.linalg.norm(places - expected, axis=1).max() > _UNEVEN * np.linalg.norm(step):
        return "they are shifted sideways against each other"
    return ""


def _differ(one: Any, other: Any, tolerance: float) -> bool:
    return bool(np.abs(np.asarray(one) - np.asarray(other)).max() > tolerance)
