"""Windows to choose from: presets by modality, one for a slice, and one dragged with the mouse.

The CT presets are in common use (level / width in HU): abdomen as in MedSAM's published
preprocessing, lung, bone, brain and mediastinum as in Radiopaedia's article "Windowing (CT)". For
liver sources differ (Radiopaedia 30 / 150, the OHIF viewer 90 / 150); the level here lies between.
MR and other images have no unit, nor has a CT that is not in Hounsfield units, so that their
windows are percentiles of what is there.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_medsamq.errors import VolumeError
from napari_medsamq.inference.preprocess import (
    IDENTITY,
    SOFT_TISSUE,
    WindowLevel,
    default_window,
    window_between,
)
from napari_medsamq.io.volume import Volume

# In percent; the network was trained with the wider ones.
_STANDARD, _CONTRAST = (0.5, 99.5), (2.0, 98.0)
# More voxels change a percentile by less than is seen, and take longer.
_ENOUGH_VOXELS = 1_000_000
# The air around the patient would take half of the range.
_AIR_BELOW = -500.0
# How far the mouse moves to double the width, and to move the level by the width, in pixels.
_DOUBLING, _ONE_WIDTH = 150, 300


@dataclass(frozen=True)
class Preset:
    """A window with a name.

    Attributes
    ----------
    name : str
    window : WindowLevel
    detail : str
        Where the window lies, in a few characters.
    """

    name: str
    window: WindowLevel
    detail: str


def _ct(name: str, window: WindowLevel) -> Preset:
    return Preset(name, window, f"{window.level:g} / {window.width:g}")


CT_PRESETS = (
    _ct("Abdomen", SOFT_TISSUE),
    _ct("Lung", WindowLevel(-600, 1500)),
    _ct("Bone", WindowLevel(400, 1800)),
    _ct("Brain", WindowLevel(40, 80)),
    _ct("Mediastinum", WindowLevel(50, 350)),
    _ct("Liver", WindowLevel(60, 160)),
)


def presets(volume: Volume, standard: WindowLevel) -> tuple[Preset, ...]:
    """Return the presets for a volume's modality; quick enough to wait for.

    Parameters
    ----------
    volume : Volume
    standard : WindowLevel
        `default_window(volume)`, which takes long for a large volume without a unit.

    Returns
    -------
    presets : tuple of Preset
        None for colours, which are shown as they are.
    """
    if volume.data.ndim == 4:
        return ()
    if volume.windowed:
        return (Preset("Standard", IDENTITY, "0 - 255"),)
    if volume.hounsfield:
        return CT_PRESETS
    sample = _sample(volume)
    low, high = np.percentile(sample[sample != 0], _CONTRAST) if sample.any() else (0.0, 0.0)
    found = [Preset("Standard", standard, "{:g} - {:g} %".format(*_STANDARD))]
    with suppress(VolumeError):  # where too few voxels differ, or too little
        contrast = window_between(volume, float(low), float(high))
        found.append(Preset("Contrast", contrast, "{:g} - {:g} %".format(*_CONTRAST)))
    return tuple(found)


def preset_of(window: WindowLevel, known: tuple[Preset, ...]) -> Preset | None:
    """Return the preset that looks like a window; None if there is none."""
    for preset in known:
        if np.allclose(window.limits, preset.window.limits, rtol=0, atol=1e-3 * window.width):
            return preset
    return None


def named_window(name: str, volume: Volume) -> WindowLevel:
    """Return a volume's preset of a name, in capitals or not.

    Raises
    ------
    VolumeError
        If its modality has no such preset.
    """
    known = presets(volume, default_window(volume))
    for preset in known:
        if preset.name.lower() == name.strip().lower():
            return preset.window
    names = ", ".join(preset.name.lower() for preset in known) or "none, as it has colours"
    unit = (
        " that is not in Hounsfield units"
        if volume.modality == "CT" and not volume.hounsfield
        else ""
    )
    raise VolumeError(
        f"{volume.name}: {name!r} is no window for {volume.modality}{unit}. Those with names are: "
        f"{names}. Or give LEVEL,WIDTH in the image's unit."
    )


def slice_window(volume: Volume, axis: int, index: int) -> WindowLevel:
    """Fit a window to the slice that lies across an array axis: the 2nd to the 98th percentile.

    Voxels of the slice's lowest value, as outside the field of view, and of air around a CT do not
    count.

    Raises
    ------
    VolumeError
        If all the others have one value, or single precision does not tell them apart.
    """
    array = volume.slice(axis, index)
    inside = array[array > _floor(volume, array)]
    low, high = np.percentile(inside, _CONTRAST) if inside.size else (0.0, 0.0)
    if low == high and inside.size:
        low, high = inside.min(), inside.max()
    if low == high:
        raise VolumeError(
            f"There is nothing to fit a window to on this slice of {volume.name}. Go to a slice "
            "that shows something, or choose a preset."
        )
    return window_between(volume, float(low), float(high))


def _floor(volume: Volume, array: npt.NDArray[np.generic]) -> float:
    lowest, highest = float(array.min()), float(array.max())
    above_air = volume.hounsfield and highest > _AIR_BELOW
    return max(lowest, _AIR_BELOW) if above_air else lowest


def intensity_range(volume: Volume) -> tuple[float, float]:
    """Return the lowest and highest intensity, of a sample where a volume is large."""
    sample = _sample(volume)
    return float(sample.min()), float(sample.max())


def _sample(volume: Volume) -> npt.NDArray[np.generic]:
    step = max(1, round((volume.data.size / _ENOUGH_VOXELS) ** (1 / 3)))
    return volume.data[::step, ::step, ::step]


def dragged_window(
    start: WindowLevel, right: float, down: float, limits: tuple[float, float]
) -> WindowLevel:
    """Return the window that a drag of the mouse makes of another, as viewers of DICOM do.

    Parameters
    ----------
    start : WindowLevel
        Where the drag began.
    right, down : float
        Pixels from there. To the right the window grows wider; down, its level rises, so that the
        picture grows darker.
    limits : (float, float)
        Lowest and highest intensity there is; neither level nor width goes far beyond.
    """
    low, high = min(limits[0], start.limits[0]), max(limits[1], start.limits[1])
    widest = high - low
    # As far as the level lies from 0, single precision tells no narrower window.
    narrowest = min(start.width, max(widest, abs(low), abs(high)) * 1e-5)
    width = start.width * 2 ** float(np.clip(right / _DOUBLING, -20, 20))
    level = float(np.clip(start.level + down * start.width / _ONE_WIDTH, low, high))
    # Two steps of single precision: what could just be told at one level may not be at the next.
    least = 2 * float(np.spacing(np.float32(abs(level))))
    return WindowLevel(level, max(float(np.clip(width, narrowest, widest)), least))
