"""Segment CT and MR volumes in napari with a quantised LiteMedSAM, on the CPU."""

import sys

__version__ = "0.1.0"

# OpenVINO tells Google Analytics of every import unless its telemetry package cannot be imported
# (docs.openvino.ai, "OpenVINO Telemetry"). What runs beside patients' images talks to nobody.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
