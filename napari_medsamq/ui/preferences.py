"""What the user has set in napari's preferences, under MedSAM-Q; `napari.yaml` lists it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari.settings import get_plugin_settings

from napari_medsamq.errors import MedSAMQError, ModelError, PreferenceError
from napari_medsamq.inference.model_choice import find_model
from napari_medsamq.inference.model_spec import ModelSpec
from napari_medsamq.inference.preprocess import WindowLevel
from napari_medsamq.inference.window_presets import CT_PRESETS
from napari_medsamq.palettes import PALETTES
from napari_medsamq.records.journal import journal_folder

PLUGIN = "napari-medsamq"


@dataclass(frozen=True)
class DockOptions:
    """What holds for one dock whatever the user prefers; None leaves it to the preferences.

    Attributes
    ----------
    ask : bool
        Whether someone is there to answer questions; else they are errors.
    prefetch : bool or None
        Whether slices are encoded, and masks checked, before they are needed.
    memory : int or None
        Bytes that the embeddings of each volume may take.
    journals : Path or None
        Folder of the journals.
    draws : bool
        Whether the tool for boxes is in hand once a volume is open; else a drag moves the picture,
        as whoever opened napari for something else expects.
    """

    ask: bool = True
    prefetch: bool | None = None
    memory: int | None = None
    journals: Path | None = None
    draws: bool = False


def embedding_bytes() -> int:
    """Return how much memory the embeddings of a volume may take."""
    return int(_settings().computation.memory_mb) * 10**6


def prefetches() -> bool:
    """Return whether slices are encoded before they are needed."""
    return bool(_settings().computation.encode_ahead)


def model(refused: Callable[[MedSAMQError], None]) -> Path | None:
    """Return the model directory for every volume; None if the program is to choose.

    Parameters
    ----------
    refused : callable
        Told why a model cannot be used that was set; the program chooses then.
    """
    name = str(_settings().computation.model).strip()
    if not name:
        return None
    try:
        found = find_model(name)
        ModelSpec.read(found).verify(found)
    except ModelError as error:
        refused(
            PreferenceError(
                f"The network of the preferences cannot be used: {error} The program chooses one."
            )
        )
        return None
    return found


def ct_window() -> WindowLevel:
    """Return the window that CT is shown through at first."""
    name = _settings().display.ct_window
    return next(preset.window for preset in CT_PRESETS if preset.name == name)


def palette() -> tuple[str, ...]:
    """Return the colours of new labels."""
    return PALETTES[_settings().display.palette]


def wheel_zooms() -> bool:
    """Return whether the wheel zooms, and shows other slices with Ctrl held down only."""
    return str(_settings().display.wheel) == "zooms"


def keys() -> dict[str, str]:
    """Return the keys that were chosen, as they were written, by name."""
    return {name: str(key) for name, key in _settings().keys.model_dump().items()}


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
