"""Display windows by name, and from what is in a slice."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from napari_medsamq.errors import VolumeError
from napari_medsamq.preprocess import WindowLevel, default_window
from napari_medsamq.volume_io import Volume

AUTO, DEFAULT = "Auto: slice in view", "Default"
# Level and width in HU, as radiologists set them (Hofer, "CT Teaching Manual", 2021).
CT_WINDOWS = {
    "Abdomen": (40, 400),
    "Lung": (-600, 1500),
    "Bone": (400, 1800),
    "Brain": (40, 80),
    "Mediastinum": (50, 350),
    "Liver": (60, 160),
}
# Percentiles of the voxels that are not zero; the first are those of MedSAM's preprocessing.
MR_WINDOWS = {"0.5 to 99.5 %": (0.5, 99.5), "2 to 98 %": (2.0, 98.0), "5 to 95 %": (5.0, 95.0)}
_AUTO_PERCENTILES = (1.0, 99.0)
# A percentile of a large volume is as good from part of its slices.
_SLICES = 40


def window_names(volume: Volume) -> list[str]:
    """Return the windows that can be chosen for a volume."""
    own = {"CT": list(CT_WINDOWS), "MR": list(MR_WINDOWS), "other": []}[volume.modality]
    return [DEFAULT, AUTO, *([] if volume.windowed else own)]


def named_window(volume: Volume, name: str, shown: npt.NDArray[np.generic]) -> WindowLevel:
    """Return a window by its name.

    Parameters
    ----------
    volume : Volume
    name : str
        One of `window_names`.
    shown : (H, W) or (H, W, 3) array
        The slice in view.

    Raises
    ------
    VolumeError
        If there is no such window, or all that it looks at has one value.
    """
    if name not in window_names(volume):
        raise VolumeError(
            f"There is no window {name!r} for this {volume.modality} volume. There are: "
            f"{', '.join(window_names(volume))}; or give LEVEL,WIDTH."
        )
    if name == DEFAULT:
        return default_window(volume)
    if name == AUTO:
        return _percentiles(volume.name, shown, _AUTO_PERCENTILES)
    if volume.modality == "CT":
        return WindowLevel(*CT_WINDOWS[name])
    some = volume.data[:: max(1, len(volume.data) // _SLICES)]
    return _percentiles(volume.name, some[some != 0], MR_WINDOWS[name])


def _percentiles(
    name: str, values: npt.NDArray[np.generic], limits: tuple[float, float]
) -> WindowLevel:
    low, high = np.percentile(np.asarray(values, np.float64), limits) if values.size else (0.0, 0.0)
    if low == high:
        raise VolumeError(
            f"{name}: what is in view has the value {low:g} nearly everywhere, so no window can be "
            "taken from it. Choose another one."
        )
    return WindowLevel.from_limits(float(low), float(high))
