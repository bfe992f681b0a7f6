"""Files that are there whole or not at all, and what tells whether they changed."""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Callable
from pathlib import Path

from napari_medsamq.io.files import replacing

_WITH_DATA_BESIDE = (".mhd", ".nhdr", ".hdr")


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file under another name in the same folder, then give it its name.

    Parameters
    ----------
    path : Path
        Its folder is made if need be.
    write : callable
        Writes the file whose path it is given.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        write(part)


def path_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, of a folder's files, or of a header with its data file.

    Raises
    ------
    OSError
        If one of them cannot be read.
    """
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.is_file())
    elif path.suffix.lower() in _WITH_DATA_BESIDE:
        files = sorted(path.parent.glob(f"{glob.escape(path.stem)}.*"))
    else:
        return file_sha256(path)
    names = "".join(f"{file.name} {file_sha256(file)}\n" for file in files)
    return hashlib.sha256(names.encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of one file as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
