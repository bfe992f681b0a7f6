"""The modality-balanced subset: which slices an epoch consists of, in which order.

After QMedSAM (arXiv 2412.11186): large modalities are cut so that they do not drown the small ones,
and what is left of them is drawn anew for every epoch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

from training.data.cases import seeded_rng
from training.data.config import DataConfig
from training.data.dataset import Draw
from training.errors import DataError


class BalancedSampler(Sampler[Draw]):
    """Draws the slices of an epoch, and this process's share of them.

    All processes draw the same epoch. A global batch is split among them sample by sample, so that
    the global batches do not depend on how many processes there are. An epoch is cut to whole
    global batches.

    Parameters
    ----------
    groups : mapping of str to (n,) int64
        As `SliceDataset.groups`.
    config : DataConfig
        Its `strategy`, `fraction`, `counts` and `seed`.
    batch_size : int
        Of the global batch: of all processes together.
    rank, world_size : int
        Which process this is, and how many there are.

    Attributes
    ----------
    quotas : dict of str to int
        How many slices each group gives to an epoch.

    Raises
    ------
    DataError
        If `counts` names a group that is not there, or an epoch has no whole batch.
    ValueError
        If the global batch cannot be split evenly among the processes.
    """

    def __init__(
        self,
        groups: Mapping[str, npt.NDArray[np.int64]],
        config: DataConfig,
        *,
        batch_size: int = 1,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if not 0 <= rank < world_size or batch_size < 1 or batch_size % world_size:
            raise ValueError(
                f"a global batch of {batch_size} cannot be split evenly among {world_size} "
                f"processes, of which this is number {rank}"
            )
        self._groups = {name: groups[name] for name in sorted(groups)}
        self._seed = config.seed
        self._rank, self._world_size = rank, world_size
        self.quotas = _quotas({name: len(own) for name, own in self._groups.items()}, config)
        self._length = sum(self.quotas.values()) // batch_size * batch_size
        if self._length == 0:
            raise DataError(
                f"An epoch has {sum(self.quotas.values())} slices, too few for one batch of "
                f"{batch_size}. Add cases, take more of them (`strategy`), or a smaller batch."
            )
        self._batch_size = batch_size
        self.set_epoch(0)

    def set_epoch(self, epoch: int, skip_batches: int = 0) -> None:
        """Choose the epoch to be drawn, and how many of its global batches were done before."""
        self._epoch = epoch
        self._skip = min(skip_batches * self._batch_size, self._length)

    def __len__(self) -> int:
        return (self._length - self._skip) // self._world_size

    def __iter__(self) -> Iterator[Draw]:
        indices, repeats = self._draw()
        own = slice(self._skip + self._rank, self._length, self._world_size)
        for index, repeat in zip(indices[own].tolist(), repeats[own].tolist(), strict=True):
            yield Draw(self._epoch, index, repeat)

    def table(self) -> str:
        """Return what each group contributes to an epoch, as lines of text."""
        total = sum(self.quotas.values())
        width = max(len(name) for name in (*self._groups, "group"))
        lines = [f"{'group':{width}}   slices  per epoch  of the epoch  of its own"]
        for name, quota in self.quotas.items():
            there = len(self._groups[name])
            lines.append(
                f"{name:{width}} {there:8d} {quota:10d} {quota / total:13.1%} {quota / there:11.1%}"
            )
        there = sum(map(len, self._groups.values()))
        lines.append(f"{'all':{width}} {there:8d} {total:10d} {1:13.1%} {total / there:11.1%}")
        return "\n".join(lines)

    def _draw(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the slices of the whole epoch in their order, and for which time each comes."""
        indices, repeats = [], []
        for name, quota in self.quotas.items():
            own = self._groups[name]
            order = seeded_rng(self._seed, "subset", self._epoch, name).permutation(own)
            indices.append(np.resize(order, quota))
            repeats.append(np.arange(quota) // len(own))
        order = seeded_rng(self._seed, "order", self._epoch).permutation(sum(self.quotas.values()))
        return np.concatenate(indices)[order], np.concatenate(repeats)[order]


def _quotas(sizes: Mapping[str, int], config: DataConfig) -> dict[str, int]:
    smallest = min(sizes.values())
    if config.strategy == "min":
        return dict.fromkeys(sizes, smallest)
    if config.strategy == "fraction":
        return {name: max(int(n * config.fraction), smallest) for name, n in sizes.items()}
    if config.strategy == "all":
        return dict(sizes)
    if config.strategy == "power":
        weights = {name: n**config.power for name, n in sizes.items()}
        each = config.samples_per_epoch / sum(weights.values())
        return {name: max(1, round(each * weight)) for name, weight in weights.items()}
    unknown = sorted(set(config.counts) - set(sizes))
    if unknown:
        raise DataError(
            f"`counts` asks for {', '.join(unknown)}, of which there is no slice; there are "
            f"{', '.join(sizes)}. Correct `counts`, or add the folder to `data`."
        )
    return {name: config.counts.get(name, 0) for name in sizes}
