"""How a label came about, in a JSON file beside it: `liver.provenance.json` for `liver.nii.gz`.

Where that is of a label in another format, it is `liver.seg.nrrd.provenance.json`.

It holds nothing of a file's header and no folder. The image is told by the hash of its voxels; its
name, which often is the patient's, is written only where that is asked for.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from napari_medsamq import __version__
from napari_medsamq.analysis.statistics import label_statistics
from napari_medsamq.annotation.history import Edit, LabelStyle, Prompt
from napari_medsamq.annotation.label_model import LabelModel
from napari_medsamq.array_types import Label
from napari_medsamq.errors import ProvenanceError, SaveError
from napari_medsamq.geometry import PLANE_NAMES, Index3
from napari_medsamq.inference.backend import cpu_name, environment
from napari_medsamq.inference.network_state import NetworkState
from napari_medsamq.io.files import file_ending, provenance_path, write_whole
from napari_medsamq.io.label_writer import SaveReceipt, write_label
from napari_medsamq.io.volume import Volume, volume_hash
from napari_medsamq.prompts import BoxPrompt
from napari_medsamq.records.voxel_origins import count_origins, edit_origin

FORMAT = "medsamq-provenance"
VERSION = 1
_MARK = f'"format": "{FORMAT}"'


@dataclass(frozen=True, eq=False)
class LabelSnapshot:
    """A label and its past as they are at one moment; drawing may go on meanwhile.

    Attributes
    ----------
    volume : Volume
    label : (z, y, x) uint16
    edits : tuple of Edit
    prompts : tuple of Prompt
    styles : mapping of int to LabelStyle
        Of the label ids that have voxels or were given any.
    """

    volume: Volume
    label: Label
    edits: tuple[Edit, ...]
    prompts: tuple[Prompt, ...]
    styles: Mapping[int, LabelStyle]

    @classmethod
    def of(cls, label_model: LabelModel) -> LabelSnapshot:
        """Take down the work of a session; belongs to the thread that owns it."""
        history = label_model.history
        label, styles = history.label.copy(), label_model.styles
        return cls(label_model.volume, label, history.edits, history.prompts, styles)

    def style(self, label_id: int) -> LabelStyle:
        """Return name and colour of a label id."""
        return self.styles.get(label_id) or LabelStyle.default(label_id)


@dataclass(frozen=True)
class Saved:
    """A label that was saved and verified.

    Attributes
    ----------
    receipt : SaveReceipt
    provenance : Path or None
        The file that says how it came about; None if that could not be written.
    problem : str
        Why it could not; empty otherwise.
    """

    receipt: SaveReceipt
    provenance: Path | None
    problem: str = ""


def save_with_provenance(path: Path, snapshot: LabelSnapshot, *, names: bool = False) -> Saved:
    """Save a label, and beside it how it came about.

    Parameters
    ----------
    path : Path
        As `write_label` takes it.
    snapshot : LabelSnapshot
    names : bool
        Whether the image's name is written down, without its folder.

    Raises
    ------
    SaveError
        If the label cannot be saved. What is wrong with the file beside it is told by `Saved`.
    """
    receipt = write_label(path, snapshot.label, snapshot.volume, snapshot.styles)
    target = provenance_path(receipt.path)
    try:
        text = json.dumps(describe_provenance(snapshot, receipt, names=names), indent=1)
        write_whole(target, f"{text}\n", _MARK)
    except (MemoryError, SaveError) as error:
        problem = str(error) or "there is not enough memory"
        return Saved(receipt, None, f"The label is saved, its provenance is not: {problem}")
    return Saved(receipt, target)


def describe_provenance(
    snapshot: LabelSnapshot, receipt: SaveReceipt, *, names: bool = False
) -> dict[str, Any]:
    """Return all that a provenance file says; see `save_with_provenance`."""
    states: list[NetworkState] = []
    volume = snapshot.volume
    origins = count_origins(snapshot.edits, snapshot.label)
    image = {
        "voxels_sha256": volume_hash(volume),
        "geometry_sha256": geometry_hash(volume),
        "shape": list(volume.source.shape),
        "spacing_mm": volume.spacing[np.argsort(volume.source.axes)].tolist(),
        "orientation_known": volume.orientation_known,
        "modality": volume.modality,
        "modality_source": volume.modality_source,
    }
    # Which of several it is: "2 of 3: ContentTime 103238".
    image |= {part.option: str(part) if names else part.anonymous for part in volume.parts}
    if names:
        image["name"] = volume.name
    return {
        "format": FORMAT,
        "version": VERSION,
        "saved": datetime.now(UTC).isoformat(timespec="seconds"),
        "label": {
            "sha256": receipt.sha256,
            "shape": list(receipt.shape),
            "ending": file_ending(receipt.path.name),
        },
        "image": image,
        "software": software(),
        "cpu": {
            "name": cpu_name(),
            **{key: environment()[key] for key in ("instructions", "floating_point")},
        },
        "labels": [
            {
                "id": label_id,
                "name": snapshot.style(label_id).name,
                "color": snapshot.style(label_id).color,
                "statistics": measured.as_dict(),
                "origin": origins[label_id].as_dict(),
            }
            for label_id, measured in label_statistics(volume, snapshot.label).items()
        ],
        "prompts": _describe_prompts(snapshot, states),
        "steps": _describe_steps(snapshot.edits, states),
        "settings": [state.as_dict() for state in states],
    }


def software() -> dict[str, str]:
    """Return the versions of what makes and saves a label."""
    return {
        "napari-medsamq": __version__,
        "openvino": environment()["openvino"],
        "numpy": np.__version__,
        "python": platform.python_version(),
        "system": platform.system(),
    }


def geometry_hash(volume: Volume) -> str:
    """Return the SHA-256 of the shape and the affine (to 0.0001 mm) of a volume's file."""
    source = volume.source
    digest = hashlib.sha256(f"{tuple(int(size) for size in source.shape)}".encode())
    # Added to, as -0.0 has other bytes than 0.0.
    digest.update((np.round(source.affine, 4) + 0.0).astype("<f8").tobytes())
    return digest.hexdigest()


def read_provenance(label: Path) -> dict[str, Any]:
    """Read what lies beside a label file.

    Raises
    ------
    ProvenanceError
        If nothing does, or it is not what this program writes.
    """
    path = provenance_path(label)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ProvenanceError(
            f"{path} cannot be read ({error.strerror or error}), which tells how the label came "
            "about. It is written beside each label that this program saves; save it again."
        ) from error
    except (ValueError, RecursionError) as error:
        raise ProvenanceError(f"{path} is damaged ({error}). Save the label again.") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ProvenanceError(
            f"{path} is another program's file. Save the label under another name."
        )
    if content.get("version") != VERSION:
        raise ProvenanceError(
            f"{path} is of version {content.get('version')!r}; this program reads {VERSION}. "
            "Update napari-medsamq, or save the label again."
        )
    return content


def _number(state: NetworkState | None, states: list[NetworkState]) -> int | None:
    """Return the place of a state among those that are listed, and list it if need be."""
    if state is None:
        return None
    if state not in states:
        states.append(state)
    return states.index(state)


def _describe_prompts(snapshot: LabelSnapshot, states: list[NetworkState]) -> list[dict[str, Any]]:
    """Describe the prompts that hold, in the words of the command line's --box and --point."""
    made: dict[Prompt, NetworkState | None] = {}
    for edit in snapshot.edits:
        for prompt in edit.prompts_after:
            made.setdefault(prompt, edit.network_state)
    described = []
    for prompt in snapshot.prompts:
        box = prompt.box
        entry: dict[str, Any] = {
            "label": prompt.label_id,
            "plane": PLANE_NAMES[box.axis],
            "box": _corners(snapshot.volume, *_ends(prompt)),
            "setting": _number(made.get(prompt), states),
        }
        if isinstance(box, BoxPrompt):
            entry |= _describe_strokes(snapshot.volume, box)
        if prompt.start is not None:
            # On its slice there was a mask already, which it was to improve.
            entry["improves_mask"] = True
        described.append(entry)
    return described


def _describe_strokes(volume: Volume, box: BoxPrompt) -> dict[str, Any]:
    """Describe clicks and lasso of a box; the voxels of a scribble follow the middle one."""

    def voxel(x: int, y: int) -> list[int]:
        at = box.voxel(y, x)
        return _corners(volume, at, at)[:3]

    found: dict[str, Any] = {}
    if box.lasso:
        found["lasso"] = [voxel(*corner) for corner in box.lasso]
    if box.clicks:
        found["clicks"] = [
            [
                *voxel(click.x, click.y),
                "+" if click.positive else "-",
                *([[voxel(*place) for place in click.stroke]] if click.stroke else []),
            ]
            for click in box.clicks
        ]
    return found


def _ends(prompt: Prompt) -> tuple[Index3, Index3]:
    box = prompt.box
    if not isinstance(box, BoxPrompt):
        return box.lower, box.upper
    return box.voxel(box.y0, box.x0), box.voxel(box.y1, box.x1)


def _corners(volume: Volume, lower: Index3, upper: Index3) -> list[int]:
    low, high = volume.box_to_source(lower, upper)
    return [int(index) for index in (*low, *high)]


def _describe_steps(edits: Sequence[Edit], states: list[NetworkState]) -> list[dict[str, Any]]:
    """Describe what was done, oldest first; the same several times in a row as one step."""
    steps = []
    for (name, by, number), same in groupby(
        edits,
        lambda edit: (edit.name, edit_origin(edit).name, _number(edit.network_state, states)),
    ):
        steps.append({"name": name, "by": by, "times": len(list(same)), "setting": number})
    return steps
