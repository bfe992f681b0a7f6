"""The fast student before its training: LiteMedSAM with an encoder on a coarser grid.

python -m training.student --out NETWORK.pth
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.checkpoints.network_file import student_network, write_network
from training.checkpoints.published import lite_medsam_checkpoint
from training.console import error_message
from training.errors import ConfigError
from training.models.fast_vit import DESIGNS
from training.models.sam import FAST


def main(
    out: Annotated[Path, typer.Option(help="Network file to write (.pth).")],
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="Float weights (.pth) to start from. Default: the published LiteMedSAM."),
    ] = None,
    design: Annotated[str, typer.Option(help=f"One of {', '.join(DESIGNS)}.")] = FAST,
    force: Annotated[bool, typer.Option(help="Replace OUT.")] = False,
) -> None:
    """Make the fast network that training starts from.

    Its blocks and its decoder have the published weights, the decoder without
    the weakest channels of its perceptrons; the convolutions of its stem and
    its neck, which LiteMedSAM does not have, are random, the same ones every
    time.

    Example: python -m training.student --out student.pth
    """
    with error_message():
        if out.exists() and not force:
            raise ConfigError(f"{out}: is there already. Give another name, or --force.")
        if design not in DESIGNS:
            raise ConfigError(f"There is no design {design}; there are {', '.join(DESIGNS)}.")
        write_network(out, student_network(checkpoint or lite_medsam_checkpoint(), design))
    typer.echo(out)


if __name__ == "__main__":
    typer.run(main)
