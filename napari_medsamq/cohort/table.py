"""The table of a cohort: a line for each image and what is to be segmented in it."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_medsamq.errors import CohortError, JournalError, MedSAMQError, ModelError, PromptError
from napari_medsamq.geometry import PLANE_NAMES
from napari_medsamq.inference.model_choice import find_model, shipped_models
from napari_medsamq.io.files import file_stem, shortened
from napari_medsamq.io.modality import Modality, modality_of
from napari_medsamq.records.journal_format import first_record
from napari_medsamq.workflows.parsing import parse_labels

COLUMNS = (
    *("image", "case", "boxes", "box_file", "journal", "labels"),
    *("axis", "modality", "window", "model", "series", "volume", "resample"),
)
_LONGEST_NAME = 100
_YES_OR_NO = {"yes": True, "no": False, "": False}
# What may stand between columns; no name of one has any of it.
_DELIMITERS = ",;\t"
# A cell in quotes, and blanks before the next one, which CSV does not know.
_QUOTED = re.compile(r'("(?:[^"]|"")*+") +(?=[,;\t\r\n]|\Z)')
# What spreadsheets write before the head to say what stands between columns.
_SAID = re.compile(r"sep=([,;\t])\s*")
# Names of devices on Windows, with any suffix.
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
# Journals that were put aside for newer ones of the same image end in the time of that.
_PUT_ASIDE = re.compile(r"-\d{8}-\d{6}-\d+$")


@dataclass(frozen=True)
class TableDefaults:
    """What holds for lines of the table that do not say otherwise.

    Attributes
    ----------
    axis : int
        Array axis along which 3D boxes are carried.
    modality : "CT", "MR", "other" or None
    window, model : str or None
        As the user types them.
    zoom : bool
        For all lines: whether small boxes are zoomed in on.
    journals : Path or None
        Folder of the journals that are replayed in place of boxes.
    """

    axis: int = 0
    modality: Modality | None = None
    window: str | None = None
    model: str | None = None
    zoom: bool = True
    journals: Path | None = None


@dataclass(frozen=True)
class CohortCase:
    """One image, and what is to be segmented in it.

    Attributes
    ----------
    name : str
        Of its files; safe in any file system.
    line : int
        In the table, for messages.
    image : Path
    boxes : tuple of str
        As `arguments.parse_box` reads them.
    box_file : Path or None
        Label file or JSON in place of boxes; see `boxes`.
    journal : Path or None
        Journal, or folder with the journal of this image, that is replayed in place of boxes.
    labels : tuple of (int, str)
        As `arguments.parse_labels` gives them.
    axis : int
        Array axis along which 3D boxes are carried.
    modality : "CT", "MR", "other" or None
    window : str or None
        As `parsing.parse_window` reads it.
    model : str or None
        As `model_choice.find_model` takes it.
    series : str or None
        Of a DICOM folder.
    volume : int or None
        Number of one of several volumes, from 1.
    resample : bool
        Whether uneven or tilted DICOM slices are brought to an even grid.
    zoom : bool
    """

    name: str
    line: int
    image: Path
    boxes: tuple[str, ...] = ()
    box_file: Path | None = None
    journal: Path | None = None
    labels: tuple[tuple[int, str], ...] = ()
    axis: int = 0
    modality: Modality | None = None
    window: str | None = None
    model: str | None = None
    series: str | None = None
    volume: int | None = None
    resample: bool = False
    zoom: bool = True


@dataclass(frozen=True)
class Failure:
    """A case that did not come to a result, and why."""

    name: str
    line: int
    image: str
    error: str


def read_table(path: Path, defaults: TableDefaults) -> tuple[list[CohortCase], list[Failure]]:
    """Read a table of cases: CSV, with commas, semicolons or tabs between the columns.

    Blanks around a cell, empty lines, and columns without a name or any value count for nothing.
    Paths in it are relative to the table.

    Returns
    -------
    cases : list of CohortCase
        In the order of the table.
    failures : list of Failure
        Lines that say nothing that could be run.

    Raises
    ------
    CohortError
        If there is no such table, a column is missing or unknown, or two cases have one name.
    """
    lines = _read_lines(path)
    cases: list[CohortCase] = []
    failures: list[Failure] = []
    names: list[tuple[str, int]] = []
    for number, line in lines:
        image = line["image"]
        name = safe_name(line["case"] or file_stem(image)) or f"line {number}"
        names.append((name, number))
        try:
            cases.append(_case(name, number, line, path.absolute().parent, defaults))
        except MedSAMQError as error:
            failures.append(Failure(name, number, image, str(error)))
    _check_names(path, names)
    return cases, failures


def cases_of_journals(folder: Path) -> tuple[list[CohortCase], list[Failure]]:
    """Make a case of each journal in a folder, with the image where it was segmented.

    Raises
    ------
    CohortError
        If there are none.
    """
    paths = [path for path in sorted(folder.glob("*.journal")) if not _PUT_ASIDE.search(path.stem)]
    if not paths:
        raise CohortError(f"{folder} holds no journals. Name the folder that they are in.")
    cases: list[CohortCase] = []
    failures: list[Failure] = []
    for number, path in enumerate(paths, start=1):
        try:
            said = first_record(path).content
            if not said.get("path"):
                raise JournalError(
                    f"{path} does not say where its image is. Write a table with columns image and "
                    "journal."
                )
        except JournalError as error:
            failures.append(Failure(path.stem, number, "", str(error)))
            continue
        # Images of many patients are called alike.
        name = safe_name(f"{said.get('name', '')}-{path.stem[:8]}")
        image, series, volume = Path(said["path"]), said.get("series"), said.get("volume")
        cases.append(
            CohortCase(name, number, image, journal=path.absolute(), series=series, volume=volume)
        )
    _check_names(folder, [(case.name, case.line) for case in cases])
    return cases, failures


def safe_name(text: str) -> str:
    """Return a name as all file systems take it, without what leads to other folders.

    Examples
    --------
    >>> safe_name("../Müller: CT 1")
    'Müller_CT_1'
    """
    text = unicodedata.normalize("NFC", text)
    name = re.sub(r"[^\w.-]+", "_", text).strip("._-")
    name = shortened(name, _LONGEST_NAME).rstrip("._-")
    return f"_{name}" if _RESERVED.match(name) else name


def _read_lines(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Return the lines that say anything, with the number of each one's first line of text."""
    try:
        # Tables of spreadsheets begin with a mark of their encoding.
        text = path.read_bytes().decode("utf-8-sig")
        rows = _rows(text, usual="\t" if path.suffix.lower() == ".tsv" else ",")
    except OSError as error:
        raise CohortError(
            f"{path}: the table cannot be read ({error.strerror or error}). Check its name."
        ) from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise CohortError(
            f"{path} is no table in UTF-8 with commas, semicolons or tabs ({error}). Save it as "
            "CSV UTF-8."
        ) from error
    columns = [name.lower() for name in rows[0][1]] if rows else []
    _check_columns(path, [name for name in columns if name])
    if not rows[1:]:
        raise CohortError(f"{path}: the table has no cases. Write a line for each image.")
    lines = []
    for number, cells in rows[1:]:
        line = dict.fromkeys(("", *COLUMNS), "")
        for index, cell in enumerate(cells):
            # What stands in no column with a name comes under none.
            line[columns[index] if index < len(columns) else ""] += cell
        lines.append((number, line))
    return lines


def _rows(text: str, usual: str) -> list[tuple[int, list[str]]]:
    """Return the cells of all rows that have any, with the number of each one's first line.

    What stands most often between columns in the head is what does so in all rows.
    """
    head = next((line for line in text.splitlines() if line.strip()), "")
    said = _SAID.fullmatch(head.lower())
    delimiter = said[1] if said else max(usual + _DELIMITERS, key=head.count)
    file = io.StringIO(_QUOTED.sub(r"\1", text), newline="")
    reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True, strict=True)
    rows, start = [], 1
    for cells in reader:
        cells = [cell.strip() for cell in cells]
        if any(cells):
            rows.append((start, cells))
        start = reader.line_num + 1
    return rows[1:] if said else rows


def _check_columns(path: Path, columns: Sequence[str]) -> None:
    unknown = [name for name in columns if name not in COLUMNS]
    double = [name for name in COLUMNS if columns.count(name) > 1]
    if unknown or double or "image" not in columns:
        problem = f"has {', '.join(map(repr, columns)) or 'no columns'}"
        if unknown or double:
            problem = f"has unknown or double columns: {', '.join(map(repr, unknown + double))}"
        raise CohortError(
            f"{path}: the table {problem}. It needs image, and may have {', '.join(COLUMNS[1:])}, "
            "with commas, semicolons or tabs between them."
        )


def _check_names(path: Path, names: Iterable[tuple[str, int]]) -> None:
    lines: dict[str, list[int]] = {}
    for name, line in names:
        lines.setdefault(name.casefold(), []).append(line)
    double = [f"{name} (lines {_listed(at)})" for name, at in lines.items() if len(at) > 1]
    if double:
        raise CohortError(
            f"{path}: several cases have one name, so that one would replace the other: "
            f"{'; '.join(double[:5])}. Give each a name of its own in the column case."
        )


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers[:5])) + (" ..." if len(numbers) > 5 else "")


def _case(
    name: str, number: int, line: dict[str, str], folder: Path, defaults: TableDefaults
) -> CohortCase:
    if line[""]:
        raise PromptError(
            f"The line has a value in no column of the table ({line['']!r}). Put quotes around "
            'boxes, "0,0,5,9,9,5", and around what has the character between columns in it.'
        )
    if not line["image"]:
        raise PromptError("The line names no image.")
    journal = folder / line["journal"] if line["journal"] else defaults.journals
    boxes = tuple(box.strip() for box in line["boxes"].split(";") if box.strip())
    box_file = folder / line["box_file"] if line["box_file"] else None
    ways = [way for way in (boxes, box_file, journal) if way]
    if len(ways) != 1:
        raise PromptError(
            "A line needs one of boxes, box_file and journal to say what is segmented; this one "
            f"has {'none' if not ways else len(ways)}."
        )
    if journal is not None and line["labels"]:
        raise PromptError("A journal has labels of its own. Leave the column labels empty.")
    if line["axis"].lower() not in ("", *PLANE_NAMES):
        raise PromptError(f"axis is {', '.join(PLANE_NAMES)} or empty, not {line['axis']!r}.")
    if not re.fullmatch(r"([1-9][0-9]*)?", line["volume"]):
        raise PromptError(f"volume is a number from 1 or empty, not {line['volume']!r}.")
    if line["resample"].lower() not in _YES_OR_NO:
        raise PromptError(f"resample is yes, no or empty, not {line['resample']!r}.")
    return CohortCase(
        name=name,
        line=number,
        image=folder / line["image"],
        boxes=boxes,
        box_file=box_file,
        journal=journal,
        labels=parse_labels(line["labels"].split(";"), len(boxes)),
        axis=PLANE_NAMES.index(line["axis"].lower()) if line["axis"] else defaults.axis,
        modality=modality_of(line["modality"]) if line["modality"] else defaults.modality,
        window=line["window"] or defaults.window,
        model=_model(line["model"], folder) or defaults.model,
        series=line["series"] or None,
        volume=int(line["volume"]) if line["volume"] else None,
        resample=_YES_OR_NO[line["resample"].lower()],
        zoom=defaults.zoom,
    )


def _model(text: str, folder: Path) -> str | None:
    if not text or text in {path.name for path in shipped_models()}:
        return text or None
    try:
        return str(find_model(str(folder / text)))
    except ModelError:
        # Says which ones there are.
        find_model(text)
        raise
