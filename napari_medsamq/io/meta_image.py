"""MetaImage headers (`.mha`, `.mhd`); the format is that of MetaIO, as ITK reads it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from napari_medsamq.array_types import Float64
from napari_medsamq.errors import VolumeError
from napari_medsamq.io.source import LEFT_RIGHT_UNKNOWN, assumed_sizes, in_millimetres
from napari_medsamq.io.text_header import (
    MOST_AXES,
    Described,
    HeaderError,
    Packing,
    data_files,
    numbers,
    read_lines,
    whole_numbers,
)

SUFFIXES = (".mha", ".mhd")

# A long has 4 bytes there, on every computer.
_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
# The same under its names of different times.
_ORIGINS = ("offset", "position", "origin")
_DIRECTIONS = ("transformmatrix", "rotation", "orientation")
# The last field of each header.
_DATA = re.compile("\ufeff?\\s*ElementDataFile\\s*[=:]", re.IGNORECASE)
_BYTE_ORDERS = ("elementbyteordermsb", "binarydatabyteordermsb")


def is_meta_image(path: Path) -> bool:
    """Tell by its name whether a file is MetaImage; its content has no mark."""
    return path.suffix.lower() in SUFFIXES


def read_meta_header(path: Path) -> Described:
    """Read what the header of a MetaImage file says.

    Raises
    ------
    HeaderError
        If that cannot be.
    VolumeError
        If it has no end, or its data files are not there or lie elsewhere.
    """
    lines, ends = read_lines(path)
    fields: dict[str, str] = {}
    last = next((n for n, line in enumerate(lines) if _DATA.match(line)), len(lines))
    if last == len(lines):
        raise VolumeError(
            f"{path}: its header has no end. The file is damaged; copy or export it again."
        )
    for line in lines[: last + 1]:
        # Either sign, whichever comes first.
        name, value = (*re.split("[=:]", line, maxsplit=1), "")[:2]
        name = name.lstrip("\ufeff").strip().lower()
        if name in fields and name not in ("", "comment"):
            raise HeaderError(f"its header says twice what its {name[:40]} is")
        fields[name] = value.strip()
    name = fields["elementdatafile"]
    inside = name.lower() == "local"
    files = (path,) if inside else data_files(path, name, lines[last + 1 :])
    count, grid = _sizes(fields)
    values = whole_numbers(fields.get("elementnumberofchannels", "1"))
    if len(values) != 1 or values[0] < 1:
        raise HeaderError("its header has no number of values per voxel")
    packing, packed = _packing(fields)
    start = ends[last] if inside else 0
    said = whole_numbers(fields.get("headersize", "0"))
    if len(said) != 1 or said[0] < -1 or (packing != "raw" and said[0] < 0):
        raise HeaderError(f"its header size is {fields['headersize'][:40]!r}")
    affine, warnings = _place(fields, count)
    unnamed = LEFT_RIGHT_UNKNOWN in warnings and affine[:3, 3].any()
    return Described(
        path=path,
        files=files,
        start=said[0] or start,
        skip=0,
        packing=packing,
        packed=packed,
        dtype=_dtype(fields),
        sizes=(*values, *grid),
        space=tuple(range(1, count + 1))[:3],
        further=tuple(range(4, count + 1)),
        channels=(0,),
        affine=affine,
        warnings=warnings,
        unnamed_space=bool(unnamed),
        keys={},
    )


def _sizes(fields: dict[str, str]) -> tuple[int, list[int]]:
    try:
        (count,) = whole_numbers(fields.get("ndims", "")) or [0]
        sizes = whole_numbers(fields.get("dimsize", ""))
    except (HeaderError, ValueError):
        count, sizes = 0, []
    if not 1 <= count <= MOST_AXES or len(sizes) != count or min(sizes) < 1:
        raise HeaderError(f"its header has no {count or 'number of'} sizes above 0")
    return count, sizes


def _dtype(fields: dict[str, str]) -> np.dtype[np.generic]:
    said = fields.get("elementtype", "").upper()
    code = _TYPES.get(said.removesuffix("_ARRAY"))
    if code is None:
        raise HeaderError(f"its values are {said[:80]!r}, not numbers")
    return np.dtype((">" if _true(_first(fields, _BYTE_ORDERS)) else "<") + code)


def _packing(fields: dict[str, str]) -> tuple[Packing, int]:
    if _true(fields.get("compresseddata", "")):
        value = fields.get("compresseddatasize", "0")
        try:
            size = int(value)
        except ValueError:
            size = -1
        if size < 0:
            raise HeaderError(f"its header gives no number of compressed bytes, but {value!r}")
        return "deflate", size
    return ("raw" if _true(fields.get("binarydata", "true")) else "text"), 0


def _place(fields: dict[str, str], count: int) -> tuple[Float64, tuple[str, ...]]:
    """Return the affine of the first three axes, and what to tell of it."""
    unsaid = " ".join(["nan"] * count)
    said = numbers(_first(fields, ("elementspacing", "elementsize")) or unsaid, count)
    origin = numbers(_first(fields, _ORIGINS) or " ".join(["0"] * count), count)
    matrix = _first(fields, _DIRECTIONS)
    directions = np.reshape(numbers(matrix, count**2) if matrix else np.eye(count), (count, count))
    sizes, warnings = assumed_sizes(said[:3])
    scale, more = in_millimetres([fields.get("distanceunits", "").replace("?", "")])
    space = min(count, 3)
    affine = np.eye(4)
    # Each row of the matrix is the direction of an axis.
    affine[:space, :space] = directions[:space, :space].T * sizes
    affine[:space, 3] = origin[:space]
    affine[:space] *= (scale or [1.0])[0]
    unknown = () if matrix else (LEFT_RIGHT_UNKNOWN,)
    return affine, (*warnings, *more, *unknown)


def _first(fields: dict[str, str], names: tuple[str, ...]) -> str:
    return next((fields[name] for name in names if name in fields), "")


def _true(value: str) -> bool:
    return value[:1].lower() in ("t", "1")
