"""NRRD headers; the format is that of teem, "Definition of NRRD File Format"."""

from __future__ import annotations

import re
from itertools import takewhile
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

_TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": (
        *("longlong", "long long", "long long int", "signed long long"),
        *("signed long long int", "int64", "int64_t"),
    ),
    "u8": (
        *("ulonglong", "unsigned long long", "unsigned long long int"),
        *("uint64", "uint64_t"),
    ),
    "f4": ("float",),
    "f8": ("double",),
}
_PACKINGS: dict[str, Packing] = {
    "raw": "raw",
    "hex": "hex",
    "gz": "deflate",
    "gzip": "deflate",
    "txt": "text",
    "text": "text",
    "ascii": "text",
    "bz2": "bzip2",
    "bzip2": "bzip2",
}
_BYTE_ORDERS = {"little": "<", "big": ">"}
# Spaces that say how the patient lies in them, each with or without a time, and the way to LPS.
_SPACES = {
    **dict.fromkeys(("right-anterior-superior", "ras"), (-1.0, -1.0, 1.0)),
    **dict.fromkeys(("left-anterior-superior", "las"), (1.0, -1.0, 1.0)),
    **dict.fromkeys(("left-posterior-superior", "lps"), (1.0, 1.0, 1.0)),
}
# All other kinds hold several values of one voxel.
_PLACES = ("domain", "space", "time", "???", "none", "")


def is_nrrd(path: Path) -> bool:
    """Tell by its content whether a file is NRRD."""
    with path.open("rb") as file:
        return file.read(4) == b"NRRD"


def read_nrrd_header(path: Path) -> Described:
    """Read what the header of an NRRD file says.

    Raises
    ------
    HeaderError
        If that cannot be.
    VolumeError
        If it has no end, or its data files are not there or lie elsewhere.
    """
    lines, ends = read_lines(path)
    header = list(takewhile(bool, lines[1:]))
    fields, keys, following = _fields(header)
    if "datafile" in fields:
        files, start = data_files(path, fields["datafile"], following), 0
    elif len(header) + 1 < len(lines):
        files, start = (path,), ends[len(header) + 1]
    else:
        raise VolumeError(
            f"{path}: its header has no end. The file is damaged; copy or export it again."
        )
    sizes = tuple(whole_numbers(_needed(fields, "sizes")))
    if not 1 <= len(sizes) <= MOST_AXES or min(sizes) < 1:
        raise HeaderError(f"its header has no 1 to {MOST_AXES} sizes above 0, but {sizes}")
    if whole_numbers(_needed(fields, "dimension")) != [len(sizes)]:
        raise HeaderError("its header has another number of axes than of sizes")
    packing = _PACKINGS.get(_needed(fields, "encoding").lower())
    if packing is None:
        raise HeaderError(f"its encoding is {fields['encoding'][:80]!r}, not raw, gzip or ascii")
    dtype = _dtype(fields, packing)
    space, channels, affine, warnings, unnamed = _axes(fields, len(sizes))
    start, skip = _skipped(path, fields, files, start)
    if skip < 0 and packing != "raw":
        raise HeaderError("its voxels are said to be the last bytes of a file, but are not raw")
    if packing not in ("deflate", "bzip2"):
        start, skip = (-1 if skip < 0 else start + skip), 0
    return Described(
        path=path,
        files=files,
        start=start,
        skip=skip,
        packing=packing,
        packed=0,
        dtype=dtype,
        sizes=sizes,
        space=space,
        further=tuple(axis for axis in range(len(sizes)) if axis not in space + channels),
        channels=channels,
        affine=affine,
        warnings=warnings,
        unnamed_space=unnamed,
        keys=keys,
    )


def _fields(lines: list[str]) -> tuple[dict[str, str], dict[str, str], list[str]]:
    """Return fields, keys that programs have added, and the lines that follow a list's name."""
    fields: dict[str, str] = {}
    keys: dict[str, str] = {}
    for number, line in enumerate(lines):
        name, colon, value = line.partition(":")
        if line.startswith("#") or not colon:
            continue
        if value.startswith("="):
            keys[_text(name)] = _text(value[1:])
            continue
        # Fields of two words are written with and without a space.
        name = name.replace(" ", "").lower()
        if name in fields:
            raise HeaderError(f"its header says twice what its {name[:40]} is")
        fields[name] = value.strip()
        if name == "datafile" and value.strip().upper().startswith("LIST"):
            return fields, keys, lines[number + 1 :]
    return fields, keys, []


def _text(written: str) -> str:
    whole = written.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return re.sub(r"\\(n|\\)", lambda found: "\n" if found[1] == "n" else "\\", whole)


def _needed(fields: dict[str, str], name: str) -> str:
    if name not in fields:
        raise HeaderError(f"its header does not say what its {name} is")
    return fields[name]


def _dtype(fields: dict[str, str], packing: Packing) -> np.dtype[np.generic]:
    said = _needed(fields, "type").lower()
    code = next((code for code, names in _TYPES.items() if said in names), None)
    if code is None:
        raise HeaderError(f"its values are {said[:80]!r}, not numbers")
    if code[1] == "1" or packing == "text":
        return np.dtype(code)
    order = _BYTE_ORDERS.get(_needed(fields, "endian").lower())
    if order is None:
        raise HeaderError(f"its byte order is {fields['endian'][:80]!r}, not little or big")
    return np.dtype(order + code)


def _skipped(
    path: Path, fields: dict[str, str], files: tuple[Path, ...], start: int
) -> tuple[int, int]:
    """Return where the voxels begin, after as many lines as are skipped, and bytes to skip."""
    said = whole_numbers(f"{fields.get('lineskip', '0')} {fields.get('byteskip', '0')}")
    if len(said) != 2 or said[0] < 0 or said[1] < -1:
        raise HeaderError(f"it skips {said} lines and bytes")
    count, skip = said
    if not count:
        return start, skip
    if len(files) > 1:
        raise HeaderError("it skips lines in several data files")
    with files[0].open("rb") as file:
        file.seek(start)
        for _ in range(count):
            if not file.readline():
                raise HeaderError(f"its data file has no {count} lines to skip")
        return file.tell(), skip


def _axes(
    fields: dict[str, str], count: int
) -> tuple[tuple[int, ...], tuple[int, ...], Float64, tuple[str, ...], bool]:
    """Return which axes are i, j, k, which hold values, and where they lie."""
    kinds = [kind.lower() for kind in fields.get("kinds", "").split()] or [""] * count
    vectors = _vectors(fields.get("spacedirections", ""))
    for given in (kinds, vectors):
        if given and len(given) != count:
            raise HeaderError("its header has another number of axes than of their kinds or places")
    channels = tuple(axis for axis in range(count) if kinds[axis] not in _PLACES)
    places = [axis for axis in range(count) if axis not in channels]
    placed = [axis for axis in places if vectors and vectors[axis] is not None]
    spatial = [axis for axis in placed or places if kinds[axis] != "time"][:3]
    if not spatial:
        raise HeaderError("none of its axes is one of space")
    if placed:
        affine, warnings, unnamed = _placed(fields, [vectors[axis] or [] for axis in spatial])
    else:
        affine, warnings = _unplaced(fields, spatial, count)
        unnamed = bool(affine[:3, 3].any())
    return tuple(spatial), channels, affine, warnings, unnamed


def _vectors(text: str) -> list[list[float] | None]:
    """Return the vectors of a field, None for those that are none."""
    found = [numbers(part.replace(",", " ")) for part in re.findall(r"\(([^()]*)\)|none", text)]
    return [None if np.isnan(vector).all() else vector for vector in found]


def _placed(
    fields: dict[str, str], vectors: list[list[float]]
) -> tuple[Float64, tuple[str, ...], bool]:
    origin = (*_vectors(fields.get("spaceorigin", "")), None)[0]
    lengths = {len(vector) for vector in vectors}
    if len(lengths) > 1 or not lengths <= {2, 3, 4} or (origin and {len(origin)} != lengths):
        raise HeaderError("the places of its axes have different numbers of dimensions")
    affine = np.eye(4)
    dimensions = min(3, *lengths)
    for axis, vector in enumerate(vectors):
        affine[:3, axis] = 0
        affine[:dimensions, axis] = vector[:dimensions]
    if len(vectors) == 2 and dimensions == 3:
        # One slice: one unit along the normal.
        normal = np.cross(affine[:3, 0], affine[:3, 1])
        affine[:3, 2] = normal / max(float(np.linalg.norm(normal)), 1e-30)
    affine[:dimensions, 3] = (origin or [0.0] * 4)[:dimensions]
    units = re.findall(r'"([^"]*)"', fields.get("spaceunits", ""))
    scale, warnings = in_millimetres(units[:dimensions])
    affine[:dimensions] *= np.array(scale or [1.0] * dimensions)[:, None]
    space = re.sub("(-time|(?<=^...)t)$", "", fields.get("space", "").lower())
    if space not in _SPACES or dimensions < 3:
        return affine, (*warnings, LEFT_RIGHT_UNKNOWN), True
    return np.diag([*_SPACES[space], 1.0]) @ affine, warnings, False


def _unplaced(
    fields: dict[str, str], spatial: list[int], count: int
) -> tuple[Float64, tuple[str, ...]]:
    """Return the affine of axes of which no more is said than, at most, how long they are."""
    spacings = numbers(fields.get("spacings", " ".join(["nan"] * count)), count)
    sizes, warnings = assumed_sizes([spacings[axis] for axis in spatial])
    units = re.findall(r'"([^"]*)"', fields.get("units", ""))
    scale, more = in_millimetres([units[axis] for axis in spatial] if len(units) == count else [])
    sizes = sizes * (scale or 1.0)
    affine = np.diag([*sizes, *[1.0] * (4 - len(sizes))])
    starts = numbers(fields.get("axismins", ""))
    if len(starts) == count and np.isfinite([starts[axis] for axis in spatial]).all():
        centers = fields.get("centers", fields.get("centerings", "")).split()
        for n, axis in enumerate(spatial):
            # Where a cell begins, its middle is half a voxel further.
            node = len(centers) == count and centers[axis].lower() == "node"
            affine[n, 3] = starts[axis] * (scale or [1.0] * 3)[n] + (0 if node else sizes[n] / 2)
    return affine, (*warnings, *more, LEFT_RIGHT_UNKNOWN)
