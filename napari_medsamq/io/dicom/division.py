"""What tells the volumes of a DICOM series apart whose pictures are of one kind."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from napari_medsamq.errors import VolumeError
from napari_medsamq.io.dicom.series import Frame, along_normal, grid_of, in_order, named, positions

# In mm: what is one place, and by how much places of two volumes may vary that are meant to be one.
_SAME_PLACE, _NEAR_PLACE = 1e-3, 0.05
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


@dataclass(frozen=True, eq=False)
class Division:
    """Frames, by the volumes that they belong to.

    Attributes
    ----------
    groups : list of (str, list of Frame)
        What tells each from the others, which is empty where there is one, and its frames.
    note : str
        What the user should know of it.
    private : bool
        Whether the texts may name the patient.
    """

    groups: list[tuple[str, list[Frame]]]
    note: str = ""
    private: bool = False


def divided(frames: list[Frame]) -> Division:
    """Divide frames of one size and direction into volumes.

    Raises
    ------
    VolumeError
        If several slices lie at one place and nothing tells which belong together.
    """
    whole = Division([("", frames)])
    if len(frames) == 1 or not frames[0].is_placed:
        return whole
    places = number_places(frames)
    counts = Counter(places.values())
    crowd = max(counts.values())
    if crowd > 1 and (ordered := _finer_than_said(frames)):
        return Division([("", ordered)])
    names = _COMMON if crowd == 1 and (_is_even(frames) or _lacks_slices(frames)) else None
    most = max(crowd, len(frames) // 2)
    for division in _divisions(frames, names, most):
        groups = [group for _, group in division.groups]
        few = len(groups) <= crowd or crowd == 1 or _are_in_one_piece(groups, places)
        if few and all(map(_is_even, groups)) and not (division.private and crowd == 1):
            return division
    if crowd == 1:
        apart = None if _is_even(frames) else _by_what_is_common(frames, places)
        return _by_near_places(frames) or apart or whole
    # Of which not each is complete: the one that is chosen is told to be uneven. What files are
    # called is then too little.
    for division in _divisions(frames, names, most):
        alone = _is_alone(division, places)
        if alone and len(division.groups) <= crowd and not (division.private and len(counts) > 1):
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


def _by_near_places(frames: Sequence[Frame]) -> Division | None:
    """Divide uneven volumes that lie at the same places but for a bit."""
    places = number_places(frames, _NEAR_PLACE)
    counts = Counter(places.values())
    crowd = max(counts.values())
    for division in _divisions(frames, _COMMON, crowd):
        if len(division.groups) <= crowd and _is_alone(division, places):
            return division
    # What may differ within a volume tells those apart that each have a slice at every place.
    if len(counts) > 1 and set(counts.values()) == {crowd}:
        for division in _divisions(frames, None, crowd):
            full = len(division.groups) == crowd and _is_alone(division, places)
            if full and not division.private:
                return division
    return None


def _by_what_is_common(frames: Sequence[Frame], places: dict[int, int]) -> Division | None:
    """Divide uneven volumes by what all slices of one have in common, if each may well be one.

    They then have equally many slices, or none lies between those of another.
    """
    for division in _divisions(frames, _COMMON, len(frames) // 2):
        groups = [group for _, group in division.groups]
        sizes = {len(group) for group in groups}
        if min(sizes) > 1 and (len(sizes) == 1 or _are_in_one_piece(groups, places)):
            return division
    return None


def _is_alone(division: Division, places: dict[int, int]) -> bool:
    """Tell whether no volume has several slices at one place."""
    groups = ([places[id(frame)] for frame in group] for _, group in division.groups)
    return all(len(set(numbers)) == len(numbers) for numbers in groups)


def number_places(frames: Sequence[Frame], apart: float = _SAME_PLACE) -> dict[int, int]:
    """Number the places along the normal at which slices lie, by the identity of frames.

    Those that are no farther apart than so many mm are one.
    """
    heights = positions(frames) @ frames[0].axes[:, 2]
    order = np.argsort(heights, kind="stable")
    steps = np.diff(heights[order], prepend=heights[order[0]]) > apart
    return {id(frames[n]): int(number) for n, number in zip(order, np.cumsum(steps), strict=True)}


def _is_even(frames: Sequence[Frame]) -> bool:
    """Tell whether two or more slices make an even stack."""
    if len(frames) < 2 or len(set(number_places(frames).values())) < len(frames):
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
) -> Iterator[Division]:
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
        yield Division(
            [(text, groups[key]) for text, key in zip(said, ordered, strict=True)],
            _only(*filed) if filed else "",
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


def _only(*names: str) -> str:
    told = " and the ".join(names)
    return (
        f"Nothing but the {told} tell{'s' if len(names) == 1 else ''} the volumes of this series "
        "apart. Look through the slices: all have to be of one volume."
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


def _ranked(frames: Sequence[Frame], places: dict[int, int]) -> Division | None:
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


def _by_rank(order: Sequence[Frame], places: dict[int, int], crowd: int, name: str) -> Division:
    groups: list[list[Frame]] = [[] for _ in range(crowd)]
    seen: Counter[int] = Counter()
    for frame in order:
        place = places[id(frame)]
        groups[seen[place]].append(frame)
        seen[place] += 1
    return Division(
        [(f"{name} order {n}", group) for n, group in enumerate(groups, start=1)],
        _only(f"order of {name}"),
    )


def _numbers(uid: str) -> tuple[int, ...]:
    return tuple(int(part) for part in uid.split(".") if part.isdigit())
