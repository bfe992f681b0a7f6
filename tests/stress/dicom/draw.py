"""What is drawn of a made-up DICOM series: where it lies, how its values are held, its files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.uid import CTImageStorage, MRImageStorage, PositronEmissionTomographyImageStorage

from tests.helpers.grids import ALL_48, grid_affine
from tests.stress.dicom.image_comparison import Image
from tests.stress.dicom.packing import SYNTAXES, Packing, Scale
from tests.stress.dicom.tags import take
from tests.stress.samples import slice_of

_CLASSES = {
    "CT": CTImageStorage,
    "MR": MRImageStorage,
    "PT": PositronEmissionTomographyImageStorage,
}
MAKERS = ("SIEMENS", "GE MEDICAL SYSTEMS", "Philips Medical Systems", "TOSHIBA", "unnamed")
_VARY_MM, _VARY = 0.02, 1e-5
NO_SLOPE = "Rescale Slope (0028,1053)"


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


class DrawnSeries:
    """A series, of which each trait is drawn when it is asked for first.

    Parameters
    ----------
    folder : Path
        Where its files go.
    kind : str
    seed, number : int
        The same ones give the same series.
    """

    def __init__(self, folder: Path, kind: str, seed: int, number: int) -> None:
        self.folder = folder
        self.made = Made(kind, {})
        self.rng = np.random.default_rng([seed, number])
        self.uid = f"1.2.826.0.1.3680043.2.1125.{seed + 1}.{number + 1}"

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def pick(self, values: Sequence[Any], weights: Sequence[float] | None = None) -> Any:
        shares = None if weights is None else np.array(weights) / sum(weights)
        return values[int(self.rng.choice(len(values), p=shares))]

    def trait(self, name: str, values: Sequence[Any], weights: Sequence[float]) -> Any:
        """Draw a trait; the first value is the usual one, of which nothing is said."""
        value = self.pick(values, weights)
        if value != values[0]:
            self.made.traits[name] = value
        return value

    # --- where slices lie ---

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        """Columns, rows and slices."""
        i, j, k = (int(self.rng.integers(*ends)) for ends in ((12, 22), (12, 22), (3, 9)))
        if self.made.kind == "stack":
            k = self.trait("slice count", (k, 1, 2), (20, 1, 1))
        return i, j, k

    @cached_property
    def affine(self) -> np.ndarray:
        turned = self.trait("turned", ("", "oblique", "a bit"), (4, 4, 1))
        right = [one for one in ALL_48 if np.linalg.det(grid_affine(*one)[:3, :3]) > 0]
        axes, signs = right[0] if self.chance(0.25) else self.pick(right)
        limit = {"": 0, "oblique": 40, "a bit": 1}[turned]
        degrees = tuple(self.rng.uniform(-limit, limit, 3).round(2).tolist())
        sizes = self.rng.uniform(0.4, 3, 3).round(self.pick((1, 2, 4)))
        if self.chance(0.6):
            sizes[1] = sizes[0]
        affine = grid_affine(axes, signs, degrees, tuple(sizes.tolist()))
        affine[:3, 3] = self.rng.uniform(-200, 200, 3).round(self.pick((0, 1, 3)))
        return affine

    @property
    def step(self) -> float:
        return float(np.linalg.norm(self.affine[:3, 2]))

    @cached_property
    def decimals(self) -> int:
        decimals: int = self.trait("decimals", (8, 4, 3, 2, 1), (8, 1, 1, 1, 1))
        if decimals < 8:
            # Of the first and last position, and of the direction over the whole picture.
            size = float(np.linalg.norm(self.affine[:3, :3] @ self.shape))
            lost = 10.0**-decimals + 0.5 * 10.0 ** -max(decimals, 2) * size
            self.made.said_mm = 3**0.5 * lost
        return decimals

    @cached_property
    def exponents(self) -> bool:
        return self.decimals == 8 and bool(self.trait("exponents", (False, True), (12, 1)))

    @cached_property
    def varying(self) -> str:
        """Draw what varies a bit between slices: motors, or numbers of other computers."""
        # Rounded ones jump where they vary, by more than a slice may lie off.
        names, exact = ("", "places", "directions"), int(self.decimals == 8)
        varying: str = self.trait("varying", names, (16, exact, exact))
        if varying:
            size = float(np.linalg.norm(self.affine[:3, :3] @ self.shape))
            self.made.said_mm += 2 * (_VARY_MM if varying == "places" else _VARY * size)
        return varying

    def place(self, affine: np.ndarray, step: float, shift: Any = 0.0) -> dict[str, list[str]]:
        """Return what says where a slice of a grid lies, so many steps along."""
        sizes = np.linalg.norm(affine[:3, :3], axis=0)
        decimals = self.decimals
        position = (affine @ [0, 0, step, 1])[:3] + shift
        turn = (affine[:3, :2] / sizes[:2]).T.ravel()
        fine = 12 if decimals == 8 else max(decimals, 2)
        if self.varying == "places":
            position = position + self.rng.uniform(-_VARY_MM, _VARY_MM, 3)
        elif self.varying == "directions":
            turn = turn + self.rng.uniform(-_VARY, _VARY, 6)
        if self.exponents:
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
    def packing(self) -> Packing:
        allocated = self.trait("bits allocated", (16, 8, 32), (12, 1, 0.5))
        bits = self.pick({8: (8,), 16: (12, 16, 10, 14), 32: (32, 24)}[allocated])
        signed = self.chance(0.4) and allocated > 8
        self.made.traits["stored"] = f"{bits} bits {'' if signed else 'un'}signed"
        # dcm2niix reads no compressed frames, and neither packs 32 bits in all ways.
        plain = allocated == 32 or self.made.kind == "enhanced"
        jpeg = (0, 0, 0) if plain else (1, *(int(allocated == 16),) * 2)
        weights = (6, 4, 1, *jpeg)
        syntax = self.trait("syntax", tuple(SYNTAXES), weights)
        native = not signed and not SYNTAXES[syntax].is_encapsulated and bits < allocated
        junk = native and self.trait("junk", (False, True), (8, 1))
        return Packing(allocated, bits, signed, syntax, junk, self.inverted)

    @cached_property
    def inverted(self) -> bool:
        # This program inverts no Hounsfield units.
        some = self.made.traits.get("modality") == "MR"
        return some and bool(self.trait("MONOCHROME1", (False, True), (15, 1)))

    @cached_property
    def scaled(self) -> str:
        names = ("none", "CT", "whole", "fraction", "per slice", "slope of 0")
        how: str = self.trait("scale", names, (4, 4, 2, 3, 2, 0.3))
        return how

    def scales(self, count: int) -> list[Scale]:
        """Draw slope and intercept for each slice."""
        how = self.scaled
        if how == "per slice":
            slopes = self.rng.uniform(0.2, 4, count)
            return [(f"{slope:.6f}", f"{self.pick((0, 0, -5, 2.5)):g}") for slope in slopes]
        fractions = (("0.25", "-0.5"), ("2.34761904761905", "0"), ("0.001", "0"))
        usual: dict[str, Sequence[Scale]] = {
            "none": (None,),
            "CT": (("1", "-1024"),),
            "whole": (("2", "10"),),
            "fraction": fractions,
            "slope of 0": (("0", "0"),),
        }
        scale = self.pick(usual[how])
        if scale == ("0", "0"):
            self.made.refusal = NO_SLOPE
        return [scale] * count

    # --- files ---

    def header(self, modality: str, maker: str, series: int = 1) -> Dataset:
        """Begin a file, with what all have that this series is of."""
        dataset = slice_of(np.zeros((1, 1, 1), np.int16), 0)
        dataset.SOPClassUID, dataset.Modality = _CLASSES[modality], modality
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = self.uid, f"{self.uid}.{series}"
        dataset.FrameOfReferenceUID, dataset.SeriesNumber = f"{self.uid}.0", series
        dataset.PatientID = dataset.PatientName = "made up"
        dataset.StudyDate, dataset.StudyTime = "20260102", "101112"
        dataset.AcquisitionDate, dataset.AcquisitionTime = "20260102", "101500"
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "M" if modality == "MR" else "AXIAL"]
        if maker != "unnamed":
            dataset.Manufacturer = maker
        take(dataset, "RescaleSlope", "RescaleIntercept", "SliceThickness", "InstanceNumber")
        return dataset

    def write(self, dataset: Dataset, name: str) -> None:
        dataset.SOPInstanceUID = f"{self.uid}.9.{len(list(self.folder.iterdir())) + 1}"
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.save_as(self.folder / name, enforce_file_format=True)

    def names(self, count: int) -> list[str]:
        """Draw the order in which files lie in the folder."""
        order = self.rng.permutation(count) if self.chance(0.7) else np.arange(count)
        suffix = self.pick((".dcm", ".IMA", ""))
        return [f"IM{n:04}{suffix}" for n in order.tolist()]

    def numbered(self, count: int) -> list[int | None]:
        """Draw Instance Numbers."""
        names = ("ascending", "descending", "shuffled", "alike", "none")
        how = self.trait("instance numbers", names, (8, 4, 2, 0.7, 0.7))
        ascending: list[int | None] = [*range(1, count + 1)]
        return {
            "ascending": ascending,
            "descending": ascending[::-1],
            "shuffled": [int(n) + 1 for n in self.rng.permutation(count)],
            "alike": [1] * count,
            "none": [None] * count,
        }[how]

    @property
    def size(self) -> tuple[int, int]:
        return self.shape[1], self.shape[0]
