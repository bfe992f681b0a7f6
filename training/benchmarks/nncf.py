"""Post-training quantisation by NNCF: what a user of OpenVINO would do instead."""

from __future__ import annotations

from pathlib import Path

import nncf
import numpy as np
import openvino as ov

from napari_medsamq.array_types import Float32
from napari_medsamq.inference.backend import openvino_core
from napari_medsamq.inference.engine import OpenVINOEngine, box_points
from napari_medsamq.inference.model_choice import MODELS

_FLOAT = MODELS / "litemedsam-float"


def quantize_by_nncf(
    images: list[Float32], boxes: list[Float32], directory: Path = _FLOAT
) -> tuple[ov.Model, ov.Model]:
    """Quantise encoder and decoder of a float model directory to int8.

    Parameters
    ----------
    images : list of (1, 3, 256, 256) float32
    boxes : list of (4,) float32
        One for each image, XYXY in frame pixels.
    directory : Path

    Returns
    -------
    encoder, decoder : openvino.Model
    """
    engine, core = OpenVINOEngine(directory), openvino_core()
    prompts = []
    for image, box in zip(images, boxes, strict=True):
        points, labels = box_points(box)
        prompts.append(
            {
                "image_embedding": engine.encode(image),
                "point_coords": points,
                "point_labels": labels,
                "mask_input": np.zeros((1, 1, 256, 256), np.float32),
                "has_mask_input": np.zeros(1, np.float32),
            }
        )
    encoder, decoder = (
        nncf.quantize(
            core.read_model(directory / f"{part}.xml"),
            nncf.Dataset(samples),
            preset=nncf.QuantizationPreset.MIXED,
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(samples),
            fast_bias_correction=True,
        )
        for part, samples in (
            ("encoder", [{"image": image} for image in images]),
            ("decoder", prompts),
        )
    )
    return encoder, decoder
