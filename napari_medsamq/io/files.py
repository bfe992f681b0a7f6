"""Names, hashes and writes files so that the old or the whole new one is always there."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from napari_medsamq.errors import SaveError

# How far into a file the mark of its writer is looked for.
_MARKED = 4096
# Bytes that a name may have on nearly every file system.
_LONGEST = 255
# Endings of medical files that have two parts.
_TWO_PARTS = (".nii.gz", ".hdr.gz", ".img.gz", ".mgh.gz", ".seg.nrrd")
_PROVENANCE = ".provenance.json"


def file_stem(name: str) -> str:
    """Return a file's name without its ending, which may have two parts.

    Examples
    --------
    >>> file_stem("liver.nii.gz"), file_stem("liver.SEG.nrrd"), file_stem("liver.v2.mha")
    ('liver', 'liver', 'liver.v2')
    """
    stem = Path(name).stem
    return Path(stem).stem if name.lower().endswith(_TWO_PARTS) else stem


def file_ending(name: str) -> str:
    """Return the ending of a file's name, which may have two parts; see `file_stem`."""
    return name[len(file_stem(name)) :]


def as_file_name(text: str) -> str:
    """Return a text as the name of a file, without what some file systems do not take.

    Examples
    --------
    >>> as_file_name("dce [2 of 3: ContentTime 103238]")
    'dce [2 of 3_ ContentTime 103238]'
    """
    return re.sub(r'[<>:"/\\|?*\x00-\x1f]', "_", text)


def beside(label: Path, ending: str) -> Path:
    """Return the file of an ending that belongs to a label.

    It has the label's name without its ending; but where the label's provenance has the whole name,
    or the other one is that of a label in another format that lies there too, the whole name.

    Examples
    --------
    >>> beside(Path("a/liver.nii.gz"), ".report.html").name
    'liver.report.html'
    """
    stem = file_stem(label.name)
    own = _label_ending(label.with_name(label.name + _PROVENANCE))
    other = _label_ending(label.with_name(stem + _PROVENANCE))
    whole = own == file_ending(label.name) or _lies_beside(label, other)
    start, most = label.name if whole else stem, _LONGEST - len(ending)
    if len(os.fsencode(start)) > most:
        mark = hashlib.sha256(os.fsencode(label.name)).hexdigest()[:8]
        start = f"{shortened(start, most - 9)}-{mark}"
    return label.with_name(start + ending)


def provenance_path(label: Path) -> Path:
    """Return where the provenance of a label file lies; see `beside`."""
    return beside(label, _PROVENANCE)


def _label_ending(provenance: Path) -> str:
    """Return the ending of the label that a provenance file is of; empty if it tells none."""
    try:
        return str(json.loads(provenance.read_bytes())["label"]["ending"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        # None, another program's, or one of a version that did not write it.
        return ""


def _lies_beside(label: Path, ending: str) -> bool:
    """Tell whether a label of the same name but this ending lies beside another one."""
    if ending in ("", file_ending(label.name)):
        return False
    try:
        return label.with_name(file_stem(label.name) + ending).is_file()
    except (OSError, ValueError):
        # What is no ending, or cannot be looked at.
        return False


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def shortened(name: str, most: int) -> str:
    """Return as much of the beginning of a name as so many bytes of a file system hold.

    Examples
    --------
    >>> shortened("肝臓", 5)
    '肝'
    """
    return os.fsencode(name)[:most].decode(errors="ignore") if most > 0 else ""


def part_of(path: Path) -> Path:
    """Return a new name beside a file for what is written of it until it is whole.

    What a kill leaves is known by it. It may be as long as the longest name of the file itself.
    """
    own = f".{uuid4().hex[:8]}.part"
    return path.with_name(f".{shortened(path.name, _LONGEST - len(own) - 1)}{own}")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give an empty file beside a file to write to, which takes its place at the end.

    Who may read a file that is there may read the new one. A link is replaced, and what it leads to
    stays; pipes and devices are written to themselves.

    Parameters
    ----------
    path : Path

    Yields
    ------
    part : Path

    Raises
    ------
    OSError
        If it cannot be written. Whatever was at `path` before is still there then, as it is after
        any other error within.
    """
    if path.exists() and not path.is_file():
        yield path
        return
    own = path.exists() and not path.is_symlink()
    mode = stat.S_IMODE(path.stat().st_mode) if own else None
    part = part_of(path)
    # Never to be read by more people than the file itself.
    asked = 0o666 if mode is None else mode | stat.S_IWUSR
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, asked))
    try:
        yield part
        with part.open("r+b") as file:
            os.fsync(file.fileno())
        if mode is not None:
            part.chmod(mode)
        part.replace(path)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    # The file is in place; some network disks cannot sync folders, which is no failure.
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_whole(path: Path, content: bytes | str, mark: str = "") -> None:
    r"""Write a file beside its place, read it back, and only then give it its name.

    Parameters
    ----------
    path : Path
    content : bytes or str
        A text is written in UTF-8; what a name has of bytes that are none, as `\udcff`.
    mark : str
        A file that is there already is replaced only if this stands near its beginning.

    Raises
    ------
    SaveError
        If it cannot be written, or would replace another program's file; whatever was at `path`
        before is still there.
    """
    if isinstance(content, str):
        content = content.encode(errors="backslashreplace")
    try:
        if mark and path.exists():
            with path.open("rb") as file:
                if mark.encode() not in file.read(_MARKED):
                    raise SaveError(
                        f"{path} is a file of other origin and stays as it is. Rename it, or "
                        "choose another name."
                    )
        with replacing(path) as part:
            part.write_bytes(content)
            if part.is_file() and part.read_bytes() != content:
                raise SaveError(
                    f"{path} did not read back as it was written. Save to another disk."
                )
    except OSError as error:
        raise SaveError(
            f"{path} cannot be written ({error.strerror or error}). Free space there, or name a "
            "file in a folder that may be written to."
        ) from error


def write_json(path: Path, content: Any) -> None:
    """Write what JSON can hold to a file; errors as of `write_whole`."""
    write_whole(path, json.dumps(content, indent=1) + "\n")


def write_table(path: Path, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table as CSV to a file; errors as of `write_whole`."""
    write_whole(path, table_text(head, rows))


def table_text(head: Sequence[str], rows: Iterable[Sequence[Any]], delimiter: str = ",") -> str:
    """Return a table as CSV, or with another character between the columns."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return text.getvalue()
