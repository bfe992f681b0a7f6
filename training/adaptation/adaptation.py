"""The whole way: each part of the cases judged by what the others taught; then all teach."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from training.adaptation.judgement import Judgement, judge, kept_alike, load_pair
from training.adaptation.personal_model import (
    MEMORY,
    SAMPLE_SLICES,
    Teaching,
    teach,
    write_cases,
    write_personal,
    write_samples,
)
from training.data.cases import NpzCase, read_case, seeded_rng
from training.errors import DataError
from training.files import write_file

# Each part is judged by a network that it did not teach; a last network is taught by all.
_PARTS, _LEAST_OF_PART = 2, 2
TRAININGS = _PARTS + 1
# Bytes of an embedding in half precision, of each slice in each variant, and of the run's files.
_EMBEDDING_BYTES, _RUN_BYTES = 2**21, 300 * 10**6
_SEED = 0
_JUDGED = 120  # masks at most, of all parts
_CASES, _SAMPLES, CANDIDATE = "cases", "samples", "candidate"
_CARD = """# {name}
{base}, taught by its user's corrected cases: a personal model, not for release.
Decoder and prompt encoder have learnt; encoder and carrier are those of {base}.

{outcome}
"""


@dataclass(frozen=True)
class Outcome:
    """What came of an adaptation.

    Attributes
    ----------
    judged : Judgement
        By cross-validation: on each case, of a network that it did not teach.
    alike : float or None
        Mean Dice of masks before and after on unlabelled images and samples, of the network that
        all cases have taught; None where there is none, as it would not be kept.
    """

    judged: Judgement
    alike: float | None

    @property
    def kept(self) -> bool:
        """Whether what was taught in this way is better on cases that did not teach it."""
        return self.judged.better

    def __str__(self) -> str:
        verdict = (
            "Not kept: it is not surely better there."
            if self.alike is None
            else "Kept, taught by all of them. Masks of boxes anywhere, the samples' among them, "
            f"are alike to {self.alike:.3f} (Dice)."
        )
        return f"On cases that did not teach (cross-validation): {self.judged}. {verdict}"


def deal(patients: Mapping[str, list[NpzCase]]) -> list[list[NpzCase]]:
    """Deal cases out by patient into parts of about equal size.

    Raises
    ------
    DataError
        If there are too few.
    """
    least = _PARTS * _LEAST_OF_PART
    if len(patients) < least:
        raise DataError(
            f"There are {sum(map(len, patients.values()))} cases of {len(patients)} patients, too "
            f"few: {least} or more are needed, as some teach and others show whether that helps. "
            "Correct and accept more images first."
        )
    drawn = [sorted(patients)[i] for i in seeded_rng(_SEED, "parts").permutation(len(patients))]
    parts: list[list[NpzCase]] = [[] for _ in range(_PARTS)]
    for name in sorted(drawn, key=lambda name: -len(patients[name])):
        min(parts, key=len).extend(patients[name])
    return parts


def prepare(
    folder: Path, patients: Mapping[str, list[NpzCase]], modality: str, teaching: Teaching
) -> None:
    """Write cases and memory into a folder, unless an adaptation was begun there.

    Raises
    ------
    DataError, SaveError
        If there are too few cases, or too little room on the disk for what comes.
    """
    if (folder / _CASES).exists():
        return
    parts = deal(patients)
    slices = sum(len(read_case(case).image) for part in parts for case in part)
    images = (2 * slices + SAMPLE_SLICES) * teaching.settings([folder]).variants
    _require_room(folder, images * _EMBEDDING_BYTES + _RUN_BYTES)
    fresh = folder / "fresh"
    shutil.rmtree(fresh, ignore_errors=True)
    for number, part in enumerate(parts):
        write_cases(part, fresh / str(number) / modality)
    write_samples(fresh / _SAMPLES / modality)
    # Where the cases are, all is.
    fresh.rename(folder / _CASES)


def _require_room(folder: Path, wanted: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise DataError(
            f"{folder}: {wanted / 1e9:.1f} GB are needed there for embeddings and checkpoints, and "
            f"{free / 1e9:.1f} GB are free. Free space, or name a folder on another disk by --work."
        )


def adapt(folder: Path, teaching: Teaching, out: Path | None = None) -> Outcome | None:
    """Judge by cross-validation what `prepare` wrote into a folder, and teach by all of it.

    Parameters
    ----------
    folder : Path
        Gets all that is made on the way.
    teaching : Teaching
    out : Path, optional
        Model directory that is written where the new model is better; new.

    Returns
    -------
    outcome : Outcome or None
        None where it was asked to end before; it goes on from there.

    Raises
    ------
    ConfigError, ModelError, SaveError
        If it was begun in another way, or something cannot be written; nothing is replaced then.
    """
    base, lesson, models = teaching.base, folder / "lesson", {}
    *parts, samples = cases = sorted((folder / _CASES).iterdir())
    for part in parts:
        models[part] = model = folder / "without" / part.name
        if not model.exists():
            network = teach([own for own in cases if own != part], lesson / part.name, teaching)
            if network is None:
                return None
            write_personal(model, base, network)
            shutil.rmtree(lesson)
    judged = judge(base, models, _JUDGED // _PARTS)
    if not judged.better:
        return Outcome(judged, None)
    network = teach(cases, lesson / "all", teaching)
    if network is None:
        return None
    candidate = folder / CANDIDATE
    shutil.rmtree(candidate, ignore_errors=True)
    write_personal(candidate, base, network)
    memory = f"{next(samples.iterdir()).name}/{MEMORY}"
    outcome = Outcome(judged, kept_alike(cases, memory, load_pair(base, candidate)))
    if out is not None:
        network.provenance["personal"] = f"{base.name}: {outcome}"
        write_personal(out, base, network)
        card = _CARD.format(name=out.name, base=base.name, outcome=outcome)
        write_file(out / "README.md", card)
    return outcome
