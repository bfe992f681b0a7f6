"""Post-training quantisation of a float network: a baseline, and where training starts.

python -m training.quantize --out NETWORK.pth data=[CASES] [key=value ...]
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.checkpoints.network_file import (
    read_network,
    write_network,
)
from training.checkpoints.published import lite_medsam_checkpoint
from training.config import load_config
from training.console import error_message
from training.errors import ConfigError
from training.learning.calibration import CalibrationConfig, quantize_network


def main(
    out: Annotated[Path, typer.Option(help="Network file to write (.pth).")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="key=value: bits, parts, weights, overrides, samples, data, ..."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="YAML file with these keys, see training/configs.")
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="Network (.pth) in floating point, or with such a decoder. Default: the "
            "published LiteMedSAM."
        ),
    ] = None,
    force: Annotated[bool, typer.Option(help="Replace OUT.")] = False,
) -> None:
    """Quantise a float network without training it (post-training quantisation).

    The ranges of the activations are measured on samples of the data, and the
    biases corrected. The result is a baseline, and where training starts.

    Example: python -m training.quantize --out ptq.pth data=[cases-256] bits=8
    """
    with error_message():
        if out.exists() and not force:
            raise ConfigError(f"{out}: is there already. Give another name, or --force.")
        settings = load_config(CalibrationConfig, config, overrides or [])
        network = read_network(checkpoint or lite_medsam_checkpoint())
        write_network(out, quantize_network(settings, network))
    typer.echo(out)


if __name__ == "__main__":
    typer.run(main)
