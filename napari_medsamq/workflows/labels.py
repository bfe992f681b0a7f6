"""Labels of scripts, in files and in numbers: arrays have the axes of the volume's own file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from napari_medsamq.analysis import comparison, statistics
from napari_medsamq.analysis.comparison import DEFAULT_TOLERANCE_MM, Agreement
from napari_medsamq.analysis.statistics import LabelStatistics
from napari_medsamq.annotation.label_model import LabelModel
from napari_medsamq.errors import SaveError
from napari_medsamq.io import label_writer, labels
from napari_medsamq.io.label_writer import SaveReceipt, check_target
from napari_medsamq.io.labels import LabelFile, on_common_grid, read_label_file
from napari_medsamq.io.segments import Segment
from napari_medsamq.io.volume import Volume
from napari_medsamq.records.provenance import LabelSnapshot, Saved, save_with_provenance
from napari_medsamq.records.report import make_report, report_path, write_report
from napari_medsamq.workflows.file_arrays import Order, array_ids, in_order
from napari_medsamq.workflows.session import Session


@dataclass(frozen=True, eq=False)
class LabelImage:
    """A label of a file, and the volume whose voxels it has; made by `read_label`.

    Attributes
    ----------
    file : LabelFile
        The same in anatomical array order (z, y, x).
    volume : Volume
        Where it lies.
    """

    file: LabelFile
    volume: Volume

    @property
    def label_names(self) -> dict[int, str]:
        """The name of each label id that has voxels, in ascending order."""
        return {label_id: self.file.segment(label_id).name for label_id in self.file.ids}

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about how the voxels came onto their grid."""
        return self.file.notes

    def label_array(self, order: Order = "file") -> npt.NDArray[np.uint16]:
        """Return the label ids (i, j, k) uint16 as an array of its own, or (z, y, x)."""
        return in_order(self.volume, self.file.label, order)


def read_label(path: str | Path, like: Volume | None = None) -> LabelImage:
    """Read a label file.

    Parameters
    ----------
    path : str or Path
        Of any format that volumes are read from, or a DICOM segmentation or structure set.
    like : Volume, optional
        The volume onto whose voxels it is brought, by nearest neighbours where its own are others;
        without it, it stays as it lies in its file, and may be empty.

    Raises
    ------
    VolumeError
        If the file holds no label, or one that lies elsewhere than the volume.
    """
    found = read_label_file(Path(path)) if like is None else labels.read_label(path, like)
    return LabelImage(found, like or found.volume)


def write_label(
    path: str | Path,
    label: npt.ArrayLike,
    like: Volume,
    *,
    names: Mapping[int, str] | None = None,
    order: Order = "file",
    overwrite: bool = False,
) -> SaveReceipt:
    """Save an array of label ids on the grid of a volume; read back and compared.

    Parameters
    ----------
    path : str or Path
        Its suffix says in which format: .nii.gz or .nii (NIfTI), .seg.nrrd (3D Slicer), .dcm (DICOM
        segmentation) or .rtstruct.dcm (DICOM structure set).
    label : (i, j, k) integer or bool
        Values 0 to 65535, in the axes of the volume's file.
    like : Volume
    names : mapping of int to str, optional
        Names of label ids, for the formats that hold them.
    order : "file" or "anatomical"
        Of the array's axes: (i, j, k), or (z, y, x) as `Volume.data` has them.
    overwrite : bool
        Whether a file at `path` is replaced.

    Raises
    ------
    SaveError
        If there is such a file already, or it cannot be written.
    VolumeError
        If the array is not of the volume's shape, or its values are no label ids.
    """
    path = Path(path)
    check_new(path, overwrite)
    check_target(path, like.path, like.source)
    ids = array_ids(label, like, order)
    segments = {n: Segment(name, Segment.default(n).color) for n, name in (names or {}).items()}
    return label_writer.write_label(path, ids, like, segments)


def save(
    label: Session | LabelModel | LabelImage | npt.ArrayLike,
    path: str | Path,
    *,
    like: Volume | None = None,
    overwrite: bool = False,
    report: bool = False,
    with_name: bool = False,
) -> Saved:
    """Save a label on the grid of its volume's file; it is read back and compared.

    That of a session gets a file beside it that says how it came about.

    Parameters
    ----------
    label : Session, LabelImage or (i, j, k) integer or bool
        An array has the axes of the volume's file; see `write_label`.
    path : str or Path
        Its suffix says in which format; see `write_label`.
    like : Volume, optional
        The volume that an array belongs to.
    overwrite : bool
        Whether a file at `path` is replaced.
    report : bool
        Whether a page (HTML) about the label of a session is written beside it.
    with_name : bool
        Whether the file beside it has the image's name, which often is the patient's.

    Returns
    -------
    saved : Saved
        What was written where; `problem` says what could not be written beside the label.

    Raises
    ------
    SaveError
        If there is such a file already, or it cannot be written.
    VolumeError
        If an array is not of the volume's shape, or its values are no label ids.
    ValueError
        If an array comes without `like`, or a report is asked of what is no session.
    """
    path = Path(path)
    model = label.annotation if isinstance(label, Session) else label
    if isinstance(model, LabelModel):
        volume = model.volume
        check_new(path, overwrite)
        check_target(path, volume.path, volume.source)
        page = report_path(path) if report else None
        if page is not None:
            check_new(page, overwrite)
        saved = save_with_provenance(path, LabelSnapshot.of(model), names=with_name)
        if page is not None:
            write_report(page, make_report(path, volume), replace=overwrite)
        return saved
    if report:
        raise ValueError("only the label of a session has a past that a report could tell")
    if isinstance(model, LabelImage):
        like, names, array = model.volume, model.label_names, model.label_array()
        return Saved(write_label(path, array, like, names=names, overwrite=overwrite), None)
    if like is None:
        raise ValueError("an array needs like=volume, on whose grid it is saved")
    return Saved(write_label(path, model, like, overwrite=overwrite), None)


def check_new(path: Path, overwrite: bool = False) -> None:
    """Refuse to replace a file unasked.

    Raises
    ------
    SaveError
    """
    if path.exists() and not overwrite:
        raise SaveError(
            f"{path} exists. Choose another name, or add --overwrite (in Python overwrite=True)."
        )


def label_statistics(
    label: Session | LabelImage | npt.ArrayLike, volume: Volume | None = None
) -> dict[int, LabelStatistics]:
    """Measure the labels of a volume: size, intensities and diameters.

    Parameters
    ----------
    label : Session, LabelImage or (i, j, k) integer or bool
        An array has the axes of the volume's file.
    volume : Volume, optional
        That of the session or the label if not given.

    Returns
    -------
    found : dict of int to LabelStatistics
        By label id, in ascending order.

    Raises
    ------
    VolumeError
        If the label is not of the volume's shape, or its values are no label ids.
    ValueError
        If an array comes without a volume.
    """
    placed = _placed(label, volume)
    return statistics.label_statistics(volume or placed.volume, placed.file.label)


def compare_labels(
    a: Session | LabelImage | npt.ArrayLike,
    b: Session | LabelImage | npt.ArrayLike,
    tolerance_mm: float = DEFAULT_TOLERANCE_MM,
    *,
    like: Volume | None = None,
) -> dict[int, Agreement]:
    """Compare two labels of one patient, by each id that either has.

    Where their grids differ, the coarser one is brought onto the finer one by nearest neighbours.

    Parameters
    ----------
    a, b : Session, LabelImage or (i, j, k) integer or bool
    tolerance_mm : float
        Distance up to which surfaces agree.
    like : Volume, optional
        The volume whose file's axes arrays have.

    Returns
    -------
    found : dict of int to Agreement
        By label id, in ascending order.

    Raises
    ------
    VolumeError
        If they do not lie in the same physical space, or an array is not of the volume's shape.
    ValueError
        If an array comes without a volume.
    """
    pair = on_common_grid(_placed(a, like).file, _placed(b, like).file)
    return comparison.compare_labels(pair.a, pair.b, pair.spacing, tolerance_mm)


def _placed(label: Session | LabelImage | npt.ArrayLike, volume: Volume | None) -> LabelImage:
    if isinstance(label, LabelImage):
        return label
    if isinstance(label, Session):
        return LabelImage(LabelFile.of(label.volume, label.annotation.label), label.volume)
    if volume is None:
        raise ValueError("an array needs the volume that it belongs to")
    return LabelImage(LabelFile.of(volume, array_ids(label, volume)), volume)
