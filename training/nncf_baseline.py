"""Post-training quantisation by NNCF: what a user of OpenVINO would do instead, for comparison.

python -m training.nncf_baseline --out DIR data=[CASES] (needs the extra `nncf`)
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated

import nncf
import numpy as np
import openvino as ov
import typer

from napari_medsamq.array_types import Float32
from napari_medsamq.inference.backend import openvino_core
from napari_medsamq.inference.engine import OpenVINOEngine, box_points
from napari_medsamq.inference.model_spec import MODELS
from training.config import load_config
from training.console import error_message, progress_bar
from training.data.dataset import SliceDataset
from training.data.sampler import BalancedSampler
from training.export import write_model
from training.quantize import CalibrationConfig

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


def main(
    out: Annotated[Path, typer.Option(help="Model directory to write; new or empty.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="key=value, as `python -m training.quantize`.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file with these keys.")] = None,
    force: Annotated[bool, typer.Option(help="Replace the model in OUT.")] = False,
) -> None:
    """Quantise the shipped float model by NNCF, on the samples that our own calibration takes.

    Example: python -m training.nncf_baseline --config training/configs/cpu/0-ptq.yaml --out nncf
    """
    with error_message():
        settings = load_config(CalibrationConfig, config, overrides or [])
        with progress_bar("cases") as report:
            data = SliceDataset(settings, report)
        draws = itertools.islice(BalancedSampler(data.groups, settings), settings.samples)
        samples = [data[draw] for draw in draws]
        encoder, decoder = quantize_by_nncf(
            [sample["image"][None].numpy() for sample in samples],
            [sample["box"].numpy() for sample in samples],
        )
        provenance = {
            "source": "litemedsam-float",
            "training": f"post-training quantisation by NNCF on {len(samples)} samples",
        }
        name = out.resolve().name
        write_model(out, encoder, decoder, name=name, bits=8, provenance=provenance, force=force)
    typer.echo(out)


if __name__ == "__main__":
    typer.run(main)
