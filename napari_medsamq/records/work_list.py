"""The scans that were opened, latest first, and how far the work on each has come."""

from __future__ import annotations

import json
from pathlib import Path

from napari_medsamq.errors import SaveError
from napari_medsamq.io.files import write_whole
from napari_medsamq.records.journal_format import record_kinds
from napari_medsamq.records.recording import EDIT, REDO, SAVE, UNDO

NEW, BEGUN, SAVED = "new", "begun", "saved"
_NAME = "scans.json"
_MOST = 1000


class WorkList:
    """Keeps paths of scans in a file beside the journals, which say what was done to each.

    Parameters
    ----------
    folder : Path
        Of the journals; it need not be there yet.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def note(self, scan: Path, journal: str) -> None:
        """Put a scan, a file or DICOM folder, first, with the name of its journal."""
        known = self._read()
        known.pop(_place(scan), None)
        kept = dict([(_place(scan), journal), *known.items()][:_MOST])
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_whole(self._folder / _NAME, json.dumps(kept, indent=1))
        except (OSError, SaveError):
            # It is a help and no more: a journal that cannot be written is told.
            pass

    def progress(self, scan: Path) -> str:
        """Return how far the work on a scan has come: `NEW`, `BEGUN` or `SAVED`."""
        try:
            kinds = record_kinds(self._folder / self._read()[_place(scan)])
        except (KeyError, OSError, TypeError, ValueError):
            return NEW
        done = [kind for kind in kinds if kind in (EDIT, UNDO, REDO, SAVE)]
        return NEW if not done else SAVED if done[-1] == SAVE else BEGUN

    def latest(self, count: int) -> list[Path]:
        """Return the scans that were opened last and are still there, latest first."""
        there = (Path(place) for place in self._read() if Path(place).exists())
        return [path for path, _ in zip(there, range(count), strict=False)]

    def _read(self) -> dict[str, str]:
        try:
            known = json.loads((self._folder / _NAME).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}


def _place(scan: Path) -> str:
    return str(scan.resolve())
