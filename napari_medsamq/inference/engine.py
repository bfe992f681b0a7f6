"""From images and prompts to logits and predicted IoU."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import openvino as ov

from napari_medsamq.array_types import Float32
from napari_medsamq.errors import ModelError
from napari_medsamq.inference.backend import (
    CPU,
    compile_config,
    compile_part,
    last_line,
    openvino_core,
)
from napari_medsamq.inference.model_choice import default_model, floating_parts
from napari_medsamq.inference.model_spec import FLOAT_BITS, ModelSpec, NetworkPart
from napari_medsamq.io.modality import Modality
from napari_medsamq.prompts import CarryPrompt

# The highest label of points of boxes that are drawn; those of carried ones come after it.
_DRAWN = 3
_CHANNELS_LAST = (1, 64, 64, 256)
_NO_MASK = np.zeros((1, 1, 256, 256), np.float32)


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
        Model directory with `model.json` and the IR of its parts.
    device : str
        OpenVINO device name.
    threads : int or None
        Number of CPU threads; None takes one per physical core.
    precision : "f32", "bf16" or "f16"
        Of what is not 8-bit. The plugin takes f32, so that every computer gives the same mask.
    pinned : bool
        Whether OpenVINO may bind its threads to cores, which it counts from the first: not where
        several processes share the cores, as all would be bound to the same ones.

    Attributes
    ----------
    floating : tuple of "encoder" and "decoder"
        The parts of an 8-bit model that are computed in floating point, as `floating_parts` says;
        a carrier is computed as the decoder is.

    Raises
    ------
    ModelError
        If the directory does not hold what its `model.json` promises, the networks do not have
        the contract's inputs and outputs, or OpenVINO cannot compile them.
    """

    def __init__(
        self,
        directory: Path,
        *,
        device: str = CPU,
        threads: int | None = None,
        precision: str = "f32",
        pinned: bool = True,
    ) -> None:
        self.directory = directory.resolve()
        self.spec = ModelSpec.read(self.directory)
        self.spec.verify(self.directory)
        self.device = device
        self.floating = floating_parts() if device == CPU and self.spec.bits < FLOAT_BITS else ()
        self._config = compile_config(device, threads, precision, pinned)
        openvino_core()  # made by this thread: see there
        with ThreadPoolExecutor() as pool:  # each keeps one core busy for a while
            decoder = pool.submit(self._compile, "decoder", masks=False)
            self._encoder = self._compile("encoder")
            self._decoder = decoder.result()
        self._masked_decoder: ov.InferRequest | None = None
        self._carrier: ov.InferRequest | None = None
        self._lock = Lock()

    def _compile(self, part: NetworkPart, *, masks: bool = True) -> ov.InferRequest:
        floating = ("encoder" if part == "encoder" else "decoder") in self.floating
        return compile_part(
            self.directory,
            self.spec,
            part,
            self.device,
            self._config,
            floating=floating,
            masks=masks,
        )

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
        # Written by OpenVINO into memory that nobody else writes to.
        embedding = np.empty(_CHANNELS_LAST, np.float32)
        self._infer(self._encoder, {"image": image}, embedding)
        return embedding.transpose(0, 3, 1, 2)

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
            0/1 negative/positive point, 2/3 the corners of a box, -1 padding (the meaning SAM's
            ONNX export gives them); 4/5 the corners of a carried box, which the carrier is asked
            about in the decoder's place.
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
            If OpenVINO fails, out of memory say, or for carried boxes that it has not learnt.
        """
        carried = bool(point_labels.max() > _DRAWN)
        if carried and self.spec.carry_prompt is not CarryPrompt.carried:
            raise ModelError(
                f"The network {self.spec.name} has not learnt boxes that are carried from slice to "
                "slice. Choose another model, or carry by boxes."
            )
        request = self._decoder
        inputs = {
            # Without a copy if it comes from `encode`.
            "image_embedding": np.ascontiguousarray(embedding.transpose(0, 2, 3, 1)),
            "point_coords": point_coords,
            "point_labels": point_labels,
        }
        if carried or mask_input is not None:
            request = self._request_with_mask(carried=carried)
            has_mask = np.full(1, mask_input is not None, np.float32)
            mask = _NO_MASK if mask_input is None else mask_input
            inputs |= {"mask_input": mask, "has_mask_input": has_mask}
        result = self._infer(request, inputs)
        return result["logits"], result["iou"]

    def _request_with_mask(self, *, carried: bool) -> ov.InferRequest:
        """Return the decoder that takes masks, or the carrier; compiled when first asked for."""
        if carried:
            if self._carrier is None:
                self._carrier = self._compile("carrier")
            return self._carrier
        if self._masked_decoder is None:
            self._masked_decoder = self._compile("decoder")
        return self._masked_decoder

    def _infer(
        self, request: ov.InferRequest, inputs: dict[str, Float32], output: Float32 | None = None
    ) -> Any:
        """Run a request; its answer is in memory of its own, or in `output`."""
        try:
            # Sessions of several volumes share an engine, and have threads of their own.
            with self._lock:
                if output is not None:
                    request.set_output_tensor(ov.Tensor(output, shared_memory=True))
                return request.infer(inputs, share_inputs=True, share_outputs=output is not None)
        except RuntimeError as error:
            raise ModelError(
                f"The network {self.spec.name} failed on {self.device}: {last_line(error)}. "
                "Close other programs if memory is short, and try again."
            ) from error


class Engines:
    """The engines that a program needs, each loaded when an image first asks for it.

    Parameters
    ----------
    model : Path, optional
        Model directory for every image; `default_model` of its modality if not given.
    device : str
        OpenVINO device name: CPU, GPU, or AUTO for OpenVINO's choice.
    threads : int, optional
        CPU threads of each engine, where other processes use the cores too; all cores if not given.

    Attributes
    ----------
    model : Path or None
        As given; may be changed.
    """

    def __init__(
        self, model: Path | None = None, device: str = CPU, threads: int | None = None
    ) -> None:
        self.model = model
        self._device = device
        self._threads = threads
        self._loaded: dict[Path, OpenVINOEngine] = {}
        self._lock = Lock()

    def for_modality(self, modality: Modality) -> OpenVINOEngine:
        """Return the engine for images of a modality.

        Raises
        ------
        ModelError
            If its model cannot be loaded.
        """
        return self.load(self.directory(modality))

    def directory(self, modality: Modality) -> Path:
        """Return the directory of the model that is wanted now for images of a modality.

        `load` may run in another thread; this belongs to whoever changes `model`.
        """
        return self.model or default_model(modality)

    def load(self, directory: Path) -> OpenVINOEngine:
        """Return the engine of a model directory.

        Raises
        ------
        ModelError
            If the model cannot be loaded.
        """
        with self._lock:
            if directory not in self._loaded:
                self._loaded[directory] = OpenVINOEngine(
                    directory,
                    device=self._device,
                    threads=self._threads,
                    pinned=self._threads is None,
                )
            return self._loaded[directory]


def box_points(boxes: npt.ArrayLike, *, carried: bool = False) -> tuple[Float32, Float32]:
    """Write box prompts as the two labelled points that the decoder takes.

    Parameters
    ----------
    boxes : (N, 4) array_like
        XYXY in pixels of the 256 px frame.
    carried : bool
        Whether they are those of a neighbouring slice, for a network that has learnt such ones.

    Returns
    -------
    point_coords : (N, 2, 2) float32
    point_labels : (N, 2) float32
        2 for the upper left, 3 for the lower right corner; 4 and 5 where they are carried.
    """
    corners = np.asarray(boxes, dtype=np.float32).reshape(-1, 2, 2)
    return corners, np.tile(np.array([4, 5] if carried else [2, 3], np.float32), (len(corners), 1))
