"""What kind of image a volume is, and what its values mean."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from napari_medsamq.errors import VolumeError
from napari_medsamq.io.source import EIGHT_BITS, Array, Decoded

Modality = Literal["CT", "MR", "other"]
ModalitySource = Literal["dicom", "case", "picture", "assumed", "ambiguous", "chosen"]

NONE_NEGATIVE = "none of them is below 0, as those of air and fat are"
NO_HOUNSFIELD = "The values are not Hounsfield units: {why}. Windows for CT do not suit them."

# Hounsfield units of air and lung, of fat and all other soft tissue, and of bone.
_AIR, _TISSUE, _BONE = (-1100.0, -650.0), (-200.0, 300.0), 650.0
# What a CT has at least of air, and at most below air: part of an edge with a padding value.
_LEAST_AIR, _MOST_BELOW = 0.01, 0.05
_LEAST_TISSUE = 0.05
# What programs add to make Hounsfield units positive.
_OFFSETS = (1000, 1024, 2000, 2048, 3024, 8192, 32768)
_MOST_LABELS = 16
# What many voxels share that were cut off at it.
_MANY = 0.01
# More voxels change shares by less than matters, and take longer.
_ENOUGH_VOXELS = 1_000_000


def modality_of(text: str) -> Modality:
    """Return the modality that a user names, in capitals or not.

    Raises
    ------
    VolumeError
        If it is none.
    """
    known: dict[object, Modality] = {name.lower(): name for name in get_args(Modality)}
    found = known.get(text.lower() if isinstance(text, str) else text)
    if found is None:
        raise VolumeError(f"The modality is ct, mr or other, not {text!r}.")
    return found


def guess_modality(decoded: Decoded, data: Array) -> tuple[Modality, ModalitySource]:
    """Tell what kind of image it is, and how that is known.

    Certain is what a DICOM file says of itself; a case and a picture are "other". Where the file
    does not say, the distribution of the values is asked, never a single voxel:

    - CT, assumed: they look like Hounsfield units. At least 1 % are air or lung (-1100 to -650) and
      at most 5 % less than that, but for the lowest value, which may stand for what was not scanned
      (-2000, -3024). Not more lie between lung and fat (-650 to -200) than are soft tissue (-200 to
      300), and of dense bone (above 650) there is at most half as much as of air. Fractions (a
      resampled CT) need 5 % of soft tissue besides.
    - CT, ambiguous: such fractions with less; values that look like these after a usual offset, as
      1024, was taken off; or values that are cut off at both ends, below -50 and above 50, as a CT
      within a window is.
    - MR, assumed: none is negative, and nothing above or below applies. PET and what else has no
      negative values is taken for MR too, which changes nothing but the name: the window is fitted
      to the values for both.
    - MR, ambiguous: all else. Negative values (MR after resampling or normalisation, phase images,
      differences, a crop of soft tissue in CT), values made to fit 0 to 1, grey values of 8 bits or
      cut off above, and label maps: the whole numbers from 0 to 16 at most.

    "ambiguous" has to be confirmed by the user.
    """
    if decoded.kind == "dicom" and decoded.modality:
        if decoded.modality == "CT":
            return "CT", "dicom"
        return ("MR" if decoded.modality == "MR" else "other"), "dicom"
    if decoded.kind in ("case", "picture"):
        return "other", decoded.kind
    if data.ndim == 4:
        return "other", "assumed"
    values = _sample(data)
    fractions = data.dtype.kind == "f" and not np.array_equal(values, np.rint(values))
    if _is_hounsfield(values):
        sure = not fractions or _share(values, *_TISSUE) >= _LEAST_TISSUE
        return "CT", ("assumed" if sure else "ambiguous")
    if data.min() < 0:
        return ("CT" if _is_cut_off(values) else "MR"), "ambiguous"
    shifted = (values - offset for offset in _OFFSETS)
    if any(_is_hounsfield(v) and _share(v, *_TISSUE) >= _LEAST_TISSUE for v in shifted):
        return "CT", "ambiguous"
    highest = data.max()
    is_open = (
        data.dtype.itemsize == 1
        or highest <= (1 if fractions else _MOST_LABELS)
        or (
            np.count_nonzero(values == highest) > _MANY * values.size
            and len(np.unique(values)) > _MOST_LABELS
        )
    )
    return "MR", ("ambiguous" if is_open else "assumed")


def why_no_hounsfield(decoded: Decoded, data: Array) -> str:
    """Return why values cannot be Hounsfield units, even of a CT; empty where they may be.

    They are not where a DICOM file gives another unit (Rescale Type), or does not give any (no
    Rescale Intercept, or the unspecified type US) and has no values of air either; with 8 bits; and
    if all are 0 or more, but for the value of what was not scanned.
    """
    if decoded.no_hounsfield:
        return decoded.no_hounsfield
    if decoded.hounsfield_unsaid and not _has_air(_sample(data)):
        return decoded.hounsfield_unsaid
    if data.dtype.itemsize == 1:
        return EIGHT_BITS
    lowest = data.min()
    if lowest < _AIR[0]:
        lowest = data.min(initial=data.max(), where=data > lowest)
    return NONE_NEGATIVE if lowest >= 0 else ""


def _sample(data: Array) -> Array:
    step = max(1, round((data.size / _ENOUGH_VOXELS) ** (1 / 3)))
    values = data[::step, ::step, ::step].reshape(-1)
    return values.astype(np.result_type(values, np.float32))


def _is_hounsfield(values: Array) -> bool:
    """Tell whether values are distributed as Hounsfield units are; see `guess_modality`."""
    return (
        _has_air(values)
        and _share(values, _AIR[1], _TISSUE[0]) <= _share(values, *_TISSUE)
        and _share(values, _BONE, np.inf) <= _share(values, *_AIR) / 2
    )


def _has_air(values: Array) -> bool:
    lowest = values.min()
    below = np.count_nonzero((values < _AIR[0]) & (values > lowest)) / values.size
    return bool(_share(values, *_AIR) >= _LEAST_AIR and below <= _MOST_BELOW)


def _share(values: Array, low: float, high: float) -> float:
    return float(np.count_nonzero((low <= values) & (values < high)) / values.size)


def _is_cut_off(values: Array) -> bool:
    """Tell whether many values are the lowest or the highest one, as within a window."""
    lowest, highest = values.min(), values.max()
    ends = [np.count_nonzero(values == end) for end in (lowest, highest)]
    return bool(lowest <= -50 and highest >= 50 and min(ends) > _MANY * values.size)
