"""What the headers of made-up DICOM files say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.tag import Tag

from tests.stress.dicom.packing import Scale


def take(dataset: Dataset, *names: str) -> None:
    for name in names:
        dataset.pop(name, None)


def put(dataset: Dataset, tags: dict[str, Any]) -> None:
    for name, value in tags.items():
        if name == "private":
            group, creator, *element = value
            dataset.private_block(group, creator, create=True).add_new(*element)
        else:
            setattr(dataset, name, value)


def item(**tags: Any) -> Dataset:
    dataset = Dataset()
    put(dataset, tags)
    return dataset


def say_scale(dataset: Dataset, scale: Scale) -> None:
    if scale is not None:
        dataset.RescaleSlope, dataset.RescaleIntercept = scale


def say_steps(dataset: Dataset, thickness: str, between: str, step: float) -> None:
    thick = {"as the step": step, "half": step / 2, "none": None, "0": 0.0}[thickness]
    apart = {"none": None, "the step": step, "wrong": step * 1.7, "minus": -step}[between]
    said = {"SliceThickness": thick, "SpacingBetweenSlices": apart}
    put(dataset, {name: f"{mm:.8g}" for name, mm in said.items() if mm is not None})


def dimension(pointer: str, group: str) -> Dataset:
    return item(DimensionIndexPointer=Tag(pointer), FunctionalGroupPointer=Tag(group))


def _diffusion(v: int) -> Dataset:
    said = item(DiffusionBValue=400.0 * v, DiffusionDirectionality="DIRECTIONAL" if v else "NONE")
    if v:
        turn = item(DiffusionGradientOrientation=[1.0, 0.0, 0.0])
        said.DiffusionGradientDirectionSequence = Items([turn])
    return said


_CONTENT = "FrameContentSequence"
_STACKED = [("StackID", _CONTENT), ("InStackPositionNumber", _CONTENT)]
DIMENSIONS = {
    "": [*_STACKED, ("TemporalPositionIndex", _CONTENT)],
    "phases": [*_STACKED, ("TemporalPositionIndex", _CONTENT)],
    "echoes": [*_STACKED, ("EffectiveEchoTime", "MREchoSequence")],
    "b-values": [*_STACKED, ("DiffusionBValue", "MRDiffusionSequence")],
    "stacks": _STACKED,
}
OF_FRAMES: dict[str, Callable[[int], dict[str, Any]]] = {
    "": lambda _: {},
    "phases": lambda _: {},
    "stacks": lambda _: {},
    "echoes": lambda v: {"MREchoSequence": Items([item(EffectiveEchoTime=2.3 * (v + 1))])},
    "b-values": lambda v: {"MRDiffusionSequence": Items([_diffusion(v)])},
}


def _time(seconds: float) -> str:
    """Return a time of day so long after a quarter past ten."""
    return f"10{15 + int(seconds // 60)}{seconds % 60:06.3f}"


def times_of(n: int) -> dict[str, str]:
    """Return what the n-th slice says of when it was taken, as scanners write it."""
    return {"AcquisitionTime": _time(300 + 0.7 * n), "ContentTime": _time(400 + 0.7 * n)}


TOLD = (
    *(("phases", "MR"), ("phases", "CT"), ("trigger times", "MR"), ("echoes", "MR")),
    *(("parts", "MR"), ("b-values", "MR"), ("times", "MR"), ("times", "PT")),
    *(("acquisitions", "CT"), ("kernels", "CT"), ("Siemens b-values", "MR")),
    *(("Philips b-values", "MR"), ("directions", "MR"), ("echoes and parts", "MR")),
)
# What is the same in a whole volume, and tells it from others wherever they lie.
APART = ("phases", "echoes", "parts", "b-values", "Siemens b-values", "Philips b-values")
SAID: dict[str, Callable[[int], dict[str, Any]]] = {
    "phases": lambda n: {
        "TemporalPositionIdentifier": n + 1,
        "AcquisitionNumber": n + 1,
        "AcquisitionTime": _time(10 * n),
    },
    "trigger times": lambda n: {"TriggerTime": f"{45 * n}"},
    "echoes": lambda n: {"EchoTime": f"{2.3 * (n + 1):.2f}", "EchoNumbers": n + 1},
    "parts": lambda n: {"ImageType": ["ORIGINAL", "PRIMARY", "MPRI"[n % 4], f"V{n // 4}"]},
    "b-values": lambda n: {"DiffusionBValue": 400.0 * n, "AcquisitionNumber": n + 1},
    "times": lambda n: {"AcquisitionTime": _time(10 * n), "FrameReferenceTime": f"{n}000"},
    "directions": lambda n: {
        "DiffusionBValue": 400.0 if n else 0.0,
        "DiffusionGradientOrientation": [np.cos(n), np.sin(n), 0.0] if n else [0.0] * 3,
    },
    "echoes and parts": lambda n: {
        "EchoTime": f"{2.3 * (n // 2 + 1):.2f}",
        "EchoNumbers": n // 2 + 1,
        "ImageType": ["ORIGINAL", "PRIMARY", "MP"[n % 2], "ND"],
    },
    "acquisitions": lambda n: {"AcquisitionNumber": n + 1},
    "kernels": lambda n: {"ConvolutionKernel": f"B{30 + 10 * n}f"},
    "Siemens b-values": lambda n: {"private": (0x19, "SIEMENS MR HEADER", 0x0C, "IS", 400 * n)},
    "Philips b-values": lambda n: {
        "private": (0x2001, "Philips Imaging DD 001", 0x03, "FL", 400.0 * n)
    },
}
