"""Post-training quantisation by NNCF: what a user of OpenVINO would do instead, for comparison.

python -m training.nncf_baseline --out DIR data=[CASES] (needs the extra `nncf`)
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.benchmarks.nncf import quantize_by_nncf
from training.config import load_config
from training.console import error_message, progress_bar
from training.conversion.model_directory import write_model
from training.data.dataset import SliceDataset
from training.learning.calibration import CalibrationConfig, draw_samples


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
        samples = draw_samples(data, settings, settings.samples)
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
