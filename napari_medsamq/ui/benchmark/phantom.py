"""A made-up CT volume, to measure with where no patient's is at hand."""

from __future__ import annotations

import numpy as np

from napari_medsamq.io.volume import Volume, volume_from_slices

SHAPE = (120, 512, 512)
# Centre and radii (z, y, x) as parts of half the volume, and HU: a body, and two organs in it.
_ORGANS = (
    ((0, 0, 0), (2, 0.75, 0.9), 20),
    ((0, -0.1, -0.4), (0.8, 0.45, 0.35), 110),
    ((0, 0.1, 0.5), (0.5, 0.25, 0.2), 130),
)


def phantom_volume(shape: tuple[int, int, int] = SHAPE) -> Volume:
    """Make up a CT (z, y, x) int16 of 2.5 x 0.8 x 0.8 mm: a body, two organs, and noise."""
    z, y, x = (np.linspace(-1, 1, size, dtype=np.float32) for size in shape)
    rows, columns = y[:, None], x[None, :]
    random = np.random.default_rng(0)
    voxels = np.full(shape, -1000, np.int16)
    # Plane by plane, as a volume of floats would be what the memory is measured of.
    for plane, place in zip(voxels, z, strict=True):
        for (dz, dy, dx), (rz, ry, rx), value in _ORGANS:
            flat = ((rows - dy) / ry) ** 2 + ((columns - dx) / rx) ** 2
            plane[flat + ((place - dz) / rz) ** 2 <= 1] = value
        plane += random.integers(-15, 16, plane.shape, np.int16)
    return volume_from_slices(voxels, (2.5, 0.8, 0.8), "phantom")
