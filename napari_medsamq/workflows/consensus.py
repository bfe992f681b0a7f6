"""Several readers' labels of one image: what they agree on, and how far each is from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from napari_medsamq.analysis.comparison import Agreement, compare_labels
from napari_medsamq.analysis.consensus import agree_nowhere, majority, staple
from napari_medsamq.array_types import Label
from napari_medsamq.errors import SaveError, VolumeError
from napari_medsamq.io.grid import one_lattice, onto_grid
from napari_medsamq.io.label_format import Segment, check_labelled, used_ids
from napari_medsamq.io.labels import CommonLabels, LabelFile, on_common_grid

METHODS = {"majority": majority, "STAPLE": staple}


@dataclass(frozen=True, eq=False)
class Consensus:
    """What readers agree on.

    Attributes
    ----------
    readers : CommonLabels
    labels : dict of str to (z, y, x) uint16
        By the names of `METHODS`.
    agreements : dict of str to list of dict of int to Agreement
        The same with A for the consensus and B for each reader in turn, by label id.
    """

    readers: CommonLabels
    labels: dict[str, Label]
    agreements: dict[str, list[dict[int, Agreement]]]

    @property
    def segments(self) -> dict[int, Segment]:
        """Name and colour of each label id that any reader has, in ascending order."""
        ids = sorted({n for own in self.readers.labels for n in used_ids(own)})
        return {label_id: self.readers.segment(label_id) for label_id in ids}

    def volumes(self, label_id: int) -> tuple[list[float], dict[str, float]]:
        """Return how many mL of a label id each reader has, and each method."""
        rows = {
            name: [own.get(label_id) for own in found] for name, found in self.agreements.items()
        }
        # Of a reader and a consensus that both have none there is no row.
        by_reader = [own.b_ml if own else 0.0 for own in next(iter(rows.values()))]
        return by_reader, {
            name: next((own.a_ml for own in found if own), 0.0) for name, found in rows.items()
        }

    def on_image_grid(self, method: str) -> LabelFile:
        """Return it as a label on the largest grid that one of the readers' files has.

        Raises
        ------
        SaveError
            If that does not hold all of it.
        """
        # The grid of contours is only one that they were drawn on.
        own = max(self.readers.files, key=lambda own: (not own.has_contours, own.label.size))
        ids, lost = onto_grid(self.labels[method], self.readers.grid, own.volume.array_grid)
        if lost:
            raise SaveError(
                f"The consensus ({method}) cannot be saved: each of the files holds a part of the "
                "image, and none has room for all of it. Save one of them on the grid of the whole "
                "image, as NIfTI say."
            )
        return LabelFile.of(own.volume, ids, self.segments)


def find_consensus(readers: Sequence[LabelFile], tolerance_mm: float) -> Consensus:
    """Find what three readers or more of one image agree on, and compare each with that.

    Parameters
    ----------
    readers : sequence of LabelFile
        Their grids may differ in order, direction and extent of the axes.
    tolerance_mm : float
        Distance up to which surfaces agree.

    Raises
    ------
    VolumeError
        If one is empty, they are of different voxels, or have nothing in common.
    """
    for own in readers:
        check_labelled(own.path, own.label)
    common = on_common_grid(*readers)
    first = common.files[0].volume
    for own in common.files[1:]:
        if not one_lattice(own.volume.array_grid, first.array_grid):
            raise VolumeError(
                f"{own.path} has other voxels ({own.volume.grid}) than {readers[0].path} "
                f"({first.grid}), and a vote needs the same ones. Save all labels on the grid of "
                "the image, or compare these two alone, which brings one onto the other's grid."
            )
    _check_common(common)
    labels = {name: method(common.labels) for name, method in METHODS.items()}
    agreements = {
        name: [compare_labels(label, own, common.spacing, tolerance_mm) for own in common.labels]
        for name, label in labels.items()
    }
    return Consensus(common, labels, agreements)


def _check_common(common: CommonLabels) -> None:
    """Refuse a reader whose label ids nobody else has, and readers who agree nowhere."""
    ids = [used_ids(own) for own in common.labels]
    for n, (own, file) in enumerate(zip(ids, common.files, strict=True)):
        others = sorted({label_id for m, more in enumerate(ids) if m != n for label_id in more})
        if set(own).isdisjoint(others):
            raise VolumeError(
                f"{file.path} has label {_listed(own)}, and no other file has any of that: they "
                f"have {_listed(others)}. Give one structure one number in all files, or leave "
                "this one out."
            )
    if agree_nowhere(common.labels):
        raise VolumeError(
            "No voxel has the same label in two of the files, so that there is nothing to agree "
            "on. Check that all are of one image and number their labels alike."
        )


def _listed(ids: Sequence[int]) -> str:
    more = ", ..." if len(ids) > 10 else ""
    return ", ".join(map(str, ids[:10])) + more
