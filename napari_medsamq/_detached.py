"""Headers whose voxels lie in another file: it has to lie with them."""

from __future__ import annotations

import re
from pathlib import Path

from napari_medsamq.errors import VolumeError

# Headers are lines of text; none that means well is as long.
_LONGEST = 2**20
_META = re.compile(r"^\s*ElementDataFile\s*[=:](.*)$", re.MULTILINE)
_NRRD = re.compile(r"^\s*data ?file\s*:=?(.*)$", re.MULTILINE | re.IGNORECASE)


def check_data_files(path: Path) -> None:
    """Check that a MetaImage or NRRD header names no data file outside its own folder.

    A header that came from elsewhere could else have any file of this computer read as an image.
    Links that lie in the folder are followed: they were made on this computer.

    Raises
    ------
    VolumeError
        If it does, or its header has no end.
    """
    with path.open("rb") as file:
        head = file.read(_LONGEST + 1)
    text = head.decode("latin-1").replace("\r\n", "\n").replace("\r", "\n")
    if text.startswith("NRRD"):
        text, end, _ = text.partition("\n\n")
        complete, found = bool(end) or len(head) <= _LONGEST, _NRRD.findall(text)
        listed = _NRRD
    else:
        # What follows it is data, or the list that it announces.
        first = _META.search(text)
        complete, found = first is not None, [] if first is None else [first[1]]
        listed = _META
    if not complete:
        raise VolumeError(
            f"{path}: its header has no end. The file is damaged; copy or export it again."
        )
    names = [name.strip() for name in found]
    if any(name.upper().startswith("LIST") for name in names):
        names += listed.split(text, maxsplit=1)[-1].splitlines()
    for name in names:
        if _leads_away(name):
            raise VolumeError(
                f"{path}: says that its voxels lie in {name!r}, outside its own folder. Put that "
                "file beside it, and its bare name into the header."
            )


def _leads_away(name: str) -> bool:
    parts = re.split(r"[/\\]", name.strip())
    return ".." in parts or parts[0] == "" != name.strip() or bool(re.match("[A-Za-z]:", parts[0]))
