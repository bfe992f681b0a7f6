"""The scans that were opened, latest first, and how far the work on each has come."""

from __future__ import annotations

import json
from pathlib import Path

from napari_medsamq.errors import SaveError
from napari_medsamq.io.files import write_whole

NEW, BEGUN, SAVED = "new", "begun", "saved"
_NAME = "scans.json"
_MOST = 1000


class WorkList:
    """Keeps paths, and nothing of what is in them, in a file beside the journals.

    Parameters
    ----------
    folder : Path
        Of the journals; it need not be there yet.

    Attributes
    ----------
    noted : dict of Path to str
        What `note` was told last of each scan.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / _NAME
        self.noted: dict[Path, str] = {}

    def note(self, scan: Path, progress: str) -> None:
        """Put a scan, a file or DICOM folder, first, with how far it has come."""
        self.noted[scan] = progress
        known = self._read()
        known.pop(_place(scan), None)
        kept = dict([(_place(scan), progress), *known.items()][:_MOST])
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self._path, json.dumps(kept, indent=1))
        except (OSError, SaveError):
            # It is a help and no more: a journal that cannot be written is told.
            pass

    def progress(self, scan: Path) -> str:
        """Return how far the work on a scan has come: `NEW`, `BEGUN` or `SAVED`."""
        return self._read().get(_place(scan), NEW)

    def latest(self, count: int) -> list[Path]:
        """Return the scans that were opened last and are still there, latest first."""
        there = (Path(place) for place in self._read() if Path(place).exists())
        return [path for path, _ in zip(there, range(count), strict=False)]

    def _read(self) -> dict[str, str]:
        try:
            known = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        if not isinstance(known, dict):
            return {}
        return {place: how for place, how in known.items() if how in (NEW, BEGUN, SAVED)}


def _place(scan: Path) -> str:
    return str(scan.resolve())
