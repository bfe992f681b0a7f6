"""A network trained on by one recipe, as long as there is time, and judged on what it never saw.

For each fold, a network of its own learns without the fold's sources, for a quarter of the time of
the first one, which learns from all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import torch

from training.checkpoints.network_file import StoredNetwork
from training.data.cases import find_cases, seeded_rng
from training.data.config import DataConfig
from training.data.dataset import Draw, SliceDataset, TrainingSample
from training.data.sources import fold_sets, read_folds, read_sources
from training.learning.config import TrainConfig
from training.learning.processes import Processes
from training.models.sam import LiteMedSAM

_FOLD_SHARE = 0.25
# Objects of each data set that a fold is judged by, by boxes that are 0 to 5 frame pixels too wide.
_OBJECTS, _JITTER, _SEED = 8, 5, 12


@dataclass(frozen=True)
class RecipeStage:
    """One run of the recipe.

    Attributes
    ----------
    name : str
    fold : int or None
        Which fold it does without.
    minutes : float
    """

    name: str
    fold: int | None
    minutes: float

    def config(self, config: TrainConfig) -> TrainConfig:
        """Return the recipe's configuration for this stage."""
        left_out = () if self.fold is None else fold_sets(self.fold)
        return config.model_copy(update={"minutes": self.minutes, "left_out": left_out})


def list_stages(minutes: float, folds: Sequence[int], *, whole: bool = True) -> list[RecipeStage]:
    """Divide the time among the network of all data, if it is wanted, and one for each fold."""
    parts: list[tuple[str, int | None, float]] = [("all", None, 1.0)] if whole else []
    parts += [(f"fold-{number}", number, _FOLD_SHARE) for number in folds]
    total = sum(share for *_, share in parts)
    return [RecipeStage(name, fold, minutes * share / total) for name, fold, share in parts]


def known_folds(folders: Sequence[Path]) -> list[int]:
    """Return the folds of which folders of cases hold something with masks."""
    there = {case.data_set for folder in folders for case in find_cases(folder)}
    return [number for number in range(len(read_folds())) if there & set(_judged(number))]


def score_fold(
    network: StoredNetwork, config: TrainConfig, fold: int, processes: Processes
) -> dict[str, float]:
    """Return the mean DSC of a network on each data set that a fold left out.

    Of whole slices in the frame, in floating point: to compare networks, not to be published.

    Parameters
    ----------
    network : StoredNetwork
    config : TrainConfig
        Its `data` hold the fold's sets.
    fold : int
    processes : Processes
    """
    data = SliceDataset(_judging(config, fold))
    net = network.net.eval().to(processes.device)
    found: dict[str, float] = {}
    with torch.no_grad():
        for name in data.groups:
            order = seeded_rng(_SEED, name).permutation(data.groups[name])
            samples = [data[Draw(0, int(item))] for item in order[:_OBJECTS]]
            found[name] = fmean(_dsc(net, sample, processes.device) for sample in samples)
    network.net.cpu()
    return found


def _judged(fold: int) -> list[str]:
    sets = read_sources().sets
    return [name for name in fold_sets(fold) if sets[name].use == "masks"]


def _judging(config: TrainConfig, fold: int) -> DataConfig:
    judged = _judged(fold)
    folders = [
        folder
        for folder in config.data
        if any(case.data_set in judged for case in find_cases(folder))
    ]
    others = {case.data_set for folder in folders for case in find_cases(folder)} - set(judged)
    return DataConfig(
        data=tuple(folders),
        left_out=tuple(sorted(others)),
        balance="data_set",
        box_jitter=_JITTER,
        flip=0.0,
        seed=_SEED,
    )


def _dsc(net: LiteMedSAM, sample: TrainingSample, device: torch.device) -> float:
    image, box, mask = (sample[key][None].to(device) for key in ("image", "box", "mask"))
    found, wanted = net(image, box)[0] > 0, mask > 0
    return float(2 * (found & wanted).sum() / (found.sum() + wanted.sum()).clamp(min=1))
