"""Which frames of a DICOM series make one volume."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from napari_medsamq._series import Frame, along_normal, grid_of, in_order, named, positions
from napari_medsamq._source import Part
from napari_medsamq.errors import ChoiceError, VolumeError
from napari_medsamq.geometry import PLANES

_SAME_PLACE = 1e-3  # mm
# Of directions, and of pixels in mm.
_SAME_TURN = 1e-3

# What all slices of one volume have in common, wherever they lie.
_COMMON = frozenset(
    (
        *("EchoTime", "EffectiveEchoTime", "EchoNumbers", "TemporalPositionIdentifier"),
        *("TemporalPositionIndex", "DiffusionBValue", "b-value", "DiffusionDirectionality"),
        *("DiffusionGradientOrientation", "KVP", "part"),
        *("ConvolutionKernel", "ReconstructionDiameter", "ContrastBolusAgent", "ImageType"),
        *("FrameType", "ComplexImageComponent", "StackID", "SequenceName", "CorrectedImage"),
        "NominalPercentageOfCardiacPhase",
    )
)
# Of these, numbers that differ by less than a hundredth are one.
_MEASURED = frozenset(
    ("EchoTime", "EffectiveEchoTime", "DiffusionBValue", "b-value", "KVP", "ReconstructionDiameter")
)
_SAME_NUMBER = 1.01
# What is counted up from volume to volume, but may differ between the slices of one.
_COUNTED = (
    *("TriggerTime", "NominalCardiacTriggerDelayTime", "AcquisitionDateTime", "AcquisitionTime"),
    *("FrameAcquisitionDateTime", "FrameReferenceTime", "FrameReferenceDateTime"),
    *("ContentTime", "AcquisitionNumber"),
)
_INSTANCE, _UID = "Instance Number", "SOP Instance UID"
# Planes for each slice up to which a grid on which some are missing is one volume.
_MOST_LACKING = 1.5
_AT_ONCE = 3  # attributes that together tell volumes apart

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
class Found:
    """The volume that was chosen of a series.

    Attributes
    ----------
    frames : list of Frame
    part : Part or None
        Which it is; None where there is no other, or none was chosen.
    warnings : tuple of str
    """

    frames: list[Frame]
    part: Part | None = None
    warnings: tuple[str, ...] = ()


def choose(where: Path, frames: list[Frame], volume: int | None) -> Found:
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
        return Found(candidates[0].frames)
    if volume is not None and 1 <= volume <= len(candidates):
        one = candidates[volume - 1]
        part = Part("volume", volume, volume, len(candidates), one.by, one.private)
        return Found(one.frames, part, note)
    stacks = [one for one in candidates if len(one.frames) > 1 and not one.localizer]
    others = [one for one in candidates if one not in stacks]
    if volume is None and len(stacks) == 1 and all(_is_aside(one) for one in others):
        return Found(stacks[0].frames, None, (*note, _left_out(others)))
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
    if not (_is_placed(one[0]) and _is_alike(one[0], other[0])):
        return False
    together = [*one, *other]
    return len(set(_places(together).values())) < len(together)


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
        division = _divided(kind)
        notes += [division.note] if division.note else []
        for by, group in division.groups:
            both = ", ".join(part for part in (text, by) if part)
            found.append(Candidate(both, group, _is_localizer(group[0]), division.private))
    return found, tuple(dict.fromkeys(notes))


# --- pictures of one kind ---


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
    lost = [kind for kind in kinds if not _is_placed(kind[0])]
    # A slice of the volume may have lost its place.
    placed = [kind[0] for kind in kinds if _is_placed(kind[0])]
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
        and _is_placed(one) == _is_placed(other)
        and _is_near(one.place["orientation"], other.place["orientation"])
        and _is_near(one.place["spacing"], other.place["spacing"])
    )


def _picture(frame: Frame) -> tuple[Any, ...]:
    return (*frame.size, frame.head["color"])


def _is_placed(frame: Frame) -> bool:
    return None not in (frame.place["position"], frame.place["orientation"])


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
    spacing, placed = frame.place["spacing"], _is_placed(frame)
    across, down, normal = frame.axes.T
    plane = PLANES[2 - int(np.abs(normal).argmax())]
    turn = " and ".join(" ".join(f"{x + 0.0:.3g}" for x in axis) for axis in (across, down))
    return {
        "kind": "localizer" if _is_localizer(frame) else "",
        "plane": plane if placed else "without a place",
        "turn": f"rows and columns along {turn}" if placed else "",
        "size": f"{columns} x {rows} pixels",
        "pixel": "" if spacing is None else f"pixels of {spacing[1]:.3g} x {spacing[0]:.3g} mm",
        "color": "in colour" if frame.head["color"] else "",
    }


# --- volumes of one kind ---


@dataclass(frozen=True, eq=False)
class _Division:
    """Frames of one kind, by what tells volumes apart; see `Candidate` and `Found`."""

    groups: list[tuple[str, list[Frame]]]
    note: str = ""
    private: bool = False


def _divided(frames: list[Frame]) -> _Division:
    whole = _Division([("", frames)])
    if len(frames) == 1 or not _is_placed(frames[0]):
        return whole
    places = _places(frames)
    counts = Counter(places.values())
    crowd = max(counts.values())
    if crowd > 1 and (ordered := _finer_than_said(frames)):
        return _Division([("", ordered)])
    names = _COMMON if crowd == 1 and (_is_even(frames) or _lacks_slices(frames)) else None
    most = max(crowd, len(frames) // 2)
    for division in _divisions(frames, names, most):
        groups = [group for _, group in division.groups]
        few = len(groups) <= crowd or crowd == 1 or _are_in_one_piece(groups, places)
        if few and all(map(_is_even, groups)) and not (division.private and crowd == 1):
            return division
    if crowd == 1:
        return whole
    # Of which not each is complete: the one that is chosen is told to be uneven. What files are
    # called is then too little.
    for division in _divisions(frames, names, most):
        alone = [len({places[id(f)] for f in group}) == len(group) for _, group in division.groups]
        if all(alone) and len(alone) <= crowd and not (division.private and len(counts) > 1):
            return division
    ranked = _ranked(frames, places)
    if ranked is not None:
        return ranked
    place = next(place for place, count in counts.items() if count > 1)
    twice = [frame.name for frame in frames if places[id(frame)] == place]
    raise VolumeError(
        f"{frames[0].path.parent}: several slices of series {frames[0].head['series']} lie at one "
        f"place ({named(twice)}), and nothing in them says which belong together. Take the "
        "others out of the folder."
    )


def _places(frames: Sequence[Frame]) -> dict[int, int]:
    """Number the places along the normal at which slices lie, by the identity of frames."""
    heights = positions(frames) @ frames[0].axes[:, 2]
    order = np.argsort(heights, kind="stable")
    steps = np.diff(heights[order], prepend=heights[order[0]]) > _SAME_PLACE
    return {id(frames[n]): int(number) for n, number in zip(order, np.cumsum(steps), strict=True)}


def _is_even(frames: Sequence[Frame]) -> bool:
    """Tell whether two or more slices make an even stack."""
    if len(frames) < 2 or len(set(_places(frames).values())) < len(frames):
        return False
    grid = grid_of(along_normal(frames))
    return grid.complete and grid.fits


def _lacks_slices(frames: Sequence[Frame]) -> bool:
    """Tell whether slices would make an even stack if there were some more of them."""
    grid = grid_of(along_normal(frames))
    return grid.fits and grid.count <= _MOST_LACKING * len(frames)


def _are_in_one_piece(groups: Sequence[Sequence[Frame]], places: dict[int, int]) -> bool:
    """Tell whether no slice of another group lies between those of one, as between odd ones."""
    numbers = [[places[id(frame)] for frame in group] for group in groups]
    return all(max(group) - min(group) < len(group) for group in numbers)


def _finer_than_said(frames: Sequence[Frame]) -> list[Frame]:
    """Return the slices of one volume that lie closer than the text of their places can say.

    They are in the order of their instance numbers, and as far apart as the files say. Empty where
    it is not so.
    """
    instances = {frame.head["instance"] for frame in frames}
    if len(instances) < len(frames) or None in instances:
        return []
    ordered = sorted(frames, key=_instance)
    heights = positions(ordered) @ ordered[0].axes[:, 2]
    if heights[0] > heights[-1]:
        ordered, heights = ordered[::-1], heights[::-1]
    if (np.diff(heights) < 0).any() or not np.ptp(heights):
        return []
    grid = grid_of(ordered)
    return ordered if grid.said and grid.complete and grid.fits else []


def _divisions(
    frames: Sequence[Frame], names: frozenset[str] | None, most: int
) -> Iterator[_Division]:
    """Yield the ways to divide frames by what differs, the simplest and likeliest first.

    Parameters
    ----------
    frames : sequence of Frame
    names : frozenset of str or None
        Attributes to look at; all if None.
    most : int
        Groups into which one attribute may divide them.
    """
    tags: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for frame in frames for name in frame.place["splits"]):
        texts = [frame.place["splits"].get(name, "") for frame in frames]
        # Of what lies evenly, some slices may just not say it.
        if names is None or (name in names and all(texts)):
            tags[name] = _values(name, texts)
    values = tags if names is not None else {**tags, **_filed(frames)}
    seen, varying = set(), []
    for name, each in values.items():
        numbers = {value: n for n, value in enumerate(dict.fromkeys(each))}
        pattern = tuple(numbers[value] for value in each)
        # Of attributes that divide alike the likeliest says it.
        if 2 <= len(numbers) <= most and pattern not in seen:
            seen.add(pattern)
            varying.append(name)
    several = [some for n in range(1, _AT_ONCE + 1) for some in combinations(varying, n)]
    # What the header says before what the files are called.
    several.sort(key=lambda some: not set(some) <= set(tags))
    for some in several:
        groups: dict[tuple[str, ...], list[Frame]] = defaultdict(list)
        for n, frame in enumerate(frames):
            groups[tuple(values[name][n] for name in some)].append(frame)
        ordered = sorted(groups, key=lambda key: [in_order(value) for value in key])
        texts = [_differing([key[n] for key in ordered]) for n in range(len(some))]
        said = [
            ", ".join(f"{name} {each[n]}" for name, each in zip(some, texts, strict=True))
            for n in range(len(ordered))
        ]
        filed = [name for name in some if name not in tags]
        yield _Division(
            [(text, groups[key]) for text, key in zip(said, ordered, strict=True)],
            _only(filed[0]) if filed else "",
            private=bool(filed),
        )


def _filed(frames: Sequence[Frame]) -> dict[str, list[str]]:
    """Return how the files of frames are called, as people and programs name volumes by that."""
    paths = [frame.path for frame in frames]
    top = os.path.commonpath([path.parent for path in paths])
    return {
        "folder": [os.path.relpath(path.parent, top) for path in paths],
        "file": [path.name for path in paths],
        # Without the number of the slice.
        "file name": [re.sub(r"\d+\D*$", "", path.stem) for path in paths],
    }


def _only(name: str) -> str:
    return (
        f"Nothing but the {name} tells the volumes of this series apart. Look through the slices: "
        "all have to be of one volume."
    )


def _values(name: str, texts: Sequence[str]) -> list[str]:
    """Return the values of an attribute, those that mean the same as one text."""
    called: dict[float, str] = {}
    found = {}
    for text in sorted(set(texts), key=in_order):
        number, _ = in_order(text)
        last = next(reversed(called), None)
        same = last is not None and (
            number == last or (name in _MEASURED and last > 0 and number <= last * _SAME_NUMBER)
        )
        if number == float("inf"):
            found[text] = text
        elif same and last is not None:
            found[text] = called[last]
        else:
            called[number] = found[text] = text
    return [found[text] for text in texts]


def _differing(texts: Sequence[str]) -> list[str]:
    """Leave out what parts of several values have in common."""
    parts = [text.split("\\") for text in texts]
    common = set.intersection(*map(set, parts))
    shown = ["\\".join(part for part in one if part not in common) for one in parts]
    if any("\\" in text for text in texts) and len(set(shown)) == len(set(texts)):
        return [text or "none other" for text in shown]
    return [text or "none" for text in texts]


def _ranked(frames: Sequence[Frame], places: dict[int, int]) -> _Division | None:
    """Divide frames by their order at each place, where there are equally many; else None."""
    counts = Counter(places.values())
    crowd = max(counts.values())
    if set(counts.values()) != {crowd}:
        return None
    for name in _COUNTED:
        times = [in_order(frame.place["splits"].get(name, "")) for frame in frames]
        at = {(places[id(frame)], time) for frame, time in zip(frames, times, strict=True)}
        if len(at) == len(frames) and max(times)[0] < float("inf"):
            order = [frame for _, frame in sorted(zip(times, frames, strict=True), key=_first)]
            return _by_rank(order, places, crowd, name)
    keys: dict[str, Callable[[Frame], Any]] = {
        _INSTANCE: lambda frame: (_instance(frame), frame.number),
        _UID: lambda frame: (_numbers(frame.head["uid"]), frame.number),
    }
    if any(frame.head["instance"] is None for frame in frames):
        del keys[_INSTANCE]
    for name, key in keys.items():
        order = sorted(frames, key=key)
        # By chance, places come in no such order.
        if len({key(frame) for frame in frames}) == len(frames) and _is_regular(
            [places[id(frame)] for frame in order], crowd
        ):
            return _by_rank(order, places, crowd, name)
    return None


def _instance(frame: Frame) -> float:
    number = frame.head["instance"]
    return float("inf") if number is None else float(number)


def _first(pair: tuple[Any, Frame]) -> Any:
    return pair[0]


def _is_regular(order: Sequence[int], crowd: int) -> bool:
    """Tell whether places are gone through several times alike, or are taken one by one."""
    count = len(order) // crowd
    rounds = {tuple(order[n : n + count]) for n in range(0, len(order), count)}
    if len(rounds) == 1 and len(set(order[:count])) == count:
        return True
    return all(len(set(order[n : n + crowd])) == 1 for n in range(0, len(order), crowd))


def _by_rank(order: Sequence[Frame], places: dict[int, int], crowd: int, name: str) -> _Division:
    groups: list[list[Frame]] = [[] for _ in range(crowd)]
    seen: Counter[int] = Counter()
    for frame in order:
        place = places[id(frame)]
        groups[seen[place]].append(frame)
        seen[place] += 1
    return _Division(
        [(f"{name} order {n}", group) for n, group in enumerate(groups, start=1)],
        _only(f"order of {name}"),
    )


def _numbers(uid: str) -> tuple[int, ...]:
    return tuple(int(part) for part in uid.split(".") if part.isdigit())
