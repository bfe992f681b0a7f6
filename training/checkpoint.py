"""The published LiteMedSAM weights: fetched, verified, and read without running any code.

python -m training.checkpoint [--path FILE.pth]
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.checkpoints.published import lite_medsam_checkpoint
from training.console import error_message


def main(
    path: Annotated[Path | None, typer.Option(help="A copy of lite_medsam.pth at hand.")] = None,
) -> None:
    """Fetch or verify the published LiteMedSAM checkpoint and print where it is."""
    with error_message():
        typer.echo(lite_medsam_checkpoint(path))


if __name__ == "__main__":
    typer.run(main)
