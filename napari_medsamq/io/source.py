"""What a reader hands over, and the grid of the file that a label is saved on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from napari_medsamq.array_types import Float64
from napari_medsamq.errors import ChoiceError, PromptError, VolumeError
from napari_medsamq.geometry import (
    Flips,
    Index3,
    has_shear,
    is_oblique,
    lps_orientation,
    obliquity,
    reorient_affine,
    voxel_sizes,
)
from napari_medsamq.memory import free_memory

Array = npt.NDArray[Any]

# What a file says of its axes: how they lie in the patient; directions in a space that it does not
# name, such as a scanner's or a world's; or nothing but the sizes of the voxels.
Orientation = Literal["patient", "unnamed", "none"]

# World axes of NIfTI (RAS) to ours (LPS) and back.
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])

LEFT_RIGHT_UNKNOWN = (
    "The file does not say how the patient lies in it: left and right are unknown. Compare with "
    "the original images before you rely on sides."
)
# Why values are no Hounsfield units.
EIGHT_BITS = "they have only 8 bits"

# Sizes of voxels are the same up to this fraction: some files have them as float32.
_SAME_SIZE = 1e-3
# Deflate cannot shrink anything by more than this factor.
MAX_COMPRESSION = 1032

_MM_PER_UNIT = {
    **dict.fromkeys(("mm", "millimeter", "millimeters", "millimetre", "millimetres"), 1.0),
    **dict.fromkeys(("m", "meter", "meters", "metre", "metres"), 1000.0),
    **dict.fromkeys(("cm", "centimeter", "centimeters", "centimetre", "centimetres"), 10.0),
    **dict.fromkeys(("um", "\u00b5m", "\u03bcm", "micron", "microns"), 0.001),
    **dict.fromkeys(("micrometer", "micrometers", "micrometre", "micrometres"), 0.001),
    **dict.fromkeys(("nm", "nanometer", "nanometers", "nanometre", "nanometres"), 1e-6),
}
NO_SIZE = (
    "The file does not say how large its voxels are along every axis: 1 mm is assumed there, so "
    "sizes and volumes are not real."
)


@dataclass(frozen=True)
class Selection:
    """What the user chose where there is more than one way to read something.

    Attributes
    ----------
    series : str or None
        Series Instance UID.
    volume : int or None
        Number of one of several volumes, from 1.
    resample : bool
        Whether uneven or tilted slices are interpolated to an even grid.
    """

    series: str | None = None
    volume: int | None = None
    resample: bool = False


def volume_index(path: Path, count: int, selection: Selection) -> int:
    """Return which of several volumes of a file was chosen, from 0.

    Raises
    ------
    VolumeError
        If there are several and none was chosen, or it has no such one.
    """
    number = selection.volume
    if number is None and count == 1:
        return 0
    if number is not None and 1 <= number <= count:
        return number - 1
    if count == 1:
        raise VolumeError(f"{path}: holds one volume, there is no number {number}.")
    missing = "" if number is None else f" There is no number {number}."
    choices = {str(n): f"{n} of {count}" for n in range(1, count + 1)}
    raise ChoiceError(f"{path}: holds {count} volumes.{missing}", "volume", choices)


@dataclass(frozen=True)
class VolumePart:
    """Which of several series or volumes was chosen.

    Attributes
    ----------
    option : "series" or "volume"
        What it was chosen by; see `Selection`.
    value : str or int
        What chooses it again.
    number, count : int
        Of how many it is which, from 1.
    by : str
        What tells it from the others; may be empty.
    private : bool
        Whether that may name the patient.

    Examples
    --------
    >>> str(VolumePart("volume", 2, 2, 3, "ContentTime 103238"))
    '2 of 3: ContentTime 103238'
    """

    option: Literal["series", "volume"]
    value: str | int
    number: int
    count: int
    by: str = ""
    private: bool = False

    def __str__(self) -> str:
        return f"{self.number} of {self.count}{f': {self.by}' if self.by else ''}"

    @property
    def anonymous(self) -> str:
        """What it is, without what may name the patient."""
        return str(replace(self, by="")) if self.private else str(self)


def volume_part(index: int, count: int) -> tuple[VolumePart, ...]:
    """Return which of the volumes of a file was chosen, from 0; nothing where there is one."""
    number = index + 1
    return (VolumePart("volume", number, number, count),) if count > 1 else ()


@dataclass(frozen=True, eq=False)
class Decoded:
    """A file's content before it is brought into array order.

    Attributes
    ----------
    data : (i, j, k) or (i, j, k, 3) array
        In the file's own axis order.
    affine : (4, 4) float64
        From (i, j, k) to LPS mm.
    kind : "image", "picture", "case" or "dicom"
    shape : tuple of int
        Of the file, trailing axes of length 1 included; without colour.
    header : nibabel NIfTI header or None
    modality : str
        DICOM's Modality, empty for other files.
    no_hounsfield : str
        Why the values cannot be Hounsfield units; empty if the file says nothing against it.
    hounsfield_unsaid : str
        Why they may be none, unless they look like these; empty if the file says nothing.
    warnings : tuple of str
    files : tuple of Path
        The DICOM files it was read from, in the order of k; one for all where it is multi-frame.
    frame_of_reference : str
        DICOM's Frame of Reference UID, empty where there is none.
    parts : tuple of VolumePart
        Which series and volume of the file or folder it is, where there are several.
    unnamed_space : bool
        Whether the directions of its axes are those of a space that the file does not name.
    frames : tuple of (Path, int)
        File of each of these slices and number in it, from 0, in the order of k.
    """

    data: Array
    affine: Float64
    kind: Literal["image", "picture", "case", "dicom"]
    shape: tuple[int, ...]
    header: Any = None
    modality: str = ""
    no_hounsfield: str = ""
    hounsfield_unsaid: str = ""
    warnings: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    frame_of_reference: str = ""
    parts: tuple[VolumePart, ...] = ()
    unnamed_space: bool = False
    frames: tuple[tuple[Path, int], ...] = ()

    @property
    def orientation(self) -> Orientation:
        """What the file says of its axes."""
        if self.kind in ("image", "dicom") and LEFT_RIGHT_UNKNOWN not in self.warnings:
            return "patient"
        return "unnamed" if self.unnamed_space else "none"


@dataclass(frozen=True, eq=False)
class Source:
    """The grid of the file a volume came from, and the way between the two.

    Attributes
    ----------
    shape : tuple of int
        Of the file; may have fewer or more than three axes, the further ones of length 1.
    affine : (4, 4) float64
        From (i, j, k) to LPS mm.
    axes : (3,) int
        File axis of each array axis.
    flips : (3,) bool
        Whether an array axis runs against its file axis.
    header : nibabel NIfTI header or None
    files : tuple of Path
        The DICOM files it was read from; see `Decoded`.
    frame_of_reference : str
        See `Decoded`.
    orientation : "patient", "unnamed" or "none"
        What the file says of its axes, more than which no label on its grid may say.
    frames : tuple of (Path, int)
        See `Decoded`.
    """

    shape: tuple[int, ...]
    affine: Float64
    axes: Index3
    flips: Flips
    header: Any
    files: tuple[Path, ...] = ()
    frame_of_reference: str = ""
    orientation: Orientation = "patient"
    frames: tuple[tuple[Path, int], ...] = ()

    @classmethod
    def of(cls, decoded: Decoded) -> Source:
        """Make the source of a decoded file."""
        axes, flips = lps_orientation(decoded.affine)
        files = tuple(file.absolute() for file in decoded.files)
        return cls(
            decoded.shape,
            decoded.affine,
            axes,
            flips,
            decoded.header,
            files,
            decoded.frame_of_reference,
            decoded.orientation,
            tuple((path.absolute(), number) for path, number in decoded.frames),
        )

    @property
    def grid(self) -> Index3:
        """Voxels along i, j, k."""
        i, j, k = (*self.shape, 1, 1, 1)[:3]
        return i, j, k

    @property
    def array_affine(self) -> Float64:
        """Affine (4, 4) float64 from array indices (z, y, x) to LPS mm."""
        return reorient_affine(self.affine, self.grid, self.axes, self.flips)

    def place_for(self, affine: Float64, grid: Sequence[int], known: bool) -> Float64:
        """Return where a label of this image lies if neither file says how the patient lies in it.

        Formats without orientation put the same voxels at different places. If both have as many
        voxels of the same size, they are this image's own, one by one; else the label's place stays
        as it is.

        Parameters
        ----------
        affine : (4, 4) float64
            Of the label, (i, j, k) to LPS mm.
        grid : (3,) int
            Voxels of the label along i, j, k.
        known : bool
            Whether the label's file says how the patient lies in it.
        """
        if known or self.orientation == "patient" or tuple(grid) != self.grid:
            return affine
        alike = np.allclose(voxel_sizes(affine), voxel_sizes(self.affine), rtol=_SAME_SIZE, atol=0)
        return self.affine if alike else affine

    def to_source(self, array: Array) -> Array:
        """Bring an array (z, y, x) or (z, y, x, 3) into the file's own axis order and shape."""
        expected = tuple(self.grid[axis] for axis in self.axes)
        if array.shape[:3] != expected:
            raise ValueError(f"expected an array (z, y, x) of {expected}, got {array.shape}")
        flipped = array[self._reversal]
        order = (*(int(axis) for axis in np.argsort(self.axes)), *range(3, array.ndim))
        in_order: Array = flipped.transpose(order).reshape(self.shape + array.shape[3:])
        return in_order

    def from_source(self, array: Array) -> Array:
        """Bring an array of the file's shape, or (i, j, k, 3), into array order (z, y, x)."""
        colour = array.shape[len(self.shape) :]
        if array.shape[: len(self.shape)] != self.shape:
            raise ValueError(f"expected an array of the file's {self.shape}, got {array.shape}")
        ijk = array.reshape(self.grid + colour)
        in_order: Array = ijk.transpose((*self.axes, *range(3, ijk.ndim)))[self._reversal]
        return in_order

    def box_to_source(self, lower: Index3, upper: Index3) -> tuple[Index3, Index3]:
        """Turn inclusive corners (z, y, x) into inclusive corners (i, j, k) of the file."""
        low, high = [0, 0, 0], [0, 0, 0]
        for axis, (file_axis, flip) in enumerate(zip(self.axes, self.flips, strict=True)):
            ends = self._mirrored(file_axis, flip, lower[axis], upper[axis])
            low[file_axis], high[file_axis] = min(ends), max(ends)
        return (low[0], low[1], low[2]), (high[0], high[1], high[2])

    def box_from_source(self, lower: Index3, upper: Index3) -> tuple[Index3, Index3]:
        """Turn inclusive corners (i, j, k) of the file, in any order, into corners (z, y, x).

        Raises
        ------
        PromptError
            If a corner lies outside the file's grid.
        """
        for corner in (lower, upper):
            if len(corner) != 3 or any(
                not 0 <= index < size for index, size in zip(corner, self.grid, strict=True)
            ):
                last = tuple(size - 1 for size in self.grid)
                raise PromptError(
                    f"The box corner {tuple(corner)} lies outside the image, whose voxels (i, j, k)"
                    f" run from (0, 0, 0) to {last}. Give two opposite corners inside it."
                )
        low, high = [], []
        for file_axis, flip in zip(self.axes, self.flips, strict=True):
            ends = self._mirrored(file_axis, flip, lower[file_axis], upper[file_axis])
            low.append(min(ends))
            high.append(max(ends))
        return (low[0], low[1], low[2]), (high[0], high[1], high[2])

    @property
    def _reversal(self) -> tuple[slice, ...]:
        return tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)

    def _mirrored(self, file_axis: int, flip: bool, *indices: int) -> tuple[int, ...]:
        return tuple(self.grid[file_axis] - 1 - i if flip else i for i in indices)


def too_short(path: Path, claimed: int, there: int) -> VolumeError:
    """Return the error of a file that has fewer bytes than it says."""
    return VolumeError(
        f"{path}: its header announces {claimed:,} bytes, but the file has only {there:,} bytes. "
        "It is incomplete or damaged: copy or export it again."
    )


def check_size(path: Path, claimed: int, compressed: bool, data_file: Path | None = None) -> None:
    """Refuse a file that claims more bytes than it, or memory, can hold, before they are allocated.

    Raises
    ------
    VolumeError
    """
    size = (data_file or path).stat().st_size
    if claimed > size * (MAX_COMPRESSION if compressed else 1):
        raise too_short(path, claimed, size)
    check_memory(path, claimed)


def check_memory(path: Path, claimed: int) -> None:
    """Refuse an image that takes more bytes than are free, before it takes them.

    Raises
    ------
    VolumeError
    """
    free = free_memory()
    if free is not None and claimed > free:
        raise VolumeError(
            f"{path}: is too large for this computer's memory: it takes {claimed / 2**30:,.1f} GB, "
            f"of which {free / 2**30:,.1f} GB are free. Close other programs, or crop or resample "
            "the image."
        )


@contextmanager
def enough_memory(path: Path) -> Iterator[None]:
    """Turn the error of memory that is full into one of the file that it was to hold."""
    try:
        yield
    except MemoryError as error:
        raise VolumeError(
            f"{path}: is too large for this computer's memory. Close other programs, or crop or "
            "resample the image."
        ) from error


def assumed_sizes(sizes: npt.ArrayLike) -> tuple[Float64, tuple[str, ...]]:
    """Return sizes of voxels with 1 mm for those that are not said (0 or NaN), and a warning."""
    found = np.array(sizes, np.float64)
    unsaid = (found == 0) | np.isnan(found)
    return np.where(unsaid, 1.0, found), (NO_SIZE,) if unsaid.any() else ()


def in_millimetres(units: Sequence[str]) -> tuple[list[float], tuple[str, ...]]:
    """Return how many mm each unit of a header is, none if it has none, and what to tell of it."""
    words = [unit.strip().lower() for unit in units]
    if not any(words):
        return [], ()
    scale = [_MM_PER_UNIT.get(word, 1.0) for word in words]
    unknown = sorted({word for word in words if word and word not in _MM_PER_UNIT})
    if unknown:
        return scale, (f"The header measures in {unknown[0][:40]!r}: mm are assumed instead.",)
    others = sorted({word for word in words if _MM_PER_UNIT.get(word, 1.0) != 1})
    if others:
        return scale, (f"The header measures in {others[0]}. Some programs take that for mm.",)
    return scale, ()


def checked(decoded: Decoded, where: str, *, is_label: bool = False) -> Decoded:
    """Return what was decoded with finite voxels and all that the user should know of it.

    Parameters
    ----------
    decoded : Decoded
    where : str
        What errors name.
    is_label : bool
        Whether it is a label: all voxels may have one value, and NaN is 0, not the lowest value.

    Raises
    ------
    VolumeError
        If the values or the geometry cannot be trusted.
    """
    data, value_warnings = (
        (nan_as_zero(decoded.data), ()) if is_label else _finite(where, decoded.data)
    )
    if data.min() == data.max() and not is_label:
        raise VolumeError(
            f"{where}: every voxel has the value {data.min()}, so there is nothing to segment. "
            "Check that the right file was opened."
        )
    affine = np.asarray(decoded.affine, np.float64)
    warnings = (*decoded.warnings, *_geometry_warnings(where, affine), *value_warnings)
    return replace(decoded, data=data, affine=affine, warnings=warnings)


def nan_as_zero(data: Array) -> Array:
    """Return a label's values with 0 for NaN, which some programs write where no structure is."""
    return np.where(np.isnan(data), 0, data) if data.dtype.kind == "f" else data


def _finite(where: str, data: Array) -> tuple[Array, tuple[str, ...]]:
    if data.dtype.kind != "f":
        return data, ()
    finite = np.isfinite(data)
    bad = data.size - int(np.count_nonzero(finite))
    if bad == 0:
        return data, ()
    if bad == data.size:
        raise VolumeError(f"{where}: no voxel has a value (all are NaN or Inf). Export it again.")
    lowest = data[finite].min()
    warning = f"{bad} voxels were NaN or Inf and are read as the lowest value, {lowest:g}."
    return np.where(finite, data, lowest), (warning,)


def _geometry_warnings(where: str, affine: Float64) -> tuple[str, ...]:
    # A damaged header holds anything.
    with np.errstate(over="ignore", invalid="ignore"):
        sizes = voxel_sizes(affine)
    if not (np.isfinite(affine).all() and np.isfinite(sizes).all() and (sizes > 0).all()):
        raise VolumeError(
            f"{where}: its header does not place the voxels in the patient (voxel sizes "
            f"{sizes.tolist()} mm). Export it again from the original."
        )
    if has_shear(affine):
        raise VolumeError(
            f"{where}: its axes are not at right angles (a sheared affine), so no slice shows the "
            "patient undistorted. Have it resampled to a straight grid."
        )
    if not is_oblique(affine):
        return ()
    return (f"The slices are tilted by {obliquity(affine):.1f} degrees against the patient axes.",)
