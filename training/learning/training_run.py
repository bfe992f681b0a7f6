"""A stage of the training: from its start, or its last checkpoint, to the network it ends with."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable

import typer
from torch import nn

from training.checkpoints.network_file import StoredNetwork, continue_story, in_floating_point
from training.checkpoints.published import lite_medsam_checkpoint
from training.checkpoints.released import build_lite_medsam, build_medsam
from training.checkpoints.tensor_files import read_tensors
from training.console import progress_bar
from training.conversion.restore import read_start
from training.data.dataset import SliceDataset
from training.data.runs import RunDataset
from training.errors import ConfigError
from training.files import path_sha256
from training.learning.config import TrainConfig
from training.learning.processes import Processes
from training.learning.run_folder import RunFolder
from training.learning.teachers import (
    EmbeddingStore,
    Encoder,
    Teacher,
    fast_encoder,
)
from training.learning.trainer import Trainer


def train(
    config: TrainConfig,
    run: RunFolder,
    network: StoredNetwork,
    processes: Processes,
    ends: Callable[[], bool] = lambda: False,
) -> StoredNetwork:
    """Train a network by a configuration, from the run's last checkpoint on if there is one.

    Parameters
    ----------
    config : TrainConfig
    run : RunFolder
    network : StoredNetwork
        Where the run started; its weights are changed in place.
    processes : Processes
    ends : callable
        Where it says so, the step that was done is the last one: the run then has a checkpoint, to
        go on from, and a network.

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
    runs = RunDataset(config.volumes, config, config.run_slices) if config.runs else None
    frozen = fast_encoder(network.net, processes) if config.trains == "decoder" else None
    if frozen is not None and config.remembers:
        name = _weights_hash(network.net.image_encoder)
        frozen = _kept(frozen, name, config)
        teacher: Teacher | None = Teacher(copy.deepcopy(network.net), processes.device, frozen)
    else:
        teacher = _build_teacher(config, processes) if config.taught else None
    state = run.read_checkpoint()
    if state is not None:
        # Before the optimiser takes the parameters: Brevitas makes new ones of the ranges it loads.
        network.net.load_state_dict(state["weights"])
    try:
        trainer = Trainer(config, network.net, data, teacher, frozen, processes, runs)
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
            report(trainer.step, max(trainer.step, round(trainer.step / trainer.done)))
            if trainer.step % config.save_steps == 0 or trainer.done >= 1 or ends():
                run.write_checkpoint(trainer.state())
            if ends():
                break
    run.close()
    story = continue_story(network.provenance, _describe(config, trainer.step))
    # The plugin asks only for what a network has learnt.
    if config.clicks:
        story.setdefault("prompts", "boxes, clicks and masks")
    network.net.load_state_dict(trainer.weights())
    trained = StoredNetwork(network.net.cpu().eval(), network.quant, story)
    run.write_network(trained)
    return trained


def _build_teacher(config: TrainConfig, processes: Processes) -> Teacher:
    path = config.teacher or lite_medsam_checkpoint()
    if path.is_dir() or "format" in read_tensors(path):
        net = in_floating_point(read_start(path)).net
    else:
        net = build_medsam(path) if config.teacher else build_lite_medsam(path)
    encoder = fast_encoder(net, processes, bf16=config.teacher_bf16)
    encoder = _kept(encoder, f"{path_sha256(path)} {config.teacher_bf16}", config)
    return Teacher(net, processes.device, encoder)


def _kept(encoder: Encoder, name: str, config: TrainConfig) -> Encoder:
    """Keep an encoder's embeddings on disk, if that is asked for."""
    if config.teacher_cache is None:
        return encoder
    return EmbeddingStore(config.teacher_cache, encoder, name, config.teacher_cache_gb)


def _weights_hash(part: nn.Module) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for value in part.state_dict().values():
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()


def _describe(config: TrainConfig, steps: int) -> str:
    """Say in one line what was trained."""
    data = ", ".join(folder.name for folder in config.data)
    weights = f"mask {config.mask_weight:g}, IoU {config.iou_weight:g}"
    weights += f", teacher's answers {config.answer_weight:g}" if config.answer_weight else ""
    clicks = f", {config.clicks} clicks each" if config.clicks else ""
    clicks += f", {config.runs} runs of {config.run_slices} slices" if config.runs else ""
    part = f"{config.trains} in floating point" if config.in_float != "nothing" else config.trains
    return (
        f"{part}: {steps} steps of {config.batch_size} samples of {data}, "
        f"{config.optimizer} {config.learning_rate:g}, {weights}, "
        f"distillation {config.distill_weight:g}{clicks}"
    )
