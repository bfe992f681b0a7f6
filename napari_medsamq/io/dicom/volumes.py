"""Which frames of a DICOM series make one volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_medsamq.errors import ChoiceError, VolumeError
from napari_medsamq.geometry import PLANE_NAMES
from napari_medsamq.io.dicom.division import divided, number_places
from napari_medsamq.io.dicom.series import Frame, named
from napari_medsamq.io.source import VolumePart

# Of directions, and of pixels in mm.
_SAME_TURN = 1e-3

_LOCALIZER = "LOCALIZER"


@dataclass(frozen=True, eq=False)
class Candidate:
    """Frames that make one volume.

    Attributes
    ----------
    by : str
        What tells them from the others of the series; empty where there are none.
    frames : list of Frame
    localizer : bool
        Whether they are pictures to plan others on.
    private : bool
        Whether `by` may name the patient.
    """

    by: str
    frames: list[Frame]
    localizer: bool = False
    private: bool = False

    def __str__(self) -> str:
        return f"{self.by}, {len(self.frames)} slice{'s' if len(self.frames) > 1 else ''}"


@dataclass(frozen=True, eq=False)
class ChosenVolume:
    """The volume that was chosen of a series.

    Attributes
    ----------
    frames : list of Frame
    part : VolumePart or None
        Which it is; None where there is no other, or none was chosen.
    warnings : tuple of str
    """

    frames: list[Frame]
    part: VolumePart | None = None
    warnings: tuple[str, ...] = ()


def choose(where: Path, frames: list[Frame], volume: int | None) -> ChosenVolume:
    """Return the frames of one volume of a series.

    Parameters
    ----------
    where : Path
        For the text of errors.
    frames : list of Frame
    volume : int or None
        Number of the volume, from 1.

    Raises
    ------
    ChoiceError
        If there are several and `volume` does not name one.
    VolumeError
        If they cannot be told apart, or are tiles of a mosaic.
    """
    mosaics = [frame.name for frame in frames if frame.head["mosaic"]]
    if mosaics:
        raise VolumeError(
            f"{where}: {named(mosaics)}: Siemens mosaic; convert with dcm2niix (its one picture "
            "has all slices of a volume side by side)."
        )
    candidates, note = volumes(frames)
    uid = frames[0].head["series"] or "without a UID"
    series = f"{where}: the {len(frames)} slices of series {uid}"
    if len(candidates) == 1:
        if volume not in (None, 1):
            raise VolumeError(f"{series} hold one volume, there is no number {volume}.")
        return ChosenVolume(candidates[0].frames)
    if volume is not None and 1 <= volume <= len(candidates):
        one = candidates[volume - 1]
        part = VolumePart("volume", volume, volume, len(candidates), one.by, one.private)
        return ChosenVolume(one.frames, part, note)
    stacks = [one for one in candidates if len(one.frames) > 1 and not one.localizer]
    others = [one for one in candidates if one not in stacks]
    if volume is None and len(stacks) == 1 and all(_is_aside(one) for one in others):
        return ChosenVolume(stacks[0].frames, None, (*note, _left_out(others)))
    missing = "" if volume is None else f" There is no number {volume}."
    crowded = " at the same places (time points, echoes)" if _is_crowded(candidates) else ""
    raise ChoiceError(
        f"{series} are {len(candidates)} volumes{crowded}.{missing}",
        "volume",
        {str(number): str(one) for number, one in enumerate(candidates, start=1)},
    )


def _is_aside(one: Candidate) -> bool:
    return one.localizer or len(one.frames) == 1


def _left_out(others: Sequence[Candidate]) -> str:
    names = [f"{frame.name}: {one.by}" for one in others for frame in one.frames]
    one = len(names) == 1
    return (
        f"{len(names)} picture{' of the series is' if one else 's of the series are'} no slice of "
        f"its volume and {'was' if one else 'were'} left out ({named(names)}). Choose "
        f"{'it' if one else 'one'} by --volume to have it."
    )


def _is_crowded(candidates: Sequence[Candidate]) -> bool:
    one, other = candidates[0].frames, candidates[1].frames
    if not (one[0].is_placed and _is_alike(one[0], other[0])):
        return False
    together = [*one, *other]
    return len(set(number_places(together).values())) < len(together)


def volumes(frames: Sequence[Frame]) -> tuple[list[Candidate], tuple[str, ...]]:
    """Divide the frames of a series into volumes; return also what the user should know of it.

    Raises
    ------
    VolumeError
        If several slices lie at one place and nothing tells which belong together.
    """
    kinds = _kinds(frames)
    texts = _kind_texts(kinds)
    found, notes = [], []
    for kind, text in zip(kinds, texts, strict=True):
        division = divided(kind)
        notes += [division.note] if division.note else []
        for by, group in division.groups:
            both = ", ".join(part for part in (text, by) if part)
            found.append(Candidate(both, group, _is_localizer(group[0]), division.private))
    return found, tuple(dict.fromkeys(notes))


def _kinds(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Divide frames by size, direction and the like; the largest group first, localizers last."""
    kinds: list[list[Frame]] = []
    for frame in frames:
        kind = next((kind for kind in kinds if _is_alike(kind[0], frame)), None)
        if kind is None:
            kinds.append([frame])
        else:
            kind.append(frame)
    kinds.sort(key=lambda kind: (_is_localizer(kind[0]), -len(kind)))
    lost = [kind for kind in kinds if not kind[0].is_placed]
    # A slice of the volume may have lost its place.
    placed = [kind[0] for kind in kinds if kind[0].is_placed]
    for kind in lost:
        if any(_picture(kind[0]) == _picture(other) for other in placed):
            raise VolumeError(
                f"{kind[0].path.parent}: some slices of series {kind[0].head['series']} do not "
                f"make one even volume with the others: they do not say where they lie (Image "
                f"Position/Orientation: {named(frame.name for frame in kind)}). Export the series "
                "again, complete."
            )
    return kinds


def _is_alike(one: Frame, other: Frame) -> bool:
    return (
        _picture(one) == _picture(other)
        and _is_localizer(one) == _is_localizer(other)
        and one.is_placed == other.is_placed
        and _is_near(one.place["orientation"], other.place["orientation"])
        and _is_near(one.place["spacing"], other.place["spacing"])
    )


def _picture(frame: Frame) -> tuple[Any, ...]:
    return (*frame.size, frame.head["color"])


def _is_near(one: Sequence[float] | None, other: Sequence[float] | None) -> bool:
    if one is None or other is None:
        return one is other
    return all(abs(a - b) <= _SAME_TURN for a, b in zip(one, other, strict=True))


def _is_localizer(frame: Frame) -> bool:
    splits = frame.place["splits"]
    return any(_LOCALIZER in splits.get(name, "").upper() for name in ("ImageType", "FrameType"))


def _kind_texts(kinds: Sequence[Sequence[Frame]]) -> list[str]:
    """Say of each kind what tells it from the others."""
    said = [_qualities(kind[0]) for kind in kinds]
    differ = [name for name in said[0] if len({one[name] for one in said}) > 1]
    if len({tuple(one[name] for name in differ if name != "turn") for one in said}) == len(said):
        differ = [name for name in differ if name != "turn"]
    return [", ".join(one[name] for name in differ if one[name]) for one in said]


def _qualities(frame: Frame) -> dict[str, str]:
    rows, columns = frame.size
    spacing, placed = frame.place["spacing"], frame.is_placed
    across, down, normal = frame.axes.T
    plane = PLANE_NAMES[2 - int(np.abs(normal).argmax())]
    turn = " and ".join(" ".join(f"{x + 0.0:.3g}" for x in axis) for axis in (across, down))
    return {
        "kind": "localizer" if _is_localizer(frame) else "",
        "plane": plane if placed else "without a place",
        "turn": f"rows and columns along {turn}" if placed else "",
        "size": f"{columns} x {rows} pixels",
        "pixel": "" if spacing is None else f"pixels of {spacing[1]:.3g} x {spacing[0]:.3g} mm",
        "color": "in colour" if frame.head["color"] else "",
    }
