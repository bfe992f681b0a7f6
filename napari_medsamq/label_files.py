"""Label files of any origin: ids, names where the file carries them, and other grids."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from napari_medsamq.errors import VolumeError
from napari_medsamq.files import file_hash, provenance_path
from napari_medsamq.geometry import Float64
from napari_medsamq.history import MAX_LABEL_ID, Label, LabelStyle
from napari_medsamq.volume_io import (
    Volume,
    onto_grid,
    read_label_volume,
    whole_ids,
    whole_steps,
)

# NIfTI's codes of spaces that are no scanner's: Talairach and MNI templates.
_TEMPLATE = 3


@dataclass(frozen=True, eq=False)
class LabelFile:
    """A label that was read from a file.

    Attributes
    ----------
    label : (z, y, x) uint16
    volume : Volume
        Where it lies.
    styles : dict of int to LabelStyle
        Names and colours, of the ids that the file or the one beside it names.
    """

    label: Label
    volume: Volume
    styles: dict[int, LabelStyle]

    @property
    def ids(self) -> list[int]:
        """The label ids that have voxels, in ascending order."""
        return used_ids(self.label)

    def style(self, label_id: int) -> LabelStyle:
        """Return name and colour of a label id; those of new labels where the file has none."""
        return self.styles.get(label_id) or LabelStyle.default(label_id)

    def laid_on(self, image: Volume) -> LabelFile:
        """Return it at the place of its image; see `Volume.laid_on`."""
        volume = self.volume.laid_on(image)
        if volume is self.volume:
            return self
        in_file = self.volume.to_source(self.label)
        return replace(self, label=np.ascontiguousarray(volume.from_source(in_file)), volume=volume)


def read_label_file(path: Path, over: Volume | None = None) -> LabelFile:
    """Read a label of any format that images are read from, or a DICOM segmentation.

    It may be empty. Names are those of the provenance beside it, where that is of this very file,
    else its own.

    Parameters
    ----------
    path : Path
    over : Volume, optional
        What the grid of a DICOM segmentation, which ends where its segments do, is extended to.

    Raises
    ------
    VolumeError
        If it cannot be read, or its values are no label ids.
    """
    volume, segments = read_label_volume(path, over)
    ids = whole_ids(str(path), volume.data)
    own = {number: LabelStyle(found.name, found.color) for number, found in segments.items()}
    styles = {**own, **_table_styles(volume), **_provenance_styles(path)}
    # Formats that cannot do without a name have the usual one where nobody has given any.
    given = {key: style for key, style in styles.items() if style != LabelStyle.default(key)}
    return LabelFile(ids, volume, given)


def used_ids(label: npt.NDArray[Any]) -> list[int]:
    """Return the ids other than 0 that a label has, in ascending order."""
    counts = np.bincount(label.reshape(-1), minlength=1)
    return [int(label_id) for label_id in np.flatnonzero(counts) if label_id]


def same_grid(one: Volume, other: Volume) -> bool:
    """Tell whether the voxels of two volumes lie in the same places."""
    if _one_frame(one, other) is False:
        return False
    shape = one.data.shape[:3]
    steps = whole_steps(np.linalg.inv(other.affine) @ one.affine, shape)
    return shape == other.data.shape[:3] and steps is not None and np.array_equal(steps, np.eye(4))


def bring_onto(label: LabelFile, grid: Volume) -> tuple[Label, str]:
    """Bring a label onto the grid of another volume, by nearest neighbours where it has its own.

    Parameters
    ----------
    label : LabelFile
    grid : Volume

    Returns
    -------
    label : (z, y, x) uint16
    said : str
        What the user should know of it; empty where both have one grid.

    Raises
    ------
    VolumeError
        If the grids differ and do not lie in the same physical space.
    """
    label = label.laid_on(grid)
    if same_grid(label.volume, grid):
        return label.label, ""
    check_same_space(label.volume, grid)
    own, name = label.volume.source, label.volume.name
    ids = label.volume.to_source(label.label).reshape(own.grid)
    moved, notes = onto_grid(name, ids, own.affine, True, grid.source)
    in_order = np.ascontiguousarray(grid.from_source(moved.reshape(grid.source.shape)))
    return in_order, f"{name}: {' '.join(notes)}" if notes else ""


def check_same_space(one: Volume, other: Volume) -> None:
    """Make sure that the places of two volumes can be compared in mm.

    Raises
    ------
    VolumeError
        If a file does not say how the patient lies in it, one lies in a template's space and the
        other in a scanner's, they are of different frames of reference, or they have no place in
        common without being known to be of one.
    """
    one_frame = _one_frame(one, other)
    if one_frame is False:
        raise VolumeError(
            f"{one.name} and {other.name} do not lie in the same physical space: they belong to "
            f"different frames of reference ({one.source.frame_of_reference} and "
            f"{other.source.frame_of_reference}). Choose files of one scan, or bring both into one "
            "space first."
        )
    for volume in (one, other):
        if not volume.orientation_known:
            raise VolumeError(
                f"{volume.name}: does not say how the patient lies in it, and the grids of "
                f"{one.name} and {other.name} differ, so that they cannot be laid over each other. "
                "Give files of one grid, or export it again with its orientation."
            )
    if _in_template(one) != _in_template(other):
        raise VolumeError(
            f"{one.name} and {other.name} do not lie in the same physical space: the header of one "
            "names a template (Talairach, MNI), that of the other does not. Bring both into one "
            "space first."
        )
    if one_frame:
        # Labels of one scan may well lie on slices that have nothing in common.
        return
    spans = [(found.min(0), found.max(0)) for found in (_world(one), _world(other))]
    if (np.minimum(spans[0][1], spans[1][1]) < np.maximum(spans[0][0], spans[1][0])).any():
        raise VolumeError(
            f"{one.name} and {other.name} have no place of the patient in common, so that they do "
            "not lie in the same physical space. Check that both are of one patient and scan."
        )


def _table_styles(volume: Volume) -> dict[int, LabelStyle]:
    """Read the label table that a NIfTI file may have in a header extension.

    Connectome Workbench and TotalSegmentator write such tables.
    """
    styles: dict[int, LabelStyle] = {}
    for extension in getattr(volume.source.header, "extensions", ()):
        content = extension.get_content()
        text = content if isinstance(content, bytes) else str(content).encode()
        # What declares entities is no label table, and might unfold to any size.
        if b"<LabelTable" not in text or b"<!" in text.replace(b"<![CDATA[", b""):
            continue
        try:
            root = ElementTree.fromstring(text.strip(b"\0 \r\n\t"))
        except ElementTree.ParseError:
            # Not one that anybody could read; the label is good without it.
            continue
        for entry in root.iter("Label"):
            key, name = entry.get("Key", ""), (entry.text or "").strip()
            if key.isdecimal():
                parts = [entry.get(part, "") for part in ("Red", "Green", "Blue")]
                _add(styles, int(key), name, _hex(parts))
    return styles


def _provenance_styles(path: Path) -> dict[int, LabelStyle]:
    """Read names and colours from the provenance file beside a label, if it is that label's."""
    styles: dict[int, LabelStyle] = {}
    try:
        found = json.loads(provenance_path(path).read_bytes())
        if found["label"]["sha256"] != file_hash(path):
            return {}
        for entry in found["labels"]:
            _add(styles, int(entry["id"]), str(entry["name"]).strip(), str(entry.get("color")))
    except (OSError, ValueError, KeyError, TypeError):
        # None, or another program's; the label is good without it.
        return {}
    return styles


def _add(styles: dict[int, LabelStyle], label_id: int, name: str, color: str) -> None:
    if 0 < label_id <= MAX_LABEL_ID and name:
        default = LabelStyle.default(label_id)
        known = re.fullmatch("#[0-9A-Fa-f]{6}", color)
        styles[label_id] = LabelStyle(name, color if known else default.color)


def _hex(parts: list[str]) -> str:
    """Return three shares of 1 as #RRGGBB; nothing where they are none."""
    try:
        values = [round(float(part) * 255) for part in parts]
    except (ValueError, OverflowError):
        return ""
    return "#" + "".join(f"{value:02X}" for value in values if 0 <= value <= 255)


def _one_frame(one: Volume, other: Volume) -> bool | None:
    """Tell whether two volumes have one DICOM frame of reference; None if not both have any."""
    uids = one.source.frame_of_reference, other.source.frame_of_reference
    return uids[0] == uids[1] if all(uids) else None


def _world(volume: Volume) -> Float64:
    """Return where the middles of the corner voxels (8, 3) lie in mm."""
    corners = product(*((0.0, size - 1.0) for size in volume.data.shape[:3]))
    found: Float64 = np.array([[*corner, 1.0] for corner in corners]) @ volume.affine[:3].T
    return found


def _in_template(volume: Volume) -> bool:
    header = volume.source.header
    if header is None:
        return False
    sform, qform = int(header["sform_code"]), int(header["qform_code"])
    return (sform or qform) >= _TEMPLATE
