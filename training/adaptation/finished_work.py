"""What a user has finished: slices that were accepted, and labels as they were last saved.

Of the journals of the window, the slices whose masks were accepted and are still as they were then;
of label files, those that are as they were when this program wrote their provenance, and of which
all voxels come from steps that it knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from napari_medsamq.annotation.acceptance import holding
from napari_medsamq.array_types import Float64, Label, UInt8
from napari_medsamq.cohort.table import safe_name
from napari_medsamq.errors import JournalError, MedSAMQError, VolumeError
from napari_medsamq.geometry import PLANE_NAMES
from napari_medsamq.inference.confidence import dice
from napari_medsamq.inference.preprocess import WindowLevel, default_window
from napari_medsamq.io.files import file_hash, provenance_path
from napari_medsamq.io.labels import bring_onto, read_label_file
from napari_medsamq.io.volume import Volume, read_volume, volume_hash
from napari_medsamq.records.journal_format import first_record
from napari_medsamq.records.provenance import read_provenance
from napari_medsamq.workflows.replay import replay_journal
from training.adaptation.personal_model import MINE
from training.data.cases import NpzCase, write_case
from training.errors import DataError

# Of two labels of one slice; below it they contradict each other.
_LEAST_ALIKE = 0.7


@dataclass(frozen=True, eq=False)
class FinishedLabel:
    """The finished slices of an image across one plane.

    Attributes
    ----------
    name : str
        Of files; safe in any file system.
    image : str
        Hash of its voxels.
    modality : str
    axis : int
        Array axis normal to the slices.
    indices : (n,) int64
    images : (n, H, W) or (n, H, W, 3) uint8
        In the window in which it was segmented.
    masks : (n, H, W) uint16
        Label ids.
    spacing : (3,) float64
        In mm; of the slices' distance, of rows and of columns.
    """

    name: str
    image: str
    modality: str
    axis: int
    indices: npt.NDArray[np.int64]
    images: UInt8
    masks: Label
    spacing: Float64

    @classmethod
    def of(
        cls, volume: Volume, key: str, window: WindowLevel | None, kept: Label, axis: int
    ) -> FinishedLabel:
        """Make it of a volume, its hash, and what of its label (z, y, x) uint16 is finished."""
        window = window or default_window(volume)
        label = np.moveaxis(kept, axis, 0)
        indices = np.flatnonzero(label.any((1, 2)))
        shown = np.stack([window.apply(volume.slice(axis, int(index))) for index in indices])
        spacing = np.concatenate([volume.spacing[[axis]], np.delete(volume.spacing, axis)])
        return cls(
            f"{safe_name(volume.name)}-{key[:8]}-{PLANE_NAMES[axis]}",
            key,
            volume.modality,
            axis,
            indices,
            shown,
            label[indices],
            spacing,
        )

    def write(self, folder: Path) -> NpzCase:
        """Write it as a case below the folder of a data set."""
        path = folder / f"{self.name}.npz"
        write_case(
            path, {"imgs": self.images, "gts": self.masks, "spacing": self.spacing[::-1].copy()}
        )
        return NpzCase(path, path.parts[-3], "/".join(path.parts[-3:-1]), path.stem)


def read_journals(folder: Path) -> Iterator[FinishedLabel | str]:
    """Yield what was accepted in each journal of a folder, or why one gives nothing."""
    for path in sorted(folder.glob("*.journal")):
        try:
            said = first_record(path).content
            if not said.get("path"):
                raise JournalError(f"{path} does not say where its image is.")
            volume = read_volume(said["path"], said.get("series"), said.get("volume"))
            replayed = replay_journal(path, volume)
        except MedSAMQError as error:
            yield str(error)
            continue
        chosen = [own.content["modality"] for own in replayed.records if "modality" in own.content]
        volume = replace(volume, modality=chosen[-1] if chosen else volume.modality)
        label = replayed.model.history.label
        accepted = holding(label, replayed.model.history.accepted)
        for axis in sorted({own.axis for own in accepted}):
            kept = np.zeros_like(label)
            for own in accepted:
                if own.axis == axis:
                    place = np.moveaxis(kept, axis, 0)[own.index]
                    mask = label.take(own.index, axis) == own.label_id
                    place[mask] = own.label_id
            yield FinishedLabel.of(volume, said["sha256"], replayed.window, kept, axis)
        if not accepted:
            yield f"{volume.name}: none of its slices is accepted."


def read_saved(folders: Sequence[Path], journals: Path) -> Iterator[FinishedLabel | str]:
    """Yield labels in folders that were saved with their provenance, or why one gives nothing.

    Their images are those of journals, or lie beside them.

    Raises
    ------
    DataError
        If a folder holds no such label.
    """
    for folder in folders:
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        labels = [path for path in files if provenance_path(path).exists() and _is_label(path)]
        if not labels:
            raise DataError(f"{folder}: holds no label with its provenance beside it.")
        images = _ImagesByHash(journals, [path for path in files if path not in labels])
        for path in labels:
            try:
                yield _saved(path, images)
            except MedSAMQError as error:
                yield str(error)


def _is_label(path: Path) -> bool:
    return path != provenance_path(path) and not path.name.endswith((".json", ".html", ".csv"))


def _saved(path: Path, images: _ImagesByHash) -> FinishedLabel:
    told = read_provenance(path)
    if file_hash(path) != told["label"]["sha256"]:
        raise DataError(f"{path}: was changed by another program since it was saved.")
    unknown = [own["id"] for own in told["labels"] if own["origin"]["voxels"]["unknown"]]
    key = told["image"]["voxels_sha256"]
    volume = replace(images.read(key, path), modality=told["image"]["modality"])
    label = bring_onto(read_label_file(path, volume), volume).label
    kept = np.where(np.isin(label, unknown), 0, label).astype(label.dtype)
    if not kept.any():
        raise DataError(f"{path}: its provenance does not know where its voxels come from.")
    planes = [own["plane"] for own in told["prompts"]]
    axis = PLANE_NAMES.index(planes[-1]) if planes else 0
    windows = [WindowLevel(*own["window"]) for own in told["settings"]]
    return FinishedLabel.of(volume, key, windows[-1] if windows else None, kept, axis)


class _ImagesByHash:
    """Images, found by the hash of their voxels.

    Parameters
    ----------
    journals : Path
        Folder of journals, which tell where their images are.
    files : sequence of Path
        Images among others, looked into when no journal tells.
    """

    def __init__(self, journals: Path, files: Sequence[Path]) -> None:
        self._files = list(files)
        self._known: dict[str, Volume] = {}
        self._told = {}
        for path in journals.glob("*.journal"):
            with suppress(JournalError):
                said = first_record(path).content
                self._told[said.get("sha256")] = said

    def read(self, key: str, label: Path) -> Volume:
        """Return the image of a hash, which a label is of.

        Raises
        ------
        DataError
            If it is not found.
        """
        said = self._told.get(key)
        if said is not None and said.get("path"):
            with suppress(VolumeError):
                return read_volume(said["path"], said.get("series"), said.get("volume"))
        while key not in self._known and self._files:
            with suppress(VolumeError):
                volume = read_volume(self._files.pop())
                self._known[volume_hash(volume)] = volume
        if key not in self._known:
            raise DataError(f"{label}: its image is not found. Put it into the same folder.")
        return self._known[key]


def gather(
    found: Iterable[FinishedLabel | str], modality: str | None, folder: Path
) -> tuple[str, list[NpzCase], list[str]]:
    """Check finished work and write it as cases.

    Parameters
    ----------
    found : iterable of FinishedLabel or str
    modality : str, optional
        Only images of this one; without it, all have to be of one.
    folder : Path
        Gets <modality>/mine.

    Returns
    -------
    modality : str
    cases : list of NpzCase
    notes : list of str
        What was left out, and why.

    Raises
    ------
    DataError
        If there are images of several kinds, or labels that contradict each other.
    """
    found = list(found)
    notes = [own for own in found if isinstance(own, str)]
    labels = [own for own in found if isinstance(own, FinishedLabel)]
    kinds = {own.modality for own in labels}
    if modality is None and len(kinds) > 1:
        raise DataError(
            f"There are images of several kinds ({', '.join(sorted(kinds))}), which would spoil "
            "each other's masks. Choose one by --modality."
        )
    taken: dict[tuple[str, int], FinishedLabel] = {}
    for own in labels:
        if modality not in (None, own.modality):
            notes.append(f"{own.name}: is of another kind, {own.modality}.")
            continue
        other = taken.setdefault((own.image, own.axis), own)
        if other is not own:
            _check_alike(own, other)
    kind = modality or next(iter(kinds), "")
    return kind, [own.write(folder / kind / MINE) for own in taken.values()], notes


def _check_alike(one: FinishedLabel, other: FinishedLabel) -> None:
    """Compare two labels of one image where both have a mask of an id."""
    common, places, others = np.intersect1d(one.indices, other.indices, return_indices=True)
    for index, place, at in zip(common, places, others, strict=True):
        for label_id in set(np.unique(one.masks[place])) & set(np.unique(other.masks[at])) - {0}:
            alike = dice(one.masks[place] == label_id, other.masks[at] == label_id)
            if alike < _LEAST_ALIKE:
                raise DataError(
                    f"{one.name}: two labels of this image contradict each other, label "
                    f"{label_id} on slice {index} (Dice {alike:.2f}). Leave the worse one out."
                )
