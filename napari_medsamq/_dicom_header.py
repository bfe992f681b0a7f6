"""What a DICOM file says of its frames: where they lie, and what their pixels mean.

Runs in the process that `_decoder` starts.
"""

from __future__ import annotations

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

# No codec of DICOM shrinks an image by more, but for one that is all of one value.
_MOST_COMPRESSED = 1032
# Below this size nothing is lost by decoding what a damaged header says.
_SMALL = 100 << 20
# Of numbers that can mean something: mm, or values.
_NEAREST, _FARTHEST = 1e-6, 1e12
_NOT_UNIT = 0.01
# In mm: what numbers for one place in a file differ by is less.
_SAME_PLACE = 0.01
NATIVE = {ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian}
DEFLATED = DeflatedExplicitVRLittleEndian
HIGH_THROUGHPUT = {HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K}
_JPEG_2000 = {JPEG2000Lossless, JPEG2000} | HIGH_THROUGHPUT
_ENCAPSULATED = {*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes, RLELossless} | _JPEG_2000
_IMAGE_DATA = (0x7FE0, 0x0010)
_FLOATS = {(0x7FE0, 0x0008), (0x7FE0, 0x0009)}
_UNDEFINED = 0xFFFFFFFF
# How many times the decoded picture its decoder takes: OpenJPEG has 4 bytes and a copy for each
# value, whatever its bits.
_WORKING, _WORKING_JPEG_2000 = 3, 16

# What may tell volumes apart that lie at one place, the likeliest first.
SPLITTERS = (
    *("EchoTime", "EchoNumbers", "EffectiveEchoTime", "TemporalPositionIdentifier"),
    *("TemporalPositionIndex", "TriggerTime", "NominalCardiacTriggerDelayTime", "InversionTime"),
    *("FlipAngle", "DiffusionBValue", "ImageType", "FrameType", "StackID", "AcquisitionNumber"),
    *("AcquisitionDateTime", "FrameReferenceDateTime", "AcquisitionTime", "ContentTime"),
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
    "FrameOfReferenceUID",
    *("StudyDescription", "SeriesDescription", "SeriesNumber", "InstanceNumber", "NumberOfFrames"),
    *("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "SliceThickness"),
    *("SpacingBetweenSlices", "GridFrameOffsetVector", "RescaleSlope", "RescaleIntercept"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
)

_BITS = (8, 16, 32, 64)
# What is drawn on a series may lie beside it.
_SEGMENTATION = "SEG"


def read_header(path: Path) -> dict[str, Any]:
    """Return what JSON can hold; only `error` for what is no image, `other` if it is whole.

    What pydicom raises on damaged files is not caught here.
    """
    with path.open("rb") as file:
        dataset = dcmread(file, stop_before_pixels=True, specific_tags=list(_TAGS), force=True)
        if dataset.file_meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
            return {"error": "is a table of contents", "other": True, "directory": True}
        syntax = transfer_syntax(dataset)
        drawn = dataset.get("Modality") == _SEGMENTATION
        if "Rows" not in dataset or "Columns" not in dataset or drawn:
            return {"error": "holds no image", "other": bool(dataset.get("SOPClassUID"))}
        frames = int(dataset.get("NumberOfFrames") or 1)
        rows, columns = int(dataset.Rows), int(dataset.Columns)
        stored = {name: dataset.get(name) for name in PIXEL_TAGS}
        samples = int(stored["SamplesPerPixel"] or 1)
        bits = int(stored["BitsAllocated"] or 0)
        if min(frames, rows, columns) < 1 or samples not in (1, 3, 4) or bits not in _BITS:
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
        **{name: _text(dataset, tag) for name, tag in _TEXTS.items()},
        "rows": rows,
        "columns": columns,
        "color": not grey,
        "inverted": photometric == "MONOCHROME1",
        "bits": bits_stored,
        "high_bit": high_bit,
        "signed": signed,
        "dtype": f"{order}{'f' if floats else 'i' if signed else 'u'}{bits // 8}",
        "offset": offset if plain else None,
        "working": _WORKING_JPEG_2000 if syntax in _JPEG_2000 else _WORKING,
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
}


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
    return _spread(found, _numbers([dataset], "GridFrameOffsetVector", count))


def _is_placed(groups: Dataset) -> bool:
    return any("ImagePositionPatient" in group for group in _flat(groups))


def _flat(groups: Dataset) -> list[Dataset]:
    return [element.value[0] for element in groups if element.VR == "SQ" and element.value]


def _spread(frames: list[dict[str, Any]], offsets: list[float] | None) -> list[dict[str, Any]]:
    """Say where frames lie of which only the first one says it.

    Offsets are distances along the normal, the first of them 0, or heights in the patient, the
    first of them that of the first frame (DICOM PS3.3, C.8.8.3.2).
    """
    one = frames[0]
    if one["position"] is None or one["orientation"] is None:
        return [{**frame, "position": None} for frame in frames]
    normal = np.cross(*np.reshape(one["orientation"], (2, 3)))
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


def _orientation(groups: list[Dataset]) -> list[float] | None:
    found = _numbers(groups, "ImageOrientationPatient", 6)
    if found is None or not any(found):
        return None
    turn = np.reshape(found, (2, 3))
    if np.abs(turn @ turn.T - np.eye(2)).max() > _NOT_UNIT:
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


def _text(dataset: Dataset, name: str) -> str:
    value = dataset.get(name)
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
