"""Where NRRD and MetaImage headers say that their voxels are: beside them, and nowhere else."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from napari_medsamq.errors import VolumeError

# Headers are lines of text; none that means well is as long.
_LONGEST = 2**20
# A time series of volumes of vectors.
_MOST_DIMENSIONS = 5
_FIELD = re.compile(r"^([^:=\n]{1,60}?)\s*(?::=|:|=)\s*(.*?)\s*$", re.MULTILINE)
_NRRD_DATA = re.compile(r"^\s*data ?file\s*:=?(.*)$", re.MULTILINE | re.IGNORECASE)
_META_DATA = re.compile(r"^\s*ElementDataFile\s*[=:](.*)$", re.MULTILINE)
# The most that deflate shrinks anything by.
_MOST_EXPANSION = 1032


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

    A header that came from elsewhere could have any file of this computer read as an image, so that
    data files have to lie in its folder. Links there are followed: they were made on this computer.

    Raises
    ------
    VolumeError
        If the header has no end, names a file outside its own folder, or one that is not there.
    """
    with path.open("rb") as file:
        head = file.read(_LONGEST + 1)
    text = head.decode("latin-1").replace("\r\n", "\n").replace("\r", "\n")
    nrrd = text.startswith("NRRD")
    if nrrd:
        # An empty line ends the header.
        header, end, _ = text.partition("\n\n")
        complete, names = bool(end) or len(head) <= _LONGEST, _NRRD_DATA.findall(header)
        after = _NRRD_DATA.split(header, maxsplit=1)[-1]
    else:
        # What follows the name is data, or the list that it announces.
        header, *found = _META_DATA.split(text, maxsplit=1)
        complete, names, after = bool(found), found[:1], "".join(found[1:])
    if not complete:
        raise VolumeError(
            f"{path}: its header has no end. The file is damaged; copy or export it again."
        )
    names = [name.strip() for name in names]
    listed = any(name.upper().startswith("LIST") for name in names)
    for name in names + (after.splitlines() if listed else []):
        if _leads_away(name):
            raise VolumeError(
                f"{path}: says that its voxels lie in {name!r}, outside its own folder. Put that "
                "file beside it, and its bare name into the header."
            )
    fields = {name.lower(): value for name, value in _FIELD.findall(header)}
    paths = _data_paths(path, names[-1] if names else "")
    if nrrd:
        return DataFiles(paths, _nrrd_expansion(fields))
    _check_dimensions(path, fields)
    if fields.get("compresseddata", "false").lower().startswith("t"):
        return DataFiles(paths, _MOST_EXPANSION, _packed_size(path, fields))
    is_text = fields.get("binarydata", "true").lower().startswith("f")
    return DataFiles(paths, 8 if is_text else 1)


def _nrrd_expansion(fields: dict[str, str]) -> int:
    packed = fields.get("encoding", "raw").lower()
    return {"raw": 1, "ascii": 8, "text": 8, "txt": 8, "hex": 1}.get(packed, _MOST_EXPANSION)


def _packed_size(path: Path, fields: dict[str, str]) -> int:
    value = fields.get("compresseddatasize", "0")
    try:
        size = int(value)
    except ValueError:
        size = -1
    if size < 0:
        raise VolumeError(
            f"{path}: cannot be read as an image (its header gives no number of compressed bytes, "
            f"but {value!r}). The file is damaged: copy or export it again."
        )
    return size


def _data_paths(path: Path, name: str) -> tuple[Path, ...]:
    if name.upper() in ("LOCAL", ""):
        return (path,)
    if name.upper().startswith("LIST") or "%" in name:
        # Which of them is left to the reader.
        return tuple(p for p in sorted(path.parent.iterdir()) if p.is_file())
    data = path.parent / name.encode("latin-1").decode("utf-8", "replace").replace("\0", "")
    if not data.is_file():
        raise VolumeError(
            f"{path}: lacks the data file that belongs to it, {data.name}. Copy it to the same "
            "folder."
        )
    return (data,)


def _leads_away(name: str) -> bool:
    parts = re.split(r"[/\\]", name.strip())
    return ".." in parts or parts[0] == "" != name.strip() or bool(re.match("[A-Za-z]:", parts[0]))


def _check_dimensions(path: Path, fields: dict[str, str]) -> None:
    """Refuse a MetaImage header with other sizes than it announces, past whose end ITK reads."""
    try:
        count = int(fields.get("ndims", ""))
        sizes = [int(size) for size in fields.get("dimsize", "").split()]
    except ValueError:
        count, sizes = 0, []
    if not 1 <= count <= _MOST_DIMENSIONS or len(sizes) != count or min(sizes) < 1:
        raise VolumeError(
            f"{path}: cannot be read as an image (its header has no {count or 'number of'} sizes "
            "above 0). The file is damaged: copy or export it again."
        )
