"""Post-training quantisation of a float network: a baseline, and where training starts.

python -m training.quantize --out NETWORK.pth data=[CASES] [key=value ...]
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import torch
import typer

from napari_medsamq.errors import ModelError
from training.checkpoint import lite_medsam_checkpoint
from training.checkpoints.network_file import (
    StoredNetwork,
    continue_story,
    encoder_alone,
    read_network,
    write_network,
)
from training.config import DataConfig, load_config, require
from training.console import error_message, progress_bar
from training.data.dataset import Sample, SliceDataset
from training.data.sampler import BalancedSampler
from training.errors import ConfigError
from training.evaluation.protocol import generator
from training.learning.click_rounds import correct
from training.quantization.layer_map import QuantConfig, calibrate, quantize


@dataclass(frozen=True, kw_only=True)
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

    samples: int = 32
    correct_bias: bool = True
    clicks: int = 0
    bf16: bool = False

    def __post_init__(self) -> None:
        DataConfig.__post_init__(self)
        QuantConfig.__post_init__(self)
        require(self.samples >= 1, f"`samples` has to be 1 or more, not {self.samples}")
        require(self.clicks >= 0, f"`clicks` has to be 0 or more, not {self.clicks}")

    def quant(self) -> QuantConfig:
        """Return the keys that say how layers are quantised."""
        return QuantConfig(**{f.name: getattr(self, f.name) for f in fields(QuantConfig)})


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
            "training.student` or had `float_decoder: true`, or leave --checkpoint out."
        )
    with progress_bar("cases") as report:
        data = SliceDataset(config, report)
    draws = itertools.islice(BalancedSampler(data.groups, config), config.samples)
    samples = [data[draw] for draw in draws]
    try:
        net = quantize(network.net, wanted)
    except ValueError as error:
        raise ConfigError(f"The configuration does not fit: {error}. Correct it.") from error

    def run(sample: Sample) -> None:
        embedding = net.image_encoder(sample["image"][None])
        place = (sample["data_set"], sample["case"], sample["axis"], sample["slice"])
        rng = generator(config.seed, "clicks", *place)
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
