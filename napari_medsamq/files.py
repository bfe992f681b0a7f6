"""Writes small files so that the old one or the whole new one is there at any moment."""

from __future__ import annotations

import os
from pathlib import Path
from uuid import uuid4

from napari_medsamq.errors import SaveError


def write_whole(path: Path, content: bytes) -> None:
    """Write a file beside its name, and give it that name once the disk has it.

    Parameters
    ----------
    path : Path
        An existing file is replaced.
    content : bytes

    Raises
    ------
    SaveError
        If it cannot be written; a file at `path` is then as it was.
    """
    # As the parts of labels are called, so that what a kill leaves of either is known by its name.
    part = path.with_name(f".{path.name}.{uuid4().hex[:8]}.part")
    try:
        try:
            with part.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise SaveError(
            f"{path} cannot be written ({error.strerror or error}). Free space there, or choose "
            "another folder."
        ) from error
