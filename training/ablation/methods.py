"""How the networks of the ablation are made: by the same steps as those that are shipped."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Literal

import openvino as ov
import torch

from napari_medsamq.inference.model_spec import FLOAT_BITS
from training.ablation.ablation_samples import drawn_by, part_of, train_config
from training.ablation.folder import AblationFolder
from training.ablation.reduce import (
    BLOCKS,
    count_parameters,
    drop_blocks,
    match_latency,
    prune_channels,
    time_ratio,
)
from training.ablation.rows import AblationConfig, Row
from training.checkpoints.network_file import StoredNetwork, read_network
from training.console import progress_bar
from training.data.dataset import Sample, SliceDataset
from training.data.sampler import BalancedSampler
from training.export import convert_decoder, convert_encoder
from training.learning.config import TrainConfig
from training.learning.teachers import Encoder, Teacher, openvino_encoder, torch_encoder
from training.learning.trainer import Trainer
from training.models.sam import LiteMedSAM
from training.processes import Processes
from training.quantization.layer_map import calibrate, fold_batch_norm, quantize
from training.train import fast_encoder

# Channels are pruned in steps of a 16th; the smallest share that is left is two of them.
PRUNING_STEPS = 16
MOST_PRUNING = 14
LATENCY_ROUNDS = 5


@dataclass(frozen=True)
class Made:
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


class Workshop:
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

    def make(self, row: Row) -> None:
        """Make the network of a row, and write its model directory.

        Raises
        ------
        DataError, ModelError, SaveError
            If the data do not serve the row, or a file cannot be read or written.
        ValueError
            If a configuration does not fit the network.
        """
        methods: dict[str, Callable[[Row], Made]] = {
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
            provenance["quantisation"] = json.dumps(asdict(made.quantized.quant))
            self._folder.write_network(row.name, replace(made.quantized, provenance=provenance))
        self._folder.write_model(row.name, made.encoder, made.decoder, made.bits, provenance)

    def _float(self, row: Row) -> Made:
        net = self._build()
        return Made(convert_encoder(net), convert_decoder(net), FLOAT_BITS, "none")

    def _ptq(self, row: Row) -> Made:
        config, device = self._config, self._processes.device
        draws = itertools.islice(
            BalancedSampler(self._data.groups, config), config.calibration_samples
        )
        samples = [self._data[draw] for draw in draws]
        net = quantize(self._build(), row.quant).to(device)

        def run(sample: Sample) -> None:
            net(sample["image"][None].to(device), sample["box"][None].to(device))

        with (
            progress_bar("calibration") as report,
            torch.autocast(device.type, torch.bfloat16, enabled=config.bf16),
        ):
            calibrate(net, run, samples, correct_bias=config.correct_bias, report=report)
        story = f"post-training quantisation on {len(samples)} samples"
        return self._quantized(StoredNetwork(net.cpu(), row.quant, {}), story)

    def _qat(self, row: Row) -> Made:
        network = self._start(row)
        config = self._whole("both", self._config.qat_rate)
        story = self._train(config, network.net, self._data, self._teacher, None)
        return self._quantized(network, f"quantisation-aware, from {row.start}; {story}")

    def _decoder(self, row: Row) -> Made:
        network = self._start(row)
        encoder = self._folder.read_encoder(str(row.start))
        data = part_of(self._data, self._config) if row.part else self._data
        rate, drawing = self._config.subset_rate, drawn_by(self._config, row.strategy)
        config = train_config(self._config, data.groups, "decoder", rate, drawing)
        story = self._train(config, network.net, data, None, self._frozen(network.net, encoder))
        drawn = ", ".join(f"{name} {count}" for name, count in config.counts.items())
        slices = sum(len(own) for own in data.groups.values())
        story = f"decoder, from {row.start}; {story} of {slices} slices: {drawn}"
        return Made(encoder, convert_decoder(network.net), network.quant.bits, story)

    def _pruned(self, row: Row) -> Made:
        def reduce(strength: int) -> LiteMedSAM:
            net = self._build()
            prune_channels(net.image_encoder, strength / PRUNING_STEPS)
            return net

        return self._student(row, reduce, MOST_PRUNING, "{}/16 of hidden channels and heads pruned")

    def _shallow(self, row: Row) -> Made:
        def reduce(strength: int) -> LiteMedSAM:
            net = self._build()
            fold_batch_norm(net)
            drop_blocks(net.image_encoder, strength)  # type: ignore[arg-type]
            return net

        return self._student(row, reduce, len(BLOCKS), "{} of the encoder's 12 blocks dropped")

    def _student(self, row: Row, reduce: Callable[[int], LiteMedSAM], most: int, what: str) -> Made:
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
        return Made(convert_encoder(net), convert_decoder(net), FLOAT_BITS, story)

    def _whole(self, trains: Literal["encoder", "both"], rate: float) -> TrainConfig:
        return train_config(self._config, self._data.groups, trains, rate, self._config)

    def _start(self, row: Row) -> StoredNetwork:
        return read_network(self._folder.network(str(row.start)))

    def _quantized(self, network: StoredNetwork, story: str) -> Made:
        net, bits = network.net, network.quant.bits
        return Made(convert_encoder(net), convert_decoder(net), bits, story, network)

    def _frozen(self, net: LiteMedSAM, encoder: ov.Model) -> Encoder:
        device = self._processes.device
        if device.type == "cpu":
            return openvino_encoder(encoder)
        return torch_encoder(net.image_encoder.eval().to(device))

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
