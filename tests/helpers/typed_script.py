"""What a user's script looks like; type-checked with the program, and run by its tests."""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

import numpy as np
import numpy.typing as npt

import napari_medsamq as mq


def measure_block(image: Path, output: Path, model: mq.Engine | str) -> dict[str, float]:
    """Segment a structure by a box, correct it by a click, and save and measure it."""
    volume = mq.read_volume(image)
    session = mq.open_session(volume, modality="CT", window=(100, 200), model=model)
    assert_type(session, mq.Session)
    found = session.add_box((2, 5, 3), (8, 12, 7), label="Block", plane="axial")
    assert_type(found.slices, tuple[int, ...])
    session.add_click((8, 12, 5), positive=True, label="Block")
    assert_type(session.undo(), str | None)
    ids = session.label_array()
    assert_type(ids, npt.NDArray[np.uint16])
    assert_type(session.label_array("Block"), npt.NDArray[np.bool_])
    try:
        mq.save(session, output)
    except mq.SaveError:
        mq.save(session, output, overwrite=True)
    names: dict[int, str] = session.label_names
    again = mq.read_label(output, like=volume)
    agreed: dict[int, mq.Agreement] = mq.compare_labels(session, again, tolerance_mm=1.0)
    if min(own.dsc for own in agreed.values()) < 1:
        raise mq.MedSAMQError("The label did not come back.")
    measured = mq.label_statistics(ids, volume)
    return {names[label_id]: own.millilitres for label_id, own in measured.items()}
