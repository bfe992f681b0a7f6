"""From the label of a prior scan to boxes on a new one, and what has changed since."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil, floor
from pathlib import Path
from typing import Any

import numpy as np

from napari_medsamq.analysis.comparison import describe_change
from napari_medsamq.analysis.registration import Motion, describe_motion, register
from napari_medsamq.analysis.statistics import row_ends
from napari_medsamq.annotation.history import LabelStyle
from napari_medsamq.annotation.session import AnnotationSession
from napari_medsamq.array_types import Bool, Float64
from napari_medsamq.errors import MedSAMQError, PromptError, ProvenanceError, VolumeError
from napari_medsamq.geometry import Index3, voxel_ml
from napari_medsamq.io.files import file_hash, file_stem
from napari_medsamq.io.grid import check_same_space
from napari_medsamq.io.labels import LabelFile, looks_like_label, same_grid
from napari_medsamq.io.readers import can_read
from napari_medsamq.io.seg_nrrd import SUFFIX as SEG_NRRD
from napari_medsamq.io.volume import Volume, read_volume
from napari_medsamq.prompts import BoxPrompt, BoxPrompt3D, box_between, two_pixels
from napari_medsamq.records.provenance import Saved, read_provenance
from napari_medsamq.workflows.labels import save
from napari_medsamq.workflows.session import Session

# Corners of voxels that lie on each other but for rounding.
_ROUNDING = 1e-3
# What people add to the name of an image to name its label.
_LABEL_ENDING = re.compile(r"[ ._-](labels?|seg|segmentation|mask)$", re.IGNORECASE)


@dataclass(frozen=True)
class PriorLabel:
    """A label of a prior scan, and where it is expected on the new one.

    Attributes
    ----------
    label_id : int
    style : LabelStyle
    millilitres : float
        In the prior scan.
    box : BoxPrompt3D or BoxPrompt or None
        On the new scan; None where it lies outside.
    cut : bool
        Whether a part of it lies outside the new scan.
    """

    label_id: int
    style: LabelStyle
    millilitres: float
    box: BoxPrompt3D | BoxPrompt | None
    cut: bool


@dataclass(frozen=True)
class Change:
    """What has become of a label since a prior scan.

    Attributes
    ----------
    name : str
    prior_ml, new_ml : float
    note : str
        What is to be known of it; empty for nothing.
    """

    name: str
    prior_ml: float
    new_ml: float
    note: str = ""

    @property
    def difference_ml(self) -> float:
        """The new volume less the prior one."""
        return self.new_ml - self.prior_ml

    @property
    def difference_percent(self) -> float | None:
        """The same in % of the prior volume; None where that is 0."""
        return 100 * self.difference_ml / self.prior_ml if self.prior_ml else None

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as JSON can hold it."""
        return {
            "name": self.name,
            "prior_ml": self.prior_ml,
            "new_ml": self.new_ml,
            "difference_ml": self.difference_ml,
            "difference_percent": self.difference_percent,
            "note": self.note,
        }

    def __str__(self) -> str:
        return describe_change(self.difference_ml, self.difference_percent)


def propose_image(label: Path) -> Path | None:
    """Return the image beside a label that it was drawn on, by provenance or name; None if none is.

    Examples
    --------
    `liver_label.nii.gz` lies beside `liver.nrrd`.
    """
    stem = file_stem(label.name)
    names = [*_image_name(label), _LABEL_ENDING.sub("", stem), stem]
    try:
        others = sorted(path for path in label.parent.iterdir() if path != label)
        named = [path for name in names for path in others if file_stem(path.name) == name]
        return next((path for path in named if can_read(path) and not _is_label(path)), None)
    except OSError:
        # A folder that does not let itself be listed; the user can name the image.
        return None


def _image_name(label: Path) -> list[str]:
    """Return how the provenance beside a label file names its image; nothing where none does."""
    try:
        found = read_provenance(label)
        return [str(found["image"]["name"])] * (found["label"]["sha256"] == file_hash(label))
    except (ProvenanceError, KeyError, TypeError):
        # None is there, it is another label's, or it does not name the image.
        return []


def _is_label(path: Path) -> bool:
    """Tell whether a file is a label by what lies beside it, its name, or its voxels."""
    if path.is_dir():
        return False
    if _image_name(path) or path.name.lower().endswith(SEG_NRRD):
        return True
    try:
        return looks_like_label(read_volume(path))
    except MedSAMQError:
        # What cannot be read, or holds several volumes, is told once it is chosen.
        return False


def find_motion(
    prior: LabelFile, scan: Volume, new: Volume, go_on: Callable[[float], bool] = lambda _: True
) -> tuple[Motion, str]:
    """Find how the patient has moved since a prior scan, and say it of the middle of its label.

    Parameters
    ----------
    prior : LabelFile
    scan : Volume
        The image that the label belongs to.
    new : Volume
    go_on : callable
        As of `register`.

    Raises
    ------
    StoppedError
    VolumeError
        If the label does not lie on that scan, or the scan cannot be registered to the new one.
    """
    if not same_grid(prior.volume, scan):
        check_same_space(prior.volume.grid, scan.grid)
    motion = register(scan, new, go_on)
    middle = np.argwhere(prior.label).mean(0) if prior.ids else np.zeros(3)
    return motion, describe_motion(motion, (prior.volume.affine @ [*middle, 1.0])[:3])


def prior_labels(
    prior: LabelFile,
    new: Volume,
    motion: Float64 | None = None,
    margin_mm: float = 0.0,
    axis: int = 0,
) -> list[PriorLabel]:
    """Map the labels of a prior scan to boxes on a new one.

    Parameters
    ----------
    prior : LabelFile
        As it lies on its image, or on the new one where no motion is given; see
        `LabelFile.laid_on`.
    new : Volume
    motion : (4, 4) float64, optional
        Rigid, from LPS mm of the prior scan to LPS mm of the new one; both have one frame if not
        given.
    margin_mm : float
        By how much each box is enlarged on all sides.
    axis : int
        Array axis along which 3D boxes are carried.

    Returns
    -------
    labels : list of PriorLabel
        The largest one first, so that those within others keep their voxels.

    Raises
    ------
    VolumeError
        If the prior label is empty, or does not lie in the same physical space as the new scan.
    """
    if not prior.ids:
        raise VolumeError(
            f"{prior.volume.name}: the prior label is empty, so there is nothing to follow up."
        )
    if motion is None:
        if not same_grid(prior.volume, new):
            try:
                check_same_space(prior.volume.grid, new.grid)
            except VolumeError as error:
                raise VolumeError(
                    f"{error} Or name the image of the prior label (--prior-image; the dock asks "
                    "for it): how the patient has moved is found then."
                ) from error
        motion = np.eye(4)
    into = np.linalg.inv(new.affine) @ motion @ prior.volume.affine
    found = []
    for label_id in prior.ids:
        mask = prior.label == label_id
        span = _span(mask, into, margin_mm / new.spacing)
        box, cut = _box(*span, new, axis)
        size = int(np.count_nonzero(mask)) * voxel_ml(prior.volume.spacing)
        known = prior.segment(label_id)
        style = LabelStyle(known.name, known.color)
        found.append(PriorLabel(label_id, style, size, box, cut))
    return sorted(found, key=lambda label: -label.millilitres)


@dataclass(frozen=True, eq=False)
class FollowUp:
    """What a follow-up has brought.

    Attributes
    ----------
    changes : dict of int to Change
        By label id, in ascending order.
    saved : Saved
        Of the new label.
    model : str
    """

    changes: dict[int, Change]
    saved: Saved
    model: str


def follow_up(labels: list[PriorLabel], session: Session, output: Path) -> FollowUp:
    """Segment the boxes of a prior scan's labels on a new one, and save the new label.

    Parameters
    ----------
    labels : list of PriorLabel
        As `prior_labels` gives them.
    session : Session
        Of the new scan.
    output : Path
        File for the new label, which is replaced.

    Raises
    ------
    PromptError
        If no label lies within the new scan, or nothing is found in any box.
    ModelError, SaveError
    """
    new, annotation = session.volume, session.annotation
    if all(label.box is None for label in labels):
        raise PromptError(
            f"No label of the prior scan lies within {new.name}. Check that both are of the same "
            "part of one patient, or give the prior image to have it registered."
        )
    notes: dict[int, str] = {}
    for label in labels:
        label_id = label.label_id
        annotation.set_style(label_id, label.style)
        if label.box is None:
            notes[label_id] = "outside the new image"
            continue
        if label.cut:
            notes[label_id] = "its box was cut at the edge of the new image"
        try:
            session.add_prompt(label.box, label_id)
        except PromptError:
            notes[label_id] = "nothing found in its box"
    if not annotation.history.voxel_counts:
        raise PromptError(
            "The network found nothing in any box of the prior scan. Give the prior image to have "
            "it registered, or draw boxes on the new image."
        )
    saved = save(session, output, overwrite=True)
    return FollowUp(changes_since(labels, annotation, notes), saved, session.model)


def changes_since(
    labels: list[PriorLabel], session: AnnotationSession, notes: Mapping[int, str] | None = None
) -> dict[int, Change]:
    """Return what has become of the labels of a prior scan, by label id in ascending order."""
    own_ml = voxel_ml(session.volume.spacing)
    counts = session.history.voxel_counts
    said = notes or {}
    return {
        label.label_id: Change(
            label.style.name,
            label.millilitres,
            counts.get(label.label_id, 0) * own_ml,
            said.get(label.label_id, ""),
        )
        for label in sorted(labels, key=lambda label: label.label_id)
    }


def _span(mask: Bool, into: Float64, margin: Float64) -> tuple[Float64, Float64]:
    """Return where the voxels of a mask, whole ones, begin and end on another grid: two (3,)."""
    # A row's own ends reach as far as anything in it.
    mapped = row_ends(mask) @ into[:3, :3].T + into[:3, 3]
    half = np.abs(into[:3, :3]).sum(1) / 2 + margin
    return mapped.min(0) - half, mapped.max(0) + half


def _box(
    begin: Float64, end: Float64, new: Volume, axis: int
) -> tuple[BoxPrompt3D | BoxPrompt | None, bool]:
    """Return the box of voxels whose middles lie within a span, and whether the image cuts it."""
    lower, upper = [], []
    cut = False
    for number, (low, high, size) in enumerate(
        zip(begin.tolist(), end.tolist(), new.data.shape[:3], strict=True)
    ):
        first, last = ceil(low - _ROUNDING), floor(high + _ROUNDING)
        if last < first:
            # Thinner than a voxel, between two middles.
            first = last = round((low + high) / 2)
        if last < 0 or first >= size:
            return None, True
        if number != axis:
            first, last = two_pixels(first, last, size)
        cut |= first < 0 or last >= size
        lower.append(max(first, 0))
        upper.append(min(last, size - 1))
    corners: tuple[Index3, Index3] = (
        (lower[0], lower[1], lower[2]),
        (upper[0], upper[1], upper[2]),
    )
    try:
        return box_between(*corners, axis), cut
    except PromptError:
        # What the edge of the image leaves has no area.
        return None, True
