"""Training, one stage at a time: of float networks, and aware of quantisation.

python -m training.train CONFIG.yaml --out RUN --init-from NETWORK [key=value ...]
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.checkpoints.network_file import StoredNetwork, in_floating_point
from training.config import load_config
from training.console import error_message
from training.conversion.restore import read_start
from training.errors import ConfigError
from training.learning.config import TrainConfig
from training.learning.processes import asked_to_end, join_processes, keep_memory
from training.learning.run_folder import RunFolder
from training.learning.training_run import train


def _read_start(path: Path | None) -> StoredNetwork:
    if path is None:
        raise ConfigError(
            "Give --init-from: a network file (`python -m training.quantize`, "
            "`python -m training.student`, or network.pth of a run), or the directory of an int8 "
            "model."
        )
    return read_start(path)


def main(
    config: Annotated[Path, typer.Argument(help="YAML file of the stage, see training/configs.")],
    out: Annotated[Path, typer.Option(help="Folder of the run; new, or with --resume.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="key=value, in place of what CONFIG says.")
    ] = None,
    init_from: Annotated[
        Path | None,
        typer.Option(help="Where to start: a network file, or the directory of an int8 model."),
    ] = None,
    resume: Annotated[bool, typer.Option(help="Go on with the run in OUT.")] = False,
    device: Annotated[
        str, typer.Option(help="cpu, cuda, or auto: CUDA if there is a GPU.")
    ] = "auto",
) -> None:
    """Train a network for one stage.

    The run's folder gets the configuration, log.csv, TensorBoard's events, a
    checkpoint now and then, and at the end network.pth: the start of the next
    stage, and what `python -m training.export` takes. A run that was killed
    goes on with --resume and gives the same weights as if it had not been;
    one that is asked to end (Ctrl+C) ends after the step, with the network it
    has, and can be gone on with as well.

    Several GPUs or machines: torchrun --nproc-per-node 4 -m training.train ...

    Example: python -m training.train training/configs/cpu/1-encoder.yaml
    --out runs/encoder --init-from ptq.pth data=[cases-256]
    """
    keep_memory()
    with error_message():
        settings = load_config(TrainConfig, config, overrides or [])
        with join_processes(device) as processes, asked_to_end() as ends:
            run = RunFolder(out, settings, resume=resume, leads=processes.leads)
            network = run.read_start() if resume else _read_start(init_from)
            if settings.in_float != "nothing":
                network = in_floating_point(network, settings.in_float)
            train(settings, run, network, processes, ends)
    typer.echo(run.network)


if __name__ == "__main__":
    typer.run(main)
