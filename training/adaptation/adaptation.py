"""The whole way: a part of the cases held back, the rest taught, the result kept or not."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from napari_medsamq.io.medsam_case import read_arrays
from training.adaptation.judgement import Judgement, judge, kept_alike, load_pair
from training.adaptation.personal_model import (
    MEMORY,
    MINE,
    SAMPLE_SLICES,
    Teaching,
    teach,
    write_memory,
    write_personal,
)
from training.data.cases import ARRAYS, NpzCase, read_case, seeded_rng, write_case
from training.errors import DataError
from training.files import write_file

# Of those that teach, and those that are held back; an interval needs two of the latter.
LEAST_TAUGHT, _LEAST_HELD, _HELD_SHARE = 2, 2, 0.3
# Bytes of an embedding in half precision, of each slice in each variant, and of the run's files.
_EMBEDDING_BYTES, _RUN_BYTES = 2**21, 300 * 10**6
_SEED = 0
_JUDGED = 120  # masks at most
_CASES, _HELD, CANDIDATE = "cases", "held", "candidate"
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
    taught : int
        Cases.
    held_back : Judgement
    alike : float
        Mean Dice of masks before and after on unlabelled images and samples.
    """

    taught: int
    held_back: Judgement
    alike: float

    @property
    def kept(self) -> bool:
        """Whether the new model is better on what was held back."""
        return self.held_back.better

    def __str__(self) -> str:
        verdict = "Kept" if self.kept else "Not kept: it is not surely better there"
        return (
            f"Taught by {self.taught} cases. On those that were held back: {self.held_back}. "
            f"Masks of boxes anywhere, the samples' among them, are alike to {self.alike:.3f} "
            f"(Dice). {verdict}."
        )


def hold_back(
    patients: Mapping[str, list[NpzCase]],
) -> tuple[list[NpzCase], list[NpzCase]]:
    """Divide cases by patient into those that teach and those that are held back.

    Raises
    ------
    DataError
        If there are too few.
    """
    count = sum(map(len, patients.values()))
    drawn = [sorted(patients)[i] for i in seeded_rng(_SEED, "held").permutation(len(patients))]
    # Those with many cases teach.
    names = sorted(drawn, key=lambda name: len(patients[name]))
    held: list[NpzCase] = []
    number = 0
    for number, name in enumerate(names):
        if number >= _LEAST_HELD and len(held) >= _HELD_SHARE * count:
            break
        held += patients[name]
    taught = [case for name in names[number:] for case in patients[name]]
    if len(names) < _LEAST_HELD + LEAST_TAUGHT or len(names) - number < LEAST_TAUGHT:
        raise DataError(
            f"There are {count} cases of {len(names)} patients, too few: at least "
            f"{LEAST_TAUGHT} teach, and {_LEAST_HELD} or more are held back to see whether that "
            "helps. Correct and accept more images first."
        )
    return taught, held


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
    taught, held = hold_back(patients)
    slices = sum(len(read_case(case).image) for case in taught)
    images = (2 * slices + SAMPLE_SLICES) * teaching.settings(folder).variants
    _require_room(folder, images * _EMBEDDING_BYTES + _RUN_BYTES)
    fresh = folder / "fresh"
    shutil.rmtree(fresh, ignore_errors=True)
    for part, cases in ((_HELD, held), (_CASES, taught)):
        for case in cases:
            target = fresh / part / modality / MINE / case.path.name
            write_case(target, read_arrays(case.path, *ARRAYS))
    write_memory(taught, fresh / _CASES / modality)
    shutil.rmtree(folder / _HELD, ignore_errors=True)
    # The cases last: where they are, all is.
    for part in (_HELD, _CASES):
        (fresh / part).rename(folder / part)
    fresh.rmdir()


def _require_room(folder: Path, wanted: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise DataError(
            f"{folder}: {wanted / 1e9:.1f} GB are needed there for embeddings and checkpoints, and "
            f"{free / 1e9:.1f} GB are free. Free space, or name a folder on another disk by --work."
        )


def adapt(folder: Path, teaching: Teaching, out: Path | None = None) -> Outcome | None:
    """Teach and judge what `prepare` wrote into a folder.

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
    base, cases = teaching.base, folder / _CASES
    network = teach(cases, folder / "run", teaching)
    if network is None:
        return None
    taught = list(cases.glob(f"*/{MINE}/*.npz"))
    modality = taught[0].parts[-3]
    candidate = folder / CANDIDATE
    shutil.rmtree(candidate, ignore_errors=True)
    write_personal(candidate, base, network)
    engines = load_pair(base, candidate)
    outcome = Outcome(
        len(taught),
        judge(folder / _HELD, engines, _JUDGED),
        kept_alike(cases, f"{modality}/{MEMORY}", engines),
    )
    if outcome.kept and out is not None:
        network.provenance["personal"] = f"{base.name}: {outcome}"
        write_personal(out, base, network)
        card = _CARD.format(name=out.name, base=base.name, outcome=outcome)
        write_file(out / "README.md", card)
    return outcome
