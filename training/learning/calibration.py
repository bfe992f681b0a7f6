"""Post-training quantisation: the ranges of a network's activations, measured on samples."""

from __future__ import annotations

import itertools

import torch
from pydantic import NonNegativeInt, PositiveInt

from napari_medsamq.errors import ModelError
from training.checkpoints.network_file import (
    StoredNetwork,
    continue_story,
    encoder_alone,
)
from training.console import progress_bar
from training.data.cases import seeded_rng
from training.data.config import DataConfig
from training.data.dataset import SliceDataset, TrainingSample
from training.data.sampler import BalancedSampler
from training.errors import ConfigError
from training.learning.click_rounds import correct
from training.learning.processes import Processes
from training.learning.teachers import fast_encoder
from training.quantization.quantized_network import QuantConfig, calibrate, quantize


class CalibrationConfig(DataConfig, QuantConfig):
    """How a float network is quantised without training: keys of both, and on what.

    Attributes
    ----------
    samples : int
        How many samples of the data, drawn as for an epoch, the activations are measured on.
    correct_bias : bool
        As in `calibrate`.
    clicks : int
        By how many clicks the mask of each sample is corrected while activations are measured.
    bf16 : bool
        Compute in bfloat16 where PyTorch's autocast does.
    """

    samples: PositiveInt = 32
    correct_bias: bool = True
    clicks: NonNegativeInt = 0
    bf16: bool = False

    def quant(self) -> QuantConfig:
        """Return the keys that say how layers are quantised."""
        return QuantConfig(**self.model_dump(include=set(QuantConfig.model_fields)))


def draw_samples(data: SliceDataset, config: DataConfig, count: int) -> list[TrainingSample]:
    """Draw so many samples as an epoch begins with, to measure activations on."""
    return [data[draw] for draw in itertools.islice(BalancedSampler(data.groups, config), count)]


def quantize_network(config: CalibrationConfig, network: StoredNetwork) -> StoredNetwork:
    """Quantise a float network, in place, and calibrate it on samples.

    Of one whose encoder is quantised already, in the same way, that stays as it is.

    Raises
    ------
    ConfigError, DataError, ModelError
        If the network is quantised already, the configuration does not fit it, or a file cannot be
        read.
    """
    wanted = config.quant()
    encoded = network.quant is not None
    if network.quant not in (None, encoder_alone(wanted, network.net)) or (
        encoded and wanted.parts != "both"
    ):
        raise ModelError(
            "A float network is wanted, or one whose encoder alone is quantised, by the same keys; "
            "this one is not. Give network.pth of a run that began with `python -m "
            "training.student` or had `in_float: decoder`, or leave --checkpoint out."
        )
    with progress_bar("cases") as report:
        data = SliceDataset(config, report)
    samples = draw_samples(data, config, config.samples)
    try:
        net = quantize(network.net, wanted)
    except ValueError as error:
        raise ConfigError(f"The configuration does not fit: {error}. Correct it.") from error

    # An encoder that stays as it is may run as fast as it can.
    alone = Processes(0, 1, torch.device("cpu"))
    encode = fast_encoder(net, alone) if encoded else net.image_encoder

    def run(sample: TrainingSample) -> None:
        embedding = encode(sample["image"][None])
        place = (sample["data_set"], sample["case"], sample["axis"], sample["slice"])
        rng = seeded_rng(config.seed, "clicks", *place)
        correct(net, embedding, sample["box"][None], sample["mask"][None], config.clicks, rng)

    with (
        progress_bar("runs") as report,
        torch.autocast("cpu", torch.bfloat16, enabled=config.bf16),
    ):
        part = net.mask_decoder if encoded else net
        calibrate(part, run, samples, correct_bias=config.correct_bias, report=report)
    names = ", ".join(folder.name for folder in config.data)
    what = " of the decoder" if encoded else ""
    story = f"post-training quantisation{what} on {len(samples)} samples of {names}"
    return StoredNetwork(net, wanted, continue_story(network.provenance, story))
