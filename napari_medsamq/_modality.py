"""What kind of image a volume is."""

from __future__ import annotations

from typing import Literal

import numpy as np

from napari_medsamq._source import Array, Decoded

Modality = Literal["CT", "MR", "other"]
ModalitySource = Literal["dicom", "case", "picture", "assumed", "ambiguous", "chosen"]

# Whole numbers below this are Hounsfield units: air and lung are, MR and PET never are.
_CT_BELOW = -200


def guess_modality(decoded: Decoded, data: Array) -> tuple[Modality, ModalitySource]:
    """Tell what kind of image it is, and how that is known.

    Where the file does not say, whole numbers below -200 mean CT, and no negative numbers MR; all
    else is a guess marked "ambiguous": fractions below -200 (resampled CT, or MR after some
    normalisation), and small negative numbers (a crop of soft tissue, or MR with ringing).
    """
    if decoded.kind == "dicom":
        if decoded.modality == "CT":
            return "CT", "dicom"
        return ("MR" if decoded.modality == "MR" else "other"), "dicom"
    if decoded.kind in ("case", "picture"):
        return "other", decoded.kind
    if data.ndim == 4:
        return "other", "assumed"
    lowest = data.min()
    if lowest >= 0:
        return "MR", "assumed"
    whole = data.dtype.kind in "iu" or all(np.array_equal(part, np.rint(part)) for part in data)
    if lowest < _CT_BELOW:
        return "CT", ("assumed" if whole else "ambiguous")
    return "MR", "ambiguous"
