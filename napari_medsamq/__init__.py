"""Segment CT and MR volumes in napari with a quantised LiteMedSAM, on the CPU.

Examples
--------
>>> import napari_medsamq as mq
>>> volume = mq.read_volume("ct.nii.gz")  # doctest: +SKIP
>>> session = mq.open_session(volume)  # doctest: +SKIP
>>> session.add_box((110, 192, 10), (268, 384, 10), label="Liver")  # doctest: +SKIP
>>> session.propagate("Liver")  # doctest: +SKIP
>>> mq.save(session, "liver.nii.gz")  # doctest: +SKIP
"""

import sys

import lazy_loader

__version__ = "0.1.0"

# OpenVINO tells Google Analytics of every import unless its telemetry package cannot be imported
# (docs.openvino.ai, "OpenVINO Telemetry"). What runs beside patients' images talks to nobody.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

# What a script may use, listed in __init__.pyi: loaded when first asked for, as the libraries
# behind it take longer than a start of the program may.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["__version__"]
