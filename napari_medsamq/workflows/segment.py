"""Boxes in, label file and report out: what the command line does with a session."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from napari_medsamq.analysis.statistics import label_statistics
from napari_medsamq.annotation.click_target import correction, describe_clicks
from napari_medsamq.annotation.history import LabelStyle
from napari_medsamq.annotation.session import Session
from napari_medsamq.errors import PromptError
from napari_medsamq.inference.backend import CPU
from napari_medsamq.inference.catalog import validation_dsc
from napari_medsamq.inference.crop import Zoom
from napari_medsamq.inference.engine import Engines
from napari_medsamq.inference.preprocess import WindowLevel
from napari_medsamq.inference.slice_predictor import SliceMask
from napari_medsamq.io.label_writer import check_target
from napari_medsamq.io.volume import Volume
from napari_medsamq.prompts import BoxPrompt, BoxPrompt3D, Click
from napari_medsamq.records.provenance import Work, save_work


def segment_boxes(
    volume: Volume,
    boxes: Sequence[tuple[BoxPrompt | BoxPrompt3D, int]],
    output: Path,
    *,
    names: dict[int, str] | None = None,
    window: WindowLevel | None = None,
    model: Path | None = None,
    device: str = CPU,
    zoom: bool = True,
    clicks: Sequence[tuple[int, int, Click, int]] = (),
    named: bool = False,
    engines: Engines | None = None,
) -> tuple[Session, dict[str, Any]]:
    """Segment boxes one after the other and save the label, with its provenance.

    Parameters
    ----------
    volume : Volume
    boxes : sequence of (box, label id)
        Boxes of one label are united; a later label takes voxels from an earlier one.
    output : Path
        File for the label; its suffix says in which format.
    names : dict of int to str, optional
        Label names.
    window : WindowLevel, optional
        `default_window(volume)` if not given.
    model : Path, optional
        Model directory; `default_model` of the volume's modality if not given.
    device : str
        OpenVINO device name.
    zoom : bool
        Whether small boxes are zoomed in on.
    clicks : sequence of (axis, index, Click, label id)
        Correct the masks on their slices, one after the other, once all boxes are there.
    named : bool
        Whether the image's name is written into the provenance.
    engines : Engines, optional
        Those of an earlier volume, in place of new ones of `model` on `device`.

    Returns
    -------
    session, report : Session, dict
        The report holds what JSON can: model, times in ms, voxels and mL per label.

    Raises
    ------
    PromptError
        If the network finds nothing in a box, or a click has nothing to correct.
    ModelError, SaveError
    """
    check_target(output, volume.path, volume.source)
    start = perf_counter()
    engine = (engines or Engines(model, device)).for_modality(volume.modality)
    load_ms = (perf_counter() - start) * 1000
    session = Session(volume, engine, window, zoom=Zoom() if zoom else None)
    for label_id, name in (names or {}).items():
        session.set_style(label_id, LabelStyle(name, session.style(label_id).color))
    answers: list[SliceMask] = []
    notes: list[str] = []
    for box, label_id in boxes:
        masks = list(session.segment(box))
        try:
            session.commit(box, masks, label_id)
        except PromptError as error:
            name = session.style(label_id).name
            raise PromptError(f"Label {label_id} ({name}): {error}") from error
        answers.extend(masks)
    for axis, index, click, label_id in clicks:
        found = correction(session, axis, index, click, label_id)
        masks = list(session.segment(found.box, found.start))
        edit = session.commit(found.box, masks, label_id, found.replaces, found.start)
        said = describe_clicks(session, found.box, found.replaces, label_id, masks, edit).strip()
        if said:
            notes.append(f"{session.style(label_id).name}, slice {index}: {said}")
        answers.extend(masks)
    start = perf_counter()
    saved = save_work(output, Work.of(session), names=named)
    save_ms = (perf_counter() - start) * 1000
    return session, {
        "image": str(volume.path),
        **{part.option: str(part) for part in volume.parts},
        "modality": volume.modality,
        "modality_source": volume.modality_source,
        "window": {"level": session.window.level, "width": session.window.width},
        "warnings": [*volume.warnings, *notes, *([saved.problem] if saved.problem else [])],
        "model": engine.spec.name,
        # On cases of this modality that the model was not trained on.
        "model_dsc": validation_dsc(engine.spec, volume.modality),
        "device": device,
        "slices": len(answers),
        "zoomed_slices": sum(answer.zoomed for answer in answers),
        "ms": {
            "load_model": load_ms,
            # Slices whose embedding was at hand did not encode.
            "encode_per_slice": median([a.encode_ms for a in answers if a.encode_ms > 0]),
            "decode_per_slice": median([a.decode_ms for a in answers]),
            "encode_in_all": sum(a.encode_ms for a in answers),
            "decode_in_all": sum(a.decode_ms for a in answers),
            "save": save_ms,
        },
        "labels": {
            label_id: {
                "name": session.style(label_id).name,
                **measured.as_dict(),
            }
            for label_id, measured in label_statistics(volume, session.label).items()
        },
        "label_file": str(saved.receipt.path),
        "label_sha256": saved.receipt.sha256,
        "provenance_file": None if saved.provenance is None else str(saved.provenance),
    }
