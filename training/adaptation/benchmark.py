"""What adaptation brings, tested as users would have it: a few cases teach, other patients test."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from statistics import fmean

import yaml

from napari_medsamq.io.medsam_case import read_arrays
from training.adaptation.adaptation import CANDIDATE, adapt, prepare
from training.adaptation.judgement import Judgement, judge
from training.adaptation.personal_model import Teaching
from training.console import markdown_table
from training.data.cases import ARRAYS, NpzCase, find_cases, seeded_rng, write_case
from training.errors import DataError
from training.files import write_file

_PATIENTS = Path(__file__).parents[1] / "configs" / "patients.yaml"
_SEED = 0
_TAUGHT = 10
_TESTED, _OF_VAL = 120, 6  # masks of a data set at most
_HEAD = (
    *("data set", "taught", "by cross-validation (95 %)", "kept", "tested", "DSC before", "after"),
    *("difference (95 %)", "core minutes"),
)


@dataclass(frozen=True)
class Row:
    """What came of a data set.

    Attributes
    ----------
    data_set : str
    judged : Judgement
        On the cases that teach, as in `Outcome`.
    test : Judgement or None
        On cases of other patients; None where the new model is not kept.
    val : Judgement or None
        On all that the shipped network is judged by, if that was asked for.
    alike : float or None
        As in `Outcome`.
    minutes : float
        Of one core.
    """

    data_set: str
    judged: Judgement
    test: Judgement | None
    val: Judgement | None
    alike: float | None
    minutes: float

    @property
    def gain(self) -> float:
        """What the user has more: nothing where the new model is not kept."""
        return 0.0 if self.test is None else self.test.after - self.test.before

    @classmethod
    def of_text(cls, text: str) -> Row:
        """Read what `json.dumps(asdict(row))` wrote."""
        raw = json.loads(text)
        for name in ("judged", "test", "val"):
            raw[name] = raw[name] and Judgement(**raw[name])
        return cls(**raw)


def patients_of(cases: Sequence[NpzCase], rule: str | int) -> dict[str, list[NpzCase]]:
    """Group cases by patient.

    Parameters
    ----------
    cases : sequence of NpzCase
        Of one data set, by name.
    rule : str or int
        Pattern whose group is the patient; or how far apart the numbers at the end of two names
        are that are of different patients.
    """
    found: dict[str, list[NpzCase]] = {}
    last, patient = None, ""
    for case in cases:
        if isinstance(rule, str):
            match = re.search(rule, case.name)
            if match is None:
                raise DataError(f"{case.path}: its name does not tell its patient.")
            patient = match[1]
        else:
            number = int(re.findall(r"\d+", case.name)[-1])
            patient = patient if last is not None and number - last < rule else str(number)
            last = number
        found.setdefault(patient, []).append(case)
    return found


def divide(
    patients: Mapping[str, list[NpzCase]], taught: int
) -> tuple[dict[str, list[NpzCase]], list[NpzCase]]:
    """Choose cases that teach, by patient, one of each in turn; those of other patients test."""
    names = [sorted(patients)[i] for i in seeded_rng(_SEED, "divide").permutation(len(patients))]
    teachers = names[: max(4, len(names) // 2)]
    pool = [(turn, name, case) for name in teachers for turn, case in enumerate(patients[name])]
    chosen: dict[str, list[NpzCase]] = {}
    for _, name, case in sorted(pool, key=lambda own: own[0])[:taught]:
        chosen.setdefault(name, []).append(case)
    return chosen, [case for name in names[len(teachers) :] for case in patients[name]]


def run_benchmark(
    data_dir: Path,
    work: Path,
    teaching: Teaching,
    *,
    sets: Sequence[str] = (),
    val: Path | None = None,
    report: Callable[[Row], None] = lambda row: None,
) -> list[Row]:
    """Adapt a model to each data set that can be divided by patient; goes on where it ended.

    Parameters
    ----------
    data_dir : Path
        Of cases that the model was not trained on.
    work : Path
        Gets a folder for each data set; the models in it are for nothing else.
    teaching : Teaching
    sets : sequence of str
        Only these, in this order, as in "MR/Heart".
    val : Path, optional
        Cases on which each model that is kept is compared with the one before.
    report : callable
        Told of each data set that is done.

    Raises
    ------
    DataError
        If none of them can be divided by patient.
    """
    rules: dict[str, str | int] = yaml.safe_load(_PATIENTS.read_text(encoding="utf-8"))
    known = [case for case in find_cases(data_dir) if case.data_set in (sets or rules)]
    cases = {name: [*own] for name, own in groupby(known, lambda case: case.data_set)}
    if not cases or not set(cases) <= set(rules) or not set(sets) <= set(cases):
        raise DataError(
            f"{data_dir}: none of these data sets can be divided by patient. {_PATIENTS} says "
            f"how those are that can: {', '.join(rules)}."
        )
    rows = []
    for name in sets or cases:
        own = cases[name]
        folder = work / name.replace("/", "-")
        file = folder / "row.json"
        if not file.exists():
            row = _adapt_to(name, patients_of(own, rules[name]), folder, teaching, val)
            if row is None:
                break
            write_file(file, json.dumps(asdict(row)))
        rows.append(Row.of_text(file.read_text(encoding="utf-8")))
        report(rows[-1])
    return rows


def _adapt_to(
    name: str,
    patients: Mapping[str, list[NpzCase]],
    folder: Path,
    teaching: Teaching,
    val: Path | None,
) -> Row | None:
    begun = time.process_time()
    teachers, tests = divide(patients, _TAUGHT)
    prepare(folder, teachers, name.partition("/")[0], teaching)
    outcome = adapt(folder, teaching)
    if outcome is None:
        return None
    minutes = (time.process_time() - begun) / 60
    test = judged = None
    if outcome.kept:
        for case in tests:
            write_case(folder / "test" / name / case.path.name, read_arrays(case.path, *ARRAYS))
        model = folder / CANDIDATE
        test = judge(teaching.base, {folder / "test": model}, _TESTED)
        judged = None if val is None else judge(teaching.base, {val: model}, _OF_VAL)
    return Row(name, outcome.judged, test, judged, outcome.alike, minutes)


def table(rows: Sequence[Row]) -> str:
    """Lay out what came of the data sets, and the means, as Markdown."""
    lines = [
        [
            row.data_set,
            str(row.judged.cases),
            row.judged.difference,
            *(("no", *[""] * 4) if row.test is None else ("yes", *_cells(row.test))),
            f"{row.minutes:.1f}",
        ]
        for row in rows
    ]
    gains = [row.gain for row in rows]
    said = [f"Gain with the rule: mean {fmean(gains):+.3f}, least {min(gains):+.3f}."]
    lost = [row.val.after - row.val.before for row in rows if row.val is not None]
    if lost:
        said.append(f"On val: mean {fmean(lost):+.3f}, least {min(lost):+.3f}.")
    return "\n".join([markdown_table(_HEAD, lines), "", *said])


def _cells(test: Judgement) -> list[str]:
    dsc = [f"{own:.3f}" for own in (test.before, test.after)]
    return [f"{test.objects} of {test.cases}", *dsc, test.difference]
