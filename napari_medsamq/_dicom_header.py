"""What a DICOM file says of its frames: where they lie, and what their pixels mean.

Runs in the process that `_decoder` starts.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from pydicom import DataElement, Dataset, dcmread
from pydicom.uid import UID, ExplicitVRBigEndian, ImplicitVRLittleEndian

# No codec of DICOM shrinks an image by more, but for one that is all of one value.
_MOST_COMPRESSED = 1032
# Below this size nothing is lost by decoding what a damaged header says.
_SMALL = 100 << 20
# Of numbers that can mean something: mm, or values.
_NEAREST, _FARTHEST = 1e-6, 1e12
_NOT_UNIT = 0.01
# Of directions with two decimals.
_NOT_SQUARE = 0.02
# In mm: what numbers for one place in a file differ by is less.
_SAME_PLACE = 0.01
# Transfer syntaxes: JPEG, JPEG-LS and JPEG 2000; RLE.
_BY_GDCM = {f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 57, 70, 80, 81, 90, 91)}
_BY_GDCM |= {"1.2.840.10008.1.2.5"}
NATIVE = {f"1.2.840.10008.1.2{n}" for n in ("", ".1", ".2")}
_GRADIENT = "DiffusionGradientDirectionSequence"
_IMAGE_DATA, _FLOATS = (0x7FE0, 0x0010), ((0x7FE0, 0x0008), (0x7FE0, 0x0009))

# What may tell volumes apart that lie at one place, the likeliest first.
SPLITTERS = (
    *("StackID", "EchoTime", "EchoNumbers", "EffectiveEchoTime", "TemporalPositionIdentifier"),
    *("TemporalPositionIndex", "NominalPercentageOfCardiacPhase", "TriggerTime"),
    *("NominalCardiacTriggerDelayTime", "InversionTime", "FlipAngle", "DiffusionBValue"),
    *("DiffusionDirectionality", "DiffusionGradientOrientation", "KVP", "ConvolutionKernel"),
    "ReconstructionDiameter",
    *("ContrastBolusAgent", "ComplexImageComponent", "ImageType", "FrameType", "SequenceName"),
    *("CorrectedImage", "AcquisitionNumber", "FrameAcquisitionNumber", "FrameReferenceTime"),
    *("AcquisitionDateTime", "FrameAcquisitionDateTime", "FrameReferenceDateTime"),
    *("AcquisitionTime", "ContentTime"),
)
PIXEL_TAGS = (
    *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "Rows", "Columns"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
)
_PALETTE = tuple(
    f"{color}PaletteColorLookupTable{part}"
    for color in ("Red", "Green", "Blue")
    for part in ("Descriptor", "Data")
)
_TAGS = (
    *("ImagePositionPatient", "ImageOrientationPatient"),
    *SPLITTERS,
    *PIXEL_TAGS,
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality"),
    *("FrameOfReferenceUID", "PatientID", "PatientName"),
    *("StudyDescription", "SeriesDescription", "SeriesNumber", "InstanceNumber", "NumberOfFrames"),
    *("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "SliceThickness"),
    *("SpacingBetweenSlices", "GridFrameOffsetVector", "RescaleSlope", "RescaleIntercept"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
)
# Private attributes and who made them: how many slices one picture has, and what tells volumes
# apart where the standard had no place for it yet.
_TILES = {(0x0019, 0x100A): "SIEMENS MR HEADER"}
_B_VALUES = {
    (0x0019, 0x100C): "SIEMENS MR HEADER",
    (0x2001, 0x1003): "Philips Imaging DD 001",
    (0x0043, 0x1039): "GEMS_PARM_01",
}
_MARK = 100_000
# Magnitude, phase, real and imaginary part, from 0.
_PARTS = {(0x0043, 0x102F): "GEMS_PARM_01"}
_READ: list[Any] = [
    *_TAGS,
    *(
        tag
        for group, element in (*_TILES, *_B_VALUES, *_PARTS)
        for tag in ((group, 0x10), (group, element))
    ),
]


# What is drawn on a series may lie beside it.
_SEGMENTATION = "SEG"


def read_header(path: Path) -> dict[str, Any]:
    """Return what JSON can hold; only `error` for what is no image, `other` if it is whole.

    What pydicom raises on damaged files is not caught here.
    """
    with path.open("rb") as file:
        dataset = dcmread(file, stop_before_pixels=True, specific_tags=_READ, force=True)
        syntax = transfer_syntax(dataset)
        drawn = dataset.get("Modality") == _SEGMENTATION
        if "Rows" not in dataset or "Columns" not in dataset or drawn:
            whole = syntax in NATIVE and bool(dataset.get("SOPClassUID"))
            return {"error": "holds no image", "other": whole}
        frames = int(dataset.get("NumberOfFrames") or 1)
        rows, columns = int(dataset.Rows), int(dataset.Columns)
        stored = {name: dataset.get(name) for name in PIXEL_TAGS}
        samples = int(stored["SamplesPerPixel"] or 1)
        bits = int(stored["BitsAllocated"] or 0)
        if min(frames, rows, columns) < 1 or samples not in (1, 3, 4) or bits not in (8, 16, 32):
            raise ValueError(
                f"{frames} frames of {rows} x {columns} with {samples} values of {bits} bits each"
            )
        if syntax not in NATIVE | _BY_GDCM:
            raise ValueError(
                f"compressed as {UID(syntax).name}, which this program cannot read: export it "
                "uncompressed"
            )
        offset = _find_pixels(
            file, syntax, path.stat().st_size, frames, rows * columns * samples, bits
        )
    photometric = str(stored["PhotometricInterpretation"] or "MONOCHROME2").strip()
    grey = samples == 1 and photometric in ("MONOCHROME1", "MONOCHROME2")
    signed = int(stored["PixelRepresentation"] or 0) == 1
    bits_stored = int(stored["BitsStored"] or bits)
    high_bit = bits_stored - 1 if stored["HighBit"] is None else int(stored["HighBit"])
    if not 0 < bits_stored <= high_bit + 1 <= bits:
        raise ValueError(f"{bits_stored} bits up to bit {high_bit} of {bits}")
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    return {
        **{name: _text(dataset, tag) for name, tag in _TEXTS.items()},
        "rows": rows,
        "columns": columns,
        "color": not grey,
        "inverted": photometric == "MONOCHROME1",
        "bits": bits_stored,
        "high_bit": high_bit,
        "signed": signed,
        "dtype": f"{order}{'i' if signed else 'u'}{bits // 8}",
        "offset": offset if grey and syntax in NATIVE else None,
        "mosaic": _is_mosaic(dataset),
        "instance": _number(dataset, "InstanceNumber") or 0,
        "frames": _frames(dataset, frames),
    }


_TEXTS = {
    "uid": "SOPInstanceUID",
    "study": "StudyInstanceUID",
    "series": "SeriesInstanceUID",
    "frame_of_reference": "FrameOfReferenceUID",
    "modality": "Modality",
    "description": "SeriesDescription",
    "study_description": "StudyDescription",
    "number": "SeriesNumber",
    "patient": "PatientID",
    "patient_name": "PatientName",
}


def _is_mosaic(dataset: Dataset) -> bool:
    """Tell whether all slices of a volume lie side by side in one picture.

    Enhanced files may keep the word, but have a frame for each slice (dcm2niix issue 553).
    """
    if "SharedFunctionalGroupsSequence" in dataset or int(dataset.get("NumberOfFrames") or 1) > 1:
        return False
    word = "MOSAIC" in _text(dataset, "ImageType").upper().split("\\")
    return word or _private(dataset, _TILES) not in ("", "1")


def _private(dataset: Dataset, tags: dict[tuple[int, int], str]) -> str:
    """Return the first value of the first of private attributes that is there, as text."""
    for (group, element), maker in tags.items():
        if (group, element) in dataset and _text(dataset, (group, 0x10)).startswith(maker):
            value = dataset[group, element].value
            if isinstance(value, bytes):
                # Of a type that is not known: text, or a number of two bytes.
                text = value.decode("latin1").strip("\0 ")
                return text if text.isdigit() else str(int.from_bytes(value[:2], "little"))
            return str(value[0] if hasattr(value, "append") else value).strip("\0 ")
    return ""


def _find_pixels(
    file: BinaryIO, syntax: str, size: int, frames: int, values: int, bits: int
) -> int:
    """Return where the pixels begin, after a look whether so many can be there."""
    big = syntax == ExplicitVRBigEndian
    implicit = syntax == ImplicitVRLittleEndian
    head = file.read(8 if implicit else 12)
    if len(head) < 8:
        raise ValueError("it ends before its pixels")
    order = ">" if big else "<"
    tag = struct.unpack_from(f"{order}HH", head)
    if tag in _FLOATS:
        raise ValueError("its pixels are fractions, whole numbers are needed")
    if tag != _IMAGE_DATA or len(head) < (8 if implicit else 12):
        raise ValueError("it has no pixels")
    (length,) = struct.unpack_from(f"{order}I", head, 4 if implicit else 8)
    offset = file.tell()
    claimed = frames * values * bits // 8
    there = size - offset
    if syntax in NATIVE:
        there = min(there, length)
        if claimed > there:
            raise ValueError(
                f"its header announces {claimed:,} bytes of pixels, but there are only {there:,}"
            )
    elif claimed > _MOST_COMPRESSED * size + _SMALL:
        raise ValueError(f"its header announces {claimed:,} bytes, too many for {size:,}")
    return offset


def _frames(dataset: Dataset, count: int) -> list[dict[str, Any]]:
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    each = dataset.get("PerFrameFunctionalGroupsSequence") or []
    if each and len(each) != count:
        raise ValueError(f"describes {len(each)} of its {count} frames")
    if each or len(shared) > 0:
        return [_frame([*_flat(item), *_flat(shared), dataset]) for item in each or [Dataset()]]
    one = _frame([dataset])
    if count == 1:
        return [one]
    offsets = _numbers([dataset], "GridFrameOffsetVector", count)
    return _spread(one, count, offsets)


def _flat(groups: Dataset) -> list[Dataset]:
    found = [element.value[0] for element in groups if element.VR == "SQ" and element.value]
    # A level below, in that of diffusion.
    turns = [item[_GRADIENT].value[0] for item in found if item.get(_GRADIENT)]
    return found + turns


def _spread(one: dict[str, Any], count: int, offsets: list[float] | None) -> list[dict[str, Any]]:
    """Say where frames lie of which only the first one says it.

    Offsets are distances along the normal, the first of them 0, or heights in the patient, the
    first of them that of the first frame (DICOM PS3.3, C.8.8.3.2).
    """
    if one["position"] is None or one["orientation"] is None:
        return [{**one, "position": None}] * count
    normal = np.cross(*np.reshape(one["orientation"], (2, 3)))
    step = one["between"] or one["thickness"] or 1.0
    along = np.arange(count) * step if offsets is None else np.array(offsets) - offsets[0]
    assumed = offsets is None
    if offsets is not None and abs(offsets[0]) > _SAME_PLACE:
        axial = bool(np.abs(normal[:2]).max() < _NOT_UNIT)
        assumed = not axial or abs(offsets[0] - one["position"][2]) > _SAME_PLACE
        along *= 1 if assumed else np.sign(normal[2])
    places = np.array(one["position"]) + along[:, None] * normal
    return [{**one, "position": place, "assumed": assumed} for place in places.tolist()]


def _orientation(groups: list[Dataset]) -> list[float] | None:
    found = _numbers(groups, "ImageOrientationPatient", 6)
    if found is None or not any(found):
        return None
    turn = np.reshape(found, (2, 3))
    if np.abs(turn @ turn.T - np.eye(2)).max() > _NOT_SQUARE:
        raise ValueError(f"its rows and columns have no directions at right angles, but {found}")
    return found


def _frame(groups: list[Dataset]) -> dict[str, Any]:
    spacing = None
    for name in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        spacing = spacing or _numbers(groups, name, 2)
    slope, intercept = (_numbers(groups, f"Rescale{n}", 1) for n in ("Slope", "Intercept"))
    thickness, between = (
        _numbers(groups, name, 1) for name in ("SliceThickness", "SpacingBetweenSlices")
    )
    splits = {name: text for name in SPLITTERS if (text := _first_text(groups, name))}
    b_value = _private(groups[-1], _B_VALUES)
    if b_value.isdigit():
        # That of GE has a mark above the figures that count.
        b_value = str(int(b_value) % _MARK)
    private = {"b-value": b_value, "part": _private(groups[-1], _PARTS)}
    splits |= {name: text for name, text in private.items() if text}
    return {
        "position": _numbers(groups, "ImagePositionPatient", 3),
        "orientation": _orientation(groups),
        "spacing": spacing if spacing and min(spacing) > _NEAREST else None,
        "thickness": thickness[0] if thickness and thickness[0] > _NEAREST else None,
        "between": abs(between[0]) if between and abs(between[0]) > _NEAREST else None,
        "slope": slope[0] if slope else 1.0,
        "intercept": intercept[0] if intercept else 0.0,
        "splits": splits,
    }


def _first_text(groups: list[Dataset], name: str) -> str:
    return next((text for group in groups if (text := _text(group, name))), "")


def _text(dataset: Dataset, name: str | tuple[int, int]) -> str:
    value = dataset.get(name)
    value = value.value if isinstance(value, DataElement) else value
    if value is None:
        return ""
    parts = value if isinstance(value, list | tuple) or hasattr(value, "append") else [value]
    text = "\\".join(str(part) for part in parts)
    # Bytes that are no text in the file's own code come as surrogates, which cannot be shown.
    return text.encode("utf-8", "replace").decode().strip("\0 ")


def _numbers(groups: list[Dataset], name: str, count: int) -> list[float] | None:
    for group in groups:
        try:
            value = group.get(name)
            numbers = np.array(value, float).reshape(-1) if value is not None else np.empty(0)
        except (TypeError, ValueError):
            continue
        if numbers.size == count and (np.abs(numbers) < _FARTHEST).all():
            return [float(number) for number in numbers]
    return None


def _number(dataset: Dataset, name: str) -> float | None:
    found = _numbers([dataset], name, 1)
    return found[0] if found else None


def transfer_syntax(dataset: Dataset) -> str:
    """Return the UID of how a file's bytes are to be taken."""
    meta = getattr(dataset, "file_meta", None) or Dataset()
    return str(meta.get("TransferSyntaxUID") or ImplicitVRLittleEndian).strip("\0 ")
