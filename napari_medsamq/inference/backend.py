"""The networks of a model directory as OpenVINO reads and compiles them."""

from __future__ import annotations

import hashlib
import io
import os
import platform
import re
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as ops
from openvino.preprocess import PrePostProcessor
from platformdirs import user_cache_path

from napari_medsamq.errors import ModelError
from napari_medsamq.inference import floating_point
from napari_medsamq.inference.model_choice import cpu_features, floating_parts
from napari_medsamq.inference.model_spec import ModelSpec, NetworkPart
from napari_medsamq.io.files import file_hash, replacing

_INSTRUCTIONS = frozenset(
    {"avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "asimd", "asimddp"}
)
# Names the folder for compiled models, in place of the user's cache folder.
CACHE_VARIABLE = "MEDSAMQ_MODEL_CACHE"
CPU = "CPU"
_X86 = ("x86_64", "amd64")
# Compiled networks of a model: the four that it may have, for three versions or settings.
_MOST_KEPT = 12
# What versions of before kept, by OpenVINO's names; this one has no use for it.
_KEPT_BEFORE = re.compile(r"\d+\.(blob|sha256)")

_EXPORT_AGAIN = "Export the model again with `python -m training.export`."
_DECODER_PORTS = {
    "input": {
        "image_embedding": "[1,256,64,64]",
        "point_coords": "[?,?,2]",
        "point_labels": "[?,?]",
        "mask_input": "[?,1,256,256]",
        "has_mask_input": "[1]",
    },
    "output": {"logits": "[?,256,256]", "iou": "[?]"},
}
_PORTS: dict[NetworkPart, dict[str, dict[str, str]]] = {
    "encoder": {
        "input": {"image": "[1,3,256,256]"},
        "output": {"image_embedding": "[1,256,64,64]"},
    },
    "decoder": _DECODER_PORTS,
    "carrier": _DECODER_PORTS,
}


@cache
def openvino_core() -> ov.Core:
    """Return the one OpenVINO core of this process.

    A core gives its thread a stack for signals, and puts back the one it found when it ends. Of
    several cores that end in another order than they began, a stack stays that is gone, and the
    next signal, the end of a child process say, kills the program.
    """
    return ov.Core()


def read_part(directory: Path, part: NetworkPart) -> ov.Model:
    """Read a network and compare its inputs and outputs with the contract.

    Raises
    ------
    ModelError
        If OpenVINO cannot read it, or they differ.
    """
    path = directory / f"{part}.xml"
    try:
        model = openvino_core().read_model(path)
    except RuntimeError as error:
        raise ModelError(
            f"OpenVINO cannot read {path}: {last_line(error)} {_EXPORT_AGAIN}"
        ) from error
    for kind, ports in (("input", model.inputs), ("output", model.outputs)):
        found = {port.any_name: str(port.partial_shape) for port in ports if port.names}
        expected = _PORTS[part][kind]
        if found != expected:
            raise ModelError(
                f"{path} must have the {kind}s {expected}, but has {found}. {_EXPORT_AGAIN}"
            )
    return model


def compile_part(
    directory: Path,
    spec: ModelSpec,
    part: NetworkPart,
    device: str,
    config: dict[str, Any],
    *,
    floating: bool = False,
    masks: bool = True,
) -> ov.InferRequest:
    """Compile a network for a device, or take it as it was compiled at an earlier start.

    Parameters
    ----------
    directory : Path
    spec : ModelSpec
        Verified.
    part : "encoder", "decoder" or "carrier"
    device : str
    config : dict
        Of OpenVINO.
    floating : bool
        Whether the roundings to 8 bits are left out.
    masks : bool
        Whether a decoder takes the mask prompt.

    Raises
    ------
    ModelError
        If OpenVINO cannot, as on processors without AVX2, or the network breaks the contract.
    """
    if device == CPU and platform.machine().lower() in _X86 and "avx2" not in cpu_features():
        raise ModelError(
            f"This processor ({cpu_name()}) has no AVX2, without which OpenVINO does not run the "
            "networks. Use a computer with one of 2015 or later."
        )
    core = openvino_core()
    # All that a compiled network depends on, this program's own changes of it among them.
    made_of = (
        *(spec.sha256[f"{part}.{ending}"] for ending in ("xml", "bin")),
        *(file_hash(Path(own)) for own in (__file__, floating_point.__file__)),
        *(floating, masks, device, sorted(config.items())),
        *(ov.get_version(), cpu_name(), sorted(cpu_features())),
    )
    mark = hashlib.sha256(repr(made_of).encode()).hexdigest()[:16]
    kept = cache_folder() / directory.name / f"{part}-{mark}.blob"
    compiled = _read_compiled(kept, device, config)
    if compiled is None:
        model = read_part(directory, part)
        if floating:
            model = floating_point.in_floating_point(model)
        if not masks:
            model = without_mask(model)
        try:
            compiled = core.compile_model(
                channels_last(model, output=part == "encoder"), device, config
            )
        except RuntimeError as error:
            raise ModelError(
                f"OpenVINO {ov.__version__} cannot run {directory / part}.xml on device "
                f"{device!r}: {last_line(error)} {_other_devices(device, core.available_devices)}"
            ) from error
        _keep_compiled(compiled, kept)
    return compiled.create_infer_request()


def _other_devices(device: str, available: list[str]) -> str:
    others = [name for name in available if name != device]
    return f"Choose one of {', '.join(others)}." if others else "Install the model again."


def channels_last(model: ov.Model, *, output: bool = False) -> ov.Model:
    """Let the embedding pass with its channels last, as both networks have it inside."""
    steps = PrePostProcessor(model)
    embedding = steps.output() if output else steps.input("image_embedding")
    embedding.model().set_layout(ov.Layout("NCHW"))
    embedding.tensor().set_layout(ov.Layout("NHWC"))
    return steps.build()


def without_mask(decoder: ov.Model) -> ov.Model:
    """Fix that there is no mask prompt, so that OpenVINO leaves out what would read one."""
    empty = {"mask_input": (1, 1, 256, 256), "has_mask_input": (1,)}
    for parameter in decoder.get_parameters():
        shape = empty.get(parameter.output(0).any_name)
        if shape is not None:
            nothing = ops.constant(np.zeros(shape, np.float32))
            parameter.output(0).replace(nothing.output(0))
            decoder.remove_parameter(parameter)
    decoder.validate_nodes_and_infer_types()
    return decoder


def compile_config(
    device: str, threads: int | None, precision: str, pinned: bool
) -> dict[str, Any]:
    """Return how OpenVINO is to compile: see `OpenVINOEngine`."""
    # The precision is said, never left to the plugin: on CPUs with bf16 OpenVINO would otherwise
    # round, and two users would get different masks from the same model.
    config: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
    if threads is not None and device == CPU:
        config["INFERENCE_NUM_THREADS"] = threads
    if not pinned and device == CPU:
        config["ENABLE_CPU_PINNING"] = False
    return config


def cache_folder() -> Path:
    """Return the folder of compiled models; it need not be there yet."""
    named = os.environ.get(CACHE_VARIABLE)
    return Path(named) if named else user_cache_path("napari-medsamq") / "openvino"


def _read_compiled(path: Path, device: str, config: dict[str, Any]) -> ov.CompiledModel | None:
    """Read a network that was kept; None where it is not there, or not as it was written.

    OpenVINO sees that a file has been cut, but takes wrong weights for right ones.
    """
    try:
        with path.open("rb") as file:
            digest, network = file.read(hashlib.sha256().digest_size), file.read()
        if hashlib.sha256(network).digest() == digest:
            return openvino_core().import_model(network, device, config)
    except (OSError, RuntimeError):
        pass  # compiling it anew costs time alone
    return None


def _keep_compiled(compiled: ov.CompiledModel, path: Path) -> None:
    """Write a compiled network behind its digest, where the device and the disk let it."""
    network = io.BytesIO()
    with suppress(OSError, RuntimeError):
        compiled.export_model(network)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            part.write_bytes(hashlib.sha256(network.getvalue()).digest() + network.getvalue())
        age = {kept: kept.stat().st_mtime for kept in path.parent.glob("*.blob")}
        of_before = filter(
            lambda old: _KEPT_BEFORE.fullmatch(old.name), cache_folder().rglob("*.*")
        )
        for old in (*sorted(age, key=age.__getitem__)[:-_MOST_KEPT], *of_before):
            old.unlink(missing_ok=True)
            with suppress(OSError):
                old.parent.rmdir()  # where nothing else is left in it


@cache
def cpu_name() -> str:
    """Return how the processor calls itself."""
    return str(openvino_core().get_property(CPU, "FULL_DEVICE_NAME")).strip()


def last_line(error: Exception) -> str:
    """Return the last line of OpenVINO's message, which says what is wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def environment() -> dict[str, Any]:
    """Return what, besides model and image, decides about the last bit of a mask.

    JSON can hold it: the version of OpenVINO, which instructions this processor has of those that
    matter to it, and which parts of 8-bit models it computes in floating point.
    """
    return {
        "openvino": ov.__version__,
        "instructions": sorted(_INSTRUCTIONS & cpu_features()),
        "floating_point": list(floating_parts()),
    }
