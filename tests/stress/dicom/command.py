"""The command: makes series, has both programs read them, and says where they differ."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from platformdirs import user_cache_path

from tests.stress.dicom.maker import make_series
from tests.stress.dicom.readings import read_ours, read_theirs
from tests.stress.dicom.reasons import REASONS, Case, disagreements, explain

ROOT = Path(__file__).parents[3]
PROGRAM = "dcm2niix"
_SPACE = 200 << 20


def dicom(
    count: Annotated[int, typer.Option(min=1, help="How many series.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="The same one makes the same series.")] = 0,
    folder: Annotated[
        Path | None,
        typer.Option(help="Where results are kept, to go on with; a cache folder if not given."),
    ] = None,
    only: Annotated[
        int | None, typer.Option(min=0, help="Make and read this one alone, and keep its files.")
    ] = None,
    processes: Annotated[int, typer.Option(min=1, help="How many are read at a time.")] = 2,
) -> None:
    """Compare what this program and dcm2niix read of made-up series: volumes, places, values."""
    program = shutil.which(PROGRAM)
    if program is None:
        typer.echo(f"{PROGRAM} is missing: install it by `sudo apt-get install {PROGRAM}`.")
        raise typer.Exit(2)
    folder = folder or user_cache_path("napari-medsamq") / "stress-dicom"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(folder).free < _SPACE:
            raise OSError(errno.ENOSPC, "200 MB have to be free")
        if only is not None:
            kept = folder / f"series-{seed}-{only}"
            shutil.rmtree(kept, ignore_errors=True)
            _tell([_result(seed, only, kept)])
            typer.echo(f"its files: {kept}")
            return
        results = _all(folder / f"{seed}-{_state(program)}.jsonl", seed, range(count), processes)
    except OSError as error:
        typer.echo(f"{folder} cannot be used ({error}): free some space, or name another --folder.")
        raise typer.Exit(2) from error
    if _tell(results):
        raise typer.Exit(1)


def _state(program: str) -> str:
    """Return what changes with the code, and with dcm2niix: results of another one are no use."""
    digest = hashlib.sha256(Path(program).read_bytes())
    ours = ("napari_medsamq/io/**/*.py", "tests/stress/dicom/*.py", "tests/stress/samples.py")
    for path in sorted(path for pattern in ours for path in ROOT.glob(pattern)):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _all(kept: Path, seed: int, numbers: range, processes: int) -> list[dict[str, Any]]:
    """Read all series, those of which there is a result already left out."""
    known = {result["number"]: result for result in _read(kept)}
    if known:
        typer.echo(f"{len(known)} series were read before ({kept})")
    left = [number for number in numbers if number not in known]
    pool = ThreadPoolExecutor(processes)
    try:
        for result in pool.map(lambda number: _made_and_read(seed, number), left):
            with kept.open("a", encoding="utf-8") as file:
                file.write(json.dumps(result) + "\n")
            known[result["number"]] = result
    finally:
        pool.shutdown(cancel_futures=True)
    return [known[number] for number in numbers]


def _read(kept: Path) -> Iterator[dict[str, Any]]:
    for line in kept.read_text("utf-8").splitlines() if kept.exists() else ():
        # What was cut off when the program was ended is done again.
        if line.endswith("}"):
            yield json.loads(line)


def _made_and_read(seed: int, number: int) -> dict[str, Any]:
    with TemporaryDirectory() as folder:
        return _result(seed, number, Path(folder))


def _result(seed: int, number: int, folder: Path) -> dict[str, Any]:
    """Make a series in a folder, and return what was found of it."""
    made = make_series(folder / "dicom", seed, number)
    ours, theirs = read_ours(folder / "dicom"), read_theirs(folder / "dicom", folder / "nifti")
    case = Case(made, ours, theirs)
    found = [[one.kind, one.text, explain(case, one)] for one in disagreements(case)]
    return {
        "number": number,
        "made": str(made),
        "volumes": [len(ours.images), len(theirs.images)],
        "said": theirs.refusals,
        "found": found,
    }


def _tell(results: list[dict[str, Any]]) -> int:
    """Print what was found; return how many series have something unexplained."""
    unexplained = 0
    reasons: dict[str, Counter[str]] = {name: Counter() for name in REASONS}
    series: Counter[str] = Counter()
    for result in results:
        for kind, _, reason in result["found"]:
            reasons.get(reason, Counter())[kind] += 1
        series.update({reason for *_, reason in result["found"]})
        left = [f"  {kind}: {text}" for kind, text, reason in result["found"] if not reason]
        if left:
            unexplained += 1
            ours, theirs = result["volumes"]
            typer.echo(
                f"{result['number']} {result['made']}: {ours} volumes, {theirs} by {PROGRAM}"
            )
            typer.echo("\n".join([*left, *(f"  {PROGRAM}: {text}" for text in result["said"])]))
    alike = sum(not result["found"] for result in results)
    typer.echo(f"{len(results)} series: {alike} read alike by both")
    for name, counts in reasons.items():
        if counts:
            kinds = ", ".join(f"{kind} {n}" for kind, n in counts.items())
            typer.echo(f"explained, {name}: {series[name]} series ({kinds}): {REASONS[name].text}")
    met = "missed" if unexplained else "met"
    typer.echo(f"series with unexplained disagreements: {unexplained} (goal 0) {met}")
    return unexplained
