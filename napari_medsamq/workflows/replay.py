"""The label that a journal leads to, without a network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from napari_medsamq.annotation.label_model import LabelModel
from napari_medsamq.inference.preprocess import WindowLevel
from napari_medsamq.io.volume import Volume, volume_hash
from napari_medsamq.records.journal import check_volume
from napari_medsamq.records.journal_format import Record, read_journal
from napari_medsamq.records.recording import restore


@dataclass(frozen=True, eq=False)
class ReplayedJournal:
    """What a journal leads to.

    Attributes
    ----------
    model : LabelModel
    window : WindowLevel or None
        The last one that the network saw.
    records : list of Record
    notes : tuple of str
        What the user should know of it.
    """

    model: LabelModel
    window: WindowLevel | None
    records: list[Record]
    notes: tuple[str, ...]


def replay_journal(path: Path, volume: Volume) -> ReplayedJournal:
    """Bring back the label of a volume's journal.

    Raises
    ------
    JournalError
        If it cannot be read, or is another volume's.
    """
    content = read_journal(path)
    check_volume(path, content, volume_hash(volume))
    restored = restore(content.records, volume.data.shape[:3], str(path))
    model = LabelModel(volume)
    model.restore(restored.history, restored.styles)
    notes = []
    if content.damaged:
        notes.append("The end of the journal was cut off or altered; all before it is there.")
    if not restored.history.voxel_counts:
        notes.append("The journal ends with an empty label.")
    return ReplayedJournal(model, restored.window, content.records, tuple(notes))
