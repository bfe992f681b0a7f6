"""Labels of scripts, in files and in numbers: arrays have the axes of the volume's own file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy.typing as npt

from napari_medsamq.analysis import comparison, statistics
from napari_medsamq.analysis.comparison import DEFAULT_TOLERANCE_MM, Agreement
from napari_medsamq.analysis.statistics import LabelStatistics
from napari_medsamq.annotation.label_model import LabelModel
from napari_medsamq.errors import SaveError, VolumeError
from napari_medsamq.io import label_writer
from napari_medsamq.io.label_format import Segment
from napari_medsamq.io.label_writer import SaveReceipt, check_target
from napari_medsamq.io.labels import LabelFile, label_of_array, on_common_grid
from napari_medsamq.io.volume import Order, Volume
from napari_medsamq.records.provenance import LabelSnapshot, Saved, save_with_provenance
from napari_medsamq.records.report import make_report, report_path, write_report
from napari_medsamq.workflows.session import Session


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
    ids = label_of_array(label, like, order).label
    segments = {n: Segment(name, Segment.default(n).color) for n, name in (names or {}).items()}
    check_free(path, like, overwrite)
    return label_writer.write_label(path, ids, like, segments)


def save(
    label: Session | LabelModel | LabelFile | npt.ArrayLike,
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
    label : Session, LabelFile or (i, j, k) integer or bool
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
        check_free(path, model.volume, overwrite)
        page = report_path(path)
        if report:
            check_new(page, overwrite)
        saved = save_with_provenance(path, LabelSnapshot.of(model), names=with_name)
        if report:
            write_report(page, make_report(path, model.volume), replace=overwrite)
        return saved
    if report:
        raise ValueError("only the label of a session has a past that a report could tell")
    found = _placed(model, like)
    check_free(path, like or found.volume, overwrite)
    return Saved(label_writer.write_label(path, found.label, found.volume, found.segments), None)


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


def check_free(path: str | Path, volume: Volume, overwrite: bool = False) -> None:
    """Refuse what is no place for a label: a file that is there unasked, and a volume's own ones.

    Raises
    ------
    SaveError
    """
    check_new(Path(path), overwrite)
    check_target(Path(path), volume.path, volume.source)


def label_statistics(
    label: Session | LabelFile | npt.ArrayLike, volume: Volume | None = None
) -> dict[int, LabelStatistics]:
    """Measure the labels of a volume: size, intensities and diameters.

    Parameters
    ----------
    label : Session, LabelFile or (i, j, k) integer or bool
        An array has the axes of the volume's file.
    volume : Volume, optional
        Whose intensities are measured; that of the session if not given.

    Returns
    -------
    found : dict of int to LabelStatistics
        By label id, in ascending order.

    Raises
    ------
    VolumeError
        If the label is not of the volume's shape, or its values are no label ids.
    ValueError
        If no volume is given for what is no session.
    """
    if volume is None and isinstance(label, Session):
        volume = label.volume
    if volume is None:
        raise ValueError("the volume is needed whose intensities are measured")
    found = _placed(label, volume)
    if volume.data.shape[:3] != found.label.shape:
        raise VolumeError(f"{volume.name}: the label has voxels of another volume.")
    return statistics.label_statistics(volume, found.label)


def compare_labels(
    a: Session | LabelFile | npt.ArrayLike,
    b: Session | LabelFile | npt.ArrayLike,
    tolerance_mm: float = DEFAULT_TOLERANCE_MM,
    *,
    like: Volume | None = None,
) -> dict[int, Agreement]:
    """Compare two labels of one patient, by each id that either has.

    Where their grids differ, the coarser one is brought onto the finer one by nearest neighbours.

    Parameters
    ----------
    a, b : Session, LabelFile or (i, j, k) integer or bool
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
    pair = on_common_grid(_placed(a, like), _placed(b, like))
    one, other = pair.labels
    return comparison.compare_labels(one, other, pair.spacing, tolerance_mm)


def _placed(label: Session | LabelFile | npt.ArrayLike, volume: Volume | None) -> LabelFile:
    if isinstance(label, LabelFile):
        return label
    if isinstance(label, Session):
        return LabelFile.of(label.volume, label.annotation.label)
    if volume is None:
        raise ValueError("an array needs the volume that it belongs to")
    return label_of_array(label, volume)
