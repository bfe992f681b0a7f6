"""Whether a network that was taught is better where it was not taught, and what that costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import torch

from napari_medsamq.inference.confidence import dice
from napari_medsamq.inference.engine import Engine, OpenVINOEngine, box_points
from training.data.cases import find_cases
from training.data.config import DataConfig
from training.data.dataset import Draw, SliceDataset
from training.evaluation.model_run import ModelMode, score_models
from training.evaluation.protocol import Protocol
from training.evaluation.score_summary import Score, summarise
from training.learning.losses import mask_stability

_SEED = 0
# Boxes on unlabelled images, and how little masks that are compared may depend on their threshold.
_ASKED, _LEAST_SURE = 40, 0.85


@dataclass(frozen=True)
class Judgement:
    """How two models did on cases that neither was taught.

    Attributes
    ----------
    cases, objects : int
    before, after : float
        Mean DSC, by a box alone as the plugin asks, which zooms in on small ones.
    interval : list of float, or None
        Both ends, of the difference, 95 %, by a bootstrap over the cases; None for a single case.
    """

    cases: int
    objects: int
    before: float
    after: float
    interval: list[float] | None

    @property
    def better(self) -> bool:
        """Whether the whole interval says so."""
        return self.interval is not None and self.interval[0] > 0

    def __str__(self) -> str:
        ends = "" if self.interval is None else " ({:+.3f} to {:+.3f})".format(*self.interval)
        return (
            f"DSC {self.before:.3f} before, {self.after:.3f} after, "
            f"{self.after - self.before:+.3f}{ends}, {self.objects} masks of {self.cases} cases"
        )


def load_pair(before: Path, after: Path) -> dict[str, Engine]:
    """Load the models that are compared, by the names that results have."""
    return {"before": OpenVINOEngine(before), "after": OpenVINOEngine(after)}


def judge(data_dir: Path, engines: dict[str, Engine], limit: int | None = None) -> Judgement:
    """Compare models on cases, of which each data set gives at most `limit` objects.

    Raises
    ------
    VolumeError
        If nothing could be scored.
    """
    modes = [ModelMode(name, Protocol.slices, zoom=True) for name in engines]
    scores = score_models(data_dir, engines, modes, _SEED, limit).scores
    summary = summarise(scores, _SEED)
    before, after = (summary["models"][str(mode)]["macro"]["dsc"] for mode in modes)
    ends = summary["differences"][str(modes[1])]["macro"]["dsc"]["ci95"]
    own: Sequence[Score] = scores[modes[0]]
    cases = {score.target.case for score in own}
    return Judgement(len(cases), len(own), before, after, ends)


def kept_alike(folder: Path, memory: str, engines: dict[str, Engine]) -> float:
    """Return how alike masks of before and after are on unlabelled images: mean Dice, 0 to 1.

    Boxes lie anywhere; those that even the first model has no clear answer to do not count.

    Parameters
    ----------
    folder : Path
        Of cases.
    memory : str
        The data set of the images, as in "CT/memory".
    engines : dict of str to Engine
        As of `load_pair`.
    """
    labelled = tuple({case.data_set for case in find_cases(folder)} - {memory})
    config = DataConfig(
        data=(folder,), left_out=labelled, unlabelled=True, anywhere=True, flip=0.0, seed=_SEED
    )
    images = SliceDataset(config)
    found = []
    for number in range(_ASKED):
        # Across all of them, as neighbours are alike.
        sample = images[Draw(number, number * len(images) // _ASKED)]
        image, points = sample["image"][None].numpy(), box_points(sample["box"])
        masks = [own.decode(own.encode(image), *points)[0] for own in engines.values()]
        if mask_stability(torch.from_numpy(masks[0]))[0] >= _LEAST_SURE:
            found.append(dice(*(mask[0] > 0 for mask in masks)))
    return fmean(found) if found else 0.0
