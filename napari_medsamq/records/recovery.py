"""What was done to a volume before."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from napari_medsamq.errors import JournalError
from napari_medsamq.io.volume import Volume, volume_hash
from napari_medsamq.records.journal import check_volume, journal_path
from napari_medsamq.records.journal_format import Content, read_journal
from napari_medsamq.records.recording import Restored, restore


@dataclass(frozen=True)
class FoundJournal:
    """Where a volume's journal lies, and what it holds.

    Attributes
    ----------
    path : Path
    key : str
        The volume's hash.
    content : Content or None
    restored : Restored or None
        Both None where there is no journal yet, or one that cannot be gone on with.
    warning : str
        What the user should know about the file; empty if nothing.
    """

    path: Path
    key: str
    content: Content | None
    restored: Restored | None
    warning: str = ""


def find_journal(volume: Volume, folder: Path) -> FoundJournal:
    """Read the journal of a volume, if there is one; takes a while, and touches no widget."""
    key = volume_hash(volume)
    path = journal_path(folder, key)
    if not path.exists():
        return FoundJournal(path, key, None, None)
    try:
        content = read_journal(path)
        check_volume(path, content, key)
        restored = restore(content.records, volume.data.shape[:3], str(path))
    except JournalError as error:
        return FoundJournal(path, key, None, None, f"{error} A new one begins; this one is kept.")
    damaged = (
        f"The journal {path} was cut off or altered; all before that place is there. A copy of the "
        "file is kept."
    )
    return FoundJournal(path, key, content, restored, damaged if content.damaged else "")
