"""Which image belongs to which label: from a table, or by the names in two folders."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_medsamq.inference.preprocess import WindowLevel
from training.data.config import MODALITIES
from training.errors import DataError

COLUMNS = ("image", "label", "modality", "dataset", "case", "window", "components")

_SUFFIXES = (
    *(".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".hdr", ".dcm"),
    *(".png", ".jpg", ".jpeg", ".tif", ".tiff"),
)
_NAME = re.compile(r"[^/\\:*?\"<>|\s.][^/\\:*?\"<>|]*")


@dataclass(frozen=True)
class Components:
    """Whose connected components become objects of their own.

    Attributes
    ----------
    ids : tuple of int
    every : bool
        All ids, then numbered from 1.
    """

    ids: tuple[int, ...] = ()
    every: bool = False

    @classmethod
    def parse(cls, text: str) -> Components:
        """Read "all", or ids such as "1 3"; ValueError says what is wrong."""
        if text.strip() == "all":
            return cls(every=True)
        parts = re.split(r"[\s,;]+", text.strip()) if text.strip() else []
        if not all(part.isdecimal() and int(part) > 0 for part in parts):
            raise ValueError(f"components are `all` or label ids such as `1 3`, not `{text}`")
        return cls(ids=tuple(map(int, parts)))


@dataclass(frozen=True)
class ScanPair:
    """An image, its label, and what to make of them.

    Attributes
    ----------
    image, label : Path
    modality, data_set, name : str
        Where the case goes: <modality>/<data set>/<name>.npz.
    window : WindowLevel or None
        None for the default of the modality.
    components : Components
    """

    image: Path
    label: Path
    modality: str
    data_set: str
    name: str
    window: WindowLevel | None = None
    components: Components = Components()

    def __post_init__(self) -> None:
        if self.modality not in MODALITIES:
            raise ValueError(
                f"the modality is one of {', '.join(MODALITIES)}, not `{self.modality}`"
            )
        for what, name in (("data set", self.data_set), ("case", self.name)):
            if not _NAME.fullmatch(name):
                raise ValueError(f"the {what} `{name}` cannot be the name of a file")

    @property
    def target(self) -> Path:
        """The case's place in the folder of cases."""
        return Path(self.modality, self.data_set, f"{self.name}.npz")


@dataclass(frozen=True)
class PairDefaults:
    """What holds where a table says nothing: the text of its cells."""

    modality: str = ""
    dataset: str = ""
    window: str = ""
    components: str = ""


def read_table(path: Path, defaults: PairDefaults = PairDefaults()) -> list[ScanPair]:
    """Read pairs from a table with a header line, in CSV (comma or semicolon) or TSV.

    Parameters
    ----------
    path : Path
        The columns are those of COLUMNS; `image` and `label` are paths from the table's folder.
    defaults : PairDefaults
        For cells that are empty or missing.

    Raises
    ------
    DataError
        If the table cannot be read, or a line of it is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: cannot be read as a table ({error}). Save it as CSV in UTF-8."
        ) from error
    lines = text.splitlines()
    header = lines[0] if lines else ""
    delimiter = max("\t,;", key=header.count)
    columns = [column.strip() for column in header.split(delimiter)]
    unknown = [column for column in columns if column not in COLUMNS]
    if unknown or not {"image", "label"} <= set(columns):
        raise DataError(
            f"{path}: its first line has to name the columns: image, label, and if need be "
            f"{', '.join(COLUMNS[2:])}. It reads `{header}`."
        )
    pairs = []
    for number, cells in enumerate(csv.reader(lines[1:], delimiter=delimiter), start=2):
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(columns):
            raise DataError(
                f"{path}, line {number}: has {len(cells)} cells, {len(columns)} are needed."
            )
        row = dict(zip(columns, (cell.strip() for cell in cells), strict=True))
        try:
            pairs.append(_row_pair(path.parent, row, defaults))
        except ValueError as error:
            raise DataError(f"{path}, line {number}: {error}. Correct the line.") from error
    return _checked(pairs, str(path))


def pair_folders(
    images: Path,
    labels: Path,
    defaults: PairDefaults,
    *,
    image_suffix: str = "",
    label_suffix: str = "",
) -> tuple[list[ScanPair], list[str]]:
    """Pair the files (or DICOM folders) of two folders that have the same name.

    Parameters
    ----------
    images, labels : Path
    defaults : PairDefaults
        Names modality and data set.
    image_suffix, label_suffix : str
        Ends of the names that are left out, such as "_0000" and "_seg".

    Returns
    -------
    pairs : list of ScanPair
    alone : list of str
        Names that are in one of the folders only.

    Raises
    ------
    DataError
        If a folder cannot be read, or nothing pairs.
    """
    left, right = _by_name(images, image_suffix), _by_name(labels, label_suffix)
    try:
        pairs = [
            _row_pair(
                Path(),
                {"image": str(left[name]), "label": str(right[name]), "case": name},
                defaults,
            )
            for name in sorted(set(left) & set(right))
        ]
    except ValueError as error:
        raise DataError(f"{images}: {error}.") from error
    return _checked(pairs, f"{images} and {labels}"), sorted(set(left) ^ set(right))


def case_name(path: Path) -> str:
    """Return the name of an image without what tells its format."""
    lower = path.name.lower()
    ending = next((s for s in _SUFFIXES if lower.endswith(s) and not path.is_dir()), "")
    return path.name[: len(path.name) - len(ending)]


def _row_pair(folder: Path, row: dict[str, str], defaults: PairDefaults) -> ScanPair:
    def cell(column: str) -> str:
        return row.get(column) or getattr(defaults, column)

    for column in ("image", "label"):
        if not row[column]:
            raise ValueError(f"there is no {column}")
    image = folder / row["image"]
    return ScanPair(
        image=image,
        label=folder / row["label"],
        modality=cell("modality"),
        data_set=cell("dataset"),
        name=row.get("case") or case_name(image),
        window=WindowLevel.of_text(cell("window")) if cell("window").strip() else None,
        components=Components.parse(cell("components")),
    )


def _by_name(folder: Path, suffix: str) -> dict[str, Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder}: cannot be read as a folder ({error.strerror}).") from error
    usable = [
        entry
        for entry in entries
        if entry.name[0] != "." and (entry.is_dir() or entry.name.lower().endswith(_SUFFIXES))
    ]
    return {case_name(entry).removesuffix(suffix): entry for entry in usable}


def _checked(pairs: Sequence[ScanPair], where: str) -> list[ScanPair]:
    if not pairs:
        raise DataError(f"{where}: there is no image with a label.")
    twice = _first_twice(str(pair.target).lower() for pair in pairs)
    if twice:
        raise DataError(
            f"{where}: two images would become {twice}. Give them different names (column `case`)."
        )
    return list(pairs)


def _first_twice(names: Iterable[str]) -> str:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return ""
