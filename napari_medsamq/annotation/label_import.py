"""Enters the labels of a file into a label, under ids that are free."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from napari_medsamq.annotation.history import Edit, LabelMarks, LabelStyle
from napari_medsamq.annotation.label_model import LabelModel
from napari_medsamq.errors import PromptError
from napari_medsamq.io.label_format import MAX_LABEL_ID, Segment
from napari_medsamq.io.labels import LabelFile

# What an edit is called that enters the labels of a file.
LOAD = "load label file"


def import_label(model: LabelModel, found: LabelFile) -> tuple[Edit, dict[int, int]]:
    """Enter the labels of a file, with their names and colours, as one step of the history.

    They count as drawn by hand, so that a propagation leaves them as they are. Voxels of other
    labels give way unless those are locked.

    Parameters
    ----------
    model : LabelModel
    found : LabelFile
        What `read_label` gave for the label's volume.

    Returns
    -------
    edit : Edit
    numbers : dict of int to int
        The label id here of each label id in the file: the same where it was free.

    Raises
    ------
    PromptError
        If all of them lie in locked labels.
    """
    voxels = np.flatnonzero(found.label)
    kept = np.isin(model.label.reshape(-1)[voxels], model.locked_ids)
    if kept.all():
        raise PromptError(
            f"All that {found.path.name} labels belongs to {model.owners(voxels)}, which is "
            "locked. Unlock it to load the file."
        )
    voxels = voxels[~kept]
    ids = found.label.reshape(-1)[voxels]
    numbers = _free_ids(model, [int(n) for n in np.unique(ids)], found.segments)
    here = np.zeros(int(ids.max()) + 1, np.uint16)
    here[list(numbers)] = list(numbers.values())
    model.event.emit("load", {"path": str(found.path), "sha256": found.sha256, "numbers": numbers})
    styles = {
        numbers[n]: LabelStyle(segment.name, segment.color)
        for n, segment in found.segments.items()
        # One that the user has called the same already looks as they want it.
        if n in numbers and model.style(numbers[n]).name != segment.name
    }
    # Without the file's name, which often is the patient's.
    edit = model.history.change(
        LOAD,
        voxels,
        here[ids],
        by_hand=True,
        marks=LabelMarks(styles=styles),
        network_state=model.network_state(),
    )
    return edit, numbers


def _free_ids(
    model: LabelModel, wanted: list[int], segments: Mapping[int, Segment]
) -> dict[int, int]:
    """Return a label id that nothing has for each one wanted: itself, if that can be.

    What the user has named, coloured or hidden is theirs, also without voxels; but a label in
    sight is free for one of that name, and for one without a name.
    """
    prompted = {prompt.label_id for prompt in model.history.prompts}
    used = {*model.history.voxel_counts, *prompted, *model.locked_ids}
    styled = {
        n: style
        for n, style in model.history.styles.items()
        if style != LabelStyle.default(n, model.palette)
    }
    other = {
        n
        for n, style in styled.items()
        if not style.visible or (n in segments and segments[n].name != style.name)
    }
    taken = {*used, *styled, *wanted}
    free = (n for n in range(1, MAX_LABEL_ID + 1) if n not in taken)
    return {n: next(free) if n in used | other else n for n in wanted}
