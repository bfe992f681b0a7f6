"""DICOM: finds the series of a folder, chooses a volume of it, and reads its pixels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_medsamq._decoder import Decoder
from napari_medsamq._even_grid import resample_evenly
from napari_medsamq._series import Frame, Stack, describe, stack, uneven, without_copies
from napari_medsamq._source import LEFT_RIGHT_UNKNOWN, Array, Decoded, Selection
from napari_medsamq.errors import ChoiceError, VolumeError

ONE_SLICE = "Only this slice was opened. To have the whole series, open its folder."
NOT_CHECKED = "The even spacing of this multi-frame file's slices could not be checked."
NO_SCALE = (
    "The file does not say how large its pixels are: 1 mm is assumed, so sizes and volumes are "
    "not real."
)
INVERTED = "The file shows low values bright (MONOCHROME1); they were inverted."

_WHOLE = ("u1", "i1", "u2", "i2", "u4", "i4")


def is_dicom(path: Path) -> bool:
    """Tell by name or content whether a file is DICOM."""
    if path.suffix.lower() in (".dcm", ".dicom", ".ima"):
        return True
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def read_dicom_file(path: Path, selection: Selection) -> Decoded:
    """Read one DICOM file: a single slice, or a multi-frame volume.

    Raises
    ------
    VolumeError
        If the file cannot be read as an image, or holds several volumes to choose from.
    """
    with Decoder(path) as decoder:
        (head,) = decoder.headers([path])
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
        paths = [
            path
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.name != "DICOMDIR" and is_dicom(path)
        ]
        found: dict[str, list[Frame]] = {}
        left_out = []
        for path, head in zip(paths, decoder.headers(paths), strict=True):
            if "error" not in head:
                found.setdefault(head["series"], []).extend(_frames(path, head))
            elif not head.get("other"):
                # What is whole but no image, a report say, is none of the series' slices.
                left_out.append(f"{path.name}: {head['error']}")
        frames, copies = without_copies(_chosen(folder, found, selection.series, left_out))
        warnings: tuple[str, ...] = () if len(frames) > 1 else (ONE_SLICE,)
        warnings += _left_out_warning(left_out)
        if copies:
            warnings += (f"{copies} slices are in the folder twice and were left out once.",)
        return _decode(decoder, folder, frames, selection, warnings)


def _frames(path: Path, head: dict[str, object]) -> list[Frame]:
    places = head["frames"]
    if not isinstance(places, list):
        raise TypeError("a header lists its frames")
    return [Frame(path, number, head, place) for number, place in enumerate(places)]


def _chosen(
    folder: Path, found: dict[str, list[Frame]], series: str | None, left_out: list[str]
) -> list[Frame]:
    if not found:
        why = f" ({left_out[0]})" if left_out else ""
        raise VolumeError(
            f"{folder}: holds no DICOM images{why}. Choose the folder with the series, or an image "
            "file."
        )
    if series is None and len(found) == 1:
        return next(iter(found.values()))
    if series in found:
        return found[series]
    problem = f"has no series {series}" if series else f"holds {len(found)} series"
    studies = {frames[0].head["study"] for frames in found.values()}
    if len(studies) > 1:
        problem += f" of {len(studies)} studies"
    raise ChoiceError(
        f"{folder}: {problem}.",
        "series",
        {uid: describe(frames, study=len(studies) > 1) for uid, frames in found.items()},
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
) -> Decoded:
    found, more = _stack(where, frames, selection.volume)
    warnings += more
    if found.uneven and not selection.resample:
        raise uneven(where, found)
    frames = found.frames
    data, affine = _pixels(decoder, where, frames), found.affine
    if found.uneven:
        if data.ndim == 4:
            raise uneven(where, found)
        places = np.array([frame.position for frame in frames])
        data, affine = resample_evenly(str(where), data, places, affine)
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
        warnings=warnings,
        # Slices in between are none that a label could refer to.
        files=() if found.uneven else tuple(dict.fromkeys(frame.path for frame in frames)),
        frame_of_reference=head["frame_of_reference"],
        frames=() if found.uneven else tuple((frame.path, frame.number) for frame in frames),
    )


def _stack(where: Path, frames: list[Frame], volume: int | None) -> tuple[Stack, tuple[str, ...]]:
    """Put slices in order; return also what could not be checked."""
    first = frames[0]
    one_file = all(frame.path == first.path for frame in frames)
    placed = all(frame.position is not None and frame.orientation is not None for frame in frames)
    if placed and (len(frames) > 1 or volume is not None):
        unchecked = any(frame.place.get("assumed") for frame in frames)
        return stack(where, frames, volume), (NOT_CHECKED,) if unchecked else ()
    if not one_file or volume not in (None, 1):
        # Refuses what has no place.
        return stack(where, frames, volume), ()
    return Stack(frames, first.affine()), (NOT_CHECKED,) if len(frames) > 1 else ()


def _is_inverted(frame: Frame) -> bool:
    # Hounsfield units mean the same however they are shown.
    return bool(frame.head["inverted"]) and frame.head["modality"] != "CT"


def _pixels(decoder: Decoder, where: Path, frames: Sequence[Frame]) -> Array:
    """Return the values (n, rows, columns) or (n, rows, columns, 3), rescaled."""
    rows, columns = frames[0].size
    color = frames[0].head["color"]
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
            if _is_inverted(frame):
                plane = ~plane if plane.dtype.kind == "i" else _most(frame) - plane
            slope, intercept = frame.place["slope"], frame.place["intercept"]
            if (slope, intercept) != (1, 0):
                # Whole numbers below 2**53 are exact; what overflows is infinite, and told.
                plane = plane * slope + intercept
        with np.errstate(over="ignore", invalid="ignore"):
            volume[n] = plane
    if volume is None or volume.shape[1:3] != (rows, columns):
        raise VolumeError(f"{where}: holds no pixels. Export it again.")
    return volume


def _most(frame: Frame) -> Array:
    return np.array(2 ** frame.head["bits"] - 1, np.dtype(frame.head["dtype"]).newbyteorder("="))


def _stored(decoder: Decoder, frame: Frame) -> Array:
    """Return the values of a frame as they are stored."""
    head = frame.head
    rows, columns = frame.size
    stored = np.dtype(head["dtype"])
    if head["offset"] is None:
        size = rows * columns * max(stored.itemsize, 3 if head["color"] else 1)
        return decoder.frame(frame.path, frame.number, size)
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
    scales = {(frame.place["slope"], frame.place["intercept"]) for frame in frames}
    types = {frame.head["dtype"] for frame in frames}
    if scales == {(1.0, 0.0)} and len(types) == 1:
        stored: np.dtype[Any] = np.dtype(frames[0].head["dtype"]).newbyteorder("=")
        return stored
    ends: list[float] = []
    for frame in frames:
        bits, slope, intercept = frame.head["bits"], frame.place["slope"], frame.place["intercept"]
        low = -(2 ** (bits - 1)) if frame.head["signed"] else 0
        ends += [value * slope + intercept for value in (low, low + 2**bits - 1)]
    if all(float(number).is_integer() for scale in scales for number in scale):
        for name in _WHOLE:
            limits = np.iinfo(name)
            if limits.min <= min(ends) and max(ends) <= limits.max:
                return np.dtype(name)
    return np.dtype(np.float32)
