"""What the user has set in napari's preferences, under MedSAM-Q; `napari.yaml` lists it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari.settings import get_plugin_settings

from napari_medsamq.errors import MedSAMQError
from napari_medsamq.journal import journal_folder

PLUGIN = "napari-medsamq"


def embedding_bytes() -> int:
    """Return how much memory the embeddings of a volume may take."""
    return int(_settings().computation.memory_mb) * 10**6


def encodes_ahead() -> bool:
    """Return whether slices are encoded before they are needed."""
    return bool(_settings().computation.encode_ahead)


def shows_guide() -> bool:
    """Return whether the dock leads through the first steps."""
    return bool(_settings().start.guide)


def end_guide() -> None:
    """Show the first steps no more."""
    _settings().start.guide = False


def journals() -> Path:
    """Return the folder of the journals; one in the user's data folder unless set."""
    chosen = str(_settings().journals.folder).strip()
    return Path(chosen).expanduser() if chosen else journal_folder()


def _settings() -> Any:
    known = get_plugin_settings()
    if PLUGIN not in known:
        raise MedSAMQError(
            f"napari does not know its plugin {PLUGIN}, as when it has been disabled. Enable it "
            "under Plugins > Install/Uninstall Plugins, and open the dock again."
        )
    return known[PLUGIN]
