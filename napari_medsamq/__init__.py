"""Segment CT and MR volumes in napari with a quantised LiteMedSAM, on the CPU."""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# OpenVINO tells Google Analytics of every import unless its telemetry package cannot be imported
# (docs.openvino.ai, "OpenVINO Telemetry"). What runs beside patients' images talks to nobody.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

if TYPE_CHECKING:
    from napari_medsamq.errors import MedSAMQError as MedSAMQError
    from napari_medsamq.io.volume import Volume as Volume
    from napari_medsamq.io.volume import read_volume as read_volume

# What a script may use, by the module that has it: loaded when first asked for, as the libraries
# behind it take longer than a start of the program may.
_HOMES = {
    "MedSAMQError": "napari_medsamq.errors",
    "Volume": "napari_medsamq.io.volume",
    "read_volume": "napari_medsamq.io.volume",
}
__all__ = ["MedSAMQError", "Volume", "__version__", "read_volume"]


def __getattr__(name: str) -> Any:
    """Load a public name from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(_HOMES[name]), name)
    globals()[name] = found
    return found
