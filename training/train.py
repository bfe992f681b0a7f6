"""Training, one stage at a time: of float networks, and aware of quantisation.

python -m training.train CONFIG.yaml --out RUN --init-from NETWORK [key=value ...]
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.checkpoint import lite_medsam_checkpoint
from training.checkpoints.network_file import StoredNetwork, continue_story, free_decoder
from training.config import load_config
from training.console import error_message, progress_bar
from training.conversion.restore import read_start
from training.data.dataset import SliceDataset
from training.errors import ConfigError
from training.export import convert_encoder
from training.files import path_sha256
from training.learning.config import TrainConfig
from training.learning.run_folder import Run
from training.learning.teachers import (
    EmbeddingStore,
    Encoder,
    Teacher,
    openvino_encoder,
    torch_encoder,
)
from training.learning.trainer import Trainer
from training.models.sam import LiteMedSAM, build_lite_medsam, build_medsam
from training.processes import Processes, join_processes, keep_memory


def train(
    config: TrainConfig, run: Run, network: StoredNetwork, processes: Processes
) -> StoredNetwork:
    """Train a network by a configuration, from the run's last checkpoint on if there is one.

    Parameters
    ----------
    config : TrainConfig
    run : Run
    network : StoredNetwork
        Where the run started; its weights are changed in place.
    processes : Processes

    Returns
    -------
    network : StoredNetwork

    Raises
    ------
    ConfigError, DataError, ModelError, SaveError
        If the configuration does not fit data, network or processes, or a file cannot be read or
        written.
    """
    with progress_bar("cases", shown=processes.leads) as report:
        data = SliceDataset(config, report)
    state = run.read_checkpoint()
    if state is not None:
        # Before the optimiser takes the parameters: Brevitas makes new ones of the ranges it loads.
        network.net.load_state_dict(state["weights"])
    frozen = fast_encoder(network.net, processes) if config.trains == "decoder" else None
    teacher = _build_teacher(config, processes) if config.distill_weight > 0 else None
    try:
        trainer = Trainer(config, network.net, data, teacher, frozen, processes)
    except ValueError as error:
        raise ConfigError(f"The configuration does not fit: {error}. Correct it.") from error
    if processes.leads:
        typer.echo(trainer.sampler.table())
    if state is None:
        run.begin(network)
    else:
        trainer.load_state(state)
    with progress_bar("steps", shown=processes.leads) as report:
        for values in trainer.run():
            run.log(trainer.step, values)
            report(trainer.step, trainer.steps)
            if trainer.step % config.save_steps == 0 or trainer.step == trainer.steps:
                run.write_checkpoint(trainer.state())
    run.close()
    story = continue_story(network.provenance, _describe(config, trainer.steps))
    if config.clicks:
        # The plugin asks with a mask only those networks that have learnt from one.
        story["prompts"] = "boxes, clicks and masks"
    trained = StoredNetwork(network.net.cpu().eval(), network.quant, story)
    run.write_network(trained)
    return trained


def fast_encoder(net: LiteMedSAM, processes: Processes, *, bf16: bool = False) -> Encoder:
    """Return the fastest way to run a network's encoder without gradients."""
    if processes.device.type == "cpu":
        return openvino_encoder(convert_encoder(net), bf16=bf16)
    return torch_encoder(net.image_encoder.eval().to(processes.device))


def _build_teacher(config: TrainConfig, processes: Processes) -> Teacher:
    if config.teacher is not None:
        path = config.teacher
        net = build_medsam(path)
    else:
        path = lite_medsam_checkpoint()
        net = build_lite_medsam(path)
    encoder = fast_encoder(net, processes, bf16=config.teacher_bf16)
    if config.teacher_cache is not None:
        name = f"{path_sha256(path)} {config.teacher_bf16}"
        encoder = EmbeddingStore(config.teacher_cache, encoder, name, config.teacher_cache_gb)
    return Teacher(net, processes.device, encoder)


def _describe(config: TrainConfig, steps: int) -> str:
    """Say in one line what was trained."""
    data = ", ".join(folder.name for folder in config.data)
    weights = f"mask {config.mask_weight:g}, IoU {config.iou_weight:g}"
    clicks = f", {config.clicks} clicks each" if config.clicks else ""
    part = f"{config.trains} in floating point" if config.float_decoder else config.trains
    return (
        f"{part}: {steps} steps of {config.batch_size} samples of {data}, "
        f"{config.optimizer} {config.learning_rate:g}, {weights}, "
        f"distillation {config.distill_weight:g}{clicks}"
    )


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
    goes on with --resume and gives the same weights as if it had not been.

    Several GPUs or machines: torchrun --nproc-per-node 4 -m training.train ...

    Example: python -m training.train training/configs/cpu/1-encoder.yaml
    --out runs/encoder --init-from ptq.pth data=[cases-256]
    """
    keep_memory()
    with error_message():
        settings = load_config(TrainConfig, config, overrides or [])
        with join_processes(device) as processes:
            run = Run(out, settings, resume=resume, leads=processes.leads)
            network = run.read_start() if resume else _read_start(init_from)
            if settings.float_decoder:
                network = free_decoder(network)
            train(settings, run, network, processes)
    typer.echo(run.network)


if __name__ == "__main__":
    typer.run(main)
