"""Where NRRD and MetaImage headers say that their voxels are."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from napari_medsamq.errors import VolumeError

# No header that describes an image is longer.
_LONGEST = 1 << 20
# A time series of volumes of vectors.
_MOST_DIMENSIONS = 5
_FIELD = re.compile(rb"^([^:=\n]{1,60}?)\s*(?::=|:|=)\s*(.*?)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class DataFiles:
    """The files with the voxels.

    Attributes
    ----------
    paths : tuple of Path
        One for most images, which may be the file with the header.
    expansion : int
        How many bytes of voxels one of their bytes may stand for.
    packed : int
        How many bytes they have as the header says, which ITK takes at its word; 0 if it does not.
    """

    paths: tuple[Path, ...]
    expansion: int
    packed: int = 0


def find_data(path: Path) -> DataFiles:
    """Read the header of an NRRD or MetaImage file as far as it says where the voxels are.

    Raises
    ------
    VolumeError
        If that file is not there.
    """
    with path.open("rb") as file:
        start = file.read(_LONGEST)
    size = 0
    if start.startswith(b"NRRD"):
        # An empty line ends the header.
        text = re.split(rb"\r?\n\r?\n", start, maxsplit=1)[0]
        fields = {name.lower(): value for name, value in _FIELD.findall(text)}
        name = fields.get(b"data file", fields.get(b"datafile", b""))
        packed = fields.get(b"encoding", b"raw").lower()
        expansion = {b"raw": 1, b"ascii": 8, b"text": 8, b"txt": 8, b"hex": 1}.get(packed, 1032)
        inside, many = not name, name.upper().startswith(b"LIST") or b"%" in name
    else:
        text = re.split(rb"ElementDataFile.*\n?", start, maxsplit=1)[0]
        fields = {name.lower(): value for name, value in _FIELD.findall(text)}
        (name,) = re.findall(rb"ElementDataFile\s*[:=]\s*(.*?)\s*$", start, re.MULTILINE)[:1] or [
            b""
        ]
        packed = fields.get(b"compresseddata", b"false").lower()
        ascii_data = fields.get(b"binarydata", b"true").lower().startswith(b"f")
        expansion = 1032 if packed.startswith(b"t") else 8 if ascii_data else 1
        if packed.startswith(b"t"):
            size = _packed_size(path, fields.get(b"compresseddatasize", b"0"))
        inside = name.upper() in (b"LOCAL", b"")
        many = name.upper().startswith(b"LIST") or b"%" in name
        _check_dimensions(path, fields)
    if inside:
        return DataFiles((path,), expansion, size)
    if many:
        # Which of them is left to the reader.
        found = tuple(p for p in sorted(path.parent.iterdir()) if p.is_file())
        return DataFiles(found, expansion, size)
    data = path.parent / name.decode("utf-8", "replace").replace("\0", "")
    if not data.is_file():
        raise VolumeError(
            f"{path}: lacks the data file that belongs to it, {data.name}. Copy it to the same "
            "folder."
        )
    return DataFiles((data,), expansion, size)


def _check_dimensions(path: Path, fields: dict[bytes, bytes]) -> None:
    """Refuse a MetaImage header with other sizes than it announces, past whose end ITK reads."""
    try:
        count = int(fields.get(b"ndims", b""))
        sizes = [int(size) for size in fields.get(b"dimsize", b"").split()]
    except ValueError:
        count, sizes = 0, []
    if not 1 <= count <= _MOST_DIMENSIONS or len(sizes) != count or min(sizes) < 1:
        raise VolumeError(
            f"{path}: cannot be read as an image (its header has no {count or 'number of'} sizes "
            "above 0). The file is damaged: copy or export it again."
        )


def _packed_size(path: Path, value: bytes) -> int:
    try:
        size = int(value)
    except ValueError:
        size = -1
    if size < 0:
        raise VolumeError(
            f"{path}: cannot be read as an image (its header gives no number of compressed bytes, "
            f"but {value.decode('utf-8', 'replace')!r}). The file is damaged: copy or export it "
            "again."
        )
    return size
