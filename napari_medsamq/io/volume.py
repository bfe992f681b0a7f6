"""Volumes: images in array order, and how they are read.

Arrays are in array order (z, y, x): the permutation and flips of the file's axes that come nearest
to the LPS grid, so that axis 0 runs towards S, axis 1 towards P and axis 2 towards L. World
coordinates are LPS millimetres.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from napari_medsamq.array_types import Float64
from napari_medsamq.errors import VolumeError
from napari_medsamq.geometry import Index3, voxel_sizes
from napari_medsamq.io.files import file_stem
from napari_medsamq.io.grid import Grid
from napari_medsamq.io.modality import (
    NO_HOUNSFIELD,
    Modality,
    ModalitySource,
    guess_modality,
    modality_of,
    why_no_hounsfield,
)
from napari_medsamq.io.readers import decode
from napari_medsamq.io.source import (
    LEFT_RIGHT_UNKNOWN,
    Array,
    Decoded,
    Selection,
    Source,
    VolumePart,
    checked,
    enough_memory,
)
from napari_medsamq.plain_text import as_html

# Of the axes of an array: (i, j, k) as in the file, or (z, y, x) towards S, P and L.
Order = Literal["file", "anatomical"]

# NIfTI's codes of spaces that are no scanner's: Talairach and MNI templates.
_TEMPLATE = 3


@dataclass(frozen=True, eq=False, repr=False)
class Volume:
    """An image in array order, and where it lies in the patient.

    Attributes
    ----------
    data : (z, y, x) array of the file's number type, or (z, y, x, 3) uint8
        Read-only. Intensities (HU if `hounsfield`), or RGB colours. A 2D image has one slice.
    affine : (4, 4) float64
        From array indices (z, y, x) to LPS mm; its columns follow the array axes.
    path : Path or None
        File or folder it was read from.
    name : str
        Of the file or folder; where it holds several series or volumes, also which this is.
    modality : "CT", "MR" or "other"
    modality_source : str
        "dicom", "case" and "picture" know it; "assumed" took it from the intensities; "ambiguous"
        is a mere guess that the user has to confirm; "chosen" is what the user said.
    no_hounsfield : str
        Why the values cannot be Hounsfield units even if it is a CT; empty where they may be.
    windowed : bool
        Whether the values are grey values 0..255 to be taken as they are.
    orientation_known : bool
        Whether the file says how the patient lies in it.
    warnings : tuple of str
        What the user should know about the file.
    source : Source
        The file's own grid.
    parts : tuple of VolumePart
        Which series and volume of the file or folder it is, where there are several.
    """

    data: Array
    affine: Float64
    path: Path | None
    name: str
    modality: Modality
    modality_source: ModalitySource
    no_hounsfield: str
    windowed: bool
    orientation_known: bool
    warnings: tuple[str, ...]
    source: Source
    parts: tuple[VolumePart, ...] = ()

    @classmethod
    def of(cls, decoded: Decoded, path: Path | None, name: str) -> Volume:
        """Make the volume of a decoded file, or of an array without one."""
        source = Source.of(decoded)
        in_file = decoded.data.reshape(decoded.shape + decoded.data.shape[3:])
        array = np.ascontiguousarray(source.from_source(in_file))
        array.flags.writeable = False
        modality, known_by = guess_modality(decoded, array)
        no_hounsfield = why_no_hounsfield(decoded, array)
        warnings = decoded.warnings
        if modality == "CT" and known_by != "ambiguous" and no_hounsfield:
            warnings += (NO_HOUNSFIELD.format(why=no_hounsfield),)
        eight_bit_picture = decoded.kind == "picture" and array.dtype == np.uint8
        return cls(
            data=array,
            affine=source.array_affine,
            path=path,
            name=" ".join((name, *(f"[{part}]" for part in decoded.parts))),
            modality=modality,
            modality_source=known_by,
            no_hounsfield=no_hounsfield,
            windowed=decoded.kind == "case" or eight_bit_picture or array.ndim == 4,
            orientation_known=source.orientation == "patient",
            warnings=warnings,
            source=source,
            parts=decoded.parts,
        )

    def __repr__(self) -> str:
        size = " x ".join(map(str, self.source.shape))
        mm = " x ".join(f"{size:.4g}" for size in voxel_sizes(self.source.affine))
        return f"<Volume {self.name}: {self.modality}, (i, j, k) {size} voxels of {mm} mm>"

    def _repr_html_(self) -> str:
        """Say the same, and what the user should know of it, for a notebook."""
        told = "".join(f"<li>{as_html(warning)}</li>" for warning in self.warnings)
        return f"<p>{as_html(repr(self)[1:-1])}</p><ul>{told}</ul>"

    @property
    def spacing(self) -> Float64:
        """Distance (3,) float64 between neighbouring voxels in mm, array order."""
        return voxel_sizes(self.affine)

    @property
    def hounsfield(self) -> bool:
        """Whether the values are Hounsfield units."""
        return self.modality == "CT" and not self.no_hounsfield

    @property
    def grid(self) -> Grid:
        """The voxels of the file, in its own axis order."""
        header, template = self.source.header, False
        if header is not None:
            template = (int(header["sform_code"]) or int(header["qform_code"])) >= _TEMPLATE
        return Grid(
            self.name if self.path is None else str(self.path),
            self.source.grid,
            self.source.affine,
            self.orientation_known,
            self.source.frame_of_reference,
            template,
        )

    @property
    def array_grid(self) -> Grid:
        """The voxels in array order (z, y, x)."""
        z, y, x = self.data.shape[:3]
        return replace(self.grid, shape=(z, y, x), affine=self.affine)

    def with_modality(self, modality: Modality) -> Volume:
        """Return the same volume with the modality the user chose."""
        told = NO_HOUNSFIELD.format(why=self.no_hounsfield)
        warnings = tuple(warning for warning in self.warnings if warning != told)
        if modality == "CT" and self.no_hounsfield:
            warnings += (told,)
        return replace(self, modality=modality, modality_source="chosen", warnings=warnings)

    def slice(self, axis: int, index: int) -> Array:
        """Return a view (H, W) or (H, W, 3) of the slice across an array axis."""
        view: Array = np.moveaxis(self.data, axis, 0)[index]
        return view

    def slice_count(self, axis: int) -> int:
        """Return the number of slices along an array axis."""
        return int(self.data.shape[axis])

    def pixel_size(self, axis: int) -> tuple[float, float]:
        """Return height and width in mm of the pixels of the slices across an array axis."""
        rows, columns = np.delete(self.spacing, axis)
        return float(rows), float(columns)

    def to_source(self, array: Array) -> Array:
        """Bring an array (z, y, x) or (z, y, x, 3) into the file's own axis order and shape."""
        return self.source.to_source(array)

    def in_order(self, array: Array, order: Order) -> Array:
        """Return a copy of an array (z, y, x) in the axes of the file, (i, j, k), or as it is.

        Parameters
        ----------
        array : (z, y, x)
        order : "file" or "anatomical"

        Raises
        ------
        ValueError
            If there is no such order.
        """
        if order not in get_args(Order):
            raise ValueError(f"order is 'file' or 'anatomical', not {order!r}")
        return np.array(self.to_source(array) if order == "file" else array, order="C")

    def from_source(self, array: Array) -> Array:
        """Bring an array in the file's own axis order and shape into array order (z, y, x)."""
        return self.source.from_source(array)

    def box_to_source(self, lower: Index3, upper: Index3) -> tuple[Index3, Index3]:
        """Turn inclusive corners (z, y, x) into inclusive corners (i, j, k) of the file."""
        return self.source.box_to_source(lower, upper)

    def box_from_source(self, lower: Index3, upper: Index3) -> tuple[Index3, Index3]:
        """Turn inclusive corners (i, j, k) of the file into lower and upper corner (z, y, x).

        Raises
        ------
        PromptError
            If a corner lies outside the file's grid.
        """
        return self.source.box_from_source(lower, upper)


def read_volume(
    path: str | Path,
    series: str | None = None,
    volume: int | None = None,
    resample: bool = False,
    *,
    is_label: bool = False,
) -> Volume:
    """Read a medical image.

    Parameters
    ----------
    path : str or Path
        NIfTI, NRRD, MetaImage, Analyze, DICOM (a folder or one file), PNG, JPEG, TIFF, or a
        MedSAM case (.npz).
    series : str, optional
        Series Instance UID, where a DICOM folder holds several.
    volume : int, optional
        Number of the volume, from 1, where there are several: time points, echoes.
    resample : bool
        Whether DICOM slices that are unevenly spaced or tilted are interpolated to an even grid.
    is_label : bool
        Whether it is a label: all voxels may have one value, and NaN is 0, not the lowest value.

    Returns
    -------
    volume : Volume

    Raises
    ------
    ChoiceError
        If there are several series or volumes, and none was chosen.
    UnevenSlicesError
        If slices have to be resampled first.
    VolumeError
        If there is no image to read, or its geometry or values cannot be trusted.
    """
    path = Path(path)
    with enough_memory(path):
        decoded = decode(path, Selection(series, volume, resample))
        return Volume.of(
            checked(decoded, str(path), is_label=is_label), path.absolute(), volume_name(path)
        )


def volume_from_array(
    data: npt.ArrayLike,
    spacing: Sequence[float],
    *,
    affine: npt.ArrayLike | None = None,
    modality: str,
    name: str = "array",
) -> Volume:
    """Make a volume of an array in the axis order (i, j, k) that its labels are to have.

    Parameters
    ----------
    data : (i, j, k) or (i, j) array
        Whole numbers or floats; with a last axis of 3 or 4 where it holds uint8 colours, of which
        transparency is left out.
    spacing : (3,) or (2,) float
        Distance between neighbouring voxels along i, j, k in mm.
    affine : (4, 4) float, optional
        From (i, j, k) to LPS mm, its columns as long as the spacing. nibabel's is RAS mm: put
        `np.diag([-1, -1, 1, 1]) @` before it. Without it i, j, k run towards L, P and S, and the
        volume's warnings say that left and right are unknown.
    modality : "CT", "MR" or "other"
        Values of a CT are Hounsfield units.
    name : str
        What errors call it.

    Returns
    -------
    volume : Volume
        Shares the array's memory where it can.

    Raises
    ------
    VolumeError
        If shape, values, spacing, affine or modality cannot be used.

    Examples
    --------
    >>> volume = volume_from_array(np.arange(24).reshape(4, 3, 2), (1, 1, 5), modality="MR")
    >>> volume.data.shape, volume.spacing.tolist()
    ((2, 3, 4), [5.0, 1.0, 1.0])
    """
    array, sizes = _checked_array(data, spacing, name)
    flat = len(sizes) == 2
    if flat:
        array, sizes = array[:, :, None], [*sizes, 1.0]
    place = np.diag([*sizes, 1.0])
    warnings: tuple[str, ...] = (LEFT_RIGHT_UNKNOWN,)
    if affine is not None:
        try:
            place, warnings = np.array(affine, np.float64), ()
        except (TypeError, ValueError) as error:
            raise VolumeError(f"{name}: an affine (4, 4) is needed ({error}).") from error
        if place.shape != (4, 4) or not np.allclose(voxel_sizes(place), sizes, rtol=1e-3, atol=0):
            raise VolumeError(
                f"{name}: an affine (4, 4) is needed whose columns are as long as the spacing of "
                f"{sizes} mm, not one of shape {place.shape}: {place.tolist()}."
            )
    shape = array.shape[: 2 if flat else 3]
    decoded = Decoded(array, place, "image", shape, warnings=warnings)
    return Volume.of(checked(decoded, name), None, name).with_modality(modality_of(modality))


def volume_from_slices(data: npt.ArrayLike, spacing: Sequence[float], name: str) -> Volume:
    """Make a volume of slices that have no file, as napari shows them.

    Parameters
    ----------
    data : (z, y, x) or (y, x) array
        With a last axis of 3 or 4 where it holds uint8 colours; transparency is left out.
    spacing : (3,) or (2,) float
        In mm, one size for each axis but that of the colours.
    name : str

    Returns
    -------
    volume : Volume
        With the axes of an untilted LPS grid; shares the array's memory where it can.

    Raises
    ------
    VolumeError
        If the values or the spacing cannot be used.
    """
    array, sizes = _checked_array(data, spacing, name)
    if len(sizes) == 2:
        array, sizes = array[None], [1.0, *sizes]
    ijk = array.transpose(2, 1, 0, *range(3, array.ndim))
    affine = np.diag([*sizes[::-1], 1.0])
    decoded = Decoded(ijk, affine, "image", ijk.shape[:3], warnings=(LEFT_RIGHT_UNKNOWN,))
    return Volume.of(checked(decoded, name), None, name)


def _checked_array(
    data: npt.ArrayLike, spacing: Sequence[float], name: str
) -> tuple[Array, list[float]]:
    """Return an image without transparency, and the sizes of its voxels in mm."""
    array = np.asarray(data)
    try:
        sizes = [float(size) for size in spacing]
    except (TypeError, ValueError) as error:
        raise VolumeError(
            f"{name}: the spacing is a size in mm for each axis ({error})."
        ) from error
    colours = array.shape[len(sizes) :]
    if len(sizes) not in (2, 3) or array.ndim < len(sizes) or 0 in array.shape:
        raise VolumeError(
            f"{name}: a 2D or 3D image with a size of voxels for each axis is needed, not one of "
            f"shape {array.shape} with {len(sizes)}."
        )
    if array.dtype.kind not in "iuf" or (
        colours and (colours not in ((3,), (4,)) or array.dtype != np.uint8)
    ):
        raise VolumeError(
            f"{name}: is {array.dtype} of shape {array.shape}; one number or one 8-bit RGB colour "
            "per voxel is needed. Take one channel or time point of it."
        )
    if not all(size > 0 for size in sizes):
        raise VolumeError(f"{name}: the spacing has to be above 0, not {sizes} mm.")
    return array[..., : 3 if colours else None], sizes


def volume_hash(volume: Volume) -> str:
    """Return the SHA-256 of a volume's voxels, shape and affine: 0.2 s for 512 x 512 x 300."""
    digest = hashlib.sha256()
    digest.update(f"{volume.data.shape} {volume.data.dtype.str}".encode())
    # Rounded, so that the same file gives the same hash on every computer.
    # Added to, as -0.0 has other bytes than 0.0.
    digest.update((np.round(volume.affine, 4) + 0.0).tobytes())
    for plane in volume.data:
        digest.update(np.ascontiguousarray(plane).data)
    return digest.hexdigest()


def volume_name(path: Path) -> str:
    """Return what the volume of a file or folder is called."""
    name = path.resolve().name
    return name if path.is_dir() else file_stem(name)
