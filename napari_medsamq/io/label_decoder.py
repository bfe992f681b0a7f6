"""Reads label files of all formats, on their own grid, with the names that belong to them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from napari_medsamq.errors import VolumeError
from napari_medsamq.io.dicom.reader import is_dicom
from napari_medsamq.io.dicom.references import RT_STRUCTURE_SET, read_kind
from napari_medsamq.io.dicom.rtstruct_reader import read_rtstruct
from napari_medsamq.io.dicom.seg import read_dicom_seg
from napari_medsamq.io.files import file_hash, provenance_path
from napari_medsamq.io.label_grid import Grid
from napari_medsamq.io.nifti import is_nifti
from napari_medsamq.io.nrrd import is_nrrd
from napari_medsamq.io.readers import decode
from napari_medsamq.io.seg_nrrd import read_text_label
from napari_medsamq.io.segments import DecodedLabel, Segment, one_line
from napari_medsamq.io.source import LEFT_RIGHT_UNKNOWN, Decoded, Selection

_MOST = int(np.iinfo(np.uint16).max)


@dataclass(frozen=True, eq=False)
class LoadedLabel:
    """A label from a file, on the grid of an image.

    Attributes
    ----------
    path : Path
    sha256 : str
        Of the file.
    label : (z, y, x) uint16
        Array order.
    segments : dict of int to Segment
        Names and colours by label id, as far as the file or the one beside it has them.
    notes : tuple of str
        What the user should know about how it came onto the grid.
    """

    path: Path
    sha256: str
    label: npt.NDArray[np.uint16]
    segments: dict[int, Segment]
    notes: tuple[str, ...]


def decode_label(
    path: Path, like: Grid | None = None
) -> tuple[Decoded, dict[int, Segment], tuple[str, ...]]:
    """Read a label of any format that images are read from, a DICOM segmentation or contours.

    Parameters
    ----------
    path : Path
    like : Grid, optional
        On whose slices contours are drawn; on a grid of their own without it.

    Returns
    -------
    decoded : Decoded
    segments : dict of int to Segment
        Names are those of the provenance beside the file, where that is of this very file, else its
        own.
    notes : tuple of str
        What the user should know about how the voxels came about.

    Raises
    ------
    VolumeError
        If it cannot be read.
    """
    try:
        found = _decode_named(path, like)
    except OSError as error:
        raise VolumeError(
            f"{path}: cannot be opened ({error.strerror or error}). Check that you may read it."
        ) from error
    if found is None:
        decoded = decode(path, Selection())
        return decoded, {**_of_table(decoded.header), **_of_provenance(path)}, ()
    decoded = Decoded(
        found.data,
        found.affine,
        "image",
        found.data.shape,
        warnings=() if found.orientation_known else (LEFT_RIGHT_UNKNOWN,),
        frame_of_reference=found.frame_of_reference,
    )
    return decoded, {**found.segments, **_of_provenance(path)}, found.notes


def has_contours(path: Path) -> bool:
    """Tell whether a file holds contours, which have no grid of their own."""
    try:
        return path.is_file() and is_dicom(path) and read_kind(path) == RT_STRUCTURE_SET
    except OSError:
        # What cannot be opened is told where it is read.
        return False


def _decode_named(path: Path, like: Grid | None) -> DecodedLabel | None:
    """Read a file of a format that is not one of images, or names labels; None for others."""
    if not path.is_file() or path.stat().st_size == 0 or path.suffix.lower() == ".npz":
        return None
    if is_nifti(path):
        return None
    if is_dicom(path):
        if has_contours(path):
            return read_rtstruct(path, like)
        return read_dicom_seg(path)
    return read_text_label(path) if is_nrrd(path) else None


def _of_table(header: Any) -> dict[int, Segment]:
    """Read the label table that a NIfTI file may have in a header extension.

    Connectome Workbench and TotalSegmentator write such tables.
    """
    segments: dict[int, Segment] = {}
    for extension in getattr(header, "extensions", ()):
        content = extension.get_content()
        text = content if isinstance(content, bytes) else str(content).encode()
        # What declares entities is no label table, and might unfold to any size.
        if b"<LabelTable" not in text or b"<!" in text.replace(b"<![CDATA[", b""):
            continue
        try:
            root = ElementTree.fromstring(text.strip(b"\0 \r\n\t"))
        except (ElementTree.ParseError, LookupError, ValueError):
            # Not one that anybody could read; the label is good without it.
            continue
        for entry in root.iter("Label"):
            key, name = entry.get("Key", ""), entry.text or ""
            if key.isdecimal():
                parts = [entry.get(part, "") for part in ("Red", "Green", "Blue")]
                _add(segments, int(key), name, _hex(parts))
    return segments


def _of_provenance(path: Path) -> dict[int, Segment]:
    """Read names and colours from the provenance file beside a label, if it is that label's."""
    segments: dict[int, Segment] = {}
    try:
        found = json.loads(provenance_path(path).read_bytes())
        if found["label"]["sha256"] != file_hash(path):
            return {}
        for entry in found["labels"]:
            _add(segments, int(entry["id"]), str(entry["name"]), str(entry.get("color")))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        # None, or another program's; the label is good without it.
        return {}
    return segments


def _add(segments: dict[int, Segment], label_id: int, name: str, color: str) -> None:
    name = one_line(name)
    if 0 < label_id <= _MOST and name:
        known = re.fullmatch("#[0-9A-Fa-f]{6}", color)
        segments[label_id] = Segment(name, color if known else Segment.default(label_id).color)


def _hex(parts: list[str]) -> str:
    """Return three shares of 1 as #RRGGBB; nothing where they are none."""
    try:
        values = [round(float(part) * 255) for part in parts]
    except (ValueError, OverflowError):
        return ""
    return "#" + "".join(f"{value:02X}" for value in values if 0 <= value <= 255)
