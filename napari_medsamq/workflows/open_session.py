"""A volume opened for segmentation: what it is, its window, and the model that answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

from napari_medsamq.annotation.session import AnnotationSession
from napari_medsamq.errors import VolumeError
from napari_medsamq.inference.backend import CPU
from napari_medsamq.inference.crop import Zoom
from napari_medsamq.inference.engine import Engine, Engines
from napari_medsamq.inference.model_choice import find_model
from napari_medsamq.inference.preprocess import WindowLevel
from napari_medsamq.io.modality import modality_of
from napari_medsamq.io.volume import Volume
from napari_medsamq.workflows.parsing import parse_window
from napari_medsamq.workflows.session import Session


def open_session(
    volume: Volume,
    *,
    modality: str | None = None,
    window: WindowLevel | Sequence[float] | str | None = None,
    zoom: bool = True,
    model: str | Path | Engine | Engines | None = None,
    device: str = CPU,
) -> Session:
    """Open a volume for segmentation.

    Parameters
    ----------
    volume : Volume
    modality : "CT", "MR" or "other", optional
        What it is, where its file leaves that open or is wrong; it decides the window.
    window : WindowLevel, (level, width) or str, optional
        What the network sees, in the volume's unit, or the name of a preset: "lung"; the usual one
        of the modality if not given.
    zoom : bool
        Whether the network is shown small structures enlarged.
    model : str, Path, Engine or Engines, optional
        Name of a model that `list_models` has, a model directory, or what `load_engine` gave; if
        not given, the best one for this processor and modality. Engines are shared by volumes.
    device : str
        OpenVINO device name: CPU, GPU or AUTO.

    Raises
    ------
    VolumeError
        If the volume may be CT or MR, and `modality` does not say which, or it is none of them.
    PromptError
        If the window is none.
    ModelError
        If there is no such model, or it cannot be loaded.
    """
    volume = with_known_modality(volume, modality)
    if window is not None and not isinstance(window, WindowLevel):
        text = window if isinstance(window, str) else ",".join(map(str, window))
        window = parse_window(text, volume)
    start = perf_counter()
    if model is None or isinstance(model, str | Path):
        model = Engines(None if model is None else find_model(str(model)), device)
    engine = model.for_modality(volume.modality) if isinstance(model, Engines) else model
    load_ms = (perf_counter() - start) * 1000
    annotation = AnnotationSession(volume, engine, window, zoom=Zoom() if zoom else None)
    return Session(annotation, device=device, load_ms=load_ms)


def with_known_modality(volume: Volume, modality: str | None = None) -> Volume:
    """Return a volume of which it is known whether it is CT, MR or something else.

    Raises
    ------
    VolumeError
        If its file leaves that open, and the user does not say it.
    """
    if modality is not None:
        return volume.with_modality(modality_of(modality))
    if volume.modality_source == "ambiguous":
        raise VolumeError(
            f"{volume.path or volume.name} does not say whether it is CT or MR, and its "
            "intensities could be either. Add --modality ct, mr or other (for a batch in the "
            'column modality, in Python modality="CT"); it decides the window.'
        )
    return volume
