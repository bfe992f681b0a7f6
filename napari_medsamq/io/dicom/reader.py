"""DICOM: finds the series of a folder, chooses a volume of it, and reads its pixels."""

from __future__ import annotations

import base64
import os
import struct
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from napari_medsamq.errors import ChoiceError, VolumeError
from napari_medsamq.io.dicom.even_grid import resample_evenly
from napari_medsamq.io.dicom.process import Decoder
from napari_medsamq.io.dicom.series import (
    Frame,
    Stack,
    describe,
    is_uid,
    positions,
    series_part,
    split_series,
    stack,
    uneven,
    without_copies,
)
from napari_medsamq.io.dicom.volumes import choose
from napari_medsamq.io.source import (
    EIGHT_BITS,
    LEFT_RIGHT_UNKNOWN,
    Array,
    Decoded,
    Selection,
    VolumePart,
    check_memory,
)

ONE_SLICE = "Only this slice was opened. To have the whole series, open its folder."
ALONE = "The folder holds one slice only of this series."
NOT_CHECKED = "The even spacing of this multi-frame file's slices could not be checked."
NO_SCALE = (
    "The file does not say how large its pixels are: 1 mm is assumed, so sizes and volumes are "
    "not real."
)
NO_UID = (
    "The files do not say which series they are of (no Series Instance UID): those with one study, "
    "patient, modality, number and description are taken for one."
)
INVERTED = "The file shows low values bright (MONOCHROME1); they were inverted."

_SOP_INSTANCE_UID, _SHORT = 0x0018, 1024
# What systems leave in folders: macOS beside each file that it copies, for one.
_HIDDEN = "."

_NO_STAND_IN = "Nothing else can stand in for it: have it corrected, or export the series again."

_NO_SLOPE = (
    "its Rescale Slope (0028,1053), or Dose Grid Scaling (3004,000E), is 0, which makes one value "
    "of all its pixels"
)

# Of CT in so few, somebody has made grey values.
_FEW_BITS = 8
_WHOLE = ("u1", "i1", "u2", "i2", "u4", "i4")


def is_dicom(path: Path) -> bool:
    """Tell by name or content whether a file is DICOM, also one that lacks what has to lead it."""
    if path.suffix.lower() in (".dcm", ".dicom", ".ima"):
        return True
    with path.open("rb") as file:
        head = file.read(132)
    return head[128:] == b"DICM" or _begins_with_element(head)


def _begins_with_element(head: bytes) -> bool:
    """Tell whether bytes begin as the attributes of a file, or those of its meta information, do.

    Nothing else that is an image begins so. The first attribute has a number up to that of the
    SOP Instance UID, and a short value.
    """
    if len(head) < 8:
        return False
    for order in "<>":
        group, element, length = struct.unpack_from(f"{order}HHI", head)
        if group not in (0x0002, 0x0008) or element > _SOP_INSTANCE_UID:
            continue
        kind = head[4:6]
        if kind.isalpha() and kind.isupper():
            (length,) = struct.unpack_from(f"{order}H", head, 6)
        if length % 2 == 0 and length <= _SHORT:
            return True
    return False


def read_dicom_file(path: Path, selection: Selection) -> Decoded:
    """Read one DICOM file: a single slice, or a multi-frame volume.

    Raises
    ------
    VolumeError
        If the file cannot be read as an image, or holds several volumes to choose from.
    """
    with Decoder(path) as decoder:
        (head,) = decoder.headers([path])
        if head.get("directory"):
            raise VolumeError(
                f"{path}: is a table of contents (DICOMDIR). Open the folder that it lies in, "
                f"{path.parent}, or one of the folders there."
            )
        if "error" in head:
            raise VolumeError(
                f"{path}: cannot be read as an image ({head['error']}). The file is damaged, or "
                "something else than an image; copy or export it again."
            )
        frames = _frames(path, head)
        if selection.series not in (None, head["series"]):
            raise VolumeError(
                f"{path}: is of series {head['series']}, not of {selection.series}. Leave out "
                "--series, or open the folder."
            )
        warnings = (ONE_SLICE,) if len(frames) == 1 and frames[0].orientation is not None else ()
        return _decode(decoder, path, frames, selection, warnings)


def read_dicom_folder(folder: Path, selection: Selection) -> Decoded:
    """Read one series of a folder, searching its subfolders too.

    Raises
    ------
    ChoiceError
        If there are several series or volumes, and none was chosen.
    VolumeError
        If there is no series, no such series, or its slices do not make one even stack.
    """
    # Begun first: while its libraries are loaded, files are looked for.
    with Decoder(folder) as decoder:
        paths, left_out = _find(folder)
        found: dict[str, list[Frame]] = {}
        unreadable: dict[str | None, str] = {}
        for path, head in zip(paths, decoder.headers(paths), strict=True):
            if "error" not in head:
                found.setdefault(head["series"], []).extend(_frames(path, head))
            elif not head.get("other"):
                # What is whole but no image, a report say, is none of the series' slices.
                left_out.append(f"{path.name}: {head['error']}")
                unreadable[head.get("unreadable_of")] = f"{path}: {head['error']}"
        series = split_series(found)
        key = _chosen(folder, series, selection.series, left_out)
        frames, copies = without_copies(series[key], partial(_stored, decoder))
        if frames[0].head["series"] in unreadable:
            raise VolumeError(f"{unreadable[frames[0].head['series']]}. {_NO_STAND_IN}")
        warnings: tuple[str, ...] = () if len(frames) > 1 else (ALONE,)
        warnings += _left_out_warning(left_out)
        if copies:
            warnings += (f"{copies} slices are in the folder twice and were left out once.",)
        if not is_uid(frames[0].head["series"]):
            warnings += (NO_UID,)
        parts = (series_part(series, key),) if len(series) > 1 else ()
        return _decode(decoder, folder, frames, selection, warnings, parts)


def _find(folder: Path) -> tuple[list[Path], list[str]]:
    """Return the DICOM files of a folder and its subfolders, and what may have been one.

    That is what lies beside DICOM files and is named like them, or without a suffix that would say
    what it is, as a slice is whose copy is empty.
    """
    paths: list[Path] = []
    others: list[Path] = []
    for path in _files(folder):
        (paths if path.exists() and is_dicom(path) else others).append(path)
    named = {(path.parent, _kind(path)) for path in paths}
    beside = {path.parent for path in paths}
    return paths, [
        f"{path.name}: {_state(path)}"
        for path in others
        if (path.parent, _kind(path)) in named or (path.parent in beside and not _kind(path))
    ]


def _files(folder: Path) -> list[Path]:
    """List the files of a folder and its subfolders, links included, each folder once."""
    found: list[Path] = []
    seen = set()
    for where, folders, names in os.walk(folder, followlinks=True):
        here = Path(where)
        if (own := here.resolve()) in seen:
            folders.clear()
            continue
        seen.add(own)
        found += [here / name for name in names if not name.startswith(_HIDDEN)]
    return sorted(found)


def _state(path: Path) -> str:
    if not path.exists():
        return "is a link to what is not there"
    return "is empty" if path.stat().st_size == 0 else "is no DICOM"


def _kind(path: Path) -> str:
    # What follows the last dot of a UID is a number.
    return "" if path.suffix[1:].isdigit() else path.suffix.lower()


def _frames(path: Path, head: dict[str, object]) -> list[Frame]:
    places = head["frames"]
    if not isinstance(places, list):
        raise TypeError("a header lists its frames")
    return [Frame(path, number, head, place) for number, place in enumerate(places)]


def _chosen(
    folder: Path, found: dict[str, list[Frame]], series: str | None, left_out: list[str]
) -> str:
    if not found:
        why = f" ({left_out[0]})" if left_out else ""
        raise VolumeError(
            f"{folder}: holds no DICOM images{why}. Choose the folder with the series, or an image "
            "file."
        )
    if series is None and len(found) == 1:
        return next(iter(found))
    if series in found:
        return series
    problem = f"has no series {series}" if series else f"holds {len(found)} series"
    studies = {frames[0].head["study"] for frames in found.values()}
    if len(studies) > 1:
        problem += f" of {len(studies)} studies"
    raise ChoiceError(
        f"{folder}: {problem}.",
        "series",
        {key: describe(frames, found.values()) for key, frames in found.items()},
    )


def _left_out_warning(names: list[str]) -> tuple[str, ...]:
    if not names:
        return ()
    some = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return (
        f"{len(names)} files of the folder are no readable images and were left out ({some}). "
        "Check that no slice is missing at the ends.",
    )


def _decode(
    decoder: Decoder,
    where: Path,
    frames: list[Frame],
    selection: Selection,
    warnings: tuple[str, ...],
    parts: tuple[VolumePart, ...] = (),
) -> Decoded:
    _check_numbers(frames)
    chosen = choose(where, frames, selection.volume)
    parts += () if chosen.part is None else (chosen.part,)
    found, more = _stack(where, chosen.frames)
    warnings += chosen.warnings + more
    if found.uneven and not selection.resample:
        raise uneven(where, found)
    frames = found.frames
    data, affine = _pixels(decoder, where, frames), found.affine
    if found.uneven:
        if data.ndim == 4 or found.grid is None:
            raise uneven(where, found)
        # Where they lie on even places, some of which are missing, without what rounding did.
        places = found.grid.places if found.grid.fits else positions(frames)
        data, affine = resample_evenly(str(where), data, places, affine, found.grid.count)
        thickness = float(np.linalg.norm(affine[:3, 2]))
        warnings += (
            f"The slices are not even ({found.uneven}). They were resampled to {len(data)} slices "
            f"{thickness:.3g} mm apart; a label is saved on these, not on the file's own.",
        )
    head = frames[0].head
    if frames[0].orientation is None:
        warnings += (LEFT_RIGHT_UNKNOWN,)
    if frames[0].place["spacing"] is None:
        warnings += (NO_SCALE,)
    if any(_is_inverted(frame) for frame in frames):
        warnings += (INVERTED,)
    ijk = data.transpose(2, 1, 0, *range(3, data.ndim))
    return Decoded(
        ijk,
        affine,
        "dicom",
        ijk.shape[:3],
        modality=head["modality"],
        no_hounsfield=_why_no_hounsfield(frames),
        hounsfield_unsaid=_first(frames, "unsaid"),
        warnings=warnings,
        # Slices in between are none that a label could refer to.
        files=() if found.uneven else tuple(dict.fromkeys(frame.path for frame in frames)),
        frame_of_reference=head["frame_of_reference"],
        parts=parts,
        frames=() if found.uneven else tuple((frame.path, frame.number) for frame in frames),
    )


def _check_numbers(frames: Sequence[Frame]) -> None:
    """Refuse frames with a number that is needed of them and cannot be read."""
    for frame in frames:
        wrong = dict(frame.place["unreadable"])
        if frame.head["color"]:
            wrong.pop("scale", None)
        if len(frames) > 1 or frame.place["thickness"] is not None:
            wrong.pop("between", None)
        if len(frames) > 1:
            wrong.pop("thickness", None)
        for what in wrong.values():
            raise VolumeError(f"{frame.path}: {what}. {_NO_STAND_IN}")


def _stack(where: Path, frames: list[Frame]) -> tuple[Stack, tuple[str, ...]]:
    """Put the slices of one volume in order; return also what could not be checked."""
    first = frames[0]
    one_file = all(frame.path == first.path for frame in frames)
    placed = all(frame.is_placed for frame in frames)
    if not placed and one_file:
        return Stack(frames, first.affine()), (NOT_CHECKED,) if len(frames) > 1 else ()
    unchecked = any(frame.place.get("assumed") for frame in frames)
    return stack(where, frames), (NOT_CHECKED,) if unchecked and len(frames) > 1 else ()


def _why_no_hounsfield(frames: Sequence[Frame]) -> str:
    if min(frame.head["bits"] for frame in frames) <= _FEW_BITS:
        return EIGHT_BITS
    return _first(frames, "no_hounsfield")


def _first(frames: Sequence[Frame], entry: str) -> str:
    return next((said for frame in frames if (said := frame.place[entry])), "")


def _is_inverted(frame: Frame) -> bool:
    # Hounsfield units mean the same however they are shown.
    return bool(frame.head["inverted"]) and frame.head["modality"] != "CT"


def _pixels(decoder: Decoder, where: Path, frames: Sequence[Frame]) -> Array:
    """Return the values (n, rows, columns) or (n, rows, columns, 3), rescaled."""
    rows, columns = frames[0].size
    color = frames[0].head["color"]
    each = 3 if color else np.dtype(frames[0].head["dtype"]).itemsize
    check_memory(where, len(frames) * rows * columns * each)
    volume: Array | None = None
    for n, frame in enumerate(frames):
        plane = _stored(decoder, frame)
        if volume is None:
            dtype = np.dtype(np.uint8) if color else _dtype(frames)
            volume = np.empty((len(frames), *plane.shape), dtype)
        if plane.shape != volume.shape[1:] or (color and plane.dtype != np.uint8):
            raise VolumeError(
                f"{frame.path}: has pixels {plane.dtype} of shape {plane.shape}; one grey value or "
                "an 8-bit RGB colour is needed. Export it as grey values."
            )
        if not color:
            table = frame.head["table"]
            if table is not None:
                plane = _looked_up(table, plane)
            if _is_inverted(frame):
                plane = _inverted(plane, frame)
            slope, intercept = _scale(frame)
            if slope == 0 and np.ptp(plane):
                raise VolumeError(f"{frame.path}: {_NO_SLOPE}. {_NO_STAND_IN}")
            if (slope, intercept) != (1, 0):
                # Whole numbers below 2**53 are exact; what overflows is infinite, and told.
                plane = plane * slope + intercept
        with np.errstate(over="ignore", invalid="ignore"):
            volume[n] = plane
    if volume is None or volume.shape[1:3] != (rows, columns):
        raise VolumeError(f"{where}: holds no pixels. Export it again.")
    return volume


def _looked_up(table: dict[str, Any], plane: Array) -> Array:
    """Return what stored values stand for by a Modality LUT: uint16."""
    values = np.frombuffer(base64.b64decode(table["values"]), "<u2").astype(np.uint16, copy=False)
    # Below the first value and above the last one, these stand.
    found: Array = values[np.clip(plane.astype(np.int64) - table["first"], 0, len(values) - 1)]
    return found


def _scale(frame: Frame) -> tuple[float, float]:
    """Return slope and intercept; a Modality LUT takes their place."""
    if frame.head["table"] is not None:
        return 1.0, 0.0
    return frame.place["slope"], frame.place["intercept"]


def _values(frame: Frame) -> tuple[np.dtype[Any], int, bool]:
    """Return type, bits and sign of a frame's values before they are rescaled."""
    head, table = frame.head, frame.head["table"]
    if table is not None:
        return np.dtype(np.uint16), table["bits"], False
    return np.dtype(head["dtype"]).newbyteorder("="), head["bits"], head["signed"]


def _inverted(plane: Array, frame: Frame) -> Array:
    if plane.dtype.kind == "f":
        return -plane
    if plane.dtype.kind == "i":
        return ~plane
    dtype, bits, _ = _values(frame)
    inverted: Array = np.array(2**bits - 1, dtype) - plane
    return inverted


def _stored(decoder: Decoder, frame: Frame) -> Array:
    """Return the values of a frame as they are stored."""
    head = frame.head
    rows, columns = frame.size
    stored = np.dtype(head["dtype"])
    if head["offset"] is None:
        size = rows * columns * max(stored.itemsize, 3 if head["color"] else 1)
        return decoder.frame(frame.path, frame.number, head["working"] * size)
    start = head["offset"] + frame.number * rows * columns * stored.itemsize
    plane = np.fromfile(frame.path, stored, rows * columns, offset=start)
    if plane.size != rows * columns:
        raise VolumeError(f"{frame.path}: was changed while it was read. Open it again.")
    plane = plane.astype(stored.newbyteorder("="), copy=False).reshape(rows, columns)
    above, spare = 8 * stored.itemsize - head["high_bit"] - 1, 8 * stored.itemsize - head["bits"]
    if spare:
        # Drops what else lies in the other bits, and keeps the sign.
        plane = (plane << above) >> spare
    return plane


def _dtype(frames: Sequence[Frame]) -> np.dtype[Any]:
    """Return the smallest type that holds all values: whole numbers where they are whole."""
    scales = {_scale(frame) for frame in frames}
    types = {_values(frame)[0] for frame in frames}
    if scales == {(1.0, 0.0)} and len(types) == 1:
        return types.pop()
    if any(kind.kind == "f" for kind in types):
        return np.dtype(np.float32)
    ends: list[float] = []
    for frame in frames:
        (_, bits, signed), (slope, intercept) = _values(frame), _scale(frame)
        low = -(2 ** (bits - 1)) if signed else 0
        ends += [value * slope + intercept for value in (low, low + 2**bits - 1)]
    if all(float(number).is_integer() for scale in scales for number in scale):
        for name in _WHOLE:
            limits = np.iinfo(name)
            if limits.min <= min(ends) and max(ends) <= limits.max:
                return np.dtype(name)
    return np.dtype(np.float32)
