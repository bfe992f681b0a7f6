"""Whether networks that were taught are better where they were not, and what that costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from napari_medsamq.inference.confidence import dice
from napari_medsamq.inference.crop import tight_box
from napari_medsamq.inference.engine import Engine, OpenVINOEngine, box_points
from training.data.cases import find_cases
from training.data.config import DataConfig
from training.data.dataset import Draw, SliceDataset
from training.evaluation.model_run import ModelMode, score_models
from training.evaluation.protocol import Protocol
from training.evaluation.score_summary import Score, summarise

_SEED = 0
# Boxes on unlabelled images, and how alike (Dice) what is found again has to be.
_ASKED, _LEAST_ALIKE = 40, 0.85


@dataclass(frozen=True)
class Judgement:
    """How models did on cases that did not teach them.

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

    @property
    def difference(self) -> str:
        """What is more after than before, and its interval, in words."""
        ends = "" if self.interval is None else " ({:+.3f} to {:+.3f})".format(*self.interval)
        return f"{self.after - self.before:+.3f}{ends}"

    def __str__(self) -> str:
        return (
            f"DSC {self.before:.3f} before, {self.after:.3f} after, {self.difference}, "
            f"{self.objects} masks of {self.cases} cases"
        )


def load_pair(before: Path, after: Path) -> dict[str, Engine]:
    """Load the models that are compared, by the names that results have."""
    return {"before": OpenVINOEngine(before), "after": OpenVINOEngine(after)}


def judge(before: Path, after: Mapping[Path, Path], limit: int | None = None) -> Judgement:
    """Compare models with the one before, all by the same boxes.

    Parameters
    ----------
    before : Path
        Model directory.
    after : mapping of Path to Path
        Folder of cases -> the model directory that is judged on them; no case is in two of them.
    limit : int, optional
        At most so many objects of each data set of a folder.

    Raises
    ------
    VolumeError
        If nothing could be scored.
    """
    modes = [ModelMode(name, Protocol.slices, zoom=True) for name in ("before", "after")]
    scores: dict[ModelMode, list[Score]] = {mode: [] for mode in modes}
    for cases, model in after.items():
        found = score_models(cases, load_pair(before, model), modes, _SEED, limit).scores
        for mode, own in found.items():
            scores[mode] += own
    summary = summarise(scores, _SEED)
    first, then = (summary["models"][str(mode)]["macro"]["dsc"] for mode in modes)
    ends = summary["differences"][str(modes[1])]["macro"]["dsc"]["ci95"]
    targets = [score.target for score in scores[modes[0]]]
    return Judgement(len({own.case for own in targets}), len(targets), first, then, ends)


def kept_alike(folders: Sequence[Path], memory: str, engines: dict[str, Engine]) -> float:
    """Return how alike masks of before and after are on unlabelled images: mean Dice, 0 to 1.

    Boxes are those around what the first model finds by boxes anywhere, and finds again by them.

    Parameters
    ----------
    folders : sequence of Path
        Of cases.
    memory : str
        The data set of the images, as in "CT/memory".
    engines : dict of str to Engine
        As of `load_pair`.
    """
    sets = {case.data_set for folder in folders for case in find_cases(folder)}
    labelled, data = tuple(sets - {memory}), tuple(folders)
    config = DataConfig(
        data=data, left_out=labelled, unlabelled=True, anywhere=True, flip=0.0, seed=_SEED
    )
    images = SliceDataset(config)
    found = []
    for number in range(_ASKED):
        # Across all of them, as neighbours are alike.
        sample = images[Draw(number, number * len(images) // _ASKED)]
        image, box = sample["image"][None].numpy(), sample["box"].numpy()
        before, after = engines.values()
        embedding = before.encode(image)
        first = before.decode(embedding, *box_points(box))[0][0] > 0
        tight = tight_box(first)
        if tight is None:
            continue
        points = box_points(tight)
        second = before.decode(embedding, *points)[0][0] > 0
        if dice(first, second) >= _LEAST_ALIKE:
            found.append(dice(second, after.decode(after.encode(image), *points)[0][0] > 0))
    return fmean(found) if found else 1.0
