"""Files that are there whole or not at all, and what tells whether they changed."""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Callable
from pathlib import Path

from napari_medsamq.errors import SaveError
from napari_medsamq.io.files import file_hash, replacing, write_whole

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


def write_file(path: Path, content: bytes | str) -> None:
    """Write a file of the folder that is made if need be, whole or not at all.

    Raises
    ------
    SaveError
        If it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SaveError(
            f"{path.parent} cannot be made ({error.strerror}). Give another folder."
        ) from error
    write_whole(path, content)


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
        return file_hash(path)
    names = "".join(f"{file.name} {file_hash(file)}\n" for file in files)
    return hashlib.sha256(names.encode()).hexdigest()
