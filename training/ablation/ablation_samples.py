"""What the networks of the ablation are trained on: equally many samples, drawn as a row says."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from training.ablation.rows import AblationConfig, Strategy
from training.config import DataConfig
from training.data.dataset import SliceDataset
from training.data.sampler import BalancedSampler
from training.evaluation.protocol import generator
from training.learning.config import TrainConfig

Groups = Mapping[str, npt.NDArray[np.int64]]


def drawn_by(config: AblationConfig, strategy: Strategy) -> DataConfig:
    """Return the keys of `DataConfig` with the strategy of a row of the subset table."""
    own: dict[str, Any] = {f.name: getattr(config, f.name) for f in fields(DataConfig)}
    counts = config.subset_counts if strategy == "counts" else {}
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
    own: dict[str, Any] = {f.name: getattr(config, f.name) for f in fields(DataConfig)}
    for name in ("micro_batch", "final_rate", "clip", "bf16", "workers"):
        own[name] = getattr(config, name)
    own |= {
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
        drawn = generator(config.seed, "part", name).permutation(own)[:count]
        smaller.groups[name] = np.sort(drawn)
    return smaller
