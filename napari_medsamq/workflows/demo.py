"""The whole way on the sample CT, without a window: what `medsamq demo` does."""

from __future__ import annotations

import filecmp
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from napari_medsamq.annotation.session import AnnotationSession
from napari_medsamq.errors import SaveError
from napari_medsamq.inference.backend import CPU
from napari_medsamq.io.files import write_json, write_whole
from napari_medsamq.io.volume import read_volume
from napari_medsamq.plugin import SAMPLES
from napari_medsamq.prompts import BoxPrompt3D
from napari_medsamq.workflows.open_session import open_session
from napari_medsamq.workflows.segment import SegmentReport, segment_boxes

_FILES = ("image.nii.gz", "label.nii.gz", "label.provenance.json", "overlay.png", "report.json")
_NAMES = {1: "Liver", 2: "Spleen"}
# Liver and spleen in (z, y, x) array voxels, found by looking at the sample, with their label ids.
BOXES = (
    (BoxPrompt3D((0, 192, 102), (19, 384, 268)), 1),
    (BoxPrompt3D((0, 240, 284), (19, 382, 402)), 2),
)


def run_demo(folder: Path, model: Path | None = None, device: str = CPU) -> SegmentReport:
    """Segment two organs of the sample CT into `folder`.

    Writes `image.nii.gz`, `label.nii.gz` with its provenance, `overlay.png` and `report.json`, and
    returns the report.

    Raises
    ------
    SaveError
        If the folder cannot be written, or holds such files that are not an earlier demo's.
    """
    image = folder / "image.nii.gz"
    sample = SAMPLES / "ct.nii.gz"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        present = [name for name in _FILES if (folder / name).exists()]
        # Only an earlier demo's image is the sample itself.
        if present and not (image.exists() and filecmp.cmp(sample, image, shallow=False)):
            raise SaveError(f"{folder} holds a {present[0]} of other origin. Name an empty folder.")
        # Whole: half of it would be taken for somebody else's the next time.
        write_whole(image, sample.read_bytes())
    except OSError as error:
        raise SaveError(f"The demo cannot write to {folder}: {error.strerror}.") from error
    session = open_session(read_volume(image), model=model, device=device)
    report = segment_boxes(session, BOXES, folder / "label.nii.gz", names=_NAMES)
    picture = np.hstack([_overlay(session.annotation, index) for index in (4, 10, 16)])
    done, png = cv2.imencode(".png", picture)
    if not done:
        raise SaveError(f"{folder / 'overlay.png'} could not be made.")
    write_whole(folder / "overlay.png", png.tobytes())
    write_json(folder / "report.json", {**report.as_dict(), **report.files_as_dict()})
    return report


def _overlay(session: AnnotationSession, index: int) -> npt.NDArray[np.uint8]:
    grey = session.window.apply(session.volume.slice(0, index))
    picture: npt.NDArray[Any] = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)
    for row, label_id in enumerate(session.history.voxel_counts):
        style = session.style(label_id)
        red, green, blue = (int(style.color[start : start + 2], 16) for start in (1, 3, 5))
        mask = (session.label[index] == label_id).astype(np.uint8)
        outlines, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        tint = picture.copy()
        tint[mask > 0] = (blue, green, red)
        picture = cv2.addWeighted(tint, 0.35, picture, 0.65, 0)
        cv2.drawContours(picture, outlines, -1, (blue, green, red), 1, cv2.LINE_AA)
        _write(picture, f"{label_id} {style.name}", (8, 44 + 22 * row), (blue, green, red))
    _write(picture, f"slice {index}   R < > L", (8, 20), (255, 255, 255))
    return np.asarray(picture, np.uint8)


def _write(
    picture: npt.NDArray[Any], text: str, at: tuple[int, int], color: tuple[int, int, int]
) -> None:
    cv2.putText(picture, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.55, color, 1, cv2.LINE_AA)
