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
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# OpenVINO tells Google Analytics of every import unless its telemetry package cannot be imported
# (docs.openvino.ai, "OpenVINO Telemetry"). What runs beside patients' images talks to nobody.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

if TYPE_CHECKING:
    from napari_medsamq.analysis.comparison import Agreement as Agreement
    from napari_medsamq.analysis.statistics import LabelStatistics as LabelStatistics
    from napari_medsamq.errors import ChoiceError as ChoiceError
    from napari_medsamq.errors import MedSAMQError as MedSAMQError
    from napari_medsamq.errors import ModelError as ModelError
    from napari_medsamq.errors import PromptError as PromptError
    from napari_medsamq.errors import ProvenanceError as ProvenanceError
    from napari_medsamq.errors import SaveError as SaveError
    from napari_medsamq.errors import UnevenSlicesError as UnevenSlicesError
    from napari_medsamq.errors import VolumeError as VolumeError
    from napari_medsamq.inference.catalog import ListedModel as ListedModel
    from napari_medsamq.inference.catalog import list_models as list_models
    from napari_medsamq.inference.catalog import load_engine as load_engine
    from napari_medsamq.inference.engine import Engine as Engine
    from napari_medsamq.inference.preprocess import WindowLevel as WindowLevel
    from napari_medsamq.inference.slice_predictor import SliceMask as SliceMask
    from napari_medsamq.io.volume import Volume as Volume
    from napari_medsamq.io.volume import read_volume as read_volume
    from napari_medsamq.io.volume import volume_from_array as volume_from_array
    from napari_medsamq.prompts import BoxPrompt as BoxPrompt
    from napari_medsamq.prompts import BoxPrompt3D as BoxPrompt3D
    from napari_medsamq.prompts import Click as Click
    from napari_medsamq.workflows.labels import LabelImage as LabelImage
    from napari_medsamq.workflows.labels import compare_labels as compare_labels
    from napari_medsamq.workflows.labels import label_statistics as label_statistics
    from napari_medsamq.workflows.labels import read_label as read_label
    from napari_medsamq.workflows.labels import save as save
    from napari_medsamq.workflows.labels import write_label as write_label
    from napari_medsamq.workflows.session import SegmentedSlices as SegmentedSlices
    from napari_medsamq.workflows.session import Session as Session
    from napari_medsamq.workflows.session import open_session as open_session

# What a script may use, by the module that has it: loaded when first asked for, as the libraries
# behind it take longer than a start of the program may.
_PUBLIC = {
    "analysis.comparison": ("Agreement",),
    "analysis.statistics": ("LabelStatistics",),
    "errors": (
        *("ChoiceError", "MedSAMQError", "ModelError", "PromptError", "ProvenanceError"),
        *("SaveError", "UnevenSlicesError", "VolumeError"),
    ),
    "inference.catalog": ("ListedModel", "list_models", "load_engine"),
    "inference.engine": ("Engine",),
    "inference.preprocess": ("WindowLevel",),
    "inference.slice_predictor": ("SliceMask",),
    "io.volume": ("Volume", "read_volume", "volume_from_array"),
    "prompts": ("BoxPrompt", "BoxPrompt3D", "Click"),
    "workflows.labels": (
        *("LabelImage", "compare_labels", "label_statistics"),
        *("read_label", "save", "write_label"),
    ),
    "workflows.session": ("SegmentedSlices", "Session", "open_session"),
}
_HOMES = {name: f"{__name__}.{module}" for module, names in _PUBLIC.items() for name in names}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    """Load a public name from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(_HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """Name what a script may use, and nothing else."""
    return sorted(__all__)
