"""The DICOM series that a label was drawn on, as what is written about it has to refer to it."""

from __future__ import annotations

import logging
import re
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import numpy.typing as npt

from napari_medsamq.array_types import Float64
from napari_medsamq.geometry import voxel_sizes
from napari_medsamq.io.label_format import EncodedLabel, Segments, Unwritable, one_line
from napari_medsamq.io.source import Source

if TYPE_CHECKING:
    from pydicom import Dataset

SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
RT_STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
MAKER = "napari-medsamq"

# What `series` allows a slice to be off its even place, and a bit: of the distance between slices,
# and in mm, as some positions are rounded to tenths.
_OFF, _ROUNDED = 0.1, 0.06

# Attributes that may be empty but have to be there.
_TYPE_2 = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID", "AccessionNumber"),
    *("StudyDate", "StudyTime", "ReferringPhysicianName"),
)
_TYPE_1 = (
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"),
    "FrameOfReferenceUID",
)
# Groups of what a series says of patient, study and acquisition.
_ABOUT = (0x0008, 0x0010, 0x0012, 0x0018, 0x0032, 0x0038, 0x0040)
# Without any handler, what highdicom logs goes to the terminal.
_NOWHERE = logging.NullHandler()
# What pydicom raises on values that are not what they should be.
NO_VALUE = (
    ArithmeticError,
    AttributeError,
    LookupError,
    NotImplementedError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True, eq=False)
class SourceFrame:
    """One slice of a series.

    Attributes
    ----------
    header : Dataset
        Of its file, without pixels.
    number : int or None
        Of the frame within a multi-frame file, counted from 1.
    k : int
        Of the slice.
    position : (3,) float64
        Middle of its first pixel, LPS mm.
    steps : (3, 2) float64
        To the next pixel of a row and of a column, LPS mm, as the header has them: readers of the
        series round and straighten them in ways of their own.
    """

    header: Dataset
    number: int | None
    k: int
    position: Float64
    steps: Float64


class DicomLabel(EncodedLabel):
    """A label as a DICOM file, which cannot hold an empty one, and refers to a series."""

    def __init__(
        self, array: npt.NDArray[np.unsignedinteger], source: Source, segments: Segments
    ) -> None:
        super().__init__(array, source, segments)
        if not self._segments:
            raise Unwritable(
                "it has no voxels, and a DICOM file cannot hold nothing. Draw something first"
            )

    def write(self, file: BinaryIO) -> None:
        """Write it."""
        with quietly():
            self._write(file)

    def verify(self, path: Path) -> None:
        """Read a file back, and compare it with what was to be written."""
        with quietly():
            self._verify(path)

    @abstractmethod
    def _write(self, file: BinaryIO) -> None: ...

    @abstractmethod
    def _verify(self, path: Path) -> None: ...


def long_string(text: str) -> str:
    """Return a text as DICOM's LO can hold it: 64 characters of one line, without backslash."""
    return one_line(text.replace("\\", "/"))[:64].strip() or "Label"


@contextmanager
def quietly() -> Iterator[None]:
    """Keep off the terminal what pydicom and highdicom say of values that are none."""
    from pydicom import config

    logging.getLogger("highdicom").addHandler(_NOWHERE)
    with warnings.catch_warnings(), config.disable_value_validation():
        warnings.simplefilter("ignore")
        yield


def read_kind(path: Path) -> str:
    """Return the SOP Class UID of a DICOM file; empty if it has none.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    import pydicom

    with quietly():
        try:
            found = pydicom.dcmread(
                path, force=True, stop_before_pixels=True, specific_tags=["SOPClassUID"]
            )
            return str(found.get("SOPClassUID", ""))
        except (*NO_VALUE, EOFError, pydicom.errors.InvalidDicomError):
            # None that anything could be said of; whoever reads all of it tells why.
            return ""


def read_frames(source: Source) -> list[SourceFrame]:
    """Read the headers of a source's slices, in their order.

    Raises
    ------
    Unwritable
        If they cannot be read any more, are not those that were opened, or lack what a reference
        to them needs.
    """
    # Takes most of a second, which a start without DICOM need not.
    import pydicom
    from pydicom.errors import InvalidDicomError

    from napari_medsamq.io.dicom.header_numbers import with_points

    headers = {}
    try:
        for path in source.files:
            # By force, as what lacks DICOM's preamble can be opened.
            headers[path] = pydicom.dcmread(path, stop_before_pixels=True, force=True)
            if "Rows" not in headers[path]:
                raise InvalidDicomError(f"{path.name} is no DICOM image")
    except (OSError, InvalidDicomError) as error:
        raise Unwritable(
            f"the series it was drawn on cannot be read any more ({error}). Put its files back, or "
            "save as NIfTI (.nii.gz)"
        ) from error
    for header in headers.values():
        with_points(header)
        _drop_unreadable(header, _ABOUT)
        for keyword in _TYPE_2:
            if keyword not in header:
                setattr(header, keyword, "")
        if header.PatientSex not in ("M", "F", "O"):
            header.PatientSex = ""
        missing = [keyword for keyword in _TYPE_1 if not header.get(keyword)]
        if missing:
            raise Unwritable(
                f"the series it was drawn on has no {' and no '.join(missing)}, which a reference "
                "to it needs. Save as NIfTI (.nii.gz) or .seg.nrrd"
            )
    frames = [_frame(headers[path], number, k) for k, (path, number) in enumerate(source.frames)]
    _check(frames, source)
    if len(source.files) == source.grid[2]:
        _complete(list(headers.values()), source)
    return frames


def _drop_unreadable(header: Dataset, groups: Sequence[int] | None = None) -> None:
    """Take out values that are not what they should be: dates in words, as anonymisers leave."""
    from pydicom.valuerep import DA, DT, TM

    kinds: dict[str, Callable[[str], object]] = {"DA": DA, "DT": DT, "TM": TM, "AS": _age}
    for tag in list(header.keys()):
        if groups is not None and tag.group not in groups:
            continue
        try:
            element = header[tag]
            if element.VR == "SQ":
                for item in element.value:
                    _drop_unreadable(item)
            elif element.VR in kinds and element.value:
                several = element.value if element.VM > 1 else [element.value]
                for value in several:
                    kinds[element.VR](str(value))
        except NO_VALUE:
            del header[tag]


def _age(text: str) -> None:
    if text and not re.fullmatch(r"\d{3}[DWMY]", text.strip()):
        raise ValueError(f"{text} is no age")


def _frame(header: Dataset, number: int, k: int) -> SourceFrame:
    """Return the slice that a frame of a file, counted from 0, is."""
    several = "PerFrameFunctionalGroupsSequence" in header
    each = header.PerFrameFunctionalGroupsSequence if several else [header]
    if number >= len(each):
        raise _no_place()
    where, turn, size = (
        functional_group(header, each[number], name) if several else header
        for name in ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence")
    )
    try:
        position = np.array(where.ImagePositionPatient, float).reshape(3)
        steps = pixel_steps(turn, size)
    except NO_VALUE as error:
        raise _no_place() from error
    if not (np.isfinite(position).all() and np.isfinite(steps).all()):
        raise _no_place()
    return SourceFrame(header, number + 1 if several else None, k, position, steps)


def _no_place() -> Unwritable:
    return Unwritable(
        "the series it was drawn on does not say where its slices lie in the patient (an X-ray or "
        "another picture has no place there), which a DICOM label needs. Save as NIfTI (.nii.gz) "
        "or .seg.nrrd"
    )


def functional_group(header: Dataset, groups: Dataset, sequence: str) -> Dataset:
    """Return what a multi-frame file says of a frame: of it alone, or of all; or nothing."""
    from pydicom import Dataset

    shared = header.get("SharedFunctionalGroupsSequence") or [Dataset()]
    for place in (groups, shared[0]):
        found = place.get(sequence)
        if found:
            item: Dataset = found[0]
            return item
    return Dataset()


def pixel_steps(orientation: Dataset, measures: Dataset) -> Float64:
    """Return the steps (3, 2) of a frame, from where orientation and pixel spacing stand."""
    along, down = np.reshape(np.array(orientation.ImageOrientationPatient, float), (2, 3))
    height, width = np.array(measures.PixelSpacing, float)
    steps: Float64 = np.column_stack([along * width, down * height])
    return steps


def _check(frames: list[SourceFrame], source: Source) -> None:
    rows_columns = {(int(frame.header.Rows), int(frame.header.Columns)) for frame in frames}
    sizes = voxel_sizes(source.affine)
    fits = (
        rows_columns == {(source.grid[1], source.grid[0])}
        and len(frames) == source.grid[2]
        and all(
            np.linalg.norm(source.affine[:3] @ [0, 0, frame.k, 1] - frame.position)
            < _OFF * sizes[2] + _ROUNDED
            and (
                np.abs(frame.steps - source.affine[:3, :2]) * source.grid[:2] < sizes[:2] / 2
            ).all()
            for frame in frames
        )
    )
    if not fits:
        raise Unwritable(
            "the files of the series it was drawn on are not those that were opened. Open the "
            "series again"
        )


def _complete(headers: Sequence[Dataset], source: Source) -> None:
    """Say of single slices how thick they are and how far apart, which not all series do."""
    step = float(voxel_sizes(source.affine)[2])
    for header in headers:
        header.SpacingBetweenSlices = f"{step:.8g}"
        if not header.get("SliceThickness"):
            header.SliceThickness = f"{step:.8g}"
