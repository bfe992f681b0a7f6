"""The mean of a network before and after a stage: what it learnt, with less of what it forgot.

What training does not show, a network forgets; half-way between the weights of before and after,
both are kept better than at either end (Wortsman et al., "Robust fine-tuning of zero-shot models",
CVPR 2022).

python -m training.average BEFORE AFTER --out MEAN.pth
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.checkpoints.network_file import (
    StoredNetwork,
    continue_story,
    in_floating_point,
    write_network,
)
from training.console import error_message
from training.conversion.restore import read_start
from training.errors import ConfigError


def average(before: StoredNetwork, after: StoredNetwork, share: float) -> StoredNetwork:
    """Return a network whose weights lie between those of two.

    Where the decoder of one of them is in floating point, that of the mean is, too. Both are
    changed in place.

    Parameters
    ----------
    before, after : StoredNetwork
        Of one architecture, quantised alike.
    share : float
        Of `after`, in 0..1.

    Raises
    ------
    ConfigError
        If they are different networks.
    """
    if "encoder" in {own.quant.parts for own in (before, after) if own.quant is not None}:
        before, after = (in_floating_point(own, "decoder") for own in (before, after))
    old, new = before.net.state_dict(), after.net.state_dict()
    shapes = [{name: value.shape for name, value in own.items()} for own in (old, new)]
    if before.quant != after.quant or shapes[0] != shapes[1]:
        raise ConfigError(
            "The two networks have different layers, or are quantised differently, so that they "
            "have no mean. Give a network and what became of it by training."
        )
    mean = {
        name: old[name].lerp(value, share) if value.is_floating_point() else value
        for name, value in new.items()
    }
    after.net.load_state_dict(mean)
    story = continue_story(after.provenance, f"{share:.0%} of these weights, the rest of before")
    return StoredNetwork(after.net.eval(), after.quant, story)


def main(
    before: Annotated[Path, typer.Argument(help="Network file or int8 model directory.")],
    after: Annotated[Path, typer.Argument(help="What became of it, likewise.")],
    out: Annotated[Path, typer.Option(help="Network file to write (.pth).")],
    share: Annotated[float, typer.Option(min=0.0, max=1.0, help="Of AFTER in the mean.")] = 0.5,
) -> None:
    """Average the weights of a network before and after a stage of training.

    Example: python -m training.average my-model runs/crops/network.pth --out runs/mean.pth
    """
    with error_message():
        write_network(out, average(read_start(before), read_start(after), share))
    typer.echo(out)


if __name__ == "__main__":
    typer.run(main)
