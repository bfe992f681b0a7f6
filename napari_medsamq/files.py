"""Names, hashes and writes files so that the old or the whole new one is always there."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from napari_medsamq.errors import SaveError

# How far into a file the mark of its writer is looked for.
_MARKED = 4096
# Bytes that a name may have on nearly every file system.
_LONGEST = 255
# Endings of medical files that have two parts.
_TWO_PARTS = (".nii.gz", ".seg.nrrd")
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


def write_whole(path: Path, content: bytes, mark: str = "") -> None:
    """Write a file beside its place, read it back, and only then give it its name.

    Parameters
    ----------
    path : Path
    content : bytes
    mark : str
        A file that is there already is replaced only if this stands near its beginning.

    Raises
    ------
    SaveError
        If it cannot be written, or would replace another program's file; whatever was at `path`
        before is still there.
    """
    part = part_of(path)
    try:
        if mark and path.exists():
            with path.open("rb") as file:
                if mark.encode() not in file.read(_MARKED):
                    raise SaveError(
                        f"{path} is a file of other origin and stays as it is. Rename it, or "
                        "choose another name."
                    )
        with part.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if part.read_bytes() != content:
            raise SaveError(f"{path} did not read back as it was written. Save to another disk.")
        part.replace(path)
    except OSError as error:
        raise SaveError(
            f"{path} cannot be written ({error.strerror or error}). Free space there, or name a "
            "file in a folder that may be written to."
        ) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
