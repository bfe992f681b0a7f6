"""Made-up DICOM series of all kinds, with what is to be read of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import dcmread
from pydicom.sequence import Sequence as Items
from pydicom.uid import BasicTextSRStorage, EnhancedMRImageStorage

from tests.stress.dicom.breaks import BROKEN, Slice
from tests.stress.dicom.draw import MAKERS, DrawnSeries, Made
from tests.stress.dicom.image_comparison import Image
from tests.stress.dicom.packing import Scale, image_of
from tests.stress.dicom.tags import (
    APART,
    DIMENSIONS,
    OF_FRAMES,
    SAID,
    TOLD,
    dimension,
    item,
    put,
    say_scale,
    say_steps,
    take,
    times_of,
)


def make_series(folder: Path, seed: int, number: int) -> Made:
    """Write the files of a series; the same numbers give the same files."""
    folder.mkdir(parents=True)
    kind = _KINDS[number % len(_KINDS)]
    drawn = DrawnSeries(folder, kind, seed, number)
    _MAKES[kind](drawn)
    return drawn.made


def _stack(drawn: DrawnSeries) -> None:
    """Make one volume of single slices, with or without something odd about it."""
    _single_slices(drawn, [{}], drawn.trait("modality", ("CT", "MR", "PT"), (3, 3, 1)))


def _several(drawn: DrawnSeries) -> None:
    """Make volumes that lie at the same places."""
    by, modality = drawn.pick(TOLD)
    count = drawn.pick((2, 3, 4, 11), (4, 4, 2, 1))
    drawn.made.traits |= {"by": f"{count} {by}", "modality": modality}
    _single_slices(drawn, [SAID[by](n) for n in range(count)], modality)


def _single_slices(drawn: DrawnSeries, said: list[dict[str, Any]], modality: str) -> None:
    """Write volumes of single slices, and what lies beside them."""
    maker = drawn.pick(MAKERS)
    drawn.made.traits["maker"] = maker
    volumes = _volumes(drawn, said, modality, maker)
    in_turn = len(said) > 1 and drawn.trait("slice by slice", (False, True), (1, 1))
    rounds = zip(*volumes, strict=True) if in_turn else volumes
    files = [one for each in rounds for one in each]
    for one, number in zip(files, drawn.numbered(len(files)), strict=True):
        put(one.dataset, {} if number is None else {"InstanceNumber": number})
    broken = drawn.trait("broken", ("", *BROKEN), (20, *(1 for _ in BROKEN)))
    if broken:
        BROKEN[broken](drawn, volumes)
    kept = {id(one) for each in volumes for one in each}
    for one, name in zip(files, drawn.names(len(files)), strict=True):
        if id(one) in kept or "PixelData" not in one.dataset:
            drawn.write(one.dataset, name)
    for volume in filter(None, volumes):
        _expect(drawn, volume)
    _aside(drawn, modality, maker)


def _volumes(
    drawn: DrawnSeries, said: list[dict[str, Any]], modality: str, maker: str
) -> list[list[Slice]]:
    """Draw the slices of volumes of which attributes say what each is."""
    count = drawn.shape[2]
    steps, shifts = _spaced(drawn, count)
    apart = 0.0
    if drawn.made.traits.get("by", "").partition(" ")[2] in APART:
        lie = drawn.trait("lie", ("at one place", "above", "between"), (6, 1, 1))
        apart = {"at one place": 0.0, "above": steps[-1] + 1, "between": 1 / len(said)}[lie]
    thickness = drawn.trait("thickness", ("as the step", "half", "none", "0"), (8, 2, 1, 0.5))
    between = drawn.trait("between", ("none", "the step", "wrong", "minus"), (5, 5, 0.7, 0.5))
    # Some programs take no more bits for a slice than its values need.
    other = drawn.packing
    if other.bits < other.allocated and not other.junk and not other.inverted:
        more = drawn.trait("bits vary", (0, 1, 2), (12, 1, 1))
        other = replace(other, bits=min(other.bits + more, other.allocated))
    timed = drawn.trait("times", ("one", "of each slice"), (2, 1)) == "of each slice"
    volumes: list[list[Slice]] = []
    for v, tags in enumerate(said):
        stored = drawn.packing.draw(drawn.rng, (count, *drawn.size))
        scales = drawn.scales(count)
        volumes.append([])
        for n in range(count):
            dataset, step = drawn.header(modality, maker), steps[n] + v * apart
            times = times_of(v * count + n) if timed else {}
            put(dataset, drawn.place(drawn.affine, step, shifts[n]) | times | tags)
            packing = other if n % 2 else drawn.packing
            packing.pack(dataset, stored[n])
            say_scale(dataset, scales[n])
            say_steps(dataset, thickness, between, drawn.step)
            values = packing.means(stored[n], scales[n])
            volumes[-1].append(Slice(dataset, values, step, shifts[n]))
    return volumes


def _spaced(drawn: DrawnSeries, count: int) -> tuple[list[float], np.ndarray]:
    """Draw where slices lie along the normal, in steps, and by how much each is shifted."""
    steps, shifts = np.arange(count, dtype=float), np.zeros((count, 3))
    how = drawn.trait("slices", ("even", "gap", "uneven", "tilt"), (14, 1, 1, 1))
    if how == "gap" and count > 1:
        steps[int(drawn.rng.integers(1, count)) :] += int(drawn.pick((1, 1, 2)))
    elif how == "uneven":
        # By far more than a slice may lie off, and than the text of its place loses.
        wider = drawn.rng.permutation(np.arange(count - 1) % 2)
        least = 0.3 + 5 * 10.0**-drawn.decimals / drawn.step
        steps[1:] += np.cumsum(wider * drawn.rng.uniform(least, least + 0.4, count - 1))
    elif how == "tilt":
        degrees = float(drawn.rng.uniform(2, 25) * drawn.pick((-1, 1)))
        drawn.made.traits["slices"] = f"tilt {degrees:.1f}"
        down = drawn.affine[:3, 1] / np.linalg.norm(drawn.affine[:3, 1])
        shifts = steps[:, None] * drawn.step * np.tan(np.radians(degrees)) * down
    return steps.tolist(), shifts


def _expect(drawn: DrawnSeries, volume: list[Slice]) -> None:
    """Note what is to be read of slices."""
    apart = np.diff([one.step for one in volume]) if len(volume) > 1 else np.ones(1)
    if len(volume) > 1 and (np.ptp(apart) > 1e-6 or volume[-1].shift.any()):
        pages = [one.values for one in volume]
        # Between others that are missing all are kept, else those at the ends; none where they are
        # moved sideways, as the text of their places has it.
        moved = volume[-1].shift.any() or drawn.made.said_mm > 0
        kept = [] if moved else pages if not (apart % 1).any() else [pages[0], pages[-1]]
        drawn.made.uneven.append(kept)
        return
    affine = drawn.affine.copy()
    affine[:3, 3] = (affine @ [0, 0, volume[0].step, 1])[:3] + volume[0].shift
    affine[:3, 2] *= apart[0]
    if drawn.made.traits.get("broken") == "no pixel spacing":
        affine[:3, :2] /= np.linalg.norm(affine[:3, :2], axis=0)
    drawn.made.volumes.append(image_of(np.array([one.values for one in volume]), affine))


def _aside(drawn: DrawnSeries, modality: str, maker: str) -> None:
    """Put beside the slices what is none of them."""
    names = ("", "localizer", "localizer of its own", "copy", "copy with another UID")
    names += ("report", "empty file", "text", "no preamble", "folders")
    what = drawn.trait("beside", names, (12, *(1 for _ in names[1:])))
    first = min(drawn.folder.iterdir())
    if what.startswith("localizer"):
        dataset = drawn.header(modality, maker, 2 if what.endswith("own") else 1)
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
        turned = drawn.affine[:, [1, 2, 0, 3]].copy()
        turned[:3, 2] *= 5 / np.linalg.norm(turned[:3, 2])
        put(dataset, drawn.place(turned, 0))
        stored = drawn.packing.draw(drawn.rng, (1, *drawn.size))
        drawn.packing.pack(dataset, stored[0])
        dataset.InstanceNumber, dataset.SliceThickness = 500, 5.0
        drawn.write(dataset, "ZZ0000.dcm")
        drawn.made.volumes.append(image_of(drawn.packing.means(stored, None), turned))
    elif what == "copy":
        shutil.copy(first, drawn.folder / f"copy of {first.name}")
    elif what == "copy with another UID":
        dataset = dcmread(first)
        dataset.SOPInstanceUID += ".7"
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.save_as(drawn.folder / f"copy of {first.name}")
    elif what == "no preamble":
        for path in drawn.folder.iterdir():
            path.write_bytes(path.read_bytes()[132:])
    elif what == "folders":
        for n, path in enumerate(sorted(drawn.folder.iterdir())):
            (drawn.folder / f"part {n % 2}").mkdir(exist_ok=True)
            path.rename(drawn.folder / f"part {n % 2}" / path.name)
    elif what == "empty file":
        (drawn.folder / f"AA{first.suffix}").touch()
    elif what == "text":
        (drawn.folder / "README.txt").write_text("Exported.\n")
    elif what == "report":
        dataset = dcmread(first)
        take(dataset, "PixelData", "Rows", "Columns")
        dataset.SOPClassUID, dataset.Modality = BasicTextSRStorage, "SR"
        dataset.save_as(drawn.folder / "SR.dcm")


def _two_series(drawn: DrawnSeries) -> None:
    """Make two volumes, each a series."""
    modality, maker = drawn.pick(("CT", "MR")), drawn.pick(MAKERS)
    drawn.made.traits |= {"modality": modality, "maker": maker}
    how = drawn.trait("told by", ("UID", "Series Number alone"), (3, 1))
    count = drawn.shape[2]
    scales = drawn.scales(count)
    for series in (1, 2):
        affine = drawn.affine.copy()
        affine[:3, 3] += 0 if drawn.chance(0.5) else count * affine[:3, 2] * (series - 1)
        stored = drawn.packing.draw(drawn.rng, (count, *drawn.size))
        for n, name in enumerate(drawn.names(count)):
            dataset = drawn.header(modality, maker, series)
            if how != "UID":
                dataset.SeriesInstanceUID = f"{drawn.uid}.1"
            put(dataset, drawn.place(affine, n) | {"InstanceNumber": n + 1})
            drawn.packing.pack(dataset, stored[n])
            say_scale(dataset, scales[n])
            say_steps(dataset, "as the step", "none", drawn.step)
            drawn.write(dataset, f"{series}{name}")
        drawn.made.volumes.append(_meant(drawn, stored, scales, affine))


def _meant(
    drawn: DrawnSeries, stored: np.ndarray, scales: list[Scale], affine: np.ndarray
) -> Image:
    pages = [drawn.packing.means(*one) for one in zip(stored, scales, strict=True)]
    return image_of(np.array(pages), affine)


def _enhanced(drawn: DrawnSeries) -> None:
    """Make one file with a frame for each slice."""
    maker, count, affine = drawn.pick(MAKERS), drawn.shape[2], drawn.affine
    drawn.made.traits["maker"] = maker
    by = drawn.trait("by", ("", "phases", "echoes", "b-values", "stacks"), (3, 1, 1, 1, 1))
    steps, shifts = _spaced(drawn, count)
    apart = steps[-1] + 3 if by == "stacks" else 0.0
    volumes = 1 if not by else int(drawn.rng.integers(2, 4))
    order = _frame_order(drawn, volumes, count)
    stored = drawn.packing.draw(drawn.rng, (volumes, count, *drawn.size))
    scale = dict(zip(order, drawn.scales(len(order)), strict=True))
    dataset = drawn.header("MR", maker)
    dataset.SOPClassUID = EnhancedMRImageStorage
    dataset.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    take(dataset, "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
    said = drawn.place(affine, 0)
    turn = item(ImageOrientationPatient=said["ImageOrientationPatient"])
    measures = item(PixelSpacing=said["PixelSpacing"], SliceThickness=f"{drawn.step:.8g}")
    if drawn.trait("between", (False, True), (1, 1)):
        measures.SpacingBetweenSlices = measures.SliceThickness
    each_turned = drawn.trait("orientation", ("shared", "per frame"), (2, 1)) == "per frame"
    shared, frames = item(PixelMeasuresSequence=Items([measures])), []
    if not each_turned:
        shared.PlaneOrientationSequence = Items([turn])
    for v, k in order:
        place = drawn.place(affine, steps[k] + v * apart, shifts[k])["ImagePositionPatient"]
        content = item(StackID=str(v + 1) if apart else "1", InStackPositionNumber=k + 1)
        content.TemporalPositionIndex = v + 1 if by == "phases" else 1
        content.DimensionIndexValues = [v + 1, k + 1] if apart else [1, k + 1, v + 1]
        frame = item(
            PlanePositionSequence=Items([item(ImagePositionPatient=place)]),
            FrameContentSequence=Items([content]),
        )
        if each_turned:
            frame.PlaneOrientationSequence = Items([turn])
        put(frame, OF_FRAMES[by](v))
        if scale[v, k] is not None:
            values = item(RescaleType="US")
            say_scale(values, scale[v, k])
            frame.PixelValueTransformationSequence = Items([values])
        frames.append(frame)
    dataset.DimensionIndexSequence = Items([dimension(*one) for one in DIMENSIONS[by]])
    dataset.SharedFunctionalGroupsSequence = Items([shared])
    dataset.PerFrameFunctionalGroupsSequence = Items(frames)
    dataset.NumberOfFrames = len(order)
    drawn.packing.pack(dataset, np.array([stored[at] for at in order]))
    drawn.write(dataset, "enhanced.dcm")
    for v in range(volumes):
        values = [drawn.packing.means(stored[v, k], scale[v, k]) for k in range(count)]
        places = [(steps[k] + v * apart, shifts[k]) for k in range(count)]
        _expect(drawn, [Slice(dataset, values[k], *places[k]) for k in range(count)])


def _frame_order(drawn: DrawnSeries, volumes: int, count: int) -> list[tuple[int, int]]:
    """Draw the order of frames: of which volume, and which slice, each is."""
    order = [(v, k) for v in range(volumes) for k in range(count)]
    how = drawn.trait("frames", ("", "reversed", "slice by slice", "shuffled"), (3, 2, 2, 1))
    return {
        "": order,
        "reversed": order[::-1],
        "slice by slice": sorted(order, key=lambda one: one[1]),
        "shuffled": [order[int(n)] for n in drawn.rng.permutation(len(order))],
    }[how]


def _mosaic(drawn: DrawnSeries) -> None:
    """Make a file of one picture with all slices side by side, for each of two times."""
    (i, j, count), affine = drawn.shape, drawn.affine
    side = int(np.ceil(np.sqrt(count)))
    for v in (1, 2):
        stored = drawn.packing.draw(drawn.rng, (side * j, side * i))
        dataset = drawn.header("MR", "SIEMENS")
        corner = affine.copy()
        corner[:3, 3] -= affine[:3, :2] @ [(side - 1) * i / 2, (side - 1) * j / 2]
        put(dataset, drawn.place(corner, 0))
        drawn.packing.pack(dataset, stored)
        say_steps(dataset, "as the step", "the step", drawn.step)
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
        dataset.InstanceNumber = dataset.AcquisitionNumber = v
        block = dataset.private_block(0x0019, "SIEMENS MR HEADER", create=True)
        block.add_new(0x0A, "US", count)
        drawn.write(dataset, f"{v}.dcm")
    drawn.made.refusal = "Siemens mosaic; convert with dcm2niix"


_KINDS = (
    *("stack", "several", "stack", "enhanced", "stack"),
    *("several", "two series", "stack", "several", "mosaic"),
)
_MAKES: dict[str, Callable[[DrawnSeries], None]] = {
    "stack": _stack,
    "several": _several,
    "two series": _two_series,
    "enhanced": _enhanced,
    "mosaic": _mosaic,
}
