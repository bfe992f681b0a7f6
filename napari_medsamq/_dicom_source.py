"""The DICOM series that a label was drawn on, as what is written about it has to refer to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_medsamq._label import Unwritable
from napari_medsamq._source import Source
from napari_medsamq.geometry import Float64, voxel_sizes

if TYPE_CHECKING:
    from pydicom import Dataset

SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
RT_STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"

# Of the distance between slices: what `_dicom` allows a slice to be off its even place, and a bit.
_OFF = 0.1

# Attributes that may be empty but have to be there.
_TYPE_2 = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID", "AccessionNumber"),
    *("StudyDate", "StudyTime", "ReferringPhysicianName"),
)
_TYPE_1 = (
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"),
    "FrameOfReferenceUID",
)


@dataclass(frozen=True, eq=False)
class Frame:
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


def read_frames(source: Source) -> list[Frame]:
    """Read the headers of a source's DICOM files, in the order of files and frames.

    Raises
    ------
    Unwritable
        If they cannot be read any more, are not those that were opened, or lack what a reference
        to them needs.
    """
    # Takes most of a second, which a start without DICOM need not.
    import pydicom
    from pydicom.errors import InvalidDicomError

    headers = []
    try:
        for path in source.files:
            # By force, as what lacks DICOM's preamble can be opened.
            headers.append(pydicom.dcmread(path, stop_before_pixels=True, force=True))
            if "Rows" not in headers[-1]:
                raise InvalidDicomError(f"{path.name} is no DICOM image")
    except (OSError, InvalidDicomError) as error:
        raise Unwritable(
            f"the series it was drawn on cannot be read any more ({error}). Put its files back, or "
            "save as NIfTI (.nii.gz)"
        ) from error
    for header in headers:
        for keyword in _TYPE_2:
            if keyword not in header:
                setattr(header, keyword, "")
        missing = [keyword for keyword in _TYPE_1 if not header.get(keyword)]
        if missing:
            raise Unwritable(
                f"the series it was drawn on has no {' and no '.join(missing)}, which a reference "
                "to it needs. Save as NIfTI (.nii.gz) or .seg.nrrd"
            )
    frames = [frame for k, header in enumerate(headers) for frame in _frames(header, k, source)]
    _check(frames, source)
    if len(source.files) == source.grid[2]:
        _complete(headers, source)
    return frames


def _frames(header: Dataset, k: int, source: Source) -> list[Frame]:
    from napari_medsamq._dicom_numbers import with_points

    with_points(header)
    if "PerFrameFunctionalGroupsSequence" not in header:
        if "ImagePositionPatient" not in header:
            raise Unwritable(
                "the series it was drawn on does not say where its slices lie. Save as NIfTI"
            )
        position = np.array(header.ImagePositionPatient, float)
        return [Frame(header, None, k, position, pixel_steps(header, header))]
    frames = []
    for number, groups in enumerate(header.PerFrameFunctionalGroupsSequence, start=1):
        where = functional_group(header, groups, "PlanePositionSequence")
        position = np.array(where.ImagePositionPatient, float)
        place = np.linalg.solve(source.affine, [*position, 1])
        steps = pixel_steps(
            functional_group(header, groups, "PlaneOrientationSequence"),
            functional_group(header, groups, "PixelMeasuresSequence"),
        )
        frames.append(Frame(header, number, int(np.rint(place[2])), position, steps))
    return frames


def functional_group(header: Dataset, groups: Dataset, sequence: str) -> Dataset:
    """Return what a multi-frame file says of a frame: of it alone, or of all frames."""
    own = groups if sequence in groups else header.SharedFunctionalGroupsSequence[0]
    item: Dataset = own[sequence].value[0]
    return item


def pixel_steps(orientation: Dataset, measures: Dataset) -> Float64:
    """Return the steps (3, 2) of a frame, from where orientation and pixel spacing stand."""
    along, down = np.reshape(np.array(orientation.ImageOrientationPatient, float), (2, 3))
    height, width = np.array(measures.PixelSpacing, float)
    steps: Float64 = np.column_stack([along * width, down * height])
    return steps


def _check(frames: list[Frame], source: Source) -> None:
    rows_columns = {(int(frame.header.Rows), int(frame.header.Columns)) for frame in frames}
    sizes = voxel_sizes(source.affine)
    fits = (
        rows_columns == {(source.grid[1], source.grid[0])}
        and sorted(frame.k for frame in frames) == list(range(source.grid[2]))
        and all(
            np.linalg.norm(source.affine[:3] @ [0, 0, frame.k, 1] - frame.position)
            < _OFF * sizes[2]
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
