"""What a DICOM file says of its frames: where they lie, and what their pixels mean.

Runs in the process that `process` starts.
"""

from __future__ import annotations

import base64
import struct
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    MediaStorageDirectoryStorage,
    RLELossless,
)

from napari_medsamq.io.dicom.header_numbers import named, numbers, restate, text

# No codec of DICOM shrinks an image by more, but for one that is all of one value.
_MOST_COMPRESSED = 1032
# Below this size nothing is lost by decoding what a damaged header says.
_SMALL = 100 << 20
# In mm: less is no size.
_NEAREST = 1e-6
_NOT_UNIT = 0.01
# Of directions with two decimals.
_NOT_SQUARE = 0.02
# In mm: what numbers for one place in a file differ by is less.
_SAME_PLACE = 0.01
NATIVE = {ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian}
DEFLATED = DeflatedExplicitVRLittleEndian
HIGH_THROUGHPUT = {HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K}
_JPEG_2000 = {JPEG2000Lossless, JPEG2000} | HIGH_THROUGHPUT
_ENCAPSULATED = {*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes, RLELossless} | _JPEG_2000
_GRADIENT = "DiffusionGradientDirectionSequence"
_IMAGE_DATA = (0x7FE0, 0x0010)
_FLOATS = {(0x7FE0, 0x0008), (0x7FE0, 0x0009)}
_UNDEFINED = 0xFFFFFFFF
# How many times the decoded picture its decoder takes: OpenJPEG has 4 bytes and a copy for each
# value, whatever its bits.
_WORKING, _WORKING_JPEG_2000 = 3, 16

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
COUNTS = ("NumberOfFrames", *(name for name in PIXEL_TAGS if name != "PhotometricInterpretation"))
NEEDED = ("Rows", "Columns", "BitsAllocated")
_TAGS = (
    *("ImagePositionPatient", "ImageOrientationPatient"),
    *SPLITTERS,
    *PIXEL_TAGS,
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality"),
    *("FrameOfReferenceUID", "PatientID", "PatientName"),
    *("StudyDescription", "SeriesDescription", "SeriesNumber", "InstanceNumber", "NumberOfFrames"),
    *("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "SliceThickness"),
    *("SpacingBetweenSlices", "GridFrameOffsetVector", "RescaleSlope", "RescaleIntercept"),
    *("RescaleType", "ModalityLUTSequence", "DoseGridScaling"),
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

_BITS = (8, 16, 32, 64)
# What is drawn on a series may lie beside it.
_SEGMENTATION = "SEG"
_DOSE, _XRAY = "RTDOSE", ("XA", "RF")
_HOUNSFIELD, _UNSPECIFIED = "HU", "US"


def read_header(path: Path) -> dict[str, Any]:
    """Return what JSON can hold; only `error` for what is no image, `other` if it is whole.

    `unreadable_of` is the series of an image whose size cannot be read.

    What pydicom raises on damaged files is not caught here.
    """
    with path.open("rb") as file:
        dataset = dcmread(file, stop_before_pixels=True, specific_tags=_READ, force=True)
        if dataset.file_meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
            return {"error": "is a table of contents", "other": True, "directory": True}
        syntax = transfer_syntax(dataset)
        drawn = dataset.get("Modality") == _SEGMENTATION
        if "Rows" not in dataset or "Columns" not in dataset or drawn:
            return {"error": "holds no image", "other": bool(dataset.get("SOPClassUID"))}
        try:
            restate(dataset, COUNTS, needed=NEEDED)
        except ValueError as error:
            series = text(dataset, "SeriesInstanceUID")
            return {"error": str(error), "unreadable_of": series}
        frames = int(dataset.get("NumberOfFrames") or 1)
        rows, columns = int(dataset.Rows), int(dataset.Columns)
        stored = {name: dataset.get(name) for name in PIXEL_TAGS}
        samples = int(stored["SamplesPerPixel"] or 1)
        bits = int(stored["BitsAllocated"] or 0)
        if min(frames, rows, columns) < 1 or samples not in (1, 3) or bits not in _BITS:
            raise ValueError(
                f"{frames} frames of {rows} x {columns} with {samples} values of {bits} bits each"
            )
        if syntax not in NATIVE | _ENCAPSULATED | {DEFLATED}:
            raise ValueError(
                f"its transfer syntax is {syntax.name}, which this program cannot read: export it "
                "as Explicit VR Little Endian, uncompressed"
            )
        photometric = str(stored["PhotometricInterpretation"] or "MONOCHROME2").strip()
        # Two pixels share their colour.
        halved = syntax not in _ENCAPSULATED and photometric == "YBR_FULL_422"
        claimed = frames * rows * columns * (2 if halved else samples) * bits // 8
        floats, offset = _find_pixels(file, dataset, syntax, path.stat().st_size, claimed)
    if bits == 64 and not floats:
        raise ValueError("its pixels are whole numbers of 64 bits, 8 to 32 are needed")
    grey = samples == 1 and photometric in ("MONOCHROME1", "MONOCHROME2")
    signed = floats or int(stored["PixelRepresentation"] or 0) == 1
    bits_stored = int(stored["BitsStored"] or bits)
    high_bit = bits_stored - 1 if stored["HighBit"] is None else int(stored["HighBit"])
    if not 0 < bits_stored <= high_bit + 1 <= bits:
        raise ValueError(f"{bits_stored} bits up to bit {high_bit} of {bits}")
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    # Bytes that stand in words of two are swapped in files of this order.
    plain = grey and syntax in NATIVE and (order == "<" or bits > 8)
    return {
        **{name: text(dataset, tag) for name, tag in _TEXTS.items()},
        "rows": rows,
        "columns": columns,
        "color": not grey,
        "inverted": photometric == "MONOCHROME1",
        "bits": bits_stored,
        "high_bit": high_bit,
        "signed": signed,
        "table": _modality_table(dataset, signed) if grey else None,
        "instance": _instance(dataset),
        "dtype": f"{order}{'f' if floats else 'i' if signed else 'u'}{bits // 8}",
        "offset": offset if plain else None,
        "working": _WORKING_JPEG_2000 if syntax in _JPEG_2000 else _WORKING,
        "mosaic": _is_mosaic(dataset),
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


def _instance(dataset: Dataset) -> float | None:
    try:
        found = numbers([dataset], "InstanceNumber", 1)
    except ValueError:
        # What goes by it does without.
        return None
    return found[0] if found else None


def _is_mosaic(dataset: Dataset) -> bool:
    """Tell whether all slices of a volume lie side by side in one picture.

    Enhanced files may keep the word, but have a frame for each slice (dcm2niix issue 553).
    """
    if "SharedFunctionalGroupsSequence" in dataset or int(dataset.get("NumberOfFrames") or 1) > 1:
        return False
    word = "MOSAIC" in text(dataset, "ImageType").upper().split("\\")
    return word or _private(dataset, _TILES) not in ("", "1")


def _private(dataset: Dataset, tags: dict[tuple[int, int], str]) -> str:
    """Return the first value of the first of private attributes that is there, as text."""
    for (group, element), maker in tags.items():
        if (group, element) in dataset and text(dataset, (group, 0x10)).startswith(maker):
            value = dataset[group, element].value
            if isinstance(value, bytes):
                # Of a type that is not known: text, or a number of two bytes.
                said = value.decode("latin1").strip("\0 ")
                return said if said.isdigit() else str(int.from_bytes(value[:2], "little"))
            return str(value[0] if hasattr(value, "append") else value).strip("\0 ")
    return ""


def _find_pixels(
    file: BinaryIO, dataset: Dataset, syntax: UID, size: int, claimed: int
) -> tuple[bool, int | None]:
    """Look whether so many bytes of pixels can be there.

    Returns
    -------
    floats : bool
        Whether the pixels are fractions.
    offset : int or None
        Where they begin; None in what is deflated as a whole.
    """
    if syntax not in NATIVE and claimed > _MOST_COMPRESSED * size + _SMALL:
        raise ValueError(f"its header announces {claimed:,} bytes, too many for {size:,}")
    if syntax == DEFLATED:
        return False, None
    begin = file.tell()
    head = file.read(12)
    if len(head) < 12:
        raise ValueError("it ends before its pixels")
    order = "<" if dataset.original_encoding[1] else ">"
    tag = struct.unpack_from(f"{order}HH", head)
    floats = tag in _FLOATS
    if not floats and tag != _IMAGE_DATA:
        raise ValueError("it has no pixels")
    # By what stands there: the meta information may be mistaken. A length is even, no letter here.
    explicit = head[4:6] in (b"OB", b"OW", b"OF", b"OD", b"UN")
    (length,) = struct.unpack_from(f"{order}I", head, 8 if explicit else 4)
    offset = begin + (12 if explicit else 8)
    if (length == _UNDEFINED) != (syntax in _ENCAPSULATED):
        raise ValueError(
            f"its transfer syntax is {syntax.name}, but its pixels are "
            f"{'' if length == _UNDEFINED else 'not '}compressed"
        )
    there = min(size - offset, length)
    if syntax in NATIVE and claimed > there:
        raise ValueError(
            f"its header announces {claimed:,} bytes of pixels, but there are only {there:,}"
        )
    return floats, offset


def _frames(dataset: Dataset, count: int) -> list[dict[str, Any]]:
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    each = dataset.get("PerFrameFunctionalGroupsSequence") or []
    if each and len(each) != count:
        raise ValueError(f"describes {len(each)} of its {count} frames")
    common = [*_flat(shared), dataset]
    found = [_frame([*_flat(item), *common]) for item in each] or [_frame(common)] * count
    if count == 1 or any(_is_placed(item) for item in each):
        return found
    # What differs between frames of one place, a time, tells them apart.
    if any(frame["splits"] != found[0]["splits"] for frame in found):
        return found
    return _spread(found, numbers([dataset], "GridFrameOffsetVector", count))


def _is_placed(groups: Dataset) -> bool:
    return any("ImagePositionPatient" in group for group in _flat(groups))


def _flat(groups: Dataset) -> list[Dataset]:
    found = [element.value[0] for element in groups if element.VR == "SQ" and element.value]
    # A level below, in that of diffusion.
    turns = [item[_GRADIENT].value[0] for item in found if item.get(_GRADIENT)]
    return found + turns


def _spread(frames: list[dict[str, Any]], offsets: list[float] | None) -> list[dict[str, Any]]:
    """Say where frames lie of which only the first one says it.

    Offsets are distances along the normal, the first of them 0, or heights in the patient, the
    first of them that of the first frame (DICOM PS3.3, C.8.8.3.2).
    """
    one = frames[0]
    if one["position"] is None or one["orientation"] is None:
        return [{**frame, "position": None} for frame in frames]
    normal = np.cross(*np.reshape(one["orientation"], (2, 3)))
    unread = one["unreadable"]
    if offsets is None and ("between" in unread or (not one["between"] and "thickness" in unread)):
        raise ValueError(unread.get("between") or unread["thickness"])
    step = one["between"] or one["thickness"] or 1.0
    along = np.arange(len(frames)) * step if offsets is None else np.array(offsets) - offsets[0]
    assumed = offsets is None
    if offsets is not None and abs(offsets[0]) > _SAME_PLACE:
        axial = bool(np.abs(normal[:2]).max() < _NOT_UNIT)
        assumed = not axial or abs(offsets[0] - one["position"][2]) > _SAME_PLACE
        along *= 1 if assumed else np.sign(normal[2])
    places = np.array(one["position"]) + along[:, None] * normal
    return [
        {**frame, "position": place, "assumed": assumed}
        for frame, place in zip(frames, places.tolist(), strict=True)
    ]


class _Reading:
    """Reads what is said of a frame, and keeps what cannot be read.

    Not all of it is needed of each frame: who needs it refuses.

    Parameters
    ----------
    groups : list of Dataset
        The nearest to the frame first.

    Attributes
    ----------
    unreadable : dict of str to str
        What is wrong with a number, by the entry that it was to be.
    """

    def __init__(self, groups: list[Dataset]) -> None:
        self._groups = groups
        self.unreadable: dict[str, str] = {}

    def numbers(self, entry: str, name: str, count: int) -> list[float] | None:
        """Return so many numbers of an element; None where there are none, or they are unread."""
        try:
            return numbers(self._groups, name, count)
        except ValueError as error:
            self.unreadable.setdefault(entry, str(error))
            return None

    def number(self, entry: str, name: str) -> float | None:
        """Return the one number of an element."""
        found = self.numbers(entry, name, 1)
        return found[0] if found else None

    def sizes(self, entry: str, name: str, count: int) -> list[float] | None:
        """Return sizes in mm; 0 says nothing."""
        found = self.numbers(entry, name, count)
        if found is None or max(map(abs, found)) < _NEAREST:
            return None
        if min(found) < _NEAREST:
            self._refuse(entry, name, found, "sizes above 0")
            return None
        return found

    def orientation(self) -> list[float] | None:
        """Return the directions (6,) of rows and columns."""
        name = "ImageOrientationPatient"
        found = self.numbers("orientation", name, 6)
        if found is None or not any(found):
            return None
        turn = np.reshape(found, (2, 3))
        if np.abs(turn @ turn.T - np.eye(2)).max() > _NOT_SQUARE:
            self._refuse("orientation", name, found, "two directions at right angles")
            return None
        return found

    def _refuse(self, entry: str, name: str, found: list[float], wanted: str) -> None:
        said = "\\".join(f"{number:g}" for number in found)
        self.unreadable.setdefault(entry, f"its {named(name)} is {said}, where {wanted} should be")


def _frame(groups: list[Dataset]) -> dict[str, Any]:
    read = _Reading(groups)
    spacing = None
    for name in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        if spacing is None and "spacing" not in read.unreadable:
            spacing = read.sizes("spacing", name, 2)
    slope, intercept = (read.number("scale", f"Rescale{n}") for n in ("Slope", "Intercept"))
    if groups[-1].get("Modality") == _DOSE:
        slope, intercept = read.number("scale", "DoseGridScaling"), 0.0
        if slope is None:
            read.unreadable.setdefault("scale", f"it has no {named('DoseGridScaling')}")
    thickness = read.sizes("thickness", "SliceThickness", 1)
    between = read.number("between", "SpacingBetweenSlices")
    splits = {name: said for name in SPLITTERS if (said := _first_text(groups, name))}
    b_value = _private(groups[-1], _B_VALUES)
    if b_value.isdigit():
        # That of GE has a mark above the figures that count.
        b_value = str(int(b_value) % _MARK)
    private = {"b-value": b_value, "part": _private(groups[-1], _PARTS)}
    splits |= {name: said for name, said in private.items() if said}
    return {
        "position": read.numbers("position", "ImagePositionPatient", 3),
        "orientation": read.orientation(),
        "spacing": spacing,
        "thickness": thickness[0] if thickness else None,
        "between": abs(between) if between and abs(between) > _NEAREST else None,
        "slope": 1.0 if slope is None else slope,
        "intercept": intercept or 0.0,
        **_unit(groups, intercept),
        "splits": splits,
        "unreadable": read.unreadable,
    }


def _unit(groups: list[Dataset], intercept: float | None) -> dict[str, str]:
    """Return why a frame's values are no Hounsfield units, and why they may be none.

    What says no type means them, which is all that CT had at first; unspecified (US) is what
    programs write whatever they have.
    """
    table = groups[-1].get("ModalityLUTSequence")
    if table:
        name, unit = "ModalityLUTType", text(table[0], "ModalityLUTType") or _UNSPECIFIED
    else:
        name, unit = "RescaleType", _first_text(groups, "RescaleType") or _HOUNSFIELD
    unit = unit.upper()
    said = f"its {named(name)} is {unit}" if unit.replace(".", "") != _HOUNSFIELD else ""
    if not table and intercept is None:
        said = said or f"the file has no {named('RescaleIntercept')}"
        return {"no_hounsfield": "", "unsaid": said}
    unspecified = unit == _UNSPECIFIED
    return {
        "no_hounsfield": "" if unspecified else said,
        "unsaid": said if unspecified else "",
    }


def _modality_table(dataset: Dataset, signed: bool) -> dict[str, Any] | None:
    """Return what stored values stand for: the first of them, and values by rank in base 64.

    None where there is no table, and in XA and RF, where it leads back to X-ray intensities and is
    not for showing (DICOM PS3.4, N.2.1).
    """
    sequence = dataset.get("ModalityLUTSequence")
    if not sequence or dataset.get("Modality") in _XRAY:
        return None
    descriptor = numbers(sequence, "LUTDescriptor", 3)
    if descriptor is None:
        raise ValueError(f"its {named('ModalityLUTSequence')} has no {named('LUTDescriptor')}")
    count, first, bits = (int(number) for number in descriptor)
    # 16 bits hold no 65536; and the sign is that of the pixels, whatever is written here.
    count, first = count or 1 << 16, first - (1 << 16) if signed and first >= 1 << 15 else first
    element = sequence[0].get_item("LUTData")
    data = b"" if element is None else element.value
    if isinstance(data, bytes):
        order = "<" if getattr(element, "is_little_endian", True) else ">"
        code = "u1" if len(data) in (count, count + count % 2) and bits <= 8 else f"{order}u2"
        values = np.frombuffer(data[: len(data) - len(data) % np.dtype(code).itemsize], code)
    else:
        values = np.array(data, "u2").reshape(-1)
    if not 1 <= bits <= 16 or len(values) < count:
        raise ValueError(
            f"its {named('ModalityLUTSequence')} has {len(values)} values, where {count} of "
            f"{bits} bits should be"
        )
    packed = base64.b64encode(values[:count].astype("<u2").tobytes()).decode()
    return {"first": first, "bits": bits, "values": packed}


def _first_text(groups: list[Dataset], name: str) -> str:
    return next((said for group in groups if (said := text(group, name))), "")


def transfer_syntax(dataset: Dataset) -> UID:
    """Return the UID of how a file's bytes are to be taken.

    Of what is not compressed pydicom finds out itself: the file may not say, or be mistaken.
    """
    named = UID(str(dataset.file_meta.get("TransferSyntaxUID") or "").strip("\0 "))
    if named and named not in NATIVE:
        return named
    implicit, little = dataset.original_encoding
    if implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if little else ExplicitVRBigEndian
