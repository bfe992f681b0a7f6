"""What a label measures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_medsamq.volume_io import Volume


@dataclass(frozen=True)
class LabelStatistics:
    """Size and intensity of one label id.

    Attributes
    ----------
    voxels : int
    millilitres : float
    mean, sd : float
        Of the source intensities (HU for CT); the population standard deviation.
    """

    voxels: int
    millilitres: float
    mean: float
    sd: float


def label_statistics(volume: Volume, label: npt.NDArray[np.integer]) -> dict[int, LabelStatistics]:
    """Measure every non-zero id of a label (z, y, x) on its volume.

    Returns
    -------
    statistics : dict of int to LabelStatistics
        By label id, in ascending order.
    """
    voxel_ml = float(np.prod(volume.spacing)) / 1000
    statistics = {}
    for label_id in np.unique(label[label != 0]):
        values = volume.data[label == label_id].astype(np.float64)
        voxels = int(np.count_nonzero(label == label_id))
        statistics[int(label_id)] = LabelStatistics(
            voxels, voxels * voxel_ml, float(values.mean()), float(values.std())
        )
    return statistics
