"""From images and prompts to logits and predicted IoU: the only module that runs OpenVINO."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import openvino as ov
from platformdirs import user_cache_path

from napari_medsamq.errors import ModelError
from napari_medsamq.model_spec import ModelSpec, default_model

Float32 = npt.NDArray[np.float32]

# Names the folder for compiled models, in place of the user's cache folder.
CACHE_VARIABLE = "MEDSAMQ_MODEL_CACHE"

_EXPORT_AGAIN = "Export the model again with `python -m training.export`."
_NO_MASK: Float32 = np.zeros((1, 1, 256, 256), np.float32)
_ENCODER_INPUTS = {"image": "[1,3,256,256]"}
_ENCODER_OUTPUTS = {"image_embedding": "[1,256,64,64]"}
_DECODER_INPUTS = {
    "image_embedding": "[1,256,64,64]",
    "point_coords": "[?,?,2]",
    "point_labels": "[?,?]",
    "mask_input": "[?,1,256,256]",
    "has_mask_input": "[1]",
}
_DECODER_OUTPUTS = {"logits": "[?,256,256]", "iou": "[?]"}


@cache
def openvino_core() -> ov.Core:
    """Return the one OpenVINO core of this process.

    A core gives its thread a stack for signals, and puts back the one it found when it ends. Of
    several cores that end in another order than they began, a stack stays that is gone, and the
    next signal, the end of a child process say, kills the program.
    """
    return ov.Core()


class Engine(Protocol):
    """What a session needs of a network."""

    @property
    def spec(self) -> ModelSpec:
        """The model that answers."""

    def encode(self, image: Float32) -> Float32:
        """Turn an image (1, 3, 256, 256) in [0, 1] into an embedding (1, 256, 64, 64)."""

    def decode(
        self,
        embedding: Float32,
        point_coords: Float32,
        point_labels: Float32,
        mask_input: Float32 | None = None,
    ) -> tuple[Float32, Float32]:
        """Turn an embedding and N prompts of P points into logits and predicted IoU."""


class OpenVINOEngine:
    """A model directory compiled for a device by OpenVINO.

    Parameters
    ----------
    directory : Path
        Model directory with `model.json` and the IR of encoder and decoder.
    device : str
        OpenVINO device name.
    threads : int or None
        Number of CPU threads; None takes one per physical core.
    precision : "f32", "bf16" or "f16"
        Of what is not 8-bit. The plugin takes f32, so that every computer gives the same mask.

    Raises
    ------
    ModelError
        If the directory does not hold what its `model.json` promises, the networks do not have
        the contract's inputs and outputs, or OpenVINO cannot compile them.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        device: str = "CPU",
        threads: int | None = None,
        precision: str = "f32",
    ) -> None:
        self.directory = (directory or default_model()).resolve()
        self.spec = ModelSpec.read(self.directory)
        self.spec.verify(self.directory)
        self.device = device
        core = openvino_core()
        config = _compile_config(device, threads, precision)
        self._encoder = self._compile(core, "encoder", _ENCODER_INPUTS, _ENCODER_OUTPUTS, config)
        self._decoder = self._compile(core, "decoder", _DECODER_INPUTS, _DECODER_OUTPUTS, config)

    def _compile(
        self,
        core: ov.Core,
        part: str,
        inputs: dict[str, str],
        outputs: dict[str, str],
        config: dict[str, Any],
    ) -> ov.InferRequest:
        path = self.directory / f"{part}.xml"
        try:
            model = core.read_model(path)
        except RuntimeError as error:
            raise ModelError(
                f"OpenVINO cannot read {path}: {_last_line(error)} {_EXPORT_AGAIN}"
            ) from error
        _check_ports(path, "input", model.inputs, inputs)
        _check_ports(path, "output", model.outputs, outputs)
        try:
            return core.compile_model(model, self.device, config).create_infer_request()
        except RuntimeError as error:
            raise ModelError(
                f"OpenVINO {ov.__version__} cannot run {path} on device {self.device!r}: "
                f"{_last_line(error)} Choose one of {', '.join(core.available_devices)}."
            ) from error

    def encode(self, image: Float32) -> Float32:
        """Encode one image.

        Parameters
        ----------
        image : (1, 3, 256, 256) float32 in [0, 1]

        Returns
        -------
        image_embedding : (1, 256, 64, 64) float32

        Raises
        ------
        ModelError
            If OpenVINO fails, out of memory say.
        """
        result = self._infer(self._encoder, {"image": image})
        return np.array(result["image_embedding"], dtype=np.float32)

    def decode(
        self,
        embedding: Float32,
        point_coords: Float32,
        point_labels: Float32,
        mask_input: Float32 | None = None,
    ) -> tuple[Float32, Float32]:
        """Decode N prompts on one embedding.

        Parameters
        ----------
        embedding : (1, 256, 64, 64) float32
        point_coords : (N, P, 2) float32
            x, y in pixels of the 256 px frame.
        point_labels : (N, P) float32
            0/1 negative/positive point, 2/3 the corners of a box, -1 padding
            (the meaning SAM's ONNX export gives them).
        mask_input : (N, 1, 256, 256) float32, optional
            Logits of a previous mask as dense prompt.

        Returns
        -------
        logits : (N, 256, 256) float32
            Before the threshold at 0.
        iou : (N,) float32
            Predicted intersection over union.

        Raises
        ------
        ModelError
            If OpenVINO fails, out of memory say.
        """
        # Without a mask prompt one empty row serves all prompts, which saves its downscaling.
        dense = mask_input if mask_input is not None else _NO_MASK
        result = self._infer(
            self._decoder,
            {
                "image_embedding": embedding,
                "point_coords": point_coords,
                "point_labels": point_labels,
                "mask_input": dense,
                "has_mask_input": np.array([mask_input is not None], np.float32),
            },
        )
        return np.array(result["logits"], np.float32), np.array(result["iou"], np.float32)

    def _infer(self, request: ov.InferRequest, inputs: dict[str, Float32]) -> Any:
        try:
            return request.infer(inputs, share_inputs=True)
        except RuntimeError as error:
            raise ModelError(
                f"The network {self.spec.name} failed on {self.device}: {_last_line(error)}. "
                "Close other programs if memory is short, and try again."
            ) from error


def box_points(boxes: npt.ArrayLike) -> tuple[Float32, Float32]:
    """Write box prompts as the two labelled points that the decoder takes.

    Parameters
    ----------
    boxes : (N, 4) array_like
        XYXY in pixels of the 256 px frame.

    Returns
    -------
    point_coords : (N, 2, 2) float32
    point_labels : (N, 2) float32
        2 for the upper left, 3 for the lower right corner.
    """
    corners = np.asarray(boxes, dtype=np.float32).reshape(-1, 2, 2)
    return corners, np.tile(np.array([2, 3], np.float32), (len(corners), 1))


def _compile_config(device: str, threads: int | None, precision: str) -> dict[str, Any]:
    # The precision is said, never left to the plugin: on CPUs with bf16 OpenVINO would otherwise
    # round, and two users would get different masks from the same model.
    config: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
    if threads is not None and device == "CPU":
        config["INFERENCE_NUM_THREADS"] = threads
    # A cache folder that cannot be made only costs compile time at the next start.
    named = os.environ.get(CACHE_VARIABLE)
    cache = Path(named) if named else user_cache_path("napari-medsamq") / "openvino"
    if _writable(cache):
        config["CACHE_DIR"] = str(cache)
    return config


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


def _check_ports(path: Path, kind: str, ports: list[ov.Output], expected: dict[str, str]) -> None:
    found = {port.any_name: str(port.partial_shape) for port in ports if port.names}
    if found != expected:
        raise ModelError(
            f"{path} must have the {kind}s {expected}, but has {found}. {_EXPORT_AGAIN}"
        )


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
