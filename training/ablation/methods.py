"""How the networks of the ablation are made: by the same steps as those that are shipped."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt
import openvino as ov
import torch

from napari_medsamq.inference.model_spec import FLOAT_BITS
from training.ablation.folder import AblationFolder
from training.ablation.reduce import (
    BLOCKS,
    count_parameters,
    drop_blocks,
    match_latency,
    prune_channels,
    time_ratio,
)
from training.ablation.rows import AblationConfig, AblationRow, Strategy
from training.checkpoints.network_file import StoredNetwork, read_network, write_network
from training.console import progress_bar
from training.conversion.model_directory import write_model
from training.conversion.to_openvino import convert_decoder, convert_encoder
from training.data.cases import seeded_rng
from training.data.config import DataConfig
from training.data.dataset import SliceDataset, TrainingSample
from training.data.sampler import BalancedSampler
from training.learning.calibration import draw_samples
from training.learning.config import TrainConfig
from training.learning.processes import Processes
from training.learning.teachers import (
    Encoder,
    Teacher,
    fast_encoder,
)
from training.learning.trainer import Trainer
from training.models.sam import LiteMedSAM
from training.quantization.quantized_network import calibrate, fold_batch_norm, quantize

# Channels are pruned in steps of a 16th; the smallest share that is left is two of them.
PRUNING_STEPS = 16
MOST_PRUNING = 14
LATENCY_ROUNDS = 5


@dataclass(frozen=True)
class BuiltNetwork:
    """A network of a row.

    Attributes
    ----------
    encoder, decoder : openvino.Model
    bits : int
    story : str
        What was done, in one line.
    quantized : StoredNetwork or None
        The network itself, where others may start from it.
    """

    encoder: ov.Model
    decoder: ov.Model
    bits: int
    story: str
    quantized: StoredNetwork | None = None


class NetworkFactory:
    """Makes the networks of rows.

    Parameters
    ----------
    config : AblationConfig
    folder : AblationFolder
        Holds what other rows start from.
    data : SliceDataset
        Of `config`.
    build : callable
        Builds the float network, with its weights and in evaluation mode.
    source : mapping of str to str
        Where the float weights come from, as `model.json` has it.
    processes : Processes
        This one, alone.
    """

    def __init__(
        self,
        config: AblationConfig,
        folder: AblationFolder,
        data: SliceDataset,
        build: Callable[[], LiteMedSAM],
        source: Mapping[str, str],
        processes: Processes,
    ) -> None:
        self._config, self._folder, self._data = config, folder, data
        self._build, self._source, self._processes = build, source, processes

    def make(self, row: AblationRow) -> None:
        """Make the network of a row, and write its model directory.

        Raises
        ------
        DataError, ModelError, SaveError
            If the data do not serve the row, or a file cannot be read or written.
        ValueError
            If a configuration does not fit the network.
        """
        methods: dict[str, Callable[[AblationRow], BuiltNetwork]] = {
            "float": self._float,
            "ptq": self._ptq,
            "qat": self._qat,
            "decoder": self._decoder,
            "pruned": self._pruned,
            "shallow": self._shallow,
        }
        made = methods[row.method](row)
        provenance = {**self._source, "training": made.story}
        if made.quantized is not None:
            provenance["quantisation"] = json.dumps(made.quantized.quant.model_dump())
            network = replace(made.quantized, provenance=provenance)
            write_network(self._folder.network(row.name), network)
        directory, parts = self._folder.model(row.name), (made.encoder, made.decoder)
        write_model(directory, *parts, name=row.name, bits=made.bits, provenance=provenance)

    def _float(self, row: AblationRow) -> BuiltNetwork:
        net = self._build()
        return BuiltNetwork(convert_encoder(net), convert_decoder(net), FLOAT_BITS, "none")

    def _ptq(self, row: AblationRow) -> BuiltNetwork:
        config, device = self._config, self._processes.device
        samples = draw_samples(self._data, config, config.calibration_samples)
        net = quantize(self._build(), row.quant).to(device)

        def run(sample: TrainingSample) -> None:
            net(sample["image"][None].to(device), sample["box"][None].to(device))

        with (
            progress_bar("calibration") as report,
            torch.autocast(device.type, torch.bfloat16, enabled=config.bf16),
        ):
            calibrate(net, run, samples, correct_bias=config.correct_bias, report=report)
        story = f"post-training quantisation on {len(samples)} samples"
        return self._quantized(StoredNetwork(net.cpu(), row.quant, {}), story)

    def _qat(self, row: AblationRow) -> BuiltNetwork:
        network = self._start(row)
        config = self._whole("both", self._config.qat_rate)
        story = self._train(config, network.net, self._data, self._teacher, None)
        return self._quantized(network, f"quantisation-aware, from {row.start}; {story}")

    def _decoder(self, row: AblationRow) -> BuiltNetwork:
        network = self._start(row)
        encoder = self._folder.read_encoder(str(row.start))
        data = part_of(self._data, self._config) if row.part else self._data
        rate, drawing = self._config.subset_rate, drawn_by(self._config, row.strategy)
        config = train_config(self._config, data.groups, "decoder", rate, drawing)
        frozen = fast_encoder(network.net, self._processes, encoder)
        story = self._train(config, network.net, data, None, frozen)
        drawn = ", ".join(f"{name} {count}" for name, count in config.counts.items())
        slices = sum(len(own) for own in data.groups.values())
        story = f"decoder, from {row.start}; {story} of {slices} slices: {drawn}"
        return BuiltNetwork(encoder, convert_decoder(network.net), network.quant.bits, story)

    def _pruned(self, row: AblationRow) -> BuiltNetwork:
        def reduce(strength: int) -> LiteMedSAM:
            net = self._build()
            prune_channels(net.image_encoder, strength / PRUNING_STEPS)
            return net

        return self._student(row, reduce, MOST_PRUNING, "{}/16 of hidden channels and heads pruned")

    def _shallow(self, row: AblationRow) -> BuiltNetwork:
        def reduce(strength: int) -> LiteMedSAM:
            net = self._build()
            fold_batch_norm(net)
            drop_blocks(net.image_encoder, strength)  # type: ignore[arg-type]
            return net

        return self._student(row, reduce, len(BLOCKS), "{} of the encoder's 12 blocks dropped")

    def _student(
        self, row: AblationRow, reduce: Callable[[int], LiteMedSAM], most: int, what: str
    ) -> BuiltNetwork:
        """Reduce the float network to the latency of the row's start, then distil."""
        target = self._folder.read_encoder(str(row.start))

        def ratio(strength: int) -> float:
            return time_ratio(convert_encoder(reduce(strength)), target, LATENCY_ROUNDS)

        strength = match_latency(ratio, most)
        net = reduce(strength)
        size = count_parameters(net.image_encoder) / 1e6
        config = self._whole("encoder", self._config.student_rate)
        story = self._train(config, net, self._data, self._teacher, None)
        story = f"{what.format(strength)}, {size:.2f} M parameters left in it; {story}"
        return BuiltNetwork(convert_encoder(net), convert_decoder(net), FLOAT_BITS, story)

    def _whole(self, trains: Literal["encoder", "both"], rate: float) -> TrainConfig:
        return train_config(self._config, self._data.groups, trains, rate, self._config)

    def _start(self, row: AblationRow) -> StoredNetwork:
        return read_network(self._folder.network(str(row.start)))

    def _quantized(self, network: StoredNetwork, story: str) -> BuiltNetwork:
        net, bits = network.net, network.quant.bits
        return BuiltNetwork(convert_encoder(net), convert_decoder(net), bits, story, network)

    @cached_property
    def _teacher(self) -> Teacher:
        net = self._build()
        return Teacher(net, self._processes.device, fast_encoder(net, self._processes))

    def _train(
        self,
        config: TrainConfig,
        net: LiteMedSAM,
        data: SliceDataset,
        teacher: Teacher | None,
        frozen: Encoder | None,
    ) -> str:
        trainer = Trainer(config, net, data, teacher, frozen, self._processes)
        with progress_bar("steps") as report:
            for _ in trainer.run():
                report(trainer.step, trainer.steps)
        net.cpu()
        return f"{trainer.steps} steps of {config.batch_size} samples"


Groups = Mapping[str, npt.NDArray[np.int64]]


def drawn_by(config: AblationConfig, strategy: Strategy) -> DataConfig:
    """Return the keys of `DataConfig` with the strategy of a row of the subset table."""
    counts = config.subset_counts if strategy == "counts" else {}
    own = config.model_dump(include=set(DataConfig.model_fields))
    return DataConfig(**{**own, "strategy": strategy, "counts": counts})


def train_config(
    config: AblationConfig,
    groups: Groups,
    trains: Literal["encoder", "decoder", "both"],
    rate: float,
    drawing: DataConfig,
) -> TrainConfig:
    """Configure one epoch of as many samples as a row is given.

    Parameters
    ----------
    config : AblationConfig
    groups : mapping of str to (n,) int64
        As `SliceDataset.groups`.
    trains, rate
        As `trains` and `learning_rate` of `TrainConfig`.
    drawing : DataConfig
        Its `strategy` says what shares of the samples the groups have.
    """
    decoder = trains == "decoder"
    samples = config.subset_samples if decoder else config.training_samples
    kept = {*DataConfig.model_fields, "micro_batch", "final_rate", "clip", "bf16", "workers"}
    own = config.model_dump(include=kept) | {
        "strategy": "counts",
        "counts": scaled_quotas(groups, drawing, samples),
        "trains": trains,
        "epochs": 1,
        "optimizer": "adamw",
        "learning_rate": rate,
        "batch_size": config.subset_batch if decoder else config.batch_size,
        "frozen": config.frozen if trains == "both" else (),
        "mask_weight": 1.0 if decoder else config.mask_weight,
        "iou_weight": 0.0 if trains == "encoder" else config.iou_weight,
        "distill_weight": 0.0 if decoder else config.distill_weight,
    }
    return TrainConfig(**own)


def scaled_quotas(groups: Groups, config: DataConfig, samples: int) -> dict[str, int]:
    """Share a number of samples among groups as a strategy does its own number.

    Parameters
    ----------
    groups : mapping of str to (n,) int64
        As `SliceDataset.groups`.
    config : DataConfig
        Its `strategy`, `fraction` and `counts`.
    samples : int

    Returns
    -------
    quotas : dict of str to int
        Their sum is `samples`; largest remainders are rounded up.
    """
    quotas = BalancedSampler(groups, config).quotas
    exact = {name: samples * quota / sum(quotas.values()) for name, quota in quotas.items()}
    shares = {name: int(value) for name, value in exact.items()}
    by_remainder = sorted(exact, key=lambda name: shares[name] - exact[name])
    for name in by_remainder[: samples - sum(shares.values())]:
        shares[name] += 1
    return shares


def part_of(data: SliceDataset, config: AblationConfig) -> SliceDataset:
    """Return the same data with `config.subset_part` of each group's slices, at least one."""
    smaller = copy.copy(data)
    smaller.groups = {}
    for name, own in data.groups.items():
        count = max(1, round(config.subset_part * len(own)))
        drawn = seeded_rng(config.seed, "part", name).permutation(own)[:count]
        smaller.groups[name] = np.sort(drawn)
    return smaller
