"""The bytes of a journal: records that are appended, each of which proves that it is whole.

A file begins with `MAGIC` and a version. A record is its length and checksum (CRC-32), then JSON
that says what it is, then compressed arrays. There is nothing in it that could be run.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from napari_medsamq.errors import JournalError
from napari_medsamq.memory import free_memory

MAGIC = b"medsamq journal"
VERSION = 1
_HEAD = struct.Struct("<15sI")
_FRAME = struct.Struct("<II")  # length and checksum of what follows
_JSON = struct.Struct("<I")
# No edit of a volume that fits into memory needs more.
_LARGEST = 2**31 - 1
# Arrays of an edit, and of each prompt that is new with it.
_OF_EDIT, _OF_PROMPT = 3, 2
_DTYPES = {"int64": np.int64, "uint16": np.uint16}
# What a record raises whose checksum fits, but which this program did not write.
_MALFORMED = (
    *(AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError),
    *(struct.error, zlib.error),
)

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Record:
    """What a journal says at one place.

    Attributes
    ----------
    content : dict
        What JSON can hold; `kind` says what the record is.
    arrays : mapping of str to (n,) int64 or uint16
    """

    content: dict[str, Any]
    arrays: Arrays


def write_head(file: BinaryIO) -> None:
    """Begin a journal."""
    file.write(_HEAD.pack(MAGIC, VERSION))


def append_record(file: BinaryIO, record: Record) -> None:
    """Append a record, and wait until the disk has it."""
    parts, described = [], {}
    for name, array in record.arrays.items():
        # Indices are ascending for the most part: their differences are small and repeat.
        stored = np.diff(array, prepend=array.dtype.type(0)) if array.dtype == np.int64 else array
        packed = zlib.compress(np.ascontiguousarray(stored).tobytes(), 1)
        described[name] = {"dtype": str(array.dtype), "count": array.size, "bytes": len(packed)}
        parts.append(packed)
    # Numbers of numpy's are written as plain ones.
    head = json.dumps({**record.content, "arrays": described}, default=int).encode()
    payload = b"".join([_JSON.pack(len(head)), head, *parts])
    if len(payload) > _LARGEST:
        raise OverflowError(f"a record of {len(payload):,} bytes is more than a journal takes")
    file.write(_FRAME.pack(len(payload), zlib.crc32(payload)) + payload)
    file.flush()
    os.fsync(file.fileno())


@dataclass(frozen=True)
class Content:
    """What a journal holds.

    Attributes
    ----------
    records : list of Record
        Those that are whole, up to the first one that is not.
    size : int
        Bytes up to the end of the last of them.
    total : int
        Bytes of the whole file.
    """

    records: list[Record]
    size: int
    total: int

    @property
    def damaged(self) -> bool:
        """Whether something follows that is not whole."""
        return self.size < self.total


def read_journal(path: Path) -> Content:
    """Read a journal as far as it is whole.

    Raises
    ------
    JournalError
        If it cannot be read, is none, was written by a newer version, or takes more memory than is
        free.
    """
    free = free_memory()
    taken = 0
    try:
        total = path.stat().st_size
        with path.open("rb") as file:
            _check_head(path, file.read(_HEAD.size))
            records, size = [], file.tell()
            for record in _records(file, total):
                records.append(record)
                size = file.tell()
                taken += sum(array.nbytes for array in record.arrays.values())
                if free is not None and taken > free:
                    raise MemoryError
    except MemoryError as error:
        raise JournalError(
            f"The journal {path} takes more memory than is free. Close other programs; if that is "
            "not enough, move the journal to another folder."
        ) from error
    except OSError as error:
        raise _unreadable(path, error) from error
    return Content(records, size, total)


def first_record(path: Path) -> Record:
    """Read the first record of a journal, which says what volume it is of.

    Raises
    ------
    JournalError
        If the journal cannot be read, is none, or has no whole record.
    """
    try:
        with path.open("rb") as file:
            _check_head(path, file.read(_HEAD.size))
            for record in _records(file, path.stat().st_size):
                return record
    except OSError as error:
        raise _unreadable(path, error) from error
    raise JournalError(f"{path} does not say what image it is of; it is damaged.")


def record_kinds(path: Path) -> list[str]:
    """Return what kinds the records of a journal are of, in their order, reading no arrays.

    Those up to one that is cut off or malformed.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    kinds = []
    with path.open("rb") as file:
        file.seek(_HEAD.size)
        while len(frame := file.read(_FRAME.size + _JSON.size)) == _FRAME.size + _JSON.size:
            length, _ = _FRAME.unpack_from(frame)
            (described,) = _JSON.unpack_from(frame, _FRAME.size)
            end = file.tell() - _JSON.size + length
            try:
                kinds.append(str(json.loads(file.read(min(described, length)))["kind"]))
            except _MALFORMED:
                break
            file.seek(end)
    return kinds


def _unreadable(path: Path, error: OSError) -> JournalError:
    return JournalError(
        f"The journal {path} cannot be read ({error.strerror or error}). Check that the file is "
        "there and may be read."
    )


def _check_head(path: Path, head: bytes) -> None:
    if len(head) < _HEAD.size or not head.startswith(MAGIC):
        raise JournalError(f"{path} is no journal of this program. Choose another file.")
    _, version = _HEAD.unpack(head)
    if version > VERSION:
        raise JournalError(
            f"{path} was written by a newer version of this program (format {version}; this one "
            f"reads {VERSION}). Update napari-medsamq."
        )


def _records(file: BinaryIO, total: int) -> Iterator[Record]:
    """Yield records until one is cut off or altered."""
    voxels: int | None = None
    while True:
        frame = file.read(_FRAME.size)
        if len(frame) < _FRAME.size:
            return
        length, checksum = _FRAME.unpack(frame)
        # Checked before memory is taken.
        if length > min(_LARGEST, total - file.tell()):
            return
        payload = file.read(length)
        if zlib.crc32(payload) != checksum:
            return
        try:
            record = _unpack(payload, voxels or 0)
            if voxels is None:
                # The first record says of which volume the journal is.
                shape = [int(size) for size in record.content.get("shape", ())]
                voxels = int(np.prod(shape, dtype=object))
        except _MALFORMED:
            return
        yield record


def _unpack(payload: bytes, voxels: int) -> Record:
    """Read a record of a volume of so many voxels, each of which an array has once at most."""
    (length,) = _JSON.unpack_from(payload)
    place = _JSON.size + length
    content = json.loads(payload[_JSON.size : place])
    arrays, said = {}, content.pop("arrays")
    if len(said) > _OF_EDIT + _OF_PROMPT * len(content.get("fresh", ())):
        raise ValueError(f"{len(said)} arrays")
    for name, described in said.items():
        dtype = np.dtype(_DTYPES[described["dtype"]])
        if not 0 <= described["count"] <= voxels:
            raise ValueError(f"{described['count']} of {voxels} voxels")
        nbytes, size = described["count"] * dtype.itemsize, described["bytes"]
        # One byte more shows that there is more than was said, without unpacking it.
        raw = zlib.decompressobj().decompress(payload[place : place + size], nbytes + 1)
        if len(raw) != nbytes:
            raise ValueError(f"an array that has not {nbytes} bytes")
        array = np.frombuffer(raw, dtype)
        arrays[name] = np.cumsum(array) if dtype == np.int64 else array
        place += size
    return Record(content, arrays)
