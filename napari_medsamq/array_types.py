"""What arrays hold, for signatures; their shapes and axes are said where they are described."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Bool = npt.NDArray[np.bool_]
UInt8 = npt.NDArray[np.uint8]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
# Label ids, 0 for the background.
Label = npt.NDArray[np.uint16]
# Flat indices into a volume.
Voxels = npt.NDArray[np.int64]
