"""How the rows of the ablation are scored, and at which modality they are looked at apart."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from napari_medsamq.diagnostics.model_benchmark import THREADS
from napari_medsamq.inference.engine import OpenVINOEngine
from training.ablation.folder import RowScores
from training.console import progress_bar
from training.data.cases import find_cases
from training.data.dataset import SliceDataset
from training.errors import DataError
from training.evaluation.model_run import Evaluation, list_modes, score_models
from training.evaluation.protocol import Protocol


@dataclass(frozen=True)
class Examination:
    """By which objects rows are scored.

    Attributes
    ----------
    val : Path
        Folder of cases with a reference.
    rarest : str
        The modality that the subset table looks at.
    limit, rare_limit : int or None
    seed : int
    """

    val: Path
    rarest: str
    limit: int | None
    rare_limit: int | None
    seed: int

    def protocol(self) -> dict[str, Any]:
        """Return all that scores depend on besides the model."""
        limits = {"limit": self.limit, "rare_limit": self.rare_limit}
        return {"val": str(self.val.resolve()), "rarest": self.rarest, "seed": self.seed, **limits}

    def score(self, model: Path, *, rare: bool) -> RowScores:
        """Score a model directory, the way the plugin uses it.

        Raises
        ------
        ModelError, VolumeError
            If the model fails, or nothing can be scored.
        """
        engines = {model.name: OpenVINOEngine(model, threads=THREADS)}
        (mode,) = modes = list_modes(engines, Protocol.slices)
        score = partial(score_models, self.val, engines, modes, self.seed)
        with progress_bar("objects") as report:
            found = score(self.limit, report)
        of_rarest = Evaluation({mode: []}, {})
        if rare:
            with progress_bar(f"{self.rarest} objects") as report:
                of_rarest = score(self.rare_limit, report, self.rarest)
        unscored = {**found.failed, **of_rarest.failed}
        return RowScores(found.scores[mode], of_rarest.scores[mode], unscored)


def rarest_modality(data: SliceDataset, val: Path) -> str:
    """Return the modality with the fewest training slices of those that can be scored.

    Raises
    ------
    DataError
        If none of them can be.
    VolumeError
        If there is no case in `val`.
    """
    slices: Counter[str] = Counter()
    for group, own in data.groups.items():
        slices[group.split("/")[0]] += len(own)
    scored = {case.modality for case in find_cases(val)}
    if not scored & set(slices):
        raise DataError(
            f"{val}: has no case of {', '.join(sorted(slices))}, which are trained on. Give the "
            "folder of validation cases of the same modalities."
        )
    return min(sorted(scored & set(slices)), key=lambda modality: slices[modality])
