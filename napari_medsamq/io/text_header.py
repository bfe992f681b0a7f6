"""NRRD and MetaImage headers, which are text: their lines, and the voxels that they speak of.

Both are read here alone. What a header names is opened by this program and not by a library that
might read the header in another way.
"""

from __future__ import annotations

import bz2
import gzip
import re
import warnings
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from napari_medsamq.array_types import Float64
from napari_medsamq.errors import VolumeError
from napari_medsamq.io.source import (
    MAX_COMPRESSION,
    Array,
    Selection,
    VolumePart,
    check_memory,
    too_short,
    volume_index,
    volume_part,
)

Packing = Literal["raw", "deflate", "bzip2", "text", "hex"]

# Headers are lines of text; none that means well is as long.
_LONGEST = 2**20
# A time series of volumes of vectors.
MOST_AXES = 5
_PIECE = 1 << 20
# One number of a list of files, as C writes it: `slice%03d.raw`.
_NUMBER = re.compile(r"%(0?)([1-9]?)d")


class HeaderError(Exception):
    """What in a header cannot be; caught where the file's name is known."""


@dataclass(frozen=True, eq=False)
class Described:
    """An image as its header describes it, whose voxels are not read yet.

    Attributes
    ----------
    path : Path
        Of the header.
    files : tuple of Path
        With the voxels, one after the other; may be the file with the header.
    start : int
        Bytes before the voxels in each of them; below 0 for those that end with the file.
    skip : int
        Bytes that are left out of what deflate and bzip2 unpack.
    packing : str
    packed : int
        How many bytes there are before unpacking, as the header says; 0 if it does not.
    dtype : dtype
        With its byte order.
    sizes : tuple of int
        Of the axes, the fastest one first.
    space : tuple of int
        Those axes that are i, j, k, or fewer.
    further : tuple of int
        Those of time and the like.
    channels : tuple of int
        Those axes that hold several values of one voxel.
    affine : (4, 4) float64
        From (i, j, k) to LPS mm.
    warnings : tuple of str
    unnamed_space : bool
        See `Decoded`.
    keys : dict of str to str
        What programs have added to the header.
    """

    path: Path
    files: tuple[Path, ...]
    start: int
    skip: int
    packing: Packing
    packed: int
    dtype: np.dtype[np.generic]
    sizes: tuple[int, ...]
    space: tuple[int, ...]
    further: tuple[int, ...]
    channels: tuple[int, ...]
    affine: Float64
    warnings: tuple[str, ...]
    unnamed_space: bool
    keys: dict[str, str]

    def read(self) -> Array:
        """Read the voxels as array (i, j, k, time, channel).

        Raises
        ------
        VolumeError
            If there are fewer than the header announces.
        """
        try:
            array = _read(self).reshape(self.sizes, order="F")
        except HeaderError as error:
            raise unreadable(self.path, error) from error
        array = array.transpose(*self.space, *self.further, *self.channels)
        grid = [self.sizes[axis] for axis in self.space]
        count = int(np.prod([self.sizes[axis] for axis in self.channels], dtype=object))
        in_order: Array = array.reshape((*grid, *[1] * (3 - len(grid)), -1, count), order="F")
        return in_order


def chosen_volume(
    path: Path, array: Array, selection: Selection
) -> tuple[Array, tuple[VolumePart, ...]]:
    """Return one volume (i, j, k) or (i, j, k, 3) of an array (i, j, k, n, channel), and which.

    Several values per voxel that are not 8-bit colours are several volumes: programs write time
    series in that way.

    Raises
    ------
    ChoiceError
        If there are several volumes and none was chosen.
    """
    count, channels = array.shape[3:]
    colors = channels in (3, 4) and array.dtype == np.uint8
    each = 1 if colors else channels
    index = volume_index(path, count * each, selection)
    number, channel = divmod(index, each)
    # Transparency is no colour: the fourth channel is left out.
    chosen = array[:, :, :, number, :3] if colors else array[:, :, :, number, channel]
    kept: Array = chosen if count * channels == 1 else chosen.copy(order="F")
    return kept, volume_part(index, count * each)


def read_lines(path: Path) -> tuple[list[str], list[int]]:
    """Return the lines that may be a file's header, and where in the file each of them ends.

    A line ends with a line feed, before which there may be a carriage return, and with nothing
    else.
    """
    with path.open("rb") as file:
        head = file.read(_LONGEST)
    lines, ends, place = [], [], 0
    for line in head.split(b"\n"):
        place += len(line) + 1
        lines.append(line.removesuffix(b"\r").decode("utf-8", "surrogateescape"))
        ends.append(min(place, len(head)))
    return lines, ends


def unreadable(path: Path, reason: object) -> VolumeError:
    """Return the error of a header that says what cannot be."""
    return VolumeError(
        f"{path}: cannot be read as an image ({reason}). The file is damaged: copy or export it "
        "again."
    )


def numbers(text: str, count: int | None = None) -> list[float]:
    """Return the numbers that a field has, each of which may be NaN.

    Raises
    ------
    HeaderError
        If they are none, or not as many as there should be.
    """
    try:
        found = [float(part) for part in text.split()]
    except ValueError as error:
        raise HeaderError(f"numbers are expected where its header has {text[:80]!r}") from error
    if count is not None and len(found) != count:
        raise HeaderError(f"{count} numbers are expected where its header has {text[:80]!r}")
    return found


def whole_numbers(text: str) -> list[int]:
    """Return the whole numbers that a field has.

    Raises
    ------
    HeaderError
        If they are none.
    """
    try:
        return [int(part) for part in text.split()]
    except ValueError as error:
        raise HeaderError(f"whole numbers are expected, not {text[:80]!r}") from error


def data_files(path: Path, name: str, listed: Sequence[str]) -> tuple[Path, ...]:
    """Return the files that a header names.

    A header that came from elsewhere could have any file of this computer read as an image, so that
    data files have to lie in its folder. Links there are followed: they were made on this computer.

    Parameters
    ----------
    path : Path
        Of the header.
    name : str
        The file; `LIST` for those of the lines that follow; or a name in which `%d` or `%03d`
        stands for a number, with the first and last number and the step between them.
    listed : sequence of str
        The lines that follow.

    Raises
    ------
    VolumeError
        If a file is not there, or lies elsewhere.
    HeaderError
        If the header names none.
    """
    if re.fullmatch(r"LIST(\s+\d+)?", name, re.IGNORECASE):
        names: Iterator[str] = (line.strip() for line in listed if line.strip())
    elif "%" in name and not _is_file(_beside(path, name)):
        names = _numbered(name)
    else:
        names = iter([name])
    found = tuple(_there(path, each) for each in names)
    if not found:
        raise HeaderError("it lists no data file")
    return found


def _numbered(text: str) -> Iterator[str]:
    pattern, *numbered = text.split()
    if pattern.count("%") != 1 or _NUMBER.search(pattern) is None or len(numbered) not in (2, 3, 4):
        raise HeaderError(f"{text[:80]!r} does not say which data files are meant")
    first, last, step = (*whole_numbers(" ".join(numbered)), 1)[:3]
    if step == 0 or (last - first) * step < 0:
        raise HeaderError(f"{text[:80]!r} numbers no data file")
    for number in range(first, last + int(np.sign(step)), step):
        yield _NUMBER.sub(lambda found: f"{number:{found[1]}{found[2]}d}", pattern)  # noqa: B023


def _beside(path: Path, name: str) -> Path:
    parts = re.split(r"[/\\]", name)
    if any(ord(letter) < ord(" ") for letter in name):
        raise HeaderError(f"{name[:80]!r} is no name of a data file")
    if ".." in parts or parts[0] == "" != name or re.match("[A-Za-z]:", parts[0]):
        raise VolumeError(
            f"{path}: says that its voxels lie in {name[:200]!r}, outside its own folder. Put that "
            "file beside it, and its bare name into the header."
        )
    return path.parent / name


def _there(path: Path, name: str) -> Path:
    data = _beside(path, name)
    if not _is_file(data):
        raise VolumeError(
            f"{path}: lacks the data file that belongs to it, {data.name[:200]}. Copy it to the "
            "same folder."
        )
    return data


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        # Too long for a name.
        return False


def _read(image: Described) -> Array:
    """Read all voxels as one line of numbers of this computer's byte order."""
    count = int(np.prod(image.sizes, dtype=object))
    each, rest = divmod(count, len(image.files))
    if rest:
        raise HeaderError(f"{count:,} voxels do not make {len(image.files)} files of equal size")
    parts = [_part(image, file, each) for file in image.files]
    array = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return array.astype(image.dtype.newbyteorder("="), copy=False)


def _part(image: Described, path: Path, count: int) -> Array:
    size, wanted = path.stat().st_size, count * image.dtype.itemsize
    start = size - wanted if image.start < 0 else image.start
    there = max(size - start, 0)
    # The fewest bytes that the voxels can take. Nothing is known of how far bzip2 shrinks them.
    fewest = {
        "raw": wanted,
        "hex": 2 * wanted,
        "text": 2 * count - 1,
        "deflate": wanted // MAX_COMPRESSION,
        "bzip2": 0,
    }
    if start < 0 or max(image.packed, fewest[image.packing]) > there:
        raise too_short(image.path, max(image.packed, wanted), there)
    check_memory(image.path, wanted * len(image.files))
    with path.open("rb") as file:
        file.seek(start)
        if image.packing == "raw":
            raw = np.fromfile(file, image.dtype, count)
        elif image.packing == "text":
            raw = _figures(file.read(), image.dtype)[:count]
        elif image.packing == "hex":
            raw = np.frombuffer(_from_hex(file.read())[:wanted], image.dtype)
        else:
            raw = np.frombuffer(_unpacked(image, file, wanted), image.dtype)
    if raw.size != count:
        raise too_short(image.path, wanted, raw.nbytes)
    return raw


def _figures(text: bytes, dtype: np.dtype[np.generic]) -> Array:
    # Only numbers of 8 bytes are not all to be had from float64.
    exact = dtype.newbyteorder("=") if dtype.itemsize == 8 else np.dtype(np.float64)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)
            found = np.fromstring(text.replace(b",", b" "), exact, sep=" ")
        with np.errstate(invalid="ignore", over="ignore"):
            cast = found.astype(dtype)
    except (DeprecationWarning, ValueError) as error:
        raise HeaderError("its voxels are no numbers") from error
    if dtype.kind != "f" and not np.array_equal(cast, found):
        raise HeaderError(f"its voxels are no numbers of type {dtype.name}")
    return cast


def _from_hex(text: bytes) -> bytes:
    try:
        return bytes.fromhex(text.decode("ascii"))
    except ValueError as error:
        raise HeaderError("its voxels are no hexadecimal figures") from error


def _unpacked(image: Described, file: BinaryIO, wanted: int) -> bytearray:
    """Unpack as many bytes as are wanted; memory is taken only for what is really there."""
    content, skip = bytearray(), image.skip
    try:
        for piece in _pieces(file, image.packing):
            # One piece more than is wanted, because only at its end a file proves to be whole.
            if len(content) >= wanted:
                break
            left_out = min(skip, len(piece))
            skip -= left_out
            content += piece[left_out : left_out + wanted - len(content)]
    except (EOFError, OSError, zlib.error) as error:
        raise HeaderError(error) from error
    if len(content) < wanted:
        raise too_short(image.path, wanted, len(content))
    return content


def _pieces(file: BinaryIO, packing: Packing) -> Iterator[bytes]:
    start = file.read(2)
    file.seek(-len(start), 1)
    if packing == "bzip2":
        with bz2.open(file) as unpacked:
            yield from iter(lambda: unpacked.read(_PIECE), b"")
    elif start == b"\x1f\x8b":
        with gzip.open(file) as unpacked:
            yield from iter(lambda: unpacked.read(_PIECE), b"")
    else:
        unpacker = zlib.decompressobj()
        while not unpacker.eof:
            packed = unpacker.unconsumed_tail or file.read(_PIECE)
            if not packed:
                raise EOFError("its voxels are cut off")
            yield unpacker.decompress(packed, _PIECE)
