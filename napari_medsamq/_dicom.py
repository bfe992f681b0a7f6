"""DICOM by SimpleITK (GDCM): finds the series of a folder and checks where its slices lie."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from napari_medsamq._dicom_source import is_label
from napari_medsamq._itk import image_affine, itk_errors, voxels
from napari_medsamq._source import LEFT_RIGHT_UNKNOWN, Decoded
from napari_medsamq.errors import VolumeError
from napari_medsamq.geometry import Float64

# What is drawn on a series may lie beside it.
SEGMENTATION = "SEG"

_POSITION = "0020|0032"
_ORIENTATION = "0020|0037"

# How far a slice may lie off its even place, as a fraction of the distance between slices.
_UNEVEN = 0.05
_TILT_DEG = 0.5

ONE_SLICE = "Only this slice was opened. To have the whole series, open its folder."
NOT_CHECKED = "The even spacing of this multi-frame file's slices could not be checked."


@dataclass(frozen=True, eq=False)
class _Slice:
    path: Path
    series: str
    description: str
    modality: str
    position: Float64 | None  # (3,) LPS mm
    orientation: Float64 | None  # (6,) direction of the rows, then of the columns
    size: tuple[int, ...]
    pixel_id: int
    affine: Float64


def is_dicom(path: Path) -> bool:
    """Tell by name or content whether a file is DICOM."""
    if path.suffix.lower() in (".dcm", ".dicom", ".ima"):
        return True
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def read_dicom_file(path: Path) -> Decoded:
    """Read one DICOM file: a single slice, or a multi-frame volume.

    Raises
    ------
    VolumeError
        If the file cannot be read as an image.
    """
    with itk_errors(path):
        info = _inspect(path)
    multi_frame = len(info.size) > 2 and info.size[2] > 1
    if multi_frame:
        warnings: tuple[str, ...] = (NOT_CHECKED,)
    elif info.orientation is None:
        warnings = (LEFT_RIGHT_UNKNOWN,)
    else:
        warnings = (ONE_SLICE,)
    return _read(path, [info], info.affine, warnings)


def read_dicom_folder(folder: Path, series: str | None) -> Decoded:
    """Read one series of a folder, searching its subfolders too.

    Parameters
    ----------
    folder : Path
    series : str or None
        Series Instance UID; may be None where the folder holds one series.

    Raises
    ------
    VolumeError
        If there is no series, no such series, several to choose from, or its slices do not make
        one even stack.
    """
    found: dict[str, list[_Slice]] = {}
    left_out = []
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.name == "DICOMDIR" or not is_dicom(path):
            continue
        try:
            with itk_errors(path):
                info = _inspect(path)
        except VolumeError:
            # A report or plan of the same study perhaps, but a damaged slice looks the same.
            if not is_label(path):
                left_out.append(path.name)
            continue
        if info.modality != SEGMENTATION:
            found.setdefault(info.series, []).append(info)
    if not found:
        raise VolumeError(
            f"{folder}: holds no DICOM images. Choose the folder with the series, or an image file."
        )
    if series is None and len(found) == 1:
        series = next(iter(found))
    if series not in found:
        listing = "".join(f"\n  {_describe(uid, slices)}" for uid, slices in found.items())
        problem = f"has no series {series}" if series else f"holds {len(found)} series"
        raise VolumeError(
            f"{folder}: {problem}. Choose one of these: give its UID to "
            f"--series on the command line, or open a folder that holds only that one.{listing}"
        )
    slices = found[series]
    if len(slices) == 1:
        decoded = read_dicom_file(slices[0].path)
    else:
        slices, affine = _stack(folder, slices)
        decoded = _read(folder, slices, affine, ())
    return replace(decoded, warnings=(*decoded.warnings, *_left_out_warning(left_out)))


def _describe(uid: str, slices: list[_Slice]) -> str:
    first = slices[0]
    description = first.description or "no description"
    return f"{uid}: {description}, {first.modality or 'unknown modality'}, {len(slices)} slices"


def _left_out_warning(names: list[str]) -> tuple[str, ...]:
    if not names:
        return ()
    some = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return (
        f"{len(names)} files of the folder are no readable images and were left out ({some}). "
        "Check that no slice is missing at the ends.",
    )


def _inspect(path: Path) -> _Slice:
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    reader.ReadImageInformation()

    def text(tag: str) -> str:
        # Bytes that are no UTF-8 come as surrogates, which could not be shown.
        value = str(reader.GetMetaData(tag)) if reader.HasMetaDataKey(tag) else ""
        return value.encode("utf-8", "replace").decode().strip("\0 ")

    def numbers(tag: str, count: int) -> Float64 | None:
        try:
            values = np.array([float(part) for part in text(tag).split("\\")])
        except ValueError:
            return None
        return values if values.size == count else None

    affine = image_affine(reader)
    thickness = numbers("0018|0050", 1)
    if reader.GetSize()[2:] == (1,) and thickness is not None and thickness[0] > 0:
        # One slice has no distance to the next.
        affine[:3, 2] *= thickness[0] / np.linalg.norm(affine[:3, 2])
    return _Slice(
        path=path,
        series=text("0020|000e"),
        description=text("0008|103e"),
        modality=text("0008|0060"),
        position=numbers(_POSITION, 3),
        orientation=numbers(_ORIENTATION, 6),
        size=tuple(int(n) for n in reader.GetSize()),
        pixel_id=int(reader.GetPixelIDValue()),
        affine=affine,
    )


def _stack(folder: Path, slices: list[_Slice]) -> tuple[list[_Slice], Float64]:
    """Sort slices along their normal and return them with the affine of the stack."""

    def refuse(reason: str) -> VolumeError:
        return VolumeError(
            f"{folder}: the {len(slices)} slices of series {slices[0].series} do not make one even "
            f"volume: {reason}. Export the series again, complete and as plain axial, coronal or "
            "sagittal slices, or have it resampled."
        )

    first = slices[0]
    orientation = first.orientation
    positions = [item.position for item in slices if item.position is not None]
    if orientation is None or len(positions) < len(slices):
        raise refuse("some do not say where they lie (Image Position/Orientation)")
    if any(item.size != first.size for item in slices):
        raise refuse("their sizes in pixels differ")
    if any(
        item.orientation is None or np.abs(item.orientation - orientation).max() > 1e-3
        for item in slices
    ):
        raise refuse("their directions differ, there may be a localiser among them")
    normal = np.cross(orientation[:3], orientation[3:])
    order = np.argsort([normal @ position for position in positions], kind="stable")
    slices = [slices[n] for n in order]
    places = np.array([positions[n] for n in order])
    heights = places @ normal
    _check_even(heights, refuse)
    step = (places[-1] - places[0]) / (len(places) - 1)
    tilt = np.degrees(np.arctan2(np.linalg.norm(np.cross(step, normal)), abs(step @ normal)))
    if tilt > _TILT_DEG:
        raise refuse(f"each lies shifted against the last one, a gantry tilt of {tilt:.1f} degrees")
    expected = places[0] + np.arange(len(places))[:, None] * step
    if np.linalg.norm(places - expected, axis=1).max() > _UNEVEN * np.linalg.norm(step):
        raise refuse("they are shifted sideways against each other")
    affine = slices[0].affine.copy()
    affine[:3, 2] = step
    return slices, affine


def _check_even(heights: Float64, refuse: Callable[[str], VolumeError]) -> None:
    gaps = np.diff(heights)
    usual = float(np.median(gaps))
    if gaps.min() < 1e-3:
        copies = Counter(np.round(heights, 3).tolist()).most_common(1)[0][1]
        raise refuse(f"up to {copies} lie at one place (several time points or echoes?)")
    gap = int(np.abs(gaps - usual).argmax())
    if abs(gaps[gap] - usual) > _UNEVEN * usual:
        raise refuse(
            f"they are usually {usual:.3g} mm apart, but {gaps[gap]:.3g} mm between slices "
            f"{gap + 1} and {gap + 2}; slices are missing or unevenly spaced"
        )


def _read(path: Path, slices: list[_Slice], affine: Float64, warnings: tuple[str, ...]) -> Decoded:
    # The series reader takes no multi-frame file.
    reader: Any = sitk.ImageSeriesReader() if len(slices) > 1 else sitk.ImageFileReader()
    if len(slices) > 1:
        reader.SetFileNames([str(item.path) for item in slices])
    else:
        reader.SetFileName(str(slices[0].path))
    reader.SetImageIO("GDCMImageIO")
    kinds = {item.pixel_id for item in slices}
    if kinds == {sitk.sitkFloat64} or len(kinds) > 1:
        # Rescaled by fractions, perhaps by others in each slice: the first must not set the type.
        reader.SetOutputPixelType(sitk.sitkFloat32)
    with itk_errors(path):
        image = reader.Execute()
    data = voxels(path, image)
    return Decoded(
        data,
        affine,
        "dicom",
        data.shape[:3],
        modality=slices[0].modality,
        warnings=warnings,
        files=tuple(item.path for item in slices),
    )
