"""Labels: volumes of label ids with names, how their files are read, and how two come together."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import reduce
from itertools import combinations
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from napari_medsamq.array_types import Label
from napari_medsamq.errors import VolumeError
from napari_medsamq.io.dicom.reader import is_dicom
from napari_medsamq.io.dicom.references import RT_STRUCTURE_SET, read_kind
from napari_medsamq.io.dicom.rtstruct_reader import read_rtstruct
from napari_medsamq.io.dicom.seg import read_dicom_seg
from napari_medsamq.io.files import file_hash, provenance_path
from napari_medsamq.io.grid import (
    Grid,
    check_same_space,
    common_grid,
    finest,
    has_no_place,
    onto_grid,
    same_voxels,
)
from napari_medsamq.io.label_format import (
    DecodedLabel,
    Segment,
    Segments,
    check_labelled,
    given_segments,
    used_ids,
    whole_ids,
)
from napari_medsamq.io.nifti import is_nifti
from napari_medsamq.io.nifti_header import label_table
from napari_medsamq.io.nrrd import is_nrrd
from napari_medsamq.io.readers import decode
from napari_medsamq.io.seg_nrrd import read_text_label
from napari_medsamq.io.source import (
    LEFT_RIGHT_UNKNOWN,
    Decoded,
    Selection,
    checked,
    enough_memory,
)
from napari_medsamq.io.volume import Order, Volume, volume_name

# An image that is looked at in so many slices may be a label if it has no more values, and pixels
# have that of their neighbour to such a share.
_LOOKED_AT, _MOST_IDS, _PATCHY = 16, 256, 0.8


@dataclass(frozen=True, eq=False, repr=False)
class LabelFile:
    """A label, where it lies, and what its file says of it.

    Attributes
    ----------
    volume : Volume
        With the label ids, uint16, for values. Path and name are those of the label, also where it
        has been brought onto the grid of an image.
    segments : mapping of int to Segment
        Names and colours by label id, as far as the file or the one beside it has them.
    notes : tuple of str
        What the user should know about how the voxels came about.
    sha256 : str
        Of the file; empty where it is none.
    """

    volume: Volume
    segments: Segments
    notes: tuple[str, ...] = ()
    sha256: str = ""

    @classmethod
    def of(cls, volume: Volume, ids: Label, segments: Segments = MappingProxyType({})) -> LabelFile:
        """Make it of label ids (z, y, x) uint16 on the voxels of a volume."""
        return cls(replace(volume, data=ids), segments)

    def __repr__(self) -> str:
        named = ", ".join(f"{n} {name}" for n, name in self.label_names.items())
        return f"<LabelFile {self.volume.name}: {named or 'empty'}>"

    @property
    def label(self) -> Label:
        """The label ids (z, y, x) uint16."""
        return self.volume.data

    @property
    def path(self) -> Path:
        """Of its file; a mere name where it has none."""
        return self.volume.path or Path(self.volume.name)

    @property
    def ids(self) -> list[int]:
        """The label ids that have voxels, in ascending order."""
        return used_ids(self.label)

    @property
    def named(self) -> dict[int, Segment]:
        """What somebody has named: formats that need a name have the usual one for the others."""
        return {n: own for n, own in self.segments.items() if own != Segment.default(n)}

    @property
    def said(self) -> str:
        """Its notes in a sentence that names it; empty where there is none."""
        return f"{self.volume.name}: {' '.join(self.notes)}" if self.notes else ""

    @property
    def has_contours(self) -> bool:
        """Whether its file holds contours, so that its grid is only one that they were drawn on."""
        return self.volume.path is not None and _has_contours(self.volume.path)

    def segment(self, label_id: int) -> Segment:
        """Return name and colour of a label id; those of new labels where the file has none."""
        return self.segments.get(label_id) or Segment.default(label_id)

    @property
    def label_names(self) -> dict[int, str]:
        """The name of each label id that has voxels, in ascending order."""
        return {label_id: self.segment(label_id).name for label_id in self.ids}

    def label_array(self, order: Order = "file") -> Label:
        """Return the label ids (i, j, k) uint16 as an array of its own, or (z, y, x)."""
        return self.volume.in_order(self.label, order)

    def laid_on(self, image: Volume) -> LabelFile:
        """Return it as it lies on an image; as it is where its file says that itself.

        Contours are drawn on the image's slices; see also `Source.place_for`.

        Raises
        ------
        VolumeError
            If the file cannot be read any more, or its contours lie elsewhere.
        """
        if self.volume.path is not None and self.has_contours:
            return read_label_file(self.volume.path, image)
        return _placed(self, image)


def read_label_file(path: Path, like: Volume | None = None) -> LabelFile:
    """Read a label, which may be empty, on its own grid.

    Parameters
    ----------
    path : Path
        Of any format that images are read from, or a DICOM segmentation or structure set.
    like : Volume, optional
        The label's image, on whose slices contours are drawn; on a grid of their own without it.

    Returns
    -------
    label : LabelFile
        Names are those of the provenance beside the file, where that is of this very file, else its
        own.

    Raises
    ------
    VolumeError
        If it cannot be read, or its values are no label ids.
    """
    with enough_memory(path):
        try:
            decoded, segments, notes = _decode(path, None if like is None else like.grid)
            sha256 = file_hash(path) if path.is_file() else ""
        except OSError as error:
            raise VolumeError(
                f"{path}: cannot be opened ({error.strerror or error}). Check that you may read it."
            ) from error
        decoded = checked(decoded, str(path), is_label=True)
        volume = Volume.of(decoded, path.absolute(), volume_name(path))
        volume = replace(volume, data=whole_ids(str(path), volume.data))
        found = LabelFile(volume, {**segments, **_of_provenance(path, sha256)}, notes, sha256)
        return found if like is None else _placed(found, like)


def read_label(path: str | Path, like: Volume | None = None) -> LabelFile:
    """Read a label file, onto the grid of a volume if one is given.

    Voxels are copied where the grids are the same but for the order, direction or extent of their
    axes; elsewhere each voxel takes the label nearest to it, and the notes say so.

    Parameters
    ----------
    path : str or Path
        See `read_label_file`.
    like : Volume, optional
        Without it the label stays as it lies in its file, and may be empty.

    Raises
    ------
    VolumeError
        If the file holds no label, or one that lies elsewhere than the volume.
    """
    path = Path(path)
    if path.is_dir():
        raise VolumeError(f"{path}: is a folder. Choose the file with the label.")
    found = read_label_file(path, like)
    if like is None:
        return found
    check_labelled(path, found.label)
    moved = bring_onto(found, like)
    if not moved.label.any():
        raise VolumeError(
            f"{path}: no labelled voxel lies within the image: they show different parts of the "
            "body, or different patients. Choose the label of this image."
        )
    present = moved.ids
    return replace(moved, segments={n: own for n, own in moved.segments.items() if n in present})


def label_of_array(array: npt.ArrayLike, volume: Volume, order: Order = "file") -> LabelFile:
    """Make a label of an array of label ids, or of a mask, that belongs to a volume.

    Parameters
    ----------
    array : (i, j, k) or (z, y, x) integer or bool
    volume : Volume
    order : "file" or "anatomical"
        Of the array's axes.

    Raises
    ------
    VolumeError
        If it is not of the volume's shape, or its values are no label ids.
    """
    given, source = np.asarray(array), volume.source
    expected = source.grid if order == "file" else volume.data.shape[:3]
    if given.shape != expected and (order != "file" or given.shape != source.shape):
        raise VolumeError(
            f"The array: an array of {expected} voxels is needed, as the volume has in the axis "
            f"order {order!r}, not one of {given.shape}."
        )
    if given.dtype.kind not in "biuf":
        raise VolumeError(f"The array: a label holds whole numbers or bool, not {given.dtype}.")
    ids = whole_ids("The array", given.reshape(expected))
    if order == "file":
        ids = np.ascontiguousarray(volume.from_source(ids.reshape(source.shape)))
    return LabelFile.of(volume, ids)


def bring_onto(label: LabelFile, image: Volume) -> LabelFile:
    """Bring a label onto the grid of another volume, by nearest neighbours where it has its own.

    Its notes say so.

    Raises
    ------
    VolumeError
        If the grids differ and do not lie in the same physical space.
    """
    label = _placed(label, image)
    ids, notes = _moved(label, image.array_grid)
    volume = replace(image, data=ids, path=label.volume.path, name=label.volume.name)
    return replace(label, volume=volume, notes=notes)


def looks_like_label(volume: Volume) -> bool:
    """Tell whether an image may be a label: few whole numbers from 0 on, in patches.

    Parameters
    ----------
    volume : Volume
    """
    if volume.modality_source not in ("assumed", "ambiguous") or volume.data.ndim != 3:
        return False
    slices = volume.data[:: max(1, volume.data.shape[0] // _LOOKED_AT)]
    inside = slices[..., :-1] > 0
    if slices.min() != 0 or not inside.any() or np.unique(slices % 1).any():
        return False
    alike = (slices[..., :-1] == slices[..., 1:])[inside]
    return bool(alike.mean() > _PATCHY) and np.unique(slices).size <= _MOST_IDS


def same_grid(one: Volume, other: Volume) -> bool:
    """Tell whether the voxels of two volumes lie in the same places."""
    return same_voxels(one.array_grid, other.array_grid)


@dataclass(frozen=True, eq=False)
class CommonLabels:
    """Labels on one grid that holds all of each.

    Attributes
    ----------
    labels : tuple of (z, y, x) uint16
    files : tuple of LabelFile
        The same, each on its own grid.
    grid : Grid
        In array order.
    said : str
        What the user should know of how they came there; empty for nothing.
    """

    labels: tuple[Label, ...]
    files: tuple[LabelFile, ...]
    grid: Grid
    said: str

    @property
    def spacing(self) -> list[float]:
        """Size of a voxel (3,) in mm, array order."""
        spacing: list[float] = self.grid.spacing.tolist()
        return spacing

    def segment(self, label_id: int) -> Segment:
        """Return name and colour of a label id, of the first one that names it."""
        named = (own for own in self.files if label_id in own.named)
        return next(named, self.files[-1]).segment(label_id)


def on_common_grid(*labels: LabelFile) -> CommonLabels:
    """Bring two labels or more onto one grid that holds all of each, whichever comes first.

    It is of the lattice of the finest one; contours are drawn on that of one that has no contours.

    Raises
    ------
    VolumeError
        If they do not lie in the same physical space, or too far apart.
    """
    files = list(labels)
    placed = [n for n, own in enumerate(files) if not has_no_place(own.label)] or [0]
    drawn = [files[n].has_contours for n in placed]
    if any(drawn):
        grids = [files[n].volume.array_grid for n in placed]
        at_finest = [same_voxels(own, finest(grids)) for own in grids]
        base = files[placed[at_finest.index(True) if all(drawn) else drawn.index(False)]]
        for n in placed:
            files[n] = files[n] if files[n] is base else files[n].laid_on(base.volume)
    for n in placed:
        files[n] = _placed(files[n], files[placed[-1]].volume)
    for one, other in combinations([files[n].volume for n in placed], 2):
        if not same_grid(one, other):
            check_same_space(one.grid, other.grid)
    grid = reduce(common_grid, (files[n].volume.array_grid for n in placed))
    moved = [_moved(own, grid) for own in files]
    said = (replace(own, notes=notes).said for own, (_, notes) in zip(files, moved, strict=True))
    return CommonLabels(
        tuple(ids for ids, _ in moved), tuple(files), grid, " ".join(filter(None, said))
    )


def _decode(path: Path, like: Grid | None) -> tuple[Decoded, Segments, tuple[str, ...]]:
    """Read a label file of any format, with the names in it and what is to be said of it."""
    found = _decode_named(path, like)
    if found is None:
        decoded = decode(path, Selection())
        return decoded, label_table(decoded.header), ()
    decoded = Decoded(
        found.data,
        found.affine,
        "image",
        found.data.shape,
        warnings=() if found.orientation_known else (LEFT_RIGHT_UNKNOWN,),
        frame_of_reference=found.frame_of_reference,
    )
    return decoded, found.segments, found.notes


def _decode_named(path: Path, like: Grid | None) -> DecodedLabel | None:
    """Read a file of a format that is not one of images, or names labels; None for others."""
    if not path.is_file() or path.stat().st_size == 0 or path.suffix.lower() == ".npz":
        return None
    if is_nifti(path):
        return None
    if is_dicom(path):
        if _has_contours(path):
            return read_rtstruct(path, like)
        return read_dicom_seg(path)
    return read_text_label(path) if is_nrrd(path) else None


def _has_contours(path: Path) -> bool:
    """Tell whether a file holds contours, which have no grid of their own."""
    try:
        return path.is_file() and is_dicom(path) and read_kind(path) == RT_STRUCTURE_SET
    except OSError:
        # What cannot be opened is told where it is read.
        return False


def _of_provenance(path: Path, sha256: str) -> dict[int, Segment]:
    """Read names and colours from the provenance file beside a label, if it is that label's."""
    try:
        found = json.loads(provenance_path(path).read_bytes())
        if found["label"]["sha256"] != sha256:
            return {}
        return given_segments(
            (int(own["id"]), str(own["name"]), str(own.get("color"))) for own in found["labels"]
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        # None, or another program's; the label is good without it.
        return {}


def _placed(label: LabelFile, image: Volume) -> LabelFile:
    """Return a label at the place of its image; as it is where either says its own."""
    volume, own = label.volume, label.volume.source
    affine = image.source.place_for(own.affine, own.grid, volume.orientation_known)
    if np.array_equal(affine, own.affine):
        return label
    in_file = own.to_source(label.label).reshape(own.grid)
    decoded = Decoded(in_file, affine, "image", own.shape, warnings=volume.warnings)
    return replace(label, volume=Volume.of(decoded, volume.path, volume.name))


def _moved(label: LabelFile, grid: Grid) -> tuple[Label, tuple[str, ...]]:
    """Return a label on another grid in array order, and all that is to be said of it then."""
    volume, moved, notes = label.volume, label.label, label.notes
    if not same_voxels(volume.array_grid, grid):
        # In the file's own order, as what is said of its grid is read beside other programs.
        ids = volume.to_source(label.label).reshape(volume.source.grid)
        moved, more = onto_grid(ids, volume.grid, grid)
        notes += more
    return np.ascontiguousarray(moved), notes
