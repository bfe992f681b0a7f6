"""Boxes in, label file and report out: what the command line does with a session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from napari_medsamq.analysis.statistics import LabelStatistics, label_statistics
from napari_medsamq.annotation.label_model import LabelModel
from napari_medsamq.inference.model_list import validation_dsc
from napari_medsamq.io.volume import Volume
from napari_medsamq.prompts import BoxPrompt, BoxPrompt3D
from napari_medsamq.records.provenance import Saved
from napari_medsamq.workflows.labels import save
from napari_medsamq.workflows.parsing import Stroke
from napari_medsamq.workflows.session import SegmentedSlices, Session


@dataclass(frozen=True, eq=False)
class LabelReport:
    """What is told of a label that was made and saved.

    Attributes
    ----------
    model : LabelModel
    saved : Saved
    notes : tuple of str
        What the user should know, besides what the volume's warnings say.
    """

    model: LabelModel
    saved: Saved
    notes: tuple[str, ...]

    @property
    def volume(self) -> Volume:
        """The volume that it belongs to."""
        return self.model.volume

    @cached_property
    def statistics(self) -> dict[int, LabelStatistics]:
        """What each label id measures."""
        return label_statistics(self.volume, self.model.label)

    @property
    def warnings(self) -> list[str]:
        """All that the user should know."""
        problem = self.saved.problem
        return [*self.volume.warnings, *self.notes, *([problem] if problem else [])]

    def as_dict(self) -> dict[str, Any]:
        """Return what is told of the label, but for its files, as JSON can hold it."""
        volume = self.volume
        return {
            "image": str(volume.path),
            "modality": volume.modality,
            "modality_source": volume.modality_source,
            "warnings": self.warnings,
            "labels": {
                label_id: {"name": self.model.style(label_id).name, **measured.as_dict()}
                for label_id, measured in self.statistics.items()
            },
        }

    def files_as_dict(self) -> dict[str, Any]:
        """Return what was written where, as JSON can hold it."""
        saved = self.saved
        return {
            "label_file": str(saved.receipt.path),
            "label_sha256": saved.receipt.sha256,
            "provenance_file": None if saved.provenance is None else str(saved.provenance),
        }


@dataclass(frozen=True, eq=False)
class SegmentReport(LabelReport):
    """The same of a label that a model has made.

    Attributes
    ----------
    session : Session
    segmented : tuple of SegmentedSlices
    save_ms : float
    """

    session: Session
    segmented: tuple[SegmentedSlices, ...]
    save_ms: float

    @property
    def dsc(self) -> float | None:
        """What the model scores on cases of this modality that it was not trained on."""
        return validation_dsc(self.session.annotation.engine.spec, self.volume.modality)

    @property
    def slices(self) -> int:
        """How many slices were segmented."""
        return sum(len(own.slices) for own in self.segmented)

    @property
    def ms(self) -> dict[str, float]:
        """How long it took."""
        encode = [ms for own in self.segmented for ms in own.encode_ms]
        decode = [ms for own in self.segmented for ms in own.decode_ms]
        return {
            "load_model": self.session.load_ms,
            # Slices whose embedding was at hand did not encode.
            "encode_per_slice": median([ms for ms in encode if ms > 0]),
            "decode_per_slice": median(decode),
            "encode_in_all": sum(encode),
            "decode_in_all": sum(decode),
            "save": self.save_ms,
        }

    def as_dict(self) -> dict[str, Any]:
        """Return what is told of the label and the model, as JSON can hold it."""
        window = self.session.window
        return {
            **super().as_dict(),
            **{part.option: str(part) for part in self.volume.parts},
            "window": {"level": window.level, "width": window.width},
            "model": self.session.model,
            "model_dsc": self.dsc,
            "device": self.session.device,
            "slices": self.slices,
            "zoomed_slices": sum(sum(own.zoomed) for own in self.segmented),
            "ms": self.ms,
        }


def segment_boxes(
    session: Session,
    boxes: Sequence[tuple[BoxPrompt | BoxPrompt3D, int]],
    output: Path,
    *,
    names: Mapping[int, str],
    strokes: Sequence[Stroke] = (),
    with_name: bool = False,
) -> SegmentReport:
    """Segment boxes and lassos one after the other and save the label, with its provenance.

    Parameters
    ----------
    session : Session
    boxes : sequence of (box, label id)
        Lassos among them. Those of one label are united; a later label takes voxels from an
        earlier one.
    output : Path
        File for the label, which is replaced; its suffix says in which format.
    names : mapping of int to str
        Label names.
    strokes : sequence of Stroke
        Clicks and scribbles: correct the masks on their slices, one after the other, once all
        boxes are there.
    with_name : bool
        Whether the image's name is written into the provenance.

    Raises
    ------
    PromptError
        If the network finds nothing in a box, or a click has nothing to correct.
    ModelError, SaveError
    """
    for label_id, name in names.items():
        session.name_label(label_id, name)
    segmented = [session.add_prompt(box, label_id) for box, label_id in boxes]
    segmented += [session.add_scribble(*stroke) for stroke in strokes]
    start = perf_counter()
    saved = save(session, output, overwrite=True, with_name=with_name)
    save_ms = (perf_counter() - start) * 1000
    notes = tuple(note for own in segmented for note in own.notes)
    return SegmentReport(session.annotation, saved, notes, session, tuple(segmented), save_ms)
