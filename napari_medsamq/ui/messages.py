"""What the user is told: about an open volume, masks that have come, and labels of a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from napari_medsamq.inference.propagation import Stop
from napari_medsamq.inference.slice_predictor import SliceMask
from napari_medsamq.io.volume import Volume

_SOURCES = {
    "dicom": "from the DICOM header",
    "case": "from the file",
    "picture": "a picture",
    "assumed": "assumed; change it if wrong",
    "chosen": "as chosen",
    "ambiguous": "unknown; please choose",
}
# As the network foresees it. On the sample CT it is 0.88 to 0.92 for the liver, and below this for
# 15 of 30 boxes that were drawn blindly.
_LEAST_IOU = 0.6
_LARGE_ML = 10
_WAYS = {"up": "Upwards", "down": "Downwards"}


def describe_volume(volume: Volume) -> str:
    """Return size, spacing, modality with how it is known, and where it lies if in a file."""
    size = " x ".join(str(count) for count in volume.data.shape[2::-1])
    spacing = " x ".join(f"{value:.2f}" for value in volume.spacing[::-1])
    known = _SOURCES[volume.modality_source]
    if volume.modality == "CT" and not volume.hounsfield:
        known += "; not in Hounsfield units"
    place = "" if volume.path is None else f"\n{volume.path}"
    return f"{size} voxels\n{spacing} mm (x, y, z)\n{volume.modality}: {known}{place}"


def in_ml(millilitres: float) -> str:
    """Write a size: hundredths of a large one say nothing."""
    return f"{millilitres:,.{1 if millilitres >= _LARGE_ML else 2}f} mL"


def report_masks(name: str, masks: Sequence[SliceMask], gained_ml: float, all_ml: float) -> str:
    """Say what the masks of a box have done to a label of that name."""
    where = "this slice" if len(masks) == 1 else _slices(len(masks))
    doubt = " It may be no single structure: look at its edge." if _doubts(masks) else ""
    return f"{name}: {gained_ml:+,.1f} mL on {where}, {all_ml:,.1f} mL in all.{doubt}"


def report_stroke(changes: Sequence[tuple[str, float, float]]) -> str:
    """Say what a brush stroke has done to structures: name, mL gained and mL in all of each."""
    return " ".join(
        f"{name}: {gained:+,.2f} mL, {in_ml(total)} in all." for name, gained, total in changes
    )


def _doubts(masks: Sequence[SliceMask]) -> bool:
    return float(np.mean([mask.iou for mask in masks])) < _LEAST_IOU


def describe_masks(masks: Sequence[SliceMask]) -> str:
    """Say how masks came about: for those who ask."""
    if not masks:
        return ""
    took = sum(mask.encode_ms + mask.decode_ms for mask in masks)
    refined = ", refined by zooming in" if any(mask.zoomed for mask in masks) else ""
    return (
        f"{sum(int(mask.mask.sum()) for mask in masks):,} voxels{refined}\n"
        f"encode {sum(mask.encode_ms for mask in masks):.0f} ms, "
        f"decode {sum(mask.decode_ms for mask in masks):.0f} ms, "
        f"{took / len(masks):.0f} ms a slice\n"
        f"predicted IoU {np.mean([mask.iou for mask in masks]):.2f}"
    )


def report_progress(name: str, masks: Sequence[SliceMask]) -> str:
    """Say how far a propagation has come."""
    at = f", at slice {masks[-1].index + 1}" if masks else ""
    return f"Propagating {name}: {_slices(len(masks))}{at}. Esc stops it."


def report_carried(
    name: str,
    masks: Sequence[SliceMask],
    stops: Sequence[Stop],
    *,
    stopped: bool,
    accepted: int = 0,
    emptied: int = 0,
    older: int = 0,
) -> str:
    """Say what a propagation has brought, why it ended, and how many slices it left.

    Parameters
    ----------
    name : str
    masks : sequence of SliceMask
    stops : sequence of Stop
    stopped : bool
        Whether the user stopped it.
    accepted, emptied, older : int
        Slices that were accepted, that lost the mask of an earlier propagation, and others with a
        mask that it did not come to.
    """
    text = f"{name}: {_slices(len(masks))} by propagation"
    text += "; you stopped it." if stopped else "."
    for stop in stops:
        if stop.reason:
            text += (
                f" {_WAYS[stop.direction]} it ended before slice {stop.index + 1}: {stop.reason}."
            )
    if accepted:
        text += f" {_slices(accepted)} that you accepted stayed as they were."
    if emptied:
        text += f" {_slices(emptied)} beyond lost what an earlier propagation gave."
    if older:
        text += f" {_slices(older)} that it did not come to stayed as they were."
    return text


def report_loaded(names: Mapping[int, str], numbers: Mapping[int, int], voxels: int) -> str:
    """Say what a label file has brought.

    Parameters
    ----------
    names : mapping of int to str
        By label id.
    numbers : mapping of int to int
        The label id of each one in the file.
    voxels : int
    """
    text = f"Loaded {', '.join(names[n] for n in numbers.values())}: {voxels:,} voxels."
    for in_file, label_id in numbers.items():
        if in_file != label_id:
            text += f" {names[label_id]} is number {label_id}, as {in_file} was taken."
    return text


def _slices(count: int) -> str:
    return f"{count} slice{'' if count == 1 else 's'}"
