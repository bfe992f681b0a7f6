"""Which model to take: what each scores, and how long it takes on this computer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np

from napari_medsamq.inference.backend import CPU
from napari_medsamq.inference.engine import Engine, Engines, OpenVINOEngine, box_points
from napari_medsamq.inference.model_choice import default_model, find_model, shipped_models
from napari_medsamq.inference.model_spec import FLOAT_BITS, ModelSpec
from napari_medsamq.io.modality import MODALITIES, Modality

ROUNDS = 3


@dataclass(frozen=True)
class StepTimes:
    """Median milliseconds of a model on this computer, to encode a slice and to decode a box."""

    encode_ms: float
    decode_ms: float


@dataclass(frozen=True)
class ListedModel:
    """A model that comes along.

    Attributes
    ----------
    name : str
    directory : Path
    bits : int
        Of its weights; 32 for floating point.
    megabytes : float
        Of its files (10^6 bytes).
    dsc : dict of str to float
        Dice coefficient on cases that it was not trained on: of "CT", "MR", "all".
    default_for : tuple of "CT", "MR" or "other"
        The kinds of images that it is taken for on this processor if none is named.
    """

    name: str
    directory: Path
    bits: int
    megabytes: float
    dsc: dict[str, float]
    default_for: tuple[Modality, ...]


def list_models() -> list[ListedModel]:
    """Return the models that come along, without loading them.

    Raises
    ------
    ModelError
        If their files are not as they should be.
    """
    listed = []
    for directory in shipped_models():
        spec = ModelSpec.read(directory)
        used = tuple(name for name in MODALITIES if default_model(name) == directory)
        scores = {kind: found["dsc"] for kind, found in spec.scores.items() if "dsc" in found}
        size = size_mb(directory)
        listed.append(ListedModel(spec.name, directory, spec.bits, size, scores, used))
    return listed


def load_engine(model: str | Path, device: str = CPU) -> OpenVINOEngine:
    """Load a model, to be shared by the sessions of several volumes.

    Parameters
    ----------
    model : str or Path
        Name of a model that comes along, or a model directory.
    device : str
        OpenVINO device name: CPU, GPU or AUTO.

    Raises
    ------
    ModelError
        If there is no such model, or it cannot be loaded.
    """
    return Engines(device=device).load(find_model(str(model)))


def size_mb(directory: Path) -> float:
    """Return the size of a model's IR files in MB (10^6 bytes)."""
    files = [*directory.glob("*.xml"), *directory.glob("*.bin")]
    return sum(file.stat().st_size for file in files) / 1e6


def time_steps(engine: Engine) -> StepTimes:
    """Time a model: medians of 3 slices and boxes, after one that warms up.

    Raises
    ------
    ModelError
        If it fails.
    """
    image = np.random.default_rng(0).random((1, 3, 256, 256), np.float32)
    box = box_points([64, 64, 192, 192])
    encode_ms, decode_ms = [], []
    for number in range(ROUNDS + 1):
        start = perf_counter()
        embedding = engine.encode(image)
        middle = perf_counter()
        engine.decode(embedding, *box)
        if number:
            encode_ms.append((middle - start) * 1000)
            decode_ms.append((perf_counter() - middle) * 1000)
    return StepTimes(median(encode_ms), median(decode_ms))


def validation_dsc(spec: ModelSpec, modality: Modality) -> float | None:
    """Return what a model scored on cases that it was not trained on; None if that is unknown.

    Parameters
    ----------
    spec : ModelSpec
    modality : "CT", "MR" or "other"
        For "other", the mean of all data sets, CT and MR included.
    """
    return spec.scores.get("all" if modality == "other" else modality, {}).get("dsc")


def describe_choice(spec: ModelSpec, modality: Modality, times: StepTimes | None) -> str:
    """Return a line about a model: its name, its DSC for a modality, and its time if measured."""
    parts = [spec.name]
    dsc = validation_dsc(spec, modality)
    if dsc is not None:
        parts.append(f"DSC {dsc:.2f}")
    if times is not None:
        parts.append(f"{times.encode_ms + times.decode_ms:.0f} ms")
    return ", ".join(parts)


def describe_model(engine: OpenVINOEngine, times: StepTimes) -> list[str]:
    """Return lines about a model: what it is, what it scores, how long it takes here."""
    spec = engine.spec
    lines = [f"{spec.name}: {describe_files(engine.directory, spec)}"]
    known = [name for name in ("CT", "MR", "all") if name in spec.scores]
    if known:
        scores = ", ".join(f"{name} {spec.scores[name]['dsc']:.3f}" for name in known)
        lines.append(f"  DSC: {scores}")
    lines.append(
        f"  here: {times.encode_ms:.1f} ms to encode a slice, {times.decode_ms:.1f} ms for a box"
    )
    return lines


def describe_files(directory: Path, spec: ModelSpec) -> str:
    """Return bits, size and hash of a model in a line."""
    kind = "float" if spec.bits == FLOAT_BITS else f"{spec.bits} bits"
    return f"{kind}, {size_mb(directory):.1f} MB, SHA-256 {spec.sha256['encoder.bin'][:12]}…"
