"""Made-up DICOM series of all kinds, with what is to be read of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.dataelem import RawDataElement
from pydicom.sequence import Sequence as Items
from pydicom.tag import Tag
from pydicom.uid import (
    BasicTextSRStorage,
    CTImageStorage,
    EnhancedMRImageStorage,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
)

from tests.helpers.grids import ALL_48, grid_affine
from tests.stress.dicom_packing import SYNTAXES, Packing, Scale, image_of
from tests.stress.image_comparison import Image
from tests.stress.samples import slice_of

_CLASSES = {
    "CT": CTImageStorage,
    "MR": MRImageStorage,
    "PT": PositronEmissionTomographyImageStorage,
}
_MAKERS = ("SIEMENS", "GE MEDICAL SYSTEMS", "Philips Medical Systems", "TOSHIBA", "unnamed")
_VARY_MM, _VARY = 0.02, 1e-5
LOST, NO_SLOPE = "do not say where they lie", "Rescale Slope (0028,1053)"


@dataclass
class Made:
    """What was written, and what is to be read.

    Attributes
    ----------
    kind : str
    traits : dict of str to Any
        What was drawn, but for what is as in most files.
    volumes : list of Image
        What the files say.
    uneven : list of (list of array (rows, columns) float64)
        Slices of volumes beside these that have to be resampled first; of those that are kept when
        this is done.
    refusal : str
        What this program says of files that it reads nothing of; empty where it reads them.
    said_mm : float
        By how much the text of places and directions may miss where voxels lie.
    """

    kind: str
    traits: dict[str, Any]
    volumes: list[Image] = field(default_factory=list)
    uneven: list[list[np.ndarray]] = field(default_factory=list)
    refusal: str = ""
    said_mm: float = 0.0

    def __str__(self) -> str:
        said = (name if v is True else f"{name} {v}" for name, v in self.traits.items())
        return ", ".join((self.kind, *said))


@dataclass(eq=False)
class _Slice:
    """One file of a stack: header, values as they are meant, place in steps, and shift in mm."""

    dataset: Dataset
    values: np.ndarray
    step: float
    shift: np.ndarray


class Maker:
    """Makes one series.

    Parameters
    ----------
    folder : Path
        Where its files go.
    seed, number : int
        The same ones give the same files.
    """

    def __init__(self, folder: Path, seed: int, number: int) -> None:
        self._folder = folder
        self._rng = np.random.default_rng([seed, number])
        self._uid = f"1.2.826.0.1.3680043.2.1125.{seed + 1}.{number + 1}"
        self._made = Made(KINDS[number % len(KINDS)], {})

    def make(self) -> Made:
        """Write the files."""
        self._folder.mkdir(parents=True)
        _MAKES[self._made.kind](self)
        return self._made

    def _chance(self, share: float) -> bool:
        return bool(self._rng.random() < share)

    def _pick(self, values: Sequence[Any], weights: Sequence[float] | None = None) -> Any:
        shares = None if weights is None else np.array(weights) / sum(weights)
        return values[int(self._rng.choice(len(values), p=shares))]

    def _trait(self, name: str, values: Sequence[Any], weights: Sequence[float]) -> Any:
        """Draw a trait; the first value is the usual one, of which nothing is said."""
        value = self._pick(values, weights)
        if value != values[0]:
            self._made.traits[name] = value
        return value

    # --- where slices lie ---

    @cached_property
    def _shape(self) -> tuple[int, int, int]:
        """Columns, rows and slices."""
        i, j, k = (int(self._rng.integers(*ends)) for ends in ((9, 20), (9, 20), (3, 9)))
        if self._made.kind == "stack":
            k = self._trait("slice count", (k, 1, 2), (20, 1, 1))
        return i, j, k

    @cached_property
    def _affine(self) -> np.ndarray:
        turned = self._trait("turned", ("", "oblique", "a bit"), (4, 4, 1))
        right = [one for one in ALL_48 if np.linalg.det(grid_affine(*one)[:3, :3]) > 0]
        axes, signs = right[0] if self._chance(0.25) else self._pick(right)
        limit = {"": 0, "oblique": 40, "a bit": 1}[turned]
        degrees = tuple(self._rng.uniform(-limit, limit, 3).round(2).tolist())
        sizes = self._rng.uniform(0.4, 3, 3).round(self._pick((1, 2, 4)))
        if self._chance(0.6):
            sizes[1] = sizes[0]
        affine = grid_affine(axes, signs, degrees, tuple(sizes.tolist()))
        affine[:3, 3] = self._rng.uniform(-200, 200, 3).round(self._pick((0, 1, 3)))
        return affine

    @property
    def _step(self) -> float:
        return float(np.linalg.norm(self._affine[:3, 2]))

    @cached_property
    def _decimals(self) -> int:
        decimals: int = self._trait("decimals", (8, 4, 3, 2, 1), (8, 1, 1, 1, 1))
        if decimals < 8:
            # Of the first and last position, and of the direction over the whole picture.
            size = float(np.linalg.norm(self._affine[:3, :3] @ self._shape))
            lost = 10.0**-decimals + 0.5 * 10.0 ** -max(decimals, 2) * size
            self._made.said_mm = 3**0.5 * lost
        return decimals

    @cached_property
    def _exponents(self) -> bool:
        return self._decimals == 8 and bool(self._trait("exponents", (False, True), (12, 1)))

    @cached_property
    def _varying(self) -> str:
        """Draw what varies a bit between slices: motors, or numbers of other computers."""
        names = ("", "places", "directions")
        varying: str = self._trait("varying", names, (16, 1, 1))
        if varying:
            size = float(np.linalg.norm(self._affine[:3, :3] @ self._shape))
            self._made.said_mm += 2 * (_VARY_MM if varying == "places" else _VARY * size)
        return varying

    def _place(self, affine: np.ndarray, step: float, shift: Any = 0.0) -> dict[str, list[str]]:
        """Return what says where a slice of a grid lies, so many steps along."""
        sizes = np.linalg.norm(affine[:3, :3], axis=0)
        decimals = self._decimals
        position = (affine @ [0, 0, step, 1])[:3] + shift
        turn = (affine[:3, :2] / sizes[:2]).T.ravel()
        fine = 12 if decimals == 8 else max(decimals, 2)
        if self._varying == "places":
            position = position + self._rng.uniform(-_VARY_MM, _VARY_MM, 3)
        elif self._varying == "directions":
            turn = turn + self._rng.uniform(-_VARY, _VARY, 6)
        if self._exponents:
            texts = [[f"{number + 0.0:.8e}" for number in each] for each in (position, turn)]
        else:
            texts = [[f"{number + 0.0:.{decimals}f}" for number in position]]
            texts.append([f"{number + 0.0:.{fine}f}" for number in turn])
        return {
            "ImagePositionPatient": texts[0],
            "ImageOrientationPatient": texts[1],
            "PixelSpacing": [f"{sizes[1]:.8g}", f"{sizes[0]:.8g}"],
        }

    # --- values ---

    @cached_property
    def _packing(self) -> Packing:
        allocated = self._trait("bits allocated", (16, 8, 32), (12, 1, 0.5))
        bits = self._pick({8: (8,), 16: (12, 16, 10, 14), 32: (32, 24)}[allocated])
        signed = self._chance(0.4) and allocated > 8
        self._made.traits["stored"] = f"{bits} bits {'' if signed else 'un'}signed"
        # dcm2niix reads no compressed frames, and neither packs 32 bits in all ways.
        plain = allocated == 32 or self._made.kind == "enhanced"
        weights = (6, 4, 1, *((0, 0, 0) if plain else (1, 1, 1)))
        syntax = self._trait("syntax", tuple(SYNTAXES), weights)
        native = not signed and not SYNTAXES[syntax].is_encapsulated and bits < allocated
        junk = native and self._trait("junk", (False, True), (8, 1))
        return Packing(allocated, bits, signed, syntax, junk, self._inverted)

    @cached_property
    def _inverted(self) -> bool:
        # This program inverts no Hounsfield units.
        some = self._made.traits.get("modality") == "MR"
        return some and bool(self._trait("MONOCHROME1", (False, True), (15, 1)))

    @cached_property
    def _scaled(self) -> str:
        names = ("none", "CT", "whole", "fraction", "per slice", "slope of 0")
        how: str = self._trait("scale", names, (4, 4, 2, 3, 2, 0.3))
        return how

    def _scales(self, count: int) -> list[Scale]:
        """Draw slope and intercept for each slice."""
        how = self._scaled
        if how == "per slice":
            slopes = self._rng.uniform(0.2, 4, count)
            return [(f"{slope:.6f}", f"{self._pick((0, 0, -5, 2.5)):g}") for slope in slopes]
        fractions = (("0.25", "-0.5"), ("2.34761904761905", "0"), ("0.001", "0"))
        usual: dict[str, Sequence[Scale]] = {
            "none": (None,),
            "CT": (("1", "-1024"),),
            "whole": (("2", "10"),),
            "fraction": fractions,
            "slope of 0": (("0", "0"),),
        }
        scale = self._pick(usual[how])
        if scale == ("0", "0"):
            self._made.refusal = NO_SLOPE
        return [scale] * count

    # --- files ---

    def _header(self, modality: str, maker: str, series: int = 1) -> Dataset:
        """Begin a file, with what all have that this series is of."""
        dataset = slice_of(np.zeros((1, 1, 1), np.int16), 0)
        dataset.SOPClassUID, dataset.Modality = _CLASSES[modality], modality
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = self._uid, f"{self._uid}.{series}"
        dataset.FrameOfReferenceUID, dataset.SeriesNumber = f"{self._uid}.0", series
        dataset.PatientID = dataset.PatientName = "made up"
        dataset.StudyDate, dataset.StudyTime = "20260102", "101112"
        dataset.AcquisitionDate, dataset.AcquisitionTime = "20260102", "101500"
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "M" if modality == "MR" else "AXIAL"]
        if maker != "unnamed":
            dataset.Manufacturer = maker
        _take(dataset, "RescaleSlope", "RescaleIntercept", "SliceThickness", "InstanceNumber")
        return dataset

    def _write(self, dataset: Dataset, name: str) -> None:
        dataset.SOPInstanceUID = f"{self._uid}.9.{len(list(self._folder.iterdir())) + 1}"
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.save_as(self._folder / name, enforce_file_format=True)

    def _names(self, count: int) -> list[str]:
        """Draw the order in which files lie in the folder."""
        order = self._rng.permutation(count) if self._chance(0.7) else np.arange(count)
        suffix = self._pick((".dcm", ".IMA", ""))
        return [f"IM{n:04}{suffix}" for n in order.tolist()]

    def _numbered(self, count: int) -> list[int | None]:
        """Draw Instance Numbers."""
        names = ("ascending", "descending", "shuffled", "alike", "none")
        how = self._trait("instance numbers", names, (8, 4, 2, 0.7, 0.7))
        ascending: list[int | None] = [*range(1, count + 1)]
        return {
            "ascending": ascending,
            "descending": ascending[::-1],
            "shuffled": [int(n) + 1 for n in self._rng.permutation(count)],
            "alike": [1] * count,
            "none": [None] * count,
        }[how]

    # --- kinds ---

    def _stack(self) -> None:
        """Make one volume of single slices, with or without something odd about it."""
        self._single_slices([{}], self._trait("modality", ("CT", "MR", "PT"), (3, 3, 1)))

    def _several(self) -> None:
        """Make volumes that lie at the same places."""
        by, modality = self._pick(_TOLD)
        count = int(self._rng.integers(2, 4))
        self._made.traits |= {"by": f"{count} {by}", "modality": modality}
        self._single_slices([_SAID[by](n) for n in range(count)], modality)

    def _single_slices(self, said: list[dict[str, Any]], modality: str) -> None:
        """Write volumes of single slices, and what lies beside them."""
        maker = self._pick(_MAKERS)
        self._made.traits["maker"] = maker
        volumes = self._volumes(said, modality, maker)
        in_turn = len(said) > 1 and self._trait("slice by slice", (False, True), (1, 1))
        rounds = zip(*volumes, strict=True) if in_turn else volumes
        files = [one for each in rounds for one in each]
        for one, number in zip(files, self._numbered(len(files)), strict=True):
            _put(one.dataset, {} if number is None else {"InstanceNumber": number})
        broken = self._trait("broken", ("", *_BROKEN), (20, *(1 for _ in _BROKEN)))
        if broken:
            _BROKEN[broken](self, volumes)
        kept = {id(one) for each in volumes for one in each}
        for one, name in zip(files, self._names(len(files)), strict=True):
            if id(one) in kept or "PixelData" not in one.dataset:
                self._write(one.dataset, name)
        for volume in filter(None, volumes):
            self._expect(volume)
        self._aside(modality, maker)

    def _volumes(self, said: list[dict[str, Any]], modality: str, maker: str) -> list[list[_Slice]]:
        """Draw the slices of volumes of which attributes say what each is."""
        count = self._shape[2]
        steps, shifts = self._spaced(count)
        apart = 0.0
        if self._made.traits.get("by", "")[2:] in _APART:
            lie = self._trait("lie", ("at one place", "above", "between"), (6, 1, 1))
            apart = {"at one place": 0.0, "above": steps[-1] + 1, "between": 1 / len(said)}[lie]
        thickness = self._trait("thickness", ("as the step", "half", "none", "0"), (8, 2, 1, 0.5))
        between = self._trait("between", ("none", "the step", "wrong", "minus"), (5, 5, 0.7, 0.5))
        # Some programs take no more bits for a slice than its values need.
        other = self._packing
        if other.bits < other.allocated and not other.junk and not other.inverted:
            more = self._trait("bits vary", (0, 1, 2), (12, 1, 1))
            other = replace(other, bits=min(other.bits + more, other.allocated))
        volumes: list[list[_Slice]] = []
        for v, tags in enumerate(said):
            stored = self._packing.draw(self._rng, (count, *self._size))
            scales = self._scales(count)
            volumes.append([])
            for n in range(count):
                dataset, step = self._header(modality, maker), steps[n] + v * apart
                _put(dataset, self._place(self._affine, step, shifts[n]) | tags)
                packing = other if n % 2 else self._packing
                packing.pack(dataset, stored[n])
                _say_scale(dataset, scales[n])
                _say_steps(dataset, thickness, between, self._step)
                values = packing.means(stored[n], scales[n])
                volumes[-1].append(_Slice(dataset, values, step, shifts[n]))
        return volumes

    @property
    def _size(self) -> tuple[int, int]:
        return self._shape[1], self._shape[0]

    def _spaced(self, count: int) -> tuple[list[float], np.ndarray]:
        """Draw where slices lie along the normal, in steps, and by how much each is shifted."""
        steps, shifts = np.arange(count, dtype=float), np.zeros((count, 3))
        how = self._trait("slices", ("even", "gap", "uneven", "tilt"), (14, 1, 1, 1))
        if how == "gap":
            steps[int(self._rng.integers(1, count)) :] += int(self._pick((1, 1, 2)))
        elif how == "uneven":
            # By far more than a slice may lie off.
            wider = self._rng.permutation(np.arange(count - 1) % 2)
            steps[1:] += np.cumsum(wider * self._rng.uniform(0.3, 0.7, count - 1))
        elif how == "tilt":
            degrees = float(self._rng.uniform(2, 25) * self._pick((-1, 1)))
            self._made.traits["slices"] = f"tilt {degrees:.1f}"
            down = self._affine[:3, 1] / np.linalg.norm(self._affine[:3, 1])
            shifts = steps[:, None] * self._step * np.tan(np.radians(degrees)) * down
        return steps.tolist(), shifts

    def _expect(self, volume: list[_Slice]) -> None:
        """Note what is to be read of slices."""
        apart = np.diff([one.step for one in volume]) if len(volume) > 1 else np.ones(1)
        if len(volume) > 1 and (np.ptp(apart) > 1e-6 or volume[-1].shift.any()):
            pages = [one.values for one in volume]
            # Between others that are missing all are kept, else those at the ends.
            whole = not (apart % 1).any()
            kept = [] if volume[-1].shift.any() else pages if whole else [pages[0], pages[-1]]
            self._made.uneven.append(kept)
            return
        affine = self._affine.copy()
        affine[:3, 3] = (affine @ [0, 0, volume[0].step, 1])[:3]
        affine[:3, 2] *= apart[0]
        if self._made.traits.get("broken") == "no pixel spacing":
            affine[:3, :2] /= np.linalg.norm(affine[:3, :2], axis=0)
        self._made.volumes.append(image_of(np.array([one.values for one in volume]), affine))

    def _aside(self, modality: str, maker: str) -> None:
        """Put beside the slices what is none of them."""
        names = ("", "localizer", "localizer of its own", "copy", "copy with another UID")
        names += ("report", "empty file", "text", "no preamble", "folders")
        what = self._trait("beside", names, (12, *(1 for _ in names[1:])))
        first = min(self._folder.iterdir())
        if what.startswith("localizer"):
            dataset = self._header(modality, maker, 2 if what.endswith("own") else 1)
            dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
            turned = self._affine[:, [1, 2, 0, 3]].copy()
            turned[:3, 2] *= 5 / np.linalg.norm(turned[:3, 2])
            _put(dataset, self._place(turned, 0))
            stored = self._packing.draw(self._rng, (1, *self._size))
            self._packing.pack(dataset, stored[0])
            dataset.InstanceNumber, dataset.SliceThickness = 500, 5.0
            self._write(dataset, "ZZ0000.dcm")
            self._made.volumes.append(image_of(self._packing.means(stored, None), turned))
        elif what == "copy":
            shutil.copy(first, self._folder / f"copy of {first.name}")
        elif what == "copy with another UID":
            dataset = dcmread(first)
            dataset.SOPInstanceUID += ".7"
            dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
            dataset.save_as(self._folder / f"copy of {first.name}")
        elif what == "no preamble":
            for path in self._folder.iterdir():
                path.write_bytes(path.read_bytes()[132:])
        elif what == "folders":
            for n, path in enumerate(sorted(self._folder.iterdir())):
                (self._folder / f"part {n % 2}").mkdir(exist_ok=True)
                path.rename(self._folder / f"part {n % 2}" / path.name)
        elif what == "empty file":
            (self._folder / f"AA{first.suffix}").touch()
        elif what == "text":
            (self._folder / "README.txt").write_text("Exported.\n")
        elif what == "report":
            dataset = dcmread(first)
            _take(dataset, "PixelData", "Rows", "Columns")
            dataset.SOPClassUID, dataset.Modality = BasicTextSRStorage, "SR"
            dataset.save_as(self._folder / "SR.dcm")

    def _two_series(self) -> None:
        """Make two volumes, each a series."""
        modality, maker = self._pick(("CT", "MR")), self._pick(_MAKERS)
        self._made.traits |= {"modality": modality, "maker": maker}
        how = self._trait("told by", ("UID", "Series Number alone"), (3, 1))
        count = self._shape[2]
        scales = self._scales(count)
        for series in (1, 2):
            affine = self._affine.copy()
            affine[:3, 3] += 0 if self._chance(0.5) else count * affine[:3, 2] * (series - 1)
            stored = self._packing.draw(self._rng, (count, *self._size))
            for n, name in enumerate(self._names(count)):
                dataset = self._header(modality, maker, series)
                if how != "UID":
                    dataset.SeriesInstanceUID = f"{self._uid}.1"
                _put(dataset, self._place(affine, n) | {"InstanceNumber": n + 1})
                self._packing.pack(dataset, stored[n])
                _say_scale(dataset, scales[n])
                _say_steps(dataset, "as the step", "none", self._step)
                self._write(dataset, f"{series}{name}")
            self._made.volumes.append(self._meant(stored, scales, affine))

    def _meant(self, stored: np.ndarray, scales: list[Scale], affine: np.ndarray) -> Image:
        pages = [self._packing.means(*one) for one in zip(stored, scales, strict=True)]
        return image_of(np.array(pages), affine)

    def _enhanced(self) -> None:
        """Make one file with a frame for each slice."""
        maker, count, affine = self._pick(_MAKERS), self._shape[2], self._affine
        self._made.traits["maker"] = maker
        by = self._trait("by", ("", "phases", "echoes", "b-values"), (3, 1, 1, 1))
        volumes = 1 if not by else int(self._rng.integers(2, 4))
        order = [(v, k) for v in range(volumes) for k in range(count)]
        how = self._trait("frames", ("", "reversed", "slice by slice", "shuffled"), (3, 2, 2, 1))
        if how == "slice by slice":
            order.sort(key=lambda one: one[1])
        elif how == "shuffled":
            order = [order[int(n)] for n in self._rng.permutation(len(order))]
        elif how:
            order.reverse()
        stored = self._packing.draw(self._rng, (volumes, count, *self._size))
        scales = self._scales(len(order))
        scale = dict(zip(order, scales, strict=True))
        dataset = self._header("MR", maker)
        dataset.SOPClassUID = EnhancedMRImageStorage
        dataset.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
        _take(dataset, "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
        said = self._place(affine, 0)
        turn = _item(ImageOrientationPatient=said["ImageOrientationPatient"])
        measures = _item(PixelSpacing=said["PixelSpacing"], SliceThickness=f"{self._step:.8g}")
        if self._trait("between", (False, True), (1, 1)):
            measures.SpacingBetweenSlices = measures.SliceThickness
        each_turned = self._trait("orientation", ("shared", "per frame"), (2, 1)) == "per frame"
        shared, frames = _item(PixelMeasuresSequence=Items([measures])), []
        if not each_turned:
            shared.PlaneOrientationSequence = Items([turn])
        for v, k in order:
            place = self._place(affine, k)["ImagePositionPatient"]
            content = _item(StackID="1", InStackPositionNumber=k + 1)
            content.TemporalPositionIndex = v + 1 if by == "phases" else 1
            content.DimensionIndexValues = [1, k + 1, v + 1]
            frame = _item(
                PlanePositionSequence=Items([_item(ImagePositionPatient=place)]),
                FrameContentSequence=Items([content]),
            )
            if each_turned:
                frame.PlaneOrientationSequence = Items([turn])
            _put(frame, _OF_FRAMES[by](v))
            if scale[v, k] is not None:
                values = _item(RescaleType="US")
                _say_scale(values, scale[v, k])
                frame.PixelValueTransformationSequence = Items([values])
            frames.append(frame)
        dataset.DimensionIndexSequence = Items([_dimension(*one) for one in _DIMENSIONS[by]])
        dataset.SharedFunctionalGroupsSequence = Items([shared])
        dataset.PerFrameFunctionalGroupsSequence = Items(frames)
        dataset.NumberOfFrames = len(order)
        self._packing.pack(dataset, np.array([stored[at] for at in order]))
        self._write(dataset, "enhanced.dcm")
        for v in range(volumes):
            each = [scale[v, k] for k in range(count)]
            self._made.volumes.append(self._meant(stored[v], each, affine))

    def _mosaic(self) -> None:
        """Make a file of one picture with all slices side by side, for each of two times."""
        (i, j, count), affine = self._shape, self._affine
        side = int(np.ceil(np.sqrt(count)))
        for v in (1, 2):
            stored = self._packing.draw(self._rng, (side * j, side * i))
            dataset = self._header("MR", "SIEMENS")
            corner = affine.copy()
            corner[:3, 3] -= affine[:3, :2] @ [(side - 1) * i / 2, (side - 1) * j / 2]
            _put(dataset, self._place(corner, 0))
            self._packing.pack(dataset, stored)
            _say_steps(dataset, "as the step", "the step", self._step)
            dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
            dataset.InstanceNumber = dataset.AcquisitionNumber = v
            block = dataset.private_block(0x0019, "SIEMENS MR HEADER", create=True)
            block.add_new(0x0A, "US", count)
            self._write(dataset, f"{v}.dcm")
        self._made.refusal = "Siemens mosaic; convert with dcm2niix"

    # --- broken and missing attributes ---

    def _any(self, volumes: list[list[_Slice]]) -> tuple[list[_Slice], int]:
        return volumes[-1], int(self._rng.integers(len(volumes[-1])))

    def _lose(self, volumes: list[list[_Slice]], name: str) -> None:
        """Take an attribute from one slice, without which it is none."""
        volume, n = self._any(volumes)
        _take(volume[n].dataset, name)
        self._made.refusal = LOST

    def _lose_pixels(self, volumes: list[list[_Slice]]) -> None:
        volume, n = self._any(volumes)
        _take(volume.pop(n).dataset, "PixelData")

    def _lose_slice(self, volumes: list[list[_Slice]]) -> None:
        volume, n = self._any(volumes)
        volume.pop(n)

    def _crop_slice(self, volumes: list[list[_Slice]]) -> None:
        """Cut two rows off a slice, which makes it a volume of its own."""
        volume, n = self._any(volumes)
        one = volume.pop(n)
        stored = self._packing.draw(self._rng, (self._size[0] - 2, self._size[1]))
        self._packing.pack(one.dataset, stored)
        scale = None
        if "RescaleSlope" in one.dataset:
            scale = (str(one.dataset.RescaleSlope), str(one.dataset.RescaleIntercept))
        one.values = self._packing.means(stored, scale)
        volumes.append([one])

    def _lose_place(self, volumes: list[list[_Slice]], name: str) -> None:
        """Take from all slices what says where they lie."""
        _of_all(lambda dataset: _take(dataset, name))(self, volumes)
        self._made.refusal = LOST

    def _lose_sign(self, volumes: list[list[_Slice]]) -> None:
        if not self._packing.signed:
            _no("PixelRepresentation")(self, volumes)

    def _lose_slope(self, volumes: list[list[_Slice]]) -> None:
        for one in (one for each in volumes for one in each):
            header = one.dataset
            if "RescaleSlope" in header:
                slope, intercept = float(header.RescaleSlope), float(header.RescaleIntercept)
                one.values = (one.values - intercept) / (slope or 1) + intercept
                one.values = np.rint(one.values - intercept) + intercept
            _take(header, "RescaleSlope")


def _take(dataset: Dataset, *names: str) -> None:
    for name in names:
        dataset.pop(name, None)


def _put(dataset: Dataset, tags: dict[str, Any]) -> None:
    for name, value in tags.items():
        if name == "private":
            group, creator, *element = value
            dataset.private_block(group, creator, create=True).add_new(*element)
        else:
            setattr(dataset, name, value)


def _item(**tags: Any) -> Dataset:
    dataset = Dataset()
    _put(dataset, tags)
    return dataset


def _say_scale(dataset: Dataset, scale: Scale) -> None:
    if scale is not None:
        dataset.RescaleSlope, dataset.RescaleIntercept = scale


def _say_steps(dataset: Dataset, thickness: str, between: str, step: float) -> None:
    thick = {"as the step": step, "half": step / 2, "none": None, "0": 0.0}[thickness]
    apart = {"none": None, "the step": step, "wrong": step * 1.7, "minus": -step}[between]
    said = {"SliceThickness": thick, "SpacingBetweenSlices": apart}
    _put(dataset, {name: f"{mm:.8g}" for name, mm in said.items() if mm is not None})


def _dimension(pointer: str, group: str) -> Dataset:
    return _item(DimensionIndexPointer=Tag(pointer), FunctionalGroupPointer=Tag(group))


def _diffusion(v: int) -> Dataset:
    item = _item(DiffusionBValue=400.0 * v, DiffusionDirectionality="DIRECTIONAL" if v else "NONE")
    if v:
        turn = _item(DiffusionGradientOrientation=[1.0, 0.0, 0.0])
        item.DiffusionGradientDirectionSequence = Items([turn])
    return item


_CONTENT = "FrameContentSequence"
_STACKED = [("StackID", _CONTENT), ("InStackPositionNumber", _CONTENT)]
_DIMENSIONS = {
    "": [*_STACKED, ("TemporalPositionIndex", _CONTENT)],
    "phases": [*_STACKED, ("TemporalPositionIndex", _CONTENT)],
    "echoes": [*_STACKED, ("EffectiveEchoTime", "MREchoSequence")],
    "b-values": [*_STACKED, ("DiffusionBValue", "MRDiffusionSequence")],
}
_OF_FRAMES: dict[str, Callable[[int], dict[str, Any]]] = {
    "": lambda _: {},
    "phases": lambda _: {},
    "echoes": lambda v: {"MREchoSequence": Items([_item(EffectiveEchoTime=2.3 * (v + 1))])},
    "b-values": lambda v: {"MRDiffusionSequence": Items([_diffusion(v)])},
}
_TOLD = (
    *(("phases", "MR"), ("phases", "CT"), ("trigger times", "MR"), ("echoes", "MR")),
    *(("parts", "MR"), ("b-values", "MR"), ("times", "MR"), ("times", "PT")),
    *(("acquisitions", "CT"), ("kernels", "CT"), ("Siemens b-values", "MR")),
    ("Philips b-values", "MR"),
)
# What is the same in a whole volume, and tells it from others wherever they lie.
_APART = ("phases", "echoes", "parts", "b-values", "Siemens b-values", "Philips b-values")
_SAID: dict[str, Callable[[int], dict[str, Any]]] = {
    "phases": lambda n: {
        "TemporalPositionIdentifier": n + 1,
        "NumberOfTemporalPositions": 3,
        "AcquisitionNumber": n + 1,
        "AcquisitionTime": f"1015{10 * n:02}",
    },
    "trigger times": lambda n: {"TriggerTime": f"{45 * n}"},
    "echoes": lambda n: {"EchoTime": f"{2.3 * (n + 1):.2f}", "EchoNumbers": n + 1},
    "parts": lambda n: {"ImageType": ["ORIGINAL", "PRIMARY", "MPRI"[n], "ND"]},
    "b-values": lambda n: {"DiffusionBValue": 400.0 * n, "AcquisitionNumber": n + 1},
    "times": lambda n: {"AcquisitionTime": f"1015{10 * n:02}", "FrameReferenceTime": f"{n}000"},
    "acquisitions": lambda n: {"AcquisitionNumber": n + 1},
    "kernels": lambda n: {"ConvolutionKernel": f"B{30 + 10 * n}f"},
    "Siemens b-values": lambda n: {"private": (0x19, "SIEMENS MR HEADER", 0x0C, "IS", 400 * n)},
    "Philips b-values": lambda n: {
        "private": (0x2001, "Philips Imaging DD 001", 0x03, "FL", 400.0 * n)
    },
}

Breaks = Callable[[Maker, list[list[_Slice]]], None]


def _of_all(change: Callable[[Dataset], None]) -> Breaks:
    def broken(_: Maker, volumes: list[list[_Slice]]) -> None:
        for one in (one for each in volumes for one in each):
            change(one.dataset)

    return broken


def _no(*names: str) -> Breaks:
    return _of_all(lambda dataset: _take(dataset, *names))


def _written(name: str, text: str) -> Breaks:
    """Return what writes a decimal string that may break the standard."""

    def change(dataset: Dataset) -> None:
        content = text.format(*np.atleast_1d(dataset.get(name, "1"))).encode()
        content += b" " * (len(content) % 2)
        dataset[name] = RawDataElement(Tag(name), "DS", len(content), content, 0, False, True)

    return _of_all(change)


_BROKEN: dict[str, Breaks] = {
    "no pixel spacing": _no("PixelSpacing"),
    "no modality": _no("Modality"),
    "no frame of reference": _no("FrameOfReferenceUID"),
    "no series number": _no("SeriesNumber"),
    "no series UID": _no("SeriesInstanceUID"),
    "no study UID": _no("StudyInstanceUID"),
    "no image type": _no("ImageType"),
    "no patient": _no("PatientID", "PatientName"),
    "no times": _no("StudyDate", "StudyTime", "AcquisitionDate"),
    "no high bit": _no("HighBit"),
    "no samples": _no("SamplesPerPixel", "PhotometricInterpretation"),
    "no pixel representation": Maker._lose_sign,
    "no slope": Maker._lose_slope,
    "no orientation": lambda maker, all_: maker._lose_place(all_, "ImageOrientationPatient"),
    "no position": lambda maker, all_: maker._lose_place(all_, "ImagePositionPatient"),
    "a slice without position": lambda maker, all_: maker._lose(all_, "ImagePositionPatient"),
    "a slice without direction": lambda maker, all_: maker._lose(all_, "ImageOrientationPatient"),
    "a slice without pixels": Maker._lose_pixels,
    "a slice missing": Maker._lose_slice,
    "a slice of another size": Maker._crop_slice,
    "blanks in the series UID": _of_all(
        lambda dataset: _put(dataset, {"SeriesInstanceUID": f"{dataset.SeriesInstanceUID}  "})
    ),
    "blanks in places": _written("ImagePositionPatient", " {} \\ {}\\{}  "),
    "decimal commas": _written("SliceThickness", "2,5"),
    "an empty thickness": _written("SliceThickness", ""),
    "exponents": _written("PixelSpacing", "{:.6e}\\{:.6e}"),
    "words for a number": _written("SliceThickness", "thin"),
}

KINDS = (
    *("stack", "several", "stack", "enhanced", "stack"),
    *("several", "two series", "stack", "several", "mosaic"),
)
_MAKES: dict[str, Callable[[Maker], None]] = {
    "stack": Maker._stack,
    "several": Maker._several,
    "two series": Maker._two_series,
    "enhanced": Maker._enhanced,
    "mosaic": Maker._mosaic,
}
