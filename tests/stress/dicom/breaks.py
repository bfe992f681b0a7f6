"""What is wrong with the attributes of made-up DICOM slices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from tests.stress.dicom.draw import DrawnSeries
from tests.stress.dicom.tags import put, take

LOST = "do not say where they lie"


@dataclass(eq=False)
class Slice:
    """One file of a stack: header, values as they are meant, place in steps, and shift in mm."""

    dataset: Dataset
    values: np.ndarray
    step: float
    shift: np.ndarray


Volumes = list[list[Slice]]
Breaks = Callable[[DrawnSeries, Volumes], object]


def _change(volumes: Volumes, change: Callable[[Dataset], None]) -> None:
    for one in (one for each in volumes for one in each):
        change(one.dataset)


def _of_all(change: Callable[[Dataset], None]) -> Breaks:
    return lambda _, volumes: _change(volumes, change)


def _no(*names: str) -> Breaks:
    return _of_all(lambda dataset: take(dataset, *names))


def _written(name: str, text: str) -> Breaks:
    """Return what writes a decimal string that may break the standard."""

    def change(dataset: Dataset) -> None:
        content = text.format(*np.atleast_1d(dataset.get(name, "1"))).encode()
        content += b" " * (len(content) % 2)
        dataset[name] = RawDataElement(Tag(name), "DS", len(content), content, 0, False, True)

    return _of_all(change)


def _all_lose(name: str) -> Breaks:
    """Return what takes from all slices what says where they lie; one alone is then a picture."""

    def lose(drawn: DrawnSeries, volumes: Volumes) -> None:
        if len(volumes) > 1 or len(volumes[0]) > 1:
            _change(volumes, lambda dataset: take(dataset, name))
            drawn.made.refusal = LOST

    return lose


def _one_loses(name: str) -> Breaks:
    """Return what takes from one slice what says where it lies; of one alone nothing is taken."""

    def lose(drawn: DrawnSeries, volumes: Volumes) -> None:
        if len(volumes[-1]) > 1:
            take(drawn.pick(volumes[-1]).dataset, name)
            drawn.made.refusal = LOST

    return lose


def _taken(drawn: DrawnSeries, volumes: Volumes) -> Slice | None:
    """Take a slice from the last volume, unless it has but one."""
    volume = volumes[-1]
    return volume.pop(int(drawn.rng.integers(len(volume)))) if len(volume) > 1 else None


def _lose_pixels(drawn: DrawnSeries, volumes: Volumes) -> None:
    one = _taken(drawn, volumes)
    if one is not None:
        take(one.dataset, "PixelData")


def _crop_slice(drawn: DrawnSeries, volumes: Volumes) -> None:
    """Cut two rows off a slice, which makes it a volume of its own."""
    one = _taken(drawn, volumes)
    if one is not None:
        rows, columns = drawn.size
        stored = drawn.packing.draw(drawn.rng, (rows - 2, columns))
        drawn.packing.pack(one.dataset, stored)
        header = one.dataset
        said = [str(header.get(name, "")) for name in ("RescaleSlope", "RescaleIntercept")]
        one.values = drawn.packing.means(stored, (said[0], said[1]) if said[0] else None)
        volumes.append([one])


def _lose_sign(drawn: DrawnSeries, volumes: Volumes) -> None:
    if not drawn.packing.signed:
        _no("PixelRepresentation")(drawn, volumes)


def _lose_type(drawn: DrawnSeries, volumes: Volumes) -> None:
    if "parts" not in drawn.made.traits.get("by", ""):
        _no("ImageType")(drawn, volumes)


def _lose_slope(_: DrawnSeries, volumes: Volumes) -> None:
    for one in (one for each in volumes for one in each):
        header = one.dataset
        slope, intercept = (float(header.get(f"Rescale{n}", 1)) for n in ("Slope", "Intercept"))
        if "RescaleSlope" in header:
            # What is stored is whole.
            one.values = np.rint((one.values - intercept) / (slope or 1)) + intercept
            take(header, "RescaleSlope")


BROKEN: dict[str, Breaks] = {
    "no pixel spacing": _no("PixelSpacing"),
    "no modality": _no("Modality"),
    "no frame of reference": _no("FrameOfReferenceUID"),
    "no series number": _no("SeriesNumber"),
    "no series UID": _no("SeriesInstanceUID"),
    "no study UID": _no("StudyInstanceUID"),
    "no image type": _lose_type,
    "no patient": _no("PatientID", "PatientName"),
    "no times": _no("StudyDate", "StudyTime", "AcquisitionDate"),
    "no high bit": _no("HighBit"),
    "no samples": _no("SamplesPerPixel", "PhotometricInterpretation"),
    "no pixel representation": _lose_sign,
    "no slope": _lose_slope,
    "no orientation": _all_lose("ImageOrientationPatient"),
    "no position": _all_lose("ImagePositionPatient"),
    "a slice without position": _one_loses("ImagePositionPatient"),
    "a slice without direction": _one_loses("ImageOrientationPatient"),
    "a slice without pixels": _lose_pixels,
    "a slice missing": _taken,
    "a slice of another size": _crop_slice,
    "blanks in the series UID": _of_all(
        lambda dataset: put(dataset, {"SeriesInstanceUID": f"{dataset.SeriesInstanceUID}  "})
    ),
    "blanks in places": _written("ImagePositionPatient", " {} \\ {}\\{}  "),
    "decimal commas": _written("SliceThickness", "2,5"),
    "an empty thickness": _written("SliceThickness", ""),
    "exponents": _written("PixelSpacing", "{:.6e}\\{:.6e}"),
    "words for a number": _written("SliceThickness", "thin"),
}
