"""Numbers of DICOM headers: read as they are written, or refused by name.

Files have them in ways the standard has not: with a decimal comma, padded by NULs, as binary
numbers where text is due and as text where binary numbers are. All of these are read, as other
programs do. What is there and cannot be read is an error that names it: nothing stands in for it.

Used in the process that `process` starts, and where a label refers to a series.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from pydicom import DataElement, Dataset
from pydicom.datadict import (
    dictionary_description,
    dictionary_has_tag,
    dictionary_VR,
    keyword_for_tag,
    tag_for_keyword,
)
from pydicom.tag import Tag

# Of numbers that can mean something: mm, or values.
_FARTHEST = 1e12
# As a decimal string has it; Python would take underscores, "inf" and "nan" as well.
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_DECIMAL_COMMA = re.compile(r"[^.,]*,[^.,]*")
_BINARY = {
    "FL": "f4",
    "FD": "f8",
    "US": "u2",
    "SS": "i2",
    "UL": "u4",
    "SL": "i4",
    "UV": "u8",
    "SV": "i8",
}
_TEXTS = ("DS", "IS")
# Does not say what its bytes are.
_UNKNOWN = ("UN", "OB", "OW", None)


def numbers(groups: Sequence[Dataset], name: str, count: int) -> list[float] | None:
    """Return the numbers of an element, of the first of some data sets that has any.

    Parameters
    ----------
    groups : sequence of Dataset
        The nearest to a frame first.
    name : str
        The element's keyword.
    count : int
        How many numbers it has to have.

    Returns
    -------
    numbers : list of float or None
        None where it is missing or empty everywhere.

    Raises
    ------
    ValueError
        If it holds anything but so many numbers; the text names it and what it holds.
    """
    for group in groups:
        found = _values(group, name)
        if found is None:
            continue
        if len(found) != count or not all(abs(number) < _FARTHEST for number in found):
            wanted = "one number" if count == 1 else f"{count} numbers"
            raise ValueError(
                f"its {named(name)} is {text(group, name)[:60]!r}, where {wanted} should be"
            )
        return found
    return None


def whole(dataset: Dataset, name: str) -> int | None:
    """Return the whole number of an element; None where it is missing or empty.

    Raises
    ------
    ValueError
        If it holds anything else.
    """
    found = numbers([dataset], name, 1)
    if found is None:
        return None
    if not found[0].is_integer():
        raise ValueError(f"its {named(name)} is {found[0]:g}, where a whole number should be")
    return int(found[0])


def restate(dataset: Dataset, names: Sequence[str], *, needed: Sequence[str] = ()) -> None:
    """Give elements the whole numbers that they hold, in the way that the standard has them.

    Raises
    ------
    ValueError
        If one of them is no whole number, or one that is needed is there and empty.
    """
    for name in names:
        if name not in dataset:
            continue
        found = whole(dataset, name)
        if found is None and name in needed:
            raise ValueError(f"its {named(name)} is empty")
        dataset.add_new(_tag(name), dictionary_VR(name), found)


def with_points(dataset: Dataset) -> None:
    """Write the decimal commas of a data set, and of all within it, as points."""
    for tag in list(dataset.keys()):
        if not dictionary_has_tag(tag):
            continue
        due, name = dictionary_VR(tag), keyword_for_tag(tag)
        if due == "SQ":
            for item in dataset[tag].value or ():
                with_points(item)
        elif due in _TEXTS and name and "," in str(dataset.get_item(tag).value):
            said = text(dataset, name)
            dataset.add_new(tag, due, [part.strip() for part in said.split("\\")])


def text(dataset: Dataset, name: str | tuple[int, int]) -> str:
    """Return an element's value as text, several of them with backslashes; empty if missing.

    A decimal comma is a point, so that one number has one text. Private elements have no name.
    """
    value = dataset.get(name)
    value = value.value if isinstance(value, DataElement) else value
    if value is None:
        return ""
    parts = value if isinstance(value, list | tuple) or hasattr(value, "append") else [value]
    said = "\\".join(
        part.decode("latin-1") if isinstance(part, bytes) else str(part) for part in parts
    )
    # Bytes that are no text in the file's own code come as surrogates, which cannot be shown.
    said = said.encode("utf-8", "replace").decode().strip("\0 ")
    number = isinstance(name, str) and dictionary_VR(name) in _TEXTS
    return _with_point(said) if number else said


def named(name: str) -> str:
    """Return what a user finds an element by: its name and its number."""
    tag = Tag(_tag(name))
    return f"{dictionary_description(tag)} ({tag.group:04X},{tag.element:04X})"


def _tag(name: str) -> int:
    tag = tag_for_keyword(name)
    if tag is None:
        raise ValueError(f"{name} is no keyword of DICOM")
    return tag


def _values(dataset: Dataset, name: str) -> list[float] | None:
    """Return an element's numbers, NaN for what is none; None where there is nothing at all."""
    tag = _tag(name)
    if tag not in dataset:
        return None
    # As the file has it: what pydicom makes of it hides what it was.
    element = dataset.get_item(tag)
    raw, kind = element.value, element.VR
    due = dictionary_VR(tag)
    if isinstance(raw, bytes):
        code = _BINARY.get(due if kind in _UNKNOWN else kind)
        if code is not None:
            order = "<" if getattr(element, "is_little_endian", True) else ">"
            size = np.dtype(code).itemsize
            if len(raw) % size:
                return [np.nan]
            return [float(n) for n in np.frombuffer(raw, order + code)] or None
        written = raw.decode("latin-1")
    else:
        written = text(dataset, name)
    written = written.strip("\0 \t\r\n")
    if not written.replace("\\", "").strip("\0 "):
        return None
    return [_parsed(part) for part in written.split("\\")]


def _parsed(written: str) -> float:
    part = _with_point(written.strip("\0 \t\r\n"))
    return float(part) if _NUMBER.fullmatch(part) else np.nan


def _with_point(written: str) -> str:
    parts = written.split("\\")
    return "\\".join(
        part.replace(",", ".") if _DECIMAL_COMMA.fullmatch(part) else part for part in parts
    )
